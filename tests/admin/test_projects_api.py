"""Projects in the control API: made, changed, archived and deleted by operators; what members see and change."""

from typing import Any

import pytest
from django.test import Client

from relay_admin.access.admin_tokens import admin_token_mint
from relay_admin.access.models import Membership
from relay_admin.catalog.models import Line, Project
from relay_admin.ledger import corrections
from relay_admin.ledger.models import Account, Entry
from tests.admin import rows
from tests.admin.test_nouns_api import Api


@pytest.fixture
def api(catalog: rows.Catalog, token_of: Any) -> Api:
    """An operator's."""
    return Api(token_of("operators"))


def test_a_project_is_made_changed_archived_and_deleted(api: Api) -> None:
    made = api("POST", "projects", {"slug": "bank", "name": "Bank", "budget": {"microcredits": 5, "period": "day"}})
    assert made.status_code == 201
    assert made.json()["budget"] == {"microcredits": 5, "period": "day"}
    assert (made.json()["billing"], made.json()["role"]) == ("metered", None)
    assert Account.objects.filter(project_id=made.json()["id"], kind="wallet").count() == 2
    tag = api("GET", "projects/bank").headers["ETag"]
    changed = api("PATCH", "projects/bank", {"billing": "prepaid", "rateLimit": "calls"}, if_match=tag)
    assert (changed.json()["billing"], changed.json()["rateLimit"]) == ("prepaid", "calls")
    stale = api("PATCH", "projects/bank", {"name": "Other"}, if_match=tag)
    assert (stale.status_code, stale.json()["error"]) == (412, "stale_row")
    assert api("PUT", "projects/bank", {"slug": "bank", "name": "Bank"}).status_code == 428
    assert api("PATCH", "projects/bank", {"isArchived": True}).json()["isArchived"] is True
    listed = api("GET", "projects?isArchived=true").json()
    assert [one["slug"] for one in listed["results"]] == ["bank"]
    assert api("DELETE", "projects/bank").status_code == 204
    assert api("GET", "projects/bank").status_code == 404


def test_what_is_in_it_stands_in_the_way(api: Api, catalog: rows.Catalog) -> None:
    found = api("GET", "projects/shop/references").json()["references"]
    assert {one["kind"] for one in found} == {"line", "relay-key"}
    refused = api("DELETE", "projects/shop")
    assert (refused.status_code, refused.json()["references"]) == (409, found)
    assert "isArchived" in refused.json()["action"]
    assert Line.objects.filter(project=catalog.project).exists()


def test_what_is_left_in_its_wallet_stands_in_the_way_and_entries_stay(api: Api) -> None:
    bank = Project.objects.create(slug="bank", name="Bank")
    wallet = Account.objects.get(project_id=bank.pk, kind="wallet", mode="live")
    by = rows.user("giver")
    corrections.credits_grant(account=wallet, microcredits=5, note="hello", by=by, source=None)
    refused = api("DELETE", "projects/bank")
    assert refused.status_code == 409
    assert [(one["kind"], one["id"]) for one in refused.json()["references"]] == [("account", wallet.pk)]
    corrections.account_adjust(account=wallet, microcredits=-5, note="back", by=by, source=None, against="revenue")
    assert api("DELETE", "projects/bank").status_code == 204
    assert Entry.objects.filter(credit_id=wallet.pk).exists()


def test_members_see_and_change_less(catalog: rows.Catalog) -> None:
    admin = rows.user("boss")
    Membership.objects.create(project=catalog.project, user=admin, role="admin")
    api = Api({"Authorization": f"Bearer {admin_token_mint(user=admin, name='t').token}"})
    names = {"id", "slug", "name", "isArchived", "role", "userBudget", "createdAt", "updatedAt"}
    assert set(api("GET", "projects").json()["results"][0]) == names
    budget = {"microcredits": 7, "period": "week"}
    assert api("PATCH", "projects/shop", {"userBudget": budget}).json()["userBudget"] == budget
    for method, body in (("PATCH", {"name": "Mine"}), ("PUT", {"slug": "shop", "name": "Mine"})):
        refused = api(method, "projects/shop", body, if_match="*")
        assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
    assert api("POST", "projects", {"slug": "own", "name": "Own"}).status_code == 403
    assert api("DELETE", "projects/shop").status_code == 403
    assert api("GET", "projects/shop/references").status_code == 403
    catalog.project.refresh_from_db()
    assert (catalog.project.name, catalog.project.user_budget) == ("Shop", budget)


def test_a_row_that_is_known_is_not_sent_again(api: Api, catalog: rows.Catalog) -> None:
    address = f"/api/v1/hosts/{catalog.host.pk}"
    tag = api("GET", f"hosts/{catalog.host.pk}").headers["ETag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        answer = Client().get(address, headers={**api.headers, "If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)
    assert Client().get(address, headers={**api.headers, "If-None-Match": '"other"'}).status_code == 200

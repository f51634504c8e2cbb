"""Money by API for who is no operator: a project's by the role, one's own without any."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from relay_admin.access import services
from relay_admin.access.models import Membership, User
from relay_admin.access.roles import ACTS, Act, Role
from relay_admin.ledger import codes, corrections
from relay_admin.ledger.accounts import balance_of
from relay_admin.ledger.models import Account, TopUp
from relay_contract.nouns import KeyMode
from tests.admin import rows
from tests.admin.stripe_server import StripeServer
from tests.admin.test_invoices import exported
from tests.admin.test_top_ups import CREDIT, stripe  # noqa: F401 (a fixture)
from tests.admin.test_usage import posted


def caller(name: str, catalog: rows.Catalog, role: Role | str = "") -> dict[str, str]:
    """Headers of somebody, in a role where one is given."""
    person = rows.user(name)
    if role:
        Membership.objects.create(project=catalog.project, user=person, role=str(role))
    return {"Authorization": f"Bearer {services.admin_token_mint(user=person, name='test').token}"}


def wallet(**owner: Any) -> Account:
    return Account.objects.get(kind="wallet", mode="live", **owner)


def get(headers: dict[str, str], path: str) -> Any:
    return Client().get(f"/api/v1/{path}", headers=headers)


def post(headers: dict[str, str], path: str, body: Any) -> Any:
    return Client().post(f"/api/v1/{path}", body, content_type="application/json", headers=headers)


@pytest.mark.parametrize("role", list(Role))
def test_a_projects_money_by_role(catalog: rows.Catalog, role: Role) -> None:
    theirs = wallet(project_id=catalog.project.pk)
    headers = caller("ada", catalog, role)
    wallets = Account.objects.filter(kind="wallet")
    own = {account.pk for account in wallets.filter(user_id=User.objects.get(username="ada").pk)}
    of_project = {account.pk for account in wallets.filter(project_id=catalog.project.pk)}
    sees, manages = Act.SEE_MONEY in ACTS[role], Act.MANAGE_MONEY in ACTS[role]
    listed = {each["id"] for each in get(headers, "wallets").json()["results"]}
    assert listed - own == (of_project if sees else set())
    assert own <= listed
    for path in (f"wallets/{theirs.pk}/entries", f"exports/entries.csv?wallet={theirs.pk}"):
        assert get(headers, path).status_code == (200 if sees else 403), path
    made = codes.code_make(
        microcredits=CREDIT, mode=KeyMode.LIVE, most_uses=1, expires_at=None, note="fair", by=rows.user("maker")
    )
    redeemed = post(headers, "credit-codes/redeem", {"code": made.text, "wallet": theirs.pk})
    assert redeemed.status_code == (201 if manages else 403)
    assert balance_of(theirs.pk).posted == (CREDIT if manages else 0)
    correction = post(headers, f"wallets/{theirs.pk}/grants", {"microcredits": 1, "note": "x"})
    assert (correction.status_code, balance_of(theirs.pk).posted) == (403, CREDIT if manages else 0)


def test_ones_own_wallet_needs_no_role(catalog: rows.Catalog) -> None:
    headers = caller("ada", catalog)
    mine = wallet(user_id=User.objects.get(username="ada").pk)
    caller("bob", catalog)
    theirs = wallet(user_id=User.objects.get(username="bob").pk)
    for account, note in ((mine, "hers"), (theirs, "his")):
        corrections.credits_grant(account=account, microcredits=CREDIT, note=note, by=rows.user(f"root-{note}"))
    assert [each["note"] for each in get(headers, f"wallets/{mine.pk}/entries").json()["results"]] == ["hers"]
    status, export = exported(f"entries.csv?wallet={mine.pk}", headers)
    assert (status, [each["note"] for each in export]) == (200, ["hers"])
    assert exported(f"entries.csv?wallet={theirs.pk}", headers)[0] == 404
    assert {get(headers, f"wallets/{theirs.pk}{more}").status_code for more in ("", "/entries")} == {404}
    assert get(headers, "wallets?user=ada").json()["results"][0]["balance"] == CREDIT
    assert get(headers, "wallets?user=bob").status_code == 400
    assert get(headers, "top-ups").json() == {"results": [], "next": None}


def test_a_member_pays_and_is_led_to_the_portal(catalog: rows.Catalog, stripe: StripeServer) -> None:  # noqa: F811
    theirs = wallet(project_id=catalog.project.pk)
    owner = caller("ada", catalog, "owner")
    begun = post(owner, "top-ups", {"wallet": theirs.pk, "pack": "5000:500:eur"})
    assert begun.status_code == 201
    [sent] = stripe.forms
    assert sent["success_url"].endswith(f"/portal/wallets/{theirs.pk}/top-ups/{begun.json()['source']}")
    assert [each["id"] for each in get(owner, "top-ups").json()["results"]] == [begun.json()["id"]]
    viewer, stranger = caller("vic", catalog, "viewer"), caller("bob", catalog)
    assert get(viewer, f"top-ups/{begun.json()['id']}").status_code == 403
    assert get(stranger, f"top-ups/{begun.json()['id']}").status_code == 404
    for headers, status in ((viewer, 403), (stranger, 404)):
        answer = post(headers, "top-ups", {"wallet": theirs.pk, "pack": "5000:500:eur"})
        assert (answer.status_code, TopUp.objects.count()) == (status, 1)
    outside = {"wallet": theirs.pk, "microcredits": 1, "priceMinor": 1, "currency": "eur", "reference": "mine"}
    assert post(owner, "top-ups/outside", outside).status_code == 403


def test_usage_of_a_project_and_of_ones_own(catalog: rows.Catalog) -> None:
    viewer, customer = caller("vic", catalog, "viewer"), caller("ada", catalog, "customer")
    posted(catalog, timezone.now() - timedelta(hours=1), "alpha", user_id=User.objects.get(username="ada").pk)
    posted(catalog, timezone.now() - timedelta(hours=1), "beta")
    of_project = get(viewer, "usage/summary?by=model&project=shop").json()["results"]
    assert [(each["model"], each["cost"]) for each in of_project] == [("alpha", 100), ("beta", 100)]
    [own] = get(customer, "usage/summary?by=model&mine=true").json()["results"]
    assert (own["model"], own["charge"], "cost" in own, "markup" in own) == ("alpha", 110, False, False)
    assert [each["calls"] for each in get(customer, "usage/series?mine=true").json()["results"]] == [1]
    for path in ("usage/summary?by=model", "usage/series?project=shop", "usage/series?mine=false"):
        assert get(customer, path).status_code == 400, path


def test_ones_own_calls(catalog: rows.Catalog) -> None:
    customer, viewer = caller("ada", catalog, "customer"), caller("vic", catalog, "viewer")
    ada = User.objects.get(username="ada")
    mine, other = rows.call_row(catalog, user_id=ada.pk), rows.call_row(catalog)
    [listed] = get(customer, "calls").json()["results"]
    assert (listed["id"], "host" in listed, "cost" in listed, "chargeMicrocredits" in listed) == (
        str(mine.pk), False, False, True,
    )  # fmt: skip
    assert "host" in get(viewer, f"calls/{mine.pk}").json()
    assert get(customer, f"calls/{other.pk}").status_code == 403
    assert get(caller("bob", catalog), f"calls/{mine.pk}").status_code == 404

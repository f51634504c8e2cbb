"""Mark-ups: who sets them, what the project's row gets, and that no terms are ever changed."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.test import Client

from relay_admin.access.models import AuditEvent
from relay_admin.ledger.models import Account, Terms
from relay_admin.ledger.terms import terms_set
from relay_contract.ledger import AccountKind
from tests.admin import rows

GIVEN = {"markupPpm": 150_000, "ownerPpm": 900_000, "referralPpm": 10_000}
PATH = "/api/v1/projects/shop/terms"


def post(headers: dict[str, str], body: Any, path: str = PATH) -> Any:
    return Client().post(path, body, content_type="application/json", headers=headers)


def test_terms_by_api(catalog: rows.Catalog, token_of) -> None:
    operator, reader = token_of("operators"), token_of("viewers")
    first = post(operator, GIVEN)
    assert first.status_code == 201
    second = post(operator, {"markupPpm": 0, "ownerPpm": 1_000_000}).json()
    assert {**first.json(), "at": ""} == {"id": second["id"] - 1, **GIVEN, "byUserId": second["byUserId"], "at": ""}
    catalog.project.refresh_from_db()
    assert (catalog.project.terms_id, catalog.project.markup_ppm) == (second["id"], 0)
    page = Client().get(f"{PATH}?limit=1", headers=reader).json()
    assert page == {"results": [second], "next": second["id"]}
    older = Client().get(f"{PATH}?limit=1&after={page['next']}", headers=reader).json()
    assert older == {"results": [first.json()], "next": None}
    changes = AuditEvent.objects.filter(subject="catalog.project", action="update", project_id=catalog.project.pk)
    assert [event.after for event in changes.order_by("pk")] == [
        {"terms_id": first.json()["id"], "markup_ppm": 150_000},
        {"terms_id": second["id"], "markup_ppm": 0},
    ]


@pytest.mark.parametrize(
    ("who", "body", "path", "status"),
    [
        ("viewers", GIVEN, PATH, 403),
        ("support", GIVEN, PATH, 403),
        ("operators", GIVEN, "/api/v1/projects/none/terms", 404),
        ("operators", {**GIVEN, "markupPpm": 10_000_001}, PATH, 400),
        ("operators", {**GIVEN, "ownerPpm": -1}, PATH, 400),
        ("operators", {**GIVEN, "ownerPpm": 0.5}, PATH, 400),
        ("operators", {**GIVEN, "referralPpm": 2**63}, PATH, 400),
        ("operators", {"markupPpm": 1}, PATH, 400),
        ("operators", {**GIVEN, "project": "other"}, PATH, 400),
    ],
)
def test_what_is_refused_changes_nothing(
    *, catalog: rows.Catalog, token_of, who: str, body: Any, path: str, status: int
) -> None:
    assert post(token_of(who), body, path).status_code == status
    assert not Terms.objects.exists()
    catalog.project.refresh_from_db()
    assert (catalog.project.terms_id, catalog.project.markup_ppm) == (None, 0)


@pytest.mark.parametrize("wrong", [{"markup_ppm": -1}, {"owner_ppm": 1_000_001}, {"referral_ppm": -1}])
def test_the_service_refuses_too(catalog: rows.Catalog, wrong: dict[str, int]) -> None:
    given = {"markup_ppm": 1, "owner_ppm": 1, "referral_ppm": 1} | wrong
    with pytest.raises(ValidationError):
        terms_set(project=catalog.project, by=rows.user("op"), **given)
    assert not Terms.objects.exists()


@pytest.mark.parametrize("statement", ["UPDATE ledger_terms SET owner_ppm = 1", "DELETE FROM ledger_terms"])
def test_terms_are_only_ever_added(catalog: rows.Catalog, statement: str) -> None:
    made = terms_set(project=catalog.project, markup_ppm=5, owner_ppm=6, referral_ppm=7, by=rows.user("op"))
    with pytest.raises(IntegrityError, match="only ever added to"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert Terms.objects.get() == made


def test_the_page_in_the_admin(catalog: rows.Catalog, client_of) -> None:
    earnings = Account.objects.get(project_id=catalog.project.pk, kind=AccountKind.EARNINGS, mode="live")
    page = f"/admin/ledger/account/{earnings.pk}/terms/"
    viewer, operator = client_of("viewers"), client_of("operators")
    assert viewer.post(page, {"markup": "15", "owner": "90"}).status_code == 403
    assert page not in viewer.get(f"/admin/ledger/account/{earnings.pk}/change/").content.decode()
    assert page in operator.get(f"/admin/ledger/account/{earnings.pk}/change/").content.decode()
    assert operator.post(page, {"markup": "1001", "owner": "90"}).status_code == 200
    assert not Terms.objects.exists()
    assert operator.post(page, {"markup": "12.3456", "owner": "90.5"}).status_code == 302
    terms = Terms.objects.get()
    assert (terms.project_id, terms.markup_ppm, terms.owner_ppm, terms.referral_ppm) == (
        catalog.project.pk, 123_456, 905_000, 0,
    )  # fmt: skip
    assert "12.3456" in operator.get(page).content.decode()
    other = Account.objects.get(project_id=catalog.project.pk, kind=AccountKind.WALLET, mode="live")
    assert operator.get(f"/admin/ledger/account/{other.pk}/terms/").status_code == 404

"""Wallets by API and in the admin: who sees them, who posts, and what a call that is sent twice does."""

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from relay_admin.ledger import accounts, proofs
from relay_admin.ledger.models import Account, Entry
from relay_contract.ids import uuid7
from relay_contract.intake import DeliveryState
from relay_contract.ledger import MAX_AMOUNT, AccountKind, EntryKind
from tests.admin import rows
from tests.admin.test_double_entry import BEGINNING, fold

CREDIT = 1_000_000


@pytest.fixture
def wallet(catalog: rows.Catalog) -> Account:
    return Account.objects.get(project_id=catalog.project.pk, kind=AccountKind.WALLET, mode="live")


def send(headers: dict[str, str], path: str, body: Any) -> Any:
    return Client().post(f"/api/v1/wallets/{path}", body, content_type="application/json", headers=headers)


def test_a_wallet_by_api(catalog: rows.Catalog, wallet: Account, token_of) -> None:
    operator = token_of("operators")
    granted = send(operator, f"{wallet.pk}/grants", {"microcredits": 9 * CREDIT, "note": "welcome"})
    assert granted.status_code == 201
    taken = {"microcredits": -CREDIT, "note": "twice", "against": "revenue"}
    assert send(operator, f"{wallet.pk}/adjustments", taken).json()["amount"] == -CREDIT
    for state in (DeliveryState.DELIVERED, DeliveryState.PENDING):
        rows.delivery_row(rows.request_row(catalog), catalog.target, state)
    expected = {
        "id": wallet.pk,
        "mode": "live",
        "project": {"id": catalog.project.pk, "slug": "shop"},
        "user": None,
        "balance": 7 * CREDIT,
        "held": CREDIT,
        "available": 6 * CREDIT,
        "overdraft": 0,
        "lowBalance": None,
    }
    reader = token_of("viewers")
    for _ in range(2):
        assert Client().get(f"/api/v1/wallets/{wallet.pk}", headers=reader).json() == expected
        fold()
    listed = Client().get("/api/v1/wallets?project=shop&mode=live", headers=reader).json()
    assert listed == {"results": [expected], "next": None}
    page = Client().get(f"/api/v1/wallets/{wallet.pk}/entries?limit=1", headers=reader).json()
    [newest] = page["results"]
    assert (newest["kind"], newest["amount"], newest["otherAccountId"], newest["note"]) == (
        "adjustment", -CREDIT, 2, "twice",
    )  # fmt: skip
    older = Client().get(f"/api/v1/wallets/{wallet.pk}/entries?after={page['next']}", headers=reader).json()
    assert [(each["amount"], each["id"]) for each in older["results"]] == [(9 * CREDIT, granted.json()["id"])]
    assert older["next"] is None
    assert proofs.drifts(BEGINNING) == []


def test_wallets_are_listed_page_by_page(wallet: Account, token_of) -> None:
    reader = token_of("viewers")
    first = Client().get("/api/v1/wallets?project=shop&limit=1", headers=reader).json()
    second = Client().get(f"/api/v1/wallets?project=shop&limit=1&after={first['next']}", headers=reader).json()
    assert [each["results"][0]["id"] for each in (first, second)] == [wallet.pk, wallet.pk + 1]
    assert second["next"] is None


def test_a_grant_that_is_sent_twice_is_made_once(wallet: Account, token_of) -> None:
    operator = token_of("operators")
    body = {"microcredits": 5, "note": "welcome", "id": str(uuid7())}
    answers = [send(operator, f"{wallet.pk}/grants", body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json() == answers[1].json()
    other = send(operator, f"{wallet.pk}/grants", body | {"microcredits": 6})
    assert (other.status_code, other.json()["error"]) == (409, "posted_otherwise")
    assert send(operator, f"{wallet.pk + 1}/grants", body).status_code == 409
    assert Entry.objects.get().amount == 5
    assert LogEntry.objects.filter(object_id=str(wallet.pk)).count() == 1


@pytest.mark.parametrize(
    "changed",
    [{"microcredits": bad} for bad in (0, -1, 1.5, MAX_AMOUNT + 1, 2**63, 10**400, "NaN", True, None, [])]
    + [{"note": bad} for bad in ("", "  ", "x" * 201, "nul\x00", None)]
    + [{"id": bad} for bad in ("x", str(uuid4()))],
)
def test_a_grant_that_cannot_be(wallet: Account, token_of, changed: dict[str, Any]) -> None:
    answer = send(token_of("operators"), f"{wallet.pk}/grants", {"microcredits": 5, "note": "why"} | changed)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid")
    assert not Entry.objects.exists()


@pytest.mark.parametrize("changed", [{"microcredits": 0}, {"against": "wallet"}, {"against": None}])
def test_an_adjustment_that_cannot_be(wallet: Account, token_of, changed: dict[str, Any]) -> None:
    body = {"microcredits": 5, "note": "why", "against": "revenue"} | changed
    assert send(token_of("operators"), f"{wallet.pk}/adjustments", body).status_code == 400
    assert not Entry.objects.exists()


@pytest.mark.parametrize(
    ("who", "posted"), [("viewers", 403), ("support", 403), ("operators", 201), ("superuser", 201)]
)
def test_who_sees_and_who_posts(wallet: Account, token_of, client_of, who: str, posted: int) -> None:
    headers = token_of(who)
    for path in ("", f"/{wallet.pk}", f"/{wallet.pk}/entries"):
        assert Client().get(f"/api/v1/wallets{path}", headers=headers).status_code == 200
    for path, more in (("grants", {}), ("adjustments", {"against": "promotions"})):
        body = {"microcredits": 5, "note": "why", **more}
        assert send(headers, f"{wallet.pk}/{path}", body).status_code == posted
    page = f"/admin/ledger/account/{wallet.pk}"
    client = client_of(who)
    assert client.get(f"{page}/change/").status_code == 200
    assert client.get(f"{page}/post/").status_code == (200 if posted == 201 else 403)
    assert Entry.objects.count() == (2 if posted == 201 else 0)


@pytest.mark.parametrize("path", ["2", "2/entries", "1000000000000", "1000000000000/entries", str(10**30)])
def test_what_is_no_wallet_has_no_address(wallet: Account, token_of, path: str) -> None:
    assert Client().get(f"/api/v1/wallets/{path}", headers=token_of("superuser")).status_code == 404


def test_only_wallets_are_given_to(wallet: Account, token_of) -> None:
    pool = Account.objects.get(project_id=wallet.project_id, kind=AccountKind.POOL, mode="live")
    operator = token_of("operators")
    for account_id in (2, pool.pk, 10**12, 10**30):
        answer = send(operator, f"{account_id}/grants", {"microcredits": 5, "note": "why"})
        assert answer.status_code == 404
    assert not Entry.objects.exists()


@pytest.mark.parametrize("query", ["?x=1", "?after=0", "?limit=201", "?mode=other", "?project=nobody"])
def test_a_list_that_cannot_be(wallet: Account, token_of, query: str) -> None:
    assert Client().get(f"/api/v1/wallets{query}", headers=token_of("viewers")).status_code == 400


def test_a_page_of_entries_that_cannot_be(wallet: Account, token_of) -> None:
    answer = Client().get(f"/api/v1/wallets/{wallet.pk}/entries?after=x", headers=token_of("viewers"))
    assert answer.status_code == 400


def test_the_admin_shows_what_there_is_and_posts_once(catalog: rows.Catalog, wallet: Account, client_of) -> None:
    client = client_of("operators")
    rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DELIVERED)
    page = f"/admin/ledger/account/{wallet.pk}"
    source = client.get(f"{page}/post/").context["form"]["source"].value()
    form = {"kind": EntryKind.GRANT.value, "amount": "2.5", "against": "promotions", "note": "<b>why</b>"}
    for _ in range(2):
        assert client.post(f"{page}/post/", form | {"source": source}).status_code == 302
    shown = client.get(f"{page}/change/").content.decode()
    assert "<strong>1.5</strong> credits" in shown
    assert "&lt;b&gt;why&lt;/b&gt;" in shown
    assert "operators-member" in shown
    assert Entry.objects.get().amount == 2_500_000
    assert client.post(f"{page}/post/", form | {"source": source, "amount": "3"}).status_code == 200
    assert client.post(f"{page}/post/", form | {"source": uuid7(), "amount": "-3"}).status_code == 200
    assert Entry.objects.count() == 1
    listed = client.get("/admin/ledger/account/?q=shop").content.decode()
    assert listed.count("not balanced") == 0
    assert listed.count("balanced") == 2
    assert "shop: wallet" in listed
    assert "1.5" in listed


def test_older_entries_in_the_admin(wallet: Account, token_of, client_of) -> None:
    operator = token_of("operators")
    for number in range(51):
        send(operator, f"{wallet.pk}/grants", {"microcredits": CREDIT, "note": f"number {number:02}"})
    client = client_of("viewers")
    page = f"/admin/ledger/account/{wallet.pk}/change/"
    first = client.get(page)
    assert "number 50" in first.content.decode()
    assert "number 00" not in first.content.decode()
    second = client.get(f"{page}?before={first.context['older']}").content.decode()
    assert "number 00" in second
    assert "number 01" not in second


def test_the_relays_own_accounts_have_no_form(wallet: Account, client_of) -> None:
    client = client_of("superuser")
    assert client.get("/admin/ledger/account/2/change/").status_code == 200
    assert client.get("/admin/ledger/account/2/post/").status_code == 404
    assert client.get("/admin/ledger/account/999999/change/").status_code == 404
    assert accounts.balance_of(2).posted == 0

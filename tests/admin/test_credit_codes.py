"""Credit codes: told once, redeemed once a user, never more often than they may be, and not to be guessed."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from relay_admin.access.models import AuditEvent
from relay_admin.access.throttle import FREE_ATTEMPTS, LoginThrottled
from relay_admin.ledger import accounts, codes, proofs
from relay_admin.ledger.models import Account, CodeRedemption, CreditCode, Entry
from relay_contract.ledger import MAX_AMOUNT, AccountKind, EntryKind
from relay_contract.nouns import KeyMode
from tests.admin import rows
from tests.admin.test_double_entry import BEGINNING

CREDIT = 1_000_000


@pytest.fixture
def wallet(catalog: rows.Catalog) -> Account:
    return Account.objects.get(project_id=catalog.project.pk, kind=AccountKind.WALLET, mode="live")


def send(headers: dict[str, str], path: str, body: Any) -> Any:
    return Client().post(f"/api/v1/credit-codes{path}", body, content_type="application/json", headers=headers)


def made(**changed: Any) -> codes.MadeCode:
    given = {"microcredits": 3 * CREDIT, "mode": KeyMode.LIVE, "most_uses": 1, "expires_at": None, "note": "fair"}
    maker = rows.user(f"maker-{CreditCode.objects.count()}")
    return codes.code_make(**(given | changed), by=maker)


def redeem(text: str, wallet: Account, name: str) -> CodeRedemption:
    return codes.code_redeem(text=text, account=wallet, by=rows.user(name), address="192.0.2.1")


def test_made_told_once_and_redeemed(wallet: Account, token_of) -> None:
    operator = token_of("operators")
    answer = send(operator, "", {"microcredits": 3 * CREDIT, "mostUses": 2, "note": "fair"})
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    code = answer.json()["code"]
    [listed] = Client().get("/api/v1/credit-codes", headers=operator).json()["results"]
    assert listed == {key: value for key, value in answer.json().items() if key != "code"}
    assert code.endswith(listed["hint"])
    assert bytes(CreditCode.objects.get().code_hash) == hashlib.sha256(code.replace("-", "").encode()).digest()
    typed = {"code": f" {code.lower().replace('-', ' ')} ", "wallet": wallet.pk}
    redeemed = send(operator, "/redeem", typed)
    assert (redeemed.status_code, redeemed.json()["microcredits"]) == (201, 3 * CREDIT)
    again = send(operator, "/redeem", typed)
    assert (again.status_code, again.json()["error"]) == (409, "code_redeemed")
    assert accounts.balance_of(wallet.pk).posted == 3 * CREDIT
    entry = Entry.objects.get()
    assert (entry.kind, entry.debit_id, entry.note) == (EntryKind.CODE, 6, "fair")
    assert proofs.drifts(BEGINNING) == []
    written = str(list(AuditEvent.objects.filter(subject="ledger.creditcode").values()))
    assert code not in written
    assert code.replace("-", "") not in written


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("unknown", "unknown"),
        ("over", "ended"),
        ("disabled", "ended"),
        ("used", "used_up"),
        ("test", "other_mode"),
    ],
)
def test_a_code_that_gives_nothing(wallet: Account, case: str, expected: str) -> None:
    code = made(mode=KeyMode.TEST if case == "test" else KeyMode.LIVE)
    match case:
        case "over":
            CreditCode.objects.update(expires_at=timezone.now())
        case "disabled":
            assert codes.code_disable(code=code.row)
            assert not codes.code_disable(code=code.row)
        case "used":
            CreditCode.objects.update(uses=1)
    with pytest.raises(codes.CodeRefusedError) as refused:
        redeem("AAAA-BBBB-CCCC-DDDD" if case == "unknown" else code.text, wallet, "ada")
    assert refused.value.code == expected
    assert not CodeRedemption.objects.exists()
    assert not Entry.objects.exists()


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_32_at_once_each_use_has_one_winner(wallet: Account) -> None:
    code = made(most_uses=5)
    users = [rows.user(f"user-{number}") for number in range(16)]

    def tried(number: int) -> str:
        try:
            user = users[number % 16]
            codes.code_redeem(text=code.text, account=wallet, by=user, address=f"192.0.2.{number}")
        except codes.CodeRefusedError as refused:
            return refused.code
        else:
            return "won"
        finally:
            connection.close()

    with ThreadPoolExecutor(32) as pool:
        told = list(pool.map(tried, range(32)))
    assert told.count("won") == 5
    assert set(told) <= {"won", "used_up", "redeemed"}
    assert CodeRedemption.objects.values("user_id").distinct().count() == 5
    assert accounts.balance_of(wallet.pk).posted == 15 * CREDIT
    assert proofs.drifts(BEGINNING) == []


def test_whoever_guesses_waits(wallet: Account, token_of) -> None:
    operator = token_of("operators")
    code = made()
    for _ in range(FREE_ATTEMPTS):
        assert send(operator, "/redeem", {"code": "AAAA", "wallet": wallet.pk}).status_code == 409
    answer = send(operator, "/redeem", {"code": code.text, "wallet": wallet.pk})
    assert (answer.status_code, answer.json()["error"]) == (429, "throttled")
    assert int(answer["Retry-After"]) > 0
    assert not Entry.objects.exists()


def test_many_users_of_one_address_wait_too(wallet: Account) -> None:
    with pytest.raises(LoginThrottled):  # noqa: PT012
        for number in range(30):
            with pytest.raises(codes.CodeRefusedError):
                redeem("AAAA", wallet, f"user-{number}")


def test_only_wallets_redeem(wallet: Account, token_of) -> None:
    code = made()
    pool = Account.objects.get(project_id=wallet.project_id, kind=AccountKind.POOL, mode="live")
    operator = token_of("superuser")
    for account_id in (pool.pk, 2, 10**12):
        assert send(operator, "/redeem", {"code": code.text, "wallet": account_id}).status_code == 404
    assert not Entry.objects.exists()


@pytest.mark.parametrize(
    "changed",
    [{"microcredits": bad} for bad in (0, -1, 1.5, MAX_AMOUNT + 1, 2**63, "NaN", True, None)]
    + [{"mostUses": bad} for bad in (0, -1, codes.MAX_USES + 1, None)]
    + [{"expiresAt": bad} for bad in ("2020-01-01T00:00:00Z", "x")]
    + [{"note": bad} for bad in ("", " ", "x" * 201, None)]
    + [{"mode": "both"}, {"uses": 0}],
)
def test_a_code_that_cannot_be(db: None, token_of, changed: dict[str, Any]) -> None:
    answer = send(token_of("operators"), "", {"microcredits": 5, "note": "why"} | changed)
    assert answer.status_code == 400
    assert not CreditCode.objects.exists()


@pytest.mark.parametrize(
    ("who", "posted"), [("viewers", 403), ("support", 403), ("operators", 201), ("superuser", 201)]
)
def test_who_may(wallet: Account, token_of, client_of, who: str, posted: int) -> None:
    headers, code = token_of(who), made()
    assert Client().get("/api/v1/credit-codes", headers=headers).status_code == 200
    assert send(headers, "", {"microcredits": 5, "note": "why"}).status_code == posted
    redeemed = send(headers, "/redeem", {"code": code.text, "wallet": wallet.pk})
    assert redeemed.status_code == (201 if posted == 201 else 404)  # members redeem: what is not theirs is not there
    ended = send(headers, f"/{code.row.pk}/disable", {})
    assert ended.status_code == (200 if posted == 201 else 403)
    code.row.refresh_from_db()
    assert code.row.is_enabled == (posted == 403)


def test_postgres_counts_uses_too(wallet: Account) -> None:
    made()
    with pytest.raises(IntegrityError, match="ledger_creditcode_uses"), transaction.atomic():
        CreditCode.objects.update(uses=2)


def test_in_the_admin_it_is_shown_once(client_of) -> None:
    client = client_of("operators")
    expires = timezone.now() + timedelta(days=1)
    form = {
        "credits": "2.5",
        "mode": "live",
        "most_uses": "3",
        "expires_at_0": f"{expires:%Y-%m-%d}",
        "expires_at_1": f"{expires:%H:%M:%S}",
        "note": "<b>fair</b>",
    }
    page = client.post("/admin/ledger/creditcode/add/", form)
    code = CreditCode.objects.get()
    assert (code.microcredits, code.most_uses, code.mode) == (2_500_000, 3, "live")
    shown = page.content.decode()
    assert "no-store" in page["Cache-Control"]
    assert f"-{code.hint}" in shown
    listed = client.get("/admin/ledger/creditcode/").content.decode()
    assert "&lt;b&gt;fair&lt;/b&gt;" in listed
    client.post("/admin/ledger/creditcode/", {"action": "disable", "_selected_action": code.pk})
    code.refresh_from_db()
    assert not code.is_enabled
    history = client.get(f"/admin/ledger/creditcode/{code.pk}/history/").content.decode()
    assert "Disabled." in history
    assert client.post("/admin/ledger/creditcode/add/", form | {"credits": "-1"}).status_code == 200
    assert client.post(f"/admin/ledger/creditcode/{code.pk}/change/", {"uses": "0"}).status_code == 403
    assert CreditCode.objects.count() == 1

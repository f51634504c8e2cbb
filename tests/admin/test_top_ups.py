"""Money comes in: checkouts, what Stripe tells of them in whatever order, what was paid outside, and refunds."""

import hashlib
import hmac
import json
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client

from relay_admin.access.models import AuditEvent
from relay_admin.ledger import accounts, proofs, topups
from relay_admin.ledger.amounts import price_text
from relay_admin.ledger.models import Account, Entry, PaymentEvent, Refund, TopUp
from relay_admin.ledger.packs import Pack, read_packs
from relay_contract.ids import uuid7
from relay_contract.ledger import AccountKind, EntryKind
from tests.admin import rows
from tests.admin.stripe_server import StripeServer, stripe_server
from tests.admin.test_double_entry import BEGINNING, fold

EVENTS = Path(__file__).parent / "stripe_events"
CREDIT = 1_000_000
PACK = Pack(5000, 500, "eur")
SECRET = "whsec_test"


@pytest.fixture
def wallet(catalog: rows.Catalog) -> Account:
    return Account.objects.get(project_id=catalog.project.pk, kind=AccountKind.WALLET, mode="live")


@pytest.fixture
def stripe(settings) -> Iterator[StripeServer]:
    with stripe_server() as server:
        settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRET = "sk_live_51secret", SECRET
        settings.CREDIT_PACKS, settings.STRIPE_URL = (PACK,), server.url
        yield server


@pytest.fixture
def top_up(wallet: Account, stripe: StripeServer) -> TopUp:
    return TopUp.objects.create(
        source=uuid7(), account=wallet, microcredits=5000 * CREDIT, price_minor=500, currency="eur", provider="stripe",
        reference="cs_live_a1TqZ",
    )  # fmt: skip


def event(name: str, top_up: TopUp | None = None, **changed: Any) -> bytes:
    """A recorded one, of this top-up; `changed` values of its object, or of itself behind `event_`."""
    text = (EVENTS / f"{name}.json").read_text().replace("@top_up@", str(top_up.source) if top_up else "")
    document = json.loads(text)
    for field, value in changed.items():
        if field.startswith("event_"):
            document[field.removeprefix("event_")] = value
        else:
            document["data"]["object"][field] = value
    return json.dumps(document).encode()


def tell(body: bytes, *, secret: str = SECRET, age: int = 0, raises: bool = False) -> Any:
    at = int(time.time()) - age
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"Stripe-Signature": f"t={at},v1={digest}"}
    client = Client(raise_request_exception=raises)
    return client.post("/hooks/stripe", body, content_type="application/json", headers=headers)


def outcomes(*bodies: bytes) -> list[str]:
    answers = [tell(body) for body in bodies]
    assert [answer.status_code for answer in answers] == [200] * len(bodies), [a.content for a in answers]
    return [answer.json()["outcome"] for answer in answers]


def credits_of(wallet: Account) -> int:
    """Which the proofs agree with, before and after a fold."""
    assert proofs.drifts(BEGINNING) == []
    fold()
    assert proofs.drifts(BEGINNING) == []
    return accounts.balance_of(wallet.pk).posted // CREDIT


def send(headers: dict[str, str], path: str, body: Any) -> Any:
    return Client().post(f"/api/v1/top-ups{path}", body, content_type="application/json", headers=headers)


def test_from_a_pack_to_credits(wallet: Account, stripe: StripeServer, token_of) -> None:
    operator = token_of("operators")
    [pack] = Client().get("/api/v1/credit-packs", headers=operator).json()["results"]
    assert pack == {"pack": "5000:500:eur", "microcredits": 5000 * CREDIT, "priceMinor": 500, "currency": "eur"}
    body = {"wallet": wallet.pk, "pack": pack["pack"], "id": str(uuid7())}
    answers = [send(operator, "", body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["checkoutUrl"] == "https://checkout.stripe.com/c/pay/cs_live_1"
    assert list(stripe.by_key) == [body["id"]]
    form = stripe.forms[0]
    assert form["line_items[0][price_data][unit_amount]"] == "500"
    assert form["success_url"] == f"http://127.0.0.1:8081/admin/ledger/account/{wallet.pk}/change/"
    assert credits_of(wallet) == 0
    paid = event("completed", TopUp.objects.get(), id="cs_live_1")
    assert outcomes(paid, paid) == ["credited", "seen"]
    assert credits_of(wallet) == 5000
    told = AuditEvent.objects.filter(subject="ledger.topup", action="update").latest("pk")
    assert (told.via, told.tool, told.after["state"]) == ("api", "stripe", "paid")
    [shown] = Client().get("/api/v1/top-ups?state=paid", headers=operator).json()["results"]
    assert (shown["wallet"], shown["state"], shown["reference"]) == (wallet.pk, "paid", "cs_live_1")
    entry = Entry.objects.get()
    assert (entry.source, entry.kind, entry.debit_id) == (UUID(body["id"]), EntryKind.TOPUP, 4)
    assert send(operator, "", body).status_code == 400  # it is paid
    assert send(operator, "", body | {"wallet": wallet.pk + 1}).status_code == 400  # a test wallet, a live key


def test_one_id_is_one_top_up(wallet: Account, stripe: StripeServer, token_of, settings) -> None:
    settings.CREDIT_PACKS = (PACK, Pack(9, 1, "eur"))
    operator, body = token_of("operators"), {"wallet": wallet.pk, "pack": "5000:500:eur", "id": str(uuid7())}
    assert send(operator, "", body).status_code == 201
    answer = send(operator, "", body | {"pack": "9:1:eur"})
    assert (answer.status_code, answer.json()["error"]) == (409, "begun_otherwise")
    assert TopUp.objects.count() == 1


@pytest.mark.parametrize(
    "answer",
    [(402, b'{"error": {"message": "no"}}'), (200, b"{}"), (200, b"x"), (200, b"[" * 99_999), (200, b"1" * 300_000)],
)
def test_a_checkout_that_stripe_does_not_make(
    wallet: Account, stripe: StripeServer, token_of, answer: tuple[int, bytes]
) -> None:
    stripe.answer = answer
    said = send(token_of("operators"), "", {"wallet": wallet.pk, "pack": "5000:500:eur"})
    assert (said.status_code, said.json()["error"]) == (502, "provider_failed")
    assert "sk_live" not in said.content.decode()
    assert not Entry.objects.exists()


def test_stripe_away(wallet: Account, stripe: StripeServer, token_of, settings) -> None:
    settings.STRIPE_URL = "http://127.0.0.1:1"
    assert send(token_of("operators"), "", {"wallet": wallet.pk, "pack": "5000:500:eur"}).status_code == 502


@pytest.mark.parametrize(
    ("told", "expected", "left"),
    [
        (["completed", "async_succeeded"], ["credited", "ignored"], 5000),
        (["completed_unpaid", "async_succeeded"], ["ignored", "credited"], 5000),
        (["async_failed", "completed"], ["counted", "credited"], 5000),
        (["completed", "async_failed", "expired"], ["credited", "ignored", "ignored"], 5000),
        (["expired"], ["counted"], 0),
        (["completed", "refunded"], ["credited", "counted"], 0),
        (["refunded", "completed"], ["early", "credited"], 0),
        (["completed", "refunded_in_part", "refunded"], ["credited", "counted", "counted"], 0),
        (["completed", "refunded", "refunded_in_part"], ["credited", "counted", "ignored"], 0),
        (["completed", "refunded_in_part"], ["credited", "counted"], 3000),
        (["refunded_in_part", "refunded", "completed"], ["early", "early", "credited"], 0),
        (["completed", "dispute_withdrawn"], ["credited", "counted"], 0),
        (["dispute_withdrawn", "completed"], ["early", "credited"], 0),
        (["completed", "dispute_withdrawn", "dispute_reinstated"], ["credited", "counted", "counted"], 5000),
        (["completed", "dispute_reinstated", "dispute_withdrawn"], ["credited", "counted", "counted"], 5000),
        (["completed", "refunded_in_part", "dispute_withdrawn"], ["credited", "counted", "counted"], 0),
        (["somebody_elses", "payout"], ["ignored", "ignored"], 0),
    ],
)
def test_what_stripe_tells(wallet: Account, top_up: TopUp, told: list[str], expected: list[str], left: int) -> None:
    bodies = [event(name, top_up) for name in told]
    assert outcomes(*bodies) == expected
    assert credits_of(wallet) == left
    kept = PaymentEvent.objects.count()
    assert set(outcomes(*bodies, *reversed(bodies))) <= {"seen", "ignored"}
    assert credits_of(wallet) == left
    assert PaymentEvent.objects.count() == kept


def test_a_dispute_takes_what_was_spent(wallet: Account, top_up: TopUp, token_of) -> None:
    outcomes(event("completed", top_up))
    taken = {"microcredits": -4000 * CREDIT, "note": "spent", "against": "revenue"}
    path = f"/api/v1/wallets/{wallet.pk}/adjustments"
    Client().post(path, taken, content_type="application/json", headers=token_of("operators"))
    outcomes(event("dispute_withdrawn", top_up))
    assert credits_of(wallet) == -4000
    top_up.refresh_from_db()
    assert top_up.state == "refunded"


@pytest.mark.parametrize(
    "changed",
    [
        {"amount_total": 499},
        {"amount_total": 501},
        {"currency": "usd"},
        {"event_livemode": False},
        {"id": "cs_live_other"},
        {"amount_total": -500},
        {"amount_total": 500.0},
        {"amount_total": 2**63},
        {"amount_total": True},
        {"payment_intent": None},
        {"payment_intent": "x" * 256},
        {"currency": ["eur"]},
        {"event_id": None},
        {"event_type": 7},
    ],
)
def test_what_does_not_say_what_we_say_is_sent_again(
    wallet: Account, top_up: TopUp, changed: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert tell(event("completed", top_up, **changed)).status_code == 500
    assert "payment_event_refused" in caplog.text
    assert not PaymentEvent.objects.exists()
    assert not Entry.objects.exists()
    assert outcomes(event("completed", top_up)) == ["credited"]
    assert credits_of(wallet) == 5000


@pytest.mark.parametrize(
    "body", [b"x", b"[]", b"{}", b"[" * 60_000, b"\xff", b'{"id": "evt", "type": "x", "data": []}']
)
def test_signed_and_no_event(stripe: StripeServer, db: None, body: bytes) -> None:
    assert tell(body).status_code in (200, 500)
    assert not PaymentEvent.objects.exists()


def test_who_is_not_stripe(wallet: Account, top_up: TopUp) -> None:
    body = event("completed", top_up)
    assert tell(body, secret="whsec_other").status_code == 400
    assert (tell(body, age=400).status_code, tell(body, age=400).json()["verdict"]) == (400, "expired")
    client = Client(enforce_csrf_checks=True)
    assert client.post("/hooks/stripe", body, content_type="application/json").status_code == 400
    assert client.get("/hooks/stripe").status_code == 405
    assert tell(b" " * 65_537).status_code == 413
    assert not PaymentEvent.objects.exists()
    assert not Entry.objects.exists()


def test_off_without_keys(wallet: Account, token_of, client_of) -> None:
    operator = token_of("operators")
    assert tell(b"{}").status_code == 404
    assert Client().get("/api/v1/credit-packs", headers=operator).json() == {"results": []}
    assert send(operator, "", {"wallet": wallet.pk, "pack": "5000:500:eur"}).status_code == 404
    assert "Top up" not in client_of("operators").get(f"/admin/ledger/account/{wallet.pk}/change/").content.decode()


def test_money_for_a_top_up_that_nobody_knows(wallet: Account, top_up: TopUp, token_of) -> None:
    body = event("completed", TopUp(source=uuid7()))
    assert outcomes(body, body) == ["unknown", "seen"]
    assert [(drift.code, drift.found) for drift in proofs.drifts(BEGINNING)] == [("payment_unknown", 500)]
    outside = {"wallet": wallet.pk, "microcredits": 5000 * CREDIT, "priceMinor": 500, "currency": "eur"}
    assert send(token_of("operators"), "/outside", outside | {"reference": "pi_3PqR"}).status_code == 201
    assert credits_of(wallet) == 5000


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_told_by_many_at_once(wallet: Account, top_up: TopUp) -> None:
    named = ("completed", "async_succeeded", "refunded_in_part", "dispute_withdrawn", "dispute_reinstated")
    bodies = [event(name, top_up) for name in named] * 4

    def told(body: bytes) -> int:
        try:
            return tell(body, raises=True).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(told, bodies)) == {200}
    assert Entry.objects.filter(kind=EntryKind.TOPUP).count() == 1
    assert not PaymentEvent.objects.filter(outcome="early").exists()
    assert credits_of(wallet) == 3000


def test_paid_outside_is_credited_once(wallet: Account, token_of) -> None:
    operator = token_of("operators")
    body = {
        "wallet": wallet.pk,
        "microcredits": 7 * CREDIT,
        "priceMinor": 700,
        "currency": "eur",
        "reference": "bank 7",
    }
    first = send(operator, "/outside", body)
    assert first.status_code == 201
    assert first.json()["state"] == "paid"
    assert send(operator, "/outside", body).status_code == 200
    for changed in ({"microcredits": 8}, {"wallet": wallet.pk + 1}, {"id": str(uuid7())}, {"currency": "usd"}):
        assert send(operator, "/outside", body | changed).status_code == 409
    other = {**body, "reference": "bank 8", "id": first.json()["source"]}
    assert send(operator, "/outside", other).status_code == 409
    assert credits_of(wallet) == 7
    made = AuditEvent.objects.filter(subject="ledger.topup", action="insert").latest("pk")
    assert made.after["price_minor"] == 700


@pytest.mark.parametrize(
    "changed",
    [{"microcredits": bad} for bad in (0, -1, 1.5, 2**63, 10**400, "NaN", True, None)]
    + [{"priceMinor": bad} for bad in (0, -1, 1.5, 2**63, None)]
    + [{"currency": bad} for bad in ("EUR", "euro", "e\n", "ééé", None)]
    + [{"reference": bad} for bad in ("", " ", "x" * 201, "nul\x00", None)]
    + [{"id": str(uuid4())}, {"state": "paid"}, {"wallet": 2**70}],
)
def test_what_cannot_have_been_paid(wallet: Account, token_of, changed: dict[str, Any]) -> None:
    body = {"wallet": wallet.pk, "microcredits": 5, "priceMinor": 5, "currency": "eur", "reference": "bank"} | changed
    assert send(token_of("operators"), "/outside", body).status_code == 400
    assert not TopUp.objects.exists()
    assert not Entry.objects.exists()


def test_refunds_of_what_was_paid_outside(wallet: Account, token_of) -> None:
    operator = token_of("operators")
    body = {"wallet": wallet.pk, "microcredits": 10 * CREDIT, "priceMinor": 300, "currency": "eur", "reference": "bank"}
    path = f"/{send(operator, '/outside', body).json()['id']}/refund"
    for asked in ({"priceMinor": 301}, {"priceMinor": 0}, {"priceMinor": -1}, {"credits": 1}):
        assert send(operator, path, asked).status_code == 400
    thirds = [send(operator, path, {"priceMinor": 100}).json() for _ in range(2)]
    assert [refund["microcredits"] for refund in thirds[1]["refunds"]] == [3_333_333, 3_333_333]
    whole = send(operator, path, {}).json()
    assert whole["state"] == "refunded"
    assert sum(refund["microcredits"] for refund in whole["refunds"]) == 10 * CREDIT
    assert send(operator, path, {}).status_code == 400
    assert credits_of(wallet) == 0
    assert Refund.objects.count() == 3


def test_stripes_are_refunded_there(top_up: TopUp, token_of) -> None:
    outcomes(event("completed", top_up))
    assert send(token_of("operators"), f"/{top_up.pk}/refund", {}).status_code == 400
    assert not Refund.objects.exists()


@pytest.mark.parametrize(
    ("who", "posted"), [("viewers", 403), ("support", 403), ("operators", 201), ("superuser", 201)]
)
def test_who_may(top_up: TopUp, wallet: Account, token_of, who: str, posted: int) -> None:
    headers = token_of(who)
    for path in ("top-ups", f"top-ups/{top_up.pk}", "credit-packs"):
        assert Client().get(f"/api/v1/{path}", headers=headers).status_code == 200
    outside = {"wallet": wallet.pk, "microcredits": 5, "priceMinor": 5, "currency": "eur", "reference": "bank"}
    begun = send(headers, "", {"wallet": wallet.pk, "pack": "5000:500:eur"})
    assert begun.status_code == (201 if posted == 201 else 404)  # members top up too: what is not theirs is not there
    assert send(headers, "/outside", outside).status_code == posted
    paid = topups.topup_record_outside(
        account=wallet, microcredits=5, price_minor=5, currency="eur", reference="other", by=rows.user("ada")
    )[0]
    assert send(headers, f"/{paid.pk}/refund", {}).status_code == posted
    assert send({}, "/outside", outside).status_code == 401


def test_a_pool_is_not_topped_up(wallet: Account, token_of) -> None:
    pool = Account.objects.get(project_id=wallet.project_id, kind=AccountKind.POOL, mode="live")
    body = {"wallet": pool.pk, "microcredits": 5, "priceMinor": 5, "currency": "eur", "reference": "bank"}
    assert send(token_of("operators"), "/outside", body).status_code == 404


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE ledger_refund SET microcredits = 1",
        "DELETE FROM ledger_refund",
        "TRUNCATE ledger_refund",
    ],
)
def test_refunds_stay(wallet: Account, top_up: TopUp, sql: str) -> None:
    outcomes(event("completed", top_up), event("refunded", top_up))
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # pending checks would refuse a TRUNCATE too
        cursor.execute("SET LOCAL relay.may_truncate = 'off'")  # which lets the tests empty tables
    with pytest.raises(DatabaseError, match="only ever added to"), transaction.atomic():
        connection.cursor().execute(sql)


def test_proofs_see_a_top_up_without_its_entry(wallet: Account, top_up: TopUp) -> None:
    TopUp.objects.update(state="paid")
    assert [(drift.code, drift.expected, drift.found) for drift in proofs.drifts(BEGINNING)] == [
        ("topup_differs", 5000 * CREDIT, 0)
    ]
    TopUp.objects.update(state="pending")
    outcomes(event("completed", top_up))
    TopUp.objects.update(state="pending")
    assert [(drift.code, drift.expected, drift.found) for drift in proofs.drifts(BEGINNING)] == [
        ("topup_differs", None, 5000 * CREDIT)
    ]


def test_pages_of_the_admin(wallet: Account, stripe: StripeServer, client_of) -> None:
    client = client_of("operators")
    page = client.get(f"/admin/ledger/account/{wallet.pk}/change/").content.decode()
    assert "Top up…" in page
    assert "Paid outside…" in page
    begin = f"/admin/ledger/topup/begin/{wallet.pk}/"
    assert "5,000 credits for 5.00 EUR" in client.get(begin).content.decode()
    source = client.get(begin).context["form"]["source"].value()
    for _ in range(2):
        shown = client.post(begin, {"pack": "5000:500:eur", "source": source}).content.decode()
        assert 'href="https://checkout.stripe.com/c/pay/cs_live_1"' in shown
    assert client.post(begin, {"pack": "1:1:eur", "source": uuid7()}).status_code == 200
    assert TopUp.objects.get().state == "pending"
    outside = f"/admin/ledger/topup/outside/{wallet.pk}/"
    form = {"amount": "2.5", "price_minor": "250", "currency": "eur", "reference": "<b>bank</b>"}
    for _ in range(2):
        assert client.post(outside, form).status_code == 302
    for changed in ({"amount": "3"}, {"amount": "0"}, {"price_minor": "-1"}, {"currency": "EUR"}, {"reference": " "}):
        assert client.post(outside, form | changed).status_code == 200
    paid = TopUp.objects.get(provider="outside")
    own = f"/admin/ledger/topup/{paid.pk}"
    assert f"{own}/refund/" in client.get(f"{own}/change/").content.decode()
    assert client.get(f"{own}/refund/").status_code == 200
    assert client.post(f"{own}/refund/", {"price_minor": "251"}).status_code == 200
    assert client.post(f"{own}/refund/", {"price_minor": "100"}).status_code == 302
    shown = client.get(f"{own}/change/").content.decode()
    assert "refund 1.00 EUR, 1 credits" in shown
    assert "&lt;b&gt;bank&lt;/b&gt;" in shown
    assert client.post(f"{own}/refund/", {"price_minor": ""}).status_code == 302
    assert f"{own}/refund/" not in client.get(f"{own}/change/").content.decode()
    assert "5.00 EUR" in client.get("/admin/ledger/topup/").content.decode()
    assert "Paid outside: " in client.get(f"/admin/ledger/account/{wallet.pk}/history/").content.decode()
    assert credits_of(wallet) == 0


@pytest.mark.parametrize("who", ["anonymous", "viewers", "support"])
def test_pages_that_write_are_operators(top_up: TopUp, wallet: Account, client_of, who: str) -> None:
    client, refused = client_of(who), 302 if who == "anonymous" else 403
    form = {"amount": "2.5", "price_minor": "250", "currency": "eur", "reference": "bank", "pack": "5000:500:eur"}
    for path in (f"begin/{wallet.pk}/", f"outside/{wallet.pk}/", f"{top_up.pk}/refund/"):
        assert client.get(f"/admin/ledger/topup/{path}").status_code == refused
        assert client.post(f"/admin/ledger/topup/{path}", form | {"source": uuid7()}).status_code == refused
    assert TopUp.objects.count() == 1
    assert not Entry.objects.exists()


def test_a_test_wallet_is_not_topped_up_with_live_money(wallet: Account, stripe: StripeServer, client_of) -> None:
    client = client_of("operators")
    assert "Top up…" not in client.get(f"/admin/ledger/account/{wallet.pk + 1}/change/").content.decode()
    assert client.get(f"/admin/ledger/topup/begin/{wallet.pk + 1}/").status_code == 404
    assert client.get("/admin/ledger/topup/outside/2/").status_code == 404


def test_prices_in_words() -> None:
    assert [price_text(1234567, each) for each in ("eur", "jpy", "kwd")] == [
        "12,345.67 EUR", "1,234,567 JPY", "1,234.567 KWD",
    ]  # fmt: skip


def test_packs() -> None:
    assert read_packs("5000:500:eur, 50000:4500:eur") == (PACK, Pack(50_000, 4500, "eur"))
    for bad in ("5000:500", "5000:500:EUR", "0:1:eur", "1:0:eur", "-1:1:eur", "1.5:1:eur", "5:5:eur 5:5:eur", "x" * 99):
        with pytest.raises(ValueError):  # noqa: PT011
            read_packs(bad)

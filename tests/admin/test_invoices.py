"""Invoices and exports: numbers without gaps, sums that are the ledger's, and cells that no spreadsheet runs."""

import csv
import io
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import AsyncClient, Client

from delivery import tasks
from relay_admin.catalog.models import Project
from relay_admin.ledger import accounts, corrections, exports, topups
from relay_admin.ledger.invoices import invoice_csv, invoices_issue, month_before
from relay_admin.ledger.locks import Lock
from relay_admin.ledger.models import Account, Day, Entry, Invoice, TopUp
from relay_contract.ledger import AccountKind, EntryKind
from tests.admin import rows
from tests.admin.test_double_entry import fold

CREDIT = 1_000_000
LAST_MONTH = month_before(datetime.now(UTC).date())
BEFORE_THAT = month_before(LAST_MONTH)


@pytest.fixture
def wallet(catalog: rows.Catalog) -> Account:
    return Account.objects.get(project_id=catalog.project.pk, kind=AccountKind.WALLET, mode="live")


def grant(account: Account, credits_: int, note: str = "why") -> Entry:
    by = rows.user(f"giver-{Entry.objects.count()}")
    return corrections.credits_grant(account=account, microcredits=credits_ * CREDIT, note=note, by=by)[0]


def paid(account: Account) -> TopUp:
    return topups.topup_record_outside(
        account=account, microcredits=9 * CREDIT, price_minor=900, currency="eur", reference="=1+1", by=rows.user("ada")
    )[0]


def move_to(day: date) -> None:
    """All that is folded of this month, as if it had been that day's."""
    fold()
    Day.objects.filter(day__gte=datetime.now(UTC).date().replace(day=1)).update(day=day)


def test_the_keeper_of_the_purses_holds_up_no_invoice(catalog: rows.Catalog, wallet: Account) -> None:
    """It has its lock as long as it lives."""
    grant(wallet, 5)
    move_to(LAST_MONTH)
    with psycopg.connect(**connection.get_connection_params()) as keeper, connection.cursor() as cursor:
        keeper.execute("SELECT pg_advisory_lock(%s)", [int(Lock.KEEPER)])
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        assert len(invoices_issue(LAST_MONTH)) == 1


def test_what_moved_in_a_month(catalog: rows.Catalog, wallet: Account) -> None:
    grant(wallet, 100)
    move_to(BEFORE_THAT)
    top_up = paid(wallet)
    TopUp.objects.update(paid_at=datetime(LAST_MONTH.year, LAST_MONTH.month, 3, tzinfo=UTC))
    grant(wallet, 5)
    grant(wallet, 6)
    move_to(LAST_MONTH)
    grant(wallet, 1000)  # of this month
    [invoice] = invoices_issue(LAST_MONTH)
    assert (invoice.account_id, invoice.owner, str(invoice)) == (wallet.pk, "shop", f"{datetime.now(UTC).year}-000001")
    assert invoice.lines == [
        {"kind": "topup", "entries": 1, "debit": 0, "credit": 9 * CREDIT},
        {"kind": "grant", "entries": 2, "debit": 0, "credit": 11 * CREDIT},
    ]
    assert (invoice.opening_microcredits, invoice.closing_microcredits) == (100 * CREDIT, 120 * CREDIT)
    [payment] = invoice.payments
    assert (payment["kind"], payment["price_minor"], payment["currency"]) == ("top_up", 900, "eur")
    assert top_up.microcredits == payment["microcredits"]
    assert invoices_issue(LAST_MONTH) == []
    [before] = invoices_issue(BEFORE_THAT)
    assert (before.number, before.opening_microcredits, before.closing_microcredits) == (2, 0, 100 * CREDIT)


def test_by_the_schedule_and_by_command(catalog: rows.Catalog, wallet: Account, capsys) -> None:
    grant(wallet, 5)
    move_to(LAST_MONTH)
    tasks.issue_invoices()
    tasks.issue_invoices()
    assert Invoice.objects.get().account_id == wallet.pk
    call_command("invoices", "issue", month=f"{BEFORE_THAT:%Y-%m}")
    assert "0 issued" in capsys.readouterr().out
    for month in ("2026", "2026-13", f"{datetime.now(UTC):%Y-%m}", "9999-01"):
        with pytest.raises(CommandError):
            call_command("invoices", "issue", month=month)


def test_a_month_that_is_not_over(db: None) -> None:
    with pytest.raises(ValidationError):
        invoices_issue(datetime.now(UTC).date())


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_numbers_have_no_gaps(catalog: rows.Catalog) -> None:
    for number in range(5):
        Project.objects.create(slug=f"shop-{number}", name="Shop")
    for account in Account.objects.filter(kind=AccountKind.WALLET, project_id__isnull=False):
        grant(account, 1)
    move_to(LAST_MONTH)

    def issue(_: int) -> int:
        try:
            return len(invoices_issue(LAST_MONTH))
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(issue, range(4))) == 12
    assert sorted(Invoice.objects.values_list("number", flat=True)) == list(range(1, 13))


@pytest.mark.parametrize("sql", ["UPDATE ledger_invoice SET number = 7", "DELETE FROM ledger_invoice"])
def test_invoices_stay(wallet: Account, sql: str) -> None:
    grant(wallet, 5)
    move_to(LAST_MONTH)
    invoices_issue(LAST_MONTH)
    with pytest.raises(DatabaseError, match="only ever added to"), transaction.atomic():
        connection.cursor().execute(sql)


def test_pages_of_invoices(catalog: rows.Catalog, wallet: Account, client_of, token_of) -> None:
    Project.objects.update(slug="b-shop")
    paid(wallet)
    TopUp.objects.update(paid_at=datetime(LAST_MONTH.year, LAST_MONTH.month, 3, tzinfo=UTC), reference="<i>=1</i>")
    move_to(LAST_MONTH)
    [invoice] = invoices_issue(LAST_MONTH)
    for who, status in (("viewers", 200), ("support", 200), ("operators", 200), ("anonymous", 302)):
        client = client_of(who)
        for path in ("", f"{invoice.pk}/change/", f"{invoice.pk}/csv/"):
            assert client.get(f"/admin/ledger/invoice/{path}").status_code == status
    client = client_of("superuser")
    page = client.get(f"/admin/ledger/invoice/{invoice.pk}/change/").content.decode()
    for text in (f"Invoice {invoice}", "b-shop", "9.00 EUR", "&lt;i&gt;=1&lt;/i&gt;"):
        assert text in page
    assert client.get("/admin/ledger/invoice/999999/change/").status_code == 404
    reader = token_of("viewers")
    [listed] = Client().get(f"/api/v1/invoices?wallet={wallet.pk}", headers=reader).json()["results"]
    assert (listed["number"], listed["closingMicrocredits"]) == (str(invoice), 9 * CREDIT)
    assert Client().get(f"/api/v1/invoices/{invoice.pk}", headers=reader).json() == listed
    assert Client().get("/api/v1/invoices/999999", headers=reader).status_code == 404
    assert Client().get("/api/v1/invoices").status_code == 401
    written = list(csv.DictReader(io.StringIO(invoice_csv(invoice))))
    assert [row["what"] for row in written] == ["opening", "topup", "payment: top_up", "closing"]


def exported(path: str, headers: dict[str, str]) -> tuple[int, Any]:
    """Over ASGI, as it is served: the answer streams."""

    async def ask() -> tuple[int, bytes]:
        answer = await AsyncClient().get(f"/api/v1/exports/{path}", headers=headers)
        if not answer.streaming:
            return answer.status_code, answer.content
        return answer.status_code, b"".join([chunk async for chunk in answer.streaming_content])

    status, body = async_to_sync(ask)()
    return status, list(csv.DictReader(io.StringIO(body.decode()))) if status == 200 else body


def test_exports(catalog: rows.Catalog, wallet: Account, token_of, monkeypatch) -> None:
    monkeypatch.setattr(exports, "PAGE", 2)
    for note in ("=cmd()", "+1", "-1", "@x", "\tx", "\rx", "fine, 'it is'", "a\nb"):
        grant(wallet, 1, note)
    topups.topup_refund(top_up=paid(wallet), price_minor=300, by=rows.user("bob"))
    move_to(LAST_MONTH)
    invoices_issue(LAST_MONTH)
    reader = token_of("viewers")
    status, entries = exported(f"entries.csv?wallet={wallet.pk}", reader)
    assert status == 200
    assert [(row["kind"], row["microcredits"]) for row in entries[:3]] == [
        ("refund_topup", "-3000000"), ("topup", "9000000"), ("grant", "1000000"),
    ]  # fmt: skip
    assert [row["note"] for row in entries[2:]] == [
        "a\nb", "fine, 'it is'", "'\rx", "'\tx", "'@x", "'-1", "'+1", "'=cmd()",
    ]  # fmt: skip
    assert len({row["id"] for row in entries}) == len(accounts.entries_page(wallet.pk, limit=99)) == 10
    status, [top_up] = exported("top-ups.csv", reader)
    assert (top_up["reference"], top_up["price_minor"], top_up["refunded_minor"]) == ("'=1+1", "900", "300")
    assert exported(f"top-ups.csv?wallet={wallet.pk + 1}", reader) == (200, [])
    status, [invoice] = exported("invoices.csv", reader)
    assert (invoice["owner"], invoice["closing"]) == ("shop", str(14 * CREDIT))


def test_exports_that_are_none(wallet: Account, token_of) -> None:
    reader = token_of("viewers")
    for path, status in (
        ("entries.csv", 400),
        ("entries.csv?wallet=2", 404),
        ("entries.csv?wallet=x", 400),
        ("top-ups.csv?state=paid", 400),
        ("secrets.csv", 404),
        ("entries.json", 404),
    ):
        assert exported(path, reader)[0] == status, path
    nobody = rows.user("nobody")
    client = Client()
    client.force_login(nobody)
    for kind in ("entries", "top-ups", "invoices"):
        assert client.get(f"/api/v1/exports/{kind}.csv?wallet={wallet.pk}").status_code == 404
        assert Client().get(f"/api/v1/exports/{kind}.csv?wallet={wallet.pk}").status_code == 401


def test_a_cell() -> None:
    assert [exports.cell(value) for value in ("=1", "\n=1", "1=", -5, None, "", "'", EntryKind.GRANT)] == [
        "'=1", "'\n=1", "1=", -5, "", "", "'", 11,
    ]  # fmt: skip


def test_the_month_before() -> None:
    assert [month_before(date(2026, month, 31 if month != 3 else 1)) for month in (1, 3, 12)] == [
        date(2025, 12, 1), date(2026, 2, 1), date(2026, 11, 1),
    ]  # fmt: skip
    assert month_before(date(2026, 1, 1)) + timedelta(days=31) == date(2026, 1, 1)

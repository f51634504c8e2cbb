"""Invoices: what moved on a wallet in a month, written down once and never changed.

Numbers of a year have no gaps: they are taken one after the other, in the transaction that writes the invoice.
"""

import csv
import io
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Max

from relay_admin.ledger import accounts
from relay_admin.ledger.locks import Lock
from relay_admin.ledger.models import Invoice, Refund, TopUp
from relay_admin.ledger.movements import UNFOLDED
from relay_contract.ledger import AccountKind, EntryKind

SETTLED_AFTER = timedelta(hours=1)
"""After a month: a transaction that began in it is over by then, and posts nothing into it any more."""

_SIDES = f"""
    SELECT account_id, day, kind, debit, credit, entries FROM ledger_day
    UNION ALL
    SELECT account_id, day, kind, debit, credit, entries FROM ({UNFOLDED}) AS movement
"""  # noqa: S608 (constants)
# One look into an index a wallet, and one at the deltas for all of them.
_DUE = f"""
WITH unfolded AS MATERIALIZED (
    SELECT account_id FROM ({UNFOLDED}) AS movement WHERE day >= %(start)s AND day < %(end)s AND entries > 0
)
SELECT account.id FROM ledger_account AS account
WHERE account.kind = '{AccountKind.WALLET}'
    AND (
        EXISTS (
            SELECT 1 FROM ledger_day
            WHERE account_id = account.id AND day >= %(start)s AND day < %(end)s AND entries > 0
        )
        OR account.id IN (SELECT account_id FROM unfolded)
    )
    AND NOT EXISTS (SELECT 1 FROM ledger_invoice WHERE account_id = account.id AND period_start = %(start)s)
ORDER BY account.id
"""  # noqa: S608 (constants)
_LINES = f"""
SELECT kind, sum(entries)::bigint, sum(debit)::bigint, sum(credit)::bigint FROM ({_SIDES}) AS side
WHERE account_id = %(id)s AND day >= %(start)s AND day < %(end)s
GROUP BY kind HAVING sum(entries) > 0 ORDER BY kind
"""  # noqa: S608 (constants)
_OPENING = f"""
SELECT coalesce(sum(credit - debit), 0)::bigint FROM ({_SIDES}) AS side WHERE account_id = %(id)s AND day < %(start)s
"""  # noqa: S608 (constants)


def month_before(today: date) -> date:
    """The first day of the month before a day's."""
    return (today.replace(day=1) - timedelta(days=1)).replace(day=1)


def invoices_issue(month: date) -> list[Invoice]:
    """Those of wallets that had movement in the month, UTC, and have none for it yet. May be run again, and twice at
    once. Raises ValidationError for a month that is not over."""
    start = month.replace(day=1)
    end = _month_after(start)
    if datetime.now(UTC) < datetime(end.year, end.month, end.day, tzinfo=UTC) + SETTLED_AFTER:
        raise ValidationError(f"{start:%Y-%m} is not over, or not for an hour.")
    with connection.cursor() as cursor:
        cursor.execute(_DUE, {"start": start, "end": end})
        due = [account_id for (account_id,) in cursor.fetchall()]
    return [invoice for account_id in due if (invoice := _issue(account_id, start, end))]


def invoice_csv(invoice: Invoice) -> str:
    """Its lines and payments, in micro-credits."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(
        ["invoice", "what", "entries", "debit_microcredits", "credit_microcredits", "price_minor", "currency"]
    )
    number = str(invoice)
    writer.writerow([number, "opening", "", "", invoice.opening_microcredits, "", ""])
    for line in invoice.lines:
        writer.writerow([number, line["kind"], line["entries"], line["debit"], line["credit"], "", ""])
    for paid in invoice.payments:
        what = f"payment: {paid['kind']}"
        writer.writerow([number, what, "", "", paid["microcredits"], paid["price_minor"], paid["currency"]])
    writer.writerow([number, "closing", "", "", invoice.closing_microcredits, "", ""])
    return out.getvalue()


def _month_after(start: date) -> date:
    return (start + timedelta(days=31)).replace(day=1)


def _issue(account_id: int, start: date, end: date) -> Invoice | None:
    """None where somebody else was faster."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [Lock.INVOICES])
            if Invoice.objects.filter(account_id=account_id, period_start=start).exists():
                return None
            place: dict[str, int | date] = {"id": account_id, "start": start, "end": end}
            cursor.execute(_OPENING, place)
            [opening] = cursor.fetchone()
            cursor.execute(_LINES, place)
            lines = [
                {"kind": EntryKind(kind).name.lower(), "entries": entries, "debit": debit, "credit": credit}
                for kind, entries, debit, credit in cursor.fetchall()
            ]
        year = datetime.now(UTC).year
        last = Invoice.objects.filter(year=year).aggregate(last=Max("number"))["last"] or 0
        return Invoice.objects.create(
            year=year,
            number=last + 1,
            account_id=account_id,
            owner=_owner(account_id),
            period_start=start,
            period_end=end,
            opening_microcredits=opening,
            closing_microcredits=opening + sum(line["credit"] - line["debit"] for line in lines),
            lines=lines,
            payments=sorted(_payments(account_id, start, end), key=lambda paid: str(paid["at"])),
        )


def _owner(account_id: int) -> str:
    found = accounts.balance_of(account_id)
    gone = f"project {found.project_id}" if found.project_id else f"user {found.user_id}"
    return found.project or found.user or gone


def _payments(account_id: int, start: date, end: date) -> Iterable[dict[str, Any]]:
    """Prices stand here alone: a credit has none of its own."""
    since, until = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (start, end))
    for paid in TopUp.objects.filter(account_id=account_id, paid_at__gte=since, paid_at__lt=until):
        assert paid.paid_at is not None  # as it was asked for
        yield _payment(paid.paid_at, "top_up", paid, paid.price_minor, paid.microcredits)
    refunds = Refund.objects.filter(top_up__account_id=account_id, at__gte=since, at__lt=until)
    for refund in refunds.select_related("top_up"):
        yield _payment(refund.at, refund.why, refund.top_up, -refund.price_minor, -refund.microcredits)


def _payment(at: datetime, kind: str, top_up: TopUp, price_minor: int, microcredits: int) -> dict[str, Any]:
    return {
        "at": at.isoformat(),
        "kind": str(kind),
        "reference": top_up.reference,
        "price_minor": price_minor,
        "currency": top_up.currency,
        "microcredits": microcredits,
    }

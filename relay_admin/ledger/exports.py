"""Rows as CSV, a page at a time: no process holds more than one page, however many follow."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.db.models import QuerySet

from relay_admin.ledger import accounts
from relay_admin.ledger.models import Invoice, TopUp

PAGE = 1_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

ENTRIES = ("id", "kind", "microcredits", "other_account", "at", "by_user", "note")
TOP_UPS = (
    *("id", "source", "wallet", "microcredits", "price_minor", "currency", "provider", "reference", "state"),
    *("created_at", "paid_at", "refunded_minor"),
)
INVOICES = ("number", "wallet", "owner", "period_start", "period_end", "opening", "closing", "issued_at")


def cell(value: Any) -> Any:
    """A spreadsheet takes text that begins so for a formula, whoever wrote it. Numbers are ours and stay numbers."""
    if isinstance(value, int):
        return value
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def entries_csv(account_id: int) -> Iterator[str]:
    """All entries of an account, newest first. Deliveries are none."""
    yield _lines([ENTRIES])
    before = accounts.NEWEST
    while page := accounts.entries_page(account_id, before, PAGE):
        yield _lines(
            (
                line.source,
                line.kind.name.lower(),
                line.amount,
                line.other_id,
                line.at.isoformat(),
                line.by_id,
                line.note,
            )
            for line in page
        )
        before = (page[-1].source, page[-1].kind)


def top_ups_csv(rows: QuerySet[TopUp]) -> Iterator[str]:
    """Newest first."""
    yield _lines([TOP_UPS])
    for page in _pages(rows.prefetch_related("refunds")):
        yield _lines(
            (
                *(row.pk, row.source, row.account_id, row.microcredits, row.price_minor, row.currency, row.provider),
                *(row.reference, row.state, row.created_at.isoformat(), row.paid_at and row.paid_at.isoformat()),
                sum(refund.price_minor for refund in row.refunds.all()),
            )
            for row in page
        )


def invoices_csv(rows: QuerySet[Invoice]) -> Iterator[str]:
    """Newest first. Balances are micro-credits."""
    yield _lines([INVOICES])
    for page in _pages(rows):
        yield _lines(
            (
                *(str(row), row.account_id, row.owner, row.period_start, row.period_end),
                *(row.opening_microcredits, row.closing_microcredits, row.issued_at.isoformat()),
            )
            for row in page
        )


async def streamed(chunks: Iterator[str]) -> AsyncIterator[str]:
    """For an answer under ASGI: each page is read in the request's own thread."""
    while (chunk := await sync_to_async(next)(chunks, None)) is not None:
        yield chunk


def _pages(rows: QuerySet[Any]) -> Iterator[list[Any]]:
    before = 2**63 - 1
    while page := list(rows.filter(pk__lt=before).order_by("-pk")[:PAGE]):
        yield page
        before = page[-1].pk


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows([cell(value) for value in row] for row in rows)
    return out.getvalue()

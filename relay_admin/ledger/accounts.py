"""What accounts have and what moved on them, exact at every moment: what was folded and what was not, in one statement.

Reads one row of an account and the deltas of the last second, however many entries there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.db import connection

from relay_admin.ledger.models import Account
from relay_admin.ledger.movements import UNFOLDED
from relay_contract.ledger import CALL_KINDS, EntryKind

_BALANCES = f"""
WITH moved AS (
    SELECT account_id, sum(debit) AS debit, sum(credit) AS credit, sum(open_holds) AS open_holds
    FROM ({UNFOLDED}) AS movement WHERE account_id = ANY(%(ids)s::bigint[]) GROUP BY account_id
)
SELECT account.id, account.kind, account.mode, account.project_id, coalesce(project.slug, ''),
    account.user_id, coalesce(owner.username, ''),
    (coalesce(stored.debit, 0) + coalesce(moved.debit, 0))::bigint,
    (coalesce(stored.credit, 0) + coalesce(moved.credit, 0))::bigint,
    (coalesce(stored.open_holds, 0) + coalesce(moved.open_holds, 0))::bigint,
    account.overdraft_microcredits, account.low_balance_microcredits
FROM ledger_account AS account
    LEFT JOIN ledger_balance AS stored ON stored.account_id = account.id
    LEFT JOIN moved ON moved.account_id = account.id
    LEFT JOIN catalog_project AS project ON project.id = account.project_id
    LEFT JOIN access_user AS owner ON owner.id = account.user_id
WHERE account.id = ANY(%(ids)s::bigint[])
ORDER BY account.id
"""  # noqa: S608 (constants)

TOTALS = f"""
SELECT account_id, sum(debit)::bigint AS debit, sum(credit)::bigint AS credit FROM (
    SELECT account_id, debit, credit FROM ledger_balance
    UNION ALL
    SELECT account_id, debit, credit FROM ({UNFOLDED}) AS movement
) AS side
GROUP BY account_id
"""  # noqa: S608 (constants)
"""Each account's sums."""

_TRIAL = f"""
SELECT account.mode, account.kind, count(*), coalesce(sum(total.debit), 0)::bigint,
    coalesce(sum(total.credit), 0)::bigint
FROM ledger_account AS account LEFT JOIN ({TOTALS}) AS total ON total.account_id = account.id
GROUP BY account.mode, account.kind
ORDER BY account.mode, min(account.id)
"""  # noqa: S608 (constants)

# Each side walks its own index from the place on, so a page costs what it shows.
_ENTRIES = """
SELECT source, kind, other_id, moved, at, by_id, note, project_id, terms_id, pricing_id, pricing_version,
    application_id FROM (
    (SELECT *, credit_id AS other_id, -amount AS moved FROM ledger_entry
    WHERE debit_id = %(id)s AND (source, kind) < (%(source)s, %(kind)s)
    ORDER BY source DESC, kind DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT *, debit_id AS other_id, amount AS moved FROM ledger_entry
    WHERE credit_id = %(id)s AND (source, kind) < (%(source)s, %(kind)s)
    ORDER BY source DESC, kind DESC LIMIT %(limit)s)
) AS line
ORDER BY source DESC, kind DESC LIMIT %(limit)s
"""

_DAYS = f"""
SELECT day, kind, sum(debit)::bigint, sum(credit)::bigint, sum(entries)::bigint FROM (
    SELECT account_id, day, kind, debit, credit, entries FROM ledger_day
    UNION ALL
    SELECT account_id, day, kind, debit, credit, entries FROM ({UNFOLDED}) AS movement
) AS side
WHERE account_id = %(id)s AND day >= %(since)s AND day < %(until)s
GROUP BY day, kind HAVING sum(entries) > 0
ORDER BY day DESC, kind
"""  # noqa: S608 (constants)

Place = tuple[UUID, int]
"""Of an entry in a list: its source and kind."""
NEWEST: Place = (UUID(int=2**128 - 1), 2**15 - 1)


@dataclass(frozen=True, slots=True)
class Balance:
    """Micro-credits of an account of a project, of a user, or with neither of the relay's own. Names are "" of what is
    gone."""

    account_id: int
    kind: str
    mode: str
    project_id: int | None
    project: str
    user_id: int | None
    user: str
    debit: int
    credit: int
    open_holds: int
    overdraft: int
    low_balance: int | None  # below which alerts tell

    @property
    def is_owned(self) -> bool:
        """Not the relay's own."""
        return self.project_id is not None or self.user_id is not None

    @property
    def posted(self) -> int:
        """What is settled: below 0 where more was taken than given."""
        return self.credit - self.debit

    @property
    def available(self) -> int:
        """Less what deliveries under way hold."""
        return self.posted - self.open_holds


@dataclass(frozen=True, slots=True)
class TrialLine:
    """All accounts of a kind and mode. Over a mode's lines debits and credits are equal."""

    mode: str
    kind: str
    accounts: int
    debit: int
    credit: int


@dataclass(frozen=True, slots=True)
class Line:
    """An entry as one of its accounts sees it: `amount` is below 0 where it went out, to `other_id`."""

    source: UUID
    kind: EntryKind
    other_id: int
    amount: int
    at: datetime
    by_id: int | None
    note: str
    project_id: int | None = None  # of a call, and so the three below: under which terms and prices it was charged
    terms_id: int | None = None
    pricing_id: int | None = None
    pricing_version: int | None = None
    application_id: int | None = None  # of a call with an access token

    @property
    def call_id(self) -> UUID | None:
        """Of the call that it was posted for."""
        return self.source if self.kind in CALL_KINDS else None

    @property
    def place(self) -> str:
        """As `place_of` reads it."""
        return f"{self.source}.{self.kind:d}"


@dataclass(frozen=True, slots=True)
class DayTotal:
    """What moved on a day, UTC, by kind."""

    day: date
    kind: EntryKind
    debit: int
    credit: int
    entries: int


def balances(account_ids: Sequence[int]) -> dict[int, Balance]:
    """Of the accounts that there are, by id."""
    return {row[0]: Balance(*row) for row in _rows(_BALANCES, {"ids": list(account_ids)})}


def balance_of(account_id: int) -> Balance:
    """Raises Account.DoesNotExist."""
    found = balances([account_id])
    if account_id not in found:
        raise Account.DoesNotExist
    return found[account_id]


def trial_balance() -> list[TrialLine]:
    """By mode and kind; sums over all accounts."""
    return [TrialLine(*row) for row in _rows(_TRIAL, {})]


def entries_page(account_id: int, before: Place = NEWEST, limit: int = 50) -> list[Line]:
    """The newest before a place. Deliveries are no entries: `days` has their totals."""
    source, kind = before
    rows = _rows(_ENTRIES, {"id": account_id, "source": source, "kind": kind, "limit": limit})
    return [Line(source, EntryKind(kind), *more) for source, kind, *more in rows]


def days(account_id: int, since: date, until: date) -> list[DayTotal]:
    """From `since` to the day before `until`, the newest first."""
    rows = _rows(_DAYS, {"id": account_id, "since": since, "until": until})
    return [DayTotal(day, EntryKind(kind), *sums) for day, kind, *sums in rows]


def place_of(text: str) -> Place | None:
    """What `Line.place` wrote; None for any other text."""
    source, _, kind = text.partition(".")
    try:
        return UUID(source), EntryKind(int(kind))
    except ValueError:
        return None


def _rows(statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())

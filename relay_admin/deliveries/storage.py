"""Daily partitions of everything that is kept by time: made ahead of it, forgotten after it.

Rows are dealt by the UUIDv7 id they belong to, so a day is a range of ids. Each table also has a default partition, the
net: for rows of a day whose partition is missing, and for rows of forgotten days that a live delivery still needs.

Each statement is a transaction of its own that waits half a second for its locks, so that it never stands in the way of
traffic that stands in its own.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from django.db import OperationalError, connection, transaction
from django.utils import timezone

from relay_contract.ids import uuid7_bound

AHEAD_DAYS = 7
ENOUGH_AHEAD_DAYS = 3
"""With fewer days than this, today included, somebody should look why (`MISSING`)."""
LOCK_TIMEOUT = "500ms"
TRIES = 3
RETRY_SECONDS = 0.2
BATCH = 500
"""Rows deleted from a default partition in one transaction."""

REQUESTS, PAYLOADS, LEDGER = "requests", "payloads", "ledger"
"""Retentions; each has a number of days."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A partitioned table. `key` is the column it is dealt by, which names a request or a delivery."""

    table: str
    key: str
    retention: str
    request_column: str = ""  # by which a row belongs to a request; "": by its delivery alone
    is_append_only: bool = False  # rows in its default partition stay for good

    def is_needed(self, before: UUID) -> str:
        """Condition, for rows below an id: theirs is still to be delivered. Read off the queue, which is small."""
        mine, theirs = (self.request_column, "request_id") if self.request_column else (self.key, "id")
        return f"{mine} IN (SELECT {theirs} FROM deliveries_live WHERE {theirs} < '{before}')"  # noqa: S608 (ours)


PARENTS = (
    Parent("deliveries_request", "id", REQUESTS, "id"),
    Parent("deliveries_payload", "request_id", PAYLOADS, "request_id"),
    Parent("deliveries_finished", "id", REQUESTS, "request_id"),
    Parent("deliveries_attempt", "delivery_id", REQUESTS),
    Parent("deliveries_requestend", "id", REQUESTS, "id"),
    Parent("deliveries_answer", "delivery_id", PAYLOADS, "request_id"),
    Parent("deliveries_comparison", "delivery_id", REQUESTS, "request_id"),
    Parent("ledger_charge", "delivery_id", LEDGER, is_append_only=True),
)

_TABLES = ", ".join(f"'{parent.table}'" for parent in PARENTS)
MISSING = f"""
SELECT name, day
FROM unnest(ARRAY[{_TABLES}]) AS name,
    generate_series(0, {ENOUGH_AHEAD_DAYS - 1}) AS ahead, date((now() AT TIME ZONE 'UTC')::date + ahead) AS day
WHERE to_regclass(name || '_' || to_char(day, 'YYYYMMDD')) IS NULL
"""  # noqa: S608 (constants)
"""Tables and days, from today on, whose partitions should exist by now and do not."""


def partition_name(table: str, day: date) -> str:
    """`{table}_{YYYYMMDD}`."""
    return f"{table}_{day:%Y%m%d}"


def bound(day: date) -> UUID:
    """The lowest id of a day, UTC."""
    return uuid7_bound(int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000)


def create_statement(table: str, day: date) -> str:
    """Makes the partition of a day."""
    return (
        f"CREATE TABLE IF NOT EXISTS {partition_name(table, day)} PARTITION OF {table}"
        f" FOR VALUES FROM ('{bound(day)}') TO ('{bound(day + timedelta(days=1))}')"
    )


def partitions_ensure(ahead_days: int = AHEAD_DAYS) -> int:
    """Make what is missing of today and the days to come; how many that were.

    A day of which the default partition already has rows stays there: they would have to be moved under a lock that
    stops all traffic. Raises OperationalError when a lock could not be had.
    """
    made = 0
    for parent in PARENTS:
        existing = set(_days(parent))
        for offset in range(ahead_days + 1):
            day = timezone.now().date() + timedelta(days=offset)
            if day not in existing and not _has_rows_in_default(parent, day):
                _with_locks(_create, parent, day)
                made += 1
    return made


def partitions_forget(days: Mapping[str, int]) -> int:
    """Drop the partitions whose last moment is older than their retention; how many that were.

    What a live delivery needs of them moves to the default partition: a promise outlives its retention.
    """
    dropped = 0
    for parent in PARENTS:
        keep_from = timezone.now() - timedelta(days=days[parent.retention])
        for day in sorted(_days(parent)):
            if day < keep_from.date():
                _with_locks(_forget, parent, day)
                dropped += 1
    return dropped


def defaults_sweep(days: Mapping[str, int]) -> int:
    """Delete what is past its retention from the default partitions, in batches; how many rows that were."""
    return sum(
        _sweep(parent, uuid7_bound(int((timezone.now().timestamp() - days[parent.retention] * 86_400) * 1000)))
        for parent in PARENTS
        if not parent.is_append_only
    )


def _days(parent: Parent) -> Iterator[date]:
    """Of the partitions that exist."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid"
            " WHERE inhparent = %s::regclass AND child.relname ~ '_[0-9]{8}$'",
            [parent.table],
        )
        names = [name for (name,) in cursor.fetchall()]
    return (datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC).date() for name in names)


def _has_rows_in_default(parent: Parent, day: date) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT EXISTS (SELECT 1 FROM {parent.table}_default WHERE {parent.key} >= %s AND {parent.key} < %s)",  # noqa: S608 (ours)
            [bound(day), bound(day + timedelta(days=1))],
        )
        (has_rows,) = cursor.fetchone()
    return bool(has_rows)


def _create(parent: Parent, day: date) -> None:
    _execute(create_statement(parent.table, day))


def _forget(parent: Parent, day: date) -> None:
    """The order matters: once detached nothing is added to it, and a replay that holds a row of it has ended.

    Into the net itself and not through the parent, whose triggers would count what was counted when it came.
    """
    name = partition_name(parent.table, day)
    _execute(f"ALTER TABLE {parent.table} DETACH PARTITION {name}")
    needed = parent.is_needed(bound(day + timedelta(days=1)))
    _execute(f"INSERT INTO {parent.table}_default SELECT * FROM {name} WHERE {needed}")  # noqa: S608 (ours)
    _execute(f"DROP TABLE {name}")


def _sweep(parent: Parent, before: UUID) -> int:
    table, total = f"{parent.table}_default", 0
    statement = f"""
        DELETE FROM {table} WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM {table} WHERE {parent.key} < %s AND NOT {parent.is_needed(before)}
            ORDER BY {parent.key} LIMIT %s FOR UPDATE SKIP LOCKED
        ))
    """  # noqa: S608 (ours)
    while True:
        with connection.cursor() as cursor:
            cursor.execute(statement, [before, BATCH])
            deleted = cursor.rowcount
        total += deleted
        if deleted < BATCH:
            return total


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _with_locks(change: Callable[[Parent, date], None], parent: Parent, day: date) -> None:
    """In a transaction of its own, tried again where somebody else holds the locks."""
    for tries_left in reversed(range(TRIES)):
        try:
            with transaction.atomic():
                _execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                change(parent, day)
        except OperationalError:
            if not tries_left:
                raise
            time.sleep(RETRY_SECONDS)
        else:
            return

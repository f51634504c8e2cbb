"""What was used, by the hour: sums over calls and deliveries, exact at every moment. Never reads a call: the hours of a
range, and the deltas of the last second.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db import connection

DIMENSIONS = (
    *("project_id", "hour", "mode", "what", "relay_key_id", "user_id", "application_id", "model", "target_id"),
    "payer_id",
)
"""The key of an hour's row. 0 and "" stand for none."""
SUMS = ("calls", "charge", "cost", "markup", "input_tokens", "output_tokens", "cache_read_tokens")
"""Micro-credits and tokens."""

_COLUMNS = ", ".join((*DIMENSIONS, *SUMS))
_ALL = f"(SELECT {_COLUMNS} FROM ledger_usagehour UNION ALL SELECT {_COLUMNS} FROM ledger_usagedelta) AS used"  # noqa: S608
_TOTALS = ", ".join(f"sum(used.{name})::bigint" for name in SUMS)


class By(StrEnum):
    """What usage is summed up by."""

    MODEL = "model"
    KEY = "key"
    APP = "app"
    USER = "user"
    ENDPOINT = "endpoint"
    TARGET = "target"


class Step(StrEnum):
    """Of a series."""

    HOUR = "hour"
    DAY = "day"


_GROUPS = {
    By.MODEL: "used.model",
    By.KEY: "used.relay_key_id",
    By.APP: "used.application_id",
    By.USER: "used.user_id",
    By.ENDPOINT: "coalesce(target.endpoint_id, 0)",
    By.TARGET: "used.target_id",
}
_OF_DELIVERIES = (By.ENDPOINT, By.TARGET)


@dataclass(frozen=True, slots=True)
class Range:
    """Hours from `since` to the one before `until`, of a project, mode and person or of all."""

    since: datetime
    until: datetime
    project_id: int | None = None
    mode: str | None = None
    user_id: int | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """Sums of calls or deliveries. Amounts are micro-credits: of deliveries `cost` is what they are charged."""

    calls: int
    charge: int
    cost: int
    markup: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int

    def as_dict(self) -> dict[str, int]:
        """By name."""
        return dict(zip(SUMS, astuple(self), strict=True))


def summary(of: Range, by: By, after: str | int | None = None, limit: int = 50) -> list[tuple[str | int, Total]]:
    """Sums by model, key and so on, in their order, from the one after `after` on. 0 and "" are those that have none.
    Models, keys, applications and users are of calls alone, endpoints and targets of deliveries: a target that was
    deleted is of endpoint 0."""
    group = _GROUPS[by]
    statement = f"""
        SELECT {group}, {_TOTALS} FROM {_ALL} LEFT JOIN catalog_target AS target ON target.id = used.target_id
        WHERE {_in_range(of)} AND what = %(what)s AND (%(after)s IS NULL OR {group} > %(after)s)
        GROUP BY 1 ORDER BY 1 LIMIT %(limit)s
    """  # noqa: S608 (constants)
    rows = _rows(statement, {**_parameters(of), "what": _what(by), "after": after, "limit": limit})
    return [(value, Total(*sums)) for value, *sums in rows]


def largest(of: Range, by: By, limit: int) -> list[tuple[str | int, Total]]:
    """As `summary`, but those that are charged most, and of these that have most."""
    statement = f"""
        SELECT {_GROUPS[by]}, {_TOTALS} FROM {_ALL} LEFT JOIN catalog_target AS target ON target.id = used.target_id
        WHERE {_in_range(of)} AND what = %(what)s
        GROUP BY 1 ORDER BY sum(used.charge) DESC, sum(used.calls) DESC, 1 LIMIT %(limit)s
    """  # noqa: S608 (constants)
    rows = _rows(statement, {**_parameters(of), "what": _what(by), "limit": limit})
    return [(value, Total(*sums)) for value, *sums in rows]


def series(of: Range, step: Step, after: datetime | None = None, limit: int = 50) -> list[tuple[datetime, str, Total]]:
    """Sums of calls and of deliveries by the hour or the day, UTC, oldest first, from the moment after `after` on. Left
    out is when there were none; a moment that has both is never cut between two pages."""
    statement = f"""
        WITH sums AS (
            SELECT date_trunc('{step}', hour, 'UTC') AS moment, what, {_TOTALS} FROM {_ALL}
            WHERE {_in_range(of)} AND what <> 'accepted'
                AND (%(after)s::timestamptz IS NULL OR date_trunc('{step}', hour, 'UTC') > %(after)s)
            GROUP BY 1, 2
        )
        SELECT * FROM sums WHERE moment IN (SELECT DISTINCT moment FROM sums ORDER BY 1 LIMIT %(limit)s) ORDER BY 1, 2
    """  # noqa: S608 (constants)
    rows = _rows(statement, {**_parameters(of), "after": after, "limit": limit})
    return [(moment, what, Total(*sums)) for moment, what, *sums in rows]


def _what(by: By) -> str:
    return "delivery" if by in _OF_DELIVERIES else "call"


def _in_range(of: Range) -> str:
    conditions = ["used.hour >= %(since)s", "used.hour < %(until)s"]
    if of.project_id is not None:
        conditions.append("used.project_id = %(project_id)s")
    if of.mode is not None:
        conditions.append("used.mode = %(mode)s")
    if of.user_id is not None:
        conditions.append("used.user_id = %(user_id)s")
    return " AND ".join(conditions)


def _parameters(of: Range) -> dict[str, Any]:
    return {"since": of.since, "until": of.until, "project_id": of.project_id, "mode": of.mode, "user_id": of.user_id}


def _rows(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())

"""What the charts of the home show, in whole numbers by the place of a range. Nothing reads a whole range of calls.

Calls, their cost and deliveries of a day and more are the ledger's sums by the hour (`ledger/usage.py`): as many rows
as there were keys, models and targets in these hours. Of the last hour, and of what went wrong, rows are counted by
index, up to MOST_COUNTED and MOST_FAILED a bar. Times are of a sample: the newest SAMPLED calls of each eighth of one.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection

from relay_admin.deliveries.request_filters import id_at
from relay_admin.home.ranges import HOUR, Grid
from relay_admin.ledger import usage
from relay_contract.intake import DeliveryState

MOST_COUNTED = 10_000
"""Rows of one bar of the last hour: 83 calls a second."""
MOST_FAILED = 1_000
SAMPLED = 25
_SLICES = 8
"""Of a bar: the newest calls alone would tell of its end."""

_PLACES = "unnest(%(at)s::timestamptz[], %(until)s::timestamptz[], %(low)s::uuid[], %(high)s::uuid[])"
_COUNTED = f"""
SELECT found.* FROM {_PLACES} WITH ORDINALITY AS place(at, until, low, high, number)
CROSS JOIN LATERAL (SELECT {{figures}} FROM (SELECT {{columns}} FROM {{rows}} LIMIT %(most)s) AS met) AS found
ORDER BY place.number
"""  # noqa: S608 (constants)
_BY_ID = "id >= place.low AND id < place.high"
_BY_TIME = "received_at >= place.at AND received_at < place.until"
CALLS = _COUNTED.format(
    # A count that ended before its place did says so, whatever it met.
    figures="CASE WHEN count(*) < %(most)s THEN count(*) FILTER (WHERE is_used) ELSE %(most)s END,"
    " coalesce(sum(cost), 0)::bigint",
    columns="payer_id IS NOT NULL AND usage_source <> 'none' AS is_used, cost_nanousd AS cost",
    rows=f"traffic_call WHERE {_BY_TIME}",
)
"""Those that the ledger counts, and their cost: as its hours do."""
DELIVERIES = _COUNTED.format(figures="count(*)", columns="1", rows=f"deliveries_finished WHERE {_BY_ID}")
FAILED_CALLS = _COUNTED.format(figures="count(*)", columns="1", rows=f"traffic_call WHERE error <> '' AND {_BY_TIME}")
REFUSED_REQUESTS = _COUNTED.format(
    figures="count(*)", columns="1", rows=f"deliveries_request WHERE status >= 300 AND {_BY_ID}"
)
# In the order of the index that is to be read: that of dead ids would read the whole failure queue for each bar.
FAILED_DELIVERIES = _COUNTED.format(
    figures="count(*)",
    columns="1",
    rows=f"deliveries_finished WHERE state = '{DeliveryState.DEAD}' AND finished_at >= place.at"
    " AND finished_at < place.until ORDER BY finished_at DESC",
)
TIMES = """
SELECT slice.number, percentile_disc(0.5) WITHIN GROUP (ORDER BY total_us),
    percentile_disc(0.95) WITHIN GROUP (ORDER BY total_us), count(*)
FROM unnest(%(number)s::int[], %(at)s::timestamptz[], %(until)s::timestamptz[]) AS slice(number, at, until)
CROSS JOIN LATERAL (
    SELECT total_us, status FROM traffic_call
    WHERE received_at >= slice.at AND received_at < slice.until ORDER BY received_at DESC LIMIT %(most)s
) AS newest
WHERE status < 300 GROUP BY GROUPING SETS ((slice.number), ())
"""


@dataclass(frozen=True, slots=True)
class Passed:
    """By place: calls that used something, what they cost at list price in nano-USD, and deliveries that ended."""

    calls: list[int]
    cost: list[int]
    deliveries: list[int]


@dataclass(frozen=True, slots=True)
class Times:
    """Microseconds that answered calls took, by place, 0 where there was none; and of all of the sample."""

    p50: list[int]
    p95: list[int]
    sampled: int
    all_p50: int
    all_p95: int


def passed(grid: Grid) -> Passed:
    """Of the last hour from the rows, else from the hours."""
    if grid.span is HOUR:
        calls, deliveries = counted(CALLS, grid, MOST_COUNTED), counted(DELIVERIES, grid, MOST_COUNTED)
        return Passed([row[0] for row in calls], [row[1] for row in calls], [row[0] for row in deliveries])
    found = Passed(*([0] * len(grid.places) for _ in range(3)))
    step = usage.Step.DAY if grid.span.step == timedelta(days=1) else usage.Step.HOUR
    hours = grid.span.length // timedelta(hours=1)
    for at, what, total in usage.series(usage.Range(grid.since, grid.until), step, limit=hours):
        place = (at - grid.since) // grid.span.step
        if what == "call":
            found.calls[place] += total.calls
            found.cost[place] += total.cost
        else:
            found.deliveries[place] += total.calls
    return found


def failed(statement: str, grid: Grid) -> list[int]:
    """Of FAILED_CALLS and its like, MOST_FAILED standing for that many or more."""
    return [count for (count,) in counted(statement, grid, MOST_FAILED)]


def times(grid: Grid) -> Times:
    """Of a sample of the calls that were answered."""
    length = grid.span.step / _SLICES
    begins = [place + number * length for place in grid.places for number in range(_SLICES)]
    parameters = {
        "number": [number // _SLICES for number in range(len(begins))],
        "at": begins,
        "until": [at + length for at in begins],
        "most": SAMPLED,
    }
    found = {number: figures for number, *figures in _rows(TIMES, parameters)}
    all_p50, all_p95, sampled = found[None]
    of_places = [found.get(number, (0, 0, 0)) for number in range(len(grid.places))]
    return Times([row[0] for row in of_places], [row[1] for row in of_places], sampled, all_p50 or 0, all_p95 or 0)


def counted(statement: str, grid: Grid, most: int) -> list[tuple[Any, ...]]:
    """A row of figures for each place."""
    ends = [grid.end_of(place) for place in grid.places]
    parameters = {
        "at": grid.places,
        "until": ends,
        "low": [id_at(place) for place in grid.places],
        "high": [id_at(end) for end in ends],
        "most": most,
    }
    return _rows(statement, parameters)


def _rows(statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())

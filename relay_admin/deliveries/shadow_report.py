"""How a shadow's answers compare with its sibling's, over a window: figures, never rows of other projects.

Bounded: MAX_WINDOW back, the newest MOST comparisons, differences of the newest MOST_LOOKED_INTO. One index range.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from relay_admin.deliveries.models import Comparison
from relay_contract.compare import CompareVerdict
from relay_contract.ids import uuid7_bound

MAX_WINDOW = timedelta(days=7)
DEFAULT_WINDOW = timedelta(days=1)
MOST = 200_000
MOST_LOOKED_INTO = 10_000
MOST_PATHS = 20
NEWEST = 20

_CHOSEN = """
WITH chosen AS MATERIALIZED (
    SELECT verdict, status, baseline_status, duration_ms, baseline_duration_ms FROM deliveries_comparison
    WHERE target_id = %(target)s AND delivery_id >= %(since)s ORDER BY delivery_id DESC LIMIT %(most)s
)
"""
_COUNTS = f"""{_CHOSEN}
SELECT verdict, baseline_status, status, count(*)::int FROM chosen GROUP BY 1, 2, 3 ORDER BY 4 DESC, 2, 3
"""  # noqa: S608 (a constant of this file)
_TIMES = f"""{_CHOSEN}
SELECT percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY baseline_duration_ms),
    percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_ms)
FROM chosen WHERE duration_ms IS NOT NULL AND baseline_duration_ms IS NOT NULL
"""  # noqa: S608 (a constant of this file)
_PATHS = """
WITH chosen AS MATERIALIZED (
    SELECT differences FROM deliveries_comparison
    WHERE target_id = %(target)s AND delivery_id >= %(since)s ORDER BY delivery_id DESC LIMIT %(most)s
)
SELECT difference ->> 'path', count(*)::int FROM chosen, jsonb_array_elements(differences) AS difference
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %(paths)s
"""


@dataclass(frozen=True, slots=True)
class Statuses:
    """How often the two sides answered with these. None: no answer."""

    baseline: int | None
    shadow: int | None
    count: int


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of one side."""

    p50: int
    p95: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a window holds. `is_partial`: more was compared than is counted."""

    since: datetime
    compared: int
    is_partial: bool
    verdicts: dict[str, int]  # each CompareVerdict, also those of none
    statuses: list[Statuses]
    baseline_times: Times | None  # of pairs in which both answered; None without any
    shadow_times: Times | None
    paths: list[tuple[str, int]]  # where bodies differ most often
    newest: list[Comparison]  # that are not the same


def since_of(asked: datetime | None) -> datetime:
    """The window's beginning: what was asked for, as far as the window reaches."""
    now = timezone.now()
    return now - DEFAULT_WINDOW if asked is None else max(asked, now - MAX_WINDOW)


def report(target_id: int, since: datetime) -> Report:
    """The comparisons of a shadow target whose deliveries were made since then."""
    bound = uuid7_bound(int(since.timestamp() * 1000))
    wanted: dict[str, Any] = {"target": target_id, "since": bound, "most": MOST, "paths": MOST_PATHS}
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, wanted)
        counts = cursor.fetchall()
        cursor.execute(_TIMES, wanted)
        [(baseline, shadow)] = cursor.fetchall()
        cursor.execute(_PATHS, {**wanted, "most": MOST_LOOKED_INTO})
        paths = [(str(path), count) for path, count in cursor.fetchall()]
    verdicts = {str(verdict): 0 for verdict in CompareVerdict}
    statuses: dict[tuple[int | None, int | None], int] = {}
    for verdict, baseline_status, status, count in counts:
        verdicts[verdict] = verdicts.get(verdict, 0) + count
        statuses[baseline_status, status] = statuses.get((baseline_status, status), 0) + count
    compared = sum(verdicts.values())
    rows = Comparison.objects.filter(target_id=target_id, delivery_id__gte=bound)
    return Report(
        since,
        compared,
        compared >= MOST,
        verdicts,
        [Statuses(*pair, count) for pair, count in sorted(statuses.items(), key=lambda each: -each[1])],
        None if baseline is None else Times(*baseline),
        None if shadow is None else Times(*shadow),
        paths,
        list(rows.exclude(verdict=CompareVerdict.SAME).order_by("-delivery_id")[:NEWEST]),
    )

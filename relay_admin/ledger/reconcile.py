"""Whether the ledger says what the deliveries say. One statement each, so one snapshot: right also under load."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection

from relay_admin.ledger.drift_rows import with_rows
from relay_admin.ledger.drifts import MAX_SHOWN, Drift
from relay_contract.ids import uuid7_bound

ALL = UUID(int=0)

# A delivery's current replay has one hold; it has a close exactly when it is over. Earlier replays are closed, and no
# hold stands for a delivery that is not there to end.
_PROBLEMS = """
WITH delivery AS NOT MATERIALIZED (
    SELECT id, replay_count AS replay, true AS is_live FROM deliveries_live WHERE id >= %(since)s
    UNION ALL
    SELECT id, replay_count, false FROM deliveries_finished WHERE id >= %(since)s
), charge AS (
    SELECT delivery_id AS id, replay, max(micro_credits) FILTER (WHERE phase = 0) AS held,
        max(micro_credits) FILTER (WHERE phase = 1) AS closed
    FROM ledger_charge WHERE delivery_id >= %(since)s GROUP BY delivery_id, replay
)
SELECT id, replay, CASE
    WHEN charge.id IS NULL OR held IS NULL THEN 'no_hold'
    WHEN delivery.is_live THEN 'closed_while_live'
    WHEN delivery.id IS NULL THEN 'held_for_nothing'
    ELSE 'not_closed' END AS problem
FROM delivery FULL JOIN charge USING (id, replay)
WHERE held IS NULL OR (closed IS NOT NULL) = coalesce(delivery.is_live, false)
ORDER BY id, replay
LIMIT %(limit)s
"""
_TOTALS = """
SELECT coalesce(sum(micro_credits) FILTER (WHERE kind = 'hold'), 0)::bigint,
    coalesce(sum(micro_credits) FILTER (WHERE kind = 'settle'), 0)::bigint,
    coalesce(sum(micro_credits) FILTER (WHERE kind = 'release'), 0)::bigint,
    (SELECT coalesce(sum(credits), 0)::bigint FROM deliveries_live WHERE id >= %(since)s)
FROM ledger_charge WHERE delivery_id >= %(since)s
"""


@dataclass(frozen=True, slots=True)
class Problem:
    """A delivery that the ledger does not account for: no_hold, not_closed, closed_while_live, held_for_nothing."""

    delivery_id: UUID
    replay: int
    code: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Micro-credits. `open` is what live deliveries hold."""

    held: int
    settled: int
    released: int
    open: int


def problems(since: UUID = ALL, limit: int = MAX_SHOWN) -> list[Problem]:
    """The first of them among deliveries made since (an id, `ids.uuid7_bound`); reads every one of those."""
    with connection.cursor() as cursor:
        cursor.execute(_PROBLEMS, {"since": since, "limit": limit})
        return [Problem(*row) for row in cursor.fetchall()]


def drifts(since: datetime) -> list[Drift]:
    """The first problems as drifts, each with the charges of its delivery."""
    found = problems(uuid7_bound(int(since.timestamp() * 1000)))
    return with_rows(
        [
            Drift(
                problem.code,
                f"delivery {problem.delivery_id}, replay {problem.replay}",
                None,
                None,
                {"delivery": str(problem.delivery_id)},
            )
            for problem in found
        ],
        since.date(),
    )


def totals(since: UUID = ALL) -> Totals:
    """Sums over the same deliveries. Where nothing was settled above its hold: held = settled + released + open."""
    with connection.cursor() as cursor:
        cursor.execute(_TOTALS, {"since": since})
        return Totals(*cursor.fetchone())

"""Finishes the deliveries that edges made themselves: streams, from the row that each edge writes when one ends.

A stream is settled for what left the relay: what it holds, and one more credit for each 64 KiB of the answer. Where the
target was never called it is released. An edge that dies writes no row: its deliveries expire, end as of unknown
outcome, cost nothing, and the row is written here in its place. Nothing is tried again: the caller has had whatever
there was.

Two statements, so that what an end means is said in Python; whoever comes second finds the delivery gone.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from delivery.charges import RELEASE, SETTLE
from delivery.database import Connection
from relay_admin.deliveries.models import AttemptOutcome
from relay_contract.credits import MICRO, UNIT_BYTES
from relay_contract.intake import DUE_STATES, STREAM_SHARD, DeadReason, DeliveryState
from relay_contract.traffic import CloseReason

MOST = 256
"""Of one round."""
UP_SECONDS = 10
"""How long Postgres has been up before silence counts as an edge's death: rows that waited in files for it to come back
(`relay_edge/spill.py`) are taken back within two seconds."""

_DUE = ", ".join(f"'{state}'" for state in DUE_STATES)

OVER = f"""
SELECT live.id, live.created_at, extract(epoch FROM now() - live.created_at)::float8, ended.close_reason,
    ended.target_status, coalesce(ended.url, target.url), ended.received_at, ended.total_us, ended.first_byte_us,
    ended.bytes_out
FROM deliveries_live AS live
LEFT JOIN deliveries_requestend AS ended ON ended.id = live.request_id
LEFT JOIN catalog_target AS target ON target.id = live.target_id
WHERE live.shard = {STREAM_SHARD} AND live.state IN ({_DUE}) AND (ended.id IS NOT NULL
    OR live.expires_at <= now() AND pg_postmaster_start_time() <= now() - make_interval(secs => {UP_SECONDS}))
ORDER BY live.next_attempt_at
LIMIT {MOST}
"""  # noqa: S608 (constants of the contract)

_FIELDS = (
    ("id", "uuid"),
    ("state", "text"),
    ("outcome", "text"),
    ("dead_reason", "text"),
    ("closes_as", "text"),
    ("units_out", "bigint"),
    ("status", "integer"),
    ("error", "text"),
    ("url", "text"),
    ("started_at", "timestamptz"),
    ("duration_ms", "integer"),
    ("first_byte_ms", "integer"),
    ("is_cut", "boolean"),
    ("was_contacted", "boolean"),
)
_MOVED = (
    "id, request_id, project_id, target_id, shard, mode, is_shadow, is_compared, key_mode, revision, created_at,"
    " expires_at, ordering_key, body_bytes, credits, deferral_count, replay_count, replay_batch_id"
)
_LIVE = ", ".join(f"live.{name}" for name in _MOVED.split(", "))
_OF_RESULT = "state, outcome, dead_reason, closes_as, units_out, status, error, url, started_at, duration_ms"

FOLD = f"""
WITH result AS MATERIALIZED (
    SELECT * FROM unnest({", ".join(f"%b::{kind}[]" for _, kind in _FIELDS)})
        AS r({", ".join(name for name, _ in _FIELDS)})
),
gone AS (
    DELETE FROM deliveries_live AS live USING result
    WHERE live.id = result.id AND live.shard = {STREAM_SHARD}
    RETURNING {_LIVE}, {", ".join(f"result.{name}" for name in _OF_RESULT.split(", "))}, result.first_byte_ms,
        result.is_cut, result.was_contacted
),
finished AS (
    INSERT INTO deliveries_finished ({_MOVED}, attempt_count, state, last_status, last_error, dead_reason, duration_ms,
        was_contacted, finished_at)
    SELECT {_MOVED}, 1, state, status, error, dead_reason, duration_ms, was_contacted, now() FROM gone
),
closed AS (
    INSERT INTO ledger_charge
        (delivery_id, replay, phase, kind, request_id, project_id, target_id, key_mode, micro_credits, units,
        held_microcredits)
    SELECT id, replay_count, 1, closes_as, request_id, project_id, target_id, key_mode, credits + units_out * {MICRO},
        1 + units_out, credits
    FROM gone
    ON CONFLICT DO NOTHING
),
told AS (
    INSERT INTO deliveries_requestend (id, delivery_id, received_at, status, error, total_us, bytes_out, heartbeats,
        close_reason, is_stream, url)
    SELECT request_id, id, started_at, 0, dead_reason, duration_ms * 1000::bigint, 0, 0, '{CloseReason.EDGE_LOST}',
        true, url
    FROM gone WHERE dead_reason = '{DeadReason.UNKNOWN_OUTCOME}'
    ON CONFLICT DO NOTHING
),
compared AS (
    INSERT INTO deliveries_comparedanswer
        (delivery_id, request_id, target_id, is_shadow, revision, status, body, is_cut, duration_ms, at)
    SELECT id, request_id, target_id, is_shadow, revision, status, NULL, false, duration_ms, now()
    FROM gone WHERE is_compared
    ON CONFLICT DO NOTHING
),
kept AS (
    INSERT INTO deliveries_attempt (id, delivery_id, number, replay, outcome, started_at, duration_ms, first_byte_ms,
        url, status, error, revision, target_version, response_body, is_response_cut)
    SELECT gone.id, gone.id, 1, replay_count, outcome, started_at, duration_ms, first_byte_ms, gone.url, status, error,
        revision, coalesce(target.version, 0), '', is_cut
    FROM gone LEFT JOIN catalog_target AS target ON target.id = gone.target_id
)
SELECT count(*) FROM gone
"""  # noqa: S608 (constants of this file and the contract)

_NOT_CALLED = frozenset(
    {
        CloseReason.UNREACHABLE,
        CloseReason.ADDRESS_REFUSED,
        CloseReason.TOKEN_UNAVAILABLE,
        CloseReason.RELAY_ERROR,
    }
)
_TAKEN = frozenset({CloseReason.COMPLETE, CloseReason.CALLER_LEFT})
_MAX_INT = 2**31 - 1


class Ended(NamedTuple):
    """A row of OVER. Without a close reason the edge never told."""

    id: UUID
    created_at: datetime
    age_seconds: float
    close_reason: str | None
    target_status: int | None
    url: str | None
    received_at: datetime | None
    total_us: int | None
    first_byte_us: int | None
    bytes_out: int | None


@dataclass(frozen=True, slots=True)
class End:
    """What an end does to its delivery. Pure."""

    state: DeliveryState
    outcome: AttemptOutcome
    dead_reason: DeadReason | None
    closes_as: str
    error: str
    was_contacted: bool


def end_of(close_reason: str | None, target_status: int | None) -> End:
    """`close_reason` None: nobody told. A reason of another version counts as a cut."""
    if close_reason is None:
        return End(
            DeliveryState.DEAD, AttemptOutcome.LEASE_LOST, DeadReason.UNKNOWN_OUTCOME, RELEASE,
            DeadReason.UNKNOWN_OUTCOME, was_contacted=True,
        )  # fmt: skip
    was_contacted = close_reason not in _NOT_CALLED and (
        target_status is not None or close_reason != CloseReason.SHUTDOWN
    )
    closes_as = SETTLE if was_contacted else RELEASE
    is_answered = target_status is not None and target_status < 400
    if close_reason in _TAKEN and is_answered:
        error = "" if close_reason == CloseReason.COMPLETE else close_reason
        return End(DeliveryState.DELIVERED, AttemptOutcome.DELIVERED, None, closes_as, error, was_contacted)
    error = "" if close_reason == CloseReason.REFUSED else close_reason
    return End(
        DeliveryState.DEAD, AttemptOutcome.DEAD, _dead_reason(close_reason, target_status), closes_as, error,
        was_contacted,
    )  # fmt: skip


def _dead_reason(close_reason: str, target_status: int | None) -> DeadReason:
    if close_reason == CloseReason.ADDRESS_REFUSED:
        return DeadReason.ADDRESS_REFUSED
    is_final = target_status is not None and 400 <= target_status < 500
    if close_reason == CloseReason.BYTE_CAP or (close_reason == CloseReason.REFUSED and is_final):
        return DeadReason.PERMANENT_FAILURE
    return DeadReason.ATTEMPTS_EXHAUSTED


async def fold(connection: Connection) -> bool:
    """One round. True: there may be more at once. Raises DatabaseAway."""
    rows = [Ended(*row) for row in await connection.rows(OVER, ())]
    if rows:
        await connection.rows(FOLD, _arrays(rows))
    return len(rows) == MOST


def _arrays(rows: list[Ended]) -> list[list[object]]:
    """One array for each of _FIELDS."""
    columns = zip(*map(_values, rows), strict=True)
    return [list(column) for column in columns]


def _values(row: Ended) -> tuple[object, ...]:
    end = end_of(row.close_reason, row.target_status)
    total_us = int(row.age_seconds * 1_000_000) if row.total_us is None else row.total_us
    is_whole = row.close_reason in (CloseReason.COMPLETE, CloseReason.REFUSED)
    return (
        row.id,
        str(end.state),
        str(end.outcome),
        end.dead_reason or "",
        end.closes_as,
        (row.bytes_out or 0) // UNIT_BYTES if end.closes_as == SETTLE else 0,
        row.target_status,
        end.error,
        row.url or "",
        row.received_at or row.created_at,
        min(total_us // 1000, _MAX_INT),
        None if row.first_byte_us is None else row.first_byte_us // 1000,
        not is_whole,
        end.was_contacted,
    )

"""Takes sync deliveries out of Postgres, each once: nobody sends one a second time, whatever became of the first.

What expired before it was taken, and what a dead worker had taken, is ended by SWEEP and never claimed. A target that
takes nothing at the moment (disabled, paused, its breaker open, at its rate or `max_in_flight`) is not waited for: the
claim says NO_ROOM, and the caller is told so at once. Where that is counted over all workers, a claim is a transaction
that locks the states of such targets first, as the other lane does (`delivery/limits.py`). Calls of a target whose
state another worker has locked, for one claim or record, stay where they are for some milliseconds; no others wait.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple
from uuid import UUID

from delivery import limits
from delivery.attempt import Claim, Destination, Fault, Manner
from delivery.charges import RELEASE
from delivery.claims import LEASE_MARGIN_SECONDS
from delivery.contents import Content, Contents
from delivery.database import Connection
from delivery.destinations import TARGET_VERSION, Destinations
from delivery.known_targets import KnownTargets
from relay_admin.deliveries.models import AttemptOutcome
from relay_contract.credits import UNITS_SQL
from relay_contract.ids import uuid7
from relay_contract.intake import SYNC_SHARDS, DeadReason, DeliveryState
from relay_contract.replies import MAX_ANSWER_BYTES

LATE_SECONDS = 5
"""How much longer than its caller a worker listens to a target, so that an answer which comes late is on record."""

SWEPT_AT_ONCE = 500

_SHARDS = ", ".join(str(shard) for shard in SYNC_SHARDS)
_LEASE = f"make_interval(secs => {LATE_SECONDS + LEASE_MARGIN_SECONDS} + coalesce(target.timeout_seconds, 0))"

# 1. candidate: the longest due of each shard, locked, as long as their callers wait.
# 2. room: what each of their targets takes besides what is under way, NULL for any number.
# 3. due: what fits. `is_met` needs its target's lock, and stays as it is.
# 4. claimed: found again by place (ctid), which the lock keeps still. What is sent counts for the target's rate (GCRA).
CLAIM = f"""
WITH candidate AS MATERIALIZED (
    SELECT found.*
    FROM unnest(ARRAY[{_SHARDS}]::smallint[]) AS lane(shard)
    CROSS JOIN LATERAL (
        SELECT ctid AS place, id, target_id, body_bytes, next_attempt_at AS due_at
        FROM deliveries_live
        WHERE shard = lane.shard AND state = '{DeliveryState.PENDING}' AND next_attempt_at <= now()
            AND expires_at > now()
        ORDER BY next_attempt_at
        LIMIT %b::bigint
        FOR UPDATE SKIP LOCKED
    ) AS found
), wanted AS (
    SELECT DISTINCT target_id FROM candidate
), room AS MATERIALIZED ({limits.ROOM}
), sized AS (
    SELECT candidate.*, row_number() OVER (ORDER BY due_at, id) AS place_in_line,
        sum(body_bytes) OVER (ORDER BY due_at, id) AS bytes_to_here,
        row_number() OVER (PARTITION BY target_id ORDER BY due_at, id) AS turn
    FROM candidate
), due AS MATERIALIZED (
    SELECT sized.place, target_id, coalesce(room.is_enabled AND sized.turn <= coalesce(room.places, sized.turn), true)
        AS has_room, coalesce(room.is_watched, false) AS is_watched, room.revision,
        coalesce(room.needs_lock, false) AND target_id <> ALL (%b::bigint[]) AS is_met,
        CASE WHEN room.is_enabled
            THEN greatest(room.paused_seconds, room.full_seconds + (sized.turn - 1) / room.rate) END AS wait_seconds
    FROM sized LEFT JOIN room USING (target_id)
    WHERE sized.place_in_line <= %b::bigint AND sized.bytes_to_here <= %b::bigint
), claimed AS (
    UPDATE deliveries_live AS delivery
    SET state = '{DeliveryState.SENDING}', claim_id = %b::uuid, attempt_count = delivery.attempt_count + 1,
        next_attempt_at = now() + {_LEASE}
    FROM due LEFT JOIN catalog_target AS target ON target.id = due.target_id
    WHERE delivery.ctid = due.place AND NOT due.is_met
    RETURNING delivery.id, delivery.request_id, delivery.target_id, delivery.shard, delivery.attempt_count,
        delivery.replay_count, delivery.body_bytes, coalesce(due.revision, delivery.revision) AS revision,
        {TARGET_VERSION} AS target_version, target.url, target.timeout_seconds, due.has_room, due.is_watched,
        delivery.is_compared, due.wait_seconds
), paid AS (
    SELECT target_id, room.rate, count(*) FROM claimed JOIN room USING (target_id)
    WHERE has_room AND room.rate IS NOT NULL GROUP BY target_id, room.rate
), charged AS ({limits.PAY})
SELECT claimed.id, claimed.request_id, claimed.target_id, claimed.shard, claimed.attempt_count, claimed.replay_count,
    claimed.body_bytes, claimed.revision, claimed.target_version, coalesce(claimed.url, ''),
    coalesce(claimed.timeout_seconds, 0), claimed.has_room, claimed.is_watched, claimed.is_compared,
    coalesce(request.method, 'POST'), coalesce(request.query, ''), coalesce(request.idempotency_key <> '', false),
    claimed.wait_seconds
FROM claimed LEFT JOIN deliveries_request AS request ON request.id = claimed.request_id
UNION ALL
SELECT DISTINCT NULL::uuid, NULL::uuid, target_id, 0, 0, 0, 0, 0, NULL::bigint, '', 0, false, false, false, '', '',
    false, NULL::float8
FROM due WHERE is_met
"""  # noqa: S608 (constants of the contract)

_MOVED = (
    "id, request_id, project_id, target_id, shard, mode, is_shadow, is_compared, key_mode, revision, created_at,"
    " expires_at, ordering_key, body_bytes, credits, attempt_count, deferral_count, replay_count, replay_batch_id,"
    " was_contacted, last_status, last_error"
)
_LIVE = ", ".join(f"live.{name}" for name in _MOVED.split(", "))

# An attempt that a worker died with has its claim's id: that is one of its time, and of no other attempt.
SWEEP = f"""
WITH late AS MATERIALIZED (
    SELECT ctid AS place FROM deliveries_live
    WHERE shard IN ({_SHARDS})
        AND CASE WHEN state = '{DeliveryState.SENDING}' THEN next_attempt_at ELSE expires_at END <= now()
    LIMIT {SWEPT_AT_ONCE}
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM deliveries_live AS live USING late WHERE live.ctid = late.place
    RETURNING {_LIVE}, live.claim_id, live.next_attempt_at, live.state = '{DeliveryState.SENDING}' AS was_sending
), finished AS (
    INSERT INTO deliveries_finished ({_MOVED}, state, dead_reason, finished_at)
    SELECT {_MOVED}, '{DeliveryState.DEAD}',
        CASE WHEN was_sending THEN '{DeadReason.UNKNOWN_OUTCOME}' ELSE '{DeadReason.NO_ANSWER_IN_TIME}' END, now()
    FROM gone
), closed AS (
    INSERT INTO ledger_charge
        (delivery_id, replay, phase, kind, request_id, project_id, target_id, key_mode, micro_credits, units)
    SELECT id, replay_count, 1, '{RELEASE}', request_id, project_id, target_id, key_mode, credits, {UNITS_SQL}
    FROM gone
    ON CONFLICT DO NOTHING
), lost AS (
    INSERT INTO deliveries_attempt (id, delivery_id, number, replay, outcome, started_at, duration_ms, url, error,
        revision, target_version, response_body, is_response_cut)
    SELECT gone.claim_id, gone.id, gone.attempt_count, gone.replay_count, '{AttemptOutcome.LEASE_LOST}',
        gone.next_attempt_at - {_LEASE}, 1000 * extract(epoch FROM {_LEASE})::integer, coalesce(target.url, ''), '',
        gone.revision, coalesce({TARGET_VERSION}, 0), '', false
    FROM gone LEFT JOIN catalog_target AS target ON target.id = gone.target_id
    WHERE gone.was_sending AND gone.claim_id IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT was_sending, count(*) FROM gone GROUP BY was_sending
"""  # noqa: S608 (constants of the contract)


class SyncClaim(NamedTuple):
    """A delivery that somebody waits for."""

    claim: Claim
    is_kept: bool  # its answer may be asked for again, with the same Idempotency-Key
    wait_seconds: float | None = None  # until its target may have room; None: nobody knows


class Swept(NamedTuple):
    """How many deliveries a sweep ended."""

    unknown: int  # a worker died with them
    untaken: int  # no worker took them in time


class _Row(NamedTuple):
    """A row of CLAIM that has a delivery's id. One without says which target has to be locked first."""

    delivery_id: UUID
    request_id: UUID
    target_id: int
    shard: int
    number: int
    replay: int
    body_bytes: int
    revision: int
    target_version: int | None  # None: the target was deleted
    url: str
    timeout_seconds: int  # that the lease was computed from
    has_room: bool
    is_watched: bool
    is_compared: bool
    method: str
    query: str
    is_kept: bool
    wait_seconds: float | None


class SyncClaims:
    """Claims through its own connection; one call at a time."""

    def __init__(self, connection: Connection, destinations: Destinations, contents: Contents) -> None:
        self._connection = connection
        self._known = KnownTargets(connection)
        self.has_met = False  # the last `take` left calls for a lock; they may be taken in a moment
        self._destinations = destinations
        self._contents = contents

    async def take(self, deliveries: int, body_bytes: int) -> list[SyncClaim]:
        """The longest waiting, as many and as large together as given. Raises DatabaseAway; what was
        claimed and could not be loaded ends with its lease. `done` is to be called for each."""
        claim_id = uuid7()
        rows, met = await self._claim(claim_id, deliveries, body_bytes)
        if met:
            await self._known.meet(met)
            left = body_bytes - sum(row.body_bytes for row in rows)
            more, met = await self._claim(claim_id, deliveries - len(rows), left)
            rows += more
        self.has_met = bool(met)
        if not rows:
            return []
        destinations = await self._destinations.of(
            {(row.target_id, row.target_version) for row in rows if row.target_version is not None}
        )
        contents = await self._contents.take([row.request_id for row in rows])
        return [
            SyncClaim(_claim(claim_id, row, destinations, contents[row.request_id]), row.is_kept, row.wait_seconds)
            for row in rows
        ]

    async def _claim(self, claim_id: UUID, deliveries: int, body_bytes: int) -> tuple[list[_Row], list[int]]:
        """What was taken, and the targets that have to be locked before more is."""
        if known := self._known.ids():
            async with self._connection.transaction():
                locked = [target_id for (target_id,) in await self._connection.rows(limits.LOCK, (known,))]
                found = await self._connection.rows(CLAIM, (deliveries, locked, deliveries, body_bytes, claim_id))
        else:
            found = await self._connection.rows(CLAIM, (deliveries, [], deliveries, body_bytes, claim_id))
        rows = [_Row._make(row) for row in found if row[0] is not None]
        return rows, [target_id for delivery_id, _, target_id, *_ in found if delivery_id is None]

    def done(self, claim: Claim) -> None:
        """It is not in flight any more: its body may go."""
        self._contents.release(claim.request_id)


async def sweep(connection: Connection) -> Swept:
    """End what nobody will answer any more. Raises DatabaseAway."""
    ended = dict(await connection.rows(SWEEP, ()))
    return Swept(ended.get(True, 0), ended.get(False, 0))


def _claim(claim_id: UUID, row: _Row, destinations: Mapping[int, Destination | Fault], content: Content) -> Claim:
    destination = destinations.get(row.target_id, Fault.TARGET_DELETED)
    if isinstance(destination, Destination):
        seconds = min(destination.timeout_seconds, row.timeout_seconds) + LATE_SECONDS
        destination = replace(destination, timeout_seconds=seconds)
        if content.headers is None:
            destination = Fault.BAD_HEADER
        elif not row.has_room:
            destination = Fault.NO_ROOM
    return Claim(
        delivery_id=row.delivery_id,
        claim_id=claim_id,
        request_id=row.request_id,
        target_id=row.target_id,
        shard=row.shard,
        number=row.number,
        replay=row.replay,
        content_type=content.content_type,
        request_headers=content.headers or {},
        body=content.body,
        url=row.url,
        destination=destination,
        body_bytes=row.body_bytes,
        revision=row.revision,
        target_version=row.target_version or 0,
        is_watched=row.is_watched,
        is_compared=row.is_compared,
        call=content.call,
        manner=Manner(row.method, row.query, MAX_ANSWER_BYTES, keeps_answer=True),
    )

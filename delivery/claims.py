"""Takes due deliveries out of Postgres, for this process alone and until their lease ends.

A claim is one statement on the queue, and one each for targets and requests that this process does not hold yet.
Workers do not wait for each other (SKIP LOCKED), and each row that is taken gets the claim's id: a result counts only
while the row still carries it. The lease is the target's timeout and a margin, computed in the statement, so it cannot
be shorter than an attempt.

A delivery to a target that was disabled after the request was accepted is still made: `is_enabled` decides about new
requests. What nobody should receive any more is stopped by deleting the target.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from delivery.attempt import Claim, Destination, Fault
from delivery.contents import Content, Contents
from delivery.database import Connection
from delivery.destinations import TARGET_VERSION, Destinations
from relay_admin.deliveries.models import AttemptOutcome
from relay_contract.ids import uuid7
from relay_contract.intake import DUE_STATES, DeliveryState

LEASE_MARGIN_SECONDS = 15
"""Beyond the attempt's own deadline: for recording it, and for a worker that is slow to get the processor."""

MAX_LOST_LEASES = 5
"""Attempts beyond the schedule that a delivery may lose to dying workers, before it is taken for their cause."""

_DUE = ", ".join(f"'{state}'" for state in DUE_STATES)

REVISION = "due.revision"
"""SQL of the configuration's revision that an attempt is made under, in the UPDATE of a claim."""

# 1. candidate: per shard the longest due, locked. One index range each: (shard, next_attempt_at) of due rows.
# 2. fair: no target gets more than it has room for, however many of its deliveries are due.
# 3. due: and no more bodies than fit in memory. The queue knows their sizes: nothing is joined.
# 4. claimed: found again by place (ctid), which the lock keeps still. Only here an attempt is counted.
# 5. lost: a row that was `sending` had a worker that never came back; its attempt is told as what it was, under an id
#    of its time.
CLAIM = f"""
WITH candidate AS MATERIALIZED (
    SELECT found.*
    FROM unnest(%b::smallint[]) AS active(shard)
    CROSS JOIN LATERAL (
        SELECT ctid AS place, target_id, state AS old_state, next_attempt_at AS due_at, body_bytes, revision
        FROM deliveries_live
        WHERE shard = active.shard AND state IN ({_DUE}) AND next_attempt_at <= now()
            AND target_id <> ALL (%b::bigint[])
        ORDER BY next_attempt_at
        LIMIT %b::bigint
        FOR UPDATE SKIP LOCKED
    ) AS found
), fair AS (
    SELECT *, row_number() OVER (PARTITION BY target_id ORDER BY due_at) AS turn FROM candidate
), sized AS (
    SELECT fair.*, sum(body_bytes) OVER (ORDER BY due_at, place) AS bytes_to_here
    FROM fair LEFT JOIN unnest(%b::bigint[], %b::bigint[]) AS busy(target_id, room) USING (target_id)
    WHERE fair.turn <= coalesce(busy.room, %b::bigint)
), due AS MATERIALIZED (
    SELECT * FROM sized WHERE bytes_to_here <= %b::bigint
), claimed AS (
    UPDATE deliveries_live AS delivery
    SET state = '{DeliveryState.SENDING}', claim_id = %b::uuid, attempt_count = delivery.attempt_count + 1,
        next_attempt_at = now() + make_interval(secs => {LEASE_MARGIN_SECONDS} + coalesce(target.timeout_seconds, 0))
    FROM due LEFT JOIN catalog_target AS target ON target.id = due.target_id
    WHERE delivery.ctid = due.place
    RETURNING delivery.id, delivery.request_id, delivery.target_id, delivery.shard, delivery.attempt_count,
        delivery.replay_count, delivery.body_bytes, due.old_state, due.due_at, {REVISION} AS revision,
        {TARGET_VERSION} AS target_version, target.url, target.timeout_seconds
), lost AS (
    INSERT INTO deliveries_attempt (id, delivery_id, number, replay, outcome, started_at, duration_ms, url, error,
        revision, target_version, response_body, is_response_cut)
    SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0')
            || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid,
        id, attempt_count - 1, replay_count, '{AttemptOutcome.LEASE_LOST}',
        due_at - make_interval(secs => {LEASE_MARGIN_SECONDS} + coalesce(timeout_seconds, 0)),
        1000 * ({LEASE_MARGIN_SECONDS} + coalesce(timeout_seconds, 0)), coalesce(url, ''), '',
        revision, coalesce(target_version, 0), '', false
    FROM claimed WHERE old_state = '{DeliveryState.SENDING}'
)
SELECT id, request_id, target_id, shard, attempt_count, replay_count, body_bytes,
    old_state = '{DeliveryState.SENDING}', revision, target_version, coalesce(url, '')
FROM claimed
"""  # noqa: S608 (constants of the contract)


@dataclass(frozen=True, slots=True)
class Room:
    """What a claim may add to what is in flight."""

    deliveries: int
    body_bytes: int
    per_target: int  # the most that may be in flight to one target, what is in flight already included
    in_flight: Mapping[int, int]  # target id -> deliveries in flight, none of them 0


class Claims:
    """Claims through its own connection; one call at a time."""

    def __init__(self, connection: Connection, destinations: Destinations, contents: Contents) -> None:
        self._connection = connection
        self._destinations = destinations
        self._contents = contents

    async def take(self, shards: Sequence[int], room: Room) -> list[Claim]:
        """Due deliveries of `shards`, the longest due first, shards sharing evenly (and at least one each).

        An empty list means that nothing is due, or only what there is no room for. Raises DatabaseAway; what was
        claimed and could not be loaded is due again when its lease ends. `done` is to be called for each claim.
        """
        claim_id = uuid7()
        left = {target: room.per_target - count for target, count in room.in_flight.items()}
        busy = [target for target, places in left.items() if places > 0]
        rows = await self._connection.rows(
            CLAIM,
            (
                list(shards),
                [target for target, places in left.items() if places <= 0],
                max(1, room.deliveries // len(shards)),
                busy,
                [left[target] for target in busy],
                room.per_target,
                room.body_bytes,
                claim_id,
            ),
        )
        if not rows:
            return []
        claimed = [_Claimed(*row) for row in rows]
        destinations = await self._destinations.of(
            {(each.target_id, each.target_version) for each in claimed if each.target_version is not None}
        )
        contents = await self._contents.take([each.request_id for each in claimed])
        return [
            _claim(claim_id, each, destinations.get(each.target_id, Fault.TARGET_DELETED), contents[each.request_id])
            for each in claimed
        ]

    def done(self, claim: Claim) -> None:
        """It is not in flight any more: its body may go."""
        self._contents.release(claim.request_id)


class _Claimed(NamedTuple):
    """A row of CLAIM."""

    delivery_id: UUID
    request_id: UUID
    target_id: int
    shard: int
    number: int
    replay: int
    body_bytes: int
    is_lost: bool  # its worker never came back
    revision: int
    target_version: int | None  # None: the target was deleted
    url: str


def _claim(claim_id: UUID, row: _Claimed, destination: Destination | Fault, content: Content) -> Claim:
    if content.headers is None:
        destination = Fault.BAD_HEADER
    if row.is_lost and isinstance(destination, Destination) and row.number > _most_attempts(destination):
        destination = Fault.LEASES_LOST
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
        body_bytes=row.body_bytes,
        url=row.url,
        destination=destination,
        revision=row.revision,
        target_version=row.target_version or 0,
        call=content.call,
    )


def _most_attempts(destination: Destination) -> int:
    return len(destination.retry_schedule_seconds) + 1 + MAX_LOST_LEASES

"""Takes due deliveries out of Postgres, for this process alone and until their lease ends.

A claim is one statement. Workers do not wait for each other (SKIP LOCKED), and each row that is taken gets the claim's
id: a result counts only while the row still carries it. The lease is the target's timeout and a margin, computed in the
statement, so it cannot be shorter than an attempt.

A delivery to a target that was disabled after the request was accepted is still made: `is_enabled` decides about new
requests. What nobody should receive any more is stopped by deleting the target.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from delivery.attempt import Claim, Destination, Fault
from delivery.database import Connection
from delivery.destinations import Destinations
from relay_admin.deliveries.models import AttemptOutcome
from relay_contract.ids import uuid7
from relay_contract.intake import LIVE_STATES, DeliveryState

LEASE_MARGIN_SECONDS = 15
"""Beyond the attempt's own deadline: for recording it, and for a worker that is slow to get the processor."""

MAX_LOST_LEASES = 5
"""Attempts beyond the schedule that a delivery may lose to dying workers, before it is taken for their cause."""

_LIVE = ", ".join(f"'{state}'" for state in LIVE_STATES)

# 1. candidate: per shard the longest due, locked. One index range each: (shard, next_attempt_at) of live rows.
# 2. fair: no target gets more than it has room for, however many of its deliveries are due.
# 3. due: and no more bodies than fit in memory.
# 4. claimed: found again by place (ctid), which the lock keeps still. Only here an attempt is counted.
# 5. lost: a row that was `sending` had a worker that never came back; its attempt is told as what it was.
CLAIM = f"""
WITH candidate AS MATERIALIZED (
    SELECT found.*
    FROM unnest(%b::smallint[]) AS active(shard)
    CROSS JOIN LATERAL (
        SELECT ctid AS place, request_id, target_id, state AS old_state, next_attempt_at AS due_at
        FROM deliveries_delivery
        WHERE shard = active.shard AND state IN ({_LIVE}) AND next_attempt_at <= now()
            AND target_id <> ALL (%b::bigint[])
        ORDER BY next_attempt_at
        LIMIT %b::bigint
        FOR UPDATE SKIP LOCKED
    ) AS found
), fair AS (
    SELECT *, row_number() OVER (PARTITION BY target_id ORDER BY due_at) AS turn FROM candidate
), sized AS (
    SELECT fair.*, request.content_type, request.headers::text AS request_headers,
        sum(request.body_bytes) OVER (ORDER BY fair.due_at, fair.place) AS bytes_to_here
    FROM fair
    LEFT JOIN unnest(%b::bigint[], %b::bigint[]) AS busy(target_id, room) USING (target_id)
    LEFT JOIN deliveries_request AS request ON request.id = fair.request_id
    WHERE fair.turn <= coalesce(busy.room, %b::bigint)
), due AS MATERIALIZED (
    SELECT * FROM sized WHERE coalesce(bytes_to_here, 0) <= %b::bigint
), claimed AS (
    UPDATE deliveries_delivery AS delivery
    SET state = '{DeliveryState.SENDING}', claim_id = %b::uuid, attempt_count = delivery.attempt_count + 1,
        next_attempt_at = now() + make_interval(secs => {LEASE_MARGIN_SECONDS} + coalesce(target.timeout_seconds, 0))
    FROM due LEFT JOIN catalog_target AS target ON target.id = due.target_id
    WHERE delivery.ctid = due.place
    RETURNING delivery.id, delivery.request_id, delivery.target_id, delivery.shard, delivery.attempt_count,
        delivery.replay_count, due.old_state, due.due_at, due.content_type, due.request_headers,
        target.url, target.headers::text AS target_headers, target.timeout_seconds,
        to_json(target.retry_schedule_seconds)::text AS schedule, target.sealed_signing_secret
), lost AS (
    INSERT INTO deliveries_attempt
        (delivery_id, number, replay, outcome, started_at, duration_ms, url, error, response_body, is_response_cut)
    SELECT id, attempt_count - 1, replay_count, '{AttemptOutcome.LEASE_LOST}',
        due_at - make_interval(secs => {LEASE_MARGIN_SECONDS} + coalesce(timeout_seconds, 0)),
        1000 * ({LEASE_MARGIN_SECONDS} + coalesce(timeout_seconds, 0)), coalesce(url, ''), '', '', false
    FROM claimed WHERE old_state = '{DeliveryState.SENDING}'
)
SELECT claimed.id, claimed.request_id, claimed.target_id, claimed.shard, claimed.attempt_count, claimed.replay_count,
    claimed.old_state = '{DeliveryState.SENDING}', claimed.url, claimed.target_headers, claimed.timeout_seconds,
    claimed.schedule, claimed.sealed_signing_secret, claimed.content_type, claimed.request_headers, payload.body
FROM claimed LEFT JOIN deliveries_payload AS payload ON payload.request_id = claimed.request_id
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

    def __init__(self, connection: Connection, destinations: Destinations) -> None:
        self._connection = connection
        self._destinations = destinations

    async def take(self, shards: Sequence[int], room: Room) -> list[Claim]:
        """Due deliveries of `shards`, the longest due first, shards sharing evenly (and at least one each).

        An empty list means that nothing is due, or only what there is no room for. Raises DatabaseAway.
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
        return [self._claim(claim_id, row) for row in rows]

    def _claim(self, claim_id: UUID, row: tuple[Any, ...]) -> Claim:
        (delivery_id, request_id, target_id, shard, number, replay, is_lost, url, *target, kind, headers, body) = row
        destination: Destination | Fault = Fault.TARGET_DELETED
        if url is not None:
            destination = self._destinations.of((target_id, url, *target))
        request_headers: dict[str, str] = {}
        if headers is not None:
            try:
                request_headers = msgspec.json.decode(headers, type=dict[str, str])
            except msgspec.DecodeError:  # a row that no edge of ours wrote must not end the worker, and the next, ...
                destination = Fault.BAD_HEADER
        if is_lost and isinstance(destination, Destination) and number > _most_attempts(destination):
            destination = Fault.LEASES_LOST
        return Claim(
            delivery_id=delivery_id,
            claim_id=claim_id,
            request_id=request_id,
            target_id=target_id,
            shard=shard,
            number=number,
            replay=replay,
            content_type=kind or "",
            request_headers=request_headers,
            body=body if headers is not None else None,
            url=url or "",
            destination=destination,
        )


def _most_attempts(destination: Destination) -> int:
    return len(destination.retry_schedule_seconds) + 1 + MAX_LOST_LEASES

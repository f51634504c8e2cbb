"""Takes due deliveries out of Postgres, for this process alone and until their lease ends.

A claim is one statement on the queue, and one each for targets and requests that this process does not hold yet.
Workers do not wait for each other (SKIP LOCKED), and each row that is taken gets the claim's id: a result counts only
while the row still carries it. The lease is the target's timeout and a margin, computed in the statement, so it cannot
be shorter than an attempt, also where the target is edited between the claim and its being loaded (`_within`).

What its target has no room for leaves the due index in the same statement, so that nobody meets it again before
`delivery/pacer.py` lets it back in: `waiting` where a limit, a pause or an ordering key stands before it, `held` where
the target is disabled. That is a deferral and not an attempt. A target of which this process has too many in flight is
passed over; the pacer sets aside what is due to one that does not answer. Where limits are to be counted over all
workers, a claim is a transaction that locks the states of such targets first (`delivery/limits.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from uuid import UUID

from delivery import limits
from delivery.attempt import Claim, Destination, Fault
from delivery.contents import Content, Contents
from delivery.database import Connection
from delivery.destinations import Destinations
from delivery.known_targets import KnownTargets
from relay_admin.deliveries.models import AttemptOutcome
from relay_contract.ids import uuid7
from relay_contract.intake import DUE_STATES, DeliveryState

LEASE_MARGIN_SECONDS = 15
"""Beyond the attempt's own deadline: for recording it, and for a worker that is slow to get the processor."""

MAX_LOST_LEASES = 5
"""Attempts beyond the schedule that a delivery may lose to dying workers, before it is taken for their cause."""

_DUE = ", ".join(f"'{state}'" for state in DUE_STATES)
_LEASE = f"make_interval(secs => {LEASE_MARGIN_SECONDS} + coalesce(timeout_seconds, 0))"
_LOST = "id, attempt_count, replay_count, due_at, timeout_seconds, url, revision, version, old_state"
_WAITING, _HELD, _SENDING = DeliveryState.WAITING, DeliveryState.HELD, DeliveryState.SENDING

# What becomes of a candidate; beside the states, `take`, `later` (stays due: this process has no slot for it) and
# `unlocked` (stays due: to be met again with its target's lock). A lost lease counts as sending already, so limits of
# its target do not stop it. A target that is deleted and a delivery that is over its time are taken to be ended.
_WHAT = f"""CASE
            WHEN room.is_deleted OR candidate.expires_at <= now() THEN 'take'
            WHEN NOT room.is_enabled THEN '{_HELD}'
            WHEN room.needs_lock AND candidate.target_id <> ALL (%b::bigint[]) THEN 'unlocked'
            WHEN candidate.old_state = '{_SENDING}' THEN 'take'
            WHEN room.places = 0 THEN '{_WAITING}'
            WHEN room.is_ordered AND candidate.ordering_key IS NOT NULL AND ({limits.is_behind("candidate")}
                OR room.is_blocking AND {limits.is_blocked("candidate")}) THEN '{_WAITING}'
            ELSE 'take'
        END"""

# 1. candidate: per shard the longest due, locked. One index range each: (shard, next_attempt_at) of due rows.
# 2. room, judged: what each target takes at all. 3. turned: who is among the first of those that its target has room
#    for, in all workers and in this one.
# 4. due: and no more bodies than fit in memory. The queue knows their sizes: nothing is joined.
# 5. claimed: found again by place (ctid), which the lock keeps still. Only here an attempt is counted.
# 6. lost: a row that was `sending` had a worker that never came back; its attempt is told as what it was, under an id
#    of its time. 7. parked: leaves the due index. 8. paid: what will be sent counts against its target's rate.
CLAIM = f"""
WITH candidate AS MATERIALIZED (
    SELECT found.*
    FROM unnest(%b::smallint[]) AS active(shard)
    CROSS JOIN LATERAL (
        SELECT ctid AS place, id, target_id, state AS old_state, next_attempt_at AS due_at, expires_at, ordering_key,
            body_bytes, attempt_count, replay_count, revision AS accepted_under
        FROM deliveries_live
        WHERE shard = active.shard AND state IN ({_DUE}) AND next_attempt_at <= now()
            AND target_id <> ALL (%b::bigint[])
        ORDER BY next_attempt_at
        LIMIT %b::bigint
        FOR UPDATE SKIP LOCKED
    ) AS found
), wanted AS (SELECT DISTINCT target_id FROM candidate),
room AS MATERIALIZED (
    SELECT asked.*, coalesce(own.places, %b::bigint) AS own_places
    FROM ({limits.ROOM}) AS asked
    LEFT JOIN unnest(%b::bigint[], %b::bigint[]) AS own(target_id, places) USING (target_id)
), judged AS (
    SELECT candidate.*, room.places, room.own_places, room.version, room.url, room.timeout_seconds,
        coalesce(room.revision, candidate.accepted_under) AS revision, room.is_watched, room.needs_lock,
        room.rate, {_WHAT} AS what
    FROM candidate JOIN room USING (target_id)
), turned AS (
    SELECT *, row_number() OVER (PARTITION BY target_id, what, old_state ORDER BY due_at, id) AS turn FROM judged
), verdict AS MATERIALIZED (
    SELECT *, CASE
            WHEN what <> 'take' OR version IS NULL THEN what
            WHEN old_state <> '{_SENDING}' AND turn > places THEN '{_WAITING}'
            WHEN turn > own_places THEN 'later'
            ELSE 'take'
        END AS becomes
    FROM turned
), due AS MATERIALIZED (
    SELECT * FROM (
        SELECT *, sum(body_bytes) OVER (ORDER BY due_at, place) AS bytes_to_here FROM verdict WHERE becomes = 'take'
    ) AS sized WHERE bytes_to_here <= %b::bigint
), claimed AS (
    UPDATE deliveries_live AS delivery
    SET state = '{_SENDING}', claim_id = %b::uuid, attempt_count = delivery.attempt_count + 1,
        next_attempt_at = now() + {_LEASE}
    FROM due WHERE delivery.ctid = due.place
    RETURNING delivery.id, delivery.request_id, delivery.target_id, delivery.shard, delivery.attempt_count,
        delivery.replay_count, delivery.body_bytes, due.old_state = '{_SENDING}' AS is_lost, due.revision,
        due.version, due.url, due.timeout_seconds, due.expires_at <= now() AS is_expired, due.is_watched,
        due.needs_lock AS is_paced, delivery.is_shadow, delivery.is_compared
), parked AS (
    UPDATE deliveries_live AS delivery
    SET state = verdict.becomes, claim_id = NULL, deferral_count = delivery.deferral_count + 1,
        next_attempt_at = CASE verdict.becomes WHEN '{_HELD}' THEN now() ELSE verdict.due_at END
    FROM verdict WHERE delivery.ctid = verdict.place AND verdict.becomes IN ('{_WAITING}', '{_HELD}')
), lost AS (
    INSERT INTO deliveries_attempt (id, delivery_id, number, replay, outcome, started_at, duration_ms, url, error,
        revision, target_version, response_body, is_response_cut)
    SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0')
            || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid,
        id, attempt_count, replay_count, '{AttemptOutcome.LEASE_LOST}', due_at - {_LEASE},
        1000 * extract(epoch FROM {_LEASE}), coalesce(url, ''), '', revision, coalesce(version, 0), '', false
    FROM (SELECT {_LOST} FROM due UNION ALL SELECT {_LOST} FROM verdict WHERE becomes = '{_HELD}') AS ended
    WHERE old_state = '{_SENDING}'
), paid AS (
    SELECT target_id, count(*) AS count, min(rate) AS rate
    FROM due WHERE rate IS NOT NULL AND old_state <> '{_SENDING}' AND expires_at > now() GROUP BY target_id
), charged AS ({limits.PAY})
SELECT id, request_id, target_id, shard, attempt_count, replay_count, body_bytes, is_lost, revision, version,
    coalesce(url, ''), coalesce(timeout_seconds, 0), is_expired, is_watched, is_paced, is_shadow, is_compared,
    'take' AS becomes, 1 AS count
FROM claimed
UNION ALL
SELECT NULL, NULL, target_id, 0, 0, 0, 0, false, 0, NULL, '', 0, false, false, false, false, false, becomes, count(*)
FROM verdict WHERE becomes NOT IN ('take', 'later') GROUP BY target_id, becomes
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
        self._known = KnownTargets(connection)
        self.deferred = 0  # deliveries that left the due index, since the process began
        self.met = 0  # and those that the next claim may take, which has their target's lock

    async def take(self, shards: Sequence[int], room: Room) -> list[Claim]:
        """Due deliveries of `shards`, the longest due first, shards sharing evenly (and at least one each).

        An empty list means that nothing is due, or only what there is no room for; `deferred` and `met` have grown
        where another claim may find more. Raises DatabaseAway; what was claimed and could not be loaded is due again
        when its lease ends. `done` is to be called for each claim.
        """
        claim_id = uuid7()
        rows = await self._rows(claim_id, shards, room)
        claimed, unlocked = [], []
        for row in map(_Claimed._make, rows):
            if row.becomes == "take":
                claimed.append(row)
            elif row.becomes == "unlocked":
                unlocked.append(row.target_id)
            else:
                self.deferred += row.deliveries
        if unlocked:
            await self._known.meet(unlocked)
            self.met += len(unlocked)
        if not claimed:
            return []
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

    async def _rows(self, claim_id: UUID, shards: Sequence[int], room: Room) -> list[tuple[Any, ...]]:
        known = self._known.ids()
        if not known:
            return await self._connection.rows(CLAIM, _parameters(claim_id, shards, room, []))
        async with self._connection.transaction():
            locked = [target_id for (target_id,) in await self._connection.rows(limits.LOCK, (known,))]
            return await self._connection.rows(CLAIM, _parameters(claim_id, shards, room, locked))


def _parameters(claim_id: UUID, shards: Sequence[int], room: Room, locked: Sequence[int]) -> tuple[object, ...]:
    left = {target: room.per_target - count for target, count in room.in_flight.items()}
    own = [target for target, places in left.items() if places > 0]
    return (
        list(shards),
        [target for target, places in left.items() if places <= 0],
        max(1, room.deliveries // len(shards)),
        room.per_target,
        own,
        [left[target] for target in own],
        list(locked),
        room.body_bytes,
        claim_id,
    )


class _Claimed(NamedTuple):
    """A row of CLAIM: a delivery that was taken, or (without its id) how many of a target became something else."""

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
    timeout_seconds: int  # that the lease was computed from
    is_expired: bool
    is_watched: bool
    is_paced: bool
    is_shadow: bool
    is_compared: bool
    becomes: str
    deliveries: int


def _claim(claim_id: UUID, row: _Claimed, destination: Destination | Fault, content: Content) -> Claim:
    if isinstance(destination, Destination):
        destination = _within(destination, row.timeout_seconds)
    if content.headers is None:
        destination = Fault.BAD_HEADER
    if row.is_lost and isinstance(destination, Destination) and row.number > _most_attempts(destination):
        destination = Fault.LEASES_LOST
    if row.is_expired and row.target_version is not None:
        destination = Fault.EXPIRED
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
        is_watched=row.is_watched,
        is_paced=row.is_paced,
        is_shadow=row.is_shadow,
        is_compared=row.is_compared,
        call=content.call,
    )


def _within(destination: Destination, seconds: int) -> Destination:
    """The destination with a timeout of `seconds` at the most: it may have changed since the lease was computed."""
    if destination.timeout_seconds <= seconds:
        return destination
    return replace(destination, timeout_seconds=seconds)


def _most_attempts(destination: Destination) -> int:
    return len(destination.retry_schedule_seconds) + 1 + MAX_LOST_LEASES

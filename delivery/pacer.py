"""Lets deliveries back into the due index as their targets have room again, sets aside what is due to those that do not
answer, and ends what is over its time.

What waits is `waiting` (a limit, a pause, an ordering key) or `held` (its target was disabled and is enabled now); what
waits for a target that is disabled meanwhile is held from then on. A pass walks from target to target, not over rows:
of each it lets in as many as the target takes, the longest due first, and of an ordered one the first of each key. The
claim decides again, so one too many only waits once more. Passes are repeated while anything waits for an enabled
target, and at once where a result made room; one process paces at a time.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from delivery import limits
from delivery.database import Connection, DatabaseAway, Outage
from relay_admin.deliveries import endings, holding
from relay_contract.intake import DeadReason, DeliveryState, shard_of

BUSY_SECONDS = 0.1
IDLE_SECONDS = 1.0
LOOK_BACK_SECONDS = 1.0
"""How often what waits is counted, and what is over its time ended."""
MIN_PAUSE_SECONDS = 0.005
MIN_PAUSE_PASSES = 4
"""A pass is followed by a pause of at least so many times its length: pacing takes a fifth of a connection at most."""
BATCH = 256
"""The most that one pass lets in of one target: what a claim takes."""
MAX_SET_ASIDE = 1_000
"""In one pass. Claims pass over such rows meanwhile, on a connection of their own, so nobody waits for this."""
MAX_ENDED = 500
MAX_HELD = 500
"""At once, of a target that was disabled."""

_TURN = 0x52504143  # of this kind of work, among the advisory locks

_KEPT_BACK = f"state IN ('{DeliveryState.WAITING}', '{DeliveryState.HELD}')"
_HEAD = f"""NOT {limits.is_behind("row")} AND NOT (room.is_blocking AND {limits.is_blocked("row")})"""
_ROW = "ctid AS place, state AS old_state, next_attempt_at AS kept_at"

# 1. walk: targets that have any. 2. room: what they take, in all workers and in this one.
# 3. keys, heads: of ordered targets the first of each key, found from key to key. 4. plain: of the others the longest
#    due. What was held gets the time back for which it was.
LET_IN = f"""
WITH RECURSIVE lock AS MATERIALIZED (SELECT pg_try_advisory_xact_lock({_TURN}) AS is_mine),
walk(target_id) AS (
    (SELECT live.target_id FROM deliveries_live AS live WHERE live.{_KEPT_BACK} AND (SELECT is_mine FROM lock)
     ORDER BY live.target_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT live.target_id FROM deliveries_live AS live
        WHERE live.{_KEPT_BACK} AND live.target_id > walk.target_id ORDER BY live.target_id LIMIT 1
    ) FROM walk WHERE walk.target_id IS NOT NULL
), wanted AS (SELECT target_id FROM walk WHERE target_id IS NOT NULL),
room AS MATERIALIZED (
    SELECT target_id, coalesce(is_ordered, false) AS is_ordered, coalesce(is_blocking, false) AS is_blocking,
        least(places, own.free, {BATCH}) AS places
    FROM ({limits.ROOM}) AS asked
    LEFT JOIN unnest(%b::bigint[], %b::bigint[]) AS own(target_id, free) USING (target_id)
    WHERE is_deleted OR is_enabled
), keys(target_id, ordering_key) AS (
    SELECT room.target_id, (
        SELECT min(live.ordering_key) FROM deliveries_live AS live
        WHERE live.target_id = room.target_id AND live.ordering_key IS NOT NULL
    ) FROM room WHERE room.is_ordered AND room.places > 0
    UNION ALL
    SELECT keys.target_id, (
        SELECT min(live.ordering_key) FROM deliveries_live AS live
        WHERE live.target_id = keys.target_id AND live.ordering_key > keys.ordering_key
    ) FROM keys WHERE keys.ordering_key IS NOT NULL
), heads AS MATERIALIZED (
    SELECT room.target_id, row.id, row_number() OVER (PARTITION BY room.target_id ORDER BY row.next_attempt_at) AS turn
    FROM keys JOIN room USING (target_id) CROSS JOIN LATERAL (
        SELECT live.id, live.target_id, live.ordering_key, live.state, live.next_attempt_at
        FROM deliveries_live AS live
        WHERE live.target_id = keys.target_id AND live.ordering_key = keys.ordering_key ORDER BY live.id LIMIT 1
    ) AS row
    WHERE row.{_KEPT_BACK} AND {_HEAD}
), headed AS MATERIALIZED (
    SELECT {_ROW} FROM deliveries_live AS row
    WHERE {_KEPT_BACK} AND id IN (SELECT heads.id FROM heads JOIN room USING (target_id) WHERE turn <= room.places)
    FOR UPDATE SKIP LOCKED
), plain AS MATERIALIZED (
    SELECT row.* FROM room CROSS JOIN LATERAL (
        SELECT {_ROW} FROM deliveries_live AS live
        WHERE live.target_id = room.target_id AND {_KEPT_BACK} AND (NOT room.is_ordered OR live.ordering_key IS NULL)
        ORDER BY live.next_attempt_at LIMIT room.places
        FOR UPDATE SKIP LOCKED
    ) AS row
), let_in AS (
    UPDATE deliveries_live AS live
    SET state = '{DeliveryState.PENDING}', expires_at = CASE row.old_state WHEN '{DeliveryState.HELD}'
            THEN live.expires_at + greatest(now() - row.kept_at, interval '0') ELSE live.expires_at END
    FROM (SELECT * FROM headed UNION ALL SELECT * FROM plain) AS row
    WHERE live.ctid = row.place
    RETURNING live.shard
)
SELECT (SELECT count(*) FROM room), (SELECT count(*) FROM let_in),
    (SELECT coalesce(array_agg(DISTINCT shard), '{{}}') FROM let_in)
"""  # noqa: S608 (constants of the contract)

SET_ASIDE = f"""
WITH chosen AS MATERIALIZED (
    SELECT ctid AS place FROM deliveries_live
    WHERE state = '{DeliveryState.PENDING}' AND shard = ANY(%b::smallint[]) AND next_attempt_at <= now()
        AND target_id = ANY(%b::bigint[])
    ORDER BY next_attempt_at LIMIT {MAX_SET_ASIDE} FOR UPDATE SKIP LOCKED
), aside AS (
    UPDATE deliveries_live AS live
    SET state = '{DeliveryState.WAITING}', claim_id = NULL, deferral_count = live.deferral_count + 1
    FROM chosen WHERE live.ctid = chosen.place
    RETURNING live.id
)
SELECT count(*) FROM aside
"""  # noqa: S608 (constants)

END = endings.end(
    f"SELECT ctid AS place FROM deliveries_live WHERE {_KEPT_BACK} AND expires_at <= now()"  # noqa: S608 (constants)
    f" ORDER BY expires_at LIMIT {MAX_ENDED} FOR UPDATE SKIP LOCKED",
    DeliveryState.DEAD,
    DeadReason.EXPIRED,
    endings.BY_CONTACT,
)

COUNT = f"""
SELECT state, count(*), array_agg(DISTINCT target_id) FROM deliveries_live WHERE {_KEPT_BACK} GROUP BY state
"""  # noqa: S608 (a constant)

# Its target was disabled after it began to wait. Only targets that something waits for are looked at: another may have
# millions held already.
HOLD = holding.hold(f"""
    SELECT row.place FROM catalog_target AS target CROSS JOIN LATERAL (
        SELECT ctid AS place FROM deliveries_live AS live
        WHERE live.target_id = target.id AND live.state = '{DeliveryState.WAITING}'
        ORDER BY live.next_attempt_at LIMIT {MAX_HELD} FOR UPDATE SKIP LOCKED
    ) AS row
    WHERE target.id = ANY(%b::bigint[]) AND NOT target.is_enabled
""")  # noqa: S608 (constants)


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass found."""

    targets: int  # enabled ones that something waits for; 0 also where another process paces
    let_in: int
    shards: tuple[int, ...]  # of what was let in


async def let_in(connection: Connection, free: Mapping[int, int]) -> Pass:
    """One pass. `free`: target -> slots that this process has for it, of those it sends to. Raises DatabaseAway."""
    [(targets, count, shards)] = await connection.rows(LET_IN, (list(free), list(free.values())))
    return Pass(targets, count, tuple(shards))


async def set_aside(connection: Connection, targets: Collection[int]) -> int:
    """Take what is due to these targets out of the due index, the longest due first; how many. Raises DatabaseAway."""
    [(count,)] = await connection.rows(SET_ASIDE, (sorted(map(shard_of, targets)), list(targets)))
    return int(count)


async def end_expired(connection: Connection) -> int:
    """End what waited for longer than its time, some at once; how many. Raises DatabaseAway."""
    [(count,)] = await connection.rows(END, ())
    return int(count)


async def look_back(connection: Connection) -> Counter[str]:
    """State -> deliveries that wait or are held, once those are held that waited for a target which was disabled.
    Raises DatabaseAway."""
    rows = await connection.rows(COUNT, ())
    counts = Counter({state: count for state, count, _ in rows})
    for state, _, targets in rows:
        if state == DeliveryState.WAITING:
            [(held,)] = await connection.rows(HOLD, (targets,))
            counts.update({DeliveryState.HELD: held, DeliveryState.WAITING: -held})
    return counts


@dataclass
class Figures:
    """What the metrics page shows: counts since the process began, and what waits in the whole queue."""

    let_in: int = 0
    set_aside: int = 0
    expired: int = 0
    kept_back: Counter[str] = field(default_factory=Counter)  # waiting, held


class Pacer:
    """Paces until cancelled, through its own connection.

    `free` gives the slots that this process has for the targets it is sending to, None while it has none at all;
    `stuck` gives those of them that do not answer; `activate` has a shard claimed from.
    """

    def __init__(
        self,
        connection: Connection,
        free: Callable[[], Mapping[int, int] | None],
        stuck: Callable[[], Collection[int]],
        activate: Callable[[int], None],
    ) -> None:
        self._connection = connection
        self._free = free
        self._stuck = stuck
        self._activate = activate
        self._called = asyncio.Event()
        self._look_back_at = 0.0
        self.figures = Figures()

    def call(self) -> None:
        """There may be room, or something to wait for it."""
        self._called.set()

    async def run(self) -> None:
        """Pass after pass. While Postgres is away nothing is let in."""
        outage = Outage("pace")
        while True:
            began = time.perf_counter()
            pause = IDLE_SECONDS
            try:
                if await self._pass():
                    pause = BUSY_SECONDS
                outage.is_over()
            except DatabaseAway as away:
                pause = outage.goes_on(away)
                self._called.clear()
            took = time.perf_counter() - began
            await asyncio.sleep(max(MIN_PAUSE_SECONDS, MIN_PAUSE_PASSES * took))
            await until(self._called, pause)

    async def _pass(self) -> bool:
        """Whether something still waits for room, as far as this process can tell."""
        if time.monotonic() >= self._look_back_at:
            self._look_back_at = time.monotonic() + LOOK_BACK_SECONDS
            self.figures.kept_back = await look_back(self._connection)
            self.figures.expired += await end_expired(self._connection)
        self._called.clear()
        stuck = self._stuck()
        aside = await set_aside(self._connection, stuck) if stuck else 0
        self.figures.set_aside += aside
        free = self._free()
        if free is None:  # what it let in would lie about
            return True
        passed = await let_in(self._connection, free)
        self.figures.let_in += passed.let_in
        for shard in passed.shards:
            self._activate(shard)
        if passed.let_in >= BATCH or aside >= MAX_SET_ASIDE:
            self.call()
        return passed.targets > 0 or bool(stuck)


async def until(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, `seconds` at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()

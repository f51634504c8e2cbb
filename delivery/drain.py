"""The resident loop of a worker process: claims what is due, sends it, has it recorded.

One loop for all shards that are active in this process. Slots bound what is in flight, in all and per target, and a
freed slot is claimed for again without waiting for the rest: a target that hangs holds its own slots and no others.

A shard becomes active by a wake-up or by the due-scan, and stays so while claims find something. When they do not, the
loop looks again a few times, then lets its wake key go, looks once more, and rests. So wake-ups travel only when a
shard turns from idle to busy.

Nothing here waits for Redis or Celery. Without Postgres the loops pause and go on when it is back.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from delivery import due_scan, outcome, retry, target_states
from delivery.attempt import Answer, Claim, Destination, Fault
from delivery.claims import Claims, Room
from delivery.database import Connection, DatabaseAway, Outage
from delivery.pacer import Pacer, until
from delivery.record import Recorder, Result, given_back, result_of
from delivery.sender import Sender
from delivery.wakes import RENEW_SECONDS, Wakes
from relay_contract import logs
from relay_contract.ending import end

logger = logging.getLogger(__name__)

GATHER_SECONDS = 0.005
"""How long a claim waits for more slots to come free, so that it takes several rows for the price of one statement."""

LOOK_AGAIN_SECONDS = (0.005, 0.010, 0.020, 0.040, 0.080)
"""Pauses after claims that found nothing, before the active shards are idle."""

NO_ROOM_SECONDS = 0.05
"""Pause after a claim that found nothing while a target, or the memory for bodies, is full: that may be why."""

STUCK_SECONDS = 1.0
"""A target whose slots are all taken, and that answered none of them for so long, is stuck: the pacer takes what is due
to it out of the due index. One that is full and answers gets the next deliveries in a moment, and they stay there."""

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Bodies in flight in one process. Above the largest body an endpoint may take (16 MiB), so each finds room."""

RECORD_SECONDS = 5.0
"""At shutdown: for writing the last results. What is not written is sent again when its lease ends."""

LATE_SECONDS = 60.0
"""A delivery due for longer than this is worth a warning: workers are too few, or stuck."""


@dataclass
class Figures:
    """What the metrics page shows, since the process began."""

    claims: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)  # AttemptOutcome -> attempts recorded
    faults: Counter[str] = field(default_factory=Counter)
    oldest_due_seconds: float = 0.0
    in_flight: int = 0


class Drainer:
    """All methods belong to the event loop that `run` runs on."""

    def __init__(
        self,
        *,
        claims: Claims,
        sender: Sender,
        wakes: Wakes,
        record_connection: Connection,
        scan_connection: Connection,
        pace_connection: Connection,
        in_flight: int,
        in_flight_per_target: int,
    ) -> None:
        self._claims = claims
        self._sender = sender
        self._wakes = wakes
        self._scan_connection = scan_connection
        self._recorder = Recorder(record_connection, self._recorded)
        self.pacer = Pacer(pace_connection, self._free, self._stuck_targets, self.activate)
        self._slots = in_flight
        self._slots_per_target = in_flight_per_target
        self._enough_slots = max(1, in_flight // 4)
        self._by_target: Counter[int] = Counter()
        self._answered: dict[int, float] = {}  # target -> when its last result was recorded, or its first was claimed
        self._by_shard: Counter[int] = Counter()
        self._body_bytes = 0
        self._sends: set[asyncio.Task[None]] = set()
        self._active: set[int] = set()
        self._called: set[int] = set()  # activated since the last claim began
        self._waiting: dict[int, asyncio.Event] = {}  # shard -> set when it is idle
        self._is_resting = False
        self._wake_lock = asyncio.Lock()
        self._call = asyncio.Event()
        self._freed = asyncio.Event()
        self._stopping = asyncio.Event()
        self.figures = Figures()

    @property
    def fences_lost(self) -> int:
        """Results that came after their lease had ended."""
        return self._recorder.fences_lost

    @property
    def deferred(self) -> int:
        """Deliveries that had to wait for room at their target, or are held."""
        return self._claims.deferred + self.pacer.figures.set_aside

    @property
    def targets(self) -> target_states.Figures:
        """What became of targets in trouble."""
        return self._recorder.targets

    @property
    def wake_failures(self) -> int:
        """Calls that Redis did not answer."""
        return self._wakes.failures

    def activate(self, shard: int) -> None:
        """Look for due deliveries of the shard now."""
        self._active.add(shard)
        self._called.add(shard)
        self._call.set()

    async def drain(self, shard: int) -> None:
        """Activate the shard and wait until nothing of it is due or in flight; at once where somebody waits already."""
        self.activate(shard)
        if shard in self._waiting or self._stopping.is_set():
            return
        idle = self._waiting[shard] = asyncio.Event()
        try:
            await idle.wait()
        finally:
            del self._waiting[shard]

    def stop(self) -> None:
        """Claim no more; `run` ends when what is in flight is done."""
        self._stopping.set()
        self._call.set()
        self._freed.set()

    async def run(self, grace_seconds: float) -> None:
        """Work until `stop`, then finish what is in flight for up to `grace_seconds` and give back the rest.

        Raises when a loop died of something that is not an outage: the process should end and be started again.
        """
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(self._recorder.run(), name="record"),
                group.create_task(self._scan(), name="due-scan"),
                group.create_task(self.pacer.run(), name="pace"),
                group.create_task(self._hold(), name="wake-keys"),
            ]
            await self._claim(group)
            await self._finish(grace_seconds)
            await end(*loops)

    async def _claim(self, group: asyncio.TaskGroup) -> None:
        outage = Outage("claim")
        looks = 0
        while not self._stopping.is_set():
            if not self._active:
                self._call.clear()
                await self._call.wait()
                looks = 0
                continue
            free = await self._free_slots()
            if self._stopping.is_set():
                break
            try:
                found = await self._take(free, group)
                outage.is_over()
                if found:
                    looks = 0
                    if found < free // 2:
                        await self._pause(GATHER_SECONDS)
                elif self._has_no_room():
                    await until(self._freed, NO_ROOM_SECONDS)
                    await self._pause(GATHER_SECONDS)
                elif looks < len(LOOK_AGAIN_SECONDS):
                    await self._pause(LOOK_AGAIN_SECONDS[looks])
                    looks += 1
                else:
                    await self._rest(group)
                    looks = 0
            except DatabaseAway as away:
                await self._pause(outage.goes_on(away))

    async def _take(self, free: int, group: asyncio.TaskGroup) -> int:
        """Claim once and start what was found; how many that were, with those that made room in the due index."""
        self._called.clear()
        self._call.clear()
        self._freed.clear()
        room = Room(free, MAX_BODY_BYTES - self._body_bytes, self._slots_per_target, self._by_target)
        deferred, met = self._claims.deferred, self._claims.met
        claims = await self._claims.take(sorted(self._active), room)
        self.figures.claims += 1
        deferred, met = self._claims.deferred - deferred, self._claims.met - met
        if deferred:
            self.pacer.call()
        now = time.monotonic()
        for claim in claims:
            self._by_target[claim.target_id] += 1
            self._answered.setdefault(claim.target_id, now)
            self._by_shard[claim.shard] += 1
            self._body_bytes += claim.body_bytes
            self.figures.in_flight += 1
            task = group.create_task(self._deliver(claim))
            self._sends.add(task)
            task.add_done_callback(self._sends.discard)
        return len(claims) + deferred + met

    def _full_targets(self) -> set[int]:
        return {target for target, count in self._by_target.items() if count >= self._slots_per_target}

    def _stuck_targets(self) -> set[int]:
        """Of the full targets those that do not answer."""
        before = time.monotonic() - STUCK_SECONDS
        return {target for target in self._full_targets() if self._answered[target] <= before}

    def _free(self) -> dict[int, int] | None:
        """See Pacer."""
        if self.figures.in_flight >= self._slots:
            return None
        return {target: max(0, self._slots_per_target - count) for target, count in self._by_target.items()}

    async def _free_slots(self) -> int:
        """Wait until a slot is free, and a moment longer for others that come free with it."""
        while self.figures.in_flight >= self._slots and not self._stopping.is_set():
            self._freed.clear()
            await self._freed.wait()
        if self._slots - self.figures.in_flight < self._enough_slots:
            await self._pause(GATHER_SECONDS)
        return self._slots - self.figures.in_flight

    def _has_no_room(self) -> bool:
        """Whether more may be due than a claim can find. What is due to a stuck target leaves the index by itself."""
        return self._full_targets() > self._stuck_targets() or self._body_bytes > MAX_BODY_BYTES // 2

    async def _pause(self, seconds: float) -> None:
        """Wait, but not past a call."""
        await until(self._call, seconds)

    async def _rest(self, group: asyncio.TaskGroup) -> None:
        """Let the wake keys go, look once more for what came while they stood, and be idle if there is nothing."""
        shards = frozenset(self._active)
        self._is_resting = True
        try:
            async with self._wake_lock:
                await self._wakes.drop(shards)
            if await self._take(self._slots - self.figures.in_flight, group) == 0:
                self._active -= shards - self._called
                self._settle(shards)
        finally:
            self._is_resting = False

    async def _deliver(self, claim: Claim) -> None:
        logs.delivery_id.set(claim.delivery_id)
        try:
            answer = await self._sender.send(claim)
        except asyncio.CancelledError:
            answer = Answer(datetime.now(UTC), 0, None, Fault.WORKER_STOPPED)
            self._recorder.put(given_back(claim, answer))
            raise
        jitter = random.uniform(retry.MIN_JITTER, retry.MAX_JITTER)  # noqa: S311 (spreads load, guards nothing)
        destination = claim.destination
        retry_on = destination.retry_on if isinstance(destination, Destination) else None
        self._recorder.put(result_of(claim, answer, outcome.judge(answer, retry_on), jitter))

    def _recorded(self, results: Sequence[Result]) -> None:
        """Results are written: their slots are free. Only now, so that an outage bounds what waits in memory."""
        now = time.monotonic()
        makes_room = False
        for result in results:
            claim = result.claim
            makes_room = makes_room or claim.is_paced or self._by_target[claim.target_id] >= self._slots_per_target
            self._by_target[claim.target_id] -= 1
            self._answered[claim.target_id] = now
            if not self._by_target[claim.target_id]:
                del self._by_target[claim.target_id], self._answered[claim.target_id]
            self._by_shard[claim.shard] -= 1
            self._body_bytes -= claim.body_bytes
            self._claims.done(claim)
            self.figures.in_flight -= 1
            self.figures.outcomes[result.outcome] += 1
            if result.answer.fault is not None:
                self.figures.faults[result.answer.fault] += 1
        if makes_room:
            self.pacer.call()
        self._freed.set()
        self._settle({result.claim.shard for result in results})

    def _settle(self, shards: Iterable[int]) -> None:
        for shard in shards:
            if shard not in self._active and not self._by_shard[shard] and shard in self._waiting:
                self._waiting[shard].set()

    async def _scan(self) -> None:
        outage = Outage("due-scan")
        is_late = False
        while True:
            pause = due_scan.INTERVAL_SECONDS
            try:
                ages = await due_scan.due_ages(self._scan_connection)
                outage.is_over()
            except DatabaseAway as away:
                pause = outage.goes_on(away)
            else:
                self.figures.oldest_due_seconds = max(ages.values(), default=0.0)
                for shard in ages.keys() - self._active:
                    self.activate(shard)
                was_late, is_late = is_late, self.figures.oldest_due_seconds > LATE_SECONDS
                if is_late and not was_late:
                    fields = logs.log_fields(oldest_due_seconds=round(self.figures.oldest_due_seconds))
                    logger.warning("deliveries_late", extra=fields)
            await asyncio.sleep(pause)

    async def _hold(self) -> None:
        while True:
            async with self._wake_lock:
                if self._active and not self._is_resting:
                    await self._wakes.hold(self._active)
            await asyncio.sleep(RENEW_SECONDS)

    async def _finish(self, grace_seconds: float) -> None:
        async with self._wake_lock:
            self._is_resting = True
            await self._wakes.drop(self._active)
        if self._sends:
            await asyncio.wait(self._sends, timeout=grace_seconds)
        for task in self._sends:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(RECORD_SECONDS):
                while self.figures.in_flight:
                    self._freed.clear()
                    await self._freed.wait()
        if self.figures.in_flight:
            logger.error("results_unwritten", extra=logs.log_fields(deliveries=self.figures.in_flight))
        for idle in self._waiting.values():
            idle.set()

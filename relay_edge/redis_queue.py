"""Commands on their way to Redis, coalesced: everything of a loop turn leaves in one write on one connection
(`redis_link.py`), each as its own command, so that none waits for another's reply.

Nobody waits long for a Redis that hangs. While replies are due a watch looks each 15 ms; when it has seen the oldest
write unanswered three times in a row, with nothing to read in the socket, Redis is *late*: whoever waits is released
(45 ms at the most) and nobody else waits until all replies are in. A loop that stood still finds the replies in its
socket and blames nobody. A Redis that stays late for a second loses its connection; a task makes a new one, with
growing pauses. `problem` says why Redis is not in charge.

Per command: a list entry and a future. No task, no timer.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import hiredis

from relay_contract.redis import scripts
from relay_edge.charges import command
from relay_edge.deadlines import DeadlineWheel
from relay_edge.metrics import Metrics
from relay_edge.redis_link import RedisLink, RedisLost, Reply, connect
from relay_edge.settlements import Settlements

WATCH_SECONDS = 0.015
SIGHTINGS_TO_BE_LATE = 3
LOST_SECONDS = 1.0
MAX_BATCHES = 2
MAX_BATCH_COMMANDS = 128
"""Redis answers what it read in one go only when all of it is done: at 35 us each, these 256 take it 10 ms."""

MAX_WAITING = 20_000
MAX_TOLD = 1_000
RECONNECT_SECONDS = (0.05, 5.0)
"""First and longest pause between two tries."""

_FOREVER = float("inf")


class Waiting:
    """A command whose reply somebody waits for."""

    __slots__ = ("_on_late_reply", "_queue", "answered", "packed", "was_reloaded")

    def __init__(
        self,
        queue: "RedisQueue",
        packed: bytes,
        answered: asyncio.Future[Reply],
        on_late_reply: Callable[[Reply], None],
    ) -> None:
        self._queue = queue
        self.packed = packed
        self.answered = answered
        self.was_reloaded = False
        self._on_late_reply = on_late_reply

    def resolve(self, reply: Reply) -> None:
        self._queue.replied(reply)
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT") and not self.was_reloaded:
            self.was_reloaded = True
            self._queue.reload(self)
        elif not self.answered.done():
            self.answered.set_result(reply)
        else:
            self._on_late_reply(reply)

    def release(self, reply: Reply) -> None:
        """Whoever waits goes on without Redis."""
        if not self.answered.done():
            self.answered.set_result(reply)


@dataclass(slots=True)
class _Batch:
    """What left in one write."""

    waiting: list[Waiting]
    replies_due: int
    written_at: float = field(default_factory=time.monotonic)


class RedisQueue:
    """One for each process. `start` before the first command, `close` after the last."""

    def __init__(self, url: str, wheel: DeadlineWheel, metrics: Metrics) -> None:
        self._url = url
        self._wheel = wheel
        self._loop = asyncio.get_running_loop()
        self._seconds = metrics.admission_seconds
        registry = metrics.registry
        self._losses = registry.counter("relay_edge_redis_losses_total", "Connections to Redis lost or given up.")
        self._late_times = registry.counter("relay_edge_redis_late_total", "Times that Redis did not answer in 45 ms.")
        self.dropped = registry.counter(
            "relay_edge_redis_dropped_total", "Settlements and breaker reports that Redis never got."
        )
        self.settlements = Settlements(self.dropped, self.reload)
        self.problem: str | None = "redis_not_connected"
        self.deadline = _FOREVER
        self.run_id = b""
        """Of the server behind the connection, by its own word; "" where it does not say."""
        self.on_connected: Callable[[], None] | None = None
        """Called for each connection after the first."""
        self._link: RedisLink | None = None
        self._lost = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._waiting: deque[Waiting] = deque()
        self._told: deque[tuple[bytes, Callable[[Reply], None]]] = deque()
        self._batches: deque[_Batch] = deque()
        self._is_flush_due = False
        self._is_late = False
        self._reload_due = False
        self._watch: asyncio.TimerHandle | None = None
        self._suspect: _Batch | None = None
        self._sightings = 0

    async def start(self) -> None:
        """Connects. A Redis that is away is no error."""
        self._wheel.add(self)
        await self._connect()
        self._keeper = self._loop.create_task(self._keep_connected())

    async def close(self) -> None:
        """Sends what is left, then closes."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        link = self._link
        if link is not None:
            try:
                async with asyncio.timeout(LOST_SECONDS):
                    while self.settlements or self._told or self._batches:
                        self._flush()
                        await link.call(b"PING")  # replies come in order: all that was written before it is done
            except (OSError, TimeoutError, hiredis.HiredisError):
                self._losses.value += 1
            link.close()
        self.dropped.value += len(self.settlements)
        if self._watch is not None:
            self._watch.cancel()
        self._wheel.discard(self)

    @property
    def is_in_charge(self) -> bool:
        """Whether a command that is queued now is answered soon."""
        return self._link is not None and not self._is_late and len(self._waiting) < MAX_WAITING

    # --- what others queue; only while `is_in_charge` ---

    def ask(self, packed: bytes, on_late_reply: Callable[[Reply], None]) -> Waiting:
        """A command for which the caller waits: `await waiting.answered`, a reply as a value or RedisLost.

        `on_late_reply` takes the reply when nobody waits for it any more: the caller left, or Redis was late.
        """
        waiting = Waiting(self, packed, self._loop.create_future(), on_late_reply)
        self._waiting.append(waiting)
        self.flush_soon()
        return waiting

    def withdraw(self, waiting: Waiting) -> None:
        """Nobody waits any more: not sent where it was not yet."""
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def tell(self, packed: bytes, replied: Callable[[Reply], None]) -> None:
        """A command that nobody waits for. The oldest get RedisLost when there are too many."""
        self._told.append((packed, replied))
        if len(self._told) > MAX_TOLD:
            self._told.popleft()[1](RedisLost("too many"))
        self.flush_soon()

    def publish(self, channel: bytes, message: bytes) -> None:
        """Tells whoever listens, where Redis is in charge; else nobody, who then has to look by himself."""
        if self.is_in_charge:
            self.tell(command(b"PUBLISH", channel, message), _drop)

    def flush_soon(self) -> None:
        """Writes at the end of this loop turn."""
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def reload(self, waiting: Waiting | None = None) -> None:
        """Redis forgot the scripts (SCRIPT FLUSH, a new primary): load them before the command is tried once more."""
        self._reload_due = True
        if waiting is not None:
            self._waiting.appendleft(waiting)
        self.flush_soon()

    # --- one write per loop turn ---

    @property
    def _is_work_left(self) -> bool:
        return bool(self._waiting or self._told or self._reload_due or self.settlements.is_due)

    def _flush(self) -> None:
        self._is_flush_due = False
        link = self._link
        if link is None or not link.is_open:
            return
        while len(self._batches) < MAX_BATCHES and self._is_work_left and not self._is_late:
            self._send_batch(link)

    def _send_batch(self, link: RedisLink) -> None:
        commands: list[bytes] = []
        replies: list[Callable[[Reply], None] | None] = []
        if self._reload_due:
            self._reload_due = False
            for script in scripts.ALL:
                commands.append(command(b"SCRIPT", b"LOAD", script.text))
                replies.append(self.replied)
        if self.settlements.is_due:  # before the calls, which may need the places
            packed, settled = self.settlements.command()
            commands.append(packed)
            replies.append(_both(self.replied, settled))
        for _ in range(min(len(self._told), MAX_BATCH_COMMANDS)):
            packed, told = self._told.popleft()
            commands.append(packed)
            replies.append(_both(self.replied, told))
        waiting = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_BATCH_COMMANDS))]
        for item in waiting:
            commands.append(item.packed)
            replies.append(item.resolve)
        batch = _Batch(waiting, len(replies))
        if not self._batches:
            self.deadline = self._loop.time() + LOST_SECONDS
        self._batches.append(batch)
        if self._watch is None:
            self._watch = self._loop.call_later(WATCH_SECONDS, self._look)
        link.send(b"".join(commands), replies)

    def replied(self, reply: Reply) -> None:
        """One reply of the oldest batch is in."""
        if isinstance(reply, RedisLost):
            return  # of a connection whose batches are forgotten
        batch = self._batches[0]
        self._suspect = None
        batch.replies_due -= 1
        if batch.replies_due:
            return
        self._batches.popleft()
        self._seconds.observe(time.monotonic() - batch.written_at)
        if self._batches:
            self.deadline = self._loop.time() + LOST_SECONDS
            return
        self.deadline = _FOREVER
        if self._is_late:
            self._is_late, self.problem = False, None

    def _on_read(self) -> None:
        if self._is_work_left:
            self._flush()

    # --- Redis is late, goes, and comes back ---

    def _look(self) -> None:
        self._watch = None
        link = self._link
        if link is None or not self._batches or self._is_late:
            return
        self._watch = self._loop.call_later(WATCH_SECONDS, self._look)
        if self._suspect is not self._batches[0] or link.has_unread():
            self._suspect, self._sightings = self._batches[0], 0
        self._sightings += 1
        if self._sightings >= SIGHTINGS_TO_BE_LATE:
            self._is_late, self.problem = True, "redis_late"
            self._late_times.value += 1
            self._release_all()

    def _release_all(self) -> None:
        lost = RedisLost("no answer in time")
        for batch in self._batches:
            for waiting in batch.waiting:
                waiting.release(lost)
        while self._waiting:
            self._waiting.popleft().release(lost)

    def on_deadline(self) -> None:
        """The wheel's call: Redis owes a reply for too long."""
        self.deadline = _FOREVER
        if self._link is not None:
            self._link.close()
            self._on_lost(self._link)

    def _on_lost(self, link: RedisLink) -> None:
        if link is not self._link:
            return
        self._link = None
        self._is_late = False
        self.problem = "redis_lost"
        self._losses.value += 1
        self._release_all()
        self._batches.clear()
        self.deadline = _FOREVER
        self._lost.set()

    async def _keep_connected(self) -> None:
        pause = RECONNECT_SECONDS[0]
        while True:
            if self._link is not None:
                await self._lost.wait()
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads the edges, guards nothing
            pause = RECONNECT_SECONDS[0] if await self._connect() else min(pause * 2, RECONNECT_SECONDS[1])

    async def _connect(self) -> bool:
        try:
            link = await connect(self._url, self._on_read, self._on_lost)
        except (OSError, TimeoutError, hiredis.HiredisError) as error:
            self.problem = _reason(error)
            return False
        try:
            async with asyncio.timeout(LOST_SECONDS):
                for script in scripts.ALL:
                    await link.call(b"SCRIPT", b"LOAD", script.text)
                run_id = _run_id(await link.call(b"INFO", b"server"))
        except (OSError, TimeoutError, hiredis.HiredisError) as error:
            self.problem = "redis_refuses_scripts" if isinstance(error, hiredis.ReplyError) else _reason(error)
            link.close()
            return False
        except asyncio.CancelledError:
            link.close()
            raise
        if not link.is_open:
            return False
        self._lost.clear()
        self._link = link
        self.run_id = run_id
        self.problem = None
        if self.on_connected is not None:
            self.on_connected()
        self.flush_soon()  # settlements that the last connection left
        return True


def _run_id(said: Reply) -> bytes:
    """Out of INFO's answer."""
    lines = said.splitlines() if isinstance(said, bytes) else []
    return next((line[7:] for line in lines if line.startswith(b"run_id:")), b"")


def _drop(_reply: Reply) -> None:
    """For what is as good as done when it is written."""


def _both(first: Callable[[Reply], None], second: Callable[[Reply], None]) -> Callable[[Reply], None]:
    def replied(reply: Reply) -> None:
        first(reply)
        second(reply)

    return replied


def _reason(error: Exception) -> str:
    """For `/readyz`: no URL, no password."""
    match error:
        case TimeoutError():
            return "redis_timeout"
        case hiredis.ReplyError():
            return "redis_refused"
        case _:
            return "redis_unreachable"

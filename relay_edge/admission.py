"""Whether a call may go ahead: one Redis call for all its limits, coalesced with those of the same loop turn.

Admissions, settlements and renewals of a turn leave in one write on one connection (`redis_link.py`); each is its own
EVALSHA, so none waits for another's reply. 5 us a call at 32 in flight. A call without limits costs nothing.

When Redis is away, hangs for a quarter of a second, or refuses our scripts, calls are admitted against this process's
share (`local_share.py`) at once and without a wait; a task tries to reconnect with growing pauses, and the first
success puts Redis back in charge. `problem` says why it is not.

Leases (calls in flight) are settled in a `finally` by whoever was admitted; a heartbeat renews those of long calls, and
what a killed process held runs out by itself.
"""

import asyncio
import os
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import hiredis

from relay_contract.errors import RateLimited
from relay_contract.redis import scripts
from relay_edge.charges import NO_CHARGES, Charge, ChargeSet, Lease, command, packed
from relay_edge.deadlines import DeadlineWheel
from relay_edge.local_share import LocalShare
from relay_edge.metrics import Metrics
from relay_edge.redis_link import RedisLink, RedisLost, Reply, connect

REPLY_SECONDS = 0.25
MAX_BATCHES = 4
MAX_BATCH_COMMANDS = 256
MAX_WAITING = 20_000
"""Beyond it a call is admitted locally, counted as any other local one."""

MAX_SETTLE_LEASES = 64
RENEW_CHECK_SECONDS = 1.0
RECONNECT_SECONDS = (0.05, 5.0)
"""First and longest pause between two tries."""

_FOREVER = float("inf")


@dataclass(slots=True, eq=False)
class Reservation:
    """An admitted call, to be settled exactly where it was admitted. Settling twice is settling once."""

    id: bytes  # packed, as in `charges.py`
    charges: ChargeSet
    is_local: bool
    renewed_at: float
    is_settled: bool = False


class _Waiting:
    """A call whose reply is on its way."""

    __slots__ = ("_admission", "answered", "packed", "was_reloaded")

    def __init__(self, admission: "Admission", packed: bytes, loop: asyncio.AbstractEventLoop) -> None:
        self._admission = admission
        self.packed = packed
        self.answered: asyncio.Future[Reply] = loop.create_future()
        self.was_reloaded = False

    def resolve(self, reply: Reply) -> None:
        self._admission.replied(reply)
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT") and not self.was_reloaded:
            self.was_reloaded = True
            self._admission.reload(self)
        elif not self.answered.done():
            self.answered.set_result(reply)


@dataclass(slots=True)
class _Batch:
    """What left in one write. Two clocks: the loop's counts whole milliseconds under uvloop."""

    replies_due: int
    deadline: float  # the loop's time
    written_at: float  # time.monotonic


class Admission:
    """One for each process. `start` before the first `admit`, `close` after the last `settle`."""

    def __init__(
        self,
        redis_url: str,
        wheel: DeadlineWheel,
        metrics: Metrics,
        *,
        processes: int = 1,
    ) -> None:
        """`processes`: how many edge processes share the limits while Redis is away."""
        self._url = redis_url
        self._wheel = wheel
        self._loop = asyncio.get_running_loop()
        self._local = LocalShare(processes)
        self._fallbacks = metrics.admission_fallbacks
        self._seconds = metrics.admission_seconds
        registry = metrics.registry
        self._refused = registry.counter("relay_edge_rate_limited_total", "Calls refused by a rate limit.")
        self._losses = registry.counter("relay_edge_redis_losses_total", "Connections to Redis lost or given up.")
        registry.gauge("relay_edge_leases", "Calls that hold a place in flight.", "sum", lambda: len(self._live))
        self.problem: str | None = "redis_not_connected"
        self.deadline = _FOREVER
        self._link: RedisLink | None = None
        self._lost = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._renewal: asyncio.TimerHandle | None = None
        self._waiting: deque[_Waiting] = deque()
        self._settling: list[tuple[Lease, bytes]] = []  # and the reservation's id
        self._live: dict[bytes, Reservation] = {}
        self._batches: deque[_Batch] = deque()
        self._is_flush_due = False
        self._reload_due = False
        self._id_start = b"$32\r\n" + os.urandom(8).hex().encode()
        self._id_number = 0

    async def start(self) -> None:
        """Connects. A Redis that is away is no error: calls are admitted locally until it is back."""
        self._wheel.add(self)
        await self._connect()
        self._keeper = self._loop.create_task(self._keep_connected())
        self._renewal = self._loop.call_later(RENEW_CHECK_SECONDS, self._renew)

    async def close(self) -> None:
        """Sends what is still to be settled, then closes."""
        if self._renewal is not None:
            self._renewal.cancel()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._link is not None:
            try:
                async with asyncio.timeout(REPLY_SECONDS * 4):
                    while self._settling or self._batches:
                        self._flush()
                        await self._link.call(b"PING")  # replies come in order: all that was written before it is done
            except (OSError, TimeoutError, hiredis.HiredisError):
                self._losses.value += 1
            self._link.close()
        self._wheel.discard(self)

    @property
    def in_flight(self) -> int:
        """Calls that hold leases now."""
        return len(self._live)

    async def admit(self, charges: ChargeSet, extra: tuple[Charge, ...] = ()) -> Reservation:
        """Counts a call, or raises RateLimited with the time to wait. Settle the reservation in a `finally`."""
        charges = charges.plus(extra)
        if not charges.rules:
            return _FREE
        self._id_number += 1
        reservation_id = b"%b%016x\r\n" % (self._id_start, self._id_number)
        link = self._link
        if link is None or len(self._waiting) >= MAX_WAITING:
            return self._admit_locally(charges, reservation_id)
        waiting = _Waiting(self, charges.head + reservation_id + charges.tail, self._loop)
        self._waiting.append(waiting)
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)
        try:
            reply = await waiting.answered
        except asyncio.CancelledError:
            self._withdraw(waiting, charges, reservation_id)
            raise
        if reply == 0:
            if self.problem is not None:
                self.problem = None
            return self._hold(Reservation(reservation_id, charges, False, self._wheel.now))
        if isinstance(reply, list):
            self._refused.value += 1
            raise RateLimited(charges.rules[reply[0] - 1].refusal_text(), retry_after_seconds=reply[1] / 1000)
        if isinstance(reply, hiredis.ReplyError):
            self.problem = "redis_answers_with_errors"
        return self._admit_locally(charges, reservation_id)

    def settle(self, reservation: Reservation) -> None:
        """Gives the call's places back, with the next write. Never waits, never raises."""
        if reservation.is_settled or not reservation.charges.leases:
            return
        reservation.is_settled = True
        self._live.pop(reservation.id, None)
        if reservation.is_local:
            self._local.settle(reservation.charges, reservation.id)
        self._release(reservation.charges, reservation.id)

    def _admit_locally(self, charges: ChargeSet, reservation_id: bytes) -> Reservation:
        self._fallbacks.value += 1
        refused = self._local.admit(charges, reservation_id, self._loop.time())
        if refused is not None:
            self._refused.value += 1
            raise RateLimited(charges.rules[refused[0] - 1].refusal_text(), retry_after_seconds=refused[1] / 1000)
        return self._hold(Reservation(reservation_id, charges, True, self._wheel.now))

    def _hold(self, reservation: Reservation) -> Reservation:
        if reservation.charges.leases:
            self._live[reservation.id] = reservation
        return reservation

    def _withdraw(self, waiting: _Waiting, charges: ChargeSet, reservation_id: bytes) -> None:
        """The caller left while its admission was on the way. What Redis may have counted in flight is released: on one
        connection a release arrives after the reservation that it undoes."""
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        elif charges.leases:
            self._release(charges, reservation_id)

    def _release(self, charges: ChargeSet, reservation_id: bytes) -> None:
        if self._link is None:
            return  # the leases run out
        for lease in charges.leases:
            self._settling.append((lease, reservation_id))
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    # --- one write per loop turn ---

    def _flush(self) -> None:
        self._is_flush_due = False
        link = self._link
        if link is None or not link.is_open:
            return
        while len(self._batches) < MAX_BATCHES and (self._waiting or self._settling or self._reload_due):
            self._send_batch(link)

    def _send_batch(self, link: RedisLink) -> None:
        commands: list[bytes] = []
        replies: list[Callable[[Reply], None] | None] = []
        if self._reload_due:
            self._reload_due = False
            for script in scripts.ALL:
                commands.append(command(b"SCRIPT", b"LOAD", script.text))
                replies.append(self.replied)
        if self._settling:
            leases, self._settling = self._settling[:MAX_SETTLE_LEASES], self._settling[MAX_SETTLE_LEASES:]
            commands.append(_settle_command(leases))
            replies.append(self._settled)
        waiting = self._waiting
        for _ in range(min(len(waiting), MAX_BATCH_COMMANDS)):
            item = waiting.popleft()
            commands.append(item.packed)
            replies.append(item.resolve)
        self._send(link, commands, replies)

    def _send(self, link: RedisLink, commands: list[bytes], replies: list[Callable[[Reply], None] | None]) -> None:
        batch = _Batch(len(replies), self._loop.time() + REPLY_SECONDS, time.monotonic())
        if not self._batches:
            self.deadline = batch.deadline
        self._batches.append(batch)
        link.send(b"".join(commands), replies)

    def replied(self, reply: Reply) -> None:
        """One reply of the oldest batch is in."""
        if isinstance(reply, RedisLost):
            return  # of a connection whose batches are forgotten
        batch = self._batches[0]
        batch.replies_due -= 1
        if not batch.replies_due:
            self._batches.popleft()
            self._seconds.observe(time.monotonic() - batch.written_at)
            self.deadline = self._batches[0].deadline if self._batches else _FOREVER

    def reload(self, waiting: _Waiting) -> None:
        """Redis forgot the scripts (SCRIPT FLUSH, a new primary): load them before the call is tried once more."""
        self._reload_due = True
        self._waiting.appendleft(waiting)

    def _settled(self, reply: Reply) -> None:
        self.replied(reply)
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            self._reload_due = True  # these leases run out by themselves

    def _on_read(self) -> None:
        if self._waiting or self._settling or self._reload_due:
            self._flush()

    # --- long calls ---

    def _renew(self) -> None:
        self._renewal = self._loop.call_later(RENEW_CHECK_SECONDS, self._renew)
        link = self._link
        if link is None or not link.is_open or len(self._batches) >= MAX_BATCHES:
            return
        now = self._loop.time()
        due: list[tuple[Lease, bytes]] = []
        for reservation in self._live.values():
            leases = reservation.charges.leases
            if now - reservation.renewed_at >= min(lease.milliseconds for lease in leases) / 3000:
                reservation.renewed_at = now
                due += [(lease, reservation.id) for lease in leases]
        commands = [
            _renew_command(due[start : start + MAX_SETTLE_LEASES]) for start in range(0, len(due), MAX_SETTLE_LEASES)
        ]
        if commands:
            self._send(link, commands, [self._settled] * len(commands))

    # --- Redis comes and goes ---

    def on_deadline(self) -> None:
        """The wheel's call: Redis owes a reply for too long. Whoever waits is admitted locally."""
        self.deadline = _FOREVER
        if self._link is not None:
            self._link.close()
            self._on_lost(self._link)

    def _on_lost(self, link: RedisLink) -> None:
        if link is not self._link:
            return
        self._link = None
        self.problem = "redis_lost"
        self._losses.value += 1
        self._batches.clear()
        self.deadline = _FOREVER
        self._settling.clear()
        lost = RedisLost("connection lost")
        while self._waiting:
            self._waiting.popleft().resolve(lost)
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
            async with asyncio.timeout(REPLY_SECONDS * 4):
                for script in scripts.ALL:
                    await link.call(b"SCRIPT", b"LOAD", script.text)
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
        self.problem = None
        return True


def _settle_command(leases: list[tuple[Lease, bytes]]) -> bytes:
    return _script_call(scripts.SETTLE, leases, [reservation_id for _, reservation_id in leases], 1)


def _renew_command(leases: list[tuple[Lease, bytes]]) -> bytes:
    arguments = [reservation_id + packed([b"%d" % lease.milliseconds]) for lease, reservation_id in leases]
    return _script_call(scripts.RENEW, leases, arguments, 2)


def _script_call(
    script: scripts.Script, leases: list[tuple[Lease, bytes]], packed_arguments: list[bytes], arguments_each: int
) -> bytes:
    """The EVALSHA of a script with a key and so many arguments for each lease."""
    return b"*%d\r\n%b%b%b" % (
        3 + len(leases) * (1 + arguments_each),
        packed((b"EVALSHA", script.sha1, b"%d" % len(leases))),
        b"".join([lease.packed_key for lease, _ in leases]),
        b"".join(packed_arguments),
    )


def _reason(error: Exception) -> str:
    """For `/readyz`: no URL, no password."""
    match error:
        case TimeoutError():
            return "redis_timeout"
        case hiredis.ReplyError():
            return "redis_refused"
        case _:
            return "redis_unreachable"


_FREE = Reservation(b"", NO_CHARGES, is_local=False, renewed_at=0.0)

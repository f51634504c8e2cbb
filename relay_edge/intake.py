"""Commits accepted requests to Postgres, many callers in one transaction (group commit).

Two connections take turns: while one waits for its fsync, what arrives gathers for the other. An idle edge commits a
request at once; a busy one fills its batches (one row a transaction gives 476 requests a second, batches 9,000).

A caller is told "accepted" after the commit was seen, and in no other case: a connection that breaks in the middle of a
commit, or a commit that takes too long, is an AcceptUnavailable even though the rows may be there. The queue is bounded
by count and bytes. A row that Postgres refuses for what it holds fails alone: its batch is halved until it is found.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.types.numeric import Int8BinaryDumper

from relay_contract.ending import end
from relay_contract.errors import AcceptUnavailable, InternalFault, RelayError, ShuttingDown
from relay_contract.intake import (
    INSERT_BATCH,
    INSERT_BATCH_KEYED,
    MAX_SHARDS,
    DeliveryRow,
    DeliveryState,
    IdempotencyRow,
    PayloadRow,
    RequestRow,
    arrays,
)
from relay_contract.logs import log_fields
from relay_edge.metrics import Metrics
from relay_edge.postgres import (
    DATA_ERRORS,
    FIRST_BACKOFF_SECONDS,
    LOSSES,
    MAX_BACKOFF_SECONDS,
    connect,
    log_loss,
)
from relay_edge.statement_deadline import statement_deadline
from relay_edge.wakes import Wakes

logger = logging.getLogger(__name__)

CONNECTIONS = 2
SWEEP_SECONDS = 0.25
RETRY_AFTER_SECONDS = 1.0
CANCEL_SECONDS = 2.0
"""What Postgres gets to cancel a statement that takes too long, so that a refused request is mostly not stored; then
the connection is cut."""


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """What a batch and the queue hold at most."""

    batch_requests: int = 128
    batch_bytes: int = 1_048_576
    gather_seconds: float = 0.002
    """How long a small batch waits for more while another one is being committed."""
    queue_requests: int = 8_192
    queue_bytes: int = 67_108_864
    commit_seconds: float = 5.0
    """From the moment a request is queued to its commit; beyond it the caller is told to come again."""


class Accepted(NamedTuple):
    """The rows of one accepted request. `key`: it exists only if no earlier one has the key."""

    request: RequestRow
    payload: PayloadRow
    deliveries: tuple[DeliveryRow, ...]
    key: IdempotencyRow | None = None

    def size_bytes(self) -> int:
        """About what it holds in memory."""
        return len(self.payload.body) + len(self.request.headers) + 512 + 256 * len(self.deliveries)


class _Item:
    __slots__ = ("accepted", "deadline", "done", "size_bytes")

    def __init__(self, accepted: Accepted, deadline: float, done: asyncio.Future[bool]) -> None:
        self.accepted, self.deadline, self.done = accepted, deadline, done
        self.size_bytes = accepted.size_bytes()

    def succeed(self, is_first: bool) -> None:
        if not self.done.done():  # the caller may have left
            self.done.set_result(is_first)

    def fail(self, error: RelayError) -> None:
        if not self.done.done():
            self.done.set_exception(error)


def parameters(batch: Sequence[Accepted]) -> list[list[Any]]:
    """The parameters of INSERT_BATCH for these requests."""
    return [
        *arrays(RequestRow, [accepted.request for accepted in batch]),
        *arrays(PayloadRow, [accepted.payload for accepted in batch]),
        *arrays(DeliveryRow, [delivery for accepted in batch for delivery in accepted.deliveries]),
    ]


def keyed_parameters(batch: Sequence[Accepted]) -> list[list[Any]]:
    """The parameters of INSERT_BATCH_KEYED for these requests, of which some have a key."""
    keys = [accepted.key for accepted in batch if accepted.key is not None]
    return [*arrays(IdempotencyRow, keys), *parameters(batch)]


class Intake:
    """The queue and its two writers."""

    def __init__(self, database_url: str, wakes: Wakes, metrics: Metrics, limits: IntakeLimits | None = None) -> None:
        self._database_url = database_url
        self._wakes = wakes
        self._metrics = metrics
        self._limits = limits or IntakeLimits()
        self._queue: deque[_Item] = deque()
        self._queued_bytes = 0
        self._idle: list[asyncio.Future[None]] = []
        self._emptied = asyncio.Event()
        self._committing = 0
        self._connected = 0
        self._lost_at = time.monotonic()
        self._is_closing = False
        metrics.registry.gauge(
            "relay_edge_intake_queue", "Accepted requests that wait for a commit.", "sum", lambda: len(self._queue)
        )

    @property
    def is_connected(self) -> bool:
        """Whether a connection to Postgres is open."""
        return self._connected > 0

    @property
    def is_closing(self) -> bool:
        """Whether the process takes nothing more."""
        return self._is_closing

    async def commit(self, accepted: Accepted) -> bool:
        """Returns when the rows are committed; False: an earlier request has the key, and nothing of this was stored.

        Raises AcceptUnavailable (full, Postgres away, too slow, outcome unknown), ShuttingDown, or InternalFault (the
        rows themselves were refused). Cancelling it does not take the rows back.
        """
        if self._is_closing:
            raise ShuttingDown(retry_after_seconds=RETRY_AFTER_SECONDS)
        now = time.monotonic()
        item = _Item(accepted, now + self._limits.commit_seconds, asyncio.get_running_loop().create_future())
        is_full = (
            len(self._queue) >= self._limits.queue_requests
            or self._queued_bytes + item.size_bytes > self._limits.queue_bytes
        )
        if is_full or (not self._connected and now - self._lost_at > self._limits.commit_seconds):
            self._metrics.intake_refusals.add()
            raise AcceptUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
        self._queue.append(item)
        self._queued_bytes += item.size_bytes
        self._wake_writer()
        return await item.done

    async def run(self) -> None:
        """The writers, for the life of the process; ends by cancellation, best after `drain`."""
        tasks = [asyncio.create_task(self._write_for_ever()) for _ in range(CONNECTIONS)]
        tasks.append(asyncio.create_task(self._sweep()))
        try:
            await asyncio.gather(*tasks)  # the first that fails ends the process: none of them may
        finally:
            await end(*tasks)

    async def drain(self, seconds: float) -> None:
        """Takes nothing more and waits until what was taken is committed or refused, for so long at most."""
        self._is_closing = True
        try:
            async with asyncio.timeout(seconds):
                while self._queue or self._committing:
                    self._emptied.clear()
                    await self._emptied.wait()
        except TimeoutError:
            logger.warning("intake_not_drained", extra=log_fields(requests=len(self._queue)))

    async def _sweep(self) -> None:
        """Refuses what waited too long: without a connection nobody else would."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = time.monotonic()
            late = []
            while self._queue and self._queue[0].deadline <= now:
                late.append(self._take())
            self._refuse(late)
            self._emptied.set()

    def _take(self) -> _Item:
        item = self._queue.popleft()
        self._queued_bytes -= item.size_bytes
        return item

    def _refuse(self, items: Sequence[_Item]) -> None:
        for item in items:
            if not item.done.done():
                self._metrics.intake_failures.add()
                item.done.set_exception(AcceptUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS))

    async def _write_for_ever(self) -> None:
        backoff_seconds = FIRST_BACKOFF_SECONDS
        while True:
            try:
                connection = await self._connect()
            except LOSSES as error:
                log_loss(logger, "intake_connect_failed", error)
                await asyncio.sleep(backoff_seconds)
                backoff_seconds = min(2 * backoff_seconds, MAX_BACKOFF_SECONDS)
                continue
            backoff_seconds = FIRST_BACKOFF_SECONDS
            self._connected += 1
            try:
                while await self._write_next(connection):
                    pass
            finally:
                self._connected -= 1
                self._lost_at = time.monotonic()
                await connection.close()

    async def _connect(self) -> AsyncConnection[Any]:
        connection = await connect(self._database_url, "relay-edge-intake")
        # Numbers of one width, or each mix of small and large ids would be a statement of its own to prepare.
        connection.adapters.register_dumper(int, Int8BinaryDumper)
        return connection

    async def _write_next(self, connection: AsyncConnection[Any]) -> bool:
        """Waits for requests and commits a batch of them. False: the connection is of no use any more."""
        while not self._queue:
            await self._wait(connection)
            if not _is_alive(connection):
                logger.warning("intake_connection_closed")
                if self._queue:
                    self._wake_writer()
                return False
        if self._committing and len(self._queue) < self._limits.batch_requests:
            await asyncio.sleep(self._limits.gather_seconds)
            if not self._queue:
                return True
        batch = self._next_batch()
        if self._queue:
            self._wake_writer()
        self._committing += 1
        try:
            return await self._write(connection, batch)
        finally:
            self._committing -= 1
            self._emptied.set()

    def _wake_writer(self) -> None:
        # One at a time: the woken one takes all that arrives until it runs. Who is woken is read off the turns, never
        # remembered beside them: another writer may take the work first, and the woken one goes back to sleep.
        if self._idle and not any(turn.done() for turn in self._idle):
            _wake(self._idle[-1])

    async def _wait(self, connection: AsyncConnection[Any]) -> None:
        """Until a request arrives or the other end says something, which on an idle connection is mostly goodbye.

        Without that the first batches after a restart of Postgres would be lost on connections long closed.
        """
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._idle.append(turn)
        loop.add_reader(connection.fileno(), _wake, turn)
        try:
            await turn
        finally:
            loop.remove_reader(connection.fileno())
            self._idle.remove(turn)

    def _next_batch(self) -> list[_Item]:
        batch = [self._take()]
        size_bytes = batch[0].size_bytes
        while self._queue and len(batch) < self._limits.batch_requests:
            size_bytes += self._queue[0].size_bytes
            if size_bytes > self._limits.batch_bytes:
                break
            batch.append(self._take())
        return batch

    async def _write(self, connection: AsyncConnection[Any], batch: list[_Item]) -> bool:
        started = time.monotonic()
        left_seconds = max(batch[0].deadline - started, 0.001)
        try:
            with statement_deadline(connection, left_seconds + CANCEL_SECONDS):
                async with asyncio.timeout(left_seconds):
                    second = await _insert(connection, [item.accepted for item in batch])
        except DATA_ERRORS as error:
            return await self._find_bad(connection, batch, error)
        except LOSSES as error:
            log_loss(logger, "intake_commit_failed", error, requests=len(batch))
            self._refuse(batch)
            return False
        except BaseException:
            self._refuse(batch)
            raise
        self._committed(batch, second, time.monotonic() - started)
        return True

    async def _find_bad(self, connection: AsyncConnection[Any], batch: list[_Item], error: Exception) -> bool:
        if len(batch) == 1:
            self._metrics.intake_bad_rows.add()
            # Type and place only: the message of a data error quotes the data.
            fields = log_fields(request_id=str(batch[0].accepted.request.id), error=type(error).__name__)
            logger.error("intake_row_refused", extra=fields)
            batch[0].fail(InternalFault())
            return True
        middle = len(batch) // 2
        if await self._write(connection, batch[:middle]):
            return await self._write(connection, batch[middle:])
        self._refuse(batch[middle:])
        return False

    def _committed(self, batch: list[_Item], second: set[UUID], seconds: float) -> None:
        metrics = self._metrics
        metrics.intake_commit_seconds.observe(seconds)
        metrics.intake_batch_rows.observe(len(batch))
        metrics.intake_requests.add(len(batch) - len(second))
        shards: set[int] = set()
        deliveries = 0
        for item in batch:
            is_first = not second or item.accepted.request.id not in second
            item.succeed(is_first)
            if is_first:
                deliveries += len(item.accepted.deliveries)
                shards.update(each.shard for each in item.accepted.deliveries if each.state == DeliveryState.PENDING)
        metrics.intake_deliveries.add(deliveries)
        for shard in shards:
            if shard < MAX_SHARDS:
                self._wakes.post(shard)


async def _insert(connection: AsyncConnection[Any], batch: list[Accepted]) -> set[UUID]:
    """Commits; the ids of requests that came second with their key."""
    if all(accepted.key is None for accepted in batch):
        await connection.execute(INSERT_BATCH, parameters(batch), prepare=True)
        return set()
    cursor = await connection.execute(INSERT_BATCH_KEYED, keyed_parameters(batch), prepare=True)
    return {request_id for (request_id,) in await cursor.fetchall()}


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


def _is_alive(connection: AsyncConnection[Any]) -> bool:
    try:
        connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return False
    return connection.pgconn.status == psycopg.pq.ConnStatus.OK

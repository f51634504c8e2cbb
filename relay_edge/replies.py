"""Answers that workers give for callers of sync targets: who waits for which, and the ways on which they come.

They are published on the process' own channel. While its subscription is down, and once before each deadline, the
process looks into `deliveries_answer`, where the lane puts what nobody heard. Per call: a dictionary entry, a future.
"""

import asyncio
import json
import logging
import secrets
from collections.abc import Collection
from typing import Any
from uuid import UUID

import hiredis
from psycopg import AsyncConnection
from redis.exceptions import RedisError

from relay_contract import replies
from relay_contract.ending import end
from relay_contract.errors import SyncTimeout, Unavailable
from relay_contract.intake import last_delivery_id
from relay_contract.logs import log_fields
from relay_contract.redis import keys
from relay_contract.replies import Reply
from relay_edge.deadlines import DeadlineWheel
from relay_edge.metrics import Metrics
from relay_edge.postgres import LOSSES, connect, log_loss
from relay_edge.redis_clients import redis_client
from relay_edge.redis_link import RedisLink
from relay_edge.redis_link import connect as connect_redis

logger = logging.getLogger(__name__)

MAX_EXPECTED = 4_096
LOOK_SECONDS = 0.25
LOOK_BEFORE_SECONDS = 0.5
"""Before its deadline an answer is looked for in Postgres, whatever the channel says."""
PING_SECONDS = 5.0
PONG_SECONDS = 1.0
RECONNECT_SECONDS = 0.25
QUERY_SECONDS = 2.0
BODY_SECONDS = 5.0
MAX_BODIES = 8
"""Large bodies on their way to callers at once, each of MAX_ANSWER_BYTES at the most."""

_FOREVER = float("inf")

KEPT = """
SELECT answer.request_id, answer.status, answer.headers::text, answer.body
FROM unnest(%s::uuid[]) AS wanted(id)
JOIN deliveries_answer AS answer ON answer.request_id = wanted.id
WHERE answer.delivery_id >= %s AND answer.delivery_id < %s
"""


class Expected:
    """An answer that somebody waits for. `deadline` is in the loop's time, set when the wait begins."""

    __slots__ = ("answered", "deadline", "is_looked_for")

    def __init__(self, answered: "asyncio.Future[Reply]") -> None:
        self.answered = answered
        self.deadline = _FOREVER
        self.is_looked_for = False

    def on_deadline(self) -> None:
        """The wheel's call."""
        self.deadline = _FOREVER
        if not self.answered.done():
            self.answered.set_exception(SyncTimeout())


class Replies:
    """One for each process."""

    def __init__(self, redis_url: str, database_url: str, wheel: DeadlineWheel, metrics: Metrics) -> None:
        self.edge = secrets.token_hex(replies.EDGE_DIGITS // 2)
        self.large = asyncio.Semaphore(MAX_BODIES)
        self._redis_url = redis_url
        self._database_url = database_url
        self._wheel = wheel
        self._expected: dict[UUID, Expected] = {}
        self._link: RedisLink | None = None
        self._lost = asyncio.Event()
        self._has_gap = True  # something may have been published while nobody listened
        self._connection: AsyncConnection[Any] | None = None
        # For bodies alone: what admission asks must not wait behind eight megabytes.
        self._bodies = redis_client(redis_url, BODY_SECONDS, MAX_BODIES)
        registry = metrics.registry
        registry.gauge("relay_edge_sync_waiting", "Callers that wait for a sync target.", "sum", self._waiting)
        self._by_channel = registry.counter(
            "relay_edge_sync_answers_total", "Answers of sync targets, by how they came.", way="channel"
        )
        self._by_look = registry.counter(
            "relay_edge_sync_answers_total", "Answers of sync targets, by how they came.", way="postgres"
        )
        self._late = registry.counter("relay_edge_sync_late_total", "Replies that nobody waited for any more.")
        self._bad = registry.counter("relay_edge_sync_bad_total", "Messages that were no replies.")
        self._timeouts = registry.counter("relay_edge_sync_timeouts_total", "Callers that got no answer in time.")

    def _waiting(self) -> float:
        return len(self._expected)

    @property
    def is_subscribed(self) -> bool:
        """Whether what workers publish is heard."""
        return self._link is not None

    # --- who waits ---

    def expect(self, request_id: UUID) -> Expected:
        """Takes the answer from now on, for whoever awaits `answered`. Raises Unavailable when too many are."""
        if len(self._expected) >= MAX_EXPECTED:
            raise Unavailable("Too many callers wait for answers already. Try again soon.", retry_after_seconds=1)
        expected = self._expected[request_id] = Expected(asyncio.get_running_loop().create_future())
        return expected

    async def wait(self, expected: Expected, seconds: float) -> Reply:
        """The reply. Raises SyncTimeout."""
        expected.deadline = asyncio.get_running_loop().time() + seconds
        self._wheel.add(expected)
        try:
            return await expected.answered
        except SyncTimeout:
            self._timeouts.value += 1
            raise

    def forget(self, request_id: UUID) -> None:
        """Nobody waits for it any more."""
        expected = self._expected.pop(request_id, None)
        if expected is not None:
            self._wheel.discard(expected)
            expected.answered.cancel()

    async def body(self, reply: Reply) -> bytes | None:
        """A body that lies elsewhere; None where it is not to be had. One of `large` at a time."""
        try:
            found = await self._bodies.get(keys.answer(str(reply.request_id)))
        except (RedisError, OSError, TimeoutError) as error:
            logger.warning("answer_body_lost", extra=log_fields(reason=type(error).__name__))
            return None
        return found if isinstance(found, bytes) else None

    # --- how answers come ---

    async def run(self) -> None:
        """For the life of the process; ends by cancellation."""
        tasks = [asyncio.create_task(each) for each in (self._listen(), self._look())]
        try:
            await asyncio.gather(*tasks)
        finally:
            await end(*tasks)
            await self._disconnect()
            await self._bodies.aclose()
            if self._link is not None:
                self._link.close()

    def _on_message(self, message: bytes) -> None:
        try:
            reply = replies.decode(message)
        except ValueError:  # msgspec's own errors are ValueErrors
            self._bad.value += 1
            return
        if self._resolve(reply):
            self._by_channel.value += 1
        else:
            self._late.value += 1

    def _resolve(self, reply: Reply) -> bool:
        expected = self._expected.get(reply.request_id)
        if expected is None or expected.answered.done():
            return False
        expected.answered.set_result(reply)
        return True

    async def _listen(self) -> None:
        is_failing = False
        while True:
            try:
                await self._subscribe()
                is_failing = False
                await self._stay_subscribed()
            except (OSError, TimeoutError, hiredis.HiredisError) as error:
                if not is_failing:
                    logger.warning("replies_unheard", extra=log_fields(reason=type(error).__name__))
                is_failing = True
            self._drop_link()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _subscribe(self) -> None:
        self._lost.clear()
        link = await connect_redis(self._redis_url, _nothing, self._on_lost, self._on_message)
        try:
            async with asyncio.timeout(PONG_SECONDS):
                for channel in (keys.reply(self.edge), keys.REPLY_ALL):
                    await link.call(b"SUBSCRIBE", channel.encode())
        except BaseException:
            link.close()
            raise
        self._link = link  # if it was lost by now, `_lost` says so

    async def _stay_subscribed(self) -> None:
        """Until the connection is lost. A connection whose other end is gone says nothing, so it is asked."""
        while self._link is not None:
            try:
                async with asyncio.timeout(PING_SECONDS):
                    await self._lost.wait()
                    return
            except TimeoutError:
                async with asyncio.timeout(PONG_SECONDS):
                    await self._link.call(b"PING")

    def _on_lost(self, _link: RedisLink) -> None:
        self._has_gap = True
        self._lost.set()

    def _drop_link(self) -> None:
        self._has_gap = True
        if self._link is not None:
            self._link.close()
            self._link = None

    # --- what nobody heard ---

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            wanted = self._unheard()
            if wanted:
                await self._find(wanted)

    def _unheard(self) -> list[UUID]:
        """Whose answers are to be looked for now."""
        looks_for_all = self._has_gap
        self._has_gap = self._link is None
        if not self._expected:
            return []
        soon = asyncio.get_running_loop().time() + LOOK_BEFORE_SECONDS
        wanted = []
        for request_id, expected in self._expected.items():
            is_near_its_end = expected.deadline <= soon and not expected.is_looked_for
            if (looks_for_all or is_near_its_end) and not expected.answered.done():
                expected.is_looked_for = is_near_its_end or expected.is_looked_for
                wanted.append(request_id)
        return wanted

    async def _find(self, wanted: Collection[UUID]) -> None:
        try:
            async with asyncio.timeout(QUERY_SECONDS):
                if self._connection is None:
                    self._connection = await connect(self._database_url, "relay-edge-replies")
                cursor = await self._connection.execute(
                    KEPT, (list(wanted), min(wanted), last_delivery_id(max(wanted))), prepare=True, binary=True
                )
                found = await cursor.fetchall()
        except LOSSES as error:
            log_loss(logger, "answers_not_found", error)
            self._has_gap = True
            await self._disconnect()
            return
        for request_id, status, headers, body in found:
            reply = Reply(request_id, status, tuple(json.loads(headers).items()), bytes(body))
            self._by_look.value += self._resolve(reply)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _nothing() -> None:
    """Between two portions of messages there is nothing to do."""

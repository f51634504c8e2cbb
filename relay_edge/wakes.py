"""Tells the workers that a shard has new rows, after the rows were committed. Off the response path.

Wake-ups of many commits fold into one for each shard: `SET wake NX` says whether somebody was told within the last
second and has not begun yet, and only a wake that was set goes on the workers' queue. A worker removes the key before
its first claim, so rows committed while the key stood are seen by that claim. A lost wake costs at most the workers'
next due-scan: failures are counted, logged once per outage, and forgotten.

Cost: one round trip for each turn, a second one when something was set. The first wake of a quiet time goes at once;
turns are TURN_SECONDS apart, and what is committed meanwhile waits for the next one.
"""

import asyncio
import logging

from redis.exceptions import RedisError

from relay_contract.logs import log_fields
from relay_contract.messages import QUEUE, drain_message
from relay_contract.redis import keys
from relay_edge.metrics import Metrics
from relay_edge.redis_clients import redis_client

logger = logging.getLogger(__name__)

TURN_SECONDS = 0.005
REDIS_TIMEOUT_SECONDS = 1.0


class Wakes:
    """One task, one connection."""

    def __init__(self, redis_url: str, metrics: Metrics) -> None:
        # No retries: a wake that comes late is worth no more than the due-scan, and must not hold up the next one.
        self._redis = redis_client(redis_url, REDIS_TIMEOUT_SECONDS, max_connections=2)
        self._metrics = metrics
        self._pending: set[int] = set()
        self._is_pending = asyncio.Event()
        self._is_failing = False

    def post(self, shard: int) -> None:
        """Rows of the shard were committed. Returns at once."""
        self._pending.add(shard)
        self._is_pending.set()

    async def run(self) -> None:
        """For the life of the process; ends by cancellation."""
        try:
            while True:
                await self._is_pending.wait()
                await self._turn()
                await asyncio.sleep(TURN_SECONDS)
        finally:
            await self._redis.aclose()

    async def flush(self) -> None:
        """Sends what is pending now; for a process that ends."""
        if self._pending:
            await self._turn()

    async def _turn(self) -> None:
        self._is_pending.clear()
        shards, self._pending = sorted(self._pending), set()
        try:
            await self._send(shards)
        except (RedisError, OSError, TimeoutError) as error:
            self._metrics.wakes_failed.add(len(shards))
            if not self._is_failing:
                self._is_failing = True
                logger.warning("wakes_fail", extra=log_fields(reason=type(error).__name__))
        else:
            if self._is_failing:
                self._is_failing = False
                logger.info("wakes_work_again")

    async def _send(self, shards: list[int]) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for shard in shards:
                pipeline.execute_command("SET", keys.wake(shard), 1, "NX", "PX", keys.WAKE_TTL_MS)
            was_set = await pipeline.execute()
        messages = [drain_message(shard) for shard, is_set in zip(shards, was_set, strict=True) if is_set]
        if messages:
            await self._redis.lpush(QUEUE, *messages)
            self._metrics.wakes.add(len(messages))

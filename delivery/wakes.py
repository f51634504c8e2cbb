"""The wake keys in Redis: while one stands, edges post no wake-up for its shard.

Redis is never needed here. When it is away edges post nothing anyway, the due-scan finds the work, and the failures are
counted.
"""

import logging
from collections.abc import Awaitable, Callable, Collection

from redis.exceptions import RedisError

from delivery.redis_client import connect
from relay_contract import logs
from relay_contract.redis import keys

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 0.25
RENEW_SECONDS = 0.3


class Wakes:
    """Call from the event loop it was made on."""

    def __init__(self, redis_url: str) -> None:
        self._redis = connect(redis_url, TIMEOUT_SECONDS)
        self._is_away = False
        self.failures = 0

    async def hold(self, shards: Collection[int]) -> None:
        """Keep edges from posting for these shards during the next WAKE_TTL_MS."""
        await self._each(shards, lambda key: self._redis.set(key, 1, px=keys.WAKE_TTL_MS))

    async def drop(self, shards: Collection[int]) -> None:
        """Let edges post again. Who drops a key claims once more after it: a row may have come while it stood."""
        await self._each(shards, self._redis.delete)

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()

    async def _each(self, shards: Collection[int], command: Callable[[str], Awaitable[object]]) -> None:
        try:
            for shard in list(shards):
                await command(keys.wake(shard))
        except (RedisError, OSError) as error:
            self.failures += 1
            if not self._is_away:
                logger.warning("redis_away", extra=logs.log_fields(reason=type(error).__name__))
            self._is_away = True
        else:
            if self._is_away:
                logger.warning("redis_back", extra=logs.log_fields(failures=self.failures))
            self._is_away = False

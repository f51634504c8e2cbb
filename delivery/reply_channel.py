"""The sync lane's way to and from the edges, over Redis: who waits for an answer, and the answers.

Latency only. What is not heard here is found in Postgres: calls by the lane's own look each 250 ms, answers by the edge
in `deliveries_answer`, where the lane puts those that nobody took.
"""

import asyncio
import logging
from collections.abc import Callable
from uuid import UUID

from redis.exceptions import RedisError

from delivery.redis_client import connect
from relay_contract import logs
from relay_contract.redis import keys
from relay_contract.replies import Reply, decode_call, encode

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 1.0
LISTEN_SECONDS = 5.0
RECONNECT_SECONDS = 0.25


class ReplyChannel:
    """Two connections. Call from the event loop it was made on."""

    def __init__(self, redis_url: str) -> None:
        self._redis = connect(redis_url, TIMEOUT_SECONDS)
        self._is_away = False
        self.failures = 0

    async def listen(self, on_call: Callable[[UUID, str], None]) -> None:
        """Tell of every call that an edge announces: request and edge. For the life of the process; ends by
        cancellation. What no edge writes is passed over."""
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(keys.SYNC_WAKE)
                    self._is_away = False
                    while True:
                        message = await channel.get_message(timeout=LISTEN_SECONDS)
                        if message is None:
                            await channel.ping()  # a connection whose other end is gone says so
                            continue
                        try:
                            request_id, edge = decode_call(message["data"])
                        except (ValueError, TypeError):
                            continue
                        on_call(request_id, edge)
            except (RedisError, OSError) as error:
                self._failed(error)
                await asyncio.sleep(RECONNECT_SECONDS)

    async def publish(self, reply: Reply, edge: str | None) -> bool:
        """Tell the edge, or every edge where it is not known which; whether anybody heard it."""
        try:
            if reply.is_large:
                await self._redis.set(keys.answer(str(reply.request_id)), reply.body, px=keys.ANSWER_TTL_MS)
                reply = reply.pointing()
            channel = keys.REPLY_ALL if edge is None else keys.reply(edge)
            return bool(await self._redis.publish(channel, encode(reply)))
        except (RedisError, OSError) as error:
            self._failed(error)
            return False

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        if not self._is_away:
            logger.warning("reply_channel_away", extra=logs.log_fields(reason=type(error).__name__))
        self._is_away = True

"""Redis as workers use it: a short wait, and never a second try behind their back."""

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def connect(url: str, timeout_seconds: float) -> redis.asyncio.Redis:
    """Connects with the first command. For the event loop it is first used on."""
    return redis.asyncio.Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
    )

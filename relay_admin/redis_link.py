"""A connection to Redis for as long as one thing is done with it; and kept ones, for what each call of the API asks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT_SECONDS = 2.0
COUNT_TIMEOUT_SECONDS = 0.5
LEFT_ALONE_SECONDS = 5.0
"""After it did not answer a count: calls do not wait for it one after the other."""
_left_alone_until = 0.0


class RedisAwayError(Exception):
    """Redis did not answer. Nothing was read, and perhaps nothing changed; the text holds no address."""


@contextmanager
def open_redis() -> Iterator[redis.Redis]:
    """Raises RedisAwayError, also for what is done inside."""
    try:
        with redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
        ) as client:
            yield client
    except redis.RedisError as error:
        raise RedisAwayError(f"Redis does not answer ({type(error).__name__}).") from error


def count_up(key: str, *, seconds: int) -> int:
    """One more of `key`, which is forgotten after so many seconds; how many those are. Raises RedisAwayError."""
    global _left_alone_until  # noqa: PLW0603  # of this process: what one call found out counts for the next
    if time.monotonic() < _left_alone_until:
        raise RedisAwayError("Redis did not answer a moment ago.")
    try:
        with _kept(settings.REDIS_URL).pipeline(transaction=False) as pipeline:
            pipeline.incr(key)
            pipeline.expire(key, seconds)
            count, _ = pipeline.execute()
    except redis.RedisError as error:
        _left_alone_until = time.monotonic() + LEFT_ALONE_SECONDS
        raise RedisAwayError(f"Redis does not answer ({type(error).__name__}).") from error
    return int(count)


@cache
def _kept(url: str) -> redis.Redis:
    """A pool of connections. A broken one is opened once more, without a pause."""
    timeouts = {"socket_timeout": COUNT_TIMEOUT_SECONDS, "socket_connect_timeout": COUNT_TIMEOUT_SECONDS}
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 1), **timeouts)

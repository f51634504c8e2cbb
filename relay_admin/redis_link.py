"""A connection to Redis for as long as one thing is done with it."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from django.conf import settings

TIMEOUT_SECONDS = 2.0


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

"""Redis as workers use it: a short wait, and never a second try behind their back."""

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

_NO_NOTICES = MaintNotificationsConfig(enabled=False)
"""Notices of a managed Redis' maintenance. Where they are on, redis-py hands out connections that have ended."""


def connect(url: str, timeout_seconds: float) -> redis.asyncio.Redis:
    """Connects with the first command. For the event loop it is first used on."""
    return redis.asyncio.Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        maint_notifications_config=_NO_NOTICES,
    )

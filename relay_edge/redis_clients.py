"""redis-py's clients, for what is not hot: bodies of answers, wakes of workers. What each call needs goes by
`redis_link.py`."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.maint_notifications import MaintNotificationsConfig

CONNECT_SECONDS = 1.0

_DRIVER = DriverInfo()
"""Made here, at import: by itself redis-py reads package metadata from disk for each connection, on the event loop."""
_NO_NOTICES = MaintNotificationsConfig(enabled=False)
"""Notices of a managed Redis' maintenance. Where they are on, redis-py hands out connections that have ended."""


def redis_client(url: str, seconds: float, max_connections: int) -> Redis:
    """Connects with the first command, tries nothing twice. `seconds`: for each command's answer."""
    return Redis.from_url(
        url,
        socket_timeout=seconds,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        max_connections=max_connections,
        driver_info=_DRIVER,
        maint_notifications_config=_NO_NOTICES,
    )

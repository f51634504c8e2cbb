"""How often one caller may call: so many times in a minute by the clock, counted in Redis over all processes.

Whose calls: a user's, over all their sessions and tokens, so that no token gets more by making others; a relay key's;
an application's for one user. One round trip a call. While Redis is away nobody is refused: operators need the API then
most of all. Passwords and codes are counted elsewhere, in Postgres (`access/throttle.py`).
"""

import time
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from relay_admin.access.models import AccessToken, RelayKey, User
from relay_admin.redis_link import RedisAwayError, count_up
from relay_contract.redis import keys

WINDOW_SECONDS = 60


class CallerRate(BaseThrottle):
    """DRF's DEFAULT_THROTTLE_CLASSES."""

    def __init__(self) -> None:
        self._wait_seconds = 0.0

    def allow_request(self, request: Request, _view: Any) -> bool:
        """Whether the call may be made. Of nobody it says nothing."""
        most, caller = settings.API_CALLS_PER_MINUTE, _caller(request)
        if not most or caller is None:
            return True
        window, passed = divmod(time.time(), WINDOW_SECONDS)
        self._wait_seconds = WINDOW_SECONDS - passed
        try:
            return count_up(keys.api_calls(caller, int(window)), seconds=2 * WINDOW_SECONDS) <= most
        except RedisAwayError:
            return True

    def wait(self) -> float:
        """Seconds until the next minute."""
        return self._wait_seconds


def _caller(request: Request) -> str | None:
    match request.auth:
        case RelayKey():
            return f"key:{request.auth.pk}"
        case AccessToken():
            return f"application:{request.auth.application_id}.{request.auth.user_id}"
        case _:
            return f"user:{request.user.pk}" if isinstance(request.user, User) else None

"""Slows down whoever guesses passwords: per name and address, with a wait that doubles.

An attempt is counted before its password is looked at, in one statement, so attempts that come at once are counted one
after the other and none is free. A sign-in that succeeds forgets them.

Kept in Postgres, which a sign-in needs anyway: there is no moment in which people can sign in and the throttle is away.
Per name *and* address, so that nobody can lock somebody else out from elsewhere. Behind a proxy that hides addresses,
everybody shares one. What it does not stop is a guess of one password each for many names, or from many addresses: that
takes long random passwords (12 characters at least) or a login in front of this one.

Costs one statement an attempt, beside the 100 ms and more of the password's hash.
"""

import hashlib
import ipaddress
import logging
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.db import connection
from django.http import HttpRequest

from relay_admin.access.models import LoginAttempts, User
from relay_contract.logs import log_fields

logger = logging.getLogger(__name__)

FREE_ATTEMPTS = 5
LONGEST_WAIT_SECONDS = 900
FORGET_SECONDS = 86_400
"""Rows older than this are removed by the attempts of others: a day's wait is more than the longest."""
_PRUNED_PER_ATTEMPT = 10
_IPV6_SITE_BITS = 64  # what one subscriber is given, and may choose addresses from

# An update that finds the wait not over changes nothing and returns no row. While another attempt of the same key is
# being written, this one waits for it and then sees what it wrote; so the clock, not the transaction's start.
_BEGIN = """
    WITH pruned AS (
        DELETE FROM access_loginattempts WHERE key IN (
            SELECT key FROM access_loginattempts
            WHERE last_at < clock_timestamp() - make_interval(secs => %(forget)s) AND key <> %(key)s
            LIMIT %(pruned)s FOR UPDATE SKIP LOCKED
        )
    )
    INSERT INTO access_loginattempts AS kept (key, count, allowed_at, last_at)
    VALUES (%(key)s, 1, clock_timestamp(), clock_timestamp())
    ON CONFLICT (key) DO UPDATE SET
        count = kept.count + 1,
        allowed_at = clock_timestamp() + CASE WHEN kept.count + 1 < %(free)s THEN interval '0' ELSE
            make_interval(secs => least(%(longest)s, power(2, least(kept.count + 1 - %(free)s, 30)))) END,
        last_at = clock_timestamp()
    WHERE kept.allowed_at <= clock_timestamp()
    RETURNING count
"""
_WAIT = "SELECT ceil(extract(epoch FROM allowed_at - clock_timestamp()))::int FROM access_loginattempts WHERE key = %s"


class LoginThrottled(Exception):
    """Too many attempts: nothing was looked at, and nothing will be for `wait_seconds`."""

    def __init__(self, wait_seconds: int) -> None:
        self.wait_seconds = wait_seconds
        super().__init__(f"Too many attempts to sign in. Try again in {wait_seconds} seconds.")


class ThrottledBackend(ModelBackend):
    """Names and passwords, for the admin's form and `/auth/login` alike: there is no way around it."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """None for wrong credentials, and where there is no caller to count. Raises LoginThrottled."""
        if request is None or username is None or password is None:
            return None
        key = _key(username, request.META.get("REMOTE_ADDR", ""))
        _begin(key)
        user = super().authenticate(request, username=username, password=password, **kwargs)
        if user is None:
            return None
        assert isinstance(user, User)
        LoginAttempts.objects.filter(key=key).delete()
        return user


def _begin(key: bytes) -> None:
    parameters = {
        "key": key,
        "free": FREE_ATTEMPTS,
        "longest": LONGEST_WAIT_SECONDS,
        "forget": FORGET_SECONDS,
        "pruned": _PRUNED_PER_ATTEMPT,
    }
    with connection.cursor() as cursor:
        cursor.execute(_BEGIN, parameters)
        if cursor.fetchone() is not None:
            return
        cursor.execute(_WAIT, [key])
        [wait_seconds] = cursor.fetchone() or [1]  # gone: somebody has signed in this moment
    logger.warning("login_throttled", extra=log_fields(wait_seconds=wait_seconds))
    raise LoginThrottled(max(1, wait_seconds))


def _key(username: str, address: str) -> bytes:
    return hashlib.sha256(f"{_site(address)}\0{username}".encode()).digest()


def _site(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address  # none, behind a Unix socket
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), _IPV6_SITE_BITS), strict=False))

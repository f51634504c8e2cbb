"""Slows down whoever guesses passwords or credit codes: per name and address and per address over all names. And
whoever asks for mails or tries links, by the same table.

An attempt is counted before its password is looked at, so attempts that come at once are counted one after the other
and none is free. A sign-in that succeeds forgets those of its name, and of its address takes back its own alone: who
has an account cannot buy guesses at others' with it.

Over all names an address has ADDRESS_FAILURES at once, and then one each ADDRESS_WINDOW_SECONDS / ADDRESS_FAILURES. Not
a wait that doubles: colleagues behind the same address would wait with whoever guesses.

Kept in Postgres, which a sign-in needs anyway: there is no moment in which people can sign in and the throttle is away.
Never per name alone, so that nobody can lock somebody else out from elsewhere. Behind a proxy that hides addresses,
everybody shares one. What it does not stop is guessing from many addresses: that takes long random passwords (12
characters at least) or a login in front of this one.

What is counted is the text as typed, in lower case, and not the account: whoever found `sam` waiting after trying
`sam@example.com` would know that there is such an account.

Costs two statements an attempt, beside the 100 ms and more of the password's hash.
"""

import hashlib
import ipaddress
import logging
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.hashers import make_password
from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.http import HttpRequest

from relay_admin.access.models import LoginAttempts, User
from relay_contract.logs import log_fields

logger = logging.getLogger(__name__)

FREE_ATTEMPTS = 5
ADDRESS_FAILURES = 20
ADDRESS_WINDOW_SECONDS = 900
_ADDRESS_STEP = timedelta(seconds=ADDRESS_WINDOW_SECONDS / ADDRESS_FAILURES)
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
# Each attempt moves `allowed_at` one step on; it may lie no further back than what is given at once.
_BEGIN_ADDRESS = """
    INSERT INTO access_loginattempts AS kept (key, count, allowed_at, last_at)
    VALUES (%(key)s, 1, clock_timestamp() - %(step)s * (%(failures)s - 2), clock_timestamp())
    ON CONFLICT (key) DO UPDATE SET
        count = kept.count + 1,
        allowed_at = greatest(kept.allowed_at, clock_timestamp() - %(step)s * (%(failures)s - 1)) + %(step)s,
        last_at = clock_timestamp()
    WHERE kept.allowed_at <= clock_timestamp()
    RETURNING count
"""
_WAIT = "SELECT ceil(extract(epoch FROM allowed_at - clock_timestamp()))::int FROM access_loginattempts WHERE key = %s"


class Action(StrEnum):
    """What else is counted: mails asked for, links opened that came by one, sign-ins at the OpenID Connect provider,
    and what programs ask of the authorization server."""

    SIGN_UP = "sign-up"
    RESET = "reset"
    VERIFY = "verify"
    LINK = "link"
    OIDC = "oidc"
    DEVICE = "device"
    OAUTH = "oauth"
    OAUTH_FAILURE = "oauth-failure"


@dataclass(frozen=True, slots=True)
class Allowance:
    """So many at once, and then one each `window_seconds / at_once`."""

    at_once: int
    window_seconds: int

    @property
    def parameters(self) -> dict[str, Any]:
        """Of `_BEGIN_ADDRESS`."""
        return {"failures": self.at_once, "step": timedelta(seconds=self.window_seconds / self.at_once)}


MAILS_OF_SITE = Allowance(20, 3_600)
MAILS_TO_ADDRESS = Allowance(5, 3_600)
"""From wherever they are asked for: nobody's mailbox is filled. Whoever uses it up has had links sent to the owner."""
OF_SITE = {
    Action.LINK: Allowance(30, 900),
    Action.OIDC: Allowance(600, 900),  # two requests a sign-in, of everybody in an office
    Action.DEVICE: Allowance(30, 900),  # each code is a row, and takes a place
    Action.OAUTH: Allowance(1_200, 60),  # a server of many users may be at one address
}
CLIENT_FAILURES = Allowance(60, 900)
"""Of one application at one address. Never of the application alone: its id is public, and whoever knows it would lock
its users out."""


class Throttled(Exception):
    """Too many attempts: nothing was looked at, and nothing will be for `wait_seconds`."""

    event = "action_throttled"
    what = "Too many attempts."

    def __init__(self, wait_seconds: int) -> None:
        self.wait_seconds = wait_seconds
        super().__init__(f"{self.what} Try again in {wait_seconds} seconds.")


class LoginThrottled(Throttled):
    """Too many attempts to sign in."""

    event = "login_throttled"
    what = "Too many attempts to sign in."


def mail_begin(address: str, action: Action, to: str) -> None:
    """Counts a mail that the caller at `address` asks for, to whoever that is. Raises Throttled."""
    site = _site(address)
    with transaction.atomic(), connection.cursor() as cursor:
        if site:
            _count(cursor, _BEGIN_ADDRESS, _action_key(action, site), MAILS_OF_SITE.parameters, Throttled)
        _count(cursor, _BEGIN_ADDRESS, _action_key(action, "", to.lower()), MAILS_TO_ADDRESS.parameters, Throttled)


def site_begin(address: str, action: Action) -> None:
    """Counts one of OF_SITE of the caller at `address`. Raises Throttled."""
    if site := _site(address):
        with transaction.atomic(), connection.cursor() as cursor:
            _count(cursor, _BEGIN_ADDRESS, _action_key(action, site), OF_SITE[action].parameters, Throttled)


def client_begin(address: str, client_id: str) -> None:
    """Counts what a program at `address` asks of the authorization server as this application, "" for one that there is
    not; as a failure, until `client_succeeded` takes that back. Raises Throttled."""
    site_begin(address, Action.OAUTH)
    if site := _site(address):
        with transaction.atomic(), connection.cursor() as cursor:
            key = _action_key(Action.OAUTH_FAILURE, site, client_id)
            _count(cursor, _BEGIN_ADDRESS, key, CLIENT_FAILURES.parameters, Throttled)


def client_succeeded(address: str, client_id: str) -> None:
    """It was no failure."""
    LoginAttempts.objects.filter(key=_action_key(Action.OAUTH_FAILURE, _site(address), client_id)).update(
        count=F("count") - 1, allowed_at=F("allowed_at") - CLIENT_FAILURES.parameters["step"]
    )


class ThrottledBackend(ModelBackend):
    """Names or e-mail addresses with passwords, for the admin's form and `/auth/login`: there is no way around it."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **_: Any
    ) -> User | None:
        """None for wrong credentials, and where there is no caller to count. Raises LoginThrottled."""
        if request is None or username is None or password is None:
            return None
        address = request.META.get("REMOTE_ADDR", "")
        attempt_begin(address, username)
        user = _find(username)
        if not _is_password(user, password) or not self.user_can_authenticate(user):
            return None
        attempt_succeeded(address, username)
        return user


def _find(typed: str) -> User | None:
    """The owner of the address, else of the name: nobody takes over an address by making it their name.

    One look-up, whatever is found.
    """
    address = typed.lower()
    found = User.objects.annotate(address=Lower("email")).filter(Q(username=typed) | Q(address=address))
    return min(found, key=lambda user: user.address != address, default=None)


def _is_password(user: User | None, password: str) -> bool:
    """Costs one hash in every case, so that time does not tell whether there is such a user."""
    if user is None:
        make_password(password)
        return False
    return user.check_password(password)


def attempt_begin(address: str, name: str) -> None:
    """Counts an attempt of the name and of the address, or of neither where one has to wait. Before anything is looked
    at. Raises LoginThrottled."""
    site = _site(address)
    of_name = {
        "free": FREE_ATTEMPTS,
        "longest": LONGEST_WAIT_SECONDS,
        "forget": FORGET_SECONDS,
        "pruned": _PRUNED_PER_ATTEMPT,
    }
    of_address = Allowance(ADDRESS_FAILURES, ADDRESS_WINDOW_SECONDS).parameters
    with transaction.atomic(), connection.cursor() as cursor:
        if site:  # behind a Unix socket nobody has one, and they do not wait for each other
            _count(cursor, _BEGIN_ADDRESS, _address_key(site), of_address, LoginThrottled)
        _count(cursor, _BEGIN, _key(site, name), of_name, LoginThrottled)


def attempt_succeeded(address: str, name: str) -> None:
    """Forgets those of the name; the address takes back one."""
    site = _site(address)
    LoginAttempts.objects.filter(key=_key(site, name)).delete()
    LoginAttempts.objects.filter(key=_address_key(site)).update(
        count=F("count") - 1, allowed_at=F("allowed_at") - _ADDRESS_STEP
    )


def _count(cursor: Any, statement: str, key: bytes, parameters: dict[str, Any], refusal: type[Throttled]) -> None:
    cursor.execute(statement, {"key": key, **parameters})
    if cursor.fetchone() is not None:
        return
    cursor.execute(_WAIT, [key])
    [wait_seconds] = cursor.fetchone() or [1]  # gone: somebody has signed in this moment
    logger.warning(refusal.event, extra=log_fields(wait_seconds=wait_seconds))
    raise refusal(max(1, wait_seconds))


def _key(site: str, username: str) -> bytes:
    return hashlib.sha256(f"{site}\0{username.lower()}".encode()).digest()


def _address_key(site: str) -> bytes:
    return hashlib.sha256(site.encode()).digest()  # of no name: those have a NUL


def _action_key(action: Action, *parts: str) -> bytes:
    # Personal to the action: no text that is typed as a name makes a key of this kind.
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=32, person=action.value.encode()).digest()


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


def code_begin(address: str, user: User) -> None:
    """Counts a try of somebody at a device's code, like one at a password. Raises LoginThrottled."""
    attempt_begin(address, _code_name(user))


def code_found(address: str, user: User) -> None:
    """Forgets their tries: it was a right one."""
    attempt_succeeded(address, _code_name(user))


def _code_name(user: User) -> str:
    return f"\0device codes\0{user.pk}"  # no name: those have no NUL

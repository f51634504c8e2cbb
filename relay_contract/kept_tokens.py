"""Access tokens while they are good: fetched when first needed, kept until shortly before they end, given up when a
target refuses them.

One fetch at a time for a target, however many wait for it: the first one asks, the others take what it gets. In the
last part of a token's life the next one is fetched while the calls go on with it. A fetch that failed stands for a
moment, so that a busy target is not a flood for a token endpoint that is in trouble. Tokens live in memory only, and
each process has its own.

No I/O: who makes the call is given. Belongs to one event loop.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from relay_contract import oauth2
from relay_contract.oauth2 import ClientCredentials, Token, TokenError, TokenRequest

MAX_KEPT = 4096
FAILURE_SECONDS = 2.0
REFUSAL_SECONDS = 30.0
"""How long a failed fetch stands; longer where the endpoint said no to the credentials themselves. Whoever corrects the
target makes another version of it, which asks at once."""
GIVE_UP_SECONDS = 30.0
"""A target that refuses every token costs one fetch in so long."""

Key: TypeAlias = tuple[int, int]
"""A target's id and version."""

Ask: TypeAlias = Callable[[TokenRequest], Awaitable[tuple[int, bytes]]]
"""Makes the call by the rules of `oauth2`, its time excepted: status, and of the body as much as was read. Raises
TokenError."""

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class _Failure:
    error: TokenError
    until: float  # of the monotonic clock


class KeptTokens:
    """One for each process."""

    def __init__(self, ask: Ask, on_failure: Callable[[Key, TokenError], None] | None = None) -> None:
        """`on_failure` is told of each fetch that failed, not of each call that has no token for it."""
        self._ask = ask
        self._on_failure = on_failure
        self._kept: dict[Key, Token] = {}
        self._failures: dict[Key, _Failure] = {}
        self._given_up: dict[Key, float] = {}  # when last, of the monotonic clock
        self._fetches: dict[Key, asyncio.Task[Token]] = {}

    async def token(self, key: Key, credentials: ClientCredentials) -> Token:
        """A token that can be used now; without waiting where one is kept. Raises TokenError; cancelling the wait does
        not cancel the fetch."""
        kept, now = self._kept.get(key), time.time()
        if kept is not None and kept.is_usable(now):
            if kept.is_due(now) and key not in self._fetches and self._standing(key) is None:
                self._start(key, credentials)
            return kept
        failed = self._standing(key)
        if failed is not None:
            raise TokenError(failed.text, is_refusal=failed.is_refusal)
        if key not in self._fetches:
            self._start(key, credentials)
        return await asyncio.shield(self._fetches[key])

    def can_give_up(self, key: Key) -> bool:
        """False where a token was given up just before: the target would refuse another one as well."""
        return time.monotonic() >= self._given_up.get(key, -GIVE_UP_SECONDS) + GIVE_UP_SECONDS

    def give_up(self, key: Key, token: Token) -> None:
        """The target refused this token, so the next call fetches another one. Nothing where that has happened already,
        or a token was given up just before."""
        if self._kept.get(key) is token and self.can_give_up(key):
            del self._kept[key]
            _put(self._given_up, key, time.monotonic())

    async def close(self) -> None:
        """Give up fetches under way. Before what makes the calls is closed."""
        fetches = list(self._fetches.values())
        for fetch in fetches:
            fetch.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)

    def _standing(self, key: Key) -> TokenError | None:
        failure = self._failures.get(key)
        return None if failure is None or time.monotonic() >= failure.until else failure.error

    def _start(self, key: Key, credentials: ClientCredentials) -> None:
        fetch = self._fetches[key] = asyncio.create_task(self._fetched(credentials))
        fetch.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: Key, fetch: asyncio.Task[Token]) -> None:
        del self._fetches[key]
        if fetch.cancelled():
            return
        error = fetch.exception()  # looked at here, as everybody who waited may have gone
        if error is None:
            self._failures.pop(key, None)
            _put(self._kept, key, fetch.result())
        elif isinstance(error, TokenError):
            seconds = REFUSAL_SECONDS if error.is_refusal else FAILURE_SECONDS
            _put(self._failures, key, _Failure(error, time.monotonic() + seconds))
            if self._on_failure is not None:
                self._on_failure(key, error)

    async def _fetched(self, credentials: ClientCredentials) -> Token:
        try:
            async with asyncio.timeout(oauth2.TIMEOUT_SECONDS):
                status, body = await self._ask(oauth2.token_request(credentials))
        except TimeoutError:
            raise TokenError(f"The token endpoint did not answer in {oauth2.TIMEOUT_SECONDS} seconds.") from None
        except UnicodeEncodeError:
            raise TokenError("The client's credentials hold characters that no token request carries.") from None
        return oauth2.read_token(status, body, time.time())


def _put(kept: dict[Key, _Value], key: Key, what: _Value) -> None:
    """Bounded: the oldest goes first."""
    kept.pop(key, None)
    while len(kept) >= MAX_KEPT:
        del kept[next(iter(kept))]
    kept[key] = what

"""Where the bearer of a call comes from.

A token provider is a function that returns a token. `refused` is one that the relay has just answered with 401, so
that it is not returned again. `AsyncRelay` takes functions that return an awaitable as well.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Generator
from functools import partial
from typing import Protocol

import httpx2
from anyio import to_thread

from relay_sdk.oauth import UserTokens

UNAUTHORIZED = 401
_OTHER_CREDENTIALS = ("x-api-key", "x-goog-api-key", "api-key")


class TokenProvider(Protocol):
    """Returns the bearer to send. Raises SignInFailed where there is none to be had."""

    def __call__(self, *, refused: str | None = None) -> str: ...


class AsyncTokenProvider(Protocol):
    """The same, to be awaited."""

    def __call__(self, *, refused: str | None = None) -> Awaitable[str]: ...


class Key:
    """A relay key, which is what it is: a refused one stays refused."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, *, refused: str | None = None) -> str:
        del refused
        return self._key

    @property
    def is_relay_key(self) -> bool:
        """No admin token, which may be given in its place."""
        return self._key.startswith("rk_")

    def __repr__(self) -> str:
        return "Key(...)"


class Bearer(httpx2.Auth):
    """Puts the bearer on each call, and calls once more with another one when it was refused.

    A 401 is answered before anything is done, so calling again repeats nothing. Other credentials that a vendor's SDK
    may have put there go: two that disagree are refused.
    """

    def __init__(self, provider: TokenProvider | AsyncTokenProvider) -> None:
        self._provider = provider

    @property
    def is_relay_key(self) -> bool:
        """Whether the bearer is a relay key, and so nobody's token."""
        return isinstance(self._provider, Key) and self._provider.is_relay_key

    def sync_auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """httpx2's."""
        token = _plain(self._provider())
        answer = yield _signed(request, token)
        if answer.status_code == UNAUTHORIZED and _is_repeatable(request):
            another = _plain(self._provider(refused=token))
            if another != token:
                yield _signed(request, another)

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """httpx2's."""
        token = await self._found()
        answer = yield _signed(request, token)
        if answer.status_code == UNAUTHORIZED and _is_repeatable(request):
            another = await self._found(refused=token)
            if another != token:
                yield _signed(request, another)

    async def _found(self, refused: str | None = None) -> str:
        """What UserTokens has to wait for, it waits for in a thread: an event loop has others to serve."""
        if isinstance(self._provider, UserTokens):
            at_hand = self._provider.at_hand(refused)
            renewed = partial(self._provider, refused=refused)
            return await to_thread.run_sync(renewed) if at_hand is None else at_hand
        return await _awaited(self._provider(refused=refused) if refused else self._provider())


def _signed(request: httpx2.Request, token: str) -> httpx2.Request:
    for name in _OTHER_CREDENTIALS:
        request.headers.pop(name, None)
    request.headers["authorization"] = f"Bearer {token}"
    return request


def _is_repeatable(request: httpx2.Request) -> bool:
    """A body that is read from somewhere while it is sent cannot be sent again."""
    return isinstance(request.stream, httpx2.ByteStream)


def _plain(found: str | Awaitable[str]) -> str:
    if not isinstance(found, str):
        if inspect.iscoroutine(found):
            found.close()
        raise TypeError("Relay takes a token provider that returns text; use AsyncRelay with one that is awaited.")
    return found


async def _awaited(found: str | Awaitable[str]) -> str:
    return found if isinstance(found, str) else await found

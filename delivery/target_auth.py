"""Access tokens for targets (OAuth 2.0 client credentials): fetched when first needed, kept until shortly before they
end, given up when a target refuses them.

One fetch at a time for a target, however many deliveries wait for it: the first one asks, the others take what it
gets. A fetch that failed stands for a moment, so that a queue of deliveries is not a flood for a token endpoint that is
in trouble. Tokens live in memory only, and each worker process has its own.

The caller's session must have the address guard; what a token endpoint redirects to is not followed.
"""

import asyncio
import time
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TypeAlias

import aiohttp
from yarl import URL

from delivery import faults
from relay_contract import netguard, oauth2
from relay_contract.oauth2 import ClientCredentials, Token, TokenError

MAX_KEPT = 4096
FAILURE_SECONDS = 2.0
REFUSAL_SECONDS = 30.0
"""How long a failed fetch stands; longer where the endpoint said no to the credentials themselves. Whoever corrects the
target makes another version of it, which asks at once."""

Key: TypeAlias = tuple[int, int]
"""A target's id and version."""

_ANY_ADDRESS = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


@dataclass(frozen=True, slots=True)
class _Failure:
    error: TokenError
    until: float  # of the monotonic clock


class TargetTokens:
    """Belongs to the session's event loop."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._kept: dict[Key, Token | _Failure] = {}
        self._fetches: dict[Key, asyncio.Task[Token]] = {}

    async def token(self, key: Key, credentials: ClientCredentials) -> Token:
        """A token that can be used now. Raises TokenError; cancelling the wait does not cancel the fetch."""
        match self._kept.get(key):
            case Token() as token if token.is_usable(time.time()):
                return token
            case _Failure(error, until) if time.monotonic() < until:
                raise error
        fetch = self._fetches.get(key)
        if fetch is None:
            fetch = self._fetches[key] = asyncio.create_task(self._fetch(credentials))
            fetch.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(fetch)

    def drop(self, key: Key, token: Token) -> None:
        """The target refused this token: the next attempt fetches anew. Nothing where that has happened already."""
        if self._kept.get(key) is token:
            del self._kept[key]

    async def close(self) -> None:
        """Give up fetches under way. Before the session is closed."""
        fetches = list(self._fetches.values())
        for fetch in fetches:
            fetch.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)

    def _ended(self, key: Key, fetch: asyncio.Task[Token]) -> None:
        del self._fetches[key]
        if fetch.cancelled():
            return
        error = fetch.exception()  # looked at here, as everybody who waited may have gone
        if error is None:
            self._keep(key, fetch.result())
        elif isinstance(error, TokenError):
            seconds = REFUSAL_SECONDS if error.is_refusal else FAILURE_SECONDS
            self._keep(key, _Failure(error, time.monotonic() + seconds))

    def _keep(self, key: Key, what: Token | _Failure) -> None:
        self._kept.pop(key, None)
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = what

    async def _fetch(self, credentials: ClientCredentials) -> Token:
        request = oauth2.token_request(credentials)
        try:
            # Only the form: the address is judged when it is connected to, as a target's is.
            netguard.check_url(request.url, allowed=_ANY_ADDRESS)
            async with asyncio.timeout(oauth2.TIMEOUT_SECONDS):
                status, body = await self._post(request)
        except netguard.UrlRefused as refused:
            raise TokenError(f"The token endpoint's URL cannot be called. {refused}") from None
        except TimeoutError:
            raise TokenError(f"The token endpoint did not answer in {oauth2.TIMEOUT_SECONDS} seconds.") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise TokenError(f"The token endpoint could not be called: {faults.fault_of(error)}.") from None
        return oauth2.read_token(status, body, time.time())

    async def _post(self, request: oauth2.TokenRequest) -> tuple[int, bytes]:
        body = bytearray()
        async with self._session.post(
            URL(request.url, encoded=True), data=request.body, headers=request.headers, allow_redirects=False
        ) as response:
            while chunk := await response.content.readany():
                body += chunk
                if len(body) > oauth2.MAX_ANSWER_BYTES:
                    response.close()  # not released: the rest of the answer would have to be read first
                    break
            return response.status, bytes(body)

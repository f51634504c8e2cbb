"""`Relay`, awaited. What is said of a method there holds here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx2

from relay_sdk import calls, vendors
from relay_sdk.account import AsyncAccount
from relay_sdk.calls import Answer, Body, Call
from relay_sdk.client import TIMEOUT, provider_of
from relay_sdk.errors import RelayError
from relay_sdk.retries import Retries, unreachable
from relay_sdk.streams import AsyncStream
from relay_sdk.tokens import AsyncTokenProvider, Bearer, TokenProvider

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from openai import AsyncOpenAI

T = TypeVar("T")


class AsyncRelay:
    """As `Relay`. `token_provider` may return an awaitable."""

    def __init__(
        self,
        url: str | None = None,
        *,
        control_url: str | None = None,
        api_key: str | None = None,
        token_provider: TokenProvider | AsyncTokenProvider | None = None,
        retries: Retries | None = None,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        self.url, self.control_url = calls.addresses(url, control_url)
        self.auth = Bearer(provider_of(api_key, token_provider))
        self._retries = retries or Retries()
        self._is_own = http_client is None
        self._http = http_client or httpx2.AsyncClient(timeout=TIMEOUT)

    def openai(self, **options: Any) -> AsyncOpenAI:
        """OpenAI's own client, pointed here."""
        return vendors.async_openai(self.url, self.auth, options)

    def anthropic(self, **options: Any) -> AsyncAnthropic:
        """Anthropic's own client, pointed here."""
        return vendors.async_anthropic(self.url, self.auth, options)

    async def send(
        self,
        project: str,
        line: str,
        endpoint: str,
        body: Body,
        *,
        idempotency_key: str | None = None,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """As `Relay.send`."""
        place = (project, line, endpoint)
        call = calls.endpoint_call(
            self.url, place, body, method=method, idempotency_key=idempotency_key, headers=headers, params=params
        )
        return await self._tried(call, calls.answer_of)

    @asynccontextmanager
    async def stream(
        self,
        project: str,
        line: str,
        endpoint: str,
        body: Body,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> AsyncIterator[AsyncStream]:
        """As `Relay.stream`."""
        place = (project, line, endpoint)
        call = calls.endpoint_call(
            self.url, place, body, method=method, idempotency_key=None, headers=headers, params=params
        )
        try:
            answer = await self._http.send(self._request(call), auth=self.auth, stream=True)
        except httpx2.RequestError as error:
            raise unreachable(error) from error
        try:
            if answer.status_code >= 400 and (refused := calls.refusal(answer, await answer.aread())):
                raise refused
            yield AsyncStream(answer)
        finally:
            await answer.aclose()

    async def models(self) -> list[str]:
        """As `Relay.models`."""
        listed = await self.get(f"{self.url}/v1/models")
        return [one["id"] for one in listed["data"]]

    @property
    def account(self) -> AsyncAccount:
        """As `Relay.account`."""
        return AsyncAccount(self)

    async def get(self, url: str, **params: str | int | bool | None) -> Any:
        """As `Relay.get`."""
        return await self._tried(calls.read(url, **params), calls.document_of)

    async def change(self, method: str, url: str, document: calls.Json = None) -> Any:
        """As `Relay.change`."""
        return await self._tried(calls.write(method, url, document), calls.document_of)

    async def aclose(self) -> None:
        """Ends connections that this client made."""
        if self._is_own:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.aclose()

    def _request(self, call: Call) -> httpx2.Request:
        return self._http.build_request(
            call.method, call.url, content=call.content or None, headers=call.headers, params=call.params or None
        )

    async def _tried(self, call: Call, read: Callable[[httpx2.Response, bytes], T]) -> T:
        attempt = 1
        while True:
            try:
                answer = await self._http.send(self._request(call), auth=self.auth)
                return read(answer, answer.content)
            except httpx2.RequestError as error:
                failed: RelayError = unreachable(error)
                failed.__cause__ = error
            except RelayError as error:
                failed = error
            wait = self._retries.wait_before(attempt, failed, is_repeatable=call.is_repeatable)
            if wait is None:
                raise failed
            await asyncio.sleep(wait)
            attempt += 1

"""The client. `AsyncRelay` in `async_client.py` is the same, awaited."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx2

from relay_sdk import calls, vendors
from relay_sdk.account import Account
from relay_sdk.calls import Answer, Body, Call
from relay_sdk.errors import RelayError
from relay_sdk.retries import Retries, unreachable
from relay_sdk.streams import Stream
from relay_sdk.tokens import Bearer, Key, TokenProvider

if TYPE_CHECKING:
    from anthropic import Anthropic
    from openai import OpenAI

T = TypeVar("T")
TIMEOUT = httpx2.Timeout(connect=10.0, read=600.0, write=60.0, pool=10.0)
"""Models think for minutes; endpoints answer within 90 s."""


class Relay:
    """A relay, as one relay key or one user's token sees it. Safe to share between threads.

    `url`: of the edge, else RELAY_URL. `control_url`: of the control plane, else RELAY_CONTROL_URL; needed for
    `account`. `api_key` (else RELAY_KEY) or `token_provider`, one of them. `http_client`: another transport, proxy or
    limit; it is not closed with this. Raises ValueError for arguments that cannot be used.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        control_url: str | None = None,
        api_key: str | None = None,
        token_provider: TokenProvider | None = None,
        retries: Retries | None = None,
        http_client: httpx2.Client | None = None,
    ) -> None:
        self.url, self.control_url = calls.addresses(url, control_url)
        self.auth = Bearer(provider_of(api_key, token_provider))
        self._retries = retries or Retries()
        self._own = httpx2.Client(timeout=TIMEOUT) if http_client is None else None
        self._http = http_client or self._own or httpx2.Client()

    def openai(self, **options: Any) -> OpenAI:
        """OpenAI's own client, pointed here. `options` are its own; needs the extra `openai`."""
        return vendors.openai(self.url, self.auth, options)

    def anthropic(self, **options: Any) -> Anthropic:
        """Anthropic's own client, pointed here. `options` are its own; needs the extra `anthropic`."""
        return vendors.anthropic(self.url, self.auth, options)

    def send(
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
        """Calls an endpoint: it is queued for its targets, or a sync target answers. `body`: JSON, or bytes with a
        `content-type` of yours. With an `idempotency_key` it is made once, however often it is tried.

        Raises ApiError for a refusal of the relay's own, Unreachable without an answer. What a sync target answers is
        returned whatever its status.
        """
        place = (project, line, endpoint)
        call = calls.endpoint_call(
            self.url, place, body, method=method, idempotency_key=idempotency_key, headers=headers, params=params
        )
        return self._tried(call, calls.answer_of)

    @contextmanager
    def stream(
        self,
        project: str,
        line: str,
        endpoint: str,
        body: Body,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Iterator[Stream]:
        """The answer of an endpoint's stream target, as it comes. It is never tried twice. Leaving the block early ends
        the call. Raises ApiError before the first byte; reading raises ApiError for an answer that was cut."""
        place = (project, line, endpoint)
        call = calls.endpoint_call(
            self.url, place, body, method=method, idempotency_key=None, headers=headers, params=params
        )
        request = self._request(call)
        try:
            answer = self._http.send(request, auth=self.auth, stream=True)
        except httpx2.RequestError as error:
            raise unreachable(error) from error
        try:
            if answer.status_code >= 400 and (refused := calls.refusal(answer, answer.read())):
                raise refused
            yield Stream(answer)
        finally:
            answer.close()

    def models(self) -> list[str]:
        """Names of the models that the key or token reaches, aliases too."""
        listed = self.get(f"{self.url}/v1/models")
        return [one["id"] for one in listed["data"]]

    @property
    def account(self) -> Account:
        """Balance, usage and calls, at the control plane. Raises ValueError without its address."""
        return Account(self)

    def get(self, url: str, **params: str | int | bool | None) -> Any:
        """JSON of the edge or the control plane. Raises ApiError and Unreachable."""
        return self._tried(calls.read(url, **params), calls.document_of)

    def change(self, method: str, url: str, document: calls.Json = None) -> Any:
        """A change at the control plane, tried again only where it was surely not made. Raises as `get`."""
        return self._tried(calls.write(method, url, document), calls.document_of)

    def close(self) -> None:
        """Ends connections that this client made."""
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _request(self, call: Call) -> httpx2.Request:
        return self._http.build_request(
            call.method, call.url, content=call.content or None, headers=call.headers, params=call.params or None
        )

    def _tried(self, call: Call, read: Callable[[httpx2.Response, bytes], T]) -> T:
        attempt = 1
        while True:
            try:
                answer = self._http.send(self._request(call), auth=self.auth)
                return read(answer, answer.content)
            except httpx2.RequestError as error:
                failed: RelayError = unreachable(error)
                failed.__cause__ = error
            except RelayError as error:
                failed = error
            wait = self._retries.wait_before(attempt, failed, is_repeatable=call.is_repeatable)
            if wait is None:
                raise failed
            time.sleep(wait)
            attempt += 1


def provider_of(api_key: str | None, token_provider: Any) -> Any:
    """Whoever says what the bearer is. Raises ValueError for both, and for none."""
    if api_key and token_provider:
        raise ValueError("Pass `api_key` or `token_provider`, one of them.")
    if token_provider:
        return token_provider
    key = api_key or os.environ.get("RELAY_KEY", "")
    if not key:
        raise ValueError("Pass `api_key` or `token_provider`, or set RELAY_KEY.")
    return Key(key)

"""An answer that comes piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping

import httpx2

from relay_sdk.errors import error_of
from relay_sdk.retries import unreachable

_ERROR = "error"
_BROKEN = 502  # of the error that an event stream ends with, whose status is out already


class _Head:
    def __init__(self, answer: httpx2.Response) -> None:
        self._answer = answer

    @property
    def status(self) -> int:
        """The target's."""
        return self._answer.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        """The target's, and the relay's `x-request-id` and `x-relay-target`."""
        return self._answer.headers

    @property
    def request_id(self) -> str:
        """Finds the call in the request log."""
        return str(self._answer.headers.get("x-request-id", ""))

    def _checked(self, event: httpx2.ServerSentEvent) -> httpx2.ServerSentEvent:
        if event.event == _ERROR:
            raise error_of(_BROKEN, self._answer.headers, event.data.encode())
        return event


class Stream(_Head):
    """Read it by `events()` or by `bytes()`, once."""

    def events(self) -> Iterator[httpx2.ServerSentEvent]:
        """Of an event stream. Raises ApiError for one that the relay ended early, Unreachable for one that broke."""
        try:
            for event in httpx2.EventSource(self._answer):
                yield self._checked(event)
        except httpx2.RequestError as error:
            raise unreachable(error) from error

    def bytes(self) -> Iterator[bytes]:
        """As they come. Raises Unreachable for an answer that is not whole."""
        try:
            yield from self._answer.iter_bytes()
        except httpx2.RequestError as error:
            raise unreachable(error) from error


class AsyncStream(_Head):
    """The same, awaited."""

    async def events(self) -> AsyncIterator[httpx2.ServerSentEvent]:
        """As `Stream.events`."""
        try:
            async for event in httpx2.EventSource(self._answer):
                yield self._checked(event)
        except httpx2.RequestError as error:
            raise unreachable(error) from error

    async def bytes(self) -> AsyncIterator[bytes]:
        """As `Stream.bytes`."""
        try:
            async for piece in self._answer.aiter_bytes():
                yield piece
        except httpx2.RequestError as error:
            raise unreachable(error) from error

"""The vendor's side of a connection: who may call, and how an answer leaves."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from aiohttp import web

from standalone.demo_vendor.calls import BadCallError, Json, json_object

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
Composer: TypeAlias = Callable[[Json, Mapping[str, str]], "Json | list[bytes]"]
"""A call's document and headers -> a whole answer, or the events of a stream. Raises BadCallError."""


class Door:
    """One vendor's shape behind its API key; what a handler raises is answered in that shape."""

    def __init__(self, api_key: str, delay_seconds: float, error: Callable[[BadCallError], Json]) -> None:
        self._api_key = api_key.encode()
        self._delay_seconds = delay_seconds
        self._error = error

    def guarded(self, handler: Handler) -> Handler:
        """`handler`, for callers with the key."""

        async def guard(request: web.Request) -> web.StreamResponse:
            try:
                self._authenticate(request.headers)
                return await handler(request)
            except BadCallError as error:
                return web.json_response(self._error(error), status=error.status, headers=_request_id())

        return guard

    def answering(self, compose: Composer) -> Handler:
        """`compose` as a handler: a whole answer or a stream, as it says."""

        async def handle(request: web.Request) -> web.StreamResponse:
            answer = compose(await json_object(request), request.headers)
            if isinstance(answer, list):
                return await self._stream(request, answer)
            return web.json_response(answer, headers=_request_id())

        return self.guarded(handle)

    def _authenticate(self, headers: Mapping[str, str]) -> None:
        scheme, _, bearer = headers.get("Authorization", "").partition(" ")
        given = bearer if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not hmac.compare_digest(given.encode(errors="replace"), self._api_key):
            raise BadCallError(401, "authentication_error", "Incorrect API key provided.", code="invalid_api_key")

    async def _stream(self, request: web.Request, events: list[bytes]) -> web.StreamResponse:
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for event in events:
            await response.write(event)
            if self._delay_seconds:
                await asyncio.sleep(self._delay_seconds)
        await response.write_eof()
        return response


def _request_id() -> dict[str, str]:
    return {"request-id": f"req_{secrets.token_hex(12)}"}

"""The edge's side of a caller's connection: aiohttp's, with four things changed.

- What is not HTTP is answered in our JSON, and neither the answer nor the log quotes it: aiohttp's own do, including
  the start of an `Authorization` line.
- A body that turns out to be no HTTP while it is read fails at once, so that its request is answered in its own shape;
  aiohttp would let the reader wait for the rest.
- A connection that never sends a whole head is closed after 30 s; aiohttp would hold it for ever.
- At shutdown busy connections finish, bodies still on their way included, and idle ones are not cut under a request
  that is on its way: every answer says `connection: close`, and a connection ends once it has been quiet for a while.
  (aiohttp's own shutdown stops reading at once.)

Uses private names of aiohttp (`_ErrInfo`, and `_request_count`, `_request_in_progress` and `_messages` of
`RequestHandler`); the tests of this file fail when a new aiohttp has them no longer.
"""

import asyncio
import logging
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo

from relay_contract.errors import BadHeader, BadRequest, ContentTypeNotAllowed, InternalFault, RelayError
from relay_contract.logs import log_fields
from relay_edge.body import CODINGS_TEXT
from relay_edge.error_shapes import ErrorShape
from relay_edge.metrics import SurfaceMetrics
from relay_edge.reply import request_id_of, send_error

logger = logging.getLogger(__name__)

HEAD_SECONDS = 30.0
SWEEP_SECONDS = 5.0
KEEPALIVE_SECONDS = 75.0
"""Longer than the 60 s for which load balancers keep theirs: the side that knows of the next request closes first."""

LINGERING_SECONDS = 2.0
"""How long an unread body is read on after its refusal, so that the caller gets to read the answer before a reset."""

MAX_LINE_BYTES = 8_192
MAX_HEADER_BYTES = 16_384
MAX_HEADERS = 100
READ_BUFFER_BYTES = 65_536
DRAIN_STEP_SECONDS = 0.02
QUIET_SECONDS = 5.0
"""For how long a connection is quiet before it is closed at shutdown; a third of what shutdown may take, if that is
less. SDKs on httpx use none again that has been idle for so long."""


class CallerConnection(RequestHandler):
    """One caller's connection."""

    __slots__ = ("_newest_body", "_unparsable", "has_left", "heard_at", "is_draining", "opened_at")

    def __init__(self, server: web.Server, unparsable: SurfaceMetrics, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # None is how aiohttp switches it off
            keepalive_timeout=KEEPALIVE_SECONDS,
            lingering_time=LINGERING_SECONDS,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            read_bufsize=READ_BUFFER_BYTES,
        )
        self._newest_body: StreamReader = EMPTY_PAYLOAD
        self._unparsable = unparsable
        self.opened_at = self.heard_at = loop.time()
        self.is_draining = False
        """The process was told to end: the next answer is this connection's last."""
        self.has_left = False
        """The caller closed, or their connection broke; False while it is we who end it."""

    @property
    def has_spoken(self) -> bool:
        """Whether a whole head ever arrived."""
        return self._request_count > 0

    @property
    def is_busy(self) -> bool:
        """Whether a request is being served or waits for its turn."""
        return self._request_in_progress or bool(self._messages)

    @property
    def has_next(self) -> bool:
        """Whether a further request came before the answer to this one."""
        return bool(self._messages)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.has_left = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        super().data_received(data)
        if self._messages:
            message, body = self._messages[-1]
            if not isinstance(message, _ErrInfo):
                self._newest_body = body
            elif not self._newest_body.is_eof():  # what cannot be parsed is the rest of this body, no new request
                self._newest_body.set_exception(RequestPayloadError(_NOT_HTTP))
                self._newest_body.feed_eof()  # nobody has to wait for its end any more

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """Not for a body that broke while it was read on after the answer."""
        if not isinstance(kwargs.get("exc_info"), RequestPayloadError):
            super().log_exception(*args, **kwargs)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """The answer to what could not be parsed (400), or to a handler that failed in spite of itself (500)."""
        error: RelayError
        if status == BadRequest.status:
            error = _refusal_of(exc)
        else:
            error = InternalFault()
            logger.error("handler_failed", exc_info=exc, extra=log_fields(status=status))
        self._unparsable.done(error.status, 0.0)
        return send_error(request, error, ErrorShape.RELAY, request_id_of(request), close=True)


_TOO_LONG = (
    f"The request line takes {MAX_LINE_BYTES} bytes and a header {MAX_HEADER_BYTES} bytes; one of them is longer."
)
_NOT_HTTP = "This is not an HTTP/1.1 request (RFC 9112). Check the request line, the headers and the framing."


def _refusal_of(reason: BaseException | None) -> RelayError:
    match reason:
        case LineTooLong():
            return BadHeader(_TOO_LONG)
        case ContentEncodingError():
            return ContentTypeNotAllowed(CODINGS_TEXT)
        case _:
            return BadRequest(_NOT_HTTP)


class Door(web.Server):
    """Makes a `CallerConnection` for each caller."""

    def __init__(self, handler: Any, unparsable: SurfaceMetrics) -> None:
        super().__init__(handler, handler_cancellation=True)
        self._unparsable = unparsable

    def __call__(self) -> CallerConnection:
        return CallerConnection(self, self._unparsable, self._loop)

    async def sweep(self) -> None:
        """Closes connections that never became a request; for the life of the process."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.close_silent(self._loop.time() - HEAD_SECONDS)

    def close_silent(self, before: float) -> int:
        """Closes those opened before a moment of the loop's time that sent no whole head; how many."""
        silent = [each for each in self._callers() if not each.has_spoken and each.opened_at < before]
        for connection in silent:
            connection.force_close()
        return len(silent)

    def counts(self) -> tuple[int, int]:
        """Connections, and busy ones among them."""
        callers = self._callers()
        return len(callers), sum(each.is_busy for each in callers)

    async def drain(self, seconds: float) -> None:
        """Lets busy connections finish for so long, closes each once it is quiet, then cuts the others."""
        deadline = self._loop.time() + seconds
        quiet_seconds = min(QUIET_SECONDS, seconds / 3)
        quiet_since = {each: each.heard_at for each in self._callers() if not each.is_busy}
        while True:
            now = self._loop.time()
            for connection in self._callers():
                connection.is_draining = True
                if connection.is_busy:
                    quiet_since.pop(connection, None)
                elif now - quiet_since.setdefault(connection, now) >= quiet_seconds:
                    connection.force_close()  # `close()` would leave the transport open until the very end
            if not self._callers() or now >= deadline:
                break
            await asyncio.sleep(DRAIN_STEP_SECONDS)
        cut = self.counts()[1]
        if cut:
            logger.warning("connections_cut", extra=log_fields(connections=cut))
        await self.shutdown(0.1)

    def _callers(self) -> list[CallerConnection]:
        return [each for each in self.connections if isinstance(each, CallerConnection)]

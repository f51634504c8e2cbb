"""The caller's side of an answer: bytes are written inside the read callback of the host's connection.

The head leaves with the first content in one write; that is the point from which nothing else can be tried. Framing is
made anew (content length, chunks, or the end of the connection for HTTP/1.0), so nothing of the host's framing reaches
the caller. When the caller reads slower than the host writes, the host is read slower too: at most one read beyond the
transport's high-water mark is held.

A ping before the first content sends a head of our own: hosts may still be tried, but only an event stream can follow.

Once a head is out an answer that breaks is broken for the caller as well: an error event where the answer is an event
stream, then the connection ends without the mark of a whole answer.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

from aiohttp import HttpVersion11, web

from relay_contract.errors import RelayError
from relay_edge.capture import Capture
from relay_edge.door import CallerConnection
from relay_edge.error_shapes import ErrorShape, error_body
from relay_edge.further_lines import further_bytes
from relay_edge.passed_headers import HOST_NAMES, Names, passed_lines
from relay_edge.reply import SENT, SENT_AND_CLOSE, STATUS_LINES, date_line, may_keep_alive
from relay_edge.turn_writes import MOST_BYTES
from relay_edge.upstream import Head, Timeouts, UpstreamConnection

_NO_BODY = frozenset({204, 304})
_BLANK_LINES = (b"\n\n", b"\r\n\r\n", b"\r\r")

_UNGATHERED = b"x-accel-buffering: no\r\n"
"""Proxies before us must not gather a stream."""

_PINGED_HEAD = Head(200, [], None, False)
_PINGED_LINES = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n" + _UNGATHERED

PING = b": keep-alive\n\n"
"""A comment, which readers of event streams pass over (WHATWG HTML section 9.2.6)."""


class StreamShape(Protocol):
    """What a caller's shape says about streams: a model's `Surface`, or RELAYED."""

    @property
    def error_shape(self) -> ErrorShape: ...

    @property
    def error_event(self) -> Callable[[bytes], bytes]:
        """An error body -> a server-sent event."""

    @property
    def ping(self) -> bytes:
        """What keeps a silent stream alive, anywhere between two events."""


def _error_event(body: bytes) -> bytes:
    return b"event: error\ndata: %b\n\n" % body


@dataclass(frozen=True, slots=True)
class _RelayedShape:
    error_shape: ErrorShape = ErrorShape.RELAY
    error_event: Callable[[bytes], bytes] = _error_event
    ping: bytes = PING


RELAYED: Final[StreamShape] = _RelayedShape()
"""Of answers that targets of relay endpoints give."""


class CallerStream:
    """One call's answer, of whichever host gives it. Made for one request, closed in its `finally`."""

    __slots__ = (
        "_connection", "_drain", "_framing", "_head", "_is_coded", "_is_event_stream", "_keep_alive", "_last",
        "_names", "_pending", "_protocol", "_request", "_request_id", "_shape", "_transport", "bytes_sent", "capture",
        "is_whole", "on_close", "pings", "secret", "status",
    )  # fmt: skip

    def __init__(
        self,
        request: web.BaseRequest,
        shape: StreamShape,
        request_id: str,
        capture: Capture | None = None,
        *,
        names: Names = HOST_NAMES,
    ) -> None:
        """`capture` is given what the caller gets. `names`: which of an answer's headers pass."""
        self.capture = capture
        self._request = request
        self._protocol = cast("CallerConnection", request.protocol)
        self._transport = request.transport
        self._shape = shape
        self._names = names
        self._request_id = request_id
        self._keep_alive = may_keep_alive(request)
        self._connection: UpstreamConnection | None = None
        self._drain: asyncio.Task[None] | None = None
        self._head: Head | None = None
        self._pending = b""
        self._framing = b""  # b"chunked", b"length", b"close", b"none"
        self._last = b""
        self._is_event_stream = False
        self._is_coded = False
        self.status = 0
        """Of the answer that is passed on; 0 before its head came."""
        self.bytes_sent = 0
        """Of the answer; pings are none of it."""
        self.pings = 0
        self.is_whole = False
        self.on_close: Callable[[], None] | None = None
        self.secret = b""
        """The host key of this try: a header line that quotes it is left out."""

    @property
    def request_id(self) -> str:
        """Under which the caller knows this call."""
        return self._request_id

    @property
    def error_shape(self) -> ErrorShape:
        """The caller's."""
        return self._shape.error_shape

    @property
    def has_started(self) -> bool:
        """Whether a byte of an answer went to the caller: from then on nothing else can be tried."""
        return self.bytes_sent > 0 or self.is_whole

    @property
    def is_open(self) -> bool:
        """Whether the caller has a head, were it only a ping's: from then on no status and no header can be told."""
        return bool(self._framing)

    @property
    def is_slow(self) -> bool:
        """Whether the caller's connection is full, so that the host is not read on."""
        return self._drain is not None

    # --- the host's side ---

    def on_start(self, connection: UpstreamConnection) -> None:
        """The connection to slow down when the caller reads slowly."""
        self._connection = connection
        self._head = None  # of a try before

    def impatient(self, timeouts: Timeouts) -> Timeouts:
        """The time limits of a try while somebody else could be tried."""
        return timeouts

    def begin(self, head: Head, further_lines: bytes) -> bool:
        """Renders the head, in place of any before it; it leaves with the first content. `further_lines`: header lines
        of ours. False for a head that would break out of its lines, or that does not fit the one which a ping sent."""
        lines = self._passed_lines(head)
        if self.is_open:
            is_event_stream, self._is_event_stream = self._is_event_stream, True
            is_coded, self._is_coded = self._is_coded, False
            return is_event_stream and not is_coded and head.status == 200
        if lines is None:
            return False
        self._render(head, lines + further_lines)
        return True

    def _render(self, head: Head, lines: bytes) -> None:
        status = self.status = head.status
        self._pending = b"%b%b%b%bx-request-id: %b\r\n" % (
            STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status,
            date_line(),
            further_bytes(self._request),
            lines,
            self._request_id.encode("ascii"),
        )
        self._head = head

    def add_line(self, line: bytes) -> None:
        """One more header line of ours, where the head has not left."""
        if self._pending and not self.is_open:
            self._pending += line

    def write(self, body: bytes, is_end: bool) -> None:
        """Writes content, and the end of the answer where it ends here."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return  # the handler is being cancelled
        if not self._framing:
            self._choose_framing(len(body), is_end)
        if body:
            self._last = body
            if self.capture is not None:
                self.capture.answered(body)
        self.bytes_sent += len(body)
        data = self._framed(body, is_end)
        if self._pending:
            data, self._pending = self._pending + data, b""
        connection = self._connection
        if is_end and connection is not None and self._may_gather(data):
            connection.writes.write(transport, data)
        elif data:
            transport.write(data)
        self.is_whole = is_end
        if not is_end and self._protocol.writing_paused:
            self._slow_down()

    def _may_gather(self, data: bytes) -> bool:
        """Whether the end of an answer may leave with others: not where the connection closes behind it, nor where
        the caller's next request waits already, whose answer could overtake it."""
        return self._keep_alive and len(data) <= MOST_BYTES and not self._protocol.has_next

    def _framed(self, body: bytes, is_end: bool) -> bytes:
        if self._framing == b"chunked":
            data = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return data + b"0\r\n\r\n" if is_end else data
        return b"" if self._framing == b"none" else body

    # --- while the host is silent ---

    def ping(self, lines: bytes) -> bool:
        """Tells the caller of a stream that its call lives. `lines`: header lines of ours, for a head. False where that
        cannot be told now: inside an event, to a caller who reads slowly, in an answer that is no event stream."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._protocol.writing_paused or self.is_whole:
            return False
        if self._head is not None and (self._is_coded or not self._is_event_stream):
            return False
        if not self.is_open:
            self._render(_PINGED_HEAD, _PINGED_LINES + lines)
            self._is_event_stream, self._is_coded = True, False
            self._choose_framing(0, False)
        elif not self._is_between_events() or self._framing == b"length":
            return False
        transport.write(self._pending + self._framed(self._shape.ping, False))
        self._pending = b""
        self.pings += 1
        return True

    def heartbeat(self) -> bool:
        """The same once the answer has begun, for a caller who is to see no status but the target's."""
        return self.is_open and self.ping(b"")

    def _is_between_events(self) -> bool:
        return not self._last or self._last.endswith(_BLANK_LINES)

    # --- the handler's side ---

    def finish(self) -> web.StreamResponse:
        """What the handler returns once an answer was passed on."""
        return SENT if self._keep_alive and self.is_whole else SENT_AND_CLOSE

    def cut(self, error: RelayError) -> web.StreamResponse:
        """Ends an answer that cannot be completed. Never with the mark of a whole one."""
        self._end_with(error_body(error, self._shape.error_shape, self._request_id))
        return SENT_AND_CLOSE

    def refuse(self, status: int, body: bytes) -> None:
        """The same for a host's refusal, where a ping was sent and none of an answer. `body`: one line of JSON in the
        caller's shape."""
        self.status = status
        self._end_with(body)

    def _end_with(self, error: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._protocol.writing_paused:  # a caller who does not read would keep the connection open for ever
            transport.abort()
            return
        if self._is_event_stream and not self._is_coded and self._framing != b"length":
            event = self._shape.error_event(error)
            if not self._is_between_events():
                event = b"\n\n" + event  # ends the event that was cut in two
            if self.capture is not None:
                self.capture.answered(event)
            transport.write(b"%x\r\n%b\r\n" % (len(event), event) if self._framing == b"chunked" else event)

    def close(self) -> None:
        """Lets go of everything; the request is over, however it ended."""
        if self.on_close is not None:
            self.on_close()
        if self._drain is not None:
            self._drain.cancel()
        self._connection = None

    def _choose_framing(self, length: int, is_end: bool) -> None:
        head = self._head
        assert head is not None
        known = length if is_end else head.length
        lines = b""
        if head.status in _NO_BODY:
            self._framing = b"none"
        elif self._request.method == "HEAD":
            self._framing = b"none"
            lines = b"" if head.length is None else b"content-length: %d\r\n" % head.length
        elif known is not None:
            self._framing = b"length"
            lines = b"content-length: %d\r\n" % known
        elif self._request.version >= HttpVersion11:
            self._framing = b"chunked"
            lines = b"transfer-encoding: chunked\r\n"
        else:
            self._framing = b"close"
            self._keep_alive = False
        self._pending += lines + (b"\r\n" if self._keep_alive else b"connection: close\r\n\r\n")

    def _passed_lines(self, head: Head) -> bytes | None:
        """The host's header lines that the caller sees; None when one of them would break out of its line."""
        lines, self._is_event_stream, self._is_coded = passed_lines(head.headers, self._names, self.secret)
        if lines is None or not self._is_event_stream or _UNGATHERED in lines:
            return lines
        return lines + _UNGATHERED

    def _slow_down(self) -> None:
        if self._connection is not None and self._drain is None:
            self._connection.pause()
            self._drain = asyncio.get_running_loop().create_task(self._resume_when_drained(self._connection))

    async def _resume_when_drained(self, connection: UpstreamConnection) -> None:
        try:
            await self._request.writer.drain()
        except ConnectionError:
            return  # the caller has gone: its handler is being cancelled
        self._drain = None
        connection.resume()

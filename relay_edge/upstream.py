"""One HTTP/1.1 connection to an upstream host: a request out, its answer in, then the next one.

The product's core, written by hand because a general client costs 80 us more a request. `httptools` parses; body
bytes go to the receiver from inside `data_received`, without a task or a wake-up between. Framing ends here: the
receiver gets content and learns where it ends, so trailers, chunk extensions and bytes after the end never travel on.

Redirects are answers like any other. No I/O besides the one socket; no logging.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, cast

import httptools

from relay_contract.errors import UpstreamError, UpstreamProtocolError, UpstreamTimeout
from relay_edge.deadlines import TICK_SECONDS, DeadlineWheel
from relay_edge.turn_writes import MOST_BYTES, TurnWrites

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 256
_FOREVER = float("inf")

DRAIN_BYTES = 64 * 1024
DRAIN_SECONDS = 1.0
"""What is left of an answer that its receiver wants no more of is read to its end when it is short, so that the
connection lives on; else the connection goes."""

_NO_BODY = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `first_byte` and `first_token` count from the request's last byte, `idle` between two reads, `total`
    over all. `first_token` is met by the receiver's `seen_content`."""

    connect: float
    first_byte: float
    idle: float
    total: float
    first_token: float = _FOREVER


@dataclass(slots=True)
class Head:
    """An answer's status and header lines; names as sent. `length` is None where the end shows otherwise."""

    status: int
    headers: list[tuple[bytes, bytes]]
    length: int | None
    ends_with_connection: bool  # no framing: whether the answer is whole cannot be known


class Receiver(Protocol):
    """Who takes an answer. Called from inside the loop's read callback: must not raise, must not block."""

    def on_start(self, connection: "UpstreamConnection") -> None:
        """The request leaves on this connection: `pause`, `resume`, `seen_content`, `limit`, `finish` and `close` are
        the receiver's to call."""

    def on_head(self, head: Head) -> bool:
        """True to have the body. False: it is discarded, and the exchange ends here."""

    def on_data(self, body: bytes, is_end: bool) -> None:
        """Content, maybe empty. The first call after `on_head` comes at once, so that a head never waits for a body."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an exchange has no whole answer. `is_unanswered`: the connection ended before a byte of one came. `is_stale`:
    and it was a kept one, so that the host may never have seen the request."""

    error: UpstreamError
    is_unanswered: bool = False
    is_stale: bool = False


class _State(IntEnum):
    IDLE = 0
    SENT = 1  # nothing of the answer came
    HEAD = 2
    BODY = 3
    DRAIN = 4  # nobody wants more of the answer, its rest is read and dropped
    CLOSED = 5


class UpstreamConnection(asyncio.Protocol):
    """Kept by `upstream_pool.Origin`, which is told with `released(connection, is_reusable)` after each exchange.

    Every exchange ends its future exactly once: None for a whole answer (or a refused one), else a Failure.
    """

    __slots__ = (
        "_answer_bytes",
        "_body",
        "_ended",
        "_first_byte",
        "_first_token",
        "_has_excess",
        "_head_bytes",
        "_headers",
        "_idle",
        "_is_complete",
        "_is_informational",
        "_keep_alive",
        "_max_answer_bytes",
        "_parser",
        "_receiver",
        "_released",
        "_state",
        "_total",
        "_total_of_all",
        "_unsent_bytes",
        "_until_close",
        "_wheel",
        "deadline",
        "exchanges",
        "holds_place",
        "is_paused",
        "transport",
        "writes",
    )  # fmt: skip

    def __init__(
        self,
        wheel: DeadlineWheel,
        writes: TurnWrites,
        released: Callable[["UpstreamConnection", bool], None],
        max_answer_bytes: int,
    ) -> None:
        self._wheel = wheel
        self.writes = writes
        self._released = released
        self._max_answer_bytes = max_answer_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._receiver: Receiver | None = None
        self._ended: asyncio.Future[Failure | None] | None = None
        self._state = _State.IDLE
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._is_complete = self._has_excess = self._keep_alive = self._is_informational = self._until_close = False
        self._head_bytes = self._answer_bytes = self._unsent_bytes = 0
        self._first_byte = self._first_token = self._idle = 0.0
        self._total = self._total_of_all = _FOREVER  # the first is the nearer one while content is waited for
        self.transport: asyncio.Transport | None = None
        self.deadline = _FOREVER
        self.exchanges = 0
        self.holds_place = False  # the pool's note: this connection counts against the origin's limit
        self.is_paused = False

    # --- the pool's side ---

    def is_usable(self) -> bool:
        """Whether an idle connection may take a request."""
        return self._state is _State.IDLE and self.transport is not None and not self.transport.is_closing()

    def start(
        self, request: bytes, receiver: Receiver, timeouts: Timeouts, loop: asyncio.AbstractEventLoop
    ) -> "asyncio.Future[Failure | None]":
        """Sends a request (head and body, whole) and hands its answer to the receiver. Only on a usable connection."""
        assert self.transport is not None
        self._receiver = receiver
        self._ended = ended = loop.create_future()
        self._state = _State.SENT
        self._headers = []
        self._is_complete = self._has_excess = self._keep_alive = self._is_informational = self._until_close = False
        self._head_bytes = self._answer_bytes = 0
        self._idle = timeouts.idle + TICK_SECONDS  # the wheel's clock may be one sweep behind
        self._first_byte = timeouts.first_byte + TICK_SECONDS
        self._first_token = timeouts.first_token + TICK_SECONDS
        now = self._wheel.now
        self._total_of_all = now + timeouts.total + TICK_SECONDS
        self._total = min(self._total_of_all, now + self._first_token)
        self.deadline = min(now + self._first_byte, self._total)
        self.exchanges += 1
        receiver.on_start(self)
        if len(request) <= MOST_BYTES:
            self.writes.write(self.transport, request)
            self._unsent_bytes = 0  # it leaves with this turn of the loop
        else:
            self.transport.write(request)
            self._unsent_bytes = self.transport.get_write_buffer_size()
        return ended

    def keep_idle(self, seconds: float) -> None:
        """Lies in the pool until it is used, closed by the host, or old."""
        self.deadline = self._wheel.now + seconds

    def cancel(self) -> None:
        """The caller is gone: the host sees the connection close at once, and the receiver hears nothing more."""
        self._receiver = None
        self._ended = None
        self.close()

    def close(self) -> None:
        """Closes without waiting for anything unsent. What has come of an answer is not the whole of it."""
        self._until_close = False
        if self.transport is not None:
            self.transport.abort()

    # --- the receiver's side ---

    def seen_content(self) -> None:
        """The first token is there: the deadline for it no longer counts."""
        self._total = self._total_of_all
        self._touch()

    def allow_idle(self, seconds: float) -> None:
        """From now on the host may be silent for so long between two reads."""
        self._idle = seconds + TICK_SECONDS
        self._touch()

    def limit(self, seconds: float) -> None:
        """From now on the answer has so long to come to its end."""
        self._total = min(self._total, self._wheel.now + seconds + TICK_SECONDS)
        self._touch()

    def finish(self) -> None:
        """The receiver has all that it wants: the exchange ends well, and what may still come is dropped."""
        if self._state is _State.BODY and self._receiver is not None:
            self._refuse()

    # --- back-pressure: the receiver's caller reads slower than the host writes ---

    def pause(self) -> None:
        """Stops reading. Until `resume`, the idle deadline runs against the caller."""
        if not self.is_paused and self.transport is not None and not self.transport.is_closing():
            self.is_paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Reads on."""
        if self.is_paused:
            self.is_paused = False
            self._touch()
            if self.transport is not None and not self.transport.is_closing():
                self.transport.resume_reading()

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own classes have its methods
        self._wheel.add(self)

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state is _State.IDLE:  # nobody asked: such bytes must not become the next request's answer
            self.close()
            return
        if state is _State.SENT:
            self._state = state = _State.HEAD
        if state is _State.HEAD:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._is_complete:  # after the end it only spoils the connection, never the answer
                self._fail(UpstreamProtocolError())
                return
            self._has_excess = True
        if self._state is not _State.HEAD:  # a head that drips gets no more time than one that is silent
            self._touch()
        self._deliver()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wheel.discard(self)
        was_fresh = self.exchanges <= 1
        state, self._state = self._state, _State.CLOSED
        self.transport = None
        if self._receiver is not None:
            if state is _State.BODY and self._until_close and exc is None:
                self._receiver.on_data(b"", True)
                self._end(None)
            else:
                text = "The upstream host closed the connection before its answer was whole."
                is_unanswered = state is _State.SENT
                self._end(Failure(UpstreamProtocolError(text), is_unanswered, is_unanswered and not was_fresh))
        self._released(self, False)

    def on_deadline(self) -> None:
        """The wheel's call: idle connections are reaped, exchanges time out."""
        if self._receiver is None:
            self.close()
            return
        if self._state is _State.SENT and self._is_still_sending():
            return
        self._fail(UpstreamTimeout())

    def _is_still_sending(self) -> bool:
        """A large body on a slow line: the first-byte deadline starts anew while bytes leave."""
        assert self.transport is not None
        unsent, before = self.transport.get_write_buffer_size(), self._unsent_bytes
        self._unsent_bytes = unsent
        now = self._wheel.now
        if unsent >= before or now >= self._total_of_all:
            return False
        self._total = min(self._total_of_all, now + self._first_token)
        self.deadline = min(now + self._first_byte, self._total)
        return True

    def _touch(self) -> None:
        self.deadline = min(self._wheel.now + self._idle, self._total)

    # --- httptools' side: only notes what it saw; nothing is called from inside the parser ---

    def on_message_begin(self) -> None:
        if self._is_complete:
            self._has_excess = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._state is _State.HEAD:  # not a trailer, not a second answer
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._state is not _State.HEAD:
            return
        if 100 <= self._parser.get_status_code() < 200:  # 100 Continue, 103 Early Hints: the answer is still to come
            self._is_informational = True
            self._headers = []
        else:
            self._state = _State.BODY

    def on_body(self, body: bytes) -> None:
        if not self._is_complete:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._is_informational:
            self._is_informational = False
            return
        if not self._is_complete:
            self._is_complete = True
            self._keep_alive = self._parser.should_keep_alive()  # later it says False

    # --- an answer on its way ---

    def _deliver(self) -> None:
        receiver = self._receiver
        if receiver is None:  # refused earlier
            self._drain()
            return
        if self._state is _State.HEAD:
            if self._head_bytes > MAX_HEAD_BYTES:
                self._fail(UpstreamProtocolError("The upstream host's answer has a head that is too large."))
            return
        if self._head_bytes:
            head = self._read_head()
            if head is None:
                self._fail(UpstreamProtocolError())
                return
            self._head_bytes = 0
            if not receiver.on_head(head):
                self._refuse()
                return
        body = self._body
        if len(body) == 1:
            content = body[0]
            body.clear()
        else:
            content = b"".join(body)
            body.clear()
        self._answer_bytes += len(content)
        if self._answer_bytes > self._max_answer_bytes:
            self._fail(UpstreamProtocolError("The upstream host's answer is larger than the relay passes on."))
            return
        is_complete = self._is_complete
        receiver.on_data(content, is_complete)
        if is_complete and self._receiver is receiver:
            self._end(None)
            self._give_back()

    def _read_head(self) -> Head | None:
        """None for framing that two readers could understand differently."""
        headers = self._headers
        if len(headers) > MAX_HEADERS or (self._head_bytes > MAX_HEAD_BYTES and _size(headers) > MAX_HEAD_BYTES):
            return None
        status = self._parser.get_status_code()
        if status < 200:  # informational ones never come here: what is left are 000 to 099
            return None
        length: int | None = None
        is_chunked = False
        for name, value in headers:
            size = len(name)
            if size == 14 and name.lower() == b"content-length":
                length = int(value) if value.isdigit() else None
            elif size == 17 and name.lower() == b"transfer-encoding":
                if value.strip().lower() != b"chunked":  # we asked for no other coding
                    return None
                is_chunked = True
        if status in _NO_BODY:
            length = 0
        self._until_close = length is None and not is_chunked and not self._is_complete
        return Head(status, headers, length, self._until_close)

    def _refuse(self) -> None:
        self._end(None)
        self._body.clear()
        self._state = _State.DRAIN
        self.deadline = self._wheel.now + DRAIN_SECONDS
        self._answer_bytes = 0
        self._drain()

    def _drain(self) -> None:
        self._answer_bytes += sum(map(len, self._body))
        self._body.clear()
        if self._is_complete:
            self._give_back()
        elif self._answer_bytes > DRAIN_BYTES:
            self.close()

    def _give_back(self) -> None:
        transport = self.transport
        if transport is None:
            return
        # An answer that came before the request was all sent leaves the rest of it in the way of the next one.
        is_reusable = self._keep_alive and not self._has_excess and not transport.get_write_buffer_size()
        self._state = _State.IDLE
        if self.is_paused:
            self.is_paused = False
            transport.resume_reading()
        if not is_reusable or transport.is_closing():
            self.close()
            return
        self._released(self, True)

    def _fail(self, error: UpstreamError) -> None:
        self._end(Failure(error))
        self.close()

    def _end(self, result: Failure | None) -> None:
        ended, self._ended, self._receiver = self._ended, None, None
        if ended is not None and not ended.done():
            ended.set_result(result)


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers)

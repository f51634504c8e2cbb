"""An event stream on its way to a caller of the same shape: its bytes stay as they are, and what they say is noted.

What it costs: 1.2 to 1.4 us for a piece that is one event, which is how hosts send them; pieces that hold several, or
parts of one, are put together first. The unit that passes or is held back is a whole event with its blank line, so a
caller never sees half of an event that is dropped later. What is held is bounded. Pure; no I/O.

A vendor's folder says what an event means (`_read`); this file knows server-sent events alone.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from relay_contract.errors import MalformedJson, UpstreamProtocolError
from relay_contract.usage import Usage
from relay_edge.protocols import canonical
from relay_edge.protocols.canonical import (
    Ended,
    Event,
    Failed,
    Finished,
    Pinged,
    RefusalDelta,
    Started,
    Stop,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    ToolStarted,
    UsageSeen,
)
from relay_edge.protocols.fields import decode_object
from relay_edge.protocols.sse import MAX_EVENT_BYTES, EventReader

MAX_HELD_BYTES = 1024 * 1024
"""Before the first content. Two events of a Responses stream repeat the caller's instructions and tools."""

MAX_MALFORMED = 1
"""A garbled event is dropped once; a second one says that the stream cannot be trusted."""

_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LONGEST_BLANK_LINE = 4
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MalformedJson, UpstreamProtocolError)


class StreamWatch(Protocol):
    """What others see of a watch. One for each try; `feed` until `has_ended` or `failed`, else `end` after the last."""

    def feed(self, data: bytes) -> bytes:
        """What may go to the caller of these bytes, mostly the same object. Nothing comes out before the first content,
        so that a stream which only greets and then fails can be tried elsewhere; nothing after `failed`, whose own
        event is withheld as well, since it may quote the host's key."""

    def end(self) -> bytes:
        """After the host's last byte: what is left of them, and what closes a stream that has finished but not ended.
        An event that is cut in two does not come out."""

    def see_whole(self, body: bytes) -> None:
        """A whole answer instead of a stream. Never raises: what cannot be read says nothing."""

    @property
    def has_content(self) -> bool:
        """The commit point was reached: text, thinking, a tool call, a refusal, or the end of an empty answer."""

    @property
    def has_finished(self) -> bool:
        """The model said why it stopped, in each choice that has begun."""

    @property
    def has_ended(self) -> bool:
        """The stream's own end mark was seen."""

    @property
    def failed(self) -> Failed | None:
        """The host reported an error, sent a second garbled event or one without an end, or ended having said
        nothing. `kind` is the host's own word, or ""."""

    @property
    def finish(self) -> str:
        """Why the model stopped, a `canonical.Stop` value; "" as long as that is not known."""

    @property
    def usage(self) -> Usage | None:
        """What the host said was used, so far. None: nothing. Zeros are zeros."""

    @property
    def delivered_characters(self) -> int:
        """Of text, thinking and arguments, in what came out."""


class EventWatch:
    """What the shapes share."""

    __slots__ = (
        "_has_calls", "_has_refused", "_held", "_held_bytes", "_is_over", "_malformed", "_max_event_bytes", "_rest",
        "_said", "delivered_characters", "failed", "finish", "has_content", "has_ended", "has_finished",
    )  # fmt: skip

    closing = b""
    """What ends a stream of this shape."""

    _read_usage: Callable[[Any], canonical.Usage]

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._rest = bytearray()  # of an event that has not ended
        self._held: list[bytes] | None = []  # events before the first content; None from then on
        self._held_bytes = 0
        self._said: canonical.Usage | None = None
        self._malformed = 0
        self._has_calls = self._has_refused = self._is_over = False
        self.has_content = self.has_finished = self.has_ended = False
        self.failed: Failed | None = None
        self.finish = ""
        self.delivered_characters = 0

    @property
    def usage(self) -> Usage | None:
        """What the host said."""
        return None if self._said is None else self._said.meters()

    def feed(self, data: bytes) -> bytes:
        """See StreamWatch."""
        if self._is_over:
            return b""
        if not self._rest and data.endswith(b"\n\n") and b"\r" not in data:
            line_end, last = data.find(b"\n"), len(data) - 2
            if line_end == last or data.find(b"\n", line_end + 1) == last:
                return self._take(data, line_end)
        return self._cut(data)

    def end(self) -> bytes:
        """See StreamWatch."""
        rest = bytes(self._rest)
        self._rest.clear()
        written = self._take_last(rest) if rest else b""
        if self.has_finished and not self.has_ended and self.failed is None:
            self.has_ended = self._is_over = True
            written += self.closing
        return written

    def see_whole(self, body: bytes) -> None:
        """A whole answer instead of a stream. Never raises: what cannot be read says nothing."""
        try:
            self._read_whole(body)
        except _UNREADABLE:
            with suppress(*_UNREADABLE):
                body = _SURROGATE.sub(rb"\\ufffd", body)
                self._said = self._read_usage(decode_object(body).get("usage"))
                self._read_loosely(body, b"")

    # --- bytes to events ---

    def _cut(self, data: bytes) -> bytes:
        """Several events, or parts."""
        rest = self._rest
        if rest:
            searched = max(0, len(rest) - _LONGEST_BLANK_LINE + 1)
            rest += data
            if not _has_event(rest, searched):
                self._check_size(len(rest))
                return b""
            data = bytes(rest)
            rest.clear()
        events, left = _split(data)
        written = [
            self._take(event, -1 if b"\r" in event else event.find(b"\n")) for event in events if not self._is_over
        ]
        if not self._is_over:
            rest += left
            self._check_size(len(rest))
        return written[0] if len(written) == 1 else b"".join(written)

    def _check_size(self, length: int) -> None:
        if length > self._max_event_bytes:
            self._fail(Failed("", "The stream has an event without an end."))

    def _take(self, event: bytes, line_end: int) -> bytes:
        """What may go out of one whole event. `line_end`: of its first line; -1 where there may be a CR."""
        if len(event) > self._max_event_bytes:
            self._check_size(len(event))
            return b""
        last, start, name = len(event) - 2, 0, b""
        if last != line_end > 0 and event.startswith(b"event: "):
            start, name = line_end + 1, event[7:line_end]
            line_end = event.find(b"\n", start)
        if line_end == last and event.startswith(b"data: ", start):
            payload = event[start + 6 : last]
        else:
            found = _read_event(event)
            if found is None:
                return self._pass(event)
            name, payload = found
        try:
            keeps = self._read(payload, name)
        except _UNREADABLE:
            keeps = self._read_again(payload, name)
        if not keeps or self.failed is not None:
            return b""
        return event if self._held is None else self._pass(event)

    def _take_last(self, rest: bytes) -> bytes:
        """An event without its blank line. The standard drops it; hosts that end a stream so are common."""
        if _read_event(rest) is None:
            return b""
        self._malformed = -1  # that it is cut off speaks against nobody
        return self._take(rest + (b"\n" if rest.endswith(b"\n") else b"\n\n"), -1)

    def _pass(self, event: bytes) -> bytes:
        """Holds back what comes before the first content."""
        if self._held is None:
            return event
        self._held.append(event)
        self._held_bytes += len(event)
        if not self.has_content and self._held_bytes <= MAX_HELD_BYTES:
            return b""
        held, self._held = self._held, None
        return held[0] if len(held) == 1 else b"".join(held)

    # --- events to meaning ---

    def _read(self, payload: bytes, name: bytes) -> bool:
        """Notes what an event says; whether it goes to the caller. Raises one of _UNREADABLE for what is not known."""
        raise NotImplementedError

    def _read_whole(self, body: bytes) -> None:
        """Notes what a whole answer says. Raises one of _UNREADABLE."""
        self._read(body, b"")

    def _read_loosely(self, payload: bytes, name: bytes) -> bool:
        """The same for a document that nearly has the shape; slow, and rare."""
        return self._read(payload, name)

    def _read_again(self, payload: bytes, name: bytes) -> bool:
        """Half a surrogate pair is JSON, but not to our decoder: hosts cut an emoji in two."""
        try:
            return self._read_loosely(_SURROGATE.sub(rb"\\ufffd", payload), name)
        except _UNREADABLE:
            self._malformed += 1
            if self._malformed > MAX_MALFORMED:
                self._fail(Failed("", "The stream is garbled."))
            return False

    def _see(self, events: list[Event]) -> None:
        """Notes what a reader of the translation made of an event."""
        for event in events:
            match event:
                case TextDelta(text) | ThinkingDelta(text) | ToolDelta(_, text):
                    self._deliver(text)
                case RefusalDelta(text):
                    self._has_refused = True
                    self._deliver(text)
                case Started(_, usage) | UsageSeen(usage):
                    self._note_usage(usage)
                case Finished(stop):
                    self._finish(Stop.TOOL_USE if self._has_calls and stop is Stop.END else stop)
                case Failed():
                    self._fail(event)
                case Ended():
                    self._end_mark()
                case Pinged():
                    pass
                case _:
                    self._has_calls = self._has_calls or isinstance(event, ToolStarted)
                    self.has_content = True

    def _note_usage(self, usage: canonical.Usage) -> None:
        """Totals so far: they replace what was said before, and are never added to it."""
        self._said = usage if self._said is None else self._said.updated(usage)

    def _deliver(self, text: str) -> None:
        self.has_content = True
        self.delivered_characters += len(text)

    def _finish(self, stop: Stop) -> None:
        self.has_content = self.has_finished = True
        self.finish = self.finish or stop.value

    def _end_mark(self) -> None:
        if not self.has_content:
            self._fail(Failed("", "The stream ended without an answer."))
            return
        self.has_ended = self._is_over = True

    def _fail(self, failed: Failed) -> None:
        self.failed = failed
        self._is_over = True
        self._held = None
        self._rest.clear()


def _has_event(buffer: bytearray, start: int) -> bool:
    if buffer.find(b"\r", start) < 0:
        return buffer.find(b"\n\n", start) >= 0
    end = _BLANK_LINE.search(buffer, start)
    return end is not None and not _may_go_on(buffer, end)


def _split(buffer: bytes) -> tuple[list[bytes], bytes]:
    """Whole events with their blank lines, and the rest."""
    events: list[bytes] = []
    at = 0
    if b"\r" not in buffer:
        while (end := buffer.find(b"\n\n", at)) >= 0:
            events.append(buffer[at : end + 2])
            at = end + 2
    else:
        for found in _BLANK_LINE.finditer(buffer):
            if _may_go_on(buffer, found):
                break
            events.append(buffer[at : found.end()])
            at = found.end()
    return events, buffer[at:]


def _may_go_on(buffer: bytes | bytearray, end: re.Match[bytes]) -> bool:
    """Whether a CR is the last byte there is, so that its LF may be in the next piece."""
    return end.end() == len(buffer) and end.group().endswith(b"\r")


def _read_event(event: bytes) -> tuple[bytes, bytes] | None:
    """Name and data; None where there is no data, as in a comment."""
    reader = EventReader(len(event))
    for found in (*reader.feed(event), *reader.end()):
        return found.name.encode(), found.data
    return None

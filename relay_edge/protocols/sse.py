"""Server-sent events, read and written (html.spec.whatwg.org/multipage/server-sent-events.html, 9.2.5 and 9.2.6).

The reader takes bytes in pieces of any size: a line may end with LF, CR or CRLF, an event may hold several `data`
lines, a character may be cut in two. What it holds is bounded. No I/O.
"""

import re
from dataclasses import dataclass

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""An event may carry an image; a host that never ends one must not fill our memory."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class EventTooLargeError(ValueError):
    """An event is larger than the reader takes."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event. `name` is "" where none was sent; `data` has its lines joined by LF."""

    name: str
    data: bytes


class EventReader:
    """Bytes in, events out. `id` and `retry` fields are no concern of a relay and are ignored."""

    __slots__ = ("_data", "_held_bytes", "_is_start", "_max_bytes", "_name", "_rest")

    def __init__(self, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._rest: list[bytes] = []  # pieces of a line that has not ended
        self._held_bytes = 0  # in `_rest` and `_data`
        self._data: list[bytes] = []
        self._name = b""
        self._is_start = True

    def feed(self, piece: bytes) -> list[ServerSentEvent]:
        """The events that this piece completes. Raises EventTooLargeError."""
        if not piece:
            return []
        self._held_bytes += len(piece)
        if b"\n" not in piece and b"\r" not in piece and not (self._rest and self._rest[-1].endswith(b"\r")):
            self._rest.append(piece)
            if self._held_bytes > self._max_bytes:
                raise EventTooLargeError
            return []
        buffer = b"".join((*self._rest, piece))
        events: list[ServerSentEvent] = []
        at = 0
        for end in _LINE_END.finditer(buffer):
            if end.group() == b"\r" and end.end() == len(buffer):
                break  # the LF may be in the next piece
            self._line(buffer[at : end.start()], events)
            at = end.end()
        self._rest = [buffer[at:]] if at < len(buffer) else []
        self._held_bytes = len(buffer) - at + sum(map(len, self._data))
        if self._held_bytes > self._max_bytes:
            raise EventTooLargeError
        return events

    def end(self) -> list[ServerSentEvent]:
        """What is left when the stream is over. The standard drops an event without its blank line; hosts that end a
        stream with one line too few are common, so a last event whose data line is whole is given."""
        events: list[ServerSentEvent] = []
        last = b"".join(self._rest)
        self._rest = []
        if last:
            self._line(last.removesuffix(b"\r"), events)
        self._line(b"", events)
        return events

    def _line(self, line: bytes, events: list[ServerSentEvent]) -> None:
        if self._is_start:
            self._is_start = False
            line = line.removeprefix(_BOM)
        if not line:
            if self._data:
                events.append(ServerSentEvent(self._name.decode("utf-8", "replace"), b"\n".join(self._data)))
                self._data = []
            self._name = b""
            return
        field, colon, value = line.partition(b":")
        if colon and value.startswith(b" "):
            value = value[1:]
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value


def data_event(data: bytes) -> bytes:
    """An event without a name; `data` is one line."""
    return b"data: %b\n\n" % data


def named_event(name: str, data: bytes) -> bytes:
    """An event with a name; `data` is one line."""
    return b"event: %b\ndata: %b\n\n" % (name.encode("ascii"), data)


def comment(text: str) -> bytes:
    """A line that readers skip, to keep a connection awake."""
    return b": %b\n\n" % text.encode("ascii")

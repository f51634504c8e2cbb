"""A stream that passes in its own shape, watched: where its content begins, what it used, whether it came to its end.

Whole events pass as their bytes; what is held back is bounded by the event reader's limit. No I/O.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from relay_contract.errors import UpstreamProtocolError
from relay_contract.nouns import WireShape
from relay_contract.usage import Usage
from relay_edge.protocols import canonical
from relay_edge.protocols.canonical import Event, Failed, Finished, Pinged, Started, UsageSeen
from relay_edge.protocols.metering import metered
from relay_edge.protocols.sse import MAX_EVENT_BYTES, EventReader, ServerSentEvent

if TYPE_CHECKING:
    from relay_edge.protocols.translation import EventsReader

_EVENT_END = re.compile(rb"(?:\r\n|\n|\r)(?:\r\n|\n|\r)")
_json = msgspec.json.Decoder(dict[str, msgspec.Raw])


class StreamWatch(Protocol):
    """One attempt's stream."""

    has_content: bool  # the commit point has been reached
    has_finished: bool  # the model said why it stopped
    has_ended: bool  # the stream's own end mark was seen
    failed: Failed | None  # an error event, or a second malformed one
    finish: str  # canonical.Stop, or ""

    @property
    def usage(self) -> Usage | None:
        """What was used so far; None where the host did not say."""

    def feed(self, data: bytes) -> bytes:
        """What may go to the caller of these bytes. Before the first content nothing does."""

    def end(self) -> bytes:
        """After the host's last byte: what is left of them, and what closes a stream that has finished but not
        ended."""


class EventsWatch:
    """Reads each event with the shape's own reader."""

    def __init__(
        self, new_reader: "Callable[[], EventsReader]", last_event: bytes, ending: bytes, hides_usage: bool
    ) -> None:
        """`last_event`: what stands in the end mark; `ending`: the end mark itself. `hides_usage`: the caller did not
        ask for the usage event."""
        self._reader = new_reader()
        self._last_event = last_event
        self._ending = ending
        self._hides_usage = hides_usage
        self._events = EventReader()
        self._held = b""
        self._rest = b""
        self._malformed = 0
        self._said = canonical.Usage()
        self.has_content = self.has_finished = self.has_ended = False
        self.failed: Failed | None = None
        self.finish = ""

    @property
    def usage(self) -> Usage | None:
        """What was used so far."""
        return metered(self._said)

    def feed(self, data: bytes) -> bytes:
        """The whole events among these bytes and what was held, without what is malformed."""
        buffer = self._rest + data
        passed, at = [], 0
        for end in _EVENT_END.finditer(buffer):
            raw = buffer[at : end.end()]
            at = end.end()
            if self.failed is None and not self.has_ended and self._takes(raw):
                passed.append(raw)
        self._rest = buffer[at:]
        if len(self._rest) + len(self._held) > MAX_EVENT_BYTES:
            self.failed = Failed("", "an event without an end")
        found = b"".join(passed)
        if not self.has_content and not self.has_ended:
            self._held += found
            return b""
        if self._held:
            found, self._held = self._held + found, b""
        return found

    def end(self) -> bytes:
        """A last event without its blank line, and what closes a stream that has finished."""
        rest, self._rest = self._rest, b""
        written = self.feed(rest + b"\n\n") if rest else b""
        if self.has_finished and not self.has_ended and self.failed is None:
            self.has_ended = True
            written += self._ending
        return written

    def _takes(self, raw: bytes) -> bool:
        return all(list(map(self._is_to_pass, self._events.feed(raw))))

    def _is_to_pass(self, event: ServerSentEvent) -> bool:
        if self._last_event in event.data:
            self.has_ended = True
            return True
        try:
            _json.decode(event.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._malformed += 1
            if self._malformed > 1:
                self.failed = Failed("", "garbled")
            return False
        try:
            events = self._reader.feed(event)
        except UpstreamProtocolError as error:
            self.failed = Failed("", error.public_text)
            return False
        keeps = all(list(map(self._notes, events))) or not self._hides_usage
        return keeps and self.failed is None

    def _notes(self, event: Event) -> bool:
        match event:
            case Failed():
                self.failed = event
            case Finished(stop):
                self.finish, self.has_finished, self.has_content = stop.value, True, True
            case UsageSeen(usage) | Started(_, usage):
                self._said = self._said.updated(usage)
                return not isinstance(event, UsageSeen)
            case Pinged():
                pass
            case _:
                self.has_content = True
        return True


def usage_of_body(shape: WireShape, body: bytes) -> tuple[Usage | None, str]:
    """Usage and finish of a whole JSON answer; (None, "") for what is none."""
    from relay_edge.protocols.translation import CODECS  # noqa: PLC0415  # it imports the surfaces, which import this

    try:
        answer = CODECS[shape].read_answer(body)
    except UpstreamProtocolError:
        return None, ""
    return metered(answer.usage), answer.stop.value

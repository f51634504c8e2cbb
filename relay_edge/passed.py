"""An upstream answer in the caller's own shape, on its way to the caller as its own bytes.

| answer | leaves |
|---|---|
| a stream | with its first content; what came before it (greetings, pings) leaves in the same write |
| JSON | whole, so that a cut one can still be tried elsewhere; past HELD_BYTES as it comes |
| anything else | with its first byte |
"""

from collections.abc import Callable

from relay_contract.errors import UpstreamProtocolError
from relay_edge.host_answer import ENDING_SECONDS, EVENT_STREAM, HostAnswer, content_type_of
from relay_edge.protocols.event_watch import StreamWatch
from relay_edge.protocols.watch import usage_of_body
from relay_edge.streaming import CallerStream
from relay_edge.upstream import Head

HELD_BYTES = 256 * 1024
MAX_READ_BYTES = 2 * 1024 * 1024
TAIL_BYTES = 4_096
"""Of a larger JSON answer (images, many embeddings) only the end is read: usage is known where it stands last there."""


class PassedAnswer(HostAnswer):
    """Receives one try's answer."""

    __slots__ = ("_body", "_hides_usage", "_is_ending", "_is_held", "_size", "_tail", "_watch", "_watching")

    def __init__(
        self,
        stream: CallerStream,
        host_lines: bytes,
        watching: Callable[[bool], StreamWatch],
        *,
        hides_usage: bool = False,
    ) -> None:
        """`watching`: as in `Surface.watch`. `hides_usage`: the caller's stream is not to have the usage that the relay
        asked the host for."""
        super().__init__(stream, host_lines)
        self._watching = watching
        self._hides_usage = hides_usage
        self._watch: StreamWatch | None = None
        self._body: list[bytes] | None = None  # of a JSON answer that is read
        self._size = 0
        self._tail = b""
        self._is_held = self._is_ending = False

    def read_usage(self) -> None:
        """Takes over what the host has told so far."""
        if self._watch is not None:
            self.usage, self.finish = self._watch.usage, self._watch.finish
            self.delivered_characters = self._watch.delivered_characters

    def _accepts(self, head: Head) -> bool:
        content_type = content_type_of(head)
        if content_type.startswith(EVENT_STREAM):
            self._watch = self._watching(self._hides_usage)
            head.length = None  # the watch may leave something out
        elif content_type.startswith(b"application/json"):
            self._body, self._is_held = [], True
        if self._stream.begin(head, self._host_lines):
            return True
        self._fail(UpstreamProtocolError())
        return False

    def _take(self, body: bytes, is_end: bool) -> None:
        if self._watch is not None:
            self._take_events(self._watch, body, is_end)
        elif self._body is not None:
            self._take_json(self._body, body, is_end)
        elif body or is_end:
            self._stream.write(body, is_end)
            self._is_done = is_end
            if self.first_token is None:
                self._saw_content()

    def _take_events(self, watch: StreamWatch, body: bytes, is_end: bool) -> None:
        """Raises UpstreamProtocolError for a stream that stops before its end."""
        passed = watch.feed(body)
        if is_end and not watch.has_ended and watch.failed is None:
            passed += watch.end()
        if self.first_token is None and watch.has_content:
            self._saw_content()
        if watch.has_ended:
            self._stream.write(passed, True)
            self._finish()
        elif watch.failed is not None:
            self._pass_late(passed)
            self._fail_as(watch.failed)
        elif is_end:
            self._pass_late(passed)
            raise UpstreamProtocolError("The upstream host's stream ended without its last event.")
        else:
            if passed:
                self._stream.write(passed, False)
            if watch.has_finished and not self._is_ending:
                self._is_ending = True
                if self._connection is not None:
                    self._connection.limit(ENDING_SECONDS)

    def _pass_late(self, passed: bytes) -> None:
        """What came in the same read as the fault: only where the caller has something already."""
        if passed and self._stream.has_started:
            self._stream.write(passed, False)

    def _take_json(self, gathered: list[bytes], body: bytes, is_end: bool) -> None:
        self._size += len(body)
        gathered.append(body)
        if is_end:
            whole = b"".join(gathered)
            if 200 <= self.status < 300:
                self._read_whole(whole)
                self._tell_charge()
            self._stream.write(whole if self._is_held else body, True)
            self._is_done = True
        elif not self._is_held:
            self._stream.write(body, False)
        elif self._size > HELD_BYTES:
            self._is_held = False
            self._stream.write(b"".join(gathered), False)
        if self.first_token is None and (is_end or not self._is_held):
            self._saw_content()
        if self._size > MAX_READ_BYTES:
            self._tail = b"".join(gathered)[-TAIL_BYTES:]
            gathered[:] = [self._tail]

    def _read_whole(self, body: bytes) -> None:
        if self._tail:  # the beginning is gone
            start = body.rfind(b'"usage"')
            body = b"{" + body[start:] if start >= 0 else b""
        self.usage, self.finish = usage_of_body(self._watching, body)

    def _close(self) -> bool:
        if self._watch is not None and self._watch.has_finished:
            self._take_events(self._watch, b"", True)
        return self._is_done

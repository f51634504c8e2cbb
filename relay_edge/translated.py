"""An upstream answer in another shape than the caller's, on its way to the caller.

Hands the caller's stream what the translation makes of the answer, also inside the read callback; framing,
back-pressure and the cut of a broken stream stay where they are. The head waits for the first content, so a stream that
fails before it can still be tried elsewhere.
"""

from relay_contract.errors import UpstreamProtocolError
from relay_edge.host_answer import ENDING_SECONDS, EVENT_STREAM, HostAnswer, content_type_of
from relay_edge.protocols.translation import StreamTranslation, Translation
from relay_edge.streaming import CallerStream
from relay_edge.upstream import Head

_STREAMED = b"text/event-stream; charset=utf-8"
_FIRST_REDIRECT = 300


class TranslatedAnswer(HostAnswer):
    """Receives one try's answer."""

    __slots__ = ("_body", "_is_ending", "_is_event_stream", "_is_head_out", "_translated", "_translation")

    def __init__(self, stream: CallerStream, host_lines: bytes, translation: Translation) -> None:
        super().__init__(stream, host_lines)
        self._translation = translation
        self._translated: StreamTranslation | None = None  # None: a whole answer is gathered
        self._body: list[bytes] = []  # the upstream connection bounds it
        self._is_event_stream = False  # of the host's answer
        self._is_ending = self._is_head_out = False

    def read_usage(self) -> None:
        """Takes over what the host has told so far."""
        said = self._translation if self._translated is None else self._translated
        self.usage, self.finish = None if said.usage is None else said.usage.meters(), said.finish
        self.delivered_characters = said.delivered_characters

    def _accepts(self, head: Head) -> bool:
        if not 200 <= head.status < _FIRST_REDIRECT:
            self._fail(UpstreamProtocolError("The upstream host answered with something else than was asked for."))
            return False
        self._is_event_stream = content_type_of(head).startswith(EVENT_STREAM)
        if self._is_event_stream and self._translation.is_stream:
            self._translated = self._translation.stream()
        return True

    def _take(self, body: bytes, is_end: bool) -> None:
        if self._translated is not None:
            self._take_events(self._translated, body, is_end)
            return
        self._body.append(body)
        if is_end:
            whole = self._translation.whole(b"".join(self._body), is_event_stream=self._is_event_stream)
            self._saw_content()
            self._begin(_STREAMED if self._translation.is_stream else b"application/json")
            self._is_done = True
            if not self._translation.is_stream:
                self.read_usage()
                self._tell_charge()
            self._stream.write(whole, True)

    def _take_events(self, translated: StreamTranslation, body: bytes, is_end: bool) -> None:
        """Raises UpstreamProtocolError."""
        written = translated.feed(body)
        if is_end and translated.failed is None and not translated.has_ended:
            written += translated.end()
        if self.first_token is None and translated.has_content:
            self._saw_content()
        if (written or translated.has_ended) and (translated.failed is None or self._is_head_out):
            if not self._is_head_out:
                self._begin(_STREAMED)
                self._is_head_out = True
            self._stream.write(written, translated.has_ended)
        if translated.failed is not None:
            self._fail_as(translated.failed)
        elif translated.has_ended:
            self._finish()
        elif translated.can_end and not self._is_ending:
            self._is_ending = True
            if self._connection is not None:
                self._connection.limit(ENDING_SECONDS)

    def _close(self) -> bool:
        if self._translated is not None and self._translated.can_end:  # only the mark of the end is missing
            self._take_events(self._translated, b"", True)
        return self._is_done

    def _begin(self, content_type: bytes) -> None:
        """The caller's head. None of the host's own lines is about an answer in another shape."""
        lines = [(b"content-type", content_type)]
        if content_type is _STREAMED:
            lines.append((b"cache-control", b"no-cache"))
        self._stream.begin(Head(200, lines, None, False), self._host_lines + self._translation.notes.header_line())

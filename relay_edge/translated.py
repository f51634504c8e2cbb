"""An upstream answer in another shape than the caller's, on its way to the caller.

Takes the place of `CallerStream` at the upstream connection and hands it what the translation makes of the answer, also
inside the read callback; framing, back-pressure and the cut of a broken stream stay where they are. The head waits for
the first content, so a stream that fails before it can still be tried elsewhere.
"""

import logging
import math

from relay_contract.errors import InternalFault, RelayError, UpstreamError, UpstreamProtocolError
from relay_edge.protocols.translation import StreamTranslation, Translation
from relay_edge.streaming import CallerStream
from relay_edge.upstream import Failure, Head, UpstreamConnection

logger = logging.getLogger(__name__)

EVENT_STREAM = b"text/event-stream; charset=utf-8"
_FIRST_ERROR = 400
_KEPT = frozenset({b"retry-after", b"retry-after-ms"})


class TranslatedAnswer:
    """Receives one try's answer."""

    __slots__ = (
        "_body", "_connection", "_fault", "_head", "_host_lines", "_is_done", "_is_event_stream",
        "_is_head_out", "_stream", "_translated", "_translation",
    )  # fmt: skip

    def __init__(self, stream: CallerStream, translation: Translation, host_lines: bytes) -> None:
        self._stream = stream
        self._translation = translation
        self._host_lines = host_lines
        self._connection: UpstreamConnection | None = None
        self._head: Head | None = None
        self._translated: StreamTranslation | None = None  # None: a whole answer is gathered
        self._body: list[bytes] = []  # the upstream connection bounds it
        self._is_event_stream = False  # of the host's answer
        self._fault: RelayError | None = None
        self._is_done = self._is_head_out = False
        stream.next_try(host_lines)

    # --- Receiver ---

    def on_start(self, connection: UpstreamConnection) -> None:
        """The connection to slow down when the caller reads slowly."""
        self._connection = connection
        self._stream.on_start(connection)

    def on_head(self, head: Head) -> bool:
        """Decides how the body is to be read."""
        status = head.status
        if status > _FIRST_ERROR and self._stream.refuses(status):
            self._stream.refused_status = status
            return False
        is_stream = any(
            len(name) == 12 and name.lower() == b"content-type" and value[:17].lower() == b"text/event-stream"
            for name, value in head.headers
        )
        if status < 200 or 300 <= status < _FIRST_ERROR:
            self._stream.refused_status = 502
            return False
        if is_stream and self._translation.is_stream and status < _FIRST_ERROR:
            self._translated = self._translation.stream()
        self._is_event_stream = is_stream
        self._head = head
        return True

    def on_data(self, body: bytes, is_end: bool) -> None:
        """Translates, and passes on what came of it."""
        if self._fault is not None or self._is_done:
            return
        try:
            if self._translated is None:
                self._body.append(body)
                if is_end:
                    self._whole(b"".join(self._body))
            else:
                self._part(self._translated, body, is_end)
        except RelayError as error:
            self._fail(error)
        except Exception:
            logger.exception("translation_failed")
            self._fail(InternalFault())

    # --- the call's side ---

    def settle(self, failure: Failure | None) -> Failure | None:
        """What the exchange came to: None for an answer that is whole in the caller's shape, or was refused."""
        if self._fault is not None:
            error = self._fault if isinstance(self._fault, UpstreamError) else UpstreamProtocolError()
            return Failure(error)
        if failure is None or self._is_done:
            return None
        if self._translated is not None and self._translated.can_end:  # only the mark of the end is missing
            return None if self._end() else failure
        return failure

    def _end(self) -> bool:
        self.on_data(b"", True)
        return self._is_done

    def _whole(self, body: bytes) -> None:
        assert self._head is not None
        status, content_type = self._head.status, b"application/json"
        if status >= _FIRST_ERROR:
            status, body = self._translation.refusal(status, body, self._stream.request_id)
            if status > _FIRST_ERROR and self._stream.refuses(status):  # the host said it with another status
                self._stream.refused_status = status
                return
        else:
            body = self._translation.whole(body, is_event_stream=self._is_event_stream)
            if self._translation.is_stream:
                content_type = EVENT_STREAM
        self._send_head(status, content_type)
        self._is_done = True
        self._stream.on_data(body, True)

    def _part(self, translated: StreamTranslation, body: bytes, is_end: bool) -> None:
        written = translated.feed(body)
        if is_end and translated.failed is None and not translated.has_ended:
            written += translated.end()
        if written and (translated.failed is None or self._is_head_out):
            if not self._is_head_out:
                self._send_head(200, EVENT_STREAM)
            self._is_done = translated.has_ended
            self._stream.on_data(written, self._is_done)
        if translated.failed is not None:
            self._fail(UpstreamProtocolError(_failed_text(translated.failed.kind)))

    def _send_head(self, status: int, content_type: bytes) -> None:
        """The caller's head: of the host's own lines only those that are about this answer in any shape."""
        assert self._head is not None
        lines = [(name, value) for name, value in self._head.headers if name.lower() in _KEPT]
        if (seconds := self._translation.retry_after_seconds) is not None and not lines:
            lines.append((b"retry-after", b"%d" % math.ceil(seconds)))
        lines.append((b"content-type", content_type))
        if content_type is EVENT_STREAM:
            lines.append((b"cache-control", b"no-cache"))
        self._stream.next_try(self._host_lines + self._translation.notes.header_line())
        self._stream.on_head(Head(status, lines, None, False))
        self._is_head_out = True

    def _fail(self, fault: RelayError) -> None:
        self._fault = fault
        if self._connection is not None:
            self._connection.close()


def _failed_text(kind: str) -> str:
    """The host's own word for its error, when it is one word; its message may quote anything."""
    word = kind if 0 < len(kind) <= 64 and kind.isascii() and kind.replace("_", "").isalnum() else "an error"
    return f"The upstream host reported {word} in its stream."

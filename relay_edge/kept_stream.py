"""The caller's side of an answer to a call with an Idempotency-Key: held until it is whole, so that it is kept before
the caller has a byte of it. What is no answer to keep passes as it comes, and `x-relay-warnings` says so.
"""

from aiohttp import web

from relay_edge.capture import Capture
from relay_edge.held_stream import HeldStream
from relay_edge.kept_answer import KeptAnswer, is_final, kept_lines
from relay_edge.protocols import Surface
from relay_edge.protocols.notes import HEADER
from relay_edge.streaming import CallerStream
from relay_edge.upstream import Head

IGNORED = b"ignored:idempotency-key"
"""The call is a stream, which is not kept."""
NOT_KEPT = b"not_kept:idempotency-key"
"""The answer is too large, or Redis did not take it: the same call sent again is made again."""

_WARNINGS = f"\r\n{HEADER}: ".encode("ascii")


def warned(head: bytes, note: bytes) -> bytes:
    """Rendered header lines with one more note, in the line that is there or in a new one."""
    start = head.find(_WARNINGS)
    if start < 0:
        return b"%b%b%b\r\n" % (head, _WARNINGS[2:], note)
    end = head.index(b"\r\n", start + 2)
    return b"%b, %b%b" % (head[:end], note, head[end:])


class UnkeptStream(HeldStream):
    """Keeps nothing, and says that the key was ignored."""

    __slots__ = ()

    def begin(self, head: Head, further_lines: bytes) -> bool:
        """See CallerStream."""
        begins = super().begin(head, further_lines)
        if self._pending:  # else a ping has sent a head, and what follows is content
            self._pending = warned(self._pending, IGNORED)
        return begins


class KeptStream(CallerStream):
    """Holds up to `max_bytes`. `answer` is what may be kept, `release` lets it go."""

    __slots__ = ("_held", "_held_bytes", "_is_complete", "_is_held", "_max_bytes", "is_too_large")

    def __init__(
        self,
        request: web.BaseRequest,
        surface: Surface,
        request_id: str,
        capture: Capture | None,
        max_bytes: int,
    ) -> None:
        super().__init__(request, surface, request_id, capture)
        self._max_bytes = max_bytes
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._is_held = True
        self._is_complete = False
        self.is_too_large = False
        """Or an event stream: it passed, and cannot be kept."""

    def begin(self, head: Head, further_lines: bytes) -> bool:
        """See CallerStream. What was held of a try that failed is forgotten."""
        begins = super().begin(head, further_lines)
        self._held, self._held_bytes, self._is_complete, self._is_held = [], 0, False, True
        self.is_too_large = self._is_event_stream or (head.length or 0) > self._max_bytes
        if self.is_too_large:
            self._pass()
        return begins

    def write(self, body: bytes, is_end: bool) -> None:
        """See CallerStream."""
        if not self._is_held:
            super().write(body, is_end)
            return
        self._held.append(body)
        self._held_bytes += len(body)
        if self._held_bytes <= self._max_bytes:
            self._is_complete = is_end
            return
        self.is_too_large = True
        self._pass()
        super().write(self._taken(), is_end)

    def answer(self) -> KeptAnswer | None:
        """The whole answer, held back; None where there is none, or none that is to be kept."""
        if not (self._is_held and self._is_complete and is_final(self.status)):
            return None
        return KeptAnswer(self.status, kept_lines(self._pending), self.request_id, b"".join(self._held))

    def release(self, *, is_kept: bool) -> web.StreamResponse:
        """Sends what was held, and returns what the handler returns."""
        if self._is_held and self._is_complete:
            if is_kept or not is_final(self.status):
                self._is_held = False
            else:
                self._pass()
            super().write(self._taken(), True)
        return self.finish()

    def _may_gather(self, data: bytes) -> bool:  # noqa: ARG002
        """The handler writes it and returns at once, so its connection may be closed before the turn ends."""
        return False

    def _pass(self) -> None:
        self._is_held = False
        self._pending = warned(self._pending, NOT_KEPT)

    def _taken(self) -> bytes:
        taken = b"".join(self._held)
        self._held = []
        return taken

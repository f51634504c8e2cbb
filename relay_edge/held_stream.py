"""A stream whose content is held for a while, so that one which breaks in that time still goes to another key, host or
model and the caller has nothing of the broken one.

No timer: the first piece that comes late enough takes along what was held, so a stream that falls silent stays held,
and is left after IMPATIENT_SECONDS while somebody else could be tried. Pings pass.
"""

import time
from dataclasses import replace

from aiohttp import web

from relay_edge.call_record import CallRecord
from relay_edge.capture import Capture
from relay_edge.destinations import IMPATIENT_SECONDS
from relay_edge.streaming import CallerStream, StreamShape
from relay_edge.upstream import Head, Timeouts, UpstreamConnection

MAX_HELD_BYTES = 1_048_576
"""What a stream holds at most; with more than that it is let go."""


def stream_of(request: web.BaseRequest, shape: StreamShape, record: CallRecord, *, is_stream: bool) -> CallerStream:
    """What takes a call's answer. `is_stream`: whether the caller asked for one."""
    hold_seconds = hold_seconds_of(record) if is_stream else 0
    if hold_seconds:
        return HeldStream(request, shape, record.request_id, record.capture, hold_seconds)
    return CallerStream(request, shape, record.request_id, record.capture)


def hold_seconds_of(record: CallRecord) -> int:
    """What the policy of the call's key says."""
    return 0 if record.policy is None else record.policy.hold_seconds


class HeldStream(CallerStream):
    """Holds what comes within `hold_seconds` of the first content; 0: nothing."""

    __slots__ = ("_held", "_held_bytes", "_hold_seconds", "_idle", "_is_holding", "_next_idle", "_until")

    def __init__(
        self,
        request: web.BaseRequest,
        shape: StreamShape,
        request_id: str,
        capture: Capture | None,
        hold_seconds: int,
    ) -> None:
        super().__init__(request, shape, request_id, capture)
        self._hold_seconds = hold_seconds
        self._is_holding = hold_seconds > 0
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._until = 0.0
        self._idle = self._next_idle = 0.0  # the host's own, where a try has less; 0: it has its own

    def impatient(self, timeouts: Timeouts) -> Timeouts:
        """See CallerStream."""
        if not self._is_holding:
            return timeouts
        self._next_idle = timeouts.idle
        return replace(timeouts, idle=min(timeouts.idle, IMPATIENT_SECONDS))

    def on_start(self, connection: UpstreamConnection) -> None:
        """See CallerStream."""
        super().on_start(connection)
        self._idle, self._next_idle = self._next_idle, 0.0

    def begin(self, head: Head, further_lines: bytes) -> bool:
        """See CallerStream. What was held of a try that failed is forgotten."""
        self._held, self._held_bytes = [], 0
        return super().begin(head, further_lines)

    def write(self, body: bytes, is_end: bool) -> None:
        """See CallerStream."""
        if not self._is_holding:
            super().write(body, is_end)
            return
        now = time.monotonic()
        if not self._held:
            self._until = now + self._hold_seconds
        self._held.append(body)
        self._held_bytes += len(body)
        if is_end or now >= self._until or self._held_bytes > MAX_HELD_BYTES:
            self._let_go(is_end)

    def _let_go(self, is_end: bool) -> None:
        self._is_holding = False
        if self._idle and self._connection is not None:
            self._connection.allow_idle(self._idle)
        held, self._held = b"".join(self._held), []
        super().write(held, is_end)

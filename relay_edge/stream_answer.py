"""A stream target's answer on its way to the caller: as it comes, up to what the target may send, and how it ended.

Bytes pass as they are, each read of the target's connection in one write to the caller's; nothing is parsed. Only where
the target was shown a credential that it may quote, text is looked through for it. Called from inside the connection's
read callback.
"""

import time
from dataclasses import replace
from http import HTTPStatus
from typing import cast

from aiohttp import web

from relay_contract.errors import (
    AddressForbidden,
    TargetFailed,
    UpstreamConnectError,
    UpstreamError,
    UpstreamTimeout,
)
from relay_contract.quoted import Passing, Quotes, is_text
from relay_contract.traffic import CloseReason
from relay_edge.door import CallerConnection
from relay_edge.streaming import CallerStream
from relay_edge.upstream import Failure, Head, UpstreamConnection

FIRST_REFUSAL = 400


_TEXTS = {
    CloseReason.TARGET_CUT: "The target ended its answer before it was whole, or gave none that is HTTP.",
    CloseReason.TARGET_TIMEOUT: "The target did not answer in time.",
    CloseReason.IDLE_TIMEOUT: "The target sent nothing for longer than it may.",
    CloseReason.TOTAL_TIMEOUT: "The stream took longer than it may.",
    CloseReason.BYTE_CAP: "The target's answer is larger than the relay passes on.",
    CloseReason.UNREACHABLE: "The target could not be reached.",
    CloseReason.ADDRESS_REFUSED: "The target's name leads to an address that the relay does not call.",
}


class StreamAnswer:
    """Receives one answer. Made for one exchange."""

    __slots__ = (
        "_connection", "_is_of_head", "_lines", "_max_bytes", "_passing", "_paused_bytes", "_request", "_stream",
        "_transport", "first_byte", "holds_refusal", "is_held", "is_sent", "quotes", "reason", "status",
    )  # fmt: skip

    def __init__(
        self, request: web.BaseRequest, stream: CallerStream, lines: bytes, max_bytes: int, quotes: Quotes | None
    ) -> None:
        """`lines`: header lines of ours. `max_bytes` of the body reach the caller at most."""
        self._request = request
        self._transport = request.transport
        self._stream = stream
        self._lines = lines
        self._max_bytes = max_bytes
        self._is_of_head = request.method == "HEAD"
        self._connection: UpstreamConnection | None = None
        self._paused_bytes = 0
        self._passing: Passing | None = None
        self.quotes = quotes
        """What the target may quote of what it was shown; to be set anew with a token that was fetched."""
        self.is_sent = False
        """Whether the target may have seen the call."""
        self.status = 0
        """Of the target; 0 before its head came."""
        self.first_byte = 0.0
        """`time.monotonic()` of its head."""
        self.reason: CloseReason | None = None
        """Once it is known."""
        self.holds_refusal = False
        """To be set while a 401 would be an answer to our token rather than to the caller."""
        self.is_held = False
        """Such a 401 came: nothing of it was passed on."""

    # --- the target's side ---

    def on_start(self, connection: UpstreamConnection) -> None:
        """See Receiver."""
        self.is_sent = True
        self._connection = connection
        self._stream.on_start(connection)

    def on_head(self, head: Head) -> bool:
        """See Receiver."""
        if self.holds_refusal and head.status == HTTPStatus.UNAUTHORIZED:
            self.is_held = True
            return False
        self.status, self.first_byte = head.status, time.monotonic()
        if self.quotes is not None:
            self._passing = Passing(self.quotes) if is_text(head.headers) else None
            head = replace(head, headers=self.quotes.covered_lines(head.headers))
        if not self._is_of_head and head.length is not None and head.length > self._max_bytes:
            self.reason = CloseReason.BYTE_CAP  # told as an error: nothing of it was passed on
            return False
        if not self._stream.begin(head, self._lines):
            self.reason = CloseReason.TARGET_CUT
            return False
        if self._is_of_head:
            self._stream.write(b"", True)
            self._complete()
            return False
        return True

    def on_data(self, body: bytes, is_end: bool) -> None:
        """See Receiver."""
        if self._passing is not None:
            body = self._passing.next(body, is_end)
        left = self._max_bytes - self._stream.bytes_sent
        if len(body) > left:
            self.reason = CloseReason.BYTE_CAP
            self._stream.write(body[:left], False)
            if self._connection is not None:
                self._connection.close()
            return
        self._stream.write(body, is_end)
        if is_end:
            self._complete()
        elif self._stream.is_slow:
            self._paused_bytes = self._unsent()

    def _complete(self) -> None:
        self.reason = CloseReason.COMPLETE if self.status < FIRST_REFUSAL else CloseReason.REFUSED

    # --- the handler's side ---

    def settle(self, failure: Failure | None, seconds: float, total_seconds: float) -> UpstreamError | None:
        """Once the exchange has ended, after `seconds` of `total_seconds`: why the caller has no whole answer."""
        if self.reason is None:
            self.reason = self._reason_of(failure, seconds >= total_seconds)
        if self.reason in (CloseReason.COMPLETE, CloseReason.REFUSED):
            return None
        kind = UpstreamTimeout if self.reason is CloseReason.TARGET_TIMEOUT else TargetFailed
        return kind(_TEXTS[self.reason])

    def _reason_of(self, failure: Failure | None, is_late: bool) -> CloseReason:
        error = None if failure is None else failure.error
        if isinstance(error, AddressForbidden):
            return CloseReason.ADDRESS_REFUSED
        if not self.is_sent or isinstance(error, UpstreamConnectError):
            return CloseReason.UNREACHABLE
        if not isinstance(error, UpstreamTimeout):
            return CloseReason.TARGET_CUT
        if not self.status:
            return CloseReason.TARGET_TIMEOUT
        return CloseReason.TOTAL_TIMEOUT if is_late else CloseReason.IDLE_TIMEOUT

    def broken_off(self) -> None:
        """The handler was cancelled: by the caller who left, or by a process that ends while the caller still waits."""
        if self._stream.is_whole:  # in the very moment in which all was passed on
            return
        has_left = cast("CallerConnection", self._request.protocol).has_left
        self.reason = CloseReason.CALLER_LEFT if has_left else CloseReason.SHUTDOWN

    def bytes_out(self) -> int:
        """Of the body, as far as it left this process: all of a whole answer; of another no more than what the caller's
        connection took, and of a caller who left while their connection was full what it had taken by then."""
        sent = self._stream.bytes_sent
        return sent if self._stream.is_whole else max(0, sent - max(self._unsent(), self._lost()))

    def _unsent(self) -> int:
        transport = self._transport
        return 0 if transport is None else transport.get_write_buffer_size()

    def _lost(self) -> int:
        """What a connection that is gone had not taken when it was full: its own count went with it."""
        return self._paused_bytes if self._stream.is_slow else 0

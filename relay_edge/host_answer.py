"""One try's answer on its way, as far as it is the same in every shape: what came, and why it is none of the caller's.

An answer with an error status is gathered, never passed while it comes: what it means decides whether another host is
tried (`failures.py`). It is bounded in size and time. Called from inside the upstream connection's read callback.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from relay_contract.errors import InternalFault, RelayError, UpstreamError, UpstreamProtocolError
from relay_contract.traffic import FailureClass
from relay_contract.usage import Usage
from relay_edge.failures import classify_error, classify_event
from relay_edge.protocols.canonical import Failed
from relay_edge.streaming import CallerStream
from relay_edge.upstream import Failure, Head, UpstreamConnection

logger = logging.getLogger(__name__)

EVENT_STREAM = b"text/event-stream"
FIRST_ERROR = 400
MAX_REFUSAL_BYTES = 64 * 1024
REFUSAL_SECONDS = 3.0
"""An error that has not told its reason by then is known by its status alone."""

ENDING_SECONDS = 2.0
"""Once the model has said why it stopped, how long its usage and the end mark are waited for."""


@dataclass(slots=True)
class Refusal:
    """A host's answer with an error status. `is_whole` False: its body is too large, or did not come in time."""

    head: Head
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    is_whole: bool = False

    @property
    def body(self) -> bytes:
        """What came of it."""
        return b"".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a try has no answer for the caller. The error speaks of it in public."""

    error: UpstreamError
    failure: FailureClass


def content_type_of(head: Head) -> bytes:
    """In lower case, with its parameters; b"" where there is none."""
    for name, value in head.headers:
        if len(name) == 12 and name.lower() == b"content-type":
            return value.lower()
    return b""


class HostAnswer:
    """Receives one try's answer; `settle` is asked once the exchange is over."""

    __slots__ = (
        "_connection", "_fault", "_host_lines", "_is_done", "_stream", "charge_line", "delivered_characters", "finish",
        "first_byte", "first_token", "refusal", "status", "usage",
    )  # fmt: skip

    def __init__(self, stream: CallerStream, host_lines: bytes) -> None:
        """`host_lines`: `x-relay-*` header lines that say who answers."""
        self._stream = stream
        self._host_lines = host_lines
        self._connection: UpstreamConnection | None = None
        self._fault: Fault | None = None
        self._is_done = False  # the caller has a whole answer
        self.status = 0
        """The host's; 0 while there is none."""
        self.refusal: Refusal | None = None
        self.first_byte: float | None = None
        self.first_token: float | None = None
        self.usage: Usage | None = None
        self.charge_line: Callable[[Usage], bytes] | None = None
        """The header line of a whole answer that says what this usage is charged; b"" for none."""
        self.finish = ""
        self.delivered_characters = 0
        """Of text, thinking and arguments: what a stream is counted by that was cut before its usage came."""

    # --- Receiver ---

    def on_start(self, connection: UpstreamConnection) -> None:
        """The connection to slow down when the caller reads slowly."""
        self._connection = connection
        self._stream.on_start(connection)

    def on_head(self, head: Head) -> bool:
        """Decides how the body is to be read."""
        self.status = head.status
        self.first_byte = time.monotonic()
        if head.status < FIRST_ERROR:
            return self._accepts(head)
        self.refusal = Refusal(head)
        if self._connection is not None:
            self._connection.limit(REFUSAL_SECONDS)
        return True

    def on_data(self, body: bytes, is_end: bool) -> None:
        """Content, also while the caller's answer is not yet begun."""
        if self._fault is not None or self._is_done:
            return
        try:
            if self.refusal is not None:
                self._gather(self.refusal, body, is_end)
            else:
                self._take(body, is_end)
        except RelayError as error:
            self._fail(error)
        except Exception:
            logger.exception("answer_failed")
            self._fail(InternalFault())

    # --- a shape's side ---

    def _accepts(self, head: Head) -> bool:
        """Whether an answer without an error status can be read. False with `_fault` set otherwise."""
        raise NotImplementedError

    def _take(self, body: bytes, is_end: bool) -> None:
        """A piece of such an answer. Raises RelayError for one that cannot go on."""
        raise NotImplementedError

    def read_usage(self) -> None:
        """Takes over `usage`, `finish` and `delivered_characters` as far as the host has told."""
        raise NotImplementedError

    def _close(self) -> bool:
        """The host's bytes are over, without their mark: whether the caller's answer was made whole all the same."""
        raise NotImplementedError

    # --- the call's side ---

    def settle(self, failure: Failure | None) -> Fault | None:
        """What the exchange came to. None: the caller has a whole answer, or there is a `refusal`."""
        if failure is not None and self._fault is None and not self._is_done and self.refusal is None:
            self._break_off(failure)
        return self._fault

    def _break_off(self, failure: Failure) -> None:
        try:
            if self._close():
                return
        except RelayError as error:
            self._fail(error)
            return
        error_class = FailureClass.NETWORK if failure.is_unanswered else classify_error(failure.error)
        self._fault = Fault(failure.error, error_class)

    # --- both ---

    def _tell_charge(self) -> None:
        """Before a whole answer leaves whose usage is known."""
        if self.charge_line is not None and self.usage is not None:
            self._stream.add_line(self.charge_line(self.usage))

    def _saw_content(self) -> None:
        self.first_token = time.monotonic()
        if self._connection is not None:
            self._connection.seen_content()

    def _finish(self) -> None:
        """The caller has everything, and the host still holds the connection."""
        self._is_done = True
        if self._connection is not None:
            self._connection.finish()

    def _gather(self, refusal: Refusal, body: bytes, is_end: bool) -> None:
        refusal.size += len(body)
        if refusal.size > MAX_REFUSAL_BYTES:
            self._finish()
            return
        refusal.pieces.append(body)
        refusal.is_whole = self._is_done = is_end

    def _fail(self, error: RelayError, failure: FailureClass = FailureClass.SERVER) -> None:
        public = error if isinstance(error, UpstreamError) else UpstreamProtocolError()
        self._fault = Fault(public, failure)
        if self._connection is not None:
            self._connection.close()

    def _fail_as(self, failed: Failed) -> None:
        """The host's own word for its error, when it is one word; its message may quote anything."""
        kind = failed.kind
        word = kind if 0 < len(kind) <= 64 and kind.isascii() and kind.replace("_", "").isalnum() else "an error"
        self._fail(UpstreamProtocolError(f"The upstream host reported {word} in its stream."), classify_event(kind))

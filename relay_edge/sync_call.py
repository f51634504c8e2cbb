"""Calls that a sync target answers: committed like any other, sent once by a worker, answered with what it was given.

The wait begins before the commit, since a worker may be faster than we hear of it, and ends at the target's
`timeout_seconds` and GRACE_SECONDS for the way back. Whatever ends it, the delivery goes on without the caller and its
end is on record; what the caller got is a row of its own (`traffic.RequestEndRow`).
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol
from uuid import UUID

from aiohttp import web

from relay_contract import headers, replies
from relay_contract.errors import BadRequest, RelayError, SyncTimeout, TargetFailed, TokenUnavailable, Unavailable
from relay_contract.nouns import DeliveryMode, Target
from relay_contract.redis import keys
from relay_contract.replies import Reply
from relay_contract.traffic import RequestEndRow
from relay_edge.call_record import LEFT
from relay_edge.fan_out import FanOut, Response
from relay_edge.further_lines import further_bytes
from relay_edge.passed_headers import TARGET_NAMES, passed_lines
from relay_edge.relay_call import RelayCall
from relay_edge.replies import Expected, Replies
from relay_edge.reply import SENT, SENT_AND_CLOSE, STATUS_LINES, date_line, header_lines, may_keep_alive
from relay_edge.request_rows import MAX_QUERY_LENGTH
from relay_edge.reservation import Reservation

GRACE_SECONDS: Final = 0.25
DRAIN_SECONDS: Final = 30.0
"""What a caller gets to read an answer too large for a message. Whoever is slower is cut off."""
NO_ROOM_RETRY_SECONDS: Final = 5.0
"""Where nobody knows: the target is disabled, its breaker lets one try pass, or as many are under way as it takes."""

_CHANNEL: Final = keys.SYNC_WAKE.encode()
_NO_BODY: Final = frozenset({204, 304})

COMPLETE, CALLER_LEFT, TARGET_TIMEOUT, REFUSED = "complete", "caller_left", "target_timeout", "unreachable"


class Publisher(Protocol):
    """Where calls are announced: `redis_queue.RedisQueue`."""

    def publish(self, channel: bytes, message: bytes) -> None: ...


class _Waiting:
    """One call between `expect` and `forget`."""

    __slots__ = ("error", "expected", "response", "seconds", "target_status")

    def __init__(self, expected: Expected, response: Response) -> None:
        self.expected = expected
        self.response = response
        self.error: RelayError | None = None
        self.target_status: int | None = None
        self.seconds: float | None = None  # from the call's head to its answer


class SyncCalls:
    """The responder of sync targets; one for each process."""

    def __init__(self, replies_: Replies, publisher: Publisher, request_end: Callable[[RequestEndRow], object]) -> None:
        """`request_end` is told what each caller got; it neither waits nor raises."""
        self._replies = replies_
        self._publisher = publisher
        self._request_end = request_end
        self._waiting: dict[UUID, _Waiting] = {}

    def expect(self, call: RelayCall, fan_out: FanOut) -> None:
        """Raises BadRequest for a query that cannot be passed on whole, Unavailable when too many wait."""
        if len(call.request.rel_url.raw_query_string) > MAX_QUERY_LENGTH:
            raise BadRequest(f"The query is longer than {MAX_QUERY_LENGTH} characters. Shorten it.")
        assert fan_out.response is not None
        self._waiting[call.request_id] = _Waiting(self._replies.expect(call.request_id), fan_out.response)

    async def answer(self, call: RelayCall, _fan_out: FanOut, _reservation: Reservation) -> web.StreamResponse:
        """Raises SyncTimeout, TargetFailed, TokenUnavailable, or Unavailable where the target takes nothing."""
        waiting = self._waiting[call.request_id]
        self._publisher.publish(_CHANNEL, replies.encode_call(self._replies.edge, call.request_id))
        target = waiting.response.target
        try:
            reply = await self._replies.wait(waiting.expected, target.timeout_seconds + GRACE_SECONDS)
            if reply.fault:
                raise _error_of(reply)
            waiting.target_status = reply.status
            return await self._pass_on(call, target, reply)
        except RelayError as error:
            waiting.error = error
            raise
        finally:
            waiting.seconds = time.monotonic() - call.started

    def forget(self, call: RelayCall) -> None:
        """Writes down how the call ended, where it was accepted."""
        waiting = self._waiting.pop(call.request_id)
        self._replies.forget(call.request_id)
        if call.is_accepted:
            self._request_end(_row(call, waiting))

    async def _pass_on(self, call: RelayCall, target: Target, reply: Reply) -> web.StreamResponse:
        raw = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in reply.lines]
        lines = passed_lines(raw, TARGET_NAMES).lines
        if lines is None:
            raise TargetFailed("The target answered with a header that no answer may have.")
        head = lines + header_lines(
            (
                (headers.REQUEST_ID, str(call.request_id)),
                (headers.DURABILITY, headers.DURABILITY_COMMITTED),
                (headers.TARGET, target.name),
            )
        )
        if not reply.is_elsewhere:
            return _write(call, reply, head, reply.body)
        async with self._replies.large:
            body = await self._replies.body(reply)
            if body is None:
                raise TargetFailed("The target answered, but its answer was lost on the way.")
            answer = _write(call, reply, head, body)
            try:
                async with asyncio.timeout(DRAIN_SECONDS):
                    await call.request.writer.drain()
            except TimeoutError:
                if call.request.transport is not None:
                    call.request.transport.abort()
            return answer


def _write(call: RelayCall, reply: Reply, head: bytes, body: bytes) -> web.StreamResponse:
    """A whole answer. Of one to HEAD the length is the target's, which says what GET would get."""
    request, status = call.request, reply.status
    call.status = status
    transport = request.transport
    if transport is None or transport.is_closing():
        return SENT_AND_CLOSE
    keep = may_keep_alive(request)
    parts = [STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, date_line(), further_bytes(request), head]
    if request.method == "HEAD":
        parts += [b"content-length: %b\r\n" % value for name, value in _length(reply)]
    elif status not in _NO_BODY:
        parts.append(b"content-length: %d\r\n" % len(body))
    parts.append(b"\r\n" if keep else b"connection: close\r\n\r\n")
    if request.method != "HEAD" and status not in _NO_BODY:
        parts.append(body)
        call.bytes_out = len(body)
    transport.write(b"".join(parts))
    return SENT if keep else SENT_AND_CLOSE


def _length(reply: Reply) -> list[tuple[str, bytes]]:
    return [
        (name, value.encode())
        for name, value in reply.lines
        if name.lower() == "content-length" and value.isascii() and value.isdigit()
    ][:1]


def _error_of(reply: Reply) -> RelayError:
    """What the caller is told of a target that gave no answer."""
    fault = reply.fault
    if fault == replies.TIMEOUT:
        return SyncTimeout()
    if fault == replies.NO_ROOM:
        return Unavailable(
            "The target that answers this endpoint's callers takes nothing at the moment. It was not called.",
            retry_after_seconds=reply.retry_after_seconds or NO_ROOM_RETRY_SECONDS,
        )
    if fault == replies.TOKEN_UNAVAILABLE:
        return TokenUnavailable()
    return TargetFailed(f"The target could not be reached, or gave no whole answer: {fault}.")


def _row(call: RelayCall, waiting: _Waiting) -> RequestEndRow:
    error = waiting.error
    status = error.status if error is not None else call.status
    seconds = waiting.seconds if waiting.seconds is not None else time.monotonic() - call.started
    has_answer = error is None and status != LEFT
    return RequestEndRow(
        id=call.request_id,
        delivery_id=waiting.response.row.id,
        received_at=call.received_at,
        status=status,
        error="" if error is None else error.code,
        target_status=waiting.target_status,
        first_byte_us=int(seconds * 1_000_000) if has_answer else None,
        total_us=int(seconds * 1_000_000),
        bytes_out=call.bytes_out,
        heartbeats=0,
        close_reason=_reason(waiting, status),
        is_stream=waiting.response.mode == DeliveryMode.STREAM,
        url=waiting.response.target.url,
    )


def _reason(waiting: _Waiting, status: int) -> str:
    if isinstance(waiting.error, SyncTimeout):
        return TARGET_TIMEOUT
    if waiting.error is not None:
        return REFUSED
    return CALLER_LEFT if status == LEFT and waiting.target_status is None else COMPLETE

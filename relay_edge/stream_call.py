"""Calls whose answer a stream target gives: the edge sends them itself and passes the answer on while it comes.

The delivery is committed before the target hears of the call, as being sent by this edge; what became of it is one row
of `records.py`, written however the call ends, from which a worker finishes and settles the delivery. An edge that dies
leaves a delivery that expires as of unknown outcome. Nothing is tried twice: the target may have done what was asked.

Per call: one exchange with the target, a signature, a row; no task unless the caller reads slowly.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from aiohttp import web

from relay_contract.errors import EndpointMisconfigured, RelayError
from relay_contract.logs import log_fields
from relay_contract.traffic import CloseReason, RequestEndRow
from relay_edge.fan_out import FanOut, Response
from relay_edge.passed_headers import TARGET_NAMES
from relay_edge.pings import Pings
from relay_edge.relay_call import RelayCall
from relay_edge.reservation import Reservation
from relay_edge.stream_answer import StreamAnswer
from relay_edge.streaming import RELAYED, CallerStream
from relay_edge.target_requests import PreparedTarget, TargetRequests, TargetUnusableError, packed

logger = logging.getLogger(__name__)

_UNUSABLE = "The target of this endpoint cannot be called as it is configured. Its owner has to mend it."


class StreamCalls:
    """One for each process: the responder of the mode `stream`."""

    def __init__(self, requests: TargetRequests, pings: Pings, on_end: Callable[[RequestEndRow], None]) -> None:
        """`on_end` is told of each call that was committed; it neither waits nor raises."""
        self._requests = requests
        self._pings = pings
        self._on_end = on_end

    def expect(self, call: RelayCall, fan_out: FanOut) -> None:
        """See Responder: a target that cannot be called takes no calls."""
        assert fan_out.response is not None
        try:
            self._requests.of(call.snapshot, fan_out.response.target)
        except TargetUnusableError as problem:
            logger.error(  # noqa: TRY400  # the trace says no more than the problem
                "target_unusable", extra=log_fields(target_id=fan_out.response.target.id, problem=str(problem))
            )
            raise EndpointMisconfigured(_UNUSABLE) from problem

    async def answer(self, call: RelayCall, fan_out: FanOut, reservation: Reservation) -> web.StreamResponse:  # noqa: ARG002
        """See Responder."""
        response = fan_out.response
        assert response is not None
        prepared = self._requests.of(call.snapshot, response.target)
        stream = CallerStream(call.request, RELAYED, str(call.request_id), names=TARGET_NAMES)
        answer = StreamAnswer(call.request, stream, prepared.answer_lines, response.target.stream_max_bytes)
        self._pings.keep_begun_alive(stream, response.target.heartbeat_seconds)
        error: RelayError | None = None
        try:
            error = await self._exchange(call, response, prepared, answer)
            if error is not None:
                call.error = error.code
                if not stream.is_open:
                    raise error
            call.status = stream.status
            return stream.finish() if error is None else stream.cut(error)
        except asyncio.CancelledError:
            answer.broken_off()
            raise
        finally:
            call.bytes_out = answer.bytes_out()
            status = stream.status if stream.is_open else call.status if error is None else error.status
            self._on_end(_end_row(call, response, answer, stream, status))
            stream.close()

    def forget(self, call: RelayCall) -> None:
        """See Responder. Nothing is kept between the steps."""

    @staticmethod
    async def _exchange(
        call: RelayCall, response: Response, prepared: PreparedTarget, answer: StreamAnswer
    ) -> RelayError | None:
        """Why the caller has no whole answer; None: they have one."""
        try:
            request = packed(call, prepared, response.row.id, datetime.now(UTC))
        except TargetUnusableError as problem:
            answer.reason = CloseReason.RELAY_ERROR
            logger.error(  # noqa: TRY400  # the trace says no more than the problem
                "target_unusable", extra=log_fields(target_id=response.target.id, problem=str(problem))
            )
            return EndpointMisconfigured(_UNUSABLE)
        started = time.monotonic()
        failure = await prepared.origin.exchange(request, answer, prepared.timeouts)
        return answer.settle(failure, time.monotonic() - started, prepared.timeouts.total)


def _end_row(
    call: RelayCall,
    response: Response,
    answer: StreamAnswer,
    stream: CallerStream,
    status: int,
) -> RequestEndRow:
    now = time.monotonic()
    return RequestEndRow(
        id=call.request_id,
        delivery_id=response.row.id,
        received_at=call.received_at,
        status=status,
        error=call.error,
        target_status=answer.status or None,
        first_byte_us=int((answer.first_byte - call.started) * 1_000_000) if answer.first_byte else None,
        total_us=int((now - call.started) * 1_000_000),
        bytes_out=call.bytes_out,
        heartbeats=stream.pings,
        close_reason=answer.reason or CloseReason.RELAY_ERROR,
        is_stream=True,
        url=response.target.url,
    )

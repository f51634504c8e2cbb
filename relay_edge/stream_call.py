"""Calls whose answer a stream target gives: the edge sends them itself and passes the answer on while it comes.

The delivery is committed before the target hears of the call, as being sent by this edge; what became of it is one row
of `records.py`, written however the call ends, from which a worker finishes and settles the delivery. An edge that dies
leaves a delivery that expires as of unknown outcome. Nothing is tried twice: the target may have done what was asked.
Only a 401 to a fetched token is no answer yet: the call is sent once more with another token.

Per call: one exchange with the target, a signature, a row; no task unless the caller reads slowly.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from aiohttp import web

from relay_contract.client_certificates import CertificateError
from relay_contract.errors import EndpointMisconfigured, RelayError, TokenUnavailable
from relay_contract.kept_tokens import KeptTokens
from relay_contract.logs import log_fields
from relay_contract.oauth2 import Token, TokenError
from relay_contract.quoted import Quotes, secrets_of
from relay_contract.traffic import CloseReason, RequestEndRow
from relay_edge.client_contexts import ClientContexts
from relay_edge.fan_out import FanOut, Response
from relay_edge.passed_headers import TARGET_NAMES
from relay_edge.pings import Pings
from relay_edge.relay_call import RelayCall
from relay_edge.reservation import Reservation
from relay_edge.stream_answer import StreamAnswer
from relay_edge.streaming import RELAYED, CallerStream
from relay_edge.target_requests import Credentials, PreparedTarget, TargetRequests, TargetUnusableError, packed
from relay_edge.upstream import Failure
from relay_edge.upstream_pool import Origin

logger = logging.getLogger(__name__)

_UNUSABLE = "The target of this endpoint cannot be called as it is configured. Its owner has to mend it."


class StreamCalls:
    """One for each process: the responder of the mode `stream`."""

    def __init__(
        self, requests: TargetRequests, tokens: KeptTokens, pings: Pings, on_end: Callable[[RequestEndRow], None]
    ) -> None:
        """`on_end` is told of each call that was committed; it neither waits nor raises."""
        self._requests = requests
        self._tokens = tokens
        self._contexts = ClientContexts()
        self._pings = pings
        self._on_end = on_end

    def expect(self, call: RelayCall, fan_out: FanOut) -> None:
        """See Responder: a target that cannot be called takes no calls."""
        assert fan_out.response is not None
        try:
            prepared = self._requests.of(call.snapshot, fan_out.response.target)
            if prepared.credentials is not None:
                prepared.credentials.check(call.received_at)
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
        most = response.target.stream_max_bytes
        answer = StreamAnswer(call.request, stream, prepared.answer_lines, most, prepared.quotes)
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

    async def _exchange(
        self, call: RelayCall, response: Response, prepared: PreparedTarget, answer: StreamAnswer
    ) -> RelayError | None:
        """Why the caller has no whole answer; None: they have one."""
        started = time.monotonic()
        try:
            if prepared.credentials is None:
                request = packed(call, prepared, response.row.id, datetime.now(UTC))
                failure = await prepared.origin.exchange(request, answer, prepared.timeouts)
            else:
                failure = await self._exchange_with(prepared.credentials, call, response, prepared, answer)
        except TokenError:  # whoever asked for it has told
            answer.reason = CloseReason.TOKEN_UNAVAILABLE
            return TokenUnavailable()
        except (TargetUnusableError, CertificateError) as problem:
            answer.reason = CloseReason.RELAY_ERROR
            logger.error(  # noqa: TRY400  # the trace says no more than the problem
                "target_unusable", extra=log_fields(target_id=response.target.id, problem=str(problem))
            )
            return EndpointMisconfigured(_UNUSABLE)
        return answer.settle(failure, time.monotonic() - started, prepared.timeouts.total)

    async def _exchange_with(
        self,
        credentials: Credentials,
        call: RelayCall,
        response: Response,
        prepared: PreparedTarget,
        answer: StreamAnswer,
    ) -> Failure | None:
        """One exchange, or two where the target refused the token of the first. Raises TokenError, CertificateError and
        TargetUnusableError."""
        origin = await self._origin(credentials, prepared)
        token = await self._token(credentials, prepared)
        answer.quotes = _quotes(prepared, token)
        answer.holds_refusal = token is not None and self._tokens.can_give_up(credentials.key)
        failure = await origin.exchange(_sent(call, response, prepared, token), answer, prepared.timeouts)
        if token is None or not answer.is_held:
            return failure
        answer.holds_refusal = answer.is_held = answer.is_sent = False
        self._tokens.give_up(credentials.key, token)
        token = await self._token(credentials, prepared)
        answer.quotes = _quotes(prepared, token)
        return await origin.exchange(_sent(call, response, prepared, token), answer, prepared.timeouts)

    async def _origin(self, credentials: Credentials, prepared: PreparedTarget) -> Origin:
        if credentials.certificate is None:
            return prepared.origin
        tls = await self._contexts.of(credentials.key, credentials.certificate)
        url = credentials.url
        return self._requests.pool.origin(url.scheme, url.host, url.port, tls)

    async def _token(self, credentials: Credentials, prepared: PreparedTarget) -> Token | None:
        """Within the time that the target itself is given."""
        if credentials.token is None:
            return None
        try:
            async with asyncio.timeout(prepared.timeouts.first_byte):
                return await self._tokens.token(credentials.key, credentials.token)
        except TimeoutError:
            raise TokenError("The token endpoint did not answer within the target's own deadline.") from None


def _quotes(prepared: PreparedTarget, token: Token | None) -> Quotes | None:
    """With the token, which is no part of what is prepared."""
    if token is None:
        return prepared.quotes
    return Quotes((*prepared.secrets, *secrets_of({"authorization": token.authorization()}))) or None


def _sent(call: RelayCall, response: Response, prepared: PreparedTarget, token: Token | None) -> bytes:
    authorization = "" if token is None else token.authorization()
    return packed(call, prepared, response.row.id, datetime.now(UTC), authorization)


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

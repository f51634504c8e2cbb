"""Relay endpoints: authenticates, reads the body, commits it for every target, answers.

The order of refusals tells a stranger nothing: first the key (401, 403), then whether the address exists (404) and is
the key's own project's (403), then what the head says (405, 508), size and time of the body (413, 408), headers (400),
limits (429). What was accepted was committed in Postgres before anyone was told; what cannot be committed is
a 503. Then the caller gets a 202, or the answer of the one target that is to give it.

The steps are parts of their own, given at construction: this file knows their order, and no rule. I/O per call: one
coalesced Redis call where limits apply, one share in a group commit, and what the responder does.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from aiohttp import web

from relay_contract import headers
from relay_contract.errors import (
    BodyTimeout,
    BodyTooLarge,
    EndpointMisconfigured,
    InternalFault,
    RelayError,
    ShuttingDown,
    Unavailable,
)
from relay_contract.ids import uuid7
from relay_contract.logs import log_fields
from relay_edge import request_rows
from relay_edge.addresses import EndpointAddress
from relay_edge.admission import NOTHING, Admission, Need
from relay_edge.body import BODY_SECONDS, read_body
from relay_edge.catalog.holder import Catalog
from relay_edge.client_ip import FORWARDED_FOR, ClientIps
from relay_edge.error_shapes import ErrorShape
from relay_edge.fan_out import FanOut, most_price
from relay_edge.intake import Accepted
from relay_edge.metrics import Metrics
from relay_edge.prepared import PreparedEndpoints
from relay_edge.relay_call import ASYNC, RelayCall, RelayEnd
from relay_edge.relay_callers import RelayCallers, check_route
from relay_edge.relay_metrics import RelayMetrics
from relay_edge.reply import send, send_error
from relay_edge.reservation import Reservation
from relay_edge.shield import Shield

logger = logging.getLogger(__name__)

Run = Callable[[], Awaitable[web.StreamResponse | None]]


class Committer(Protocol):
    """Where accepted calls go: `intake.Intake`."""

    @property
    def is_closing(self) -> bool: ...

    async def commit(self, accepted: Accepted, /) -> bool:
        """False: an earlier call has the key, and nothing of this one was committed. Raises a RelayFault."""


class Responder(Protocol):
    """Gives callers the answer of a target: one for each mode, for each process."""

    def expect(self, call: RelayCall, fan_out: FanOut) -> None:
        """Before the commit, since a worker may be faster than we are told of it. Raises a RelayFault where no more
        can be taken; then nothing is committed."""

    async def answer(self, call: RelayCall, fan_out: FanOut, reservation: Reservation) -> web.StreamResponse:
        """After it. Sets the call's `status` and `bytes_out`, and `error` of an answer that broke once it had begun.
        Raises a RelayError while nothing was sent."""

    def forget(self, call: RelayCall) -> None:
        """The call is over, whatever became of it: always, once, after an `expect` that did not raise."""


class Idempotency(Protocol):
    """Calls that are made once."""

    def read(self, call: RelayCall) -> None:
        """Fills in `call.key` where the caller sent one and the endpoint heeds it. Raises BadHeader."""

    async def once(self, call: RelayCall, run: Run) -> web.StreamResponse:
        """Makes a call that has a key with `run`, which gives None where another call with the key was committed first;
        or answers what that one came to. Raises CallInProgress, IdempotencyKeyReused and what `run` does."""


class Endpoints:
    """The handler, for aiohttp's low-level server."""

    def __init__(
        self,
        catalog: Catalog,
        admission: Admission,
        intake: Committer,
        metrics: Metrics,
        *,
        callers: RelayCallers,
        shield: Shield,
        plan: Callable[[RelayCall], FanOut],
        client_ips: ClientIps,
        prepared: PreparedEndpoints,
        responders: Mapping[str, Responder],
        idempotency: Idempotency | None = None,
        on_refused: Callable[[RelayCall], object] | None = None,
        on_ended: Callable[[RelayEnd], object] | None = None,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        """`responders`: by mode. `on_refused` is told of each call of somebody who was recognised that was not
        accepted, `on_ended` of each that ended; neither waits nor raises."""
        self._catalog = catalog
        self._admission = admission
        self._intake = intake
        self._metrics = metrics.surfaces["relay"]
        self._relay_metrics = RelayMetrics(metrics.registry)
        self._callers = callers
        self._shield = shield
        self._plan = plan
        self._client_ips = client_ips
        self._prepared = prepared
        self._responders = responders
        self._idempotency = idempotency
        self._on_refused = on_refused
        self._on_ended = on_ended
        self._body_seconds = body_seconds

    async def handle(self, request: web.BaseRequest, address: EndpointAddress | None) -> web.StreamResponse:
        """Answers a call to an endpoint; `address` None: the path has no form that an endpoint's has."""
        started = time.monotonic()
        snapshot = self._catalog.snapshot
        if snapshot is None:
            error = Unavailable(retry_after_seconds=1)
            self._metrics.done(error.status, time.monotonic() - started)
            return send_error(request, error, ErrorShape.RELAY, str(uuid7()))
        call = RelayCall(
            uuid7(),
            request,
            snapshot,
            address,
            None if address is None else snapshot.endpoint(*address),
            self._client_ips.of(request.remote, request.headers.getall(FORWARDED_FOR, ())),
            started,
            datetime.now(UTC),
        )
        self._metrics.in_flight.value += 1
        try:
            return await self._serve(call)
        except RelayError as error:
            return self._refuse(call, error)
        except asyncio.CancelledError:
            self._metrics.disconnects.value += 1
            raise
        except Exception:
            logger.exception("relay_failed", extra=log_fields(request_id=str(call.request_id)))
            return self._refuse(call, InternalFault())
        finally:
            self._end(call)

    async def _serve(self, call: RelayCall) -> web.StreamResponse:
        """Everything but what becomes of errors."""
        self._callers.identify(call)
        check_route(call)
        call.prepared = self._prepared.of(call.snapshot, call.route)
        self._shield.before_body(call)
        if self._intake.is_closing:
            raise ShuttingDown(retry_after_seconds=1)
        call.body = await read_body(call.request, call.route.endpoint.max_body_bytes, self._body_seconds)
        request_rows.read_headers(call)
        answer = await self._shield.after_body(call)
        if answer is not None:
            self._tell_refused(call)
            return answer
        if self._idempotency is not None:
            self._idempotency.read(call)
        purses = call.caller.purses
        need = Need(0, 0, most_price(call)) if purses.is_asked else NOTHING
        reservation = await self._admission.admit(call.caller.charges, call.prepared.charges, need=need, purses=purses)
        try:
            if self._idempotency is not None and call.key is not None:
                return await self._idempotency.once(call, partial(self._accept, call, reservation))
            answer = await self._accept(call, reservation)
            assert answer is not None  # only a key can be somebody else's
            return answer
        finally:
            self._admission.settle(reservation, charge=call.charge)

    async def _accept(self, call: RelayCall, reservation: Reservation) -> web.StreamResponse | None:
        """Commits the call and answers it. None: nothing was committed, since an earlier call has its key."""
        call.generation = reservation.generation
        fan_out = self._plan(call)
        if fan_out.response is None:
            return self._queued(call) if await self._commit(call, fan_out, ASYNC) else None
        mode = fan_out.response.mode
        responder = self._responders.get(mode)
        if responder is None:
            raise EndpointMisconfigured(f"This relay does not serve targets of the mode {mode}.")
        responder.expect(call, fan_out)
        try:
            if not await self._commit(call, fan_out, mode):
                return None
            return await responder.answer(call, fan_out, reservation)
        finally:
            responder.forget(call)

    async def _commit(self, call: RelayCall, fan_out: FanOut, mode: str) -> bool:
        rows = request_rows.accepted(call, fan_out)
        if await self._intake.commit(rows) is False:
            return False
        call.charge = sum(row.credits for row in rows.deliveries)
        call.is_accepted, call.mode, call.target_count = True, mode, len(rows.deliveries)
        return True

    @staticmethod
    def _queued(call: RelayCall) -> web.StreamResponse:
        call.status = 202
        text = str(call.request_id)
        return send(
            call.request,
            202,
            b'{"status":"queued","requestId":"%b"}' % text.encode(),
            lines=((headers.REQUEST_ID, text), (headers.DURABILITY, headers.DURABILITY_COMMITTED)),
        )

    def _refuse(self, call: RelayCall, error: RelayError) -> web.StreamResponse:
        call.status, call.error = error.status, error.code
        if not call.is_accepted:
            self._tell_refused(call)
        has_unread_body = isinstance(error, BodyTooLarge | BodyTimeout)
        request = call.request
        answer = send_error(request, error, ErrorShape.RELAY, str(call.request_id), close=has_unread_body)
        if isinstance(error, BodyTimeout) and request.transport is not None:
            request.transport.close()  # after the answer; who is this slow is not waited for again
        return answer

    def _tell_refused(self, call: RelayCall) -> None:
        if self._on_refused is not None and call.identified is not None:
            self._on_refused(call)

    def _end(self, call: RelayCall) -> None:
        call.ended = time.monotonic()
        self._metrics.in_flight.value -= 1
        self._metrics.done(call.status, call.ended - call.started)
        self._relay_metrics.observe(call)
        if self._on_ended is not None:
            self._on_ended(call.end())

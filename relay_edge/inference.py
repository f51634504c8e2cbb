"""Calls to models: conversations and what else hosts do (`protocols/operation.py`), also below /openai and /anthropic.

The life of a call: key (auth.py), body (body.py), model and policy (routing.py), limits (admission.py), a host
(attempts.py), bytes back (streaming.py), and always, in a `finally`, the reservation settled. Per call: no task, no
timer, no log line. Errors come in the caller's wire shape, whatever raised them.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from relay_contract import headers
from relay_contract.errors import (
    BodyTimeout,
    BodyTooLarge,
    InternalFault,
    MethodNotAllowed,
    NoHostKey,
    RateLimited,
    RelayError,
    Unavailable,
)
from relay_contract.headers import IDEMPOTENCY_KEY, TAGS
from relay_contract.ids import uuid7_text
from relay_contract.logs import log_fields
from relay_contract.nouns import HostKey, Scope, WireShape
from relay_edge import server_timing
from relay_edge.admission import NOTHING, Admission
from relay_edge.admitted import Admitted
from relay_edge.attempts import Call
from relay_edge.auth import Authenticator
from relay_edge.body import BODY_SECONDS, read_body
from relay_edge.breaker_words import BreakerOf, breaker_words
from relay_edge.call_record import CallRecord
from relay_edge.call_rows import bill_of
from relay_edge.caller import Caller
from relay_edge.capture import CAPTURE_BYTES, Capture
from relay_edge.catalog.holder import Catalog
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.charges import ChargeSet
from relay_edge.destinations import Destinations
from relay_edge.error_shapes import error_body
from relay_edge.failover import followers
from relay_edge.held_stream import stream_of
from relay_edge.idempotency import Idempotency
from relay_edge.metrics import Metrics
from relay_edge.needs import need_of
from relay_edge.offers import KeyOffer, Offer, Offers
from relay_edge.pings import PING_SECONDS, Pings
from relay_edge.protocols import CONVERSATIONS, OTHERS, Operation
from relay_edge.protocols.anthropic_messages import AllowedBetas
from relay_edge.protocols.conversation_key import conversation_key
from relay_edge.protocols.form import FormRequest, is_form, read_form_request
from relay_edge.protocols.model_name import ModelRequest, read_model_request
from relay_edge.purses import PurseSet
from relay_edge.reply import send_error, sent_request_id
from relay_edge.reservation import Need, Reservation
from relay_edge.routing import Candidate, Plan, Router, Shapes, Turns
from relay_edge.selection import Load
from relay_edge.streaming import CallerStream
from relay_edge.tags import read_tags
from relay_edge.upstream_pool import UpstreamPool

logger = logging.getLogger(__name__)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

MOST_ASKED = 256
"""Candidates whose breakers one explanation asks for; of what lies behind them nothing is said."""

Relay = Callable[[web.BaseRequest, Operation, CallRecord], Awaitable[web.StreamResponse]]

_UNRECORDABLE = "The relay cannot write down what calls use at the moment, so it takes none. Try again soon."


@dataclass(frozen=True, slots=True)
class View:
    """What is derived from one snapshot, dropped with it."""

    snapshot: Snapshot
    router: Router
    destinations: Destinations
    offers: Offers


@dataclass(slots=True)  # a frozen one costs 2 us more
class Asked:
    """A call that may be made, and the way it may go."""

    request: web.BaseRequest
    operation: Operation
    record: CallRecord
    view: View
    caller: Caller
    wanted: ModelRequest | FormRequest
    plan: Plan

    def offers(self) -> list[Offer]:
        """Who may be tried first, for admission to choose from."""
        return [offer for each in followers(self.plan, ()) if (offer := self.view.offers.of(each)) is not None]


class Inference:
    """The handlers, for aiohttp's low-level server with `handler_cancellation=True`."""

    def __init__(
        self,
        catalog: Catalog,
        authenticator: Authenticator,
        admission: Admission,
        pool: UpstreamPool,
        metrics: Metrics,
        *,
        idempotency: Idempotency,
        max_body_bytes: int,
        body_seconds: float = BODY_SECONDS,
        ping_seconds: float = PING_SECONDS,
        betas: AllowedBetas | None = None,
        capture_bytes: int = CAPTURE_BYTES,
        reads_traceparent: bool = False,
        can_keep: Callable[[], bool] = lambda: True,
        on_served: Callable[[CallRecord], object] | None = None,
    ) -> None:
        """`ping_seconds`: as in `Pings`. `betas`: None for the usual ones. `capture_bytes`: what is kept at most of a
        captured body. `reads_traceparent`: whether somebody wants it. `can_keep`: whether a call that begins now can
        be written down. `on_served` is told of each that ended."""
        self._catalog = catalog
        self._authenticator = authenticator
        self.admission = admission
        self._pool = pool
        self._metrics = metrics
        self._idempotency = idempotency
        for place, state in enumerate(("open", "idle", "waiting")):
            metrics.registry.gauge(
                "relay_edge_upstream_connections",
                "Connections to hosts; waiting: calls that wait for one.",
                "sum",
                partial(_count, pool, place),
                state=state,
            )
        self._surface_metrics = metrics.surfaces["inference"]
        self._max_body_bytes = max_body_bytes
        self._body_seconds = body_seconds
        self._pings = Pings(pool.wheel, ping_seconds)
        self._betas = AllowedBetas() if betas is None else betas
        self._capture_bytes = capture_bytes
        self._reads_traceparent = reads_traceparent
        self._can_keep = can_keep
        self._on_served = on_served
        self._turns = Turns()
        self._rereading: set[asyncio.Task[bool]] = set()
        self.load = Load()
        self._view: View | None = None
        self.ROUTES: dict[str, Handler] = {
            path: partial(self.serve, operation=operation, relay=self._relay)
            for operation in (*CONVERSATIONS, *OTHERS)
            for path in operation.paths
        }
        """Path -> handler, which refuses other methods itself, in its wire shape."""

    def current_view(self) -> View:
        """Raises Unavailable before the first catalog."""
        snapshot = self._catalog.snapshot
        view = self._view
        if view is None or view.snapshot is not snapshot:
            if snapshot is None:
                raise Unavailable(retry_after_seconds=1)
            destinations = Destinations(self._pool, self._catalog.host_key_value)
            offers = Offers(snapshot, self._catalog.host_key_value)
            self.load.keep(lambda binding_id: snapshot.binding(binding_id) is not None)
            view = self._view = View(snapshot, Router(snapshot, self.load), destinations, offers)
        return view

    async def breakers_of(self, candidates: Sequence[Candidate]) -> BreakerOf:
        """What stands before each of these candidates now, as Redis knows it."""
        offers = self.current_view().offers
        offered = [offer for each in candidates[:MOST_ASKED] if (offer := offers.of(each)) is not None]
        fields = dict.fromkeys(guard.field for offer in offered for guard in offer.guards)
        return breaker_words(offered, await self.admission.breakers.not_closed(list(fields)), time.time())

    async def serve(self, request: web.BaseRequest, *, operation: Operation, relay: Relay) -> web.StreamResponse:
        """A call from its head to its row, whatever becomes of it."""
        metrics = self._surface_metrics
        metrics.in_flight.value += 1
        sent_id = sent_request_id(request)
        record = CallRecord(sent_id or uuid7_text(), operation.name, time.monotonic(), time.time())
        record.is_own_id = sent_id is None
        try:
            return await relay(request, operation, record)
        except RelayError as error:
            return self._refuse(request, operation, record, error)
        except asyncio.CancelledError:
            metrics.disconnects.value += 1
            raise
        except Exception:
            logger.exception("call_failed", extra=log_fields(request_id=record.request_id))
            return self._refuse(request, operation, record, InternalFault())
        finally:
            record.ended = time.monotonic()
            seconds = record.ended - record.started
            metrics.in_flight.value -= 1
            metrics.done(record.status, seconds)
            metrics.overhead_seconds.observe(seconds - record.upstream_seconds)
            if self._on_served is not None:
                self._on_served(record)

    def _refuse(
        self, request: web.BaseRequest, operation: Operation, record: CallRecord, error: RelayError
    ) -> web.StreamResponse:
        record.status, record.error, record.error_source = error.status, error.code, error.source
        if isinstance(error, RateLimited):
            record.limits = error.limits
        if record.capture is not None:
            record.capture.answered(error_body(error, operation.surface.error_shape, record.request_id))
        has_unread_body = isinstance(error, BodyTooLarge | BodyTimeout)
        answer = send_error(
            request,
            error,
            operation.surface.error_shape,
            record.request_id,
            allow=", ".join(operation.methods),
            lines=((headers.SERVER_TIMING, server_timing.value(record, time.monotonic())), *_attempt_lines(record)),
            close=has_unread_body,
        )
        if isinstance(error, BodyTimeout) and request.transport is not None:
            request.transport.close()  # after the answer; who is this slow is not waited for again
        return answer

    def begin(self, request: web.BaseRequest, operation: Operation, record: CallRecord) -> tuple[View, Caller]:
        """Who calls, in which catalog. Nothing of the body is read before."""
        if request.method not in operation.methods:
            raise MethodNotAllowed
        if not self._can_keep():
            self._metrics.unrecordable.value += 1
            raise Unavailable(_UNRECORDABLE, retry_after_seconds=1)
        view = self.current_view()
        caller = self._authenticator.caller_of(view.snapshot, request, Scope.INFERENCE, record.received_at)
        key = caller.relay_key
        record.relay_key_id = None if key is None else key.id
        record.project_id, record.user_id, record.mode = caller.project.id, caller.user_id, caller.mode
        record.application_id = caller.application_id
        record.policy = caller.policy
        record.paying = caller.purses.payers[-1]
        if self._reads_traceparent:
            record.traceparent = request.headers.get("traceparent", "")
        if TAGS in request.headers:
            record.tags = read_tags(request.headers.getall(TAGS))
        return view, caller

    def may_capture(self, record: CallRecord, caller: Caller, body: bytes) -> None:
        """Keeps what goes in and out where who calls is to have it kept."""
        if caller.captures_payloads:
            record.capture = Capture(body, self._capture_bytes)

    def body_of(self, request: web.BaseRequest) -> Awaitable[bytes]:
        """The body, whole."""
        return read_body(request, self._max_body_bytes, self._body_seconds)

    async def ask(
        self, request: web.BaseRequest, operation: Operation, record: CallRecord, only: Shapes | None
    ) -> Asked:
        """Reads a call and plans its way. `only`: as in `Router.plan`."""
        view, caller = self.begin(request, operation, record)
        body = await self.body_of(request)
        record.bytes_in = len(body)
        self.may_capture(record, caller, body)
        wanted: ModelRequest | FormRequest
        content_type = "" if operation.hosts is None else request.headers.get("Content-Type", "")
        if content_type and is_form(content_type):
            wanted = read_form_request(body, content_type)
            record.prompt_tokens = wanted.prompt_tokens
            record.audio_bytes = wanted.file_bytes if operation.is_heard else 0
        else:
            wanted = read_model_request(body)
        record.requested_model, record.is_stream = wanted.model, wanted.is_stream
        shape, affinity, counts_cost = operation.surface.shape, None, caller.counts_cost
        # The conversation's name is looked for only where it may choose among keys.
        if operation.hosts is None and view.router.wants_affinity(
            caller.policy, wanted.model, shape, counts_cost=counts_cost
        ):
            affinity = conversation_key(body)
            record.has_affinity = affinity is not None
        plan = record.plan = view.router.plan(
            caller.policy, wanted.model, shape, self._turns, affinity=affinity, only=only, counts_cost=counts_cost
        )
        return Asked(request, operation, record, view, caller, wanted, plan)

    async def _relay(self, request: web.BaseRequest, operation: Operation, record: CallRecord) -> web.StreamResponse:
        asked = await self.ask(request, operation, record, operation.hosts)
        if IDEMPOTENCY_KEY in request.headers:
            run = partial(self._run, asked)
            return await self._idempotency.serve(request, operation, record, asked.wanted, run)
        return await self._run(asked, None)

    async def _run(self, asked: Asked, stream: CallerStream | None) -> web.StreamResponse:
        """From admission to settlement. `stream`: as in `send`."""
        record, operation = asked.record, asked.operation
        charges, offers = asked.caller.charges, asked.offers()
        purses = asked.caller.purses
        need = need_of(
            asked.wanted,
            charges,
            offers,
            paid=_fallbacks(asked.plan) if purses.is_asked else None,
            is_written=operation.is_written,
            audio_bytes=record.audio_bytes,
        )
        reservation = await self.admit(record, charges, offers, need, purses)
        try:
            if reservation.chosen is None:
                raise none_left(reservation.retry_after_seconds)
            return await self.send(asked, reservation, offers[reservation.chosen], stream=stream)
        finally:
            if need is NOTHING:
                self.admission.settle(reservation)
            else:
                self.admission.settle(reservation, *_spent(record))

    async def admit(
        self,
        record: CallRecord,
        charges: ChargeSet,
        offers: Sequence[KeyOffer],
        need: Need = NOTHING,
        purses: PurseSet | None = None,
    ) -> Reservation:
        """The call's admission, noted. Settle it in a `finally`. Raises as `Admission.admit` does."""
        record.asked = time.monotonic()
        reservation = await self.admission.admit(charges, need=need, offers=offers, purses=purses)
        record.admitted = time.monotonic()
        record.reservation = reservation
        held = reservation.held
        if held is not None and held.paying is not None:
            record.paying = held.paying
        return reservation

    def send(
        self,
        asked: Asked,
        reservation: Reservation,
        offer: Offer,
        kind: type[Call] = Call,
        stream: CallerStream | None = None,
    ) -> Awaitable[web.StreamResponse]:
        """Makes the call at the offer that admission chose, and where else it may go. Raises as `answered` does.
        `stream` takes the answer; None: one that passes it on as it comes."""
        view, operation, record = asked.view, asked.operation, asked.record
        picker = Admitted(self.admission, reservation, offer, offers=view.offers, load=self.load, refused=self.reread)
        surface, given = operation.surface, asked.request.headers
        caller_lines, caller_notes = surface.caller_lines(given), None
        if surface.shape is WireShape.ANTHROPIC_MESSAGES:
            betas = self._betas.asked(given)
            caller_lines, caller_notes = caller_lines + betas.line, betas.notes
        limit_lines = reservation.limit_lines(surface.error_shape)
        if stream is None:
            stream = stream_of(asked.request, surface, record, is_stream=asked.wanted.is_stream)
        call = kind(
            operation,
            asked.plan,
            view.destinations,
            picker,
            metrics=self._metrics,
            record=record,
            request=asked.wanted,
            caller_lines=caller_lines,
            caller_notes=caller_notes,
            limit_lines=limit_lines,
            stream=stream,
        )
        if asked.wanted.is_stream and operation.hosts is None:
            self._pings.keep_alive(stream, limit_lines)
        return answered(call.run(), stream, record)

    def reread(self, key: HostKey) -> None:
        """A host refused a key that is kept elsewhere: it may have been replaced there."""
        if key.reference:
            task = asyncio.create_task(self._catalog.refresh_host_key(key))
            self._rereading.add(task)
            task.add_done_callback(self._rereading.discard)


async def answered(exchange: Awaitable[None], stream: CallerStream, record: CallRecord) -> web.StreamResponse:
    """What the handler returns once an exchange with hosts is over. Raises what it raised while nothing was sent."""
    try:
        await exchange
        record.status = stream.status
        return stream.finish()
    except Exception as raised:
        if not stream.is_open:
            raise
        if isinstance(raised, RelayError):
            error = raised
        else:
            logger.exception("call_failed", extra=log_fields(request_id=record.request_id))
            error = InternalFault()
        record.status, record.error, record.error_source = error.status, error.code, error.source
        return stream.cut(error)
    finally:
        record.bytes_out = stream.bytes_sent
        stream.close()


def none_left(retry_after_seconds: float | None) -> NoHostKey:
    """`retry_after_seconds`: None where no candidate has a key that can be opened."""
    if retry_after_seconds is None:
        return NoHostKey()
    text = "Every host key of this model is failing or at its limit. Try again after the time in Retry-After."
    return NoHostKey(text, retry_after_seconds=retry_after_seconds)


def _spent(record: CallRecord) -> tuple[int, int, int]:
    """Tokens, and cost in nano-USD, for the limits that had them reserved; and what the payer is charged."""
    bill = bill_of(record)
    return bill.usage.limited_tokens, bill.cost_nanousd or 0, bill.charge


def _fallbacks(plan: Plan) -> list[Candidate]:
    """Who may serve the call when all of the first model's candidates failed."""
    return [candidate for leg in plan.legs[1:] for candidate in leg.candidates]


def _attempt_lines(record: CallRecord) -> tuple[tuple[str, str], ...]:
    """Who was tried, for an error in the relay's own words."""
    if not record.attempts:
        return ()
    return (
        (headers.SERVED_MODEL, record.model),
        (headers.SERVED_HOST, record.host),
        (headers.ATTEMPTS, str(record.tries)),
    )


def _count(pool: UpstreamPool, place: int) -> float:
    return pool.counts()[place]

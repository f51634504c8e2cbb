"""Calls to models: /v1/chat/completions, /v1/responses, /v1/messages and /v1/models, also below /openai and /anthropic.

The life of a call: key (auth.py), body (body.py), model and policy (routing.py), limits (admission.py), a host
(attempts.py), bytes back (streaming.py), and always, in a `finally`, the reservation settled. Per call: no task, no
timer, no log line. Errors come in the caller's wire shape, whatever raised them.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import msgspec
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
from relay_contract.headers import TAGS
from relay_contract.logs import log_fields
from relay_contract.nouns import HostKey, Policy, PolicyId, Scope, WireShape
from relay_edge import server_timing
from relay_edge.admission import NOTHING, Admission
from relay_edge.admitted import Admitted
from relay_edge.attempts import Call
from relay_edge.auth import Authenticator
from relay_edge.body import BODY_SECONDS, read_body
from relay_edge.breaker_words import BreakerOf, breaker_words
from relay_edge.call_record import CallRecord
from relay_edge.call_rows import bill_of
from relay_edge.capture import CAPTURE_BYTES, Capture
from relay_edge.catalog.holder import Catalog
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.destinations import Destinations
from relay_edge.error_shapes import ErrorShape, error_body
from relay_edge.failover import followers
from relay_edge.metrics import Metrics
from relay_edge.needs import need_of
from relay_edge.offers import Offers
from relay_edge.protocols import SURFACES, Surface
from relay_edge.protocols.anthropic_messages import VERSION_HEADER
from relay_edge.protocols.conversation_key import conversation_key
from relay_edge.protocols.model_name import ModelRequest, read_model_request
from relay_edge.reply import request_id_of, send, send_error
from relay_edge.routing import Candidate, Listed, Plan, Router, Turns
from relay_edge.selection import Load
from relay_edge.streaming import CallerStream
from relay_edge.tags import read_tags
from relay_edge.upstream_pool import UpstreamPool

logger = logging.getLogger(__name__)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

MOST_ASKED = 256
"""Candidates whose breakers one explanation asks for; of what lies behind them nothing is said."""

_PREFIXES = ("", "/openai", "/anthropic")
_UNRECORDABLE = "The relay cannot write down what calls use at the moment, so it takes none. Try again soon."


@dataclass(frozen=True, slots=True)
class _View:
    """What is derived from one snapshot, dropped with it."""

    snapshot: Snapshot
    router: Router
    destinations: Destinations
    offers: Offers
    model_lists: dict[tuple[PolicyId | None, ErrorShape], bytes]


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
        max_body_bytes: int,
        body_seconds: float = BODY_SECONDS,
        capture_bytes: int = CAPTURE_BYTES,
        reads_traceparent: bool = False,
        can_keep: Callable[[], bool] = lambda: True,
        on_served: Callable[[CallRecord], object] | None = None,
    ) -> None:
        """`capture_bytes`: what is kept at most of a captured body. `reads_traceparent`: whether somebody wants it.
        `can_keep`: whether a call that begins now can be written down. `on_served` is told of each that ended.
        """
        self._catalog = catalog
        self._authenticator = authenticator
        self._admission = admission
        self._pool = pool
        self._metrics = metrics
        for place, state in enumerate(("open", "idle", "waiting")):
            metrics.registry.gauge(
                "relay_edge_upstream_connections",
                "Connections to hosts; waiting: calls that wait for one.",
                "sum",
                partial(_count, pool, place),
                state=state,
            )
        self._surface_metrics = metrics.surfaces["inference"]
        self._models_metrics = metrics.surfaces["models"]
        self._max_body_bytes = max_body_bytes
        self._body_seconds = body_seconds
        self._capture_bytes = capture_bytes
        self._reads_traceparent = reads_traceparent
        self._can_keep = can_keep
        self._on_served = on_served
        self._turns = Turns()
        self._rereading: set[asyncio.Task[bool]] = set()
        self.load = Load()
        self._view: _View | None = None
        self.ROUTES: dict[str, tuple[str, Handler]] = self._routes()

    def _routes(self) -> dict[str, tuple[str, Handler]]:
        """Path -> method and handler. The handlers answer other methods themselves, in their wire shape."""
        routes: dict[str, tuple[str, Handler]] = {}
        for prefix in _PREFIXES:
            if prefix != "/anthropic":
                routes[f"{prefix}/v1/chat/completions"] = ("POST", self.chat_completions)
                routes[f"{prefix}/v1/responses"] = ("POST", self.responses)
            if prefix != "/openai":
                routes[f"{prefix}/v1/messages"] = ("POST", self.messages)
            routes[f"{prefix}/v1/models"] = ("GET", self.models)
        return routes

    async def chat_completions(self, request: web.BaseRequest) -> web.StreamResponse:
        """OpenAI's surface."""
        return await self._serve(request, SURFACES[WireShape.OPENAI_CHAT])

    async def responses(self, request: web.BaseRequest) -> web.StreamResponse:
        """OpenAI's newer surface; nothing is kept between calls."""
        return await self._serve(request, SURFACES[WireShape.OPENAI_RESPONSES])

    async def messages(self, request: web.BaseRequest) -> web.StreamResponse:
        """Anthropic's surface."""
        return await self._serve(request, SURFACES[WireShape.ANTHROPIC_MESSAGES])

    async def models(self, request: web.BaseRequest) -> web.StreamResponse:
        """What the caller's key reaches and is served now; in Anthropic's form when `anthropic-version` is sent."""
        started = time.monotonic()
        request_id = request_id_of(request)
        is_anthropic = VERSION_HEADER in request.headers or request.raw_path.startswith("/anthropic/")
        shape = ErrorShape.ANTHROPIC if is_anthropic else ErrorShape.OPENAI
        status = 200
        try:
            if request.method not in ("GET", "HEAD"):
                raise MethodNotAllowed  # one door for every error
            view = self._current_view()
            caller = self._authenticator.authenticate(view.snapshot, request.headers, Scope.INFERENCE, time.time())
            policy_id = None if caller.policy is None else caller.policy.id
            body = view.model_lists.get((policy_id, shape))
            if body is None:
                body = view.model_lists[policy_id, shape] = _model_list(view.router.reachable(caller.policy), shape)
            return send(request, 200, body, lines=(("x-request-id", request_id),))
        except RelayError as error:
            status = error.status
            return send_error(request, error, shape, request_id, allow="GET, HEAD")
        finally:
            self._models_metrics.done(status, time.monotonic() - started)

    async def breakers_of(self, candidates: Sequence[Candidate]) -> BreakerOf:
        """What stands before each of these candidates now, as Redis knows it."""
        offers = self._current_view().offers
        offered = [offer for each in candidates[:MOST_ASKED] if (offer := offers.of(each)) is not None]
        fields = dict.fromkeys(guard.field for offer in offered for guard in offer.guards)
        return breaker_words(offered, await self._admission.breakers.not_closed(list(fields)), time.time())

    def _current_view(self) -> _View:
        snapshot = self._catalog.snapshot
        view = self._view
        if view is None or view.snapshot is not snapshot:
            if snapshot is None:
                raise Unavailable(retry_after_seconds=1)
            destinations = Destinations(self._pool, self._catalog.host_key_value)
            offers = Offers(snapshot, self._catalog.host_key_value)
            self.load.keep(lambda binding_id: snapshot.binding(binding_id) is not None)
            view = self._view = _View(snapshot, Router(snapshot, self.load), destinations, offers, {})
        return view

    async def _serve(self, request: web.BaseRequest, surface: Surface) -> web.StreamResponse:
        metrics = self._surface_metrics
        metrics.in_flight.value += 1
        record = CallRecord(request_id_of(request), surface.name, time.monotonic(), time.time())
        try:
            return await self._relay(request, surface, record)
        except RelayError as error:
            return self._refuse(request, surface, record, error)
        except asyncio.CancelledError:
            metrics.disconnects.value += 1
            raise
        except Exception:
            logger.exception("call_failed", extra=log_fields(request_id=record.request_id))
            return self._refuse(request, surface, record, InternalFault())
        finally:
            record.ended = time.monotonic()
            seconds = record.ended - record.started
            metrics.in_flight.value -= 1
            metrics.done(record.status, seconds)
            metrics.overhead_seconds.observe(seconds - record.upstream_seconds)
            if self._on_served is not None:
                self._on_served(record)

    def _refuse(
        self, request: web.BaseRequest, surface: Surface, record: CallRecord, error: RelayError
    ) -> web.StreamResponse:
        record.status, record.error, record.error_source = error.status, error.code, error.source
        if isinstance(error, RateLimited):
            record.limits = error.limits
        if record.capture is not None:
            record.capture.answered(error_body(error, surface.error_shape, record.request_id))
        has_unread_body = isinstance(error, BodyTooLarge | BodyTimeout)
        answer = send_error(
            request,
            error,
            surface.error_shape,
            record.request_id,
            allow="POST",
            lines=((headers.SERVER_TIMING, server_timing.value(record, time.monotonic())), *_attempt_lines(record)),
            close=has_unread_body,
        )
        if isinstance(error, BodyTimeout) and request.transport is not None:
            request.transport.close()  # after the answer; who is this slow is not waited for again
        return answer

    async def _relay(self, request: web.BaseRequest, surface: Surface, record: CallRecord) -> web.StreamResponse:
        if request.method != "POST":
            raise MethodNotAllowed
        if not self._can_keep():
            self._metrics.unrecordable.value += 1
            raise Unavailable(_UNRECORDABLE, retry_after_seconds=1)
        view = self._current_view()
        caller = self._authenticator.authenticate(view.snapshot, request.headers, Scope.INFERENCE, record.received_at)
        key = caller.key
        record.relay_key_id, record.project_id, record.user_id, record.mode = (
            key.id, key.project_id, key.user_id, key.mode,
        )  # fmt: skip
        record.policy = caller.policy
        if self._reads_traceparent:
            record.traceparent = request.headers.get("traceparent", "")
        if TAGS in request.headers:
            record.tags = read_tags(request.headers.getall(TAGS))
        body = await read_body(request, self._max_body_bytes, self._body_seconds)
        record.bytes_in = len(body)
        if key.captures_payloads or (caller.policy is not None and caller.policy.captures_payloads):
            record.capture = Capture(body, self._capture_bytes)
        wanted = read_model_request(body)
        record.requested_model, record.is_stream = wanted.model, wanted.is_stream
        plan = record.plan = self._plan(view.router, caller.policy, wanted, surface.shape, record)
        offers = [offer for each in followers(plan, ()) if (offer := view.offers.of(each)) is not None]
        need = need_of(wanted, caller.charges, offers)
        record.asked = time.monotonic()
        reservation = await self._admission.admit(caller.charges, need=need, offers=offers)
        record.admitted = time.monotonic()
        record.reservation = reservation
        try:
            if reservation.chosen is None:
                raise _none_left(reservation.retry_after_seconds)
            picker = Admitted(
                self._admission,
                reservation,
                offers[reservation.chosen],
                offers=view.offers,
                load=self.load,
                refused=self._reread,
            )
            stream = CallerStream(request, surface, record.request_id, record.capture)
            call = Call(
                plan,
                view.destinations,
                picker,
                metrics=self._metrics,
                record=record,
                request=wanted,
                caller_lines=surface.caller_lines(request.headers),
                limit_lines=reservation.limit_lines(surface.error_shape),
                stream=stream,
            )
            return await self._answer(call, stream, record)
        finally:
            if need is NOTHING:
                self._admission.settle(reservation)
            else:
                self._admission.settle(reservation, *_spent(record))

    async def _answer(self, call: Call, stream: CallerStream, record: CallRecord) -> web.StreamResponse:
        """Raises a RelayError while nothing was sent."""
        try:
            await call.run()
            record.status = stream.status
            return stream.finish()
        except RelayError as error:
            if not stream.has_started:
                raise
            record.status, record.error, record.error_source = error.status, error.code, error.source
            return stream.cut(error)
        finally:
            record.bytes_out = stream.bytes_sent
            stream.close()

    def _reread(self, key: HostKey) -> None:
        """A host refused a key that is kept elsewhere: it may have been replaced there."""
        if key.reference:
            task = asyncio.create_task(self._catalog.refresh_host_key(key))
            self._rereading.add(task)
            task.add_done_callback(self._rereading.discard)

    def _plan(
        self, router: Router, policy: Policy | None, wanted: ModelRequest, shape: WireShape, record: CallRecord
    ) -> Plan:
        """The conversation's name is looked for only where it may choose among keys."""
        affinity = None
        if router.wants_affinity(policy, wanted.model, shape):
            affinity = conversation_key(wanted.body)
            record.has_affinity = affinity is not None
        return router.plan(policy, wanted.model, shape, self._turns, affinity=affinity)


def _none_left(retry_after_seconds: float | None) -> NoHostKey:
    """`retry_after_seconds`: None where no candidate has a key that can be opened."""
    if retry_after_seconds is None:
        return NoHostKey()
    text = "Every host key of this model is failing or at its limit. Try again after the time in Retry-After."
    return NoHostKey(text, retry_after_seconds=retry_after_seconds)


def _spent(record: CallRecord) -> tuple[int, int]:
    """Tokens, and cost in nano-USD, for the limits that had them reserved."""
    bill = bill_of(record)
    return bill.usage.limited_tokens, bill.cost_nanousd or 0


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


def _model_list(listed: tuple[Listed, ...], shape: ErrorShape) -> bytes:
    """In a vendor's form: platform.openai.com/docs/api-reference/models, docs.anthropic.com/en/api/models-list."""
    if shape is ErrorShape.ANTHROPIC:
        data: list[Mapping[str, str | int]] = [
            {"type": "model", "id": each.name, "display_name": each.name, "created_at": _rfc3339(each.model.created_at)}
            for each in listed
        ]
        ends = {"first_id": listed[0].name if listed else None, "last_id": listed[-1].name if listed else None}
        return msgspec.json.encode({"data": data, "has_more": False, **ends})
    data = [
        {
            "id": each.name,
            "object": "model",
            "created": int(each.model.created_at.timestamp()),
            "owned_by": each.model.owned_by,
        }
        for each in listed
    ]
    return msgspec.json.encode({"object": "list", "data": data})


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")

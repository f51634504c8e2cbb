"""`POST /v1/messages/count_tokens`: counted by a host of Anthropic's shape, else estimated here and marked as such.

Free: no tokens and no cost are counted for it; it counts as a call against limits of requests and calls in flight.
A host that does not know the address, or answers it with 500, is not asked again for a while. Whatever keeps hosts from
counting, other than a fault of the call itself, leads to the estimate.
"""

import time
from dataclasses import replace
from functools import partial

import msgspec
from aiohttp import web

from relay_contract import headers
from relay_contract.nouns import HostBindingId
from relay_contract.traffic import FailureClass
from relay_edge import limit_headers
from relay_edge.attempts import Call
from relay_edge.call_record import CallRecord
from relay_edge.failover import is_the_call_at_fault, reported
from relay_edge.inference import Asked, Inference
from relay_edge.protocols import COUNT_TOKENS, Operation
from relay_edge.protocols.estimate import estimate
from relay_edge.reply import send
from relay_edge.reservation import Reservation
from relay_edge.routing import Candidate, Leg

UNABLE_SECONDS = 600.0
MAX_REMEMBERED = 10_000
_NOT_THERE = frozenset({404, 405, 501})


class NotCountedError(Exception):
    """No host counted."""

    def __init__(self, unable: set[HostBindingId]) -> None:
        """`unable`: bindings whose hosts do not know the address, or break over it: the breakers that this opens would
        keep conversations from them."""
        self.unable = unable
        super().__init__()


class Counting(Call):
    """A call for which there is another way when every host fails. `run` raises NotCountedError then."""

    __slots__ = ()

    def _give_up(self) -> None:
        unable = {
            each.candidate.binding.id
            for each in self._tried
            if (each.words is not None and each.words.head.status in _NOT_THERE) or each.failure is FailureClass.SERVER
        }
        if unable or not self._tried or not is_the_call_at_fault(reported(self._plan, self._tried)):
            raise NotCountedError(unable)
        super()._give_up()


class CountTokens:
    """The handler, and what it remembers of hosts."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._unable: dict[HostBindingId, float] = {}  # until when, in time.monotonic()
        handler = partial(inference.serve, operation=COUNT_TOKENS, relay=self._relay)
        self.ROUTES = dict.fromkeys(COUNT_TOKENS.paths, handler)

    async def _relay(self, request: web.BaseRequest, operation: Operation, record: CallRecord) -> web.StreamResponse:
        record.is_free = True
        asked = await self._inference.ask(request, operation, record, None)
        leg = asked.plan.legs[0]  # another model would count otherwise
        able = tuple(each for each in leg.candidates if self._is_able(each))
        asked = replace(asked, plan=replace(asked.plan, legs=(Leg(leg.model, able),)))
        offers = asked.offers()
        reservation = await self._inference.admit(record, asked.caller.charges, offers)
        try:
            if reservation.chosen is None:
                return _estimated(asked, reservation)
            return await self._inference.send(asked, reservation, offers[reservation.chosen], Counting)
        except NotCountedError as error:
            self._remember(error.unable)
            return _estimated(asked, reservation)
        finally:
            self._inference.admission.settle(reservation)

    def _is_able(self, candidate: Candidate) -> bool:
        assert COUNT_TOKENS.hosts is not None
        binding = candidate.binding
        return binding.wire_shape in COUNT_TOKENS.hosts and self._unable.get(binding.id, 0.0) <= time.monotonic()

    def _remember(self, unable: set[HostBindingId]) -> None:
        if len(self._unable) + len(unable) > MAX_REMEMBERED:
            self._unable.clear()
        self._unable |= dict.fromkeys(unable, time.monotonic() + UNABLE_SECONDS)


def _estimated(asked: Asked, reservation: Reservation) -> web.StreamResponse:
    record = asked.record
    body = msgspec.json.encode({"input_tokens": estimate(asked.wanted)[0]})
    record.status, record.bytes_out = 200, len(body)
    limits = limit_headers.lines(reservation.limits(), asked.operation.surface.error_shape, time.time())
    lines = (
        (headers.REQUEST_ID, record.request_id),
        (headers.SERVED_MODEL, asked.plan.legs[0].model.name),
        (headers.ESTIMATE, "true"),
        *limits,
    )
    return send(asked.request, 200, body, lines=lines)

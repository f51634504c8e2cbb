"""Which deliveries a call becomes, and whether one of its targets answers the caller. Pure."""

from dataclasses import dataclass, replace

from relay_contract.credits import MICRO, units
from relay_contract.errors import TargetHeld
from relay_contract.ids import uuid7
from relay_contract.intake import STREAM_SHARD, DeliveryRow, DeliveryState, shard_of, sync_shard_of
from relay_contract.nouns import RESPONSE_MODES, DeliveryMode, Target, TargetRole
from relay_edge.call_facts import CallFacts
from relay_edge.catalog.snapshot import EndpointRoute
from relay_edge.fan_out_rules import Wanted
from relay_edge.relay_call import RelayCall
from relay_edge.shadows import compared, is_sampled

STREAM_GRACE_SECONDS = 60
"""What a stream's end gets to be recorded after its last byte."""

_PENDING = DeliveryState.PENDING.value
_SENDING = DeliveryState.SENDING.value


@dataclass(frozen=True, slots=True)
class Response:
    """The one target whose answer the caller gets."""

    mode: str
    target: Target
    row: DeliveryRow


@dataclass(slots=True)  # a frozen one costs 2 us more
class FanOut:
    """All deliveries of a call. They are committed together, or none is."""

    queued: tuple[DeliveryRow, ...]
    response: Response | None = None  # None: the caller is told that the call is queued
    filtered_count: int = 0  # targets that the call is not for

    @property
    def rows(self) -> tuple[DeliveryRow, ...]:
        """Every one of them."""
        return self.queued if self.response is None else (*self.queued, self.response.row)


def plan(call: RelayCall) -> FanOut:
    """One delivery for each target that the call is for, of shadows for those that are to have a copy of it. Raises
    TargetHeld where the one that answers callers is disabled, EndpointMisconfigured where a rule cannot be read."""
    answering, rules = response_target(call.route), call.prepared.rules
    choice = rules.plain or rules.choose(CallFacts(call))
    chosen = [each for each in choice.wanted if is_sampled(each.target, call.request_id)]
    targets = [each.target for each in chosen if each.target.is_enabled]  # who gets it later is compared with nobody
    compares = compared(targets if answering is None else [*targets, answering])
    return FanOut(
        tuple(_queued(call, each, compares) for each in chosen),
        None if answering is None else _response(call, answering, compares),
        choice.filtered_count,
    )


def most_price(call: RelayCall) -> int:
    """Micro-credits that the deliveries of a call take at the most, whichever of its targets get it. What is for a
    disabled one is kept until it is enabled, and paid for."""
    return len(call.route.every_target) * units(len(call.body)) * MICRO


def response_target(route: EndpointRoute) -> Target | None:
    """The enabled target that answers callers; the database allows one. None where nobody is to. Raises TargetHeld
    where the only one is disabled: an endpoint that answers does not become one that queues by a switch."""
    for target in route.targets:
        if target.delivery_mode in RESPONSE_MODES:
            return target
    if any(target.delivery_mode in RESPONSE_MODES for target in route.every_target):
        raise TargetHeld
    return None


def _queued(call: RelayCall, wanted: Wanted, compares: frozenset[str]) -> DeliveryRow:
    target = wanted.target
    row = _row(call, target, compares, shard_of(target.id), wanted.state, target.expire_seconds)
    return row if wanted.ordering_key is None else replace(row, ordering_key=wanted.ordering_key)


def _response(call: RelayCall, target: Target, compares: frozenset[str]) -> Response:
    """A sync row expires at the caller's deadline. A stream's is the edge's own from the first, and is nobody's once
    it has expired: its edge died."""
    if target.delivery_mode is DeliveryMode.SYNC:
        row = _row(call, target, compares, sync_shard_of(call.request_id), _PENDING, target.timeout_seconds)
    else:
        seconds = target.stream_total_seconds + STREAM_GRACE_SECONDS
        row = _row(call, target, compares, STREAM_SHARD, _SENDING, seconds)
    return Response(row.mode, target, row)


def _row(  # noqa: PLR0917
    call: RelayCall, target: Target, compares: frozenset[str], shard: int, state: str, expire_seconds: int
) -> DeliveryRow:
    caller, body_bytes = call.caller, len(call.body)
    # A stream is paid for by what it streams back, which nobody knows yet.
    size = units(0 if target.delivery_mode is DeliveryMode.STREAM else body_bytes)
    return DeliveryRow(
        id=uuid7(),
        request_id=call.request_id,
        project_id=caller.project.id,
        target_id=target.id,
        shard=shard,
        mode=target.delivery_mode.value,
        is_shadow=target.role is TargetRole.SHADOW,
        is_compared=target.name in compares,
        key_mode=caller.mode.value,
        state=state,
        revision=call.route.line.revision,
        created_at=call.received_at,
        expire_seconds=expire_seconds,
        ordering_key=None,
        body_bytes=body_bytes,
        credits=size * MICRO,
        relay_key_id=None if caller.key is None else caller.key.id,
        units=size,
        generation=call.generation,
    )

"""Why a call would go where it goes: what `POST /api/resolve` answers, for people and programs. Pure.

It asks the router itself and the survey that the router goes by, with every turn at its start and every draw at the
middle, so that it says what would happen and changes nothing. Its figures are those of the process that answers.
The operation that is asked about decides as in a call: which hosts do it, and what is reserved for its answer.
"""

from dataclasses import dataclass

import msgspec

from relay_contract.errors import RelayError
from relay_contract.grants import Reach
from relay_contract.nouns import Model, Policy, Selection, WireShape
from relay_contract.pricing import NANOUSD
from relay_edge.breaker_words import BreakerOf
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.failover import followers
from relay_edge.needs import worst_case
from relay_edge.priced import price_rule
from relay_edge.protocols import Operation
from relay_edge.protocols.model_name import ModelRequest
from relay_edge.routing import Candidate, Leg, Plan, Router, Turns, fallback_for, find_model
from relay_edge.selection import TYPICAL_CALL, UNKNOWN, Load, typical_cost
from relay_edge.stops import Hindrance, LeftOut, Survey, survey

SERVED = "served"

_HINDRANCES = {
    Hindrance.BINDING_DISABLED: "The binding is disabled.",
    Hindrance.HOST_DISABLED: "The host is disabled.",
    Hindrance.HOST_MISSING: "The host was deleted.",
    Hindrance.DENIED: "The policy denies it: {pattern}",
    Hindrance.NOT_GRANTED: "No pattern of the policy grants the model on this host.",
    Hindrance.NO_KEY: "The host has no enabled key.",
    Hindrance.KEY_DISABLED: "The host key is disabled.",
    Hindrance.OTHER_SHAPE: "Hosts of this shape do not do what is asked for.",
    Hindrance.NO_PRICE: "It has no price, and the policy, the relay key or the host key takes none without one.",
}


class CandidateView(msgspec.Struct, rename="camel", frozen=True):
    """A candidate at its place, and why it stands there."""

    binding_id: int
    host: str
    host_key: str
    wire_shape: WireShape
    upstream_name: str
    is_translated: bool
    priority: int
    weight: int
    grant: str  # the pattern that grants it
    figure: str  # by which the policy's selection orders it
    is_home: bool  # this conversation belongs here
    breaker: str | None  # in words; None: its breakers are closed
    reason: str


class LeftOutView(msgspec.Struct, rename="camel", frozen=True):
    """A binding that is no candidate, or a key of one that is."""

    binding_id: int
    host: str  # "" for a deleted one
    host_key: str | None
    hindrance: Hindrance
    reason: str


class LegView(msgspec.Struct, rename="camel", frozen=True):
    """A model, and every way to serve it."""

    model: str
    when: list[str]  # what must have gone wrong before; empty for the first leg
    candidates: list[CandidateView]
    left_out: list[LeftOutView]


class SkippedView(msgspec.Struct, rename="camel", frozen=True):
    """A fallback model that is not tried."""

    model: str
    reason: str


class ReservedView(msgspec.Struct, rename="camel", frozen=True):
    """What limits of tokens and of cost hold for such a call until it is over, by the body that was asked with."""

    tokens: int
    nanousd: int  # 0 where nobody knows a price


class Explanation(msgspec.Struct, rename="camel", frozen=True):
    """The whole answer."""

    requested_model: str
    surface: str
    outcome: str  # "served", or the code of the error that the call would be answered with
    status: int  # 200 where it would be sent to a host
    reason: str
    policy: str | None = None
    model: str | None = None  # None: there is none, or it is disabled
    is_alias: bool = False
    selection: Selection | None = None
    keeps_affinity: bool = False
    reserved: ReservedView | None = None  # None: it is not sent to a host
    legs: list[LegView] = []
    skipped_fallbacks: list[SkippedView] = []


def refusal(name: str, surface: str, error: RelayError) -> Explanation:
    """What is said of a relay key that would be refused before its policy is looked at."""
    return Explanation(name, surface, error.code, error.status, error.public_text)


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be explained."""

    snapshot: Snapshot
    policy: Policy | None
    request: ModelRequest  # as far as it is there: `model` alone, or a whole call
    operation: Operation
    load: Load
    conversation: bytes | None = None  # as `conversation_key` names it
    breaker_of: BreakerOf | None = None
    is_cost_limited: bool = False

    def plan(self, router: Router) -> Plan:
        """Where it would go. Raises as `Router.plan` does."""
        operation = self.operation
        return router.plan(
            self.policy,
            self.request.model,
            operation.surface.shape,
            Turns(),
            affinity=self.conversation,
            only=operation.hosts,
            counts_cost=self.is_cost_limited,
        )


def candidates_of(question: Question) -> list[Candidate]:
    """All that the explanation will name, in their order."""
    try:
        plan = question.plan(Router(question.snapshot, question.load, chance=_in_the_middle))
    except RelayError:
        return []
    return [candidate for leg in plan.legs for candidate in leg.candidates]


def _in_the_middle() -> float:
    return 0.5


def explain(question: Question) -> Explanation:
    """What such a call would meet."""
    return _Answer(question).whole()


class _Answer:
    """One explanation in the making."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._snapshot, self._policy, self._load = question.snapshot, question.policy, question.load
        self._name, self._operation = question.request.model, question.operation
        self._conversation, self._breaker_of = question.conversation, question.breaker_of
        self._router = Router(question.snapshot, question.load, chance=_in_the_middle)
        self._model = find_model(question.snapshot, self._name)

    def whole(self) -> Explanation:
        """Everything that is known."""
        plan: Plan | None = None
        error: RelayError | None = None
        try:
            plan = self._question.plan(self._router)
        except RelayError as raised:
            error = raised
        policy, model = self._policy, self._model
        return Explanation(
            requested_model=self._name,
            surface=self._operation.name,
            outcome=SERVED if error is None else error.code,
            status=200 if error is None else error.status,
            reason=self._summary(plan) if error is None else error.public_text,
            policy=None if policy is None else policy.slug,
            model=None if model is None else model.name,
            is_alias=model is not None and model.name != self._name,
            selection=None if policy is None else policy.selection,
            keeps_affinity=policy is not None and policy.keeps_affinity,
            reserved=None if plan is None else self._reserved(plan),
            legs=self._legs(plan),
            skipped_fallbacks=self._skipped(plan),
        )

    def _summary(self, plan: Plan | None) -> str:
        assert plan is not None
        first = plan.legs[0].candidates[0]
        instead = "" if first.model is self._model else f", since {self._name} has no usable host"
        is_drawn = self._policy is not None and self._policy.selection is Selection.WEIGHT and not self._conversation
        first_of_all = "most likely tried first" if is_drawn and len(plan.legs[0].candidates) > 1 else "tried first"
        breaker = None if self._breaker_of is None else self._breaker_of(first)
        now = "" if breaker is None else f" At this moment: {breaker}."
        return (
            f"{first.model.name} on {first.host.slug} is {first_of_all}, with the key {first.key.name}{instead}.{now}"
        )

    def _reserved(self, plan: Plan) -> ReservedView:
        need = worst_case(self._question.request, followers(plan, ()), is_written=self._operation.is_written)
        return ReservedView(need.tokens, need.cost_nanousd)

    def _legs(self, plan: Plan | None) -> list[LegView]:
        if self._policy is None or self._model is None:
            return []
        legs = [] if plan is None else list(plan.legs)
        if not legs or legs[0].model is not self._model:
            legs.insert(0, Leg(self._model, ()))
        return [self._leg(self._policy, leg, is_first=place == 0) for place, leg in enumerate(legs)]

    def _leg(self, policy: Policy, leg: Leg, *, is_first: bool) -> LegView:
        reach = self._router.grants(policy).of(leg.model)
        home = None
        if is_first and leg.candidates and self._conversation is not None:
            shape, counts_cost = self._operation.surface.shape, self._question.is_cost_limited
            home = self._router.home(policy, self._name, shape, self._conversation, counts_cost=counts_cost)
        return LegView(
            model=leg.model.name,
            when=sorted(leg.when),
            candidates=[self._candidate(policy, leg, candidate, reach, home) for candidate in leg.candidates],
            left_out=[_left_out(each) for each in self._survey(policy, leg.model, reach).left_out],
        )

    def _survey(self, policy: Policy, model: Model, reach: Reach) -> Survey:
        prices = price_rule(self._snapshot, policy, counts_cost=self._question.is_cost_limited)
        return survey(prices, model, reach, self._operation.hosts)

    def _candidate(
        self, policy: Policy, leg: Leg, candidate: Candidate, reach: Reach, home: Candidate | None
    ) -> CandidateView:
        binding = candidate.binding
        is_translated = self._operation.hosts is None and binding.wire_shape is not self._operation.surface.shape
        figure = _figure(policy.selection, leg, candidate, self._load)
        reasons = [f"priority {binding.priority}", figure]
        if candidate is home:
            stays = candidate is leg.candidates[0]
            reasons.insert(
                0, "this conversation's key" if stays else "this conversation's key, much busier than others"
            )
        if is_translated:
            reasons.append("translated")
        if candidate.estimate_id is not None and candidate.pricing is not None:
            reasons.append(f"no price: estimated by {candidate.pricing.slug}")
        return CandidateView(
            binding_id=binding.id,
            host=candidate.host.slug,
            host_key=candidate.key.name,
            wire_shape=binding.wire_shape,
            upstream_name=binding.upstream_name,
            is_translated=is_translated,
            priority=binding.priority,
            weight=binding.weight,
            grant=reach.grant(candidate.host.slug) or "",
            figure=figure,
            is_home=candidate is home,
            breaker=None if self._breaker_of is None else self._breaker_of(candidate),
            reason=", ".join(filter(None, reasons)),
        )

    def _skipped(self, plan: Plan | None) -> list[SkippedView]:
        if self._policy is None or self._model is None:
            return []
        fallback = fallback_for(self._policy, self._model)
        tried = set() if plan is None else {leg.model.id for leg in plan.legs}
        seen = {self._model.id}
        skipped = []
        for name in () if fallback is None else fallback.then:
            other = find_model(self._snapshot, name)
            if other is None:
                skipped.append(SkippedView(name, "There is no enabled model of this name."))
            elif other.id in seen:
                skipped.append(SkippedView(name, "This model is tried before."))
            elif other.id not in tried:
                skipped.append(SkippedView(name, self._no_way(self._policy, other)))
            if other is not None:
                seen.add(other.id)
        return skipped

    def _no_way(self, policy: Policy, model: Model) -> str:
        """Why a fallback model is no leg."""
        reach = self._router.grants(policy).of(model)
        found = self._survey(policy, model, reach)
        if not reach.is_open or found.is_forbidden:
            return "The policy does not grant it."
        if found.is_unpriced:
            return _HINDRANCES[Hindrance.NO_PRICE]
        if found.is_unfit:
            return "No host of it does what is asked for."
        if not found.stops:
            return "It has no usable host."
        return "The call is refused before any fallback."


def _left_out(each: LeftOut) -> LeftOutView:
    return LeftOutView(
        binding_id=each.binding.id,
        host="" if each.host is None else each.host.slug,
        host_key=None if each.key is None else each.key.name,
        hindrance=each.hindrance,
        reason=_HINDRANCES[each.hindrance].format(pattern=each.pattern),
    )


def _figure(selection: Selection, leg: Leg, candidate: Candidate, load: Load) -> str:
    """By what the selection orders this candidate among those of its priority."""
    binding = candidate.binding
    match selection:
        case Selection.PRIORITY:
            return ""
        case Selection.WEIGHT:
            peers = {each.binding for each in leg.candidates if each.binding.priority == binding.priority}
            total = sum(peer.weight for peer in peers)
            return f"{100 * binding.weight / total:.0f} % of its priority" if total else "weight 0"
        case Selection.LEAST_BUSY:
            return f"{load.in_flight(binding.id)} in flight"
        case Selection.LATENCY:
            seconds = load.seconds(binding.id)
            return "not measured yet" if seconds is None else f"{seconds:.2f} s to a first token"
        case Selection.COST:
            cost = typical_cost(candidate.pricing)
            if cost == UNKNOWN:
                return "no price"
            return f"{cost / NANOUSD:.6f} USD for {TYPICAL_CALL.input_tokens} + {TYPICAL_CALL.output_tokens} tokens"

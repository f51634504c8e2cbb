"""Where a call may go: which models, on which hosts, with which of their keys, in which order. No I/O.

The order of candidates: priority; of equal ones as the policy selects (`selection.py`); of one host its keys in turn. A
policy that keeps conversations together (`affinity.py`) puts one key of the best priority before all others.

What is looked up again and again (a policy's patterns, the way to a model) is kept for one snapshot and dropped with
it. A model with one candidate costs a dict look-up; eight candidates drawn anew for each call about 5 us.
"""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from relay_contract.errors import BadField, ModelForbidden, ModelNotFound, ModelUnpriced, NoHostKey
from relay_contract.grants import Grants
from relay_contract.nouns import (
    Fallback,
    FallbackCondition,
    Host,
    HostBinding,
    HostBindingId,
    HostId,
    HostKey,
    HostKeyId,
    Model,
    Policy,
    PolicyId,
    Pricing,
    PricingId,
    Selection,
    WireShape,
)
from relay_edge import affinity
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.priced import PriceRule, price_rule
from relay_edge.selection import STEADY, Chance, Load, may_stay, order, typical_cost
from relay_edge.stops import Stop, survey

MAX_KEPT_ROUTES = 50_000
MAX_ROTATIONS = 64
"""Ways in which the keys of a route are turned at most."""

Shapes = frozenset[WireShape]

NO_POLICY = "This relay key has no policy, so it reaches no model. Ask the project's owner for one."


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to serve a call. The same object for as long as a snapshot lives, so that it may be a key of a cache."""

    model: Model
    binding: HostBinding
    host: Host
    key: HostKey
    pricing: Pricing | None  # None: nobody knows what it costs
    estimate_id: PricingId | None = None  # of the pricing where it is the policy's, since the binding has none


@dataclass(frozen=True, slots=True)
class Leg:
    """A model of a plan, and the candidates that serve it, best first. `when` is empty for the model asked for."""

    model: Model
    candidates: tuple[Candidate, ...]
    when: frozenset[FallbackCondition] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a call may go: the model asked for, then the fallbacks behind it."""

    shape: WireShape  # the caller's; a candidate of another one gets the call translated
    legs: tuple[Leg, ...]
    is_strict: bool = False  # the policy wants refused what another shape cannot carry


@dataclass(frozen=True, slots=True)
class Listed:
    """A name under which callers reach a model: its own, or an alias."""

    name: str
    model: Model


class Turns:
    """Whose turn it is among a host's keys: each call starts one key further. Lives as long as the process."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next: dict[HostId, int] = {}

    def take(self, host_id: HostId) -> int:
        """A number that grows by one with each call."""
        turn = self._next.get(host_id, 0)
        self._next[host_id] = turn + 1
        return turn


def find_model(snapshot: Snapshot, name: str) -> Model | None:
    """The enabled model that callers mean by this name. A model's own name hides an alias, also while disabled."""
    model = snapshot.model(name) or snapshot.model_by_alias(name)
    return model if model is not None and model.is_enabled else None


def fallback_for(policy: Policy, model: Model) -> Fallback | None:
    """The one entry that stands behind this model: the first that fits."""
    return next((each for each in policy.fallbacks if Grants(each.models).of(model).is_open), None)


class Router:
    """Answers for one snapshot."""

    __slots__ = ("_candidates", "_chance", "_grants", "_load", "_reachable", "_routes", "_snapshot")

    def __init__(self, snapshot: Snapshot, load: Load | None = None, chance: Chance = random.random) -> None:
        """`load` lives as long as the process; `chance` draws for the selection by weight."""
        self._snapshot = snapshot
        self._load = Load() if load is None else load
        self._chance = chance
        self._grants: dict[PolicyId, Grants] = {}
        self._routes: dict[tuple[PolicyId, str, WireShape, Shapes | None, bool], _Route] = {}
        self._candidates: dict[tuple[HostBindingId, HostKeyId, PricingId | None], Candidate] = {}
        self._reachable: dict[PolicyId, tuple[Listed, ...]] = {}

    def plan(
        self,
        policy: Policy | None,
        name: str,
        shape: WireShape,
        turns: Turns,
        *,
        affinity: bytes | None = None,
        only: Shapes | None = None,
        counts_cost: bool = False,
    ) -> Plan:
        """Where a call goes. `affinity` names its conversation, for policies that keep those together. `only`: shapes
        of hosts that do what is asked for; None: all do. `counts_cost`: the caller is under a limit of cost.

        Raises ModelNotFound, ModelForbidden, ModelUnpriced, NoHostKey, and BadField where no host of the model does it.
        """
        return self._route(policy, name, shape, only, counts_cost).plan(turns, affinity, self._load, self._chance)

    def wants_affinity(self, policy: Policy | None, name: str, shape: WireShape, *, counts_cost: bool = False) -> bool:
        """Whether a conversation's name would change the plan, and is worth 2 us to find. Raises as `plan` does."""
        return self._route(policy, name, shape, None, counts_cost).wants_affinity

    def home(
        self, policy: Policy, name: str, shape: WireShape, conversation: bytes, *, counts_cost: bool = False
    ) -> Candidate | None:
        """The candidate that a conversation belongs to; None where it takes what comes. Raises as `plan` does."""
        return self._route(policy, name, shape, None, counts_cost).home(conversation)

    def _route(
        self, policy: Policy | None, name: str, shape: WireShape, only: Shapes | None, counts_cost: bool
    ) -> "_Route":
        if policy is None:
            raise ModelForbidden(NO_POLICY)
        route = self._routes.get((policy.id, name, shape, only, counts_cost))
        if route is None:
            if len(self._routes) >= MAX_KEPT_ROUTES:
                self._routes.clear()
            asked = _Asked(policy, shape, only, price_rule(self._snapshot, policy, counts_cost=counts_cost))
            route = _Route(shape, self._ways(asked, name), is_strict=policy.is_strict)
            self._routes[policy.id, name, shape, only, counts_cost] = route
        return route

    def _ways(self, asked: "_Asked", name: str) -> "tuple[_Way, ...]":
        """The model asked for, then its fallbacks; these alone where it has no candidate and any failure leads on."""
        model = find_model(self._snapshot, name)
        if model is None:
            raise ModelNotFound
        fallback = fallback_for(asked.policy, model)
        behind = [] if fallback is None else self._behind(asked, model, fallback)
        try:
            first = self._way(asked, model)
        except (NoHostKey, ModelUnpriced):
            if not behind or FallbackCondition.ANY_FAILURE not in behind[0].when:
                raise
            first = self._way(asked, behind.pop(0).model)
        return first, *behind

    def _behind(self, asked: "_Asked", model: Model, fallback: Fallback) -> "list[_Way]":
        ways: list[_Way] = []
        seen = {model.id}
        for name in fallback.then:
            other = find_model(self._snapshot, name)
            if other is None or other.id in seen:
                continue
            seen.add(other.id)
            try:
                ways.append(self._way(asked, other, frozenset(fallback.when)))
            except (ModelForbidden, ModelUnpriced, NoHostKey, BadField):
                continue  # the explanation says so
        return ways

    def _way(self, asked: "_Asked", model: Model, when: frozenset[FallbackCondition] = frozenset()) -> "_Way":
        policy = asked.policy
        reach = self.grants(policy).of(model)
        if not reach.is_open:
            raise ModelForbidden
        found = survey(asked.prices, model, reach, asked.only)
        if found.is_forbidden:
            raise ModelForbidden
        if found.is_unpriced:
            raise ModelUnpriced
        if found.is_unfit:
            raise BadField("model", "No host of this model does what this address asks for. Use another model.")
        if not found.stops:
            raise NoHostKey
        pools = [self._pool(model, stop) for stop in found.stops]
        tiers = [
            _sorted_tier(policy.selection, list(tier), asked.shape)
            for _, tier in groupby(pools, key=lambda pool: pool.binding.priority)
        ]
        return _Way(model, when, policy.selection, tiers, keeps_affinity=policy.keeps_affinity)

    def _pool(self, model: Model, stop: Stop) -> "_Pool":
        return _Pool(tuple(self._candidate(model, stop.binding, stop.host, key, stop.pricing) for key in stop.keys))

    def _candidate(
        self, model: Model, binding: HostBinding, host: Host, key: HostKey, pricing: Pricing | None
    ) -> Candidate:
        pricing_id = None if pricing is None else pricing.id
        candidate = self._candidates.get((binding.id, key.id, pricing_id))
        if candidate is None:
            estimate_id = None if pricing_id == binding.pricing_id else pricing_id
            candidate = Candidate(model, binding, host, key, pricing, estimate_id)
            self._candidates[binding.id, key.id, pricing_id] = candidate
        return candidate

    def named_at(self, prices: PriceRule, host: Host, upstream_name: str, key: HostKey) -> Candidate | None:
        """What a host's own name for a model stands for in the catalog; of several bindings of that name the first
        that has a price. None: nothing. The cost grows with the bindings of the host."""
        named = [each for each in self._snapshot.bindings_of_host(host.id) if each.upstream_name == upstream_name]
        for binding in sorted(named, key=lambda each: each.pricing_id is None):
            model = self._snapshot.model_by_id(binding.model_id)
            if model is not None:
                return self._candidate(model, binding, host, key, prices.pricing(binding))
        return None

    def grants(self, policy: Policy) -> Grants:
        """The policy's patterns, compiled once."""
        grants = self._grants.get(policy.id)
        if grants is None:
            grants = self._grants[policy.id] = Grants(policy.models)
        return grants

    def reachable(self, policy: Policy | None) -> tuple[Listed, ...]:
        """Every name that a key of this policy is served under now, in any shape, sorted; aliases beside models."""
        if policy is None:
            return ()
        listed = self._reachable.get(policy.id)
        if listed is None:
            served = {model.id for model in self._snapshot.models() if model.is_enabled and self._serves(policy, model)}
            names = {model.name: model for model in self._snapshot.models() if model.id in served}
            for alias in self._snapshot.aliases():
                model = find_model(self._snapshot, alias.name)
                if model is not None and model.id in served:
                    names[alias.name] = model
            listed = self._reachable[policy.id] = tuple(Listed(name, names[name]) for name in sorted(names))
        return listed

    def _serves(self, policy: Policy, model: Model) -> bool:
        reach = self.grants(policy).of(model)
        return reach.is_open and bool(survey(price_rule(self._snapshot, policy), model, reach).stops)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a route is made for."""

    policy: Policy
    shape: WireShape
    only: Shapes | None
    prices: PriceRule


class _Pool:
    """A binding, and its host's keys as they are tried when each of them goes first."""

    __slots__ = ("binding", "host_id", "pricing", "turned")

    def __init__(self, candidates: tuple[Candidate, ...]) -> None:
        self.binding = candidates[0].binding
        self.host_id = candidates[0].host.id
        self.pricing = candidates[0].pricing
        self.turned = [candidates[place:] + candidates[:place] for place in range(len(candidates))]


def _sorted_tier(selection: Selection, tier: list[_Pool], shape: WireShape) -> list[_Pool]:
    """Bindings of one priority: as they are tried by a steady selection, and where another one finds no difference."""
    if selection is Selection.PRIORITY:
        return sorted(tier, key=lambda pool: (pool.binding.wire_shape is not shape, pool.binding.id))
    if selection is Selection.COST:
        return sorted(tier, key=lambda pool: (typical_cost(pool.pricing), pool.binding.id))
    return sorted(tier, key=lambda pool: pool.binding.id)


class _Way:
    """A leg before it is known whose turn it is, who is busy, and which conversation it is for."""

    __slots__ = (
        "_bindings", "_group", "_salts", "_selection", "_tiers", "_weights", "in_order", "is_steady", "model",
        "wants_affinity", "when",
    )  # fmt: skip

    def __init__(
        self,
        model: Model,
        when: frozenset[FallbackCondition],
        selection: Selection,
        tiers: list[list[_Pool]],
        *,
        keeps_affinity: bool,
    ) -> None:
        self.model, self.when = model, when
        self._selection, self._tiers = selection, tiers
        self.is_steady = selection in STEADY or all(len(tier) == 1 for tier in tiers)
        self.in_order = [pool for tier in tiers for pool in tier]
        self._bindings = [[pool.binding for pool in tier] for tier in tiers]
        # A steady selection means its first binding; one that spreads calls lets any of its bindings have them.
        best = tiers[0][:1] if self.is_steady else tiers[0]
        self._group = [(place, each) for place, pool in enumerate(best) for each in pool.turned[0]]
        self.wants_affinity = keeps_affinity and len(self._group) > 1
        self._salts = [affinity.salt(each.key.id) for _, each in self._group]
        self._weights: list[float] | None = None
        if selection is Selection.WEIGHT:
            self._weights = [each.binding.weight / len(best[place].turned) for place, each in self._group]

    def pools(self, load: Load, chance: Chance) -> list[_Pool]:
        """Bindings, the best first."""
        if self.is_steady:
            return self.in_order
        return [
            tier[place]
            for tier, bindings in zip(self._tiers, self._bindings, strict=True)
            for place in (order(self._selection, bindings, load, chance) if len(tier) > 1 else (0,))
        ]

    def leg(self, pools: Iterable[_Pool], turn: int, preferred: Candidate | None = None) -> Leg:
        """The leg, with its keys turned and the preferred candidate before all others."""
        candidates: tuple[Candidate, ...] = ()
        for pool in pools:
            turned = pool.turned
            candidates += turned[turn % len(turned)]
        if preferred is not None and candidates[0] is not preferred:
            candidates = (preferred, *[each for each in candidates if each is not preferred])
        return Leg(self.model, candidates, self.when)

    def home(self, conversation: bytes) -> tuple[int, Candidate]:
        """The candidate that the conversation belongs to, and its place among all that it was chosen from."""
        place = affinity.choose(conversation, self._salts, self._weights)
        return place, self._group[place][1]

    def may_stay(self, place: int, load: Load) -> bool:
        """Whether the candidate at this place is not much busier or slower than another."""
        return may_stay(self._selection, self._bindings[0], self._group[place][0], load)


class _Route:
    """A plan before it is known whose turn it is. Where nothing else changes it, one is kept for each turn."""

    __slots__ = ("_first_host", "_is_steady", "_is_strict", "_plans", "_shape", "_ways", "wants_affinity")

    def __init__(self, shape: WireShape, ways: tuple[_Way, ...], *, is_strict: bool) -> None:
        self._shape = shape
        self._is_strict = is_strict
        self._ways = ways
        self._first_host = ways[0].in_order[0].host_id
        self._is_steady = all(way.is_steady for way in ways)
        self.wants_affinity = ways[0].wants_affinity
        rotations = math.lcm(*(len(pool.turned) for way in ways for pool in way.in_order))
        most = max(MAX_ROTATIONS, len(ways[0].in_order[0].turned))  # each key of the first host leads once
        self._plans: list[Plan | None] = [None] * min(rotations, most)

    def plan(self, turns: Turns, conversation: bytes | None, load: Load, chance: Chance) -> Plan:
        """The plan of this call."""
        if not self.wants_affinity:
            conversation = None
        if not self._is_steady:
            return self._made_anew(turns, conversation, load, chance)
        plans = self._plans
        if conversation is not None:
            place, _ = self._ways[0].home(conversation)  # a key of the first host: the turn in which it leads
        else:
            place = turns.take(self._first_host) % len(plans) if len(plans) > 1 else 0
        plan = plans[place]
        if plan is None:
            legs = [way.leg(way.in_order, place) for way in self._ways]
            plan = plans[place] = Plan(self._shape, tuple(legs), self._is_strict)
        return plan

    def home(self, conversation: bytes) -> Candidate | None:
        """The candidate that a conversation belongs to."""
        return self._ways[0].home(conversation)[1] if self.wants_affinity else None

    def _made_anew(self, turns: Turns, conversation: bytes | None, load: Load, chance: Chance) -> Plan:
        first, *behind = self._ways
        pools = first.pools(load, chance)
        turn = turns.take(pools[0].host_id)
        preferred = None
        if conversation is not None:
            place, home = first.home(conversation)
            preferred = home if first.may_stay(place, load) else None
        legs = [way.leg(way.pools(load, chance), turn) for way in behind]
        return Plan(self._shape, (first.leg(pools, turn, preferred), *legs), self._is_strict)

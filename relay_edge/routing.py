"""Which hosts serve a model for a caller, and which of their keys is tried next. Pure: no I/O, no clock, no chance.

What is looked up again and again (a policy's patterns, the way to a model) is kept for one snapshot and dropped with
it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from relay_contract.errors import ModelForbidden, ModelNotFound, NoHostKey
from relay_contract.nouns import (
    FallbackCondition,
    Host,
    HostBinding,
    HostId,
    HostKey,
    HostKeyId,
    Model,
    ModelId,
    Policy,
    PolicyId,
    Pricing,
    WireShape,
)
from relay_edge.catalog.snapshot import Snapshot

MAX_KEPT_ROUTES = 50_000
MAX_ROTATIONS = 64
"""Ways in which the keys of a route are turned at most."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A host that serves the model: enabled, with at least one enabled key."""

    binding: HostBinding
    host: Host
    keys: tuple[HostKey, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to serve a call. The same object for as long as a snapshot lives, so that it may be a key of a cache."""

    model: Model
    binding: HostBinding
    host: Host
    key: HostKey
    pricing: Pricing | None  # None: nobody knows what it costs


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


class Blame(Enum):
    """What a failed try speaks against."""

    HOST = "host"  # no connection, no answer in time, a cut answer: its other keys come last
    KEY = "key"  # a status that another key may not get


class PolicyPatterns:
    """A policy's model patterns, compiled."""

    __slots__ = ("_allowed", "_allowed_prefixes", "_denied", "_denied_prefixes")

    def __init__(self, patterns: Iterable[str]) -> None:
        granted = [pattern for pattern in patterns if not pattern.startswith("-")]
        refused = [pattern[1:] for pattern in patterns if pattern.startswith("-")]
        self._allowed, self._allowed_prefixes = _split(granted)
        self._denied, self._denied_prefixes = _split(refused)

    def reaches(self, name: str) -> bool:
        """Whether the policy grants the model; a denial wins over any grant."""
        if name in self._denied or name.startswith(self._denied_prefixes):
            return False
        return name in self._allowed or name.startswith(self._allowed_prefixes)


def _split(patterns: Sequence[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    exact = frozenset(pattern for pattern in patterns if not pattern.endswith("*"))
    return exact, tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))


def find_stops(snapshot: Snapshot, model_id: ModelId, shape: WireShape) -> tuple[Stop, ...]:
    """Enabled bindings on enabled hosts that have a key, by priority; of equal ones those of the caller's own shape
    come first, since nothing has to be translated for them."""
    stops = []
    for binding in snapshot.bindings(model_id):
        host = snapshot.host(binding.host_id)
        if host is not None and host.is_enabled and (keys := snapshot.host_keys(host.id)):
            stops.append(Stop(binding, host, keys))
    stops.sort(key=lambda stop: (stop.binding.priority, stop.binding.wire_shape is not shape))
    return tuple(stops)


class Router:
    """Answers for one snapshot."""

    __slots__ = ("_patterns", "_reachable", "_routes", "_snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._patterns: dict[PolicyId, PolicyPatterns] = {}
        self._routes: dict[tuple[PolicyId, str, WireShape], _Route] = {}
        self._reachable: dict[PolicyId, tuple[Model, ...]] = {}

    def plan(self, policy: Policy | None, name: str, shape: WireShape, turns: "Turns") -> Plan:
        """Where a call goes. Raises ModelNotFound, ModelForbidden, NoHostKey."""
        if policy is None:
            raise ModelForbidden(
                "This relay key has no policy, so it reaches no model. Ask the project's owner for one."
            )
        route = self._routes.get((policy.id, name, shape))
        if route is None:
            route = self._route(policy, name, shape)
        return route.plan(turns.take(route.first_host))

    def _route(self, policy: Policy, name: str, shape: WireShape) -> "_Route":
        model = self._snapshot.model(name)
        if model is None or not model.is_enabled:
            raise ModelNotFound
        if not self.patterns(policy).reaches(name):
            raise ModelForbidden
        stops = find_stops(self._snapshot, model.id, shape)
        if not stops:
            raise NoHostKey
        if len(self._routes) >= MAX_KEPT_ROUTES:
            self._routes.clear()
        pools = [
            [Candidate(model, stop.binding, stop.host, key, self._pricing(stop.binding)) for key in stop.keys]
            for stop in stops
        ]
        route = self._routes[policy.id, name, shape] = _Route(model, shape, pools, is_strict=policy.is_strict)
        return route

    def _pricing(self, binding: HostBinding) -> Pricing | None:
        return None if binding.pricing_id is None else self._snapshot.pricing(binding.pricing_id)

    def patterns(self, policy: Policy) -> PolicyPatterns:
        """The policy, compiled once."""
        patterns = self._patterns.get(policy.id)
        if patterns is None:
            patterns = self._patterns[policy.id] = PolicyPatterns(policy.models)
        return patterns

    def reachable(self, policy: Policy | None) -> tuple[Model, ...]:
        """Every model that a key of this policy is served now, in any shape, by name."""
        if policy is None:
            return ()
        models = self._reachable.get(policy.id)
        if models is None:
            patterns = self.patterns(policy)
            models = self._reachable[policy.id] = tuple(
                sorted(
                    (
                        model
                        for model in self._snapshot.models()
                        if model.is_enabled and patterns.reaches(model.name) and self._is_served(model)
                    ),
                    key=lambda model: model.name,
                )
            )
        return models

    def _is_served(self, model: Model) -> bool:
        return bool(find_stops(self._snapshot, model.id, WireShape.OPENAI_CHAT))  # any shape can be served from any


class _Route:
    """A model's candidates, and the plans that each turn makes of them."""

    __slots__ = ("_is_strict", "_model", "_plans", "_pools", "_shape", "first_host")

    def __init__(self, model: Model, shape: WireShape, pools: list[list[Candidate]], *, is_strict: bool) -> None:
        self._is_strict = is_strict
        self._model = model
        self._shape = shape
        self._pools = pools
        self._plans: list[Plan | None] = [None] * min(math.lcm(*map(len, pools)), MAX_ROTATIONS)
        self.first_host = pools[0][0].host.id

    def plan(self, turn: int) -> Plan:
        """The plan of this turn: within each host one key further."""
        place = turn % len(self._plans)
        plan = self._plans[place]
        if plan is None:
            rotated = [pool[place % len(pool) :] + pool[: place % len(pool)] for pool in self._pools]
            candidates = tuple(candidate for pool in rotated for candidate in pool)
            plan = self._plans[place] = Plan(self._shape, (Leg(self._model, candidates),), self._is_strict)
        return plan


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


def next_candidate(leg: Leg, tried: Sequence[tuple[Candidate, Blame]]) -> Candidate | None:
    """The best candidate not yet tried, None when there is no other. A host that did not answer comes last."""
    tried_keys: set[HostKeyId] = {candidate.key.id for candidate, _ in tried}
    silent_hosts = {candidate.host.id for candidate, blame in tried if blame is Blame.HOST}
    left = [candidate for candidate in leg.candidates if candidate.key.id not in tried_keys]
    return min(left, key=lambda candidate: candidate.host.id in silent_hosts, default=None)

"""Which hosts serve a model for a caller, and which of their keys is tried next. Pure: no I/O, no clock, no chance.

What is looked up again and again (a policy's patterns, the way to a model) is kept for one snapshot and dropped with
it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from relay_contract.errors import ModelForbidden, ModelNotFound, NoHostKey
from relay_contract.nouns import (
    Host,
    HostBinding,
    HostId,
    HostKey,
    HostKeyId,
    Model,
    ModelId,
    Policy,
    PolicyId,
    WireShape,
)
from relay_edge.catalog.snapshot import Snapshot

MAX_KEPT_ROUTES = 50_000


@dataclass(frozen=True, slots=True)
class Stop:
    """A host that serves the model: enabled, with at least one enabled key."""

    binding: HostBinding
    host: Host
    keys: tuple[HostKey, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """The stops of a model for callers of one wire shape, the first to be tried first."""

    model: Model
    shape: WireShape  # the caller's; a stop of another one gets the call translated
    stops: tuple[Stop, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to serve a call."""

    binding: HostBinding
    host: Host
    key: HostKey


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
        self._routes: dict[tuple[PolicyId, str, WireShape], Route] = {}
        self._reachable: dict[PolicyId, tuple[Model, ...]] = {}

    def route(self, policy: Policy | None, name: str, shape: WireShape) -> Route:
        """Where a call goes. Raises ModelNotFound, ModelForbidden, NoHostKey."""
        if policy is None:
            raise ModelForbidden(
                "This relay key has no policy, so it reaches no model. Ask the project's owner for one."
            )
        found = self._routes.get((policy.id, name, shape))
        if found is not None:
            return found
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
        route = self._routes[policy.id, name, shape] = Route(model, shape, stops)
        return route

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


def first_candidate(route: Route, turn: int) -> Candidate:
    """The first stop, with the key whose turn it is."""
    stop = route.stops[0]
    return Candidate(stop.binding, stop.host, stop.keys[turn % len(stop.keys)])


def next_candidate(route: Route, turn: int, tried: Sequence[tuple[Candidate, Blame]]) -> Candidate | None:
    """The best candidate not yet tried, None when there is no other.

    Order: by stop, within it by turn; but a host that did not answer comes after every other host.
    """
    tried_keys: set[HostKeyId] = {candidate.key.id for candidate, _ in tried}
    silent_hosts = {candidate.host.id for candidate, blame in tried if blame is Blame.HOST}
    left = [
        Candidate(stop.binding, stop.host, stop.keys[(turn + step) % len(stop.keys)])
        for stop in route.stops
        for step in range(len(stop.keys))
        if stop.keys[(turn + step) % len(stop.keys)].id not in tried_keys
    ]
    return min(left, key=lambda candidate: candidate.host.id in silent_hosts, default=None)

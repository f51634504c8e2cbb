"""What is derived from an endpoint once for each snapshot, so that its calls look nothing up.

Bounded: at MOST_ENDPOINTS everything is forgotten and made anew as it is asked for. No I/O.
"""

from dataclasses import dataclass

from relay_contract.nouns import EndpointId
from relay_edge.catalog.snapshot import EndpointRoute, Snapshot
from relay_edge.charges import Charge
from relay_edge.fan_out_rules import FanOutRules, read_rules

MOST_ENDPOINTS = 10_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """One endpoint, ready to serve."""

    charges: tuple[Charge, ...]  # the endpoint's own limit, beside those of the caller
    methods: frozenset[str]
    allow: str  # the same, for a 405
    rules: FanOutRules  # which async targets get a call


class PreparedEndpoints:
    """One for each process."""

    __slots__ = ("_known", "_snapshot")

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._known: dict[EndpointId, Prepared] = {}

    def of(self, snapshot: Snapshot, route: EndpointRoute) -> Prepared:
        """The endpoint of this route."""
        if snapshot is not self._snapshot or len(self._known) >= MOST_ENDPOINTS:
            self._snapshot, self._known = snapshot, {}
        known = self._known.get(route.endpoint.id)
        if known is None:
            known = self._known[route.endpoint.id] = _prepare(snapshot, route)
        return known


def _prepare(snapshot: Snapshot, route: EndpointRoute) -> Prepared:
    methods = ("POST",)
    return Prepared(_charges(snapshot, route), frozenset(methods), ", ".join(methods), read_rules(route.every_target))


def _charges(snapshot: Snapshot, route: EndpointRoute) -> tuple[Charge, ...]:
    limit_id = route.endpoint.rate_limit_id
    limit = None if limit_id is None else snapshot.rate_limit(limit_id)
    return () if limit is None or not limit.rules else (Charge("endpoint", route.endpoint.id, limit),)

"""What is derived from an endpoint once for each snapshot, so that its calls look nothing up.

Bounded: at MOST_ENDPOINTS everything is forgotten and made anew as it is asked for. No I/O.
"""

from dataclasses import dataclass

from relay_contract.nouns import Endpoint, EndpointAuth, EndpointId, KeyMode
from relay_contract.sealing import Sealer
from relay_contract.shield import methods_taken
from relay_edge.catalog.snapshot import EndpointRoute, Snapshot
from relay_edge.charges import NO_CHARGES, Charge, ChargeSet, charge_set
from relay_edge.fan_out_rules import FanOutRules, read_rules
from relay_edge.guards import Guard, guard_of
from relay_edge.purses import PurseSet, purse_set

MOST_ENDPOINTS = 10_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """One endpoint, ready to serve."""

    charges: tuple[Charge, ...]  # the endpoint's own limit, beside those of the caller
    methods: frozenset[str]
    allow: str  # the same, for a 405
    guard: Guard | None  # what it asks of calls beyond a relay key; None: nothing
    signed_charges: ChargeSet  # of a caller that shows a signature and no key
    signed_purses: PurseSet
    rules: FanOutRules  # which async targets get a call


class PreparedEndpoints:
    """One for each process."""

    __slots__ = ("_guards", "_known", "_sealer", "_snapshot")

    def __init__(self, sealer: Sealer | None = None) -> None:
        """`sealer`: opens signature secrets; without it no such call is let in."""
        self._sealer = sealer
        self._snapshot: Snapshot | None = None
        self._known: dict[EndpointId, Prepared] = {}
        # Kept from snapshot to snapshot: a new relay key somewhere is no reason to compile every schema anew.
        self._guards: dict[EndpointId, tuple[Endpoint, Guard | None]] = {}

    def of(self, snapshot: Snapshot, route: EndpointRoute) -> Prepared:
        """The endpoint of this route."""
        if snapshot is not self._snapshot or len(self._known) >= MOST_ENDPOINTS:
            self._snapshot, self._known = snapshot, {}
        known = self._known.get(route.endpoint.id)
        if known is None:
            known = self._known[route.endpoint.id] = _prepare(snapshot, route, self._guard(route.endpoint))
        return known

    def _guard(self, endpoint: Endpoint) -> Guard | None:
        made_of, guard = self._guards.get(endpoint.id, (None, None))
        if made_of is not endpoint:  # snapshots share the rows that did not change
            if len(self._guards) >= MOST_ENDPOINTS:
                self._guards.clear()
            guard = guard_of(endpoint, self._sealer)
            self._guards[endpoint.id] = (endpoint, guard)
        return guard


def _prepare(snapshot: Snapshot, route: EndpointRoute, guard: Guard | None) -> Prepared:
    methods = methods_taken(route.endpoint.methods, ((one.delivery_mode, one.role) for one in route.every_target))
    is_signed = route.endpoint.auth is EndpointAuth.SIGNATURE
    signed_charges = _signed_charges(snapshot, route) if is_signed else NO_CHARGES
    rules = read_rules(route.every_target)
    return Prepared(
        _charges(snapshot, route),
        frozenset(methods),
        ", ".join(methods),
        guard,
        signed_charges,
        purse_set(route.project, KeyMode.LIVE),
        rules,
    )


def _charges(snapshot: Snapshot, route: EndpointRoute) -> tuple[Charge, ...]:
    limit_id = route.endpoint.rate_limit_id
    limit = None if limit_id is None else snapshot.rate_limit(limit_id)
    return () if limit is None or not limit.rules else (Charge("endpoint", route.endpoint.id, limit),)


def _signed_charges(snapshot: Snapshot, route: EndpointRoute) -> ChargeSet:
    """A signature is no key, policy or user: the project's own limit counts."""
    limit_id = route.project.rate_limit_id
    limit = None if limit_id is None else snapshot.rate_limit(limit_id)
    if limit is None or not limit.rules:
        return NO_CHARGES
    return charge_set((Charge("project", route.project.id, limit),))

"""Who calls an endpoint, and whether it is theirs to call. No I/O."""

import time

from relay_contract.errors import EndpointNotFound, WrongProject
from relay_contract.nouns import (
    DEFAULT_TEST_RULES,
    EndpointAuth,
    KeyMode,
    RateLimit,
    RateLimitId,
    RelayKeyId,
    Scope,
)
from relay_edge.auth import Authenticator
from relay_edge.caller import Caller
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.charges import Charge, ChargeSet, charge_set
from relay_edge.relay_call import RelayCall, RelayCaller

MOST_TEST_KEYS = 10_000

_SIGNATURE, _LIVE = EndpointAuth.SIGNATURE, KeyMode.LIVE  # an enum's members cost 50 ns to look up

_TEST_RATE_LIMIT = RateLimit(RateLimitId(0), "test-keys", DEFAULT_TEST_RULES)
"""Of a project that names none for its test keys. No row has the id 0."""


class RelayCallers:
    """One for each process."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._snapshot: Snapshot | None = None
        self._test_charges: dict[RelayKeyId, ChargeSet] = {}

    def identify(self, call: RelayCall) -> None:
        """Fills in the caller who shows a relay key. Raises an Unauthenticated or a Forbidden, whether or not there is
        such an endpoint. Where an endpoint asks for a signature alone, the caller stays unknown until the body is
        checked (`Shield.after_body`), and so leaves no trace."""
        found = call.found
        if found is not None and found.endpoint.auth is _SIGNATURE:
            return
        caller = self._authenticator.caller_of(call.snapshot, call.request, Scope.RELAY, time.time())
        mode = caller.mode
        charges = caller.charges if mode is _LIVE else self._with_test_pool(call.snapshot, caller)
        call.identified = RelayCaller(caller.project, caller.relay_key, mode, charges, caller.purses)

    def _with_test_pool(self, snapshot: Snapshot, caller: Caller) -> ChargeSet:
        """The limits of a test key, and the one that all test keys of its project share."""
        if snapshot is not self._snapshot or len(self._test_charges) >= MOST_TEST_KEYS:
            self._snapshot, self._test_charges = snapshot, {}
        key = caller.relay_key
        assert key is not None  # no token of a user has the scope `relay`
        known = self._test_charges.get(key.id)
        if known is None:
            limit_id = caller.project.test_rate_limit_id
            limit = None if limit_id is None else snapshot.rate_limit(limit_id)
            pool = Charge("test_pool", caller.project.id, limit or _TEST_RATE_LIMIT)
            known = self._test_charges[key.id] = charge_set((*caller.charges.charges, pool))
        return known


def check_route(call: RelayCall) -> None:
    """Whether this caller may use what was found. Raises EndpointNotFound or WrongProject.

    What is another project's is forgotten here, so that nothing kept of the call names it.
    """
    caller = call.identified
    if caller is None:
        return  # `identify` has seen that the endpoint asks for a signature
    project = None if call.address is None else call.snapshot.project_by_slug(call.address.project)
    if project is None:
        raise EndpointNotFound
    if project.id != caller.project.id:
        call.found = None
        raise WrongProject
    if call.found is None:
        raise EndpointNotFound

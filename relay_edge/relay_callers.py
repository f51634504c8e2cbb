"""Who calls an endpoint, and whether it is theirs to call. No I/O."""

import time

from relay_contract.errors import EndpointNotFound, WrongProject
from relay_contract.nouns import Scope
from relay_edge.auth import Authenticator
from relay_edge.relay_call import RelayCall, RelayCaller


class RelayCallers:
    """One for each process."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def identify(self, call: RelayCall) -> None:
        """Fills in the caller. Raises an Unauthenticated or a Forbidden, whether or not there is such an endpoint."""
        caller = self._authenticator.authenticate(call.snapshot, call.request.headers, Scope.RELAY, time.time())
        call.identified = RelayCaller(caller.project, caller.key, caller.key.mode, caller.charges)


def check_route(call: RelayCall) -> None:
    """Whether this caller may use what was found. Raises EndpointNotFound or WrongProject.

    What is another project's is forgotten here, so that nothing kept of the call names it.
    """
    project = None if call.address is None else call.snapshot.project_by_slug(call.address.project)
    if project is None:
        raise EndpointNotFound
    if project.id != call.caller.project.id:
        call.found = None
        raise WrongProject
    if call.found is None:
        raise EndpointNotFound

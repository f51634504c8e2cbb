"""What may pass to an endpoint, before and after its body was read. No I/O."""

from aiohttp import web

from relay_contract.errors import MethodNotAllowed
from relay_contract.headers import HOPS
from relay_edge.relay_call import RelayCall
from relay_edge.relay_hops import read_hops


class Shield:
    """One for each process."""

    def before_body(self, call: RelayCall) -> None:
        """What the head alone decides. Raises MethodNotAllowed, RelayLoop or BadHeader."""
        if call.request.method not in call.prepared.methods:
            raise MethodNotAllowed(allow=call.prepared.allow)
        if HOPS in call.request.headers:
            call.hops = read_hops(call.request.headers.getall(HOPS))

    async def after_body(self, call: RelayCall) -> web.StreamResponse | None:  # noqa: ARG002 - no rule needs it yet
        """What the body decides. An answer ends the call: nothing of it is accepted."""
        return None

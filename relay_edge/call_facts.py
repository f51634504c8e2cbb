"""A call as conditions and ordering keys see it. Its body is decoded once for all who ask. Pure."""

from relay_contract.shaping import facts
from relay_edge.relay_call import NOT_JSON, RelayCall


class CallFacts(facts.Facts):
    """The facts of one call."""

    __slots__ = ("_call",)

    def __init__(self, call: RelayCall) -> None:
        super().__init__(
            body=call.body,
            headers=call.headers,
            event_type=call.event_type,
            method=call.request.method,
            path=call.request.rel_url.raw_path,
            request_id=str(call.request_id),
            received_at=call.received_at.isoformat(),
        )
        self._call = call

    def document(self) -> object:
        """The call's own, which whoever checks the body has decoded already."""
        document = self._call.document()
        return facts.NOT_JSON if document is NOT_JSON else document

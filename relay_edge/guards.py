"""What an endpoint asks of calls beyond a relay key, made ready once for each of its configurations. No I/O.

Most endpoints ask nothing: they have no guard, and a call to them costs two comparisons here.
"""

from dataclasses import dataclass

from relay_contract.networks import Networks
from relay_contract.nouns import Endpoint, EndpointAuth
from relay_contract.sealing import Sealer
from relay_contract.shaping.paths import PathError, Reference, parse_reference
from relay_contract.shield import ContentTypes
from relay_edge.body_schemas import BodySchema
from relay_edge.caller_signatures import CallerSignature


@dataclass(frozen=True, slots=True, eq=False)
class Guard:
    """Of one endpoint; what is None is not asked."""

    networks: Networks | None
    content_types: ContentTypes | None
    signature: CallerSignature | None
    schema: BodySchema | None
    event_type: Reference | None
    fault: str  # what of it cannot be used, so that no call can be let in; "" nothing


def guard_of(endpoint: Endpoint, sealer: Sealer | None) -> Guard | None:
    """None where the endpoint asks nothing. Raises nothing: rows may have been written past every form."""
    signature = None if endpoint.auth is EndpointAuth.RELAY_KEY else CallerSignature(endpoint, sealer)
    fault = "" if signature is None or signature.is_usable else "signature"
    networks: Networks | None = None
    event_type: Reference | None = None
    try:
        networks = Networks(endpoint.allowed_networks) if endpoint.allowed_networks else None
    except ValueError:
        fault = "allowed networks"
    try:
        event_type = parse_reference(endpoint.event_type_from) if endpoint.event_type_from else None
    except PathError:
        fault = "place of the event type"
    if event_type is not None and event_type.source not in ("header", "body"):
        fault = "place of the event type"
    types = ContentTypes.of(endpoint.content_types) if endpoint.content_types else None
    schema = None if endpoint.json_schema is None else BodySchema(endpoint.json_schema.value)
    asked = (networks, types, signature, schema, event_type)
    if not fault and all(one is None for one in asked):
        return None
    return Guard(networks, types, signature, schema, event_type, fault)

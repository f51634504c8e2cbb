"""What fields of a row, and rows beside each other, ask of one another. Pure: forms and catalog documents ask alike.

A refusal is the name of a field and what to write instead. Rows are models, saved or not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from relay_contract import inbound_signatures, nouns
from relay_contract.nouns import DeliveryMode, EndpointAuth, TargetAuth, TargetRole
from relay_contract.schemas import SchemaError, compile_schema
from relay_contract.shaping.checking import Fault
from relay_contract.shaping.conditions import check_conditions
from relay_contract.shaping.mapping import check_mapping
from relay_contract.shaping.paths import PathError, parse_reference

if TYPE_CHECKING:
    from relay_admin.catalog.models import Endpoint, Target


MAX_FAULTS = 5
"""Of a document, told at once."""


def endpoint_refusals(endpoint: Endpoint) -> dict[str, str]:
    """What of this endpoint does not go together, or no edge could check calls by."""
    refusals = _signature_refusals(endpoint)
    if endpoint.json_schema is not None:
        try:
            compile_schema(endpoint.json_schema)
        except SchemaError as refused:
            refusals["json_schema"] = str(refused)
    if endpoint.event_type_from:
        try:
            parse_reference(endpoint.event_type_from)
        except PathError as refused:
            refusals["event_type_from"] = f"{str(refused)[0].upper()}{str(refused)[1:]}."
    return refusals


def _signature_refusals(endpoint: Endpoint) -> dict[str, str]:
    preset, config = endpoint.signature_preset, endpoint.signature_config
    if not isinstance(config, dict):  # Django asks no validator about an empty list
        return {"signature_config": "Write an object."}
    if not preset:
        if endpoint.auth != EndpointAuth.RELAY_KEY:
            return {"signature_preset": "Choose whose signature the callers carry."}
        return {"signature_config": "These settings belong to a preset: choose one."} if config else {}
    if preset not in inbound_signatures.PRESETS:
        return {}  # the field's own validator says so
    try:
        inbound_signatures.read_config(preset, config)
    except inbound_signatures.ConfigError as refused:
        return {"signature_config": str(refused)}
    return {}


def signature_secret_refusals(endpoint: Endpoint, *, has_secret: bool) -> dict[str, str]:
    """An enabled endpoint that checks signatures has what it checks them by, or it would refuse every call."""
    if has_secret or not endpoint.is_enabled or endpoint.auth == EndpointAuth.RELAY_KEY:
        return {}
    return {
        "auth": "Its callers' signatures need their secret (in a document signature_secret_env). Save the endpoint"
        " disabled, set the secret, then enable it."
    }


def target_refusals(target: Target, siblings: Iterable[Target]) -> dict[str, str]:
    """What of this target does not go together, or not with the other targets of its endpoint."""
    others = list(siblings)
    refusals = _shaping_refusals(target) | _mode_refusals(target) | _auth_refusals(target) | _ordering_refusals(target)
    if target.compares_with:
        if target.role != TargetRole.SHADOW:
            refusals["compares_with"] = "Only a shadow is compared."
        elif not any(one.name == target.compares_with and one.role == TargetRole.LIVE for one in others):
            refusals["compares_with"] = f"The endpoint has no live target {target.compares_with!r}."
    if target.role != TargetRole.SHADOW and target.sample_permyriad != nouns.MAX_SAMPLE_PERMYRIAD:
        refusals["sample_permyriad"] = "Only a shadow gets a share of the calls; a live target gets each."
    if len(others) >= nouns.MAX_TARGETS:
        refusals["name"] = f"An endpoint has at most {nouns.MAX_TARGETS} targets."
    return refusals


def is_response(target: Target) -> bool:
    """Whether its answer is the caller's."""
    return target.is_enabled and target.delivery_mode in nouns.RESPONSE_MODES


def _mode_refusals(target: Target) -> dict[str, str]:
    mode, refusals = target.delivery_mode, {}
    if target.role == TargetRole.SHADOW and mode != DeliveryMode.ASYNC:
        refusals["delivery_mode"] = "A shadow is async: it never touches the caller."
    if target.conditions is not None and mode in nouns.RESPONSE_MODES:
        refusals["conditions"] = "The target that answers the callers gets every call."
    if mode == DeliveryMode.STREAM:
        refusals |= _stream_refusals(target)
    if target.answer_mapping is not None and mode != DeliveryMode.SYNC:
        refusals["answer_mapping"] = "Only a sync target has an answer to map."
    if target.ordering_key and (mode != DeliveryMode.ASYNC or target.role != TargetRole.LIVE):
        refusals["ordering_key"] = "Only deliveries to a live async target are ordered."
    return refusals


def _stream_refusals(target: Target) -> dict[str, str]:
    """The edge calls such a target itself, and passes its bytes on as they come."""
    refusals = {}
    for limit in ("rate_amount", "max_in_flight"):
        if getattr(target, limit) is not None:
            refusals[limit] = "Workers keep this limit, and a stream does not pass them: leave it empty."
    if target.mapping is not None:
        refusals["mapping"] = "A stream is passed on as it comes."
    return refusals


def _shaping_refusals(target: Target) -> dict[str, str]:
    """Mistakes in the documents of the shaping language, each with its place."""
    faults = {
        name: check(document)
        for name, check, document in (
            ("conditions", check_conditions, target.conditions),
            ("mapping", check_mapping, target.mapping),
            ("answer_mapping", check_mapping, target.answer_mapping),
        )
        if document is not None
    }
    return {name: " ".join(map(_sentence, found[:MAX_FAULTS])) for name, found in faults.items() if found}


def _sentence(fault: Fault) -> str:
    return f"At {fault.place}: {fault.text}." if fault.place else f"{fault.text[0].upper()}{fault.text[1:]}."


def _auth_refusals(target: Target) -> dict[str, str]:
    kind, config = target.auth_kind, target.auth_config
    if not isinstance(config, dict):  # Django asks no validator about an empty list
        return {"auth_config": "Write an object."}
    if kind != TargetAuth.NONE and any(name.lower() == "authorization" for name in target.headers):
        return {"headers": "Authentication writes the Authorization header: leave it out here."}
    if target.client_certificate and not target.url.lower().startswith("https:"):
        return {"client_certificate": "A certificate is shown over https only, and the URL begins with http:."}
    if kind == TargetAuth.BASIC and not config.get("username"):
        return {"auth_config": "basic needs `username`."}
    if kind == TargetAuth.OAUTH2 and not (config.get("token_url") and config.get("client_id")):
        return {"auth_config": "oauth2 needs `token_url` and `client_id`."}
    return {}


def _ordering_refusals(target: Target) -> dict[str, str]:
    if target.ordering_key:
        try:
            parse_reference(target.ordering_key)
        except PathError as mistake:
            return {"ordering_key": str(mistake)}
    return {}

"""What may pass to an endpoint, before and after its body was read.

Cheap and telling little first: the address, whether the endpoint can check its callers at all, the method, the count of
relays, the body's type; then, with the body, the signature, the schema, the event type. Whoever has shown neither key
nor signature by then is nobody: a refusal of theirs is counted and kept nowhere. No I/O.
"""

import time

from aiohttp import web

from relay_contract.errors import (
    AddressNotAllowed,
    ContentTypeNotAllowed,
    EndpointMisconfigured,
    MethodNotAllowed,
    SchemaMismatch,
    SignatureExpired,
    SignatureInvalid,
    SignatureMissing,
)
from relay_contract.headers import HOPS, REQUEST_ID
from relay_contract.inbound_signatures import Verdict, slack_challenge
from relay_contract.nouns import KeyMode, SignaturePreset
from relay_contract.shaping.paths import Reference, follow
from relay_contract.shield import OFTEN_WITHOUT_BODY, event_type_of
from relay_edge.body import CODINGS_TEXT, UNDONE_CODINGS
from relay_edge.caller_signatures import CallerSignature
from relay_edge.guards import Guard
from relay_edge.relay_call import MOST_VALUES, NOT_JSON, RelayCall, RelayCaller
from relay_edge.relay_hops import read_hops
from relay_edge.reply import send

_NO_DOCUMENT = f"The body is not JSON, nests too deep, or holds more than {MOST_VALUES} values."


class Shield:
    """One for each process."""

    def before_body(self, call: RelayCall) -> None:
        """What the head alone decides. Raises AddressNotAllowed, EndpointMisconfigured, MethodNotAllowed, RelayLoop,
        BadHeader or ContentTypeNotAllowed."""
        prepared = call.prepared
        guard = prepared.guard
        if guard is not None:
            _check_address(call, guard)
        request = call.request
        if request.method not in prepared.methods:
            raise MethodNotAllowed(allow=prepared.allow)
        if HOPS in request.headers:
            call.hops = read_hops(request.headers.getall(HOPS))
        if "Content-Encoding" in request.headers:
            _check_coding(call, guard)
        if guard is not None:
            _check_content_type(call, guard)

    async def after_body(self, call: RelayCall) -> web.StreamResponse | None:
        """What the body decides, and what the call is about. An answer ends the call: nothing of it is accepted.
        Raises a SignatureMissing, SignatureInvalid, SignatureExpired, EndpointMisconfigured or SchemaMismatch."""
        guard = call.prepared.guard
        if guard is None:
            return None
        if guard.signature is not None:
            _check_signature(call, guard.signature)
            if (
                guard.signature.preset == SignaturePreset.SLACK
                and (challenge := slack_challenge(call.body)) is not None
            ):
                return _answered(call, challenge)
        if guard.schema is not None and _has_body(call):
            if call.document() is NOT_JSON:
                raise SchemaMismatch(text=_NO_DOCUMENT)
            await guard.schema.check(call.document())
        if guard.event_type is not None:
            call.event_type = _event_type(call, guard.event_type)
        return None


def _check_address(call: RelayCall, guard: Guard) -> None:
    if guard.networks is not None and call.client_ip not in guard.networks:
        raise AddressNotAllowed
    if guard.fault:
        _recognise(call)
        raise EndpointMisconfigured(f"The {guard.fault} of this endpoint cannot be used. Its owner has to mend it.")


def _check_coding(call: RelayCall, guard: Guard | None) -> None:
    """The server undoes one coding, and targets are told of none: what it left as it is would reach them unreadable."""
    codings = [coding.strip().lower() for coding in call.request.headers.getall("Content-Encoding")]
    if guard is not None and guard.signature is not None and any(each not in ("", "identity") for each in codings):
        # A signature is over the bytes as they were sent.
        raise ContentTypeNotAllowed("A signed call is not compressed. Send its body without a content-encoding.")
    if len(codings) > 1 or codings[0] not in UNDONE_CODINGS:
        raise ContentTypeNotAllowed(CODINGS_TEXT)


def _check_content_type(call: RelayCall, guard: Guard) -> None:
    if guard.content_types is not None and _has_body(call):
        written = call.request.headers.getall("Content-Type", ())
        if len(written) != 1 or written[0] not in guard.content_types:
            raise ContentTypeNotAllowed


def _has_body(call: RelayCall) -> bool:
    """False for a call that has none by its nature; an empty body of any other is a body."""
    return call.request.body_exists or call.request.method not in OFTEN_WITHOUT_BODY


def _check_signature(call: RelayCall, signature: CallerSignature) -> None:
    match signature.judge(call.request, call.body, time.time()):
        case Verdict.OK:
            _recognise(call)
        case Verdict.MISSING:
            raise SignatureMissing
        case Verdict.EXPIRED:
            _recognise(call)  # the secret is theirs, and their clock or a replay is something to be shown
            raise SignatureExpired
        case Verdict.UNKNOWN:
            _recognise(call)  # ours to mend, so it is kept
            raise EndpointMisconfigured
        case _:
            raise SignatureInvalid


def _recognise(call: RelayCall) -> None:
    """A caller without a relay key is the endpoint's own project."""
    if call.identified is None:
        prepared, project = call.prepared, call.route.project
        call.identified = RelayCaller(project, None, KeyMode.LIVE, prepared.signed_charges, prepared.signed_purses)


def _answered(call: RelayCall, text: str) -> web.StreamResponse:
    call.status = 200
    lines = ((REQUEST_ID, str(call.request_id)),)
    return send(call.request, 200, text.encode("utf-8", "replace"), content_type="text/plain", lines=lines)


def _event_type(call: RelayCall, reference: Reference) -> str:
    if reference.source == "header":
        return event_type_of(call.headers.get(reference.name))
    return event_type_of(follow(call.document(), reference.steps))

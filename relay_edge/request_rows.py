"""What is stored of a call. Pure."""

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from multidict import CIMultiDictProxy

from relay_contract import headers
from relay_contract.errors import BadHeader
from relay_contract.intake import IdempotencyRow, Origin, PayloadRow, RequestRow
from relay_contract.traffic import RefusedRequestRow
from relay_edge.fan_out import FanOut
from relay_edge.intake import Accepted
from relay_edge.relay_call import RelayCall
from relay_edge.reply import MAX_REQUEST_ID_LENGTH

MAX_CONTENT_TYPE_LENGTH = 255
MAX_METHOD_LENGTH = 8
MAX_PATH_LENGTH = 512
MAX_QUERY_LENGTH = 2_048
CONTENT_TYPE = "content-type"
_CALLER = Origin.CALLER.value
_ACCEPTED = 202

_VALUE = re.compile(r"[\t\x20-\x7e]*")
"""RFC 9110 section 5.5 without obs-text: targets do not agree how to decode it, so it is refused and not altered."""


def stored_headers(sent: CIMultiDictProxy[str], hops: int = 0) -> dict[str, str]:
    """The caller's headers that reach targets, names in lower case, repeated ones joined (RFC 9110 section 5.3), and
    through how many relays the call came, this one included.

    What `Connection` names ends here too (section 7.6.1); the content type has a column of its own. Raises BadHeader
    for a value that HTTP does not allow, too many headers, or too many bytes of them.
    """
    kept: dict[str, str] = {}
    size_bytes = 0
    withheld = {CONTENT_TYPE, *(name.strip().lower() for name in sent.get("connection", "").split(","))}
    for raw_name, value in sent.items():
        name = raw_name.lower()
        if name in withheld or not headers.reaches_targets(name):
            continue
        if not _VALUE.fullmatch(value):
            raise BadHeader(f"The header {name[:64]} holds characters that cannot be sent on. Use printable ASCII.")
        size_bytes += len(name) + len(value)
        kept[name] = f"{kept[name]}, {value}" if name in kept else value
    if len(kept) > headers.MAX_STORED_HEADERS or size_bytes > headers.MAX_STORED_HEADER_BYTES:
        raise BadHeader(
            f"At most {headers.MAX_STORED_HEADERS} headers of {headers.MAX_STORED_HEADER_BYTES} bytes in all travel on"
            " to the targets. Leave some out."
        )
    kept[headers.HOPS] = str(hops + 1)
    return kept


def content_type_of(sent: Mapping[str, str]) -> str:
    """The content type as sent, "" when there is none. Raises BadHeader."""
    value = sent.get(CONTENT_TYPE, "")
    if len(value) > MAX_CONTENT_TYPE_LENGTH or not _VALUE.fullmatch(value):
        raise BadHeader(
            f"The content type is longer than {MAX_CONTENT_TYPE_LENGTH} characters, or not printable ASCII."
        )
    return value


def caller_request_id_of(sent: Mapping[str, str]) -> str:
    """x-request-id where it is short and printable, else ""."""
    value = sent.get(headers.REQUEST_ID, "")
    return value if len(value) <= MAX_REQUEST_ID_LENGTH and value.isascii() and value.isprintable() else ""


def read_headers(call: RelayCall) -> None:
    """Fills in what of the call's head is kept and sent on. Raises BadHeader."""
    sent = call.request.headers
    call.content_type = content_type_of(sent)
    call.headers = stored_headers(sent, call.hops)


def accepted(call: RelayCall, fan_out: FanOut) -> Accepted:
    """The rows of a call that is about to be committed."""
    rows = fan_out.rows
    request = RequestRow(
        **_known(call),
        target_count=len(rows),
        filtered_count=fan_out.filtered_count,
        status=_ACCEPTED if fan_out.response is None else 0,
        error="",
    )
    return Accepted(request, PayloadRow(call.request_id, call.received_at, call.body), rows, _key(call))


def refused(call: RelayCall) -> RefusedRequestRow:
    """The row of a call whose caller was known and is answered by now. Its body is kept nowhere."""
    return RefusedRequestRow(**_known(call), target_count=0, filtered_count=0, status=call.status, error=call.error)


def _known(call: RelayCall) -> dict[str, Any]:
    """What both rows say, as far as the call came. What was not read yet was not checked either, and is left out."""
    caller, found, url = call.caller, call.found, call.request.rel_url
    return {
        "id": call.request_id,
        "project_id": caller.project.id,
        "line_id": None if found is None else found.line.id,
        "endpoint_id": None if found is None else found.endpoint.id,
        "relay_key_id": None if caller.key is None else caller.key.id,
        "mode": str(caller.mode),
        "origin": _CALLER,
        "received_at": call.received_at,
        "revision": 0 if found is None else found.line.revision,
        "method": call.request.method[:MAX_METHOD_LENGTH],
        "path": url.raw_path[:MAX_PATH_LENGTH],
        "query": url.raw_query_string[:MAX_QUERY_LENGTH],
        "event_type": call.event_type,
        "caller_request_id": caller_request_id_of(call.request.headers),
        "client_ip": call.client_ip,
        "content_type": call.content_type,
        "headers": json.dumps(call.headers),
        "body_bytes": len(call.body),
        "idempotency_key": "" if call.key is None else call.key.key,
        "accept_us": int((time.monotonic() - call.started) * 1_000_000),
    }


def _key(call: RelayCall) -> IdempotencyRow | None:
    if call.key is None:
        return None
    endpoint = call.route.endpoint
    return IdempotencyRow(endpoint.id, call.key.key, call.request_id, call.key.body_hash, endpoint.idempotency_seconds)

"""A host's own words for its refusal, in the caller's shape, kept until it is known whether the caller sees them.

In the caller's own shape they stay the host's bytes; in another they are translated and scrubbed.
"""

import math
from dataclasses import dataclass

from relay_contract import headers
from relay_contract.errors import MalformedJson
from relay_contract.nouns import WireShape
from relay_contract.traffic import ErrorSource
from relay_edge.error_shapes import ErrorShape, HostRefusal, host_refusal_body
from relay_edge.host_answer import Refusal
from relay_edge.protocols import SURFACES
from relay_edge.protocols.fields import decode_object
from relay_edge.protocols.translation import HOST_CODECS, Translation
from relay_edge.streaming import CallerStream
from relay_edge.upstream import Head

_WAIT_STATUSES = frozenset({429, 503, 529})
"""Answers that always say when to come back."""

_DEFAULT_WAIT_MS = 1_000
_WAIT_HEADERS = frozenset({b"retry-after", b"retry-after-ms"})
_JSON_LINES = [(b"content-type", b"application/json")]


@dataclass(frozen=True, slots=True)
class Words:
    """A refusal as the caller may see it."""

    head: Head
    body: bytes


def host_refusal(refusal: Refusal, host_shape: WireShape) -> HostRefusal:
    """What the vendor says is wrong, as far as its body tells: Gemini's 400 for a wrong key is read as a 401."""
    status = refusal.head.status
    return HOST_CODECS[host_shape].read_error(status, refusal.body) if refusal.is_whole else HostRefusal(status, "")


def words_of(
    refusal: Refusal, caller_shape: WireShape, translation: Translation | None, request_id: str, secret: bytes
) -> Words:
    """`translation` None: the host speaks the caller's shape. `secret`: the host key, which is shown as stars."""
    status = refusal.head.status
    if not refusal.is_whole:
        body = _without_reason(status, SURFACES[caller_shape].error_shape, request_id)
        return Words(Head(status, _JSON_LINES, None, False), body)
    body = refusal.body.replace(secret, b"*" * len(secret)) if secret else refusal.body
    if translation is None:
        return Words(refusal.head, body)
    status, body = translation.refusal(status, body, request_id)
    return Words(Head(status, _JSON_LINES, None, False), body)


def tell(stream: CallerStream, words: Words, further_lines: bytes, source: ErrorSource, wait_ms: int | None) -> bool:
    """Makes them the caller's answer, or, after a ping, an event of their body alone. `wait_ms`: when it may come back;
    None: nobody knows. False: they would break out of their header lines, and nothing was sent."""
    head = words.head
    if stream.is_open:
        stream.refuse(head.status, _in_one_line(words, stream.error_shape, stream.request_id))
        return True
    if wait_ms is None and head.status in _WAIT_STATUSES:
        wait_ms = _DEFAULT_WAIT_MS
    lines = f"{headers.ERROR_SOURCE}: {source.value}\r\n"
    if wait_ms is not None:
        lines += f"{headers.RETRY_AFTER}: {max(1, math.ceil(wait_ms / 1000))}\r\n"
    kept = [(name, value) for name, value in head.headers if name.lower() not in _WAIT_HEADERS]
    if not stream.begin(Head(head.status, kept, None, False), further_lines + lines.encode("ascii")):
        return False
    stream.write(words.body, True)
    return True


def _in_one_line(words: Words, shape: ErrorShape, request_id: str) -> bytes:
    """For an event, which ends with its line. What is no error of the shape is replaced."""
    try:
        is_error = isinstance(decode_object(words.body).get("error"), dict)
    except MalformedJson:
        is_error = False
    if not is_error:
        return _without_reason(words.head.status, shape, request_id)
    return words.body.translate(None, b"\r\n")  # in JSON they only stand between tokens


def _without_reason(status: int, shape: ErrorShape, request_id: str) -> bytes:
    text = f"The host of this model answered with status {status}, and with no reason that can be passed on."
    return host_refusal_body(HostRefusal(status, text), shape, request_id)

"""Errors in the caller's wire shape. Nothing else writes error bodies.

| shape | body | source (2026-11) |
|---|---|---|
| OPENAI | `{"error": {"message", "type", "param", "code"}}` | platform.openai.com/docs/guides/error-codes |
| ANTHROPIC | `{"type": "error", "error": {"type", "message"}, "request_id"}` | docs.anthropic.com/en/api/errors |
| RELAY | `{"error": code, "message", "requestId"}` | ours, for everything that is no vendor's surface |

An error with figures that a program can act on (`RelayError.details`) has them as `details`, beside its code.

Pure.
"""

import math
from dataclasses import dataclass
from enum import Enum

import msgspec

from relay_contract import headers
from relay_contract.errors import BadField, MethodNotAllowed, RateLimited, RelayError

_encode = msgspec.json.Encoder().encode


class ErrorShape(Enum):
    """Whose JSON an error is written in."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    RELAY = "relay"


_OPENAI_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_FIRST_SERVER_ERROR = 500


def openai_type(status: int) -> str:
    """OpenAI's `error.type` for a status."""
    return _OPENAI_TYPES.get(status) or ("invalid_request_error" if status < _FIRST_SERVER_ERROR else "server_error")


def anthropic_type(status: int) -> str:
    """Anthropic's `error.type` for a status."""
    return _ANTHROPIC_TYPES.get(status) or ("invalid_request_error" if status < _FIRST_SERVER_ERROR else "api_error")


def error_body(error: RelayError, shape: ErrorShape, request_id: str) -> bytes:
    """The JSON of an error. A cut stream sends the same document as an event."""
    details = {} if error.details is None else {"details": dict(error.details)}
    match shape:
        case ErrorShape.OPENAI:
            inner = {
                "message": error.public_text,
                "type": openai_type(error.status),
                "param": _param(error),
                "code": error.code,
                **details,
            }
            return _encode({"error": inner})
        case ErrorShape.ANTHROPIC:
            reason = {"type": anthropic_type(error.status), "message": error.public_text, **details}
            return _encode({"type": "error", "error": reason, "request_id": request_id})
        case ErrorShape.RELAY:
            return _encode({"error": error.code, "message": error.public_text, "requestId": request_id, **details})


def _param(error: RelayError) -> str | None:
    if isinstance(error, BadField):
        return error.field or None
    return "model" if error.code.startswith("model_") else None


@dataclass(frozen=True, slots=True)
class HostRefusal:
    """An upstream host's own error, read out of its shape: the caller's to see, in the caller's shape."""

    status: int  # the host's, or the nearest one that the caller's vendor uses
    message: str
    code: str | None = None
    param: str | None = None
    retry_after_seconds: float | None = None  # said in the body; None: not there


def host_refusal_body(refusal: HostRefusal, shape: ErrorShape, request_id: str) -> bytes:
    """The JSON of a host's error."""
    if shape is ErrorShape.ANTHROPIC:
        reason = {"type": anthropic_type(refusal.status), "message": refusal.message}
        return _encode({"type": "error", "error": reason, "request_id": request_id})
    inner = {
        "message": refusal.message,
        "type": openai_type(refusal.status),
        "param": refusal.param,
        "code": refusal.code,
    }
    return _encode({"error": inner})


def error_headers(error: RelayError, allow: str = "") -> tuple[tuple[str, str], ...]:
    """Headers an error answer carries besides the usual ones. `allow`: the methods an address takes, for a 405."""
    lines: list[tuple[str, str]] = []
    seconds = error.retry_after_seconds
    if seconds is None and (isinstance(error, RateLimited) or error.status == 503):
        seconds = 1.0
    if seconds is not None:
        lines.append((headers.RETRY_AFTER, str(max(1, math.ceil(seconds)))))  # RFC 9110 10.2.3: whole seconds
        lines.append((headers.RETRY_AFTER_MS, str(max(1, math.ceil(seconds * 1000)))))  # the vendors' SDKs prefer it
    if isinstance(error, MethodNotAllowed):
        lines.append(("allow", allow or error.allow))
    if error.challenge:
        lines.append(("www-authenticate", error.challenge))
    lines.append(("x-should-retry", "true" if error.retryable else "false"))  # the vendors' SDKs heed it
    lines.append((headers.ERROR_SOURCE, error.source.value))
    return tuple(lines)

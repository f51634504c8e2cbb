"""Errors as the relay names them.

RelayError
├── Unreachable           no answer came; `was_sent` says whether the call may have arrived
├── ApiError              an answer that says what is wrong
│   ├── InvalidCall       400, 404, 405, 409, 413, 415, 422, 508: the call cannot be served as it was sent
│   ├── Unauthenticated   401: the key or token is missing, unknown, expired or revoked
│   ├── PaymentRequired   402
│   │   ├── InsufficientCredits    `top_up_url` says where to add some, if the relay has such a place
│   │   └── BudgetExceeded         somebody set a cap; `resets_at` says when it begins anew
│   ├── Forbidden         403
│   ├── RateLimited       429
│   ├── UpstreamFailed    502, 504: the host or target did not answer as it should
│   └── Unavailable       500, 503: the relay's own to clear
├── SignInFailed          an OAuth step was refused, or a token can be renewed no more
└── WebhookError          a delivery that is not to be believed

`code` is the server's, from the error tree of its documentation; `action` what clears it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from relay_sdk.actions import action_of

_MOST_QUOTED = 500


class RelayError(Exception):
    """Everything that this package raises on purpose."""


class Unreachable(RelayError):
    """No whole answer came. `was_sent`: the relay may have got the call, and may have done it."""

    def __init__(self, text: str, *, was_sent: bool) -> None:
        self.was_sent = was_sent
        super().__init__(text)


class SignInFailed(RelayError):
    """`code` is OAuth's: `access_denied`, `expired_token`, `invalid_grant`, ..."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        super().__init__(text)


class WebhookError(RelayError):
    """The signature is wrong, missing, too old or of the future. Answer 4xx, and do nothing else."""


class ApiError(RelayError):
    """A refusal. `source`: whose fault it is, `client`, `relay` or `upstream`; empty where it was not said.

    `details`: figures that a program can act on, such as `available_microcredits`. `fields`: what is wrong with which
    value of the call, by its path, such as `ids.0`.
    """

    def __init__(
        self,
        *,
        status: int,
        code: str,
        message: str,
        action: str = "",
        source: str = "",
        request_id: str = "",
        retry_after_seconds: float | None = None,
        details: Mapping[str, Any] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.action = action or action_of(code)
        self.source = source
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds
        self.details: dict[str, Any] = dict(details or {})
        self.fields: dict[str, str] = dict(fields or {})
        super().__init__(status, code, message)

    def __str__(self) -> str:
        said = f"{self.code} ({self.status}): {self.message}"
        if self.action and self.action not in self.message:
            said += f" {self.action}"
        for path, problem in self.fields.items():
            said += f" {path}: {problem}"
        return f"{said} [request {self.request_id}]" if self.request_id else said


class InvalidCall(ApiError):
    """The call cannot be served as it was sent."""


class Unauthenticated(ApiError):
    """The key or token is missing, unknown, expired or revoked."""


class PaymentRequired(ApiError):
    """Somebody has to pay, or to allow it, first."""


class InsufficientCredits(PaymentRequired):
    """The wallet cannot pay the call."""

    @property
    def top_up_url(self) -> str | None:
        """Where to add credits."""
        found = self.details.get("top_up_url")
        return found if isinstance(found, str) else None

    @property
    def available_microcredits(self) -> int | None:
        """What the wallet can pay."""
        found = self.details.get("available_microcredits")
        return found if isinstance(found, int) else None


class BudgetExceeded(PaymentRequired):
    """A cap of the key, the user, the project or the application was reached."""

    @property
    def scope(self) -> str:
        """Whose cap: `key`, `user`, `project` or `grant`."""
        return str(self.details.get("scope", ""))

    @property
    def resets_at(self) -> datetime | None:
        """When the period begins anew."""
        found = self.details.get("reset_at")
        return datetime.fromtimestamp(found, UTC) if isinstance(found, int) else None


class Forbidden(ApiError):
    """The key or token may not do this."""


class RateLimited(ApiError):
    """Too many calls. `retry_after_seconds` says how long to wait."""


class UpstreamFailed(ApiError):
    """The host or the target did not answer as it should."""


class Unavailable(ApiError):
    """The relay cannot do it at the moment."""


_OF_CODE: dict[str, type[ApiError]] = {"insufficient_credits": InsufficientCredits, "budget_exceeded": BudgetExceeded}
_OF_STATUS: dict[int, type[ApiError]] = {
    401: Unauthenticated,
    402: PaymentRequired,
    403: Forbidden,
    429: RateLimited,
    500: Unavailable,
    502: UpstreamFailed,
    503: Unavailable,
    504: UpstreamFailed,
    508: InvalidCall,
}


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """What an answer with an error says, in whichever of the relay's shapes.

    | who | body |
    |---|---|
    | endpoints | `{"error": code, "message", "requestId", "details"}` |
    | the control plane | `{"error": code, "message", "action"}` |
    | surfaces of OpenAI's shape | `{"error": {"code", "message", "details"}}` |
    | surfaces of Anthropic's shape | `{"type": "error", "error": {"type", "message", "details"}, "request_id"}` |
    """
    document = _document(body)
    inner = document.get("error")
    said = inner if isinstance(inner, dict) else document
    code = inner if isinstance(inner, str) else _text(said, "code") or _text(said, "type")
    kind = _OF_CODE.get(code) or _OF_STATUS.get(status) or (InvalidCall if status < 500 else Unavailable)
    details = said.get("details")
    return kind(
        status=status,
        code=code or f"http_{status}",
        message=_text(said, "message") or body[:_MOST_QUOTED].decode("utf-8", "replace") or "There was no text.",
        action=_text(document, "action"),
        source=headers.get("x-relay-error-source", ""),
        request_id=headers.get("x-request-id", "") or _text(document, "requestId"),
        retry_after_seconds=seconds_of(headers.get("retry-after")),
        details=details if isinstance(details, dict) else None,
        fields=dict(_problems(document.get("fields"))),
    )


def seconds_of(text: str | None) -> float | None:
    """`Retry-After` in seconds. Its form with a date is not among what the relay sends."""
    try:
        return max(0.0, float(text)) if text is not None else None
    except ValueError:
        return None


def _problems(said: object, path: str = "") -> Iterator[tuple[str, str]]:
    """The sentences of a tree of objects and lists, each with its path."""
    if isinstance(said, dict):
        for name, below in said.items():
            yield from _problems(below, f"{path}.{name}" if path else name)
    elif isinstance(said, list):
        yield path, " ".join(each for each in said if isinstance(each, str))


def _document(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(document: Mapping[str, Any], name: str) -> str:
    found = document.get(name)
    return found if isinstance(found, str) else ""

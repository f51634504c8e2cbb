"""What a failed try at a host means: its class, and when the host may be asked again. Pure.

Typed by status and by the vendor's own codes, never by the words of a message (`protocols/<shape>/read_answer.py` turns
the one documented exception, Anthropic's "prompt is too long", into a code).

| answer | class |
|---|---|
| a code of the tables below, on 400, 403, 404, 413, 422, 429 or inside a stream | what the code says |
| 401, 403 | auth |
| 402 | quota |
| 429 | rate limit |
| 503, 529 | overloaded |
| 504, no answer in time | timeout |
| 408, other 5xx, an answer that is no answer | server |
| no connection, a connection closed before an answer | network |
| any other status | caller |
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from relay_contract.errors import AddressForbidden, UpstreamConnectError, UpstreamError, UpstreamTimeout
from relay_contract.traffic import FailureClass

MAX_RETRY_AFTER_MS = 24 * 3600 * 1000
"""A host that asks for more is asked again after a day."""

HeaderLines = Iterable[tuple[bytes, bytes]]

_CODES: dict[str, FailureClass] = {
    # platform.openai.com/docs/guides/error-codes; learn.microsoft.com/azure/ai-services/openai (read 2026-11)
    "context_length_exceeded": FailureClass.CONTEXT_LENGTH,
    "content_filter": FailureClass.CONTENT_FILTER,
    "content_policy_violation": FailureClass.CONTENT_FILTER,
    "moderation_blocked": FailureClass.CONTENT_FILTER,
    "insufficient_quota": FailureClass.QUOTA,
    "billing_hard_limit_reached": FailureClass.QUOTA,
    "billing_not_active": FailureClass.QUOTA,
    "rate_limit_exceeded": FailureClass.RATE_LIMIT,
    "invalid_api_key": FailureClass.AUTH,
    "account_deactivated": FailureClass.AUTH,
    "server_error": FailureClass.SERVER,
    "slow_down": FailureClass.OVERLOADED,
    "overloaded": FailureClass.OVERLOADED,  # of hosts that speak this shape nearly
    "invalid_request_error": FailureClass.CALLER,
    # docs.anthropic.com/en/api/errors (read 2026-11)
    "authentication_error": FailureClass.AUTH,
    "permission_error": FailureClass.AUTH,
    "billing_error": FailureClass.QUOTA,
    "rate_limit_error": FailureClass.RATE_LIMIT,
    "overloaded_error": FailureClass.OVERLOADED,
    "timeout_error": FailureClass.TIMEOUT,
    "api_error": FailureClass.SERVER,
    "not_found_error": FailureClass.CALLER,
    "request_too_large": FailureClass.CALLER,
    # ai.google.dev/gemini-api/docs/troubleshooting (read 2026-11), as `gemini/` spells them
    "resource_exhausted": FailureClass.RATE_LIMIT,
    "unavailable": FailureClass.OVERLOADED,
    "deadline_exceeded": FailureClass.TIMEOUT,
    "unauthenticated": FailureClass.AUTH,
    "permission_denied": FailureClass.AUTH,
    "invalid_argument": FailureClass.CALLER,
}
_STATUSES: dict[int, FailureClass] = {
    401: FailureClass.AUTH,
    402: FailureClass.QUOTA,
    403: FailureClass.AUTH,
    408: FailureClass.SERVER,
    429: FailureClass.RATE_LIMIT,
    503: FailureClass.OVERLOADED,
    504: FailureClass.TIMEOUT,
    529: FailureClass.OVERLOADED,
}
_NARROWER: dict[int, frozenset[FailureClass]] = {
    status: frozenset({FailureClass.CONTEXT_LENGTH, FailureClass.CONTENT_FILTER}) for status in (400, 403, 413, 422)
} | {429: frozenset({FailureClass.QUOTA})}
"""What a code may make of a status; with any other code the status says it all."""

_FIRST_SERVER_ERROR = 500


def classify(status: int, code: str | None) -> FailureClass:
    """Of an answer with an error status. `code`: the vendor's own, where its body has one."""
    said = _CODES.get(code or "")
    if said is not None and said in _NARROWER.get(status, ()):
        return said
    default = FailureClass.SERVER if status >= _FIRST_SERVER_ERROR else FailureClass.CALLER
    return _STATUSES.get(status, default)


def classify_event(code: str) -> FailureClass:
    """Of an error inside a stream. Some hosts write a status as the code."""
    if len(code) == 3 and code.isascii() and code.isdigit() and int(code) >= 400:
        return classify(int(code), None)
    return _CODES.get(code, FailureClass.SERVER)


def classify_error(error: UpstreamError) -> FailureClass:
    """Of a try without a whole answer."""
    if isinstance(error, UpstreamTimeout):
        return FailureClass.TIMEOUT
    if isinstance(error, UpstreamConnectError | AddressForbidden):
        return FailureClass.NETWORK
    return FailureClass.SERVER


# --- when to ask again ---

_NUMBER = re.compile(r"\d{1,15}(?:\.\d{0,9})?")
_DURATION = re.compile(r"(?=\d)(?:(\d{1,6})h)?(?:(\d{1,6})m(?!s))?(?:(\d{1,6}(?:\.\d{1,9})?)s)?(?:(\d{1,9})ms)?")
_RESETS = re.compile(r"(?:x-ratelimit|anthropic-ratelimit)-(?:reset-([a-z-]{1,40})|([a-z-]{1,40})-reset)")
_PLACES = {"x-ratelimit": "x-ratelimit-remaining-{}", "anthropic-ratelimit": "anthropic-ratelimit-{}-remaining"}


def retry_after_ms(lines: HeaderLines, now: float) -> int | None:
    """When the host wants to be asked again, from `retry-after-ms`, `Retry-After` (seconds or an HTTP date), or the
    resets of the limits that it says are used up. None: it does not say. `now`: Unix time."""
    named = {name.lower().decode("latin-1"): value.strip().decode("latin-1") for name, value in lines}
    found = _milliseconds(named.get("retry-after-ms", ""))
    if found is None:
        found = _retry_after(named.get("retry-after", ""), now)
    if found is None:
        resets = [_reset(value, now) for name, value in named.items() if _is_used_up(name, named)]
        found = max((reset for reset in resets if reset is not None), default=None)
    return None if found is None else min(max(0, round(found)), MAX_RETRY_AFTER_MS)


def _milliseconds(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _retry_after(text: str, now: float) -> float | None:
    seconds = _milliseconds(text)
    if seconds is not None:
        return seconds * 1000
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return _until(moment, now)


def _is_used_up(name: str, named: dict[str, str]) -> bool:
    """Whether a header says when a limit that has nothing left begins anew."""
    found = _RESETS.fullmatch(name)
    if found is None:
        return False
    vendor = name.split("-ratelimit", 1)[0] + "-ratelimit"
    return named.get(_PLACES[vendor].format(found[1] or found[2])) == "0"


def _reset(text: str, now: float) -> float | None:
    """OpenAI writes `6m0s` or `20ms`, Anthropic a moment (RFC 3339)."""
    duration = _DURATION.fullmatch(text)
    if duration is not None:
        hours, minutes, seconds, milliseconds = (float(part or 0) for part in duration.groups())
        return ((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds
    try:
        return _until(datetime.fromisoformat(text), now)
    except (ValueError, OverflowError):
        return None


def _until(moment: datetime, now: float) -> float:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware.timestamp() - now) * 1000

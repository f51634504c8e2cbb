"""An error of the Gemini API (google.rpc.Status; ai.google.dev/gemini-api/docs/troubleshooting, read 2026-11).

Gemini answers 400 where others answer 401: a wrong key is `INVALID_ARGUMENT` with the reason `API_KEY_INVALID`, a
region or account that it does not serve `FAILED_PRECONDITION`. Both are about our key, so they are read as 401 and 403.
"""

import re
from collections.abc import Mapping
from typing import Any

from relay_contract.errors import MalformedJson
from relay_edge.error_shapes import HostRefusal
from relay_edge.protocols.fields import decode_object

_OUR_KEY = {"API_KEY_INVALID": 401, "API_KEY_EXPIRED": 401, "API_KEY_SERVICE_BLOCKED": 403, "SERVICE_DISABLED": 403}
_CODES = {"RESOURCE_EXHAUSTED": "rate_limit_exceeded", "NOT_FOUND": "model_not_found", "UNAVAILABLE": "overloaded"}
_TOO_LONG = re.compile(r"input token count.{0,60}exceeds|exceeds the maximum number of tokens", re.IGNORECASE)
_SECONDS = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s")


def read_error(status: int, body: bytes) -> HostRefusal:
    """A host's error; `retry_after_seconds` where the host said when."""
    error = _error(body)
    message, word = _string(error, "message"), _string(error, "status")
    given = error.get("details")
    details = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    reason = next((reason for each in details if (reason := _string(each, "reason"))), "")
    if status == 400 and (reason in _OUR_KEY or word == "FAILED_PRECONDITION"):
        return HostRefusal(_OUR_KEY.get(reason, 403), message, "upstream_credentials")
    if _TOO_LONG.search(message):
        return HostRefusal(status, message, "context_length_exceeded")
    code = _CODES.get(word) or word.lower() or None
    return HostRefusal(status, message, code, retry_after_seconds=_retry_after(details))


def _error(body: bytes) -> Mapping[str, Any]:
    text = body.strip()
    if text.startswith(b"[") and text.endswith(b"]"):  # a stream that was not asked for as events is an array
        text = text[1:-1]
    try:
        error = decode_object(text).get("error")
    except MalformedJson:
        return {}
    return error if isinstance(error, Mapping) else {}


def _retry_after(details: list[dict[str, Any]]) -> float | None:
    for each in details:
        if found := _SECONDS.fullmatch(_string(each, "retryDelay")):
            return float(found[1])
    return None


def _string(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""

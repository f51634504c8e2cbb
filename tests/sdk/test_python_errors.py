"""Errors of the Python SDK mirror those of the relay."""

import json
from datetime import UTC, datetime

import pytest
import relay_sdk
from relay_sdk.actions import ACTIONS
from relay_sdk.errors import error_of

from relay_contract import errors


def tree(kind: type[errors.RelayError]) -> set[type[errors.RelayError]]:
    below = {found for each in kind.__subclasses__() for found in tree(each)}
    return below | ({kind} if hasattr(kind, "code") else set())


def test_every_code_of_the_relay_has_its_action() -> None:
    assert set(ACTIONS) == {kind.code for kind in tree(errors.RelayError)}


KINDS = {
    400: relay_sdk.InvalidCall, 401: relay_sdk.Unauthenticated, 402: relay_sdk.PaymentRequired,
    403: relay_sdk.Forbidden, 404: relay_sdk.InvalidCall, 429: relay_sdk.RateLimited, 500: relay_sdk.Unavailable,
    502: relay_sdk.UpstreamFailed, 503: relay_sdk.Unavailable, 504: relay_sdk.UpstreamFailed,
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(tree(errors.RelayError), key=lambda kind: kind.code))
def test_an_error_of_the_relay_is_read(kind: type[errors.RelayError]) -> None:
    body = json.dumps({"error": kind.code, "message": kind.text, "requestId": "r-1"}).encode()
    found = error_of(kind.status, {"x-relay-error-source": "client"}, body)
    assert isinstance(found, KINDS.get(kind.status, relay_sdk.InvalidCall))
    assert (found.code, found.status, found.request_id, found.source) == (kind.code, kind.status, "r-1", "client")
    assert kind.text in str(found)


MONEY = {"available_microcredits": 5, "top_up_url": "https://x"}


@pytest.mark.parametrize("body", [
    {"error": {"message": "Too few.", "code": "insufficient_credits", "details": MONEY}},
    {"error": "insufficient_credits", "message": "Too few.", "details": MONEY},
])  # fmt: skip
def test_too_few_credits_say_where_to_get_some(body: dict[str, object]) -> None:
    found = error_of(402, {}, json.dumps(body).encode())
    assert isinstance(found, relay_sdk.InsufficientCredits)
    assert (found.top_up_url, found.available_microcredits) == ("https://x", 5)
    assert found.action == "Top the wallet up, then call again."


def test_what_is_wrong_with_which_value_is_said() -> None:
    fields = {"ids": {"0": ["Must be a valid UUID."]}, "note": ["Too long.", "Too plain."], "other": 5}
    body = {"error": "invalid", "message": "It cannot be used.", "action": "Correct the fields.", "fields": fields}
    found = error_of(400, {}, json.dumps(body).encode())
    assert found.fields == {"ids.0": "Must be a valid UUID.", "note": "Too long. Too plain."}
    assert str(found).endswith("Correct the fields. ids.0: Must be a valid UUID. note: Too long. Too plain.")


def test_a_budget_says_when_it_begins_anew() -> None:
    details = {"scope": "grant", "reset_at": 1_800_000_000}
    body = json.dumps({"error": {"message": "No.", "code": "budget_exceeded", "details": details}}).encode()
    found = error_of(402, {"retry-after": "60"}, body)
    assert isinstance(found, relay_sdk.BudgetExceeded)
    assert (found.scope, found.resets_at) == ("grant", datetime.fromtimestamp(1_800_000_000, UTC))
    assert found.retry_after_seconds == 60


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad gateway</html>", b"[1]", b'{"error": 5}', b"\xff", b'{"error": {"message": []}}']
)
def test_an_answer_of_somebody_else_is_an_error_too(body: bytes) -> None:
    found = error_of(502, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, body)
    assert isinstance(found, relay_sdk.UpstreamFailed)
    assert (found.code, found.retry_after_seconds) == ("http_502", None)
    assert found.message

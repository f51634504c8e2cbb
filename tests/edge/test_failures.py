"""What a failed try means, and when the host may be asked again."""

from __future__ import annotations

import json

import pytest

from relay_contract.errors import (
    AddressForbidden,
    UpstreamConnectError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
)
from relay_contract.nouns import WireShape
from relay_contract.traffic import FailureClass
from relay_edge.failures import MAX_RETRY_AFTER_MS, classify, classify_error, classify_event, retry_after_ms
from relay_edge.protocols.translation import HOST_CODECS

NOW = 1_795_262_400.0  # Sat, 21 Nov 2026 12:00:00 GMT
OPENAI, ANTHROPIC = WireShape.OPENAI_CHAT, WireShape.ANTHROPIC_MESSAGES


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, None, FailureClass.AUTH),
        (403, None, FailureClass.AUTH),
        (403, "content_filter", FailureClass.CONTENT_FILTER),
        (402, None, FailureClass.QUOTA),
        (429, None, FailureClass.RATE_LIMIT),
        (429, "rate_limit_exceeded", FailureClass.RATE_LIMIT),
        (429, "insufficient_quota", FailureClass.QUOTA),
        (429, "context_length_exceeded", FailureClass.RATE_LIMIT),  # the status says it all
        (503, None, FailureClass.OVERLOADED),
        (529, "overloaded_error", FailureClass.OVERLOADED),
        (504, None, FailureClass.TIMEOUT),
        (408, None, FailureClass.SERVER),
        (500, "insufficient_quota", FailureClass.SERVER),
        (502, None, FailureClass.SERVER),
        (599, None, FailureClass.SERVER),
        (400, None, FailureClass.CALLER),
        (400, "invalid_request_error", FailureClass.CALLER),
        (400, "insufficient_quota", FailureClass.CALLER),
        (400, "context_length_exceeded", FailureClass.CONTEXT_LENGTH),
        (413, "context_length_exceeded", FailureClass.CONTEXT_LENGTH),
        (400, "content_filter", FailureClass.CONTENT_FILTER),
        (400, "content_policy_violation", FailureClass.CONTENT_FILTER),
        (404, "model_not_found", FailureClass.CALLER),
        (409, None, FailureClass.CALLER),
        (413, "request_too_large", FailureClass.CALLER),
        (422, None, FailureClass.CALLER),
    ],
)
def test_an_answer_is_classified_by_status_and_code(status: int, code: str | None, expected: FailureClass) -> None:
    assert classify(status, code) is expected


@pytest.mark.parametrize(
    ("shape", "status", "error", "expected"),
    [
        (ANTHROPIC, 400, {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"},
         FailureClass.CONTEXT_LENGTH),
        (ANTHROPIC, 400, {"type": "invalid_request_error", "message": "maximum context length"}, FailureClass.CALLER),
        (OPENAI, 400, {"message": "prompt is too long", "code": None}, FailureClass.CALLER),  # not their words
        (OPENAI, 400, {"message": "x", "code": "context_length_exceeded"}, FailureClass.CONTEXT_LENGTH),
        (OPENAI, 429, {"message": "x", "code": "insufficient_quota"}, FailureClass.QUOTA),
        (OPENAI, 429, {"message": "x", "code": 7}, FailureClass.RATE_LIMIT),
        (OPENAI, 400, "context_length_exceeded", FailureClass.CALLER),
    ],
)  # fmt: skip
def test_a_vendors_body_is_classified(shape: WireShape, status: int, error: object, expected: FailureClass) -> None:
    code = HOST_CODECS[shape].read_error(status, json.dumps({"error": error}).encode()).code
    assert classify(status, code) is expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("overloaded_error", FailureClass.OVERLOADED),
        ("rate_limit_exceeded", FailureClass.RATE_LIMIT),
        ("insufficient_quota", FailureClass.QUOTA),
        ("context_length_exceeded", FailureClass.CONTEXT_LENGTH),
        ("429", FailureClass.RATE_LIMIT),
        ("502", FailureClass.SERVER),
        ("200", FailureClass.SERVER),
        ("\u0664\u0662\u0669", FailureClass.SERVER),
        ("", FailureClass.SERVER),
        ("something new", FailureClass.SERVER),
    ],
)
def test_an_error_inside_a_stream_is_classified(code: str, expected: FailureClass) -> None:
    assert classify_event(code) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UpstreamTimeout(), FailureClass.TIMEOUT),
        (UpstreamConnectError(), FailureClass.NETWORK),
        (AddressForbidden(), FailureClass.NETWORK),
        (UpstreamProtocolError(), FailureClass.SERVER),
    ],
)
def test_a_try_without_an_answer_is_classified(error: UpstreamError, expected: FailureClass) -> None:
    assert classify_error(error) is expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ({}, None),
        ({"Retry-After": "2"}, 2000),
        ({"retry-after": "1.5"}, 1500),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT"}, 30_000),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:30 GMT"}, 0),
        ({"retry-after": "9" * 15}, MAX_RETRY_AFTER_MS),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "\u0663"}, None),
        ({"retry-after-ms": "250", "retry-after": "1"}, 250),
        ({"retry-after-ms": "x", "retry-after": "1"}, 1000),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"}, 360_000),
        ({"x-ratelimit-reset-tokens": "20ms", "x-ratelimit-remaining-tokens": "0"}, 20),
        ({"x-ratelimit-reset-tokens": "1h2m3.5s", "x-ratelimit-remaining-tokens": "0"}, 3_723_500),
        ({"x-ratelimit-reset-tokens": "20ms", "x-ratelimit-remaining-tokens": "7"}, None),  # not the one used up
        ({"x-ratelimit-reset-tokens": "20ms"}, None),
        ({"x-ratelimit-reset-tokens": "1s", "x-ratelimit-remaining-tokens": "0",
          "x-ratelimit-reset-requests": "3s", "x-ratelimit-remaining-requests": "0"}, 3000),
        ({"x-ratelimit-reset-tokens": "1s", "x-ratelimit-remaining-tokens": "0", "retry-after": "9"}, 9000),
        ({"x-ratelimit-reset-tokens": "later", "x-ratelimit-remaining-tokens": "0"}, None),
        ({"anthropic-ratelimit-requests-reset": "2026-11-21T12:00:10Z",
          "anthropic-ratelimit-requests-remaining": "0"}, 10_000),
        ({"anthropic-ratelimit-requests-reset": "2026-11-21T12:00:10Z",
          "anthropic-ratelimit-requests-remaining": "3"}, None),
    ],
)  # fmt: skip
def test_when_to_ask_again(lines: dict[str, str], expected: int | None) -> None:
    packed = [(name.encode(), value.encode()) for name, value in lines.items()]
    assert retry_after_ms(packed, NOW) == expected

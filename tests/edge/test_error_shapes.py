"""Every error of the tree, in every shape."""

import json
from collections.abc import Iterator

import pytest

from relay_contract import errors
from relay_contract.errors import RelayError
from relay_edge.error_shapes import ErrorShape, anthropic_type, error_body, error_headers, openai_type
from relay_edge.reply import HeaderRefusedError, header_lines


def tree(error: type[RelayError] = RelayError) -> Iterator[type[RelayError]]:
    for below in error.__subclasses__():
        if hasattr(below, "code"):
            yield below
        yield from tree(below)


@pytest.mark.parametrize("error", list(tree()), ids=lambda error: error.__name__)
def test_every_error_in_every_shape(error: type[RelayError]) -> None:
    raised = error()
    openai, anthropic, relay = (json.loads(error_body(raised, shape, "q")) for shape in ErrorShape)
    assert openai == {
        "error": {
            "message": raised.public_text, "type": openai_type(error.status),
            "param": "model" if error.code.startswith("model_") else None, "code": error.code,
        }
    }  # fmt: skip
    assert anthropic == {
        "type": "error", "request_id": "q",
        "error": {"type": anthropic_type(error.status), "message": raised.public_text},
    }  # fmt: skip
    assert relay == {"error": error.code, "message": raised.public_text, "requestId": "q"}
    header_lines(error_headers(raised, "POST"))


def test_a_bad_field_is_named() -> None:
    error = errors.BadField("messages[2].content", "is missing.")
    assert error.public_text == "messages[2].content: is missing."
    assert json.loads(error_body(error, ErrorShape.OPENAI, "q"))["error"]["param"] == "messages[2].content"


@pytest.mark.parametrize(
    ("status", "openai", "anthropic"),
    [
        (402, "insufficient_quota", "billing_error"),
        (529, "server_error", "overloaded_error"),
        (400, "invalid_request_error", "invalid_request_error"),
        (401, "authentication_error", "authentication_error"),
        (403, "permission_error", "permission_error"),
        (404, "not_found_error", "not_found_error"),
        (405, "invalid_request_error", "invalid_request_error"),
        (408, "invalid_request_error", "invalid_request_error"),
        (413, "invalid_request_error", "request_too_large"),
        (429, "rate_limit_error", "rate_limit_error"),
        (500, "server_error", "api_error"),
        (502, "server_error", "api_error"),
        (503, "server_error", "overloaded_error"),
        (504, "server_error", "timeout_error"),
    ],
)
def test_types(status: int, openai: str, anthropic: str) -> None:
    assert (openai_type(status), anthropic_type(status)) == (openai, anthropic)


@pytest.mark.parametrize(("seconds", "line"), [(0.001, "1"), (1, "1"), (1.2, "2"), (None, "1")])
def test_retry_after_is_in_whole_seconds_and_never_too_soon(seconds: float | None, line: str) -> None:
    assert ("retry-after", line) in error_headers(errors.RateLimited(retry_after_seconds=seconds))


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "a\rb", "a\0b"])
def test_a_header_stays_on_its_line(value: str) -> None:
    for pair in ((value, "x"), ("x", value)):
        with pytest.raises(HeaderRefusedError):
            header_lines([pair])
    assert header_lines([("a", "b"), ("c", "")]) == b"a: b\r\nc: \r\n"

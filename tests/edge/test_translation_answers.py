"""Whole answers and errors of hosts, in the caller's shape; usage there and back; headers of warnings."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_contract import usage as contract
from relay_contract.errors import UpstreamProtocolError
from relay_edge.protocols.anthropic_messages import read_answer as anthropic_read
from relay_edge.protocols.anthropic_messages import write_answer as anthropic_write
from relay_edge.protocols.canonical import Usage
from relay_edge.protocols.notes import MAX_NOTES, Notes
from relay_edge.protocols.openai_chat import read_answer as openai_read
from relay_edge.protocols.openai_chat import write_answer as openai_write
from relay_edge.protocols.scrub import scrubbed
from relay_edge.reply import are_whole_lines
from tests.edge.translating import ANTHROPIC, OPENAI, to_other

# The figures of one call, as either vendor writes them. Rules 62 to 65.
USAGES: dict[str, tuple[Usage, dict[str, Any], dict[str, Any]]] = {
    "plain": (
        Usage(input_uncached=10, output=5),
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        {"input_tokens": 10, "output_tokens": 5},
    ),
    "a cache that was read": (
        Usage(input_uncached=10, cache_read=90, output=5),
        {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105,
         "prompt_tokens_details": {"cached_tokens": 90}},
        {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 90},
    ),
    "an explicit zero": (
        Usage(input_uncached=10, cache_read=0, output=0),
        {"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10,
         "prompt_tokens_details": {"cached_tokens": 0}},
        {"input_tokens": 10, "output_tokens": 0, "cache_read_input_tokens": 0},
    ),
    "reasoning is part of the output": (
        Usage(input_uncached=10, output=50, reasoning=40),
        {"prompt_tokens": 10, "completion_tokens": 50, "total_tokens": 60,
         "completion_tokens_details": {"reasoning_tokens": 40}},
        {"input_tokens": 10, "output_tokens": 50, "output_tokens_details": {"thinking_tokens": 40}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", USAGES)
def test_usage_in_both_shapes(case: str) -> None:
    meant, openai, anthropic = USAGES[case]
    assert openai_read.read_usage(openai) == meant
    assert anthropic_read.read_usage(anthropic) == meant
    assert openai_write.usage_of(meant) == openai
    assert anthropic_write.usage_of(meant) == anthropic


def test_writes_to_a_cache_are_two_meters() -> None:
    usage = {"input_tokens": 1, "cache_creation_input_tokens": 7, "output_tokens": 0,
             "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3}}  # fmt: skip
    meant = Usage(input_uncached=1, cache_write_5m=4, cache_write_1h=3, output=0)
    assert anthropic_read.read_usage(usage) == meant
    assert anthropic_write.usage_of(meant) == usage
    assert anthropic_read.read_usage({"cache_creation_input_tokens": 7}) == Usage(cache_write_5m=7)
    chat = openai_write.usage_of(meant)
    assert chat["prompt_tokens"] == 8
    assert chat["prompt_tokens_details"] == {"cache_write_tokens": 7, "cache_creation_token_details": {
        "ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3}}  # fmt: skip
    assert openai_read.read_usage(chat) == meant
    assert openai_read.read_usage({"prompt_tokens": 9, "prompt_tokens_details": {"cache_write_tokens": 2,
        "cache_creation_token_details": {"ephemeral_1h_input_tokens": 5}}}) == Usage(
            input_uncached=7, cache_write_5m=0, cache_write_1h=2)  # fmt: skip


def test_pictures_are_meters_of_their_own() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 7, "prompt_tokens_details": {"image_tokens": 4},
             "completion_tokens_details": {"image_tokens": 5}}  # fmt: skip
    assert openai_read.read_usage(usage).meters() == contract.Usage(
        input_tokens=5, input_image_tokens=4, output_tokens=2, output_image_tokens=5
    )


@pytest.mark.parametrize(
    "usage", [None, [], "x", {}, {"prompt_tokens": "5"}, {"prompt_tokens": -1}, {"input_tokens": True}]
)
def test_what_is_no_figure_is_not_said(usage: Any) -> None:
    assert openai_read.read_usage(usage) == anthropic_read.read_usage(usage) == Usage()


def test_later_totals_replace_earlier_ones() -> None:
    """Rule 52."""
    first, later = Usage(input_uncached=5, cache_read=3, output=1), Usage(cache_read=0, output=9)
    assert first.updated(later) == Usage(input_uncached=5, cache_read=0, output=9)
    assert Usage().input is None


def whole(shape: Any, document: Any) -> Any:
    """A host's answer of the other shape as a caller of this one reads it."""
    return json.loads(to_other(shape, {}).whole(json.dumps(document).encode()))


def test_a_message_for_a_caller_of_chat() -> None:
    """Rule 41."""
    assert whole(OPENAI, {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "tool_use",
        "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 2},
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s=="}, {"type": "text", "text": "a"},
            {"type": "text", "text": "b"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1.5}},
            {"type": "server_tool_use", "id": "z", "name": "web_search", "input": {}}],
    }) == {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "m",
        "choices": [{"index": 0, "logprobs": None, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": "ab", "refusal": None, "reasoning_content": "hm",
            "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s=="}],
            "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"x":1.5}'}}]}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }  # fmt: skip


def test_a_completion_for_a_caller_of_messages() -> None:
    """Rule 42."""
    assert whole(ANTHROPIC, {
        "id": "chatcmpl-1", "choices": [{"index": 0, "finish_reason": "stop", "message": {
            "role": "assistant", "content": "a", "reasoning_content": "hm",
            "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"x": 1.50}'}}]}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }) == {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use",
        "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 2},
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "a"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1.5}}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stop", "finish", "warnings"),
    [
        ("end_turn", "stop", ()),
        ("stop_sequence", "stop", ()),
        ("max_tokens", "length", ()),
        ("model_context_window_exceeded", "length", ("approximated:finish_reason.context",)),
        ("refusal", "content_filter", ()),
        ("pause_turn", "stop", ("approximated:finish_reason.pause",)),
        ("tool_use", "stop", ()),
        ("something_new", "stop", ("approximated:finish_reason.unknown",)),
        (None, "stop", ("approximated:finish_reason.unknown",)),
    ],
)
def test_reasons_to_stop(stop: str | None, finish: str, warnings: tuple[str, ...]) -> None:
    """Rules 43 to 45: an empty answer stays one."""
    translation = to_other(OPENAI, {})
    used = {"input_tokens": 1, "output_tokens": 0}
    answer = json.loads(translation.whole(json.dumps({"content": [], "stop_reason": stop, "usage": used}).encode()))
    assert answer["choices"][0]["finish_reason"] == finish
    assert answer["choices"][0]["message"]["content"] == ""
    assert translation.notes.all() == warnings


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ('{"a":1}', None),
        (' \n{"a":1.10}\n', None),
        ('```json\n{"a":1}\n```', "fenced:response_format"),
        ('\n```\r\n{"a":1}\r\n```\n', "fenced:response_format"),
        ("```json\n{]\n```", "unmet:response_format"),
        ('Here you are: {"a":1}', "unmet:response_format"),
        ("[1]", "unmet:response_format"),
        ("", "unmet:response_format"),
        ("[" * 100_000, "unmet:response_format"),
    ],
)
def test_json_that_was_asked_for_in_words(text: str, note: str | None) -> None:
    host = {"id": "msg_1", "type": "message", "role": "assistant", "model": "c",
            "content": [{"type": "text", "text": text[:3]}, {"type": "text", "text": text[3:]}],
            "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
    translation = to_other(OPENAI, {"response_format": {"type": "json_object"}})
    asked = translation.notes.all()
    answer = json.loads(translation.whole(json.dumps(host).encode()))
    assert answer["choices"][0]["message"]["content"] == text
    assert translation.notes.all() == (*asked, *([note] if note else []))


@pytest.mark.parametrize(
    ("call", "stop"),
    [({}, "end_turn"), ({"response_format": {"type": "json_object"}}, "max_tokens")],
)
def test_other_answers_are_not_looked_at_for_json(call: Any, stop: str) -> None:
    host = {"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "stop_reason": stop,
            "content": [{"type": "text", "text": "no"}], "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
    translation = to_other(OPENAI, call)
    asked = translation.notes.all()
    translation.whole(json.dumps(host).encode())
    assert translation.notes.all() == asked


def test_missing_usage_is_estimated_and_said_to_be() -> None:
    """Rule 66: four characters a token; an explicit zero stays one."""
    translation = to_other(OPENAI, {})
    used = json.loads(translation.whole(b'{"content": [{"type": "text", "text": "hello"}]}'))["usage"]
    assert used == {"prompt_tokens": 15, "completion_tokens": 2, "total_tokens": 17}
    assert "approximated:usage" in translation.notes.all()
    zero = to_other(OPENAI, {})
    assert json.loads(zero.whole(b'{"content": [], "usage": {"output_tokens": 0}}'))["usage"]["total_tokens"] == 0
    assert "approximated:usage" not in zero.notes.all()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{}]}', b'{"choices": [{"message": 5}]}',
     b'{"choices": [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}}]}',
     b'{"choices": [{"message": {"tool_calls": [{"function": {"arguments": "{}"}}]}}]}', b'{"x": "\xff"}'],
)  # fmt: skip
def test_what_is_no_completion_is_an_error_of_the_host(body: bytes) -> None:
    """Rule 42: before anything was sent, so another host can be tried."""
    with pytest.raises(UpstreamProtocolError):
        to_other(ANTHROPIC, {}).whole(body)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"content": 1}', b'{"content": [{"type": "tool_use", "input": {}}]}',
             b'{"content": [{"type": "tool_use", "name": "f", "input": []}]}']
)  # fmt: skip
def test_what_is_no_message_is_an_error_of_the_host(body: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        to_other(OPENAI, {}).whole(body)


@pytest.mark.parametrize("depth", [100, 900, 960, 980, 990, 1_000, 5_000])
def test_an_answer_however_deep_is_an_answer_or_an_error_of_the_host(depth: int) -> None:
    """Rule 5: decoding and encoding have bounds that differ a little."""
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    block = b'{"type": "tool_use", "id": "t", "name": "f", "input": %b}' % nested
    start = b'data: {"type": "content_block_start", "index": 0, "content_block": %b}\n\n' % block
    with contextlib.suppress(UpstreamProtocolError):
        json.loads(to_other(OPENAI, {}).whole(b'{"content": [%b]}' % block))
    with contextlib.suppress(UpstreamProtocolError):
        to_other(OPENAI, {"stream": True}).stream().feed(start)


ERRORS: list[tuple[Any, int, Any, int, dict[str, Any]]] = [
    (OPENAI, 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "bad"}}, 400,
     {"message": "bad", "type": "invalid_request_error", "param": None, "code": "invalid_request_error"}),
    (OPENAI, 400, {"error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}}, 400,
     {"message": "prompt is too long: 9 > 8", "type": "invalid_request_error", "param": None,
      "code": "context_length_exceeded"}),
    (OPENAI, 529, {"error": {"type": "overloaded_error", "message": "Overloaded"}}, 503,
     {"message": "Overloaded", "type": "server_error", "param": None, "code": "overloaded_error"}),
    (OPENAI, 418, "teapot", 418, {"message": "The host of this model answered with status 418.",
                                  "type": "invalid_request_error", "param": None, "code": None}),
    (ANTHROPIC, 400, {"error": {"message": "bad", "type": "x", "param": "p", "code": "c"}}, 400,
     {"type": "invalid_request_error", "message": "bad"}),
    (ANTHROPIC, 400, {"error": {"message": "too many tokens", "code": "context_length_exceeded"}}, 400,
     {"type": "invalid_request_error", "message": "prompt is too long: too many tokens"}),
    (ANTHROPIC, 503, {"error": {"message": "busy"}}, 529, {"type": "overloaded_error", "message": "busy"}),
    (ANTHROPIC, 404, {"error": "plain"}, 404, {"type": "not_found_error", "message": "plain"}),
    (ANTHROPIC, 429, [], 429, {"type": "rate_limit_error",
                               "message": "The host of this model answered with status 429."}),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "status", "body", "expected_status", "expected"), ERRORS)
def test_errors_in_the_callers_shape(
    shape: Any, status: int, body: Any, expected_status: int, expected: dict[str, Any]
) -> None:
    """Rules 67, 68 and 71."""
    found, written = to_other(shape, {}).refusal(status, json.dumps(body).encode(), "q")
    assert found == expected_status
    document = json.loads(written)
    assert document["error"] == expected
    assert set(document) == ({"type", "error", "request_id"} if shape is ANTHROPIC else {"error"})


@pytest.mark.parametrize(
    "secret", ["sk-proj-abc123def456", "sk-ant-api03-xyz", "Bearer abcdefgh", "org-AbCdEf12345", "http://10.0.0.1/x",
               "https://internal.example/v1", "10.1.2.3:8080"]
)  # fmt: skip
def test_what_a_caller_must_not_read(secret: str) -> None:
    """Rule 73."""
    assert scrubbed(f"Wrong key {secret} for you") == "Wrong key [...] for you"
    _, body = to_other(OPENAI, {}).refusal(400, json.dumps({"error": {"message": f"x {secret}"}}).encode(), "q")
    assert secret not in body.decode()


def test_warnings_are_bounded_and_stay_on_their_line() -> None:
    notes = Notes()
    assert notes.header_line() == b""
    for number in range(100):
        notes.add("unknown", f"field\r\n {number} é {'x' * 200}")
    assert len(notes.all()) == MAX_NOTES + 1
    assert notes.all()[-1] == "more"
    assert are_whole_lines(notes.header_line(), 1)
    assert len(notes.header_line()) < 2_000


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["message", "content", "type", "text", "tool_calls", "function", "function_call", "name",
                         "arguments", "id", "finish_reason", "usage", "reasoning_details", "thinking_blocks",
                         "thinking", "signature", "data", "input", "stop_reason", "stop_details", "explanation",
                         "refusal", "error", "code", "param"]), inner, max_size=4), max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([OPENAI, ANTHROPIC]), JUNK, JUNK)
def test_a_hosts_nonsense_is_an_error_of_the_host(shape: Any, inner: Any, usage: Any) -> None:
    translation = to_other(shape, {})
    documents = [
        {"choices": [{"message": inner, "finish_reason": usage}], "usage": usage},
        {"content": [inner], "usage": usage, "stop_details": inner, "id": usage},
        {"content": inner, "choices": inner},
        {"error": inner},
    ]
    for document in documents:
        body = json.dumps(document).encode()
        with contextlib.suppress(UpstreamProtocolError):
            json.loads(translation.whole(body))
        json.loads(translation.refusal(400, body, "q")[1])

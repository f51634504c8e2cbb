"""Calls of Responses that are spoiled at random: refused as the caller's fault, or carried; never a fault of ours."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from relay_contract.errors import BadRequest
from relay_contract.nouns import WireShape
from relay_edge.protocols.translation import Translator
from tests.edge.translating import ANTHROPIC, GEMINI, OPENAI, RESPONSES, UNKNOWN, UPSTREAM, events

FULL: dict[str, Any] = {
    "model": "m", "instructions": "be", "stream": True, "stream_options": {"include_obfuscation": False},
    "input": [
        {"role": "developer", "content": "x"},
        {"role": "user", "content": [
            {"type": "input_text", "text": "hi"},
            {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}]},
        {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "t"}],
         "encrypted_content": "gAAA"},
        {"type": "message", "id": "m", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "a", "annotations": []}, {"type": "refusal", "refusal": "r"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "o"}]}],
    "tools": [{"type": "function", "name": "f", "description": "d", "strict": False,
               "parameters": {"type": "object", "properties": {}}}],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"],
    "max_output_tokens": 50, "temperature": 0.5, "top_p": 0.5, "metadata": {"a": "b"}, "user": "u",
    "parallel_tool_calls": True, "service_tier": "auto", "store": False, "truncation": "auto",
}  # fmt: skip
VALUES = st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats(allow_nan=False, allow_infinity=False)
JUNK = st.recursive(
    VALUES | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "name"]), inner),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value of a document stands."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for name, part in inner for place in ((*path, name), *places(part, (*path, name)))]


PLACES = places(FULL)


ANSWERS: dict[WireShape, Any] = {
    OPENAI: {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]},
    RESPONSES: {"status": "completed", "output": []},
    ANTHROPIC: {"content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn"},
    GEMINI: {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]},
}


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(list(ANSWERS)),
    st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=3),
)
def test_a_spoiled_call(host: WireShape, spoils: list[tuple[tuple[Any, ...], Any]]) -> None:
    call = copy.deepcopy(FULL)
    for (*path, last), junk in spoils:
        inside: Any = call
        try:
            for name in path:
                inside = inside[name]
            inside[last] = junk
        except (TypeError, KeyError, IndexError):
            continue  # an earlier spoil took the place away
    body = json.dumps(call).encode()
    try:
        translation = Translator(RESPONSES, body, created=1, fallback_id="x").to(host, UPSTREAM[host], UNKNOWN)
    except BadRequest:
        return
    assert json.loads(translation.body)["contents" if host is GEMINI else "model"]
    translation.stream()
    answer = translation.whole(json.dumps(ANSWERS[host]).encode())
    assert events(answer) if translation.is_stream else json.loads(answer)


def test_the_call_itself_is_sound() -> None:
    """Else the test above would test refusals only."""
    for host in ANSWERS:
        body = json.dumps(FULL).encode()
        assert Translator(RESPONSES, body, created=1, fallback_id="x").to(host, UPSTREAM[host], UNKNOWN).is_stream

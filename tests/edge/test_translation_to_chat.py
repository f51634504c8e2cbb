"""Messages calls as hosts of chat completions get them, and the laws of the way there and back."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_contract.errors import BadField
from tests.edge.translating import ANTHROPIC, CLAUDE, GPT, HI, OPENAI, sent, to_other

REASONING = "gpt-5.1"
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
LOOSE = {"type": "object", "properties": {"a": {"type": "string"}}}
CLOCK = {"name": "clock", "input_schema": LOOSE}
SENT_CLOCK = {"type": "function", "function": {"name": "clock", "parameters": LOOSE}}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
SENT_PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def use(call_id: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "clock", "input": arguments}


def result(call_id: str, content: Any = "ok", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


def sent_call(call_id: str, arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "clock", "arguments": arguments}}


CALLED = {"role": "assistant", "content": None, "tool_calls": [sent_call("a")]}

CASES: dict[str, tuple[dict[str, Any], str, dict[str, Any], tuple[str, ...]]] = {
    "33 system as a string": (
        {"system": "s"}, GPT, {"messages": [{"role": "system", "content": "s"}, HI]}, (),
    ),
    "33 system in blocks, its marks dropped": (
        {"system": [text("a", cache_control={"type": "ephemeral"}), text("b")]}, GPT,
        {"messages": [{"role": "system", "content": "a\nb"}, HI]}, ("dropped:cache_control",),
    ),
    "33 developer for a reasoning model": (
        {"system": "s"}, REASONING, {"messages": [{"role": "developer", "content": "s"}, HI]}, (),
    ),
    "6 a later system message stays where it is": (
        {"messages": [HI, {"role": "system", "content": "s"}, HI]}, GPT,
        {"messages": [HI, {"role": "system", "content": "s"}, HI]}, (),
    ),
    "34 results become messages of their own, then the rest": (
        {"messages": [HI, assistant(use("a"), use("b", x=1)), user(text("go"), result("b", [text("1"), text("2")]),
                                                                    result("a"))], "tools": [CLOCK]},
        GPT,
        {"messages": [
            HI,
            {"role": "assistant", "content": None, "tool_calls": [sent_call("a"), sent_call("b", '{"x":1}')]},
            {"role": "tool", "tool_call_id": "b", "content": "1\n2"},
            {"role": "tool", "tool_call_id": "a", "content": "ok"},
            {"role": "user", "content": "go"}]}, (),
    ),
    "34 an error is marked": (
        {"messages": [HI, assistant(use("a")), user(result("a", "boom", is_error=True))]}, GPT,
        {"messages": [HI, CALLED, {"role": "tool", "tool_call_id": "a", "content": "Error: boom"}]},
        ("rewritten:tool_result.is_error",),
    ),
    "34 a result without content": (
        {"messages": [HI, assistant(use("a")), user({"type": "tool_result", "tool_use_id": "a"})]}, GPT,
        {"messages": [HI, CALLED, {"role": "tool", "tool_call_id": "a", "content": ""}]}, (),
    ),
    "34 pictures in results move": (
        {"messages": [HI, assistant(use("a")), user(result("a", [text("see"), PNG]))]}, GPT,
        {"messages": [
            HI, CALLED,
            {"role": "tool", "tool_call_id": "a", "content": "see\n[see the attachment of a in the next message]"},
            {"role": "user", "content": [text("[attachment of a]"), SENT_PNG]}]},
        ("moved:tool_result.content",),
    ),
    "35 an answer of words and calls": (
        {"messages": [HI, assistant(text("one "), text("two"), use("a")), user(result("a"))]}, GPT,
        {"messages": [HI, CALLED | {"content": "one two"}, {"role": "tool", "tool_call_id": "a", "content": "ok"}]},
        (),
    ),
    "35 thinking stays here": (
        {"messages": [HI, assistant({"type": "thinking", "thinking": "t", "signature": "s"},
                                    {"type": "redacted_thinking", "data": "d"}, text("a")), HI]},
        GPT, {"messages": [HI, {"role": "assistant", "content": "a"}, HI]}, ("dropped:messages.thinking",),
    ),
    "13 images": (
        {"messages": [user(text("see"), PNG, {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}})]},
        GPT,
        {"messages": [user(text("see"), SENT_PNG, {"type": "image_url", "image_url": {"url": "https://a/b.png"}})]},
        (),
    ),
    "14 a document": (
        {"messages": [user({"type": "document", "title": "t.pdf", "source": {
            "type": "base64", "media_type": "application/pdf", "data": "aGk="}})]},
        GPT,
        {"messages": [user({"type": "file", "file": {
            "filename": "t.pdf", "file_data": "data:application/pdf;base64,aGk="}})]}, (),
    ),
    "14 a document of plain text": (
        {"messages": [user({"type": "document", "title": "t", "citations": {"enabled": True}, "source": {
            "type": "text", "media_type": "text/plain", "data": "words"}})]},
        GPT, {"messages": [{"role": "user", "content": "t\n\nwords"}]},
        ("dropped:messages.content.citations", "rewritten:document"),
    ),
    "35 thinking goes back to a host that wants it": (
        {"messages": [HI, assistant({"type": "thinking", "thinking": "t", "signature": ""}, use("a")),
                      user(result("a"))]},
        "deepseek-reasoner",
        {"messages": [HI, CALLED | {"reasoning_content": "t"}, {"role": "tool", "tool_call_id": "a", "content": "ok"}]},
        (),
    ),
    "36 no thinking, where the model can be told": (
        {"thinking": {"type": "disabled"}}, REASONING, {"reasoning_effort": "none"}, (),
    ),
    "36 no thinking, where it cannot": (
        {"thinking": {"type": "disabled"}}, "o3", {"reasoning_effort": None}, ("dropped:thinking",),
    ),
    "36 the nearest effort": (
        {"output_config": {"effort": "max"}}, "o3", {"reasoning_effort": "high"}, ("approximated:reasoning_effort",),
    ),
    "36 a budget as an effort": (
        {"thinking": {"type": "enabled", "budget_tokens": 8_000}, "max_tokens": 9_000}, REASONING,
        {"reasoning_effort": "medium", "max_completion_tokens": 9_000, "max_tokens": None},
        ("approximated:thinking.budget_tokens",),
    ),
    "36 an effort as it is": (
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}, REASONING,
        {"reasoning_effort": "xhigh"}, (),
    ),
    "36 thinking at a model that does not": (
        {"thinking": {"type": "adaptive"}}, GPT, {"reasoning_effort": None, "max_tokens": 100}, ("dropped:reasoning",),
    ),
    "36 sampling at a reasoning model": (
        {"temperature": 1, "top_p": 0.5, "stop_sequences": ["x"]}, REASONING,
        {"temperature": None, "top_p": None, "stop": None}, ("dropped:temperature", "dropped:top_p", "dropped:stop"),
    ),
    "37 top_k": ({"top_k": 5}, GPT, {"top_k": None}, ("dropped:top_k",)),
    "37 top_k where models are named as repositories": ({"top_k": 5}, "Qwen/Qwen3-32B", {"top_k": 5}, ()),
    "37 stops": ({"stop_sequences": ["a", "b"]}, GPT, {"stop": ["a", "b"]}, ()),
    "37 too many stops": (
        {"stop_sequences": list("abcde")}, GPT, {"stop": ["a", "b", "c", "d"]}, ("clamped:stop",),
    ),
    "38 auto, one at a time": (
        {"tools": [CLOCK], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, GPT,
        {"tool_choice": "auto", "parallel_tool_calls": False, "tools": [SENT_CLOCK]}, (),
    ),
    "38 any": ({"tools": [CLOCK], "tool_choice": {"type": "any"}}, GPT, {"tool_choice": "required"}, ()),
    "38 none": ({"tools": [CLOCK], "tool_choice": {"type": "none"}}, GPT, {"tool_choice": "none"}, ()),
    "38 named": (
        {"tools": [CLOCK], "tool_choice": {"type": "tool", "name": "clock"}}, GPT,
        {"tool_choice": {"type": "function", "function": {"name": "clock"}}}, (),
    ),
    "39 strict where the schema allows it": (
        {"tools": [{"name": "a", "strict": True, "input_schema": SCHEMA},
                   {"name": "b", "strict": True, "input_schema": LOOSE}]},
        GPT,
        {"tools": [{"type": "function", "function": {"name": "a", "parameters": SCHEMA, "strict": True}},
                   {"type": "function", "function": {"name": "b", "parameters": LOOSE}}]}, (),
    ),
    "39 an answer by schema": (
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, GPT,
        {"response_format": {"type": "json_schema", "json_schema": {
            "name": "answer", "schema": SCHEMA, "strict": True}}}, (),
    ),
    "40 user": ({"metadata": {"user_id": "u"}}, GPT, {"user": "u"}, ()),
    "32 usage is asked of a stream always": (
        {"stream": True}, GPT, {"stream": True, "stream_options": {"include_usage": True}}, (),
    ),
    "38 unknown fields": (
        {"speed": "fast", "foo": 1}, GPT, {"foo": None, "speed": None}, ("dropped:speed", "unknown:foo"),
    ),
    "17 a long name": (
        {"tools": [{"name": "n" * 100, "input_schema": LOOSE}]}, GPT,
        {"tools": [{"type": "function", "function": {"name": "n" * 53 + "_4e9d823140", "parameters": LOOSE}}]}, (),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_carried(case: str) -> None:
    fields, upstream, expected, warnings = CASES[case]
    translation = to_other(ANTHROPIC, fields, upstream)
    document = sent(translation)
    assert {name: document.get(name) for name in expected} == expected
    assert translation.notes.all() == warnings


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({"messages": []}, "messages"),
    "no max_tokens": ({"max_tokens": None}, "max_tokens"),
    "content that is missing": ({"messages": [{"role": "user"}]}, "messages[0].content"),
    "a role that does not exist": ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    "9 an orphan result": ({"messages": [user(text("x"), result("a"))]}, "messages[0].content[1]"),
    "9 a call without a result": ({"messages": [HI, assistant(use("a")), HI]}, "messages[1]"),
    "13 an image of another type": (
        {"messages": [user({"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": ""}})]},
        "messages[0].content[0].source.media_type",
    ),
    "13 an image from a disk": (
        {"messages": [user({"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}})]},
        "messages[0].content[0].source.url",
    ),
    "14 a stored file": (
        {"messages": [user({"type": "document", "source": {"type": "file", "file_id": "f"}})]},
        "messages[0].content[0].source.type",
    ),
    "14 a document by address": (
        {"messages": [user({"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}})]}, "messages[0]",
    ),
    "38 a server tool": ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    "38 MCP servers": ({"mcp_servers": []}, "mcp_servers"),
    "38 a container": ({"container": "c"}, "container"),
    "38 context management": ({"context_management": {}}, "context_management"),
    "38 a block of a server tool": (
        {"messages": [HI, assistant({"type": "server_tool_use", "id": "a", "name": "web_search", "input": {}}), HI]},
        "messages[1].content[0].type",
    ),
    "a result said by the model": ({"messages": [HI, assistant(result("a")), HI]}, "messages[1].content[0].type"),
    "38 a tool that is not there": (
        {"tools": [CLOCK], "tool_choice": {"type": "tool", "name": "x"}}, "tool_choice.name",
    ),
    "16 an input that is no object": (
        {"tools": [{"name": "a", "input_schema": {"type": "string"}}]}, "tools[0].input_schema",
    ),
    "thinking of another type": ({"thinking": {"type": "hard"}}, "thinking.type"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_its_place(case: str) -> None:
    fields, place = REFUSED[case]
    with pytest.raises(BadField) as refused:
        to_other(ANTHROPIC, fields)
    assert refused.value.field == place


# --- there and back ---

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20).filter(str.strip)
IDS = st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True)
NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
ARGUMENTS = st.dictionaries(WORDS, st.one_of(WORDS, st.integers(), st.booleans(), st.none()), max_size=3)
PARTS = st.one_of(
    WORDS.map(text),
    st.just(SENT_PNG),
    st.just({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}),
    st.just({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}}),
)


@st.composite
def chats(draw: st.DrawFn) -> dict[str, Any]:
    """A call of chat completions in the subset that both vendors have, as we would write it ourselves."""
    messages: list[Any] = [{"role": "system", "content": draw(WORDS)}] if draw(st.booleans()) else []
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    for _ in range(draw(st.integers(1, 3))):
        parts = draw(st.lists(PARTS, min_size=2, max_size=3))
        messages.append({"role": "user", "content": draw(st.one_of(WORDS, st.just(parts)))})
        calls = [
            {"id": call_id, "type": "function", "function": {
                "name": draw(st.sampled_from(names)),
                "arguments": json.dumps(draw(ARGUMENTS), separators=(",", ":"), ensure_ascii=False)}}
            for call_id in draw(st.lists(IDS, max_size=3, unique=True))
        ]  # fmt: skip
        message = {"role": "assistant", "content": draw(WORDS)}
        messages.append(message | {"tool_calls": calls} if calls else message)
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": draw(WORDS)} for call in calls]
    messages.append({"role": "user", "content": draw(WORDS)})
    call: dict[str, Any] = {"model": GPT, "messages": messages, "max_tokens": draw(st.integers(1, 4_096))}
    call["tools"] = [{"type": "function", "function": {"name": n, "description": "d", "parameters": LOOSE}}
                     for n in names]  # fmt: skip
    call["tool_choice"] = draw(st.sampled_from(["auto", "required", "none"]))
    if draw(st.booleans()):
        call["temperature"] = draw(st.sampled_from([0.0, 0.25, 1.0]))
    if draw(st.booleans()):
        call["stop"] = draw(st.lists(WORDS, min_size=1, max_size=4))
    if draw(st.booleans()):
        call["user"] = "u-1"
    return call


@settings(max_examples=150, deadline=None)
@given(chats())
def test_there_and_back_is_the_same_call(call: dict[str, Any]) -> None:
    """Rule 80: what both vendors can say survives the way to Anthropic's shape and back."""
    there = to_other(OPENAI, call, "claude-3-5-sonnet-latest")
    back = to_other(ANTHROPIC, sent(there), GPT)
    assert sent(back) == call
    assert there.notes.all() == back.notes.all() == ()


@settings(max_examples=150, deadline=None)
@given(chats())
def test_back_and_there_is_the_same_message_call(call: dict[str, Any]) -> None:
    first = sent(to_other(OPENAI, call, CLAUDE))
    second = sent(to_other(OPENAI, sent(to_other(ANTHROPIC, first, GPT)), CLAUDE))
    assert second == first


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["role", "content", "type", "text", "tool_calls", "function", "name", "arguments", "id",
                         "source", "image_url", "url", "input", "tool_use_id", "cache_control", "ttl", "user",
                         "parameters", "input_schema", "properties", "required", "anyOf", "$defs", "items"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
FIELDS = ["messages", "tools", "tool_choice", "system", "stop", "stop_sequences", "thinking", "response_format",
          "output_config", "metadata", "temperature", "max_tokens", "n", "functions", "function_call", "stream_options",
          "reasoning_effort", "stream", "user"]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([OPENAI, ANTHROPIC]), st.dictionaries(st.sampled_from(FIELDS), JUNK, max_size=4), JUNK)
def test_whatever_is_sent_is_carried_or_refused(shape: Any, fields: dict[str, Any], message: Any) -> None:
    """Hostile input is a BadField, never another exception."""
    tool = {"name": "a", "input_schema": message, "type": "custom", "strict": True}
    function = {"type": "function", "function": {"name": "a", "parameters": message}}
    tools = {"tools": [tool if shape is ANTHROPIC else function]}
    said = {"messages": [{"role": "user", "content": message}]}
    for call in (fields, {"messages": [message]}, said, tools):
        with contextlib.suppress(BadField):
            to_other(shape, call)

"""Chat completion calls as Anthropic's hosts get them. Each case names the rule it holds (docs/translation.md)."""

from __future__ import annotations

from typing import Any

import pytest

from relay_contract.errors import BadField, BadRequest
from relay_edge.protocols.translation import Translator
from tests.edge.translating import CLAUDE, HI, OPENAI, sent, to_other

OLD, ADAPTIVE, NEWEST, UNKNOWN = "claude-3-5-sonnet-20241022", "claude-opus-4-6", "claude-opus-4-8", "some-model"
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CLOCK = {"type": "function", "function": {"name": "clock"}}
EMPTY_SCHEMA = {"type": "object", "properties": {}}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def call(call_id: str, name: str = "weather", arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(call_id: str, content: Any = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def image(url: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url, **more}}]}


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
WANTED = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}

# id -> (fields of the call, upstream name, fields of what the host gets, warnings)
CASES: dict[str, tuple[dict[str, Any], str, dict[str, Any], tuple[str, ...]]] = {
    "6 system and developer go to the top, in order": (
        {"messages": [{"role": "system", "content": "a"}, {"role": "developer", "content": [text("b")]}, HI]},
        CLAUDE, {"system": [text("a"), text("b")], "messages": [{"role": "user", "content": [text("hi")]}]}, (),
    ),
    "6 a later system message stays where the model takes one": (
        {"messages": [HI, {"role": "system", "content": "a"}, {"role": "assistant", "content": "b"}, HI]},
        NEWEST, {"system": None, "messages": [
            {"role": "user", "content": [text("hi")]}, {"role": "system", "content": [text("a")]},
            {"role": "assistant", "content": [text("b")]}, {"role": "user", "content": [text("hi")]}]}, (),
    ),
    "6 it moves from between two turns of the user's": (
        {"messages": [HI, {"role": "system", "content": "a"}, HI]},
        NEWEST, {"system": [text("a")], "messages": [{"role": "user", "content": [text("hi"), text("hi")]}]},
        ("moved:messages.system",),
    ),
    "6 a later system message moves": (
        {"messages": [HI, {"role": "system", "content": "a"}]},
        CLAUDE, {"system": [text("a")], "messages": [{"role": "user", "content": [text("hi")]}]},
        ("moved:messages.system",),
    ),
    "7 messages of one role become one": (
        {"messages": [HI, HI, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}, HI]},
        CLAUDE,
        {"messages": [
            {"role": "user", "content": [text("hi"), text("hi")]},
            {"role": "assistant", "content": [text("a"), text("b")]},
            {"role": "user", "content": [text("hi")]},
        ]}, (),
    ),
    "8 results are one message, before other words": (
        {"messages": [HI, {"role": "assistant", "tool_calls": [call("a"), call("b")]}, result("b"), result("a"), HI],
         "tools": [WEATHER]},
        CLAUDE,
        {"messages": [
            {"role": "user", "content": [text("hi")]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "a", "name": "weather", "input": {}},
                {"type": "tool_use", "id": "b", "name": "weather", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "b", "content": [text("ok")]},
                {"type": "tool_result", "tool_use_id": "a", "content": [text("ok")]}, text("hi")]},
        ]}, (),
    ),
    "10 a history with calls but no tools gets stubs": (
        {"messages": [HI, {"role": "assistant", "tool_calls": [call("a")]}, result("a")]},
        CLAUDE, {"tools": [{"name": "weather", "input_schema": EMPTY_SCHEMA}], "tool_choice": {"type": "none"}},
        ("added:tools",),
    ),
    "11 empty words are left out": (
        {"messages": [{"role": "user", "content": [text(" "), text("hi")]}, {"role": "assistant", "content": ""}, HI]},
        CLAUDE, {"messages": [{"role": "user", "content": [text("hi"), text("hi")]}]}, ("dropped:messages.empty",),
    ),
    "11 the older function messages": (
        {"messages": [HI, {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
                      {"role": "function", "name": "f", "content": "42"}],
         "functions": [{"name": "f", "description": "d"}], "function_call": {"name": "f"}},
        CLAUDE,
        {"messages": [
            {"role": "user", "content": [text("hi")]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": [text("42")]}]}],
         "tools": [{"name": "f", "description": "d", "input_schema": EMPTY_SCHEMA}],
         "tool_choice": {"type": "tool", "name": "f"}}, (),
    ),
    "12 the beginning of an answer": (
        {"messages": [HI, {"role": "assistant", "content": "Sure: "}]}, CLAUDE,
        {"messages": [{"role": "user", "content": [text("hi")]}, {"role": "assistant", "content": [text("Sure:")]}]},
        (),
    ),
    "13 an image in a data URI with parameters": (
        {"messages": [image("data:image/png;name=a.png;base64,aGk=")]}, CLAUDE,
        {"messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}]}]}, (),
    ),
    "13 an image by address, its detail dropped": (
        {"messages": [image("https://example.com/a.png", detail="high")]}, CLAUDE,
        {"messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}]}]},
        ("dropped:messages.content.image_url.detail",),
    ),
    "14 files": (
        {"messages": [{"role": "user", "content": [
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
            {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,aGk="}}]}]},
        CLAUDE,
        {"messages": [{"role": "user", "content": [
            {"type": "document", "title": "a.pdf",
             "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}},
            {"type": "document", "title": "a.txt",
             "source": {"type": "text", "media_type": "text/plain", "data": "hi"}}]}]}, (),
    ),
    "16 tools": (
        {"tools": [{"type": "function", "function": {"name": "a", "description": "d", "strict": True,
                                                     "parameters": SCHEMA}}, CLOCK,
                   {"type": "function", "function": {"name": "b", "parameters": {"properties": {}}}}]},
        CLAUDE,
        {"tools": [{"name": "a", "description": "d", "input_schema": SCHEMA, "strict": True},
                   {"name": "clock", "input_schema": EMPTY_SCHEMA},
                   {"name": "b", "input_schema": EMPTY_SCHEMA}]}, (),
    ),
    "16 strict only where the model can": (
        {"tools": [{"type": "function", "function": {"name": "a", "strict": True, "parameters": SCHEMA}}]},
        OLD, {"tools": [{"name": "a", "input_schema": SCHEMA}]}, ("dropped:tools.strict",),
    ),
    "17 a name that Anthropic does not take": (
        {"tools": [{"type": "function", "function": {"name": "a.b"}}]},
        CLAUDE, {"tools": [{"name": "a_b_2e7336dc8e", "input_schema": EMPTY_SCHEMA}]}, (),
    ),
    "19 auto": ({"tools": [CLOCK], "tool_choice": "auto"}, CLAUDE, {"tool_choice": {"type": "auto"}}, ()),
    "19 required": ({"tools": [CLOCK], "tool_choice": "required"}, CLAUDE, {"tool_choice": {"type": "any"}}, ()),
    "19 none": ({"tools": [CLOCK], "tool_choice": "none"}, CLAUDE, {"tool_choice": {"type": "none"}}, ()),
    "19 named": (
        {"tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "clock"}}},
        CLAUDE, {"tool_choice": {"type": "tool", "name": "clock"}}, (),
    ),
    "19 allowed tools": (
        {"tools": [CLOCK, WEATHER], "tool_choice": {"type": "allowed_tools", "allowed_tools": {
            "mode": "required", "tools": [{"type": "function", "function": {"name": "weather"}}]}}},
        CLAUDE, {"tools": [{"name": "weather", "input_schema": EMPTY_SCHEMA}], "tool_choice": {"type": "any"}}, (),
    ),
    "19 one call at a time": (
        {"tools": [CLOCK], "parallel_tool_calls": False},
        CLAUDE, {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, (),
    ),
    "19 a choice without tools is left out": ({"tool_choice": "auto"}, CLAUDE, {"tool_choice": None}, ()),
    "20 a forced tool turns thinking off": (
        {"tools": [CLOCK], "tool_choice": "required", "reasoning_effort": "low"},
        CLAUDE, {"tool_choice": {"type": "any"}, "thinking": None}, ("dropped:reasoning.forced_tool",),
    ),
    "22 an id that Anthropic does not take, in call and result": (
        {"messages": [HI, {"role": "assistant", "tool_calls": [call("a:b")]}, result("a:b")], "tools": [WEATHER]},
        CLAUDE,
        {"messages": [
            {"role": "user", "content": [text("hi")]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "a_b_6783a31eab", "name": "weather", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a_b_6783a31eab", "content": [text("ok")]}]}]}, (),
    ),
    "23 stop as a string": ({"stop": "x"}, CLAUDE, {"stop_sequences": ["x"]}, ()),
    "23 stops of blanks": ({"stop": ["\n", "x"]}, CLAUDE, {"stop_sequences": ["x"]}, ("dropped:stop",)),
    "23 no stop": ({"stop": []}, CLAUDE, {"stop_sequences": None}, ()),
    "24 the newer field wins": ({"max_tokens": 5, "max_completion_tokens": 7}, CLAUDE, {"max_tokens": 7}, ()),
    "24 the model's own limit where nothing was said": ({}, CLAUDE, {"max_tokens": 64_000}, ()),
    "24 a small default for an unknown model": ({}, UNKNOWN, {"max_tokens": 8_192}, ()),
    "24 clamped to what the model can": (
        {"max_tokens": 10_000}, OLD, {"max_tokens": 8_192}, ("clamped:max_tokens",),
    ),
    "25 temperature": ({"temperature": 1.5}, CLAUDE, {"temperature": 1.0}, ("clamped:temperature",)),
    "25 temperature and top_p exclude each other": (
        {"temperature": 0.5, "top_p": 0.9}, CLAUDE, {"temperature": 0.5, "top_p": None}, ("dropped:top_p",),
    ),
    "25 both at an older model": (
        {"temperature": 0.5, "top_p": 0.9}, OLD, {"temperature": 0.5, "top_p": 0.9}, (),
    ),
    "25 none at the newest": (
        {"temperature": 0.5, "top_p": 0.9}, NEWEST, {"temperature": None, "top_p": None},
        ("dropped:temperature", "dropped:top_p"),
    ),
    "25 none while thinking": (
        {"temperature": 0.5, "reasoning_effort": "low", "max_tokens": 9_000}, CLAUDE,
        {"temperature": None, "thinking": {"type": "enabled", "budget_tokens": 2_048}}, ("dropped:temperature",),
    ),
    "26 what only OpenAI has": (
        {"n": 1, "logprobs": True, "top_logprobs": 3, "logit_bias": {"1": 2}, "seed": 1, "frequency_penalty": 0.5,
         "presence_penalty": 0.5, "prediction": {}, "store": True},
        CLAUDE, {},
        ("dropped:logprobs", "dropped:top_logprobs", "dropped:logit_bias", "dropped:prediction", "dropped:store",
         "dropped:seed", "dropped:frequency_penalty", "dropped:presence_penalty"),
    ),
    "26 what says nothing needs no warning": (
        {"n": 1, "logprobs": False, "logit_bias": {}, "seed": None, "frequency_penalty": 0, "store": False,
         "modalities": ["text"], "metadata": {"a": "b"}},
        CLAUDE, {}, (),
    ),
    "27 user": ({"user": "u1"}, CLAUDE, {"metadata": {"user_id": "u1"}}, ()),
    "27 an address is hashed": (
        {"safety_identifier": "a@b.org"}, CLAUDE,
        {"metadata": {"user_id": "5b26064bbe849dabc6e30cd26694c2cf44dc41a9171fbdae13c722e55f9ff041"}},
        ("hashed:user",),
    ),
    "28 service tiers": ({"service_tier": "auto"}, CLAUDE, {"service_tier": "auto"}, ()),
    "28 a tier that Anthropic has not": (
        {"service_tier": "flex"}, CLAUDE, {"service_tier": None}, ("dropped:service_tier",),
    ),
    "29 a schema, natively": (
        {"response_format": WANTED}, CLAUDE,
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, (),
    ),
    "29 a schema, by a tool": (
        {"response_format": WANTED}, OLD,
        {"tools": [{"name": "relay_json_answer", "description": "The answer.", "input_schema": SCHEMA}],
         "tool_choice": {"type": "tool", "name": "relay_json_answer"}}, (),
    ),
    "29 any JSON, by words": (
        {"response_format": {"type": "json_object"}}, CLAUDE,
        {"system": [text("Answer with one JSON object and nothing else: no words around it, no code fence.")]},
        ("approximated:response_format",),
    ),
    "29 text": ({"response_format": {"type": "text"}}, CLAUDE, {"output_config": None}, ()),
    "30 effort as a budget, with room for it": (
        {"reasoning_effort": "high", "max_tokens": 1_000}, CLAUDE,
        {"thinking": {"type": "enabled", "budget_tokens": 16_384}, "max_tokens": 20_480}, ("rewritten:max_tokens",),
    ),
    "30 effort as an effort": (
        {"reasoning_effort": "minimal"}, ADAPTIVE,
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, (),
    ),
    "30 no effort": ({"reasoning_effort": "none"}, ADAPTIVE, {"thinking": None, "output_config": None}, ()),
    "30 a model that does not think": ({"reasoning_effort": "low"}, OLD, {"thinking": None}, ("dropped:reasoning",)),
    "31 cache marks": (
        {"messages": [{"role": "system", "content": [text("a", cache_control={"type": "ephemeral", "ttl": "1h"})]},
                      {"role": "user", "content": [text("hi", cache_control={"type": "ephemeral"})]}],
         "tools": [{**CLOCK, "cache_control": {"type": "ephemeral"}}]},
        CLAUDE,
        {"system": [text("a", cache_control={"type": "ephemeral", "ttl": "1h"})],
         "messages": [{"role": "user", "content": [text("hi", cache_control={"type": "ephemeral"})]}],
         "tools": [{"name": "clock", "input_schema": EMPTY_SCHEMA, "cache_control": {"type": "ephemeral"}}]}, (),
    ),
    "31 no more than four, the last ones": (
        {"messages": [{"role": "user", "content": [text(str(n), cache_control={"type": "ephemeral"})
                                                   for n in range(5)]}]},
        CLAUDE,
        {"messages": [{"role": "user", "content": [text("0"), *(text(str(n), cache_control={"type": "ephemeral"})
                                                                for n in range(1, 5))]}]},
        ("dropped:cache_control",),
    ),
    "29 thinking comes back with its signature": (
        {"messages": [HI, {"role": "assistant", "content": "a", "reasoning_content": "t", "thinking_blocks": [
            {"type": "thinking", "thinking": "t", "signature": "sig=="}, {"type": "redacted_thinking", "data": "d"}]},
            HI]},
        CLAUDE,
        {"messages": [{"role": "user", "content": [text("hi")]}, {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "t", "signature": "sig=="}, {"type": "redacted_thinking", "data": "d"},
            text("a")]}, {"role": "user", "content": [text("hi")]}]}, (),
    ),
    "57 thinking without a signature never does": (
        {"messages": [HI, {"role": "assistant", "content": "a", "reasoning_content": "t"}, HI]}, CLAUDE,
        {"messages": [{"role": "user", "content": [text("hi")]}, {"role": "assistant", "content": [text("a")]},
                      {"role": "user", "content": [text("hi")]}]},
        ("dropped:messages.reasoning",),
    ),
    "29 tools called without thinking cannot be gone on with while thinking": (
        {"messages": [HI, {"role": "assistant", "tool_calls": [call("a")]}, result("a")], "tools": [WEATHER],
         "reasoning_effort": "low"},
        CLAUDE, {"thinking": None}, ("dropped:reasoning.unsigned_history",),
    ),
    "38 unknown fields": (
        {"foo": 1, "messages": [{**HI, "bar": 2}]}, CLAUDE, {"foo": None}, ("unknown:messages.bar", "unknown:foo"),
    ),
    "38 unknown fields further down": (
        {"stream": True, "stream_options": {"include_usage": True, "x": 1},
         "messages": [{"role": "user", "content": [
             {"type": "image_url", "image_url": {"url": "https://a/b.png", "y": 1}, "z": 1}]}]},
        CLAUDE, {},
        ("unknown:messages.content.image_url.y", "unknown:messages.content.z", "unknown:stream_options.x"),
    ),
    "1 numbers keep their text": ({"stream": True}, CLAUDE, {"stream": True, "stream_options": None}, ()),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_carried(case: str) -> None:
    fields, upstream, expected, warnings = CASES[case]
    translation = to_other(OPENAI, fields, upstream)
    document = sent(translation)
    assert {name: document.get(name) for name in expected} == expected
    assert translation.notes.all() == warnings
    assert document["model"] == upstream


PDF_BY_ID = {"type": "file", "file": {"file_id": "file-1"}}
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no messages": ({"messages": []}, CLAUDE, "messages"),
    "messages of another type": ({"messages": {}}, CLAUDE, "messages"),
    "a message that is no object": ({"messages": [HI, 1]}, CLAUDE, "messages[1]"),
    "a role that does not exist": ({"messages": [{"role": "narrator", "content": "x"}]}, CLAUDE, "messages[0].role"),
    "content of another type": ({"messages": [{"role": "user", "content": 1}]}, CLAUDE, "messages[0].content"),
    "only empty words": ({"messages": [{"role": "user", "content": " "}]}, CLAUDE, "messages"),
    "only a system message": ({"messages": [{"role": "system", "content": "a"}]}, CLAUDE, "messages"),
    "7 an answer first": ({"messages": [{"role": "assistant", "content": "a"}, HI]}, CLAUDE, "messages[0]"),
    "9 an orphan result": ({"messages": [HI, result("a")]}, CLAUDE, "messages[1]"),
    "9 a result twice": (
        {"messages": [HI, {"role": "assistant", "tool_calls": [call("a")]}, result("a"), result("a")]},
        CLAUDE, "messages[3]",
    ),
    "9 a call without a result": (
        {"messages": [HI, {"role": "assistant", "tool_calls": [call("a"), call("b")]}, result("a"), HI]},
        CLAUDE, "messages[1]",
    ),
    "9 a call at the end": (
        {"messages": [HI, {"role": "assistant", "tool_calls": [call("a")]}]}, CLAUDE, "messages[1]",
    ),
    "9 two calls of one id": (
        {"messages": [HI, {"role": "assistant", "tool_calls": [call("a"), call("a")]}, result("a")]},
        CLAUDE, "messages[1]",
    ),
    "11 a function message without its call": (
        {"messages": [HI, {"role": "function", "name": "f", "content": "x"}]}, CLAUDE, "messages[1].name",
    ),
    "12 the beginning of an answer at a newer model": (
        {"messages": [HI, {"role": "assistant", "content": "a"}]}, ADAPTIVE, "messages[1]",
    ),
    "12 the beginning of an answer while thinking": (
        {"messages": [HI, {"role": "assistant", "content": "a"}], "reasoning_effort": "low"}, CLAUDE, "messages[1]",
    ),
    "13 an image of another type": (
        {"messages": [HI, image("data:image/tiff;base64,aGk=")]}, CLAUDE, "messages[1].content[0].image_url.url",
    ),
    "13 an image that is not base64": (
        {"messages": [image("data:image/png;base64,a b")]}, CLAUDE, "messages[0].content[0].image_url.url",
    ),
    "13 an image from a disk": (
        {"messages": [image("file:///etc/passwd")]}, CLAUDE, "messages[0].content[0].image_url.url",
    ),
    "14 a stored file": (
        {"messages": [{"role": "user", "content": [PDF_BY_ID]}]}, CLAUDE, "messages[0].content[0].file.file_id",
    ),
    "15 sound": (
        {"messages": [{"role": "user", "content": [
            {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}]}]},
        CLAUDE, "messages[0].content[0].type",
    ),
    "15 film": (
        {"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}, CLAUDE, "messages[0].content[0].type",
    ),
    "15 an answer in sound": ({"modalities": ["text", "audio"]}, CLAUDE, "modalities"),
    "16 parameters of another type": (
        {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "array"}}}]},
        CLAUDE, "tools[0].function.parameters",
    ),
    "18 a hosted tool": ({"tools": [{"type": "web_search"}]}, CLAUDE, "tools[0].type"),
    "18 web search": ({"web_search_options": {}}, CLAUDE, "web_search_options"),
    "18 a custom tool's call": (
        {"messages": [HI, {"role": "assistant", "tool_calls": [{"id": "a", "type": "custom", "custom": {}}]}]},
        CLAUDE, "messages[1].tool_calls[0].type",
    ),
    "19 a tool that is not there": (
        {"tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "x"}}}, CLAUDE, "tool_choice",
    ),
    "21 arguments that are no JSON": (
        {"messages": [HI, {"role": "assistant", "tool_calls": [call("a", arguments="{")]}, result("a")]},
        CLAUDE, "messages[1].tool_calls[0].function.arguments",
    ),
    "21 arguments that are no object": (
        {"messages": [HI, {"role": "assistant", "tool_calls": [call("a", arguments="[1]")]}, result("a")]},
        CLAUDE, "messages[1].tool_calls[0].function.arguments",
    ),
    "25 a temperature in words": ({"temperature": "hot"}, CLAUDE, "temperature"),
    "26 two answers": ({"n": 2}, CLAUDE, "n"),
    "29 a format that is not known": ({"response_format": {"type": "grammar"}}, CLAUDE, "response_format.type"),
    "30 an effort that is not known": ({"reasoning_effort": "heroic"}, CLAUDE, "reasoning_effort"),
    "24 no token at all": ({"max_tokens": 0}, CLAUDE, "max_tokens"),
    "stream of another type": ({"stream": "yes"}, CLAUDE, "stream"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_its_place(case: str) -> None:
    fields, upstream, place = REFUSED[case]
    with pytest.raises(BadField) as refused:
        to_other(OPENAI, fields, upstream)
    assert refused.value.field == place
    assert refused.value.public_text.startswith(f"{place}: ")


def test_numbers_of_arguments_and_schemas_keep_their_text() -> None:
    """Rule 21: nothing is rounded, no key moves."""
    arguments = '{"z": 1.10, "a": 123456789012345678901234567890, "e": 1E-7}'
    translation = to_other(
        OPENAI,
        {"messages": [HI, {"role": "assistant", "tool_calls": [call("a", arguments=arguments)]}, result("a")],
         "tools": [WEATHER]},
    )  # fmt: skip
    assert b'"input":{"z":1.10,"a":123456789012345678901234567890,"e":1E-7}' in translation.body


@pytest.mark.parametrize("body", [b'{"model":"m","messages":' + b"[" * 5_000 + b"]" * 5_000 + b"}", b"[]", b'"x"'])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        Translator(OPENAI, body, created=0, fallback_id="")

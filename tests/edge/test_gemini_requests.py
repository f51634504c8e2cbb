"""Calls of either shape as Gemini's hosts get them, and what the catalog and a strict policy make of any call."""

from __future__ import annotations

import contextlib
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings

from relay_contract.errors import BadField
from relay_contract.nouns import Capabilities
from tests.edge.test_translation_to_chat import JUNK, chats
from tests.edge.translating import ANTHROPIC, CLAUDE, GEMINI, GPT, HI, OPENAI, RESPONSES, sent, to_host, to_other

PRO, FLASH_3, PRO_25, FLASH_25, OLD = (
    "gemini-3-pro-preview", "gemini-3-flash", "gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.0-flash",
)  # fmt: skip
SCHEMA = {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "string"}},
          "additionalProperties": False}  # fmt: skip
WEATHER = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}
CLOCK = {"type": "function", "function": {"name": "clock"}}
EMPTY = {"type": "object", "properties": {}}
SAID_HI = {"role": "user", "parts": [{"text": "hi"}]}
WANTED = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


def calls(*ids: str, **more: Any) -> dict[str, Any]:
    made = [{"id": i, "type": "function", "function": {"name": "weather", "arguments": '{"x": 1.10}'}} for i in ids]
    return {"role": "assistant", "tool_calls": made, **more}


def result(call_id: str, content: str = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def called(call_id: str | None = None, **more: Any) -> dict[str, Any]:
    function = {"name": "weather", "args": {"x": 1.1}} | ({"id": call_id} if call_id else {})
    return {"functionCall": function, **more}


def responded(words: str = "ok", call_id: str | None = None, key: str = "output") -> dict[str, Any]:
    return {"functionResponse": {"name": "weather", "response": {key: words}} | ({"id": call_id} if call_id else {})}


def config(**fields: Any) -> dict[str, Any]:
    return {"generationConfig": fields or None}


def user(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def signed(slot: str, signature: str, text: str = "") -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": f"gemini:{slot}:{signature}"}


# id -> (fields of the call, upstream name, fields of what the host gets, warnings)
FROM_CHAT: dict[str, tuple[dict[str, Any], str, dict[str, Any], tuple[str, ...]]] = {
    "system at the top": (
        {"messages": [{"role": "system", "content": "a"}, {"role": "developer", "content": "b"}, HI]}, PRO,
        {"systemInstruction": {"parts": [{"text": "a"}, {"text": "b"}]}, "contents": [SAID_HI], "model": None,
         "stream": None}, (),
    ),
    "a later system message moves": (
        {"messages": [HI, {"role": "system", "content": "a"}]}, PRO,
        {"systemInstruction": {"parts": [{"text": "a"}]}, "contents": [SAID_HI]}, ("moved:messages.system",),
    ),
    "images, files and sound": (
        user({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
             {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
             {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}}), FLASH_25,
        {"contents": [{"role": "user", "parts": [
            {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
            {"inlineData": {"mimeType": "application/pdf", "data": "aGk="}},
            {"inlineData": {"mimeType": "audio/mp3", "data": "aGk="}}]}]}, (),
    ),
    "images by address": (
        user({"type": "image_url", "image_url": {"url": "https://a/b.webp?c=d"}},
             {"type": "image_url", "image_url": {"url": "https://a/b"}}), FLASH_25,
        {"contents": [{"role": "user", "parts": [
            {"fileData": {"mimeType": "image/webp", "fileUri": "https://a/b.webp?c=d"}},
            {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://a/b"}}]}]}, (),
    ),
    "tools, with their schemas as they are": (
        {"tools": [WEATHER, CLOCK], "tool_choice": "auto"}, PRO,
        {"tools": [{"functionDeclarations": [
            {"name": "weather", "description": "d", "parametersJsonSchema": SCHEMA},
            {"name": "clock", "parametersJsonSchema": EMPTY}]}],
         "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}}, (),
    ),
    "a forced tool": (
        {"tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "clock"}}}, PRO,
        {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["clock"]}}}, (),
    ),
    "any of some tools": (
        {"tools": [CLOCK, WEATHER], "tool_choice": {"type": "allowed_tools", "allowed_tools": {
            "mode": "required", "tools": [{"type": "function", "function": {"name": "clock"}}]}}}, PRO,
        {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["clock"]}}}, (),
    ),
    "no tool": ({"tools": [CLOCK], "tool_choice": "none"}, PRO,
                {"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}}, ()),
    "a name that Gemini does not take": (
        {"tools": [{"type": "function", "function": {"name": "1a.b"}}]}, PRO,
        {"tools": [{"functionDeclarations": [{"name": "_1a_b_b78818e4d4", "parametersJsonSchema": EMPTY}]}]}, (),
    ),
    "results without ids stand in the order of their calls": (
        {"messages": [HI, calls("a", "b"), result("b", "2"), result("a", "1"), HI], "tools": [WEATHER]}, FLASH_25,
        {"contents": [SAID_HI, {"role": "model", "parts": [called(), called()]},
                      {"role": "user", "parts": [responded("1"), responded("2"), {"text": "hi"}]}]}, (),
    ),
    "ids, and the vendor's own word for a signature that is lost": (
        {"messages": [HI, calls("a", "b"), result("b"), result("a")]}, PRO,
        {"contents": [
            SAID_HI,
            {"role": "model", "parts": [
                called("a", thoughtSignature="skip_thought_signature_validator"), called("b")]},
            {"role": "user", "parts": [responded(call_id="a"), responded(call_id="b")]}]},
        ("added:thought_signature",),
    ),
    "signatures back on their parts": (
        {"messages": [HI, calls("a.1", "b", content="look", thinking_blocks=[
            signed("thought", "c2ln", "hm"), signed("call.a.1", "c2ln/A+=="), signed("text", "dGV4dA==")]),
                      result("a.1"), result("b")]}, PRO,
        {"contents": [
            SAID_HI,
            {"role": "model", "parts": [
                {"text": "hm", "thought": True, "thoughtSignature": "c2ln"},
                {"text": "look", "thoughtSignature": "dGV4dA=="},
                called("a.1", thoughtSignature="c2ln/A+=="), called("b")]},
            {"role": "user", "parts": [responded(call_id="a.1"), responded(call_id="b")]}]}, (),
    ),
    "another model's thinking": (
        {"messages": [HI, {"role": "assistant", "content": "a", "thinking_blocks": [
            {"type": "thinking", "thinking": "t", "signature": "EqQ="}]}, HI]}, PRO,
        {"contents": [SAID_HI, {"role": "model", "parts": [{"text": "a"}]}, SAID_HI]}, ("dropped:messages.thinking",),
    ),
    "settings": (
        {"max_tokens": 9, "temperature": 1.5, "top_p": 0.5, "top_k": 5, "seed": 7, "stop": ["x"]}, FLASH_25,
        config(maxOutputTokens=9, temperature=1.5, topP=0.5, topK=5, seed=7, stopSequences=["x"]), (),
    ),
    "nothing set": ({}, PRO, config(), ()),
    "penalties where there are any": (
        {"frequency_penalty": 0.5, "presence_penalty": -1}, OLD, config(frequencyPenalty=0.5, presencePenalty=-1.0), (),
    ),
    "penalties elsewhere": (
        {"frequency_penalty": 0.5, "presence_penalty": 1}, PRO, config(),
        ("dropped:frequency_penalty", "dropped:presence_penalty"),
    ),
    "a seed too large": ({"seed": 2**40 + 5}, PRO, config(seed=5), ("rewritten:seed",)),
    "too many stops": ({"stop": list("abcdef")}, PRO, config(stopSequences=list("abcde")), ("clamped:stop",)),
    "a level": ({"reasoning_effort": "low"}, PRO,
                config(thinkingConfig={"thinkingLevel": "low", "includeThoughts": True}), ()),
    "the nearest level": (
        {"reasoning_effort": "medium"}, PRO, config(thinkingConfig={"thinkingLevel": "high", "includeThoughts": True}),
        ("approximated:reasoning_effort",),
    ),
    "as little as it can": (
        {"reasoning_effort": "none"}, FLASH_3, config(thinkingConfig={"thinkingLevel": "minimal"}),
        ("approximated:reasoning_effort",),
    ),
    "a budget": (
        {"reasoning_effort": "low"}, FLASH_25,
        config(thinkingConfig={"thinkingBudget": 2_048, "includeThoughts": True}), (),
    ),
    "a budget with room for the answer": (
        {"reasoning_effort": "high", "max_tokens": 100}, PRO_25,
        config(maxOutputTokens=20_480, thinkingConfig={"thinkingBudget": 16_384, "includeThoughts": True}),
        ("rewritten:max_tokens",),
    ),
    "no thinking": ({"reasoning_effort": "none"}, FLASH_25, config(thinkingConfig={"thinkingBudget": 0}), ()),
    "no thinking, where that cannot be": ({"reasoning_effort": "none"}, PRO_25, config(), ("dropped:thinking",)),
    "thinking, where there is none": ({"reasoning_effort": "low"}, OLD, config(), ("dropped:reasoning",)),
    "a schema": (
        {"response_format": WANTED}, FLASH_25,
        config(responseMimeType="application/json", responseJsonSchema=SCHEMA), (),
    ),
    "any JSON": (
        {"response_format": {"type": "json_object"}}, FLASH_25, config(responseMimeType="application/json"), (),
    ),
    "a schema beside tools": (
        {"response_format": {"type": "json_object"}, "tools": [CLOCK]}, FLASH_25,
        config() | {"systemInstruction": {"parts": [{
            "text": "Answer with one JSON object and nothing else: no words around it, no code fence."}]}},
        ("approximated:response_format",),
    ),
    "a schema beside tools, natively": (
        {"response_format": WANTED, "tools": [CLOCK]}, PRO,
        config(responseMimeType="application/json", responseJsonSchema=SCHEMA), (),
    ),
    "what Gemini has no words for": (
        {"user": "u", "service_tier": "flex", "parallel_tool_calls": False, "tools": [WEATHER | {
            "cache_control": {"type": "ephemeral"}}]}, PRO, config(),
        ("dropped:cache_control", "dropped:parallel_tool_calls", "dropped:user", "dropped:service_tier"),
    ),
    "a strict tool": (
        {"tools": [{"type": "function", "function": {"name": "a", "strict": True}}]}, PRO, {},
        ("dropped:tools.strict",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FROM_CHAT)
def test_chat_to_gemini(case: str) -> None:
    fields, upstream, expected, warnings = FROM_CHAT[case]
    translation = to_host(OPENAI, GEMINI, fields, upstream)
    document = sent(translation)
    assert {name: document.get(name) for name in expected} == expected
    assert translation.notes.all() == warnings


FROM_MESSAGES: dict[str, tuple[dict[str, Any], str, dict[str, Any], tuple[str, ...]]] = {
    "a budget": (
        {"thinking": {"type": "enabled", "budget_tokens": 5_000}, "max_tokens": 9_000}, FLASH_25,
        config(maxOutputTokens=9_000, thinkingConfig={"thinkingBudget": 5_000, "includeThoughts": True}), (),
    ),
    "a budget that is too large": (
        {"thinking": {"type": "enabled", "budget_tokens": 50_000}, "max_tokens": 90_000}, FLASH_25,
        config(maxOutputTokens=90_000, thinkingConfig={"thinkingBudget": 24_576, "includeThoughts": True}), (),
    ),
    "a budget as a level": (
        {"thinking": {"type": "enabled", "budget_tokens": 2_000}}, PRO,
        config(maxOutputTokens=100, thinkingConfig={"thinkingLevel": "low", "includeThoughts": True}),
        ("approximated:thinking.budget_tokens",),
    ),
    "thinking that is not shown": (
        {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "high"}}, PRO,
        config(maxOutputTokens=100, thinkingConfig={"thinkingLevel": "high"}), (),
    ),
    "errors and pictures in results": (
        {"messages": [HI, {"role": "assistant", "content": [
            {"type": "tool_use", "id": "a", "name": "weather", "input": {"x": 1.1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "is_error": True, "content": [
                {"type": "text", "text": "no"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}]}]}]},
        FLASH_25,
        {"contents": [SAID_HI, {"role": "model", "parts": [called()]}, {"role": "user", "parts": [
            responded("no\n[see the attachment of a after the results]", key="error"),
            {"text": "[attachment of a]"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]}]},
        ("moved:tool_result.content",),
    ),
    "documents": (
        user({"type": "document", "title": "t", "source": {"type": "text", "media_type": "text/plain", "data": "w"}},
             {"type": "document", "source": {"type": "url", "url": "https://a/b"}}), PRO,
        {"contents": [{"role": "user", "parts": [
            {"text": "t\n\nw"}, {"fileData": {"mimeType": "application/pdf", "fileUri": "https://a/b"}}]}]},
        ("rewritten:document",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FROM_MESSAGES)
def test_messages_to_gemini(case: str) -> None:
    fields, upstream, expected, warnings = FROM_MESSAGES[case]
    translation = to_host(ANTHROPIC, GEMINI, fields, upstream)
    document = sent(translation)
    assert {name: document.get(name) for name in expected} == expected
    assert translation.notes.all() == warnings


@pytest.mark.parametrize(
    ("fields", "upstream", "place"),
    [
        (user({"type": "image_url", "image_url": {"url": "https://a/b.png"}}), OLD, "messages[0]"),
        ({"messages": [HI, result("a")]}, PRO, "messages[1]"),
        ({"messages": [HI, calls("a")]}, PRO, "messages[1]"),
        ({"messages": [{"role": "system", "content": "a"}]}, PRO, "messages"),
    ],
)
def test_refused_with_its_place(fields: dict[str, Any], upstream: str, place: str) -> None:
    with pytest.raises(BadField) as refused:
        to_host(OPENAI, GEMINI, fields, upstream)
    assert refused.value.field == place


def test_numbers_of_arguments_and_schemas_keep_their_text() -> None:
    schema = {"type": "object", "properties": {"a": {"maximum": 10**30}}}
    tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
    body = to_host(OPENAI, GEMINI, {"messages": [HI, calls("a"), result("a")], "tools": [tool]}, PRO).body
    assert b'"args":{"x":1.10}' in body
    assert str(10**30).encode() in body


@settings(max_examples=100, deadline=None)
@given(chats())
def test_every_call_that_both_others_take_is_taken(call: dict[str, Any]) -> None:
    """Rule 80: turns alternate, each call has its result after it, and no word is lost."""
    for upstream in (PRO, FLASH_25):
        contents = sent(to_host(OPENAI, GEMINI, call, upstream))["contents"]
        assert all(one["role"] != other["role"] for one, other in pairwise(contents))
        for one, other in pairwise(contents):
            asked = [p["functionCall"]["name"] for p in one["parts"] if "functionCall" in p]
            told = [p["functionResponse"]["name"] for p in other["parts"] if "functionResponse" in p]
            assert asked == told
        words = [p["text"] for c in contents for p in c["parts"] if "text" in p]
        for message in call["messages"]:
            if message["role"] == "assistant":
                assert message["content"] in words


@settings(max_examples=200, deadline=None)
@given(JUNK, JUNK)
def test_whatever_is_sent_is_carried_or_refused(message: Any, further: Any) -> None:
    tools = [{"type": "function", "function": {"name": "a", "parameters": message}}]
    calls_of: tuple[dict[str, Any], ...] = (
        {"messages": [message]}, {"messages": [{"role": "user", "content": message}]}, {"tools": tools},
        {"seed": message, "reasoning_effort": further}, {"response_format": message, "stop": further},
    )  # fmt: skip
    for call in calls_of:
        with contextlib.suppress(BadField):
            json.loads(to_host(OPENAI, GEMINI, call).body)


# --- what the catalog says ---

IMAGE = user({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}})
PDF = user({"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk="}})
SOUND = user({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}})


@pytest.mark.parametrize(
    ("fields", "capabilities", "place"),
    [
        (IMAGE, Capabilities(images=False), "messages[0]"),
        (PDF, Capabilities(documents=False), "messages[0]"),
        (SOUND, Capabilities(audio=False), "messages[0].content[0].type"),
        ({"tools": [CLOCK]}, Capabilities(tools=False), "tools"),
        ({"messages": [HI, {"role": "assistant", "content": "a"}]}, Capabilities(prefill=False), "messages[1]"),
    ],
)
def test_what_the_model_cannot_take_is_refused(fields: Any, capabilities: Capabilities, place: str) -> None:
    with pytest.raises(BadField) as refused:
        to_host(OPENAI, GEMINI, fields, PRO, capabilities)
    assert refused.value.field == place
    assert to_host(OPENAI, GEMINI, fields, PRO)


def test_the_catalog_counts_more_than_the_name() -> None:
    """Rules 12, 24, 25, 30, 36."""
    limits = Capabilities(max_output_tokens=50, sampling_limits="one", structured_output=False, prefill=True)
    asked = {"temperature": 1, "top_p": 1, "response_format": WANTED,
             "messages": [HI, {"role": "assistant", "content": "a"}]}  # fmt: skip
    translation = to_other(OPENAI, asked, "claude-opus-4-8", limits)
    document = sent(translation)
    assert (document["max_tokens"], document["temperature"]) == (50, 1)
    assert "top_p" not in document
    assert document["tool_choice"] == {"type": "tool", "name": "relay_json_answer"}
    clamped = to_other(ANTHROPIC, {"temperature": 1, "top_p": 1}, GPT, limits)
    assert (sent(clamped)["max_tokens"], "top_p" in sent(clamped)) == (50, False)
    assert clamped.notes.all() == ("clamped:max_tokens", "dropped:top_p")


def test_how_a_model_thinks_is_the_catalogs_to_say() -> None:
    """Rules 30 and 36."""
    effort = {"reasoning_effort": "high"}
    adaptive = Capabilities(thinking_modes=("manual", "adaptive"), effort_levels=("low", "medium"))
    nearest = to_other(OPENAI, effort, "my-claude", adaptive)
    assert sent(nearest)["output_config"] == {"effort": "medium"}
    assert nearest.notes.all() == ("approximated:reasoning_effort",)
    manual = sent(to_other(OPENAI, effort, "claude-opus-4-8", Capabilities(thinking_modes=("manual",))))
    assert manual["thinking"] == {"type": "enabled", "budget_tokens": 16_384}
    silent = to_other(OPENAI, effort, CLAUDE, Capabilities(reasoning=False))
    assert silent.notes.all() == ("dropped:reasoning",)
    levels = to_host(
        OPENAI, GEMINI, effort, "tuned", Capabilities(thinking_modes=("adaptive",), effort_levels=("low",))
    )
    assert sent(levels)["generationConfig"]["thinkingConfig"]["thinkingLevel"] == "low"


def test_a_deployment_under_a_name_of_its_own_can_be_a_reasoning_model() -> None:
    """Rule 36: only the catalog knows what such a name stands for."""
    asked = {"system": "s", "temperature": 1, "output_config": {"effort": "low"}}
    azure = sent(to_other(ANTHROPIC, asked, "prod-1", Capabilities(reasoning=True, sampling_limits="nothing")))
    assert (azure["messages"][0]["role"], azure["max_completion_tokens"], azure["reasoning_effort"]) == (
        "developer", 100, "low",
    )  # fmt: skip
    assert "temperature" not in azure
    open_model = sent(to_other(ANTHROPIC, asked, "prod-2", Capabilities(reasoning=True)))
    assert (open_model["messages"][0]["role"], open_model["max_tokens"], open_model["reasoning_effort"]) == (
        "system", 100, "low",
    )  # fmt: skip
    assert open_model["temperature"] == 1


def test_a_schema_that_a_model_is_not_held_to_becomes_words() -> None:
    translation = to_other(
        ANTHROPIC, {"output_config": {"format": {"type": "json_schema", "schema": EMPTY}}}, GPT,
        Capabilities(structured_output=False),
    )  # fmt: skip
    document = sent(translation)
    assert "response_format" not in document
    assert document["messages"][0]["role"] == "system"
    assert json.dumps(EMPTY, separators=(",", ":")) in document["messages"][0]["content"]
    assert translation.notes.all() == ("approximated:response_format",)


# --- strict policies ---

STRICT: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "a field of the caller's vendor": (OPENAI, ANTHROPIC, {"logprobs": True}, "logprobs"),
    "a field that the host's vendor lacks": (OPENAI, ANTHROPIC, {"seed": 1}, "seed"),
    "a field that nobody knows": (OPENAI, GEMINI, {"foo": 1}, "foo"),
    "a field further down": (
        OPENAI, ANTHROPIC, {"messages": [HI, {"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "https://a/b", "detail": "low"}}]}]},
        "messages[1].content[0].image_url.detail",
    ),
    "cache marks": (ANTHROPIC, OPENAI, {"tools": [
        {"name": "a", "input_schema": EMPTY, "cache_control": {"type": "ephemeral"}}]}, "cache_control"),
    "top_k": (ANTHROPIC, OPENAI, {"top_k": 5}, "top_k"),
    "what Responses lack": (OPENAI, RESPONSES, {"presence_penalty": 1}, "presence_penalty"),
    "stops at Responses": (ANTHROPIC, RESPONSES, {"stop_sequences": ["a"]}, "stop"),
    "thinking of before at Responses": (ANTHROPIC, RESPONSES, {"messages": [HI, {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "text", "text": "a"}]}, HI]}, "messages[1]"),
    "a field of Responses": (RESPONSES, GEMINI, {"truncation": "auto"}, "truncation"),
    "an unknown field of an item": (RESPONSES, ANTHROPIC, {"input": [HI | {"x": 1}]}, "input[0].x"),
    "a user": (ANTHROPIC, GEMINI, {"metadata": {"user_id": "u"}}, "user"),
    "thinking of before": (ANTHROPIC, OPENAI, {"messages": [HI, {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "text", "text": "a"}]}, HI]}, "messages[1]"),
}  # fmt: skip


@pytest.mark.parametrize("case", STRICT)
def test_a_strict_policy_refuses_what_would_be_dropped(case: str) -> None:
    """Rule 26."""
    shape, host, fields, place = STRICT[case]
    assert to_host(shape, host, fields).notes.all()
    with pytest.raises(BadField) as refused:
        to_host(shape, host, fields, is_strict=True)
    assert refused.value.field == place


def test_a_strict_policy_says_what_was_changed_and_still_answers() -> None:
    translation = to_host(OPENAI, ANTHROPIC, {"temperature": 1.5}, is_strict=True)
    assert translation.notes.all() == ("clamped:temperature",)
    assert json.loads(translation.whole(b'{"content": [], "stop_reason": "odd"}'))["choices"][0]["message"]

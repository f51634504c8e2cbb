"""Responses, as a caller's shape and as a host's: what is carried, warned of and refused (docs/translation.md)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import Response, ResponseErrorEvent

from relay_contract.errors import BadField, UpstreamProtocolError
from relay_contract.nouns import Capabilities, WireShape
from relay_edge.error_shapes import ErrorShape, error_body
from relay_edge.protocols import SURFACES
from relay_edge.protocols.canonical import ReplyContext, Usage
from relay_edge.protocols.notes import Notes
from relay_edge.protocols.openai_responses import read_answer, read_request, write_answer
from relay_edge.protocols.openai_responses.usage import read_usage
from relay_edge.protocols.translation import CODECS
from tests.edge.test_translation_streams import completion_of, message_of, translated, usage
from tests.edge.translating import (
    ANTHROPIC,
    GEMINI,
    HI,
    OPENAI,
    RESPONSES,
    events,
    recording,
    response_of,
    sent,
    to_other,
)

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
LOOSE = {"type": "object", "properties": {"a": {"type": "string"}}}
CLOCK = {"type": "function", "name": "clock", "parameters": LOOSE, "strict": False}
STRICT = {"type": "function", "name": "strict", "description": "d", "parameters": SCHEMA, "strict": True}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "clock", "arguments": '{"a": 1.10}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "noon"}
PNG = "data:image/png;base64,aGk="
PDF = "data:application/pdf;base64,aGk="
GPT5, CLAUDE46 = "gpt-5", "claude-opus-4-6"


def user(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def function(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


# --- a caller of Responses: call -> what a host of chat completions, and one of messages, gets ---

# id -> (fields of the call, upstream name, fields of what the host gets, warnings)
TO_CHAT: dict[str, tuple[dict[str, Any], str, dict[str, Any], tuple[str, ...]]] = {
    "words": ({"input": "hi"}, GPT5, {"messages": [HI]}, ()),
    "instructions and developer messages": (
        {"instructions": "a", "input": [{"role": "developer", "content": "b"}, {"type": "message", **HI}]}, "gpt-4o",
        {"messages": [{"role": "system", "content": "a\nb"}, HI]}, (),
    ),
    "a conversation with calls": (
        {"input": [HI, {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": "x",
                        "content": [{"type": "output_text", "text": "Wait.", "annotations": [], "logprobs": []}]},
                   CALL, RESULT], "tools": [CLOCK]},
        "gpt-4o",
        {"messages": [HI, {"role": "assistant", "content": "Wait.",
                           "tool_calls": [function("c1", "clock", '{"a":1.10}')]},
                      {"role": "tool", "tool_call_id": "c1", "content": "noon"}],
         "tools": [{"type": "function", "function": {"name": "clock", "parameters": LOOSE}}]}, (),
    ),
    "a picture and a file": (
        {"input": [user({"type": "input_image", "image_url": PNG, "detail": "high"},
                        {"type": "input_file", "filename": "a.pdf", "file_data": PDF})]},
        "gpt-4o",
        {"messages": [user({"type": "image_url", "image_url": {"url": PNG}},
                           {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}})]},
        ("dropped:input.content.detail",),
    ),
    "a picture as a tool's output moves": (
        {"input": [HI, CALL, RESULT | {"output": [{"type": "input_text", "text": "see"},
                                                  {"type": "input_image", "image_url": PNG}]}]},
        "gpt-4o",
        {"messages": [HI, {"role": "assistant", "content": None, "tool_calls": [function("c1", "clock", '{"a":1.10}')]},
                      {"role": "tool", "tool_call_id": "c1",
                       "content": "see\n[see the attachment of c1 in the next message]"},
                      user(text("[attachment of c1]"), {"type": "image_url", "image_url": {"url": PNG}})]},
        ("moved:tool_result.content",),
    ),
    "tools, strict as said": (
        {"tools": [CLOCK, STRICT], "tool_choice": {"type": "function", "name": "strict"}, "parallel_tool_calls": False},
        "gpt-4o",
        {"tools": [{"type": "function", "function": {"name": "clock", "parameters": LOOSE}},
                   {"type": "function", "function": {"name": "strict", "description": "d", "parameters": SCHEMA,
                                                     "strict": True}}],
         "tool_choice": {"type": "function", "function": {"name": "strict"}}, "parallel_tool_calls": False}, (),
    ),
    "allowed tools narrow the list": (
        {"tools": [CLOCK, STRICT], "tool_choice": {"type": "allowed_tools", "mode": "required",
                                                   "tools": [{"type": "function", "name": "clock"}]}},
        "gpt-4o",
        {"tools": [{"type": "function", "function": {"name": "clock", "parameters": LOOSE}}],
         "tool_choice": "required"}, (),
    ),
    "a schema": (
        {"text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True},
                  "verbosity": "medium"}},
        "gpt-4o",
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}},
        (),
    ),
    "any JSON": ({"text": {"format": {"type": "json_object"}}}, "gpt-4o", {"response_format": {"type": "json_object"}},
                 ()),
    "text": ({"text": {"format": {"type": "text"}}}, "gpt-4o", {"response_format": None}, ()),
    "limits, sampling and effort": (
        {"max_output_tokens": 50, "temperature": 0.5, "top_p": 0.9, "reasoning": {"effort": "high"}}, "gpt-4o",
        {"max_tokens": 50, "temperature": 0.5, "top_p": 0.9, "reasoning_effort": None}, ("dropped:reasoning",),
    ),
    "effort at a model that reasons": (
        {"max_output_tokens": 50, "reasoning": {"effort": "low", "summary": "auto"}}, GPT5,
        {"max_completion_tokens": 50, "reasoning_effort": "low"}, (),
    ),
    "who asks": ({"user": "u", "safety_identifier": "s"}, "gpt-4o", {"user": "s"}, ()),
    "usage is asked for always": (
        {"stream": True, "stream_options": {"include_obfuscation": True}}, "gpt-4o",
        {"stream": True, "stream_options": {"include_usage": True}}, (),
    ),
    "what says nothing needs no warning": (
        {"store": False, "truncation": "disabled", "top_logprobs": 0, "metadata": {"a": "b"}, "background": False,
         "include": ["reasoning.encrypted_content"], "previous_response_id": None, "service_tier": "auto"},
        "gpt-4o", {"service_tier": "auto", "metadata": None, "include": None}, (),
    ),
    "what other shapes have not": (
        {"store": True, "truncation": "auto", "top_logprobs": 2, "max_tool_calls": 3, "prompt_cache_key": "k",
         "include": ["message.output_text.logprobs"], "text": {"verbosity": "low"}, "reasoning": {"context": "auto"},
         "service_tier": "flex", "new_thing": 1},
        "gpt-4o", {"prompt_cache_key": None},
        ("dropped:store", "dropped:truncation", "dropped:top_logprobs", "dropped:max_tool_calls",
         "dropped:prompt_cache_key", "dropped:include", "dropped:reasoning.context", "dropped:text.verbosity",
         "unknown:new_thing", "dropped:service_tier"),
    ),
    "reasoning without a signature stays behind": (
        {"input": [HI, {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}]},
                   {"role": "assistant", "content": "a"}, HI]},
        "gpt-4o", {"messages": [HI, {"role": "assistant", "content": "a"}, HI]}, ("dropped:messages.thinking",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TO_CHAT)
def test_a_call_for_a_host_of_chat_completions(case: str) -> None:
    fields, upstream, expected, warnings = TO_CHAT[case]
    translation = to_other(RESPONSES, fields, upstream, host=OPENAI)
    document = sent(translation)
    assert {name: document.get(name) for name in expected} == expected
    assert translation.notes.all() == warnings


TO_MESSAGES: dict[str, tuple[dict[str, Any], str, dict[str, Any], tuple[str, ...]]] = {
    "a conversation with calls": (
        {"instructions": "be", "input": [HI, CALL, RESULT], "tools": [CLOCK], "max_output_tokens": 99},
        CLAUDE46,
        {"system": [text("be")], "max_tokens": 99, "tools": [{"name": "clock", "input_schema": LOOSE}],
         "messages": [user(text("hi")),
                      {"role": "assistant", "content": [
                          {"type": "tool_use", "id": "c1", "name": "clock", "input": {"a": 1.1}}]},
                      user({"type": "tool_result", "tool_use_id": "c1", "content": [text("noon")]})]}, (),
    ),
    "a picture as a tool's output": (
        {"input": [HI, CALL, RESULT | {"output": [{"type": "input_image", "image_url": PNG}]}], "tools": [CLOCK]},
        CLAUDE46,
        {"messages": [user(text("hi")),
                      {"role": "assistant", "content": [
                          {"type": "tool_use", "id": "c1", "name": "clock", "input": {"a": 1.1}}]},
                      user({"type": "tool_result", "tool_use_id": "c1", "content": [
                          {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
                      ]})]}, (),
    ),
    "files by address": (
        {"input": [user({"type": "input_file", "file_url": "https://example.com/a.pdf"},
                        {"type": "input_image", "image_url": "https://example.com/a.png"})]},
        CLAUDE46,
        {"messages": [user({"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
                           {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}})]}, (),
    ),
    "effort": ({"reasoning": {"effort": "high", "summary": "auto"}}, CLAUDE46,
               {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, ()),
    "a summary alone asks for no thinking": ({"reasoning": {"summary": "auto"}}, CLAUDE46, {"thinking": None}, ()),
    "Anthropic's reasoning comes back to it": (
        {"input": [HI, {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}],
                        "encrypted_content": "anthropic:sig=="},
                   {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "anthropic_redacted:d"},
                   {"role": "assistant", "content": "a"}, HI]},
        CLAUDE46,
        {"messages": [user(text("hi")), {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "t", "signature": "sig=="}, {"type": "redacted_thinking", "data": "d"},
            text("a")]}, user(text("hi"))]}, (),
    ),
    "OpenAI's reasoning does not": (
        {"input": [HI, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA="},
                   {"role": "assistant", "content": "a"}, HI]},
        CLAUDE46,
        {"messages": [user(text("hi")), {"role": "assistant", "content": [text("a")]}, user(text("hi"))]},
        ("dropped:messages.reasoning",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TO_MESSAGES)
def test_a_call_for_a_host_of_messages(case: str) -> None:
    fields, upstream, expected, warnings = TO_MESSAGES[case]
    translation = to_other(RESPONSES, fields, upstream, host=ANTHROPIC)
    document = sent(translation)
    assert {name: document.get(name) for name in expected} == expected
    assert translation.notes.all() == warnings


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "an answer before": ({"previous_response_id": "resp_1"}, "previous_response_id", "send the whole conversation"),
    "a stored conversation": ({"conversation": "conv_1"}, "conversation", "send the whole conversation"),
    "in the background": ({"background": True}, "background", "ask for a stream"),
    "a stored template": ({"prompt": {"id": "p"}}, "prompt", "send their text"),
    "an item by id": ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type", "whole conversation"),
    "no input": ({"input": None}, "input", "at least one"),
    "an empty input": ({"input": []}, "input", "at least one"),
    "blank words": ({"input": " "}, "input", "not empty"),
    "an item of a hosted tool": ({"input": [{"type": "web_search_call", "id": "x"}]}, "input[0].type",
                                 "'web_search_call'"),
    "an item that is none": ({"input": ["hi"]}, "input[0]", "an object"),
    "web search": ({"tools": [{"type": "web_search"}]}, "tools[0].type", "'web_search'"),
    "mcp": ({"tools": [CLOCK, {"type": "mcp", "server_label": "x"}]}, "tools[1].type", "'mcp'"),
    "a tool with a grammar": ({"tools": [{"type": "custom", "name": "x"}]}, "tools[0].type", "'custom'"),
    "a choice of a hosted tool": ({"tool_choice": {"type": "web_search_preview"}}, "tool_choice", "'web_search_prev"),
    "a choice that is not there": ({"tools": [CLOCK], "tool_choice": {"type": "function", "name": "x"}},
                                   "tool_choice", "not among"),
    "a stored picture": ({"input": [user({"type": "input_image", "file_id": "f"})]}, "input[0].content[0].file_id",
                         "image_url"),
    "a stored file": ({"input": [user({"type": "input_file", "file_id": "f"})]}, "input[0].content[0].file_id",
                      "file_data"),
    "a picture from the assistant": (
        {"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": PNG}]}]},
        "input[0].content[0].type", "not possible"),
    "arguments that are no JSON": ({"input": [HI, CALL | {"arguments": "{"}, RESULT]}, "input[1].arguments", "JSON"),
    "a result without its call": ({"input": [HI, RESULT]}, "input[1]", "'c1'"),
    "a call without its result": ({"input": [HI, CALL, HI]}, "input[1]", "'c1'"),
    "an effort that is not known": ({"reasoning": {"effort": "heroic"}}, "reasoning.effort", "one of"),
    "no token at all": ({"max_output_tokens": 0}, "max_output_tokens", "below 1"),
    "a format that is not known": ({"text": {"format": {"type": "grammar"}}}, "text.format.type", "'grammar'"),
    "a number for text": ({"text": 5}, "text", "an object"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("host", [OPENAI, ANTHROPIC])
def test_refused_with_its_place(case: str, host: WireShape) -> None:
    fields, place, words = REFUSED[case]
    with pytest.raises(BadField) as refused:
        to_other(RESPONSES, fields, host=host)
    assert refused.value.field == place
    assert words in refused.value.public_text


SOUND = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}


def test_sound_goes_where_it_is_taken() -> None:
    asked = {"input": [user(SOUND)]}
    assert sent(to_other(RESPONSES, asked, host=OPENAI))["messages"] == [{"role": "user", "content": [SOUND]}]
    assert sent(to_other(RESPONSES, asked, host=GEMINI))["contents"] == [
        {"role": "user", "parts": [{"inlineData": {"mimeType": "audio/wav", "data": "aGk="}}]}
    ]
    for caller, call, host, place in (
        (RESPONSES, asked, ANTHROPIC, "input"),
        (OPENAI, {"messages": [user(SOUND)]}, RESPONSES, "messages"),
    ):
        with pytest.raises(BadField, match="no sound") as refused:
            to_other(caller, call, host=host)
        assert refused.value.field == f"{place}[0].content[0].type"


# --- a host of Responses ---

FROM_CHAT: dict[str, tuple[dict[str, Any], str, dict[str, Any], tuple[str, ...]]] = {
    "words, stored nowhere": (
        {"messages": [{"role": "system", "content": "a"}, HI]}, "gpt-4o",
        {"model": "gpt-4o", "store": False, "instructions": "a", "stream": None, "include": None,
         "input": [user({"type": "input_text", "text": "hi"})]}, (),
    ),
    "calls and results": (
        {"messages": [HI, {"role": "assistant", "content": "Wait.", "refusal": "no",
                           "tool_calls": [function("c1", "clock", '{"a": 1.10}')]},
                      {"role": "tool", "tool_call_id": "c1", "content": "noon"}, HI]},
        "gpt-4o",
        {"input": [user({"type": "input_text", "text": "hi"}),
                   {"role": "assistant", "content": [{"type": "output_text", "text": "Wait."},
                                                     {"type": "refusal", "refusal": "no"}]},
                   {"type": "function_call", "call_id": "c1", "name": "clock", "arguments": '{"a":1.10}'},
                   {"type": "function_call_output", "call_id": "c1", "output": "noon"},
                   user({"type": "input_text", "text": "hi"})]}, (),
    ),
    "tools say whether they are strict": (
        {"tools": [{"type": "function", "function": {"name": "clock", "parameters": LOOSE, "strict": True}},
                   {"type": "function", "function": {"name": "s", "parameters": SCHEMA, "strict": True}},
                   {"type": "function", "function": {"name": "t", "parameters": SCHEMA}}],
         "tool_choice": {"type": "function", "function": {"name": "s"}}, "parallel_tool_calls": True},
        "gpt-4o",
        {"tools": [CLOCK, {"type": "function", "name": "s", "parameters": SCHEMA, "strict": True},
                   {"type": "function", "name": "t", "parameters": SCHEMA, "strict": False}],
         "tool_choice": {"type": "function", "name": "s"}, "parallel_tool_calls": True}, (),
    ),
    "a model that reasons": (
        {"reasoning_effort": "high", "max_completion_tokens": 9, "temperature": 1, "stop": "x", "stream": True}, GPT5,
        {"reasoning": {"effort": "high"}, "include": ["reasoning.encrypted_content"], "max_output_tokens": 16,
         "temperature": None, "stream": True, "stream_options": None},
        ("clamped:max_tokens", "dropped:temperature", "dropped:stop"),
    ),
    "a schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}},
        "gpt-4o", {"text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}}}, (),
    ),
    "any JSON": ({"response_format": {"type": "json_object"}}, "gpt-4o", {"text": {"format": {"type": "json_object"}}},
                 ()),
    "pictures and files": (
        {"messages": [user({"type": "image_url", "image_url": {"url": PNG}},
                           {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}})]},
        "gpt-4o",
        {"input": [user({"type": "input_image", "image_url": PNG, "detail": "auto"},
                        {"type": "input_file", "filename": "a.pdf", "file_data": PDF})]}, (),
    ),
    "sampling and the rest": (
        {"temperature": 0.5, "top_p": 0.9, "user": "u", "service_tier": "flex"}, "gpt-4o",
        {"temperature": 0.5, "top_p": 0.9, "user": "u"}, ("dropped:service_tier",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FROM_CHAT)
def test_a_chat_completion_call_for_a_host_of_responses(case: str) -> None:
    fields, upstream, expected, warnings = FROM_CHAT[case]
    translation = to_other(OPENAI, fields, upstream, host=RESPONSES)
    document = sent(translation)
    assert {name: document.get(name) for name in expected} == expected
    assert translation.notes.all() == warnings


def test_a_later_system_message_stays_where_it_is() -> None:
    late = {"messages": [{"role": "system", "content": "a"}, {"role": "developer", "content": "b"}, HI,
                         {"role": "system", "content": "c"}]}  # fmt: skip
    for upstream, role in (("gpt-4o", "system"), (GPT5, "developer")):
        document = sent(to_other(OPENAI, late, upstream, host=RESPONSES))
        assert document["instructions"] == "a\nb"
        assert document["input"][1] == {"role": role, "content": "c"}


def test_what_a_model_takes_counts_at_a_host_of_responses() -> None:
    call = {"messages": [HI], "max_tokens": 99, "temperature": 1, "top_p": 1,
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}}  # fmt: skip
    known = Capabilities(max_output_tokens=50, sampling_limits="one", structured_output=False, prefill=False)
    translation = to_other(OPENAI, call, host=RESPONSES, capabilities=known)
    document = sent(translation)
    assert (document["max_output_tokens"], document["temperature"]) == (50, 1)
    assert "top_p" not in document
    assert "text" not in document
    assert json.dumps(SCHEMA, separators=(",", ":")) in document["instructions"]
    assert set(translation.notes.all()) == {
        "clamped:max_tokens", "dropped:top_p", "approximated:response_format"}  # fmt: skip
    with pytest.raises(BadField) as refused:
        to_other(OPENAI, {"messages": [HI, {"role": "assistant", "content": "a"}]}, host=RESPONSES, capabilities=known)
    assert refused.value.field == "messages[1]"


def test_a_messages_call_for_a_host_of_responses() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    use = {"type": "tool_use", "id": "toolu_1", "name": "clock", "input": {"a": 1}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True, "content": [text("late"), image]}
    failed = {"type": "tool_result", "tool_use_id": "toolu_2", "is_error": True, "content": "late"}
    translation = to_other(
        ANTHROPIC,
        {
            "system": "be", "thinking": {"type": "adaptive", "display": "summarized"}, "top_k": 5, "max_tokens": 999,
            "tools": [{"name": "clock", "input_schema": LOOSE}], "tool_choice": {"type": "any"},
            "messages": [HI, {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "t", "signature": "openai:rs_1:gAAA="}, use, use | {"id": "toolu_2"},
                {"type": "thinking", "thinking": "u", "signature": "EqQ="}]},
                {"role": "user", "content": [result, failed]}],
        },
        GPT5, host=RESPONSES,
    )  # fmt: skip
    assert sent(translation) == {
        "model": "gpt-5", "store": False, "instructions": "be", "max_output_tokens": 999,
        "include": ["reasoning.encrypted_content"], "reasoning": {"summary": "auto"},
        "tools": [CLOCK], "tool_choice": "required",
        "input": [
            user({"type": "input_text", "text": "hi"}),
            {"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA=",
             "summary": [{"type": "summary_text", "text": "t"}]},
            {"type": "function_call", "call_id": "toolu_1", "name": "clock", "arguments": '{"a":1}'},
            {"type": "function_call", "call_id": "toolu_2", "name": "clock", "arguments": '{"a":1}'},
            {"type": "function_call_output", "call_id": "toolu_1", "output": [
                {"type": "input_text", "text": "Error: "}, {"type": "input_text", "text": "late"},
                {"type": "input_image", "image_url": PNG, "detail": "auto"}]},
            {"type": "function_call_output", "call_id": "toolu_2", "output": "Error: late"}],
    }  # fmt: skip
    assert translation.notes.all() == ("dropped:messages.thinking", "rewritten:tool_result.is_error", "dropped:top_k")


@pytest.mark.parametrize(("given", "kept"), [("rs_1", "rs_1"), (None, None), ("a:b", None), ("", None)])
def test_the_id_of_reasoning_goes_with_it(given: str | None, kept: str | None) -> None:
    item = {"type": "reasoning", "id": given, "summary": [], "encrypted_content": "gAAA="}
    talk = [HI, item, {"role": "assistant", "content": "a"}, HI]
    found = sent(to_other(RESPONSES, {"input": talk}, GPT5, host=RESPONSES))["input"][1]
    assert (found.get("id"), found["encrypted_content"]) == (kept, "gAAA=")


def test_reasoning_that_nothing_follows_is_left_out() -> None:
    """OpenAI refuses a reasoning item without the item that it led to."""
    thought = {"type": "thinking", "thinking": "t", "signature": "openai:rs_1:gAAA="}
    talk = [HI, {"role": "assistant", "content": [thought]}, HI]
    translation = to_other(ANTHROPIC, {"messages": talk}, GPT5, host=RESPONSES)
    assert [item.get("type") for item in sent(translation)["input"]] == [None, None]
    assert translation.notes.all() == ("dropped:messages.thinking",)


@pytest.mark.parametrize("case", [*TO_CHAT, *TO_MESSAGES])
def test_a_call_that_is_read_again_means_the_same(case: str) -> None:
    """Law: Responses -> canonical -> Responses -> canonical loses nothing that was not named."""
    fields, upstream, _, _ = (TO_CHAT | TO_MESSAGES)[case]
    first = to_other(RESPONSES, fields, upstream, host=RESPONSES)
    second = to_other(RESPONSES, sent(first), upstream, host=RESPONSES)
    assert sent(second) == sent(first)


# --- answers ---


def whole(caller: WireShape, host: WireShape, document: Any, **call: Any) -> Any:
    return json.loads(to_other(caller, call, host=host).whole(json.dumps(document).encode()))


def last_response(name: str) -> dict[str, Any]:
    """The response of a recording's last event."""
    return dict(events(recording(name))[-1][1]["response"])


ECHO = {
    "instructions": None, "max_output_tokens": None, "max_tool_calls": None, "metadata": {},
    "parallel_tool_calls": True, "prompt_cache_key": None, "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None, "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto",
    "tools": [], "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "user": None, "background": False,
    "previous_response_id": None, "store": False,
}  # fmt: skip


def response(own_id: str, *output: dict[str, Any], status: str = "completed", reason: str | None = None) -> Any:
    return {
        "id": own_id, "object": "response", "created_at": 1_700_000_000, "status": status, "error": None, "model": "m",
        "incomplete_details": None if reason is None else {"reason": reason}, "output": list(output), **ECHO,
    }  # fmt: skip


def used(given: int, made: int, cached: int = 0, written: int = 0, reasoning: int = 0) -> Any:
    return {
        "input_tokens": given, "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "output_tokens": made, "output_tokens_details": {"reasoning_tokens": reasoning}, "total_tokens": given + made,
    }  # fmt: skip


def message(item_id: str, *parts: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": list(parts)}


def words(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def tool_call(item_id: str, call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": item_id, "type": "function_call", "status": "completed", "call_id": call_id, "name": name,
            "arguments": arguments}  # fmt: skip


def reasoning(item_id: str, summary: str = "", encrypted: str | None = None) -> dict[str, Any]:
    item = {"id": item_id, "type": "reasoning",
            "summary": [{"type": "summary_text", "text": summary}] if summary else []}  # fmt: skip
    return item if encrypted is None else item | {"encrypted_content": encrypted}


TO_RESPONSES = {
    "anthropic_text": response("resp_01Text", message("msg_01Text_0", words("Grüß Gott 👋")))
    | {"usage": used(132, 15, cached=100, written=7)},
    "anthropic_thinking_tools": response(
        "resp_01Think",
        reasoning("rs_01Think_0", "Two cities, two calls.",
                  "anthropic:EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk="),
        reasoning("rs_01Think_1", "", "anthropic_redacted:EmwKAhgBEgy3va3p"),
        message("msg_01Think_2", words("Let me look.")),
        tool_call("fc_01Think_3", "toolu_01A", "get_weather", '{"location": "San Francisco \\u00e9"}'),
        tool_call("fc_01Think_4", "toolu_01B", "now", "{}"),
        tool_call("fc_01Think_5", "toolu_01C", "get_weather", '{"location":"Oslo"}'),
    ) | {"usage": used(472, 89, reasoning=20)},
    "anthropic_signature_only": response(
        "resp_01Omitted", reasoning("rs_01Omitted_0", "", "anthropic:c2ln"), message("msg_01Omitted_1", words("4")),
    ) | {"usage": used(9, 30)},
    "anthropic_refusal": response(
        "resp_01No",
        message("msg_01No_0", words("First"), {"type": "refusal", "refusal": "I cannot help with that."}),
    ) | {"usage": used(9, 3)},
    "anthropic_empty": response("resp_01Empty") | {"usage": used(9, 0)},
    "openai_text": response("resp_Text", message("msg_Text_0", words("Grüß Gott 👋"))) | {"usage": used(132, 15, 100)},
    "openai_tools": response(
        "resp_Tools", tool_call("fc_Tools_0", "call_A", "get_weather", '{"location":"Tokyo"}'),
        tool_call("fc_Tools_1", "call_B", "now", "{}"),
        tool_call("fc_Tools_2", "call_C", "get_weather", '{"location":"Oslo"}'),
    ) | {"usage": used(67, 31)},
    "openai_interleaved": response(
        "resp_Mixed", tool_call("fc_Mixed_0", "call_A", "a", '{"x":1}'),
        tool_call("fc_Mixed_1", "call_B", "b", '{"y":2}'),
    ) | {"usage": used(5, 6)},
    "openai_quirks": response(
        "resp_Odd", reasoning("rs_Odd_0", "Hm. Yes."),
        tool_call("fc_Odd_1", "call_chatcmplOdd_0", "a", '{"x":1}'),
        tool_call("fc_Odd_2", "call_B", "b", '{"y":2}'), tool_call("fc_Odd_3", "call_C", "b", "{}"),
    ) | {"usage": used(5, 6)},
    "openai_refusal": response(
        "resp_No", message("msg_No_0", {"type": "refusal", "refusal": "I cannot help."}),
    ) | {"usage": used(9, 3)},
    "openai_length": response(
        "resp_Long", message("msg_Long_0", words("One"), status="incomplete"), status="incomplete",
        reason="max_output_tokens",
    ) | {"usage": used(9, 1)},
}  # fmt: skip


@pytest.mark.parametrize("name", TO_RESPONSES)
def test_streams_for_callers_of_responses(name: str) -> None:
    host = ANTHROPIC if name.startswith("anthropic") else OPENAI
    assert response_of(translated(recording(name), host, caller=RESPONSES)) == TO_RESPONSES[name]


@pytest.mark.parametrize("stop", ["refusal", "max_tokens", "model_context_window_exceeded"])
def test_the_items_of_a_stream_that_was_cut_say_the_same_twice(stop: str) -> None:
    stream = recording("anthropic_text").replace(b"end_turn", stop.encode())
    found = response_of(translated(stream, ANTHROPIC, caller=RESPONSES))
    assert (found["status"], found["output"][-1]["status"]) == ("incomplete", "incomplete")


def test_calls_side_by_side_keep_their_own_items() -> None:
    """No call waits for another here: each piece goes out as it comes, under its own item."""
    found = events(translated(recording("openai_interleaved"), OPENAI, caller=RESPONSES))
    order = [document["output_index"] for name, document in found if name.endswith("arguments.delta")]
    assert order != sorted(order)


def thinking(text: str, signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": signature}


FROM_RESPONSES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "responses_text": (
        {"content": "Grüß Gott 👋", "finish_reason": "stop", "usage": usage(
            132, 15, prompt_tokens_details={"cached_tokens": 100}, completion_tokens_details={"reasoning_tokens": 0})},
        {"content": [text("Grüß Gott 👋")], "stop_reason": "end_turn",
         "usage": {"input_tokens": 32, "output_tokens": 15, "cache_read_input_tokens": 100}},
    ),
    "responses_reasoning_tools": (
        {"content": "Let me look.", "reasoning_content": "Two cities, two calls.\n\nThen words.",
         "thinking_blocks": [{"index": 0, **thinking("Two cities, two calls.\n\nThen words.",
                                                     "openai:rs_1:gAAAAABpEncrypted_-1==")}],
         "tool_calls": [["call_A", "get_weather", '{"location": "San Francisco \\u00e9"}'], ["call_B", "now", "{}"],
                        ["call_C", "get_weather", '{"location":"Oslo"}']],
         "finish_reason": "tool_calls", "usage": usage(
            472, 89, prompt_tokens_details={"cached_tokens": 0}, completion_tokens_details={"reasoning_tokens": 20})},
        {"content": [thinking("Two cities, two calls.\n\nThen words.", "openai:rs_1:gAAAAABpEncrypted_-1=="),
                     text("Let me look."),
                     {"type": "tool_use", "id": "call_A", "name": "get_weather",
                      "input": {"location": "San Francisco é"}},
                     {"type": "tool_use", "id": "call_B", "name": "now", "input": {}},
                     {"type": "tool_use", "id": "call_C", "name": "get_weather", "input": {"location": "Oslo"}}],
         "stop_reason": "tool_use", "usage": {"input_tokens": 472, "output_tokens": 89, "cache_read_input_tokens": 0}},
    ),
    "responses_encrypted_only": (
        {"content": "4", "thinking_blocks": [{"index": 0, **thinking("", "openai:rs_9:gAAAAABpOnly")}],
         "finish_reason": "stop", "usage": usage(
            9, 30, prompt_tokens_details={"cached_tokens": 0}, completion_tokens_details={"reasoning_tokens": 28})},
        {"content": [thinking("", "openai:rs_9:gAAAAABpOnly"), text("4")], "stop_reason": "end_turn",
         "usage": {"input_tokens": 9, "output_tokens": 30, "cache_read_input_tokens": 0}},
    ),
    "responses_refusal": (
        {"content": "", "refusal": "I cannot help.", "finish_reason": "content_filter", "usage": usage(
            9, 3, prompt_tokens_details={"cached_tokens": 0}, completion_tokens_details={"reasoning_tokens": 0})},
        {"content": [text("I cannot help.")], "stop_reason": "refusal",
         "usage": {"input_tokens": 9, "output_tokens": 3, "cache_read_input_tokens": 0}},
    ),
    "responses_length": (
        {"content": "One", "finish_reason": "length", "usage": usage(
            9, 16, prompt_tokens_details={"cached_tokens": 0}, completion_tokens_details={"reasoning_tokens": 0})},
        {"content": [text("One")], "stop_reason": "max_tokens",
         "usage": {"input_tokens": 9, "output_tokens": 16, "cache_read_input_tokens": 0}},
    ),
    "responses_empty": (
        {"content": "", "finish_reason": "stop", "usage": usage(
            9, 0, prompt_tokens_details={"cached_tokens": 0}, completion_tokens_details={"reasoning_tokens": 0})},
        {"content": [], "stop_reason": "end_turn",
         "usage": {"input_tokens": 9, "output_tokens": 0, "cache_read_input_tokens": 0}},
    ),
    "responses_quirks": (
        {"content": "Once.", "reasoning_content": "Hm. Yes.",
         "tool_calls": [["call_O", "a", '{"x": 1}'], ["call_respOdd_1", "b", "{}"]],
         "finish_reason": "tool_calls", "usage": usage(
            5, 6, prompt_tokens_details={"cached_tokens": 0}, completion_tokens_details={"reasoning_tokens": 0})},
        {"content": [thinking("Hm. Yes.", ""), text("Once."),
                     {"type": "tool_use", "id": "call_O", "name": "a", "input": {"x": 1}},
                     {"type": "tool_use", "id": "call_respOdd_1", "name": "b", "input": {}}],
         "stop_reason": "tool_use", "usage": {"input_tokens": 5, "output_tokens": 6, "cache_read_input_tokens": 0}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FROM_RESPONSES)
def test_streams_of_a_host_of_responses(name: str) -> None:
    chat, messages = FROM_RESPONSES[name]
    own = last_response(name)["id"].removeprefix("resp_")
    assert completion_of(translated(recording(name), RESPONSES, caller=OPENAI)) == {"id": f"chatcmpl-{own}", **chat}
    spent = {
        "output_tokens_details": {"thinking_tokens": chat["usage"]["completion_tokens_details"]["reasoning_tokens"]}
    }
    assert message_of(translated(recording(name), RESPONSES, caller=ANTHROPIC)) == {
        "id": f"msg_{own}", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None, **messages,
        "usage": messages["usage"] | spent,
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name in FROM_RESPONSES if name != "responses_quirks"])
def test_a_whole_response_says_what_its_stream_says(name: str) -> None:
    """Law, with the response of the stream's own last event."""
    (choice,) = whole(OPENAI, RESPONSES, last_response(name))["choices"]
    streamed = completion_of(translated(recording(name), RESPONSES, caller=OPENAI))
    assert choice["finish_reason"] == streamed["finish_reason"]
    assert (choice["message"]["content"] or "") == streamed["content"]
    assert choice["message"].get("refusal") == streamed.get("refusal")
    assert choice["message"].get("reasoning_content") == streamed.get("reasoning_content")
    calls = [[c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])]
             for c in choice["message"].get("tool_calls", ())]  # fmt: skip
    assert calls == [[*names, json.loads(arguments)] for *names, arguments in streamed.get("tool_calls", ())]


@pytest.mark.parametrize("name", [name for name in TO_RESPONSES if name != "openai_quirks"])
def test_what_was_written_reads_the_same(name: str) -> None:
    """Law: canonical -> Responses -> canonical, whole and streamed."""
    host = ANTHROPIC if name.startswith("anthropic") else OPENAI
    stream = translated(recording(name), host, caller=RESPONSES)
    response = response_of(stream)
    answer = read_answer.read_answer(json.dumps(response).encode())
    context = ReplyContext("made", "m", 1_700_000_000, True, {}, None, 1, read_request.read_request(
        b'{"model":"m","input":"hi"}', Notes()).echo)  # fmt: skip
    again = json.loads(write_answer.write_answer(answer, context, Notes()))
    for item in (*again["output"], *response["output"]):
        item.get("arguments") and item.update(arguments=json.loads(item["arguments"]))
    assert again == response
    assert response_of(translated(stream, RESPONSES, caller=RESPONSES))["usage"] == response["usage"]


def test_a_message_for_a_caller_of_responses() -> None:
    """The same answer whole; the call is repeated as it was written."""
    call = {"instructions": "be", "tools": [STRICT], "tool_choice": {"type": "function", "name": "strict"},
            "temperature": 0.5, "metadata": {"a": "b"}, "text": {"verbosity": "low"}, "store": True,
            "reasoning": {"effort": "low"}, "max_output_tokens": 30}  # fmt: skip
    found = whole(RESPONSES, ANTHROPIC, {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "max_tokens",
        "usage": {"input_tokens": 1, "output_tokens": 2},
        "content": [thinking("hm", "s=="), text("a"), text("b"),
                    {"type": "tool_use", "id": "t", "name": "strict", "input": {"x": 1.5}}],
    }, **call)  # fmt: skip
    Response.model_validate(found, strict=True)
    expected = response(
        "resp_1", reasoning("rs_1_0", "hm", "anthropic:s=="), message("msg_1_1", words("ab")),
        tool_call("fc_1_2", "t", "strict", '{"x":1.5}') | {"status": "incomplete"},
        status="incomplete", reason="max_output_tokens",
    )  # fmt: skip
    assert found == expected | call | {
        "usage": used(1, 2), "store": False, "reasoning": {"effort": "low", "summary": None},
        "text": {"verbosity": "low", "format": {"type": "text"}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stop", "status", "reason", "warnings"),
    [
        ("end_turn", "completed", None, ()),
        ("stop_sequence", "completed", None, ()),
        ("tool_use", "completed", None, ()),
        ("max_tokens", "incomplete", "max_output_tokens", ()),
        ("model_context_window_exceeded", "incomplete", "max_output_tokens", ("approximated:status.context",)),
        ("refusal", "incomplete", "content_filter", ()),
        ("pause_turn", "completed", None, ("approximated:status.pause",)),
        ("something_new", "completed", None, ("approximated:status.unknown",)),
    ],
)
def test_reasons_to_stop(stop: str, status: str, reason: str | None, warnings: tuple[str, ...]) -> None:
    translation = to_other(RESPONSES, {}, host=ANTHROPIC)
    found = json.loads(translation.whole(json.dumps({"content": [], "stop_reason": stop}).encode()))
    assert (found["status"], found["incomplete_details"]) == (status, reason and {"reason": reason})
    assert (found["output"], translation.usage) == ([], None)
    assert found["usage"]["input_tokens"] > found["usage"]["output_tokens"] == 0  # the host said nothing: an estimate
    assert translation.notes.all() == ("approximated:usage", *warnings)


@pytest.mark.parametrize(
    ("status", "details", "parts", "finish"),
    [
        ("completed", None, [words("a")], "stop"),
        ("incomplete", {"reason": "max_output_tokens"}, [words("a")], "length"),
        ("incomplete", {"reason": "content_filter"}, [words("a")], "content_filter"),
        ("incomplete", None, [words("a")], "stop"),
        ("completed", None, [{"type": "refusal", "refusal": "no"}], "content_filter"),
    ],
)
def test_statuses_of_a_host(status: str, details: Any, parts: list[Any], finish: str) -> None:
    document = {"status": status, "incomplete_details": details, "output": [message("m", *parts)]}
    assert whole(OPENAI, RESPONSES, document)["choices"][0]["finish_reason"] == finish


def test_a_call_that_was_cut_is_left_out() -> None:
    cut = tool_call("fc", "c", "f", '{"a": ') | {"status": "incomplete"}
    document = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": [cut]}
    assert whole(ANTHROPIC, RESPONSES, document)["content"] == []
    with pytest.raises(UpstreamProtocolError):
        whole(ANTHROPIC, RESPONSES, {"status": "completed", "output": [cut]})


@pytest.mark.parametrize(
    "document",
    [[], {}, {"output": 5}, {"output": [], "status": "queued"}, {"output": [], "status": "failed"},
     {"output": [{"type": "function_call", "arguments": "{}"}]}],
)  # fmt: skip
def test_what_is_no_response_is_an_error_of_the_host(document: Any) -> None:
    with pytest.raises(UpstreamProtocolError):
        whole(OPENAI, RESPONSES, document)


USAGES: dict[str, tuple[Usage, dict[str, Any]]] = {
    "plain": (Usage(10, 0, 0, None, 5, 0), used(10, 5)),
    "a cache": (Usage(10, 90, 7, None, 50, 40), used(107, 50, 90, 7, 40)),
    "an older host": (Usage(10, 90, None, None, 5, None), {
        "input_tokens": 100, "input_tokens_details": {"cached_tokens": 90}, "output_tokens": 5}),
    "nonsense": (Usage(), {"input_tokens": "5", "output_tokens": True, "input_tokens_details": []}),
}  # fmt: skip


@pytest.mark.parametrize("case", USAGES)
def test_usage(case: str) -> None:
    meant, written = USAGES[case]
    assert read_usage(written) == meant
    if case in ("plain", "a cache"):
        assert write_answer.usage_of(meant) == written
    assert write_answer.usage_of(Usage(1, cache_write_5m=2, cache_write_1h=3)) == used(6, 0, 0, 5)


# --- errors ---


@pytest.mark.parametrize(
    ("event", "kind", "words"),
    [
        ({"type": "error", "code": "server_error", "message": "busy", "param": None, "sequence_number": 3},
         "server_error", "busy"),
        ({"type": "error", "error": {"type": "server_error", "code": None, "message": "busy"}}, "server_error", "busy"),
        ({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded", "message": "slow"}}},
         "rate_limit_exceeded", "slow"),
        ({"error": {"code": "x", "message": "y"}}, "x", "y"),
        ({"type": "response.failed", "response": None}, "", ""),
    ],
)  # fmt: skip
def test_an_error_inside_a_stream(event: dict[str, Any], kind: str, words: str) -> None:
    translation = to_other(OPENAI, {"stream": True}, host=RESPONSES).stream()
    translation.feed(b"data: %b\n\n" % json.dumps(event).encode())
    assert translation.failed is not None
    assert (translation.failed.kind, translation.failed.message) == (kind, words)


def test_a_failure_after_words_ends_the_stream() -> None:
    translation = to_other(OPENAI, {"stream": True}, host=RESPONSES).stream()
    written = translation.feed(recording("responses_failed"))
    assert translation.failed is not None
    assert translation.failed.kind == "server_error"
    assert b"Hel" in written
    assert b"DONE" not in written


def test_done_without_a_last_event_is_a_cut() -> None:
    translation = to_other(OPENAI, {"stream": True}, host=RESPONSES).stream()
    with pytest.raises(UpstreamProtocolError):
        translation.feed(b"data: [DONE]\n\n")


def test_an_error_of_ours_in_a_stream_is_one_to_every_client() -> None:
    """The reference has the fields at the top, OpenAI's service and the SDKs in `error`."""
    body = error_body(UpstreamProtocolError(), ErrorShape.OPENAI, "q")
    ((name, document),) = events(SURFACES[RESPONSES].error_event(body))
    assert name == "error"
    assert ResponseErrorEvent.model_validate(document).message == document["error"]["message"]
    assert document["error"] == json.loads(body)["error"]


def test_errors_of_a_host() -> None:
    error = {"error": {"message": "bad", "type": "invalid_request_error", "param": "input", "code": "c"}}
    translation = to_other(ANTHROPIC, {}, host=RESPONSES)
    status, body = translation.refusal(400, json.dumps(error).encode(), "q")
    assert (status, json.loads(body)["error"]) == (400, {"type": "invalid_request_error", "message": "bad"})
    status, body = to_other(RESPONSES, {}, host=ANTHROPIC).refusal(529, b'{"error": {"message": "busy"}}', "q")
    assert (status, json.loads(body)["error"]["message"]) == (503, "busy")


def test_an_answer_that_is_too_large_to_hold_is_an_error() -> None:
    translation = to_other(RESPONSES, {"stream": True}, host=OPENAI).stream()
    delta = b'data: {"choices": [{"index": 0, "delta": {"content": "%b"}}]}\n\n' % (b"x" * 4_000_000)
    translation.feed(delta * 4)
    with pytest.raises(UpstreamProtocolError):
        translation.feed(delta)


def test_each_shape_can_be_told_everything_that_it_can_say() -> None:
    """Reasoning goes through callers of any shape and back to the host that signed it."""
    talk = {"messages": [HI]}
    for caller, document in ((OPENAI, talk), (ANTHROPIC, talk | {"max_tokens": 99})):
        answer = to_other(caller, {}, GPT5, host=RESPONSES).whole(
            json.dumps(last_response("responses_encrypted_only")).encode()
        )
        said = json.loads(answer)
        turn = said["choices"][0]["message"] if caller is OPENAI else {"role": "assistant", "content": said["content"]}
        asked = document | {"messages": [HI, turn, HI]}
        items = sent(to_other(caller, asked, GPT5, host=RESPONSES))["input"]
        assert items[1] == {"type": "reasoning", "id": "rs_9", "summary": [], "encrypted_content": "gAAAAABpOnly"}
        for host in set(CODECS) - {RESPONSES, caller}:
            assert b"gAAAA" not in to_other(caller, asked, CLAUDE46, host=host).body

"""Calls served by a Gemini host, from a caller's socket to a vendor's, and with the other vendors' SDKs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from relay_contract import nouns
from relay_contract.nouns import WireShape
from tests.edge.nouns import MODEL, POLICY
from tests.edge.plane import catalog_of, running_plane
from tests.edge.test_gemini_answers import ERROR_INFO, RETRY_INFO, SIGNATURE, rpc
from tests.edge.test_inference import error_of
from tests.edge.test_sdks import anthropic_client, openai_client
from tests.edge.test_translated_calls import answering
from tests.edge.test_translation_streams import message_of
from tests.edge.translating import ANTHROPIC, GEMINI, OPENAI, recording
from tests.edge.vendor import ANSWERS, CHAT, PATHS, STREAMS, Vendor, VendorCall, Wire

TALK: Any = [{"role": "user", "content": "hi"}]
CALL: dict[str, Any] = {"model": "demo-gpt", "messages": TALK, "max_tokens": 50}
BOTH = pytest.mark.parametrize("shape", [OPENAI, ANTHROPIC])
WEATHER = {"type": "object", "properties": {"location": {"type": "string"}}}


def words_of(shape: WireShape, document: Any) -> str:
    text: str = document["choices"][0]["message"]["content"] if shape is OPENAI else document["content"][0]["text"]
    return text


@BOTH
async def test_a_whole_call(shape: WireShape) -> None:
    async with Vendor(GEMINI) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(CALL, path=PATHS[shape])
        assert (answer.status, words_of(shape, answer.json), answer.json["model"]) == (200, "hello", "demo-gpt")
        (call,) = vendor.calls
        assert call.path == "/v1/models/gpt-x:generateContent"
        assert call.header("x-goog-api-key") == "sk-vendor-1"
        assert call.json == {
            "contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 50},
        }  # fmt: skip


@BOTH
async def test_a_stream(shape: WireShape) -> None:
    async with Vendor(GEMINI) as vendor, running_plane(catalog_of(vendor)) as plane:
        for _ in range(2):
            answer = await plane.post(CALL | {"stream": True}, path=PATHS[shape])
            assert answer.is_whole
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert [call.path for call in vendor.calls] == ["/v1/models/gpt-x:streamGenerateContent?alt=sse"] * 2
        if shape is ANTHROPIC:
            assert message_of(answer.body)["content"] == [{"type": "text", "text": "hello"}]
        else:
            assert answer.body.endswith(b"data: [DONE]\n\n")


FOREIGN = pytest.mark.parametrize(
    ("shape", "host"), [(OPENAI, ANTHROPIC), (OPENAI, GEMINI), (ANTHROPIC, OPENAI), (ANTHROPIC, GEMINI)]
)


@FOREIGN
async def test_a_document_where_a_stream_was_asked_for(shape: WireShape, host: WireShape) -> None:
    async def whole(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(json.dumps(ANSWERS[host]).encode())

    async with Vendor(host, answer=whole) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(CALL | {"stream": True}, path=PATHS[shape])
        assert answer.is_whole
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        if shape is ANTHROPIC:
            assert message_of(answer.body)["content"] == [{"type": "text", "text": "hello"}]
        else:
            assert b'"content":"hello"' in answer.body
            assert answer.body.endswith(b"data: [DONE]\n\n")


@FOREIGN
async def test_a_stream_where_a_document_was_asked_for(shape: WireShape, host: WireShape) -> None:
    names = {OPENAI: "openai_text", ANTHROPIC: "anthropic_text", GEMINI: "gemini_text"}
    answer_of = answering(host, recording(names[host]))
    async with Vendor(host, answer=answer_of) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(CALL, path=PATHS[shape])
        assert answer.is_whole
        assert answer.headers["content-type"] == "application/json"
        assert words_of(shape, answer.json) == "Grüß Gott 👋"


async def test_a_stream_that_breaks_where_a_document_was_asked_for_is_a_failure() -> None:
    async def cut(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
        await wire.chunk(STREAMS[GEMINI][0])
        await wire.send(b"0\r\n\r\n")

    async with Vendor(GEMINI, answer=cut) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(CALL)
        assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_protocol_error")


def answering_with(status: int, document: Any) -> Any:
    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(json.dumps(document).encode(), status)

    return answer


WRONG_KEY = rpc(400, "INVALID_ARGUMENT", "API key not valid.", ERROR_INFO | {"reason": "API_KEY_INVALID"})


async def test_a_wrong_key_is_tried_with_another_although_the_status_is_400() -> None:
    async def first_key_is_wrong(call: VendorCall, wire: Wire) -> None:
        if call.header("x-goog-api-key") == "sk-vendor-1":
            await wire.answer(json.dumps(WRONG_KEY).encode(), 400)
        else:
            await vendor.standard(call, wire)

    async with (
        Vendor(GEMINI, answer=first_key_is_wrong) as vendor,
        running_plane(catalog_of(vendor, keys=2)) as plane,
    ):
        answers = [await plane.post(CALL) for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 200]
        assert len(vendor.calls) == 3


@BOTH
async def test_a_wrong_key_is_never_the_callers_fault(shape: WireShape) -> None:
    async with (
        Vendor(GEMINI, answer=answering_with(400, WRONG_KEY)) as vendor,
        running_plane(catalog_of(vendor)) as plane,
    ):
        answer = await plane.post(CALL, path=PATHS[shape])
        assert answer.status == 503
        assert "API key" not in answer.body.decode()


@BOTH
async def test_a_rate_limit_comes_with_the_wait_that_the_body_names(shape: WireShape) -> None:
    limited = rpc(429, "RESOURCE_EXHAUSTED", "quota", RETRY_INFO)
    async with (
        Vendor(GEMINI, answer=answering_with(429, limited)) as vendor,
        running_plane(catalog_of(vendor)) as plane,
    ):
        answer = await plane.post(CALL, path=PATHS[shape])
        assert (answer.status, answer.headers["retry-after"]) == (429, "35")
        assert error_of(shape, answer.json) == ("rate_limit_error", "quota")


async def test_failover_to_gemini_and_a_strict_policy() -> None:
    """A host that cannot be told is passed over; where there is none the caller reads which field it was."""
    strict = replace(POLICY, is_strict=True)
    async with Vendor(GEMINI) as gemini, Vendor(OPENAI) as chat:
        asked = CALL | {"logprobs": True}
        async with running_plane([*catalog_of(gemini, chat), strict]) as plane:
            answer = await plane.post(asked)
            assert (answer.status, answer.json, len(gemini.calls)) == (200, CHAT, 0)
        async with running_plane([*catalog_of(gemini), strict]) as plane:
            refused = await plane.post(asked)
            assert (refused.status, refused.json["error"]["param"]) == (400, "logprobs")
            assert gemini.calls == []
            assert (await plane.post(CALL)).status == 200
        async with running_plane(catalog_of(gemini)) as plane:
            assert (await plane.post(asked)).headers["x-relay-warnings"] == "dropped:logprobs"


async def test_the_catalogs_word_on_a_model_reaches_the_translation() -> None:
    blind = replace(MODEL, capabilities=nouns.Capabilities(images=False, max_output_tokens=20))
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]}]
    async with Vendor(GEMINI) as vendor, running_plane([*catalog_of(vendor), blind]) as plane:
        refused = await plane.post(CALL | {"messages": image})
        assert (refused.status, refused.json["error"]["param"]) == (400, "messages[0]")
        assert (await plane.post(CALL)).headers["x-relay-warnings"] == "clamped:max_tokens"
        assert vendor.calls[0].json["generationConfig"] == {"maxOutputTokens": 20}


# --- the other vendors' own SDKs ---


async def test_openai_sdk_on_gemini() -> None:
    tools: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
    answer_of = answering(GEMINI, recording("gemini_thinking_tools"))
    async with (
        Vendor(GEMINI, answer=answer_of) as vendor,
        running_plane(catalog_of(vendor)) as plane,
        openai_client(plane) as client,
    ):
        async with client.chat.completions.stream(
            model="demo-gpt", messages=TALK, tools=tools, stream_options={"include_usage": True}
        ) as helper:
            final = await helper.get_final_completion()
        (choice,) = final.choices
        assert choice.finish_reason == "tool_calls"
        assert [(c.id, c.function.arguments) for c in choice.message.tool_calls or []] == [
            ("fc1", '{"location":"Tokyo","days":1.50}'), ("fc2", '{"location":"Oslo"}'), ("fc3", "{}"),
        ]  # fmt: skip
        assert final.usage is not None
        assert (final.usage.prompt_tokens, final.usage.completion_tokens) == (72, 55)
        vendor.answer = None
        sent_back: Any = choice.message.to_dict()
        results: Any = [{"role": "tool", "tool_call_id": c.id, "content": "ok"}
                        for c in choice.message.tool_calls or []]  # fmt: skip
        whole = await client.chat.completions.create(
            model="demo-gpt", messages=[*TALK, sent_back, *results], tools=tools
        )
        assert whole.choices[0].message.content == "hello"
        model = vendor.calls[-1].json["contents"][1]["parts"]
        assert [part.get("thoughtSignature") for part in model] == [None, SIGNATURE, None, None]


async def test_anthropic_sdk_on_gemini() -> None:
    tools: Any = [{"name": "get_weather", "input_schema": WEATHER}, {"name": "now", "input_schema": WEATHER}]
    answer_of = answering(GEMINI, recording("gemini_thinking_tools"))
    async with (
        Vendor(GEMINI, answer=answer_of) as vendor,
        running_plane(catalog_of(vendor)) as plane,
        anthropic_client(plane) as client,
    ):
        async with client.messages.stream(model="demo-gpt", max_tokens=99, messages=TALK, tools=tools) as stream:
            final = await stream.get_final_message()
        assert final.stop_reason == "tool_use"
        assert [block.type for block in final.content] == [
            "thinking", "text", "thinking", "tool_use", "tool_use", "tool_use",
        ]  # fmt: skip
        assert (final.usage.input_tokens, final.usage.output_tokens) == (72, 55)
        vendor.answer = None
        results: Any = [{"type": "tool_result", "tool_use_id": b.id, "content": "ok"}
                        for b in final.content if b.type == "tool_use"]  # fmt: skip
        said: Any = {"role": "assistant", "content": [block.to_dict() for block in final.content]}
        whole = await client.messages.create(
            model="demo-gpt", max_tokens=99, tools=tools,
            messages=[*TALK, said, {"role": "user", "content": results}],
        )  # fmt: skip
        assert getattr(whole.content[0], "text", None) == "hello"
        model = vendor.calls[-1].json["contents"][1]["parts"]
        assert [part.get("thoughtSignature") for part in model] == [None, SIGNATURE, None, None]


async def test_a_cut_stream_is_never_a_success() -> None:
    async def cutting(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
        await wire.chunk(STREAMS[GEMINI][0])
        await wire.send(b"0\r\n\r\n")

    async with Vendor(GEMINI, answer=cutting) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(CALL | {"stream": True})
        assert b"[DONE]" not in answer.body
        assert b'"error"' in answer.body

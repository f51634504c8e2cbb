"""OpenAI's SDK on /v1/responses, over hosts of each shape: what it reads of answers, streams, tools and reasoning."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from relay_contract.nouns import WireShape
from tests.edge.plane import TOKEN, Plane, catalog_of, running_plane
from tests.edge.test_sdks import openai_client
from tests.edge.test_translated_calls import STREAMS, answering
from tests.edge.translating import ANTHROPIC, OPENAI, RECORDINGS, RESPONSES, events, recording
from tests.edge.vendor import ANSWERS, CALLERS, Vendor, VendorCall, Wire

HOSTS = pytest.mark.parametrize("host", CALLERS)
TOOLS: Any = [
    {"type": "function", "name": "get_weather", "strict": True, "parameters": {
        "type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"],
        "additionalProperties": False}},
    {"type": "function", "name": "now", "strict": False, "parameters": {"type": "object", "properties": {}}},
]  # fmt: skip
TEXTS = {OPENAI: "openai_text", RESPONSES: "responses_text", ANTHROPIC: "anthropic_text"}
CALLS = {
    OPENAI: [("call_A", "get_weather", '{"location":"Tokyo"}'), ("call_B", "now", "{}"),
             ("call_C", "get_weather", '{"location":"Oslo"}')],
    RESPONSES: [("call_A", "get_weather", '{"location": "San Francisco \\u00e9"}'), ("call_B", "now", "{}"),
                ("call_C", "get_weather", '{"location":"Oslo"}')],
    ANTHROPIC: [("toolu_01A", "get_weather", '{"location": "San Francisco \\u00e9"}'), ("toolu_01B", "now", "{}"),
                ("toolu_01C", "get_weather", '{"location":"Oslo"}')],
}  # fmt: skip


@HOSTS
async def test_whole_and_streamed(host: WireShape) -> None:
    async with (
        Vendor(host) as vendor,
        running_plane(catalog_of(vendor)) as plane,
        openai_client(plane) as client,
    ):
        whole = await client.responses.create(model="demo-gpt", input="hi", instructions="be", store=False)
        assert whole.output_text == "hello"
        assert whole.status == "completed"
        assert whole._request_id == plane.served[0].request_id
        Response.model_validate(whole.to_dict())
        assert plane.served[0].surface == "responses"
        if host is not RESPONSES:
            assert (whole.model, whole.instructions, whole.parallel_tool_calls) == ("demo-gpt", "be", True)
            assert whole.usage is not None
            assert (whole.usage.input_tokens, whole.usage.output_tokens) == (3, 1)
        with pytest.raises(openai.NotFoundError) as missing:
            await client.responses.create(model="nothing", input="hi")
        assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
        vendor.answer = answering(host, recording(TEXTS[host]))
        async with client.responses.stream(model="demo-gpt", input="hi") as stream:
            words = "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])
            final = await stream.get_final_response()
        assert words == final.output_text == "Grüß Gott 👋"
        assert final.usage is not None
        assert (final.usage.input_tokens, final.usage.input_tokens_details.cached_tokens) == (132, 100)


@HOSTS
async def test_tools_and_reasoning_there_and_back(host: WireShape) -> None:
    """What the SDK put together goes back with the results, reasoning and all."""
    async with (
        Vendor(host, answer=answering(host, recording(STREAMS[host]))) as vendor,
        running_plane(catalog_of(vendor)) as plane,
        openai_client(plane) as client,
    ):
        asked: Any = {"model": "demo-gpt", "tools": TOOLS, "include": ["reasoning.encrypted_content"], "store": False}
        talk: list[Any] = [{"role": "user", "content": "hi"}]
        async with client.responses.stream(input=talk, **asked) as stream:
            done = [event.arguments async for event in stream if event.type == "response.function_call_arguments.done"]
            final = await stream.get_final_response()
        calls = [item for item in final.output if item.type == "function_call"]
        assert [(call.call_id, call.name, call.arguments) for call in calls] == CALLS[host]
        assert done == [call.arguments for call in calls]
        assert calls[0].parsed_arguments is not None  # the SDK parses those of strict tools
        vendor.answer = None
        results = [{"type": "function_call_output", "call_id": call.call_id, "output": "ok"} for call in calls]
        # what agents send back: the items as they came
        whole = await client.responses.create(
            input=[*talk, *(item.to_dict() for item in final.output), *results], **asked
        )
        assert whole.output_text == "hello"
        document = vendor.calls[-1].json
        if host is ANTHROPIC:
            history = document["messages"]
            assert history[1]["content"][:2] == [
                {"type": "thinking", "thinking": "Two cities, two calls.",
                 "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk="},
                {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3p"}]  # fmt: skip
            assert [block["type"] for block in history[2]["content"]] == ["tool_result"] * 3
        elif host is OPENAI:
            assert [message["role"] for message in document["messages"]] == [
                "user",
                "assistant",
                "tool",
                "tool",
                "tool",
            ]
        else:
            assert document["input"][1]["encrypted_content"] == "gAAAAABpEncrypted_-1=="
        assert plane.served[-1].status == 200


class Weather(BaseModel):
    """What an answer by schema is parsed into."""

    city: str
    unit: Literal["c", "f"]


@HOSTS
async def test_an_answer_by_schema(host: WireShape) -> None:
    words = '{"city": "Oslo", "unit": "c"}'
    answer = json.loads(json.dumps(ANSWERS[host]).replace('"hello"', json.dumps(words)))

    async def by_schema(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(json.dumps(answer).encode())

    async with (
        Vendor(host, answer=by_schema) as vendor,
        running_plane(catalog_of(vendor)) as plane,
        openai_client(plane) as client,
    ):
        parsed = await client.responses.parse(model="demo-gpt", input="hi", text_format=Weather)
        assert parsed.output_parsed == Weather(city="Oslo", unit="c")
        document = vendor.calls[0].json
        schema = Weather.model_json_schema()["properties"]["unit"]["enum"]
        assert json.dumps(schema) in json.dumps(document)


@HOSTS
async def test_the_synchronous_client(host: WireShape) -> None:
    def ask(plane: Plane) -> tuple[str, list[str]]:
        with openai.OpenAI(base_url=f"http://127.0.0.1:{plane.port}/v1", api_key=TOKEN.token, max_retries=0) as client:
            whole = client.responses.create(model="demo-gpt", input="hi")
            stream = client.responses.create(model="demo-gpt", input="hi", stream=True)
            return whole.output_text, [event.type for event in stream]

    async with Vendor(host) as vendor, running_plane(catalog_of(vendor)) as plane:
        if host is not RESPONSES:
            vendor.answer = one_or_other(vendor, STREAMS[host])
        text, kinds = await asyncio.to_thread(ask, plane)
        assert text == "hello"
        assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


def one_or_other(vendor: Vendor, name: str) -> Any:
    """The vendor's usual answer to a whole call, a recording to a stream."""
    stream = answering(vendor.shape, recording(name))

    async def answer(call: VendorCall, wire: Wire) -> None:
        await (stream if call.json.get("stream") else vendor.standard)(call, wire)

    return answer


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDINGS.glob("responses_*.sse")))
def test_recordings_are_what_the_sdk_knows(name: str) -> None:
    """Our made-up streams have the fields of the SDK's types; the quirky one is meant to lack some."""
    for kind, document in events(recording(name)):
        assert document["type"] == kind
        if "response" in document and name != "responses_quirks":
            usage = document["response"]["usage"]
            if usage is not None:
                usage["input_tokens_details"].setdefault("cache_write_tokens", 0)  # hosts of before 2026 lack it
            Response.model_validate(document["response"])


@pytest.mark.parametrize("host", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize(
    ("fields", "param"),
    [({"previous_response_id": "resp_1"}, "previous_response_id"), ({"conversation": "conv_1"}, "conversation"),
     ({"background": True}, "background"), ({"tools": [{"type": "web_search"}]}, "tools[0].type")],
)  # fmt: skip
async def test_what_needs_a_state_is_refused(host: WireShape, fields: Any, param: str) -> None:
    async with Vendor(host) as vendor, running_plane(catalog_of(vendor)) as plane, openai_client(plane) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="demo-gpt", input="hi", **fields)
        assert refused.value.param == param
        assert vendor.calls == []


async def test_a_host_of_the_same_shape_gets_the_callers_bytes() -> None:
    """Also what the relay would refuse on the way to another shape: the host knows what it stored."""
    body = (
        b'{ "model":"demo-gpt","input":"hi", "previous_response_id":"resp_9","tools":[{"type":"web_search"}],"x":1.10}'
    )
    async with Vendor(RESPONSES) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(body, path="/openai/v1/responses")
        assert answer.status == 200
        assert vendor.calls[0].body == body.replace(b"demo-gpt", b"gpt-x")
        assert answer.json == ANSWERS[RESPONSES]

"""The demo vendor, driven by the vendors' own SDKs and, where they would hide it, by plain HTTP."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from standalone import demo_vendor

from .serving import served

KEY = "demo-key"
QUESTION = "Where is the relay?"
ANSWER = 'This is the demo vendor; no model is behind it. You wrote: "Where is the relay?"'
ANSWER_TOKENS = 22


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with served(demo_vendor.application(KEY, chunk_delay_seconds=0)) as base:
        yield base


@pytest.fixture
async def gpt(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(url: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0) as client:
        yield client


async def test_openai_whole(gpt: openai.AsyncOpenAI) -> None:
    answer = await gpt.chat.completions.create(
        model="demo-gpt-1", messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    )
    assert answer.choices[0].message.content == ANSWER
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 3 + 3 + 5 + 3
    assert answer.usage.completion_tokens == ANSWER_TOKENS
    assert answer.usage.total_tokens == 14 + ANSWER_TOKENS


async def test_openai_is_cut_at_the_callers_limit(gpt: openai.AsyncOpenAI) -> None:
    answer = await gpt.chat.completions.create(
        model="demo-gpt-1", messages=[{"role": "user", "content": QUESTION}], max_completion_tokens=4
    )
    assert answer.choices[0].message.content == "This is the demo"
    assert answer.choices[0].finish_reason == "length"


async def test_openai_stream_with_usage(gpt: openai.AsyncOpenAI) -> None:
    stream = await gpt.chat.completions.create(
        model="demo-gpt-1",
        messages=[{"role": "user", "content": QUESTION}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == ANSWER
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (ANSWER_TOKENS + 1) + ["stop"]
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (ANSWER_TOKENS + 2)
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == ANSWER_TOKENS


async def test_openai_stream_on_the_wire(url: str) -> None:
    body = {"model": "demo-gpt-1", "messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 1}
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession() as session, session.post(
        f"{url}/v1/chat/completions", json=body, headers=headers
    ) as answer:  # fmt: skip
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        events = (await answer.text()).split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "This"},
        {},
    ]
    assert all("usage" not in chunk for chunk in chunks)  # only with include_usage


async def test_anthropic_whole(claude: anthropic.AsyncAnthropic) -> None:
    message = await claude.messages.create(
        model="demo-claude-1", max_tokens=100, system="Be brief.", messages=[{"role": "user", "content": QUESTION}]
    )
    assert [block.text for block in message.content if block.type == "text"] == [ANSWER]
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3 + 5 + 3, ANSWER_TOKENS)


async def test_anthropic_stream(claude: anthropic.AsyncAnthropic) -> None:
    async with claude.messages.stream(
        model="demo-claude-1",
        max_tokens=5,
        messages=[{"role": "user", "content": [{"type": "text", "text": QUESTION}]}],
    ) as stream:
        pieces = [piece async for piece in stream.text_stream]
        final = await stream.get_final_message()
    assert pieces == ["This", " is", " the", " demo", " vendor"]
    assert final.stop_reason == "max_tokens"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (8, 5)


async def test_anthropic_stream_on_the_wire(url: str) -> None:
    body = {"model": "demo-claude-1", "messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 1}
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    async with aiohttp.ClientSession() as session, session.post(
        f"{url}/v1/messages", json=body, headers=headers
    ) as answer:  # fmt: skip
        lines = (await answer.text()).splitlines()
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    documents = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert names == [
        *("message_start", "content_block_start", "ping", "content_block_delta"),
        *("content_block_stop", "message_delta", "message_stop"),
    ]
    assert [document["type"] for document in documents] == names
    assert documents[0]["message"]["usage"]["input_tokens"] == 4
    assert documents[5]["usage"] == {"output_tokens": 1}


async def test_models_in_both_shapes(gpt: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic) -> None:
    assert [model.id async for model in gpt.models.list()] == ["demo-gpt-1", "demo-embedding-1"]
    assert [model.id async for model in claude.models.list()] == ["demo-claude-1"]


async def test_a_wrong_key_is_refused_in_each_shape(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0) as gpt:
        with pytest.raises(openai.AuthenticationError) as refused:
            await gpt.chat.completions.create(model="demo-gpt-1", messages=[{"role": "user", "content": "Hi"}])
    assert refused.value.code == "invalid_api_key"
    async with anthropic.AsyncAnthropic(base_url=url, api_key="wrong", max_retries=0) as claude:
        with pytest.raises(anthropic.AuthenticationError, match="authentication_error"):
            await claude.messages.create(
                model="demo-claude-1", max_tokens=1, messages=[{"role": "user", "content": "Hi"}]
            )


async def test_an_unknown_model_is_not_found(gpt: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        await gpt.chat.completions.create(model="demo-gpt", messages=[{"role": "user", "content": "Hi"}])
    assert refused.value.code == "model_not_found"
    with pytest.raises(anthropic.NotFoundError, match="not_found_error"):
        await claude.messages.create(model="demo-claude", max_tokens=1, messages=[{"role": "user", "content": "Hi"}])


HI = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"messages": HI},
        {"model": "demo-gpt-1"},
        {"model": "demo-gpt-1", "messages": []},
        {"model": "demo-gpt-1", "messages": [{"role": "stranger", "content": "Hi"}]},
        {"model": "demo-gpt-1", "messages": [{"role": "user", "content": 5}]},
        {"model": "demo-gpt-1", "messages": [{"role": "user", "content": [{"text": "no type"}]}]},
        {"model": "demo-gpt-1", "messages": HI, "max_tokens": 0},
        {"model": "demo-gpt-1", "messages": HI, "max_tokens": True},
        {"model": "demo-gpt-1", "messages": HI, "stream": "yes"},
        {"model": "demo-gpt-1", "messages": HI, "stream_options": {"include_usage": True}},
    ],
)
async def test_openai_bad_calls(url: str, body: Any) -> None:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
        session.post(f"{url}/v1/chat/completions", json=body) as answer,
    ):
        assert answer.status == 400
        error = (await answer.json())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, {"model": "demo-claude-1", "max_tokens": 1, "messages": HI}),
        ({"anthropic-version": "2023-06-01"}, {"model": "demo-claude-1", "messages": HI}),
        ({"anthropic-version": "2023-06-01"}, {"model": "demo-claude-1", "max_tokens": 1, "messages": "Hi"}),
        (
            {"anthropic-version": "2023-06-01"},
            {"model": "demo-claude-1", "max_tokens": 1, "messages": [{"role": "assistant", "content": "Hi"}]},
        ),
        (
            {"anthropic-version": "2023-06-01"},
            {"model": "demo-claude-1", "max_tokens": 1, "system": 4, "messages": HI},
        ),
    ],
)
async def test_anthropic_bad_calls(url: str, headers: dict[str, str], body: Any) -> None:
    async with (
        aiohttp.ClientSession(headers={"x-api-key": KEY, **headers}) as session,
        session.post(f"{url}/v1/messages", json=body) as answer,
    ):
        assert answer.status == 400
        document = await answer.json()
    assert document["type"] == "error"
    assert document["error"]["type"] == "invalid_request_error"


async def test_what_is_not_json_is_refused(url: str) -> None:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
        session.post(f"{url}/v1/chat/completions", data=b"{nonsense") as answer,
    ):
        assert answer.status == 400
        assert (await answer.json())["error"]["message"] == "We could not parse the JSON body of your request."


TOOL: Any = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
ASK_FOR_WEATHER = "What does get_weather say?"


async def test_openai_calls_a_tool_that_is_named_and_reads_its_answer(gpt: openai.AsyncOpenAI) -> None:
    tools: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": TOOL}}]
    talk: Any = [{"role": "user", "content": ASK_FOR_WEATHER}]
    asked = await gpt.chat.completions.create(model="demo-gpt-1", messages=talk, tools=tools)
    (call,) = asked.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "demo", "days": 1})
    assert asked.choices[0].finish_reason == "tool_calls"
    async with gpt.chat.completions.stream(model="demo-gpt-1", messages=talk, tools=tools) as stream:
        streamed = (await stream.get_final_completion()).choices[0].message.tool_calls or []
    assert [each.function.arguments for each in streamed] == [call.function.arguments]
    talk += [asked.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    told = await gpt.chat.completions.create(model="demo-gpt-1", messages=talk, tools=tools)
    assert told.choices[0].message.content == 'The tool answered: "rain"'


async def test_anthropic_calls_a_tool_that_is_forced_and_reads_its_answer(claude: anthropic.AsyncAnthropic) -> None:
    tools: Any = [{"name": "get_weather", "input_schema": TOOL}]
    talk: Any = [{"role": "user", "content": "Go on."}]
    forced: Any = {"type": "any"}
    asked = await claude.messages.create(
        model="demo-claude-1", max_tokens=9, messages=talk, tools=tools, tool_choice=forced
    )
    (call,) = asked.content
    assert call.type == "tool_use"
    assert (asked.stop_reason, call.name, call.input) == ("tool_use", "get_weather", {"city": "demo", "days": 1})
    async with claude.messages.stream(
        model="demo-claude-1", max_tokens=9, messages=talk, tools=tools, tool_choice=forced
    ) as stream:
        assert [getattr(block, "input", None) for block in (await stream.get_final_message()).content] == [call.input]
    result: Any = [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]
    talk += [{"role": "assistant", "content": asked.content}, {"role": "user", "content": result}]
    told = await claude.messages.create(model="demo-claude-1", max_tokens=9, messages=talk, tools=tools)
    assert [block.text for block in told.content if block.type == "text"] == ['The tool answered: "rain"']
    counted = await claude.messages.count_tokens(model="demo-claude-1", messages=[{"role": "user", "content": "a b"}])
    assert counted.input_tokens == 5


async def test_responses(gpt: openai.AsyncOpenAI) -> None:
    whole = await gpt.responses.create(model="demo-gpt-1", input=QUESTION, instructions="Be brief.")
    assert whole.output_text == ANSWER
    assert whole.usage is not None
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (3 + 5 + 3, ANSWER_TOKENS)
    tools: Any = [{"type": "function", "name": "get_weather", "parameters": TOOL, "strict": False}]
    async with gpt.responses.stream(model="demo-gpt-1", input=ASK_FOR_WEATHER, tools=tools) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    (call,) = final.output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "demo", "days": 1}
    cut = await gpt.responses.create(model="demo-gpt-1", input=QUESTION, max_output_tokens=2)
    assert (cut.status, cut.output_text) == ("incomplete", "This is")


@pytest.mark.parametrize(
    ("schema", "filled"),
    [
        ({"enum": ["a", "b"]}, "a"),
        ({"const": 7}, 7),
        ({"type": ["null", "string"]}, None),
        ({"anyOf": [{"type": "boolean"}, {"type": "string"}]}, True),
        ({"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "number", "minimum": 3}}}, [3]),
        ({"$ref": "#"}, None),  # refers to itself
    ],
)
async def test_a_schema_is_filled(gpt: openai.AsyncOpenAI, schema: Any, filled: Any) -> None:
    wanted: Any = {"name": "out", "schema": {"type": "object", "properties": {"x": schema}} | schema}
    answer = await gpt.chat.completions.create(
        model="demo-gpt-1",
        messages=[{"role": "user", "content": "x"}],
        response_format={"type": "json_schema", "json_schema": wanted},
    )
    assert json.loads(answer.choices[0].message.content or "") == filled


async def test_what_is_no_conversation(gpt: openai.AsyncOpenAI) -> None:
    vectors = await gpt.embeddings.create(model="demo-embedding-1", input=["a", "a", "b"])
    first, second, third = (item.embedding for item in vectors.data)
    assert first == second != third
    assert vectors.usage.total_tokens == 3
    heard = await gpt.audio.transcriptions.create(model="demo-gpt-1", file=("a.wav", b"12345"))
    assert heard.text == "5 bytes of a.wav"
    assert (await gpt.audio.speech.create(model="demo-gpt-1", voice="alloy", input="hi")).content == b"ID3 hi"
    assert (await gpt.images.generate(model="demo-gpt-1", prompt="a dot")).data[0].b64_json  # type: ignore[index]  # there is one
    assert (await gpt.moderations.create(model="demo-gpt-1", input="x")).results[0].flagged is False

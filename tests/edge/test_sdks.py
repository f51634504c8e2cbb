"""The vendors' own SDKs against the plane: what they read of our answers and of our errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anthropic
import openai
import pytest

from relay_contract import nouns
from relay_contract.nouns import WireShape
from tests.edge.nouns import RELAY_KEY, TOKEN
from tests.edge.plane import Plane, catalog_of, running_plane
from tests.edge.vendor import CALLERS, STREAMS, Vendor, VendorCall, Wire

OPENAI, RESPONSES, ANTHROPIC = CALLERS
TALK: Any = [{"role": "user", "content": "hi"}]


def openai_client(plane: Plane, key: str = TOKEN.token) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{plane.port}/v1", api_key=key, max_retries=0)


def anthropic_client(plane: Plane, key: str = TOKEN.token) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=f"http://127.0.0.1:{plane.port}", api_key=key, max_retries=0)


async def test_openai() -> None:
    async with Vendor(OPENAI) as vendor, running_plane(catalog_of(vendor)) as plane, openai_client(plane) as client:
        whole = await client.chat.completions.create(model="demo-gpt", messages=TALK)
        assert whole.choices[0].message.content == "hello"
        assert whole._request_id == plane.served[0].request_id
        stream = await client.chat.completions.create(model="demo-gpt", messages=TALK, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "hello"
        assert [model.id async for model in client.models.list()] == ["demo-gpt"]
        with pytest.raises(openai.NotFoundError) as missing:
            await client.chat.completions.create(model="nothing", messages=TALK)
        assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
        async with openai_client(plane, "rk_live_wrong") as stranger:
            with pytest.raises(openai.AuthenticationError) as wrong:
                await stranger.chat.completions.create(model="demo-gpt", messages=TALK)
        assert wrong.value.code == "invalid_key"


async def test_anthropic() -> None:
    message = (
        (
            b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message",'
            b'"role":"assistant","model":"claude-x","content":[],"stop_reason":null,"stop_sequence":null,'
            b'"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
        ),
        (
            b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
            b'"content_block":{"type":"text","text":""}}\n\n'
        ),
        (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
            b'"delta":{"type":"text_delta","text":"hello"}}\n\n'
        ),
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    )

    async def answer(call: VendorCall, wire: Wire) -> None:
        if not call.json.get("stream"):
            await vendor.standard(call, wire)
            return
        await wire.head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
        for event in message:
            await wire.chunk(event)
        await wire.send(b"0\r\n\r\n")

    async with Vendor(ANTHROPIC, answer=answer) as vendor, running_plane(catalog_of(vendor)) as plane:
        async with anthropic_client(plane) as client:
            whole = await client.messages.create(model="demo-gpt", messages=TALK, max_tokens=9)
            assert getattr(whole.content[0], "text", None) == "hello"
            async with client.messages.stream(model="demo-gpt", messages=TALK, max_tokens=9) as stream:
                assert await stream.get_final_text() == "hello"
            assert [model.id async for model in client.models.list()] == ["demo-gpt"]
            with pytest.raises(anthropic.NotFoundError):
                await client.messages.create(model="nothing", messages=TALK, max_tokens=9)
        async with anthropic_client(plane, "rk_live_wrong") as stranger:
            with pytest.raises(anthropic.AuthenticationError):
                await stranger.messages.create(model="demo-gpt", messages=TALK, max_tokens=9)


@pytest.mark.parametrize("shape", CALLERS)
async def test_a_cut_stream_raises(shape: WireShape) -> None:
    async def cutting(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
        await wire.chunk(STREAMS[shape][0])
        wire.close()

    async with Vendor(shape, answer=cutting) as vendor, running_plane(catalog_of(vendor)) as plane:
        if shape is OPENAI:
            async with openai_client(plane) as client:
                chunks = await client.chat.completions.create(model="demo-gpt", messages=TALK, stream=True)
                with pytest.raises(openai.APIError, match="upstream host"):
                    [chunk async for chunk in chunks]
        elif shape is RESPONSES:
            async with openai_client(plane) as client:
                told = await client.responses.create(model="demo-gpt", input="hi", stream=True)
                with pytest.raises(openai.APIError, match="upstream host"):
                    [event async for event in told]
        else:
            async with anthropic_client(plane) as other:
                events = await other.messages.create(model="demo-gpt", messages=TALK, max_tokens=9, stream=True)
                with pytest.raises(anthropic.APIError, match="upstream host"):
                    [event async for event in events]


@pytest.mark.parametrize("shape", CALLERS)
async def test_a_rate_limit_raises_with_its_wait(shape: WireShape, redis_url: str) -> None:
    limit = nouns.RateLimit(nouns.RateLimitId(9), "none", (nouns.Rule(nouns.Meter.REQUESTS, 0, 60),))
    async with Vendor(shape) as vendor:
        rows = [*catalog_of(vendor), limit, replace(RELAY_KEY, rate_limit_id=limit.id)]
        async with running_plane(rows, redis_url=redis_url) as plane:
            if shape is OPENAI:
                async with openai_client(plane) as client:
                    with pytest.raises(openai.RateLimitError) as refused:
                        await client.chat.completions.create(model="demo-gpt", messages=TALK)
            elif shape is RESPONSES:
                async with openai_client(plane) as client:
                    with pytest.raises(openai.RateLimitError) as refused:
                        await client.responses.create(model="demo-gpt", input="hi")
            else:
                async with anthropic_client(plane) as other:
                    with pytest.raises(anthropic.RateLimitError) as refused:  # type: ignore[assignment]  # two SDKs
                        await other.messages.create(model="demo-gpt", messages=TALK, max_tokens=9)
            assert refused.value.response.headers["retry-after"] == "60"
        assert vendor.calls == []

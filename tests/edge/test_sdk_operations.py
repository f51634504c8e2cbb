"""OpenAI's and Anthropic's SDKs on what is no conversation, in front of the demo vendor."""

from __future__ import annotations

import base64

import anthropic
import openai
import pytest

from tests.clients.relay import CONVERSING, running_relay
from tests.edge.test_sdks import anthropic_client, openai_client


async def test_openai() -> None:
    async with running_relay() as plane, openai_client(plane) as client:
        vectors = await client.embeddings.create(model="demo-embedding", input=["a", "b"])
        assert [len(each.embedding) for each in vectors.data] == [8, 8]
        image = await client.images.generate(model="demo-gpt", prompt="a pixel")
        assert image.data is not None
        assert base64.b64decode(image.data[0].b64_json or "").startswith(b"\x89PNG")
        assert await (await client.audio.speech.create(model="demo-gpt", voice="none", input="hi")).aread() == b"ID3 hi"
        heard = await client.audio.transcriptions.create(model="demo-responses", file=("a b.mp3", b"\x00\xff" * 99))
        assert heard.text == "198 bytes of a b.mp3"
        flagged = await client.moderations.create(model="demo-gpt", input="hi")
        assert not flagged.results[0].flagged
        with pytest.raises(openai.BadRequestError, match="No host of this model"):
            await client.embeddings.create(model="demo-claude", input="a")
        with pytest.raises(openai.BadRequestError, match="model: is missing"):
            await client.moderations.create(input="hi")
        with pytest.raises(openai.BadRequestError, match="input"):
            await client.embeddings.create(model="demo-embedding", input=[1])  # the vendor's own words
        assert [(each.surface, each.status, each.usage and each.usage.limited_tokens) for each in plane.served] == [
            ("embeddings", 200, 2),
            ("images", 200, 15),
            ("audio_speech", 200, None),
            ("audio_transcriptions", 200, 20),
            ("moderations", 200, None),
            ("embeddings", 400, None),
            ("moderations", 400, None),
            ("embeddings", 400, None),
        ]


@pytest.mark.parametrize("model", CONVERSING)
async def test_anthropic(model: str) -> None:
    async with running_relay() as plane, anthropic_client(plane) as client:
        raw = await client.messages.with_raw_response.count_tokens(
            model=model, messages=[{"role": "user", "content": "Write a word."}]
        )
        assert (await raw.parse()).input_tokens > 0
        assert raw.headers.get("x-relay-estimate") == (None if model == "demo-claude" else "true")
        pages = [each.id async for each in client.models.list(limit=1)]
        assert pages == ["demo-claude", "demo-embedding", "demo-gpt", "demo-responses"]
        assert (await client.models.retrieve(model)).id == model
        with pytest.raises(anthropic.NotFoundError):
            await client.models.retrieve("nothing")

"""The official SDKs against the real processes: only the address and the key differ from a vendor's own."""

import subprocess
from collections.abc import Iterator

import anthropic
import openai
import pytest

from tests.system.product import Product

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system")]

QUESTION = "count the words of this question"


@pytest.fixture
def openai_client(product: Product) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{product.edge_url}/v1", api_key=product.relay_key, max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(product: Product) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=product.edge_url, api_key=product.relay_key, max_retries=0) as client:
        yield client


def test_openai_chat(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(model="demo-gpt", messages=[{"role": "user", "content": QUESTION}])
    assert answer.choices[0].finish_reason == "stop"
    assert QUESTION in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_openai_stream_has_the_text_of_the_plain_answer(openai_client: openai.OpenAI) -> None:
    plain = openai_client.chat.completions.create(model="demo-gpt", messages=[{"role": "user", "content": QUESTION}])
    stream = openai_client.chat.completions.create(
        model="demo-gpt", messages=[{"role": "user", "content": QUESTION}], stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == plain.choices[0].message.content
    assert chunks[-1].usage == plain.usage


async def test_openai_async(product: Product) -> None:
    async with openai.AsyncOpenAI(base_url=f"{product.edge_url}/openai/v1", api_key=product.relay_key) as client:
        answer = await client.chat.completions.create(
            model="demo-gpt", messages=[{"role": "user", "content": QUESTION}]
        )
        text = ""
        async for chunk in await client.chat.completions.create(
            model="demo-gpt", messages=[{"role": "user", "content": QUESTION}], stream=True
        ):
            text += chunk.choices[0].delta.content or "" if chunk.choices else ""
    assert text == answer.choices[0].message.content


def test_openai_models(openai_client: openai.OpenAI) -> None:
    listed = [model.id for model in openai_client.models.list()]
    assert {"demo", "demo-claude", "demo-embedding", "demo-gpt", "demo-responses"} <= set(listed)  # others add more


def test_openai_errors_have_its_own_classes(product: Product, openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        openai_client.chat.completions.create(model="no-such", messages=[{"role": "user", "content": "x"}])
    assert unknown.value.code == "model_not_found"
    stranger = openai_client.with_options(api_key="rk_live_" + "x" * 50)
    with pytest.raises(openai.AuthenticationError) as refused:
        stranger.chat.completions.create(model="demo-gpt", messages=[{"role": "user", "content": "x"}])
    assert refused.value.code == "invalid_key"
    assert refused.value.request_id


def test_anthropic_message(anthropic_client: anthropic.Anthropic) -> None:
    answer = anthropic_client.messages.create(
        model="demo-claude", max_tokens=200, messages=[{"role": "user", "content": QUESTION}]
    )
    assert answer.stop_reason == "end_turn"
    assert answer.content[0].type == "text"
    assert QUESTION in answer.content[0].text


def test_anthropic_stream_has_the_text_of_the_plain_answer(anthropic_client: anthropic.Anthropic) -> None:
    plain = anthropic_client.messages.create(
        model="demo-claude", max_tokens=200, messages=[{"role": "user", "content": QUESTION}]
    )
    with anthropic_client.messages.stream(
        model="demo-claude", max_tokens=200, messages=[{"role": "user", "content": QUESTION}]
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert plain.content[0].type == "text"
    assert text == plain.content[0].text
    assert final.usage.output_tokens == plain.usage.output_tokens


async def test_anthropic_async(product: Product) -> None:
    base = f"{product.edge_url}/anthropic"
    async with (
        anthropic.AsyncAnthropic(base_url=base, auth_token=product.relay_key) as client,
        client.messages.stream(
            model="demo-claude", max_tokens=200, messages=[{"role": "user", "content": QUESTION}]
        ) as stream,
    ):
        final = await stream.get_final_message()
    assert final.content[0].type == "text"
    assert QUESTION in final.content[0].text


def test_anthropic_errors_have_its_own_classes(anthropic_client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        anthropic_client.messages.create(model="no-such", max_tokens=5, messages=[{"role": "user", "content": "x"}])
    assert unknown.value.type == "not_found_error"
    with pytest.raises(anthropic.AuthenticationError):
        anthropic_client.with_options(api_key="nonsense").messages.create(
            model="demo-claude", max_tokens=5, messages=[{"role": "user", "content": "x"}]
        )


def test_curl_streams_chunk_by_chunk(product: Product) -> None:
    body = '{"model":"demo-gpt","stream":true,"messages":[{"role":"user","content":"Hello there"}]}'
    done = subprocess.run(
        ["curl", "-sS", "-N", "-i", f"{product.edge_url}/v1/chat/completions", "-H",
         f"Authorization: Bearer {product.relay_key}", "-H", "Content-Type: application/json", "-d", body],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    head, _, events = done.stdout.partition("\n\n")  # text=True has made line ends plain
    assert head.startswith("HTTP/1.1 200")
    assert "text/event-stream" in head.lower()
    assert events.count("data: ") > 2
    assert events.rstrip().endswith("data: [DONE]")

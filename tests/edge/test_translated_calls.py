"""Calls served by a host of another shape, from a caller's socket to a vendor's, and with the vendors' own SDKs."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai
import pytest

from relay_contract.nouns import WireShape
from tests.edge.conftest import until
from tests.edge.plane import AUTHORIZED, Caller, catalog_of, running_plane
from tests.edge.test_inference import error_of
from tests.edge.test_sdks import anthropic_client, openai_client
from tests.edge.test_translation_streams import message_of
from tests.edge.translating import ANTHROPIC, GEMINI, OPENAI, RESPONSES, recording, response_of
from tests.edge.vendor import CALLERS, PATHS, Vendor, VendorCall, Wire

TALK: Any = [{"role": "user", "content": "hi"}]
CALL: dict[str, Any] = {"model": "demo-gpt", "messages": TALK, "max_tokens": 50}
CALLS: dict[WireShape, dict[str, Any]] = {
    OPENAI: CALL,
    RESPONSES: {"model": "demo-gpt", "input": TALK, "max_output_tokens": 50},
    ANTHROPIC: CALL,
}
STREAM_CALL = CALL | {"stream": True}
STREAM_CALLS = {shape: call | {"stream": True} for shape, call in CALLS.items()}
EACH_WAY = pytest.mark.parametrize(
    ("shape", "host"), [(caller, host) for caller in CALLERS for host in WireShape if caller is not host]
)  # the caller's shape, the vendor's
STREAMS = {OPENAI: "openai_tools", RESPONSES: "responses_reasoning_tools", ANTHROPIC: "anthropic_thinking_tools",
           GEMINI: "gemini_thinking_tools"}  # fmt: skip
LAST = {OPENAI: b"[DONE]", RESPONSES: b"}}", ANTHROPIC: b'{"type":"message_stop"}'}
WEATHER = {"type": "object", "properties": {"location": {"type": "string"}}}


def answering(vendor_shape: WireShape, stream: bytes | None = None) -> Any:
    """A vendor's answer to a stream call, in awkward pieces."""
    sse = recording(STREAMS[vendor_shape]) if stream is None else stream

    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: text/event-stream; charset=utf-8", "transfer-encoding: chunked", "x-y: z")
        for at in range(0, len(sse), 97):
            await wire.chunk(sse[at : at + 97])
        await wire.send(b"0\r\n\r\n")

    return answer


@dataclass
class Halting:
    """A vendor's answer that stops after its first content until the caller has got it, then goes on with `rest`."""

    shape: WireShape
    rest: bytes
    is_framed: bool = True  # ends with the mark of a whole body
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, _call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
        stream = recording(STREAMS[self.shape])
        await wire.chunk(stream[: len(stream) // 2])
        await self.go_on.wait()
        await wire.chunk(self.rest)
        if self.is_framed:
            await wire.send(b"0\r\n\r\n")
        else:
            wire.close()

    async def read_by(self, caller: Caller) -> tuple[bytes, bool]:
        """The answer's body as the caller gets it, and whether its framing is whole."""
        assert (await caller.head())[0] == 200
        self.go_on.set()
        async with asyncio.timeout(10):
            return await caller.chunks()


@EACH_WAY
async def test_a_whole_call(shape: WireShape, host: WireShape) -> None:
    async with Vendor(host) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(CALLS[shape] | {"seed": 1, "speed": "fast"}, "anthropic-beta: x", path=PATHS[shape])
        assert answer.status == 200
        assert answer.is_whole
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-relay-model"] == answer.json["model"] == "demo-gpt"
        assert answer.headers["x-relay-host"] == "vendor-1"
        assert answer.headers["x-relay-attempts"] == "1"
        (call,) = vendor.calls
        assert host is GEMINI or call.json["model"] == "gpt-x"  # Gemini has it in the path, which the vendor checks
        assert call.header("anthropic-beta") is None
        assert call.header("anthropic-version") == ("2023-06-01" if host is ANTHROPIC else None)
        if shape is OPENAI:
            assert answer.json["choices"][0]["message"]["content"] == "hello"
            dropped = "" if host is GEMINI else ", dropped:seed"
            assert answer.headers["x-relay-warnings"].startswith(f"unknown:speed{dropped}")
        elif shape is RESPONSES:
            assert answer.json["output"][0]["content"][0]["text"] == "hello"
            assert answer.headers["x-relay-warnings"].startswith("unknown:seed, unknown:speed")
        else:
            assert answer.json["content"] == [{"type": "text", "text": "hello"}]
            assert answer.headers["x-relay-warnings"] == "dropped:speed, unknown:seed"
        assert [(s.status, s.tries, s.error) for s in plane.served] == [(200, 1, "")]
        assert plane.served[0].bytes_out == len(answer.body)


@EACH_WAY
async def test_a_stream(shape: WireShape, host: WireShape) -> None:
    answer_of = answering(host)
    async with Vendor(host, answer=answer_of) as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        for _ in range(2):  # on one connection each way
            await caller.post(STREAM_CALLS[shape], AUTHORIZED, path=PATHS[shape])
            answer = await caller.answer()
            assert answer.is_whole
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["cache-control"] == "no-cache"
            assert answer.headers["x-accel-buffering"] == "no"
            assert "x-y" not in answer.headers
            if shape is OPENAI:
                first = json.loads(answer.body.split(b"\n")[0].removeprefix(b"data: "))
                assert first["id"].endswith("Gem1" if host is GEMINI else "Think")
                assert first["model"] == "demo-gpt"
                assert answer.body.endswith(b"data: [DONE]\n\n")
            else:
                items = (response_of(answer.body)["output"] if shape is RESPONSES
                         else message_of(answer.body)["content"])  # fmt: skip
                assert [item["type"] for item in items][-3:] == [
                    "function_call" if shape is RESPONSES else "tool_use"] * 3  # fmt: skip
        assert vendor.connections == 1
        await caller.close()


@EACH_WAY
async def test_each_event_arrives_before_the_next_one_is_sent(shape: WireShape, host: WireShape) -> None:
    name = {OPENAI: "openai", RESPONSES: "responses", ANTHROPIC: "anthropic", GEMINI: "gemini"}[host]
    go_on, pieces = asyncio.Event(), recording(f"{name}_text").replace(b"\r", b"").split(b"\n\n")

    async def one_by_one(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
        for piece in pieces:
            await wire.chunk(piece + b"\n\n")
            if "Grüß".encode() in piece:
                await go_on.wait()
        await wire.send(b"0\r\n\r\n")

    async with Vendor(host, answer=one_by_one) as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        await caller.post(STREAM_CALLS[shape], AUTHORIZED, path=PATHS[shape])
        await caller.head()
        async with asyncio.timeout(10):
            await caller.reader.readuntil("Grüß".encode())
        go_on.set()
        async with asyncio.timeout(10):
            await caller.reader.readuntil(b"\r\n0\r\n\r\n")
        await caller.close()


@EACH_WAY
@pytest.mark.parametrize("end", [True, False])
async def test_a_cut_stream_is_never_a_success(shape: WireShape, host: WireShape, end: bool) -> None:
    """Rule 60, with the framing of a whole answer and without."""
    halting = Halting(host, b": nothing more\n\n", end)
    async with Vendor(host, answer=halting) as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        await caller.post(STREAM_CALLS[shape], AUTHORIZED, path=PATHS[shape])
        body, is_whole = await halting.read_by(caller)
        assert not is_whole
        last = json.loads(body.rstrip().rsplit(b"data: ", 1)[1])
        assert error_of(shape, last)[0] == ("api_error" if shape is ANTHROPIC else "server_error")
        for mark in (b"[DONE]", b"message_stop", b"response.completed"):
            assert mark not in body
        await until(lambda: plane.served, "the call to end")
        assert [(s.status, s.error) for s in plane.served] == [(502, "upstream_protocol_error")]


@EACH_WAY
async def test_a_stream_that_only_greets_and_then_fails_is_tried_elsewhere(shape: WireShape, host: WireShape) -> None:
    """Rule 72: no content had been sent."""
    overloaded = {
        ANTHROPIC: recording("anthropic_overloaded").replace(b"event: content_block_delta", b"event: ping").replace(
            b'{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}}',
            b'{"type": "ping"}'),
        OPENAI: b'data: {"id": "x", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}\n\n'
                b'data: {"error": {"message": "busy", "code": "overloaded"}}\n\n',
        RESPONSES: b'data: {"type": "response.created", "response": {"id": "x"}}\n\n'
                   b'data: {"type": "response.failed", "response": {"error": {"code": "overloaded"}}}\n\n',
        GEMINI: b'data: {"responseId": "x"}\n\ndata: {"error": {"status": "UNAVAILABLE", "message": "overloaded"}}\n\n',
    }[host]  # fmt: skip
    async with (
        Vendor(host, answer=answering(host, overloaded)) as failing,
        Vendor(host, answer=answering(host)) as sound,
        running_plane(catalog_of(failing, sound)) as plane,
    ):
        answer = await plane.post(STREAM_CALLS[shape], path=PATHS[shape])
        assert answer.is_whole
        assert answer.headers["x-relay-host"] == "vendor-2"
        assert answer.headers["x-relay-attempts"] == "2"
        assert b"overloaded" not in answer.body
        assert (len(failing.calls), len(sound.calls)) == (1, 1)


@EACH_WAY
async def test_a_stream_that_fails_in_its_first_read_is_tried_elsewhere(shape: WireShape, host: WireShape) -> None:
    """Content that never left is no commitment: nothing has reached the caller."""
    stream = recording(STREAMS[host])
    half = stream[: len(stream) // 2]

    async def at_once(_call: VendorCall, wire: Wire) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(half)
        await wire.send(head + half)

    async with (
        Vendor(host, answer=at_once) as failing,
        Vendor(host, answer=answering(host)) as sound,
        running_plane(catalog_of(failing, sound)) as plane,
    ):
        answer = await plane.post(STREAM_CALLS[shape], path=PATHS[shape])
        assert answer.is_whole
        assert answer.headers["x-relay-host"] == "vendor-2"


async def test_an_error_after_content_ends_the_stream_in_the_callers_shape() -> None:
    error = b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "sk-secret"}}\n\n'
    halting = Halting(ANTHROPIC, b"\n\n" + error)
    async with Vendor(ANTHROPIC, answer=halting) as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        await caller.post(STREAM_CALL, AUTHORIZED)
        body, is_whole = await halting.read_by(caller)
        assert not is_whole
        last = json.loads(body.rstrip().rsplit(b"data: ", 1)[1])
        assert error_of(OPENAI, last) == ("server_error", "The upstream host reported overloaded_error in its stream.")
        await until(lambda: plane.pool.counts() == (0, 0, 0), "the upstream connection to end")


@pytest.mark.parametrize(("shape", "host"), [(OPENAI, ANTHROPIC), (RESPONSES, OPENAI), (ANTHROPIC, OPENAI)])
async def test_a_host_that_stalls_after_the_reason_is_not_waited_for_in_vain(shape: WireShape, host: WireShape) -> None:
    """Rule 58: the usage may still come, within the host's idle time; then the answer is whole without it."""
    stream = recording({OPENAI: "openai_length", ANTHROPIC: "anthropic_text"}[host])
    mark = {OPENAI: b'data: {"id": "chatcmpl-Long", "object": "chat.completion.chunk", "created": 1763000000, "model": '
                    b'"gpt-4o-2024-08-06", "service_tier": "default", "system_fingerprint": "fp_1", "choices": []',
            ANTHROPIC: b"event: message_stop"}[host]  # fmt: skip

    async def stalling(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
        await wire.chunk(stream[: stream.index(mark)])
        assert await wire.closed_by_edge(5)

    async with (
        Vendor(host, answer=stalling) as vendor,
        running_plane(catalog_of(vendor, idle_timeout_ms=100)) as plane,
    ):
        answer = await plane.post(STREAM_CALLS[shape], path=PATHS[shape])
        assert answer.is_whole
        assert answer.body.rstrip().endswith(LAST[shape])
        assert plane.served[0].status == 200


@EACH_WAY
@pytest.mark.parametrize(("status", "expected"), [(400, 400), (404, 404), (422, 422)])
async def test_a_hosts_refusal_in_the_callers_shape(
    shape: WireShape, host: WireShape, status: int, expected: int
) -> None:
    body = json.dumps({"type": "error", "error": {"type": "invalid_request_error", "message": "no sk-secret-1234"}})

    async def refusing(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(body.encode(), status, "retry-after: 7", "x-other: 1")

    async with Vendor(host, answer=refusing) as vendor, running_plane(catalog_of(vendor, keys=2)) as plane:
        answer = await plane.post(CALLS[shape], path=PATHS[shape])
        assert answer.status == expected
        assert error_of(shape, answer.json)[1] == "no [...]"
        assert answer.headers["retry-after"] == "7"
        assert "x-other" not in answer.headers
        assert len(vendor.calls) == 1  # the caller's fault is nobody else's


@EACH_WAY
@pytest.mark.parametrize(("status", "expected"), [(401, 503), (429, 429), (500, 500)])
async def test_a_hosts_failure_is_tried_with_another_key_first(
    shape: WireShape, host: WireShape, status: int, expected: int
) -> None:
    async def failing(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(b'{"error": {"message": "x"}}', status)

    async with Vendor(host, answer=failing) as vendor, running_plane(catalog_of(vendor, keys=2)) as plane:
        answer = await plane.post(CALLS[shape], path=PATHS[shape])
        assert answer.status == expected
        error_of(shape, answer.json)
        assert len(vendor.calls) == 2


@pytest.mark.parametrize("body", [b"<html>", b"{}", b""])
@EACH_WAY
async def test_an_answer_that_cannot_be_read_is_tried_elsewhere(shape: WireShape, host: WireShape, body: bytes) -> None:
    async def odd(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(body)

    async with (
        Vendor(host, answer=odd) as first,
        Vendor(host) as second,
        running_plane(catalog_of(first, second)) as plane,
    ):
        answer = await plane.post(CALLS[shape], path=PATHS[shape])
        assert (answer.status, answer.headers["x-relay-host"]) == (200, "vendor-2")


@EACH_WAY
async def test_failover_goes_from_the_callers_own_shape_to_the_other(shape: WireShape, host: WireShape) -> None:
    async def failing(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(b"{}", 500)

    async with (
        Vendor(shape, answer=failing) as own,
        Vendor(host) as other,
        running_plane(catalog_of(own, other)) as plane,
    ):
        answer = await plane.post(CALLS[shape], path=PATHS[shape])
        assert (answer.status, answer.headers["x-relay-host"]) == (200, "vendor-2")
        assert own.calls[0].json == CALLS[shape] | {"model": "gpt-x"}


async def test_what_one_host_cannot_be_told_goes_to_another() -> None:
    """`n: 2` has no words in Anthropic's shape; a host of the caller's own shape takes it as it came."""
    async with Vendor(ANTHROPIC) as first, Vendor(OPENAI) as second:
        async with running_plane(catalog_of(first, second)) as plane:
            answer = await plane.post(CALL | {"n": 2})
            assert (answer.status, answer.headers["x-relay-host"]) == (200, "vendor-2")
        assert first.calls == []
        async with running_plane(catalog_of(first)) as plane:
            answer = await plane.post(CALL | {"n": 2})
            assert answer.status == 400
            assert answer.json["error"]["param"] == "n"
        assert first.calls == []


async def test_no_answer_at_all_cannot_be_asked_for() -> None:
    async with Vendor(ANTHROPIC) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(CALL | {"n": 0})
        assert (answer.status, answer.json["error"]["param"]) == (400, "n")
        assert (await plane.post(CALL | {"n": 1, "temperature": 0, "top_p": 0})).status == 200
        assert len(vendor.calls) == 1


async def test_what_another_host_cannot_be_told_does_not_hide_why_the_first_one_failed() -> None:
    async def failing(_call: VendorCall, wire: Wire) -> None:
        wire.close()

    async with Vendor(OPENAI, answer=failing) as own, Vendor(ANTHROPIC) as other:
        async with running_plane(catalog_of(own, other)) as plane:
            assert (await plane.post(CALL | {"n": 2})).status == 502
        assert other.calls == []


@EACH_WAY
@pytest.mark.parametrize(
    ("fields", "place"),
    [({"messages": []}, "messages"), ({"messages": 5}, "messages"), ({"temperature": "x"}, "temperature"),
     ({"temperature": -0.1}, "temperature"), ({"top_p": -1}, "top_p"),
     ({"messages": [{"role": "assistant", "content": "x"}, 5]}, "messages[1]")],
)  # fmt: skip
async def test_bad_input_is_refused_by_its_place(
    shape: WireShape, host: WireShape, fields: dict[str, Any], place: str
) -> None:
    async with Vendor(host) as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        if shape is RESPONSES:
            fields = {name.replace("messages", "input"): value for name, value in fields.items()}
            place = place.replace("messages", "input")
        await caller.post(CALLS[shape] | fields, AUTHORIZED, path=PATHS[shape])
        answer = await caller.answer()
        assert answer.status == 400
        kind, message = error_of(shape, answer.json)
        assert kind == "invalid_request_error"
        assert message.startswith(f"{place}: ")
        assert vendor.calls == []
        await caller.post(CALLS[shape], AUTHORIZED, path=PATHS[shape])  # the connection serves on
        assert (await caller.answer()).status == 200
        await caller.close()


@EACH_WAY
async def test_the_vendor_sees_a_caller_leave(shape: WireShape, host: WireShape) -> None:
    was_closed = asyncio.Event()
    stream = recording(STREAMS[host])

    async def waiting(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
        await wire.chunk(stream[: len(stream) // 2])
        assert await wire.closed_by_edge(5)
        was_closed.set()

    async with Vendor(host, answer=waiting) as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        await caller.post(STREAM_CALLS[shape], AUTHORIZED, path=PATHS[shape])
        await caller.head()
        await caller.close()
        async with asyncio.timeout(10):
            await was_closed.wait()
        await until(lambda: plane.served, "the call to end")
        assert plane.served[0].status == 499


async def test_a_slow_reader_slows_the_vendor() -> None:
    delta = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}}' % (b"x" * 60_000)
    event = b"event: content_block_delta\ndata: " + delta + b"\n\n"
    start, end = recording("anthropic_text").split(b"event: content_block_delta", 1)
    events, written = 400, 0

    async def eager(_call: VendorCall, wire: Wire) -> None:
        nonlocal written
        await wire.head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
        await wire.chunk(start)
        for _ in range(events):
            await wire.chunk(event)
            written += 1
        await wire.chunk(b"event: content_block_delta" + end)
        await wire.send(b"0\r\n\r\n")

    async with Vendor(ANTHROPIC, answer=eager) as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        await caller.post(STREAM_CALL, AUTHORIZED)
        seen = -1
        while seen != written:  # until nothing moves any more
            seen = written
            await asyncio.sleep(0.2)
        assert written < events
        answer = await caller.answer()
        assert answer.is_whole
        assert answer.body.count(b"x" * 60_000) == events
        await caller.close()


# --- the vendors' own SDKs ---


async def test_openai_sdk_on_anthropic() -> None:
    tools: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}},
                  {"type": "function", "function": {"name": "now"}}]  # fmt: skip
    answer_of = answering(ANTHROPIC)
    async with (
        Vendor(ANTHROPIC, answer=answer_of) as vendor,
        running_plane(catalog_of(vendor)) as plane,
        openai_client(plane) as client,
    ):
        stream = await client.chat.completions.create(
            model="demo-gpt", messages=TALK, tools=tools, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].usage is not None
        assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (472, 89)
        async with client.chat.completions.stream(model="demo-gpt", messages=TALK, tools=tools) as helper:
            final = await helper.get_final_completion()
        (choice,) = final.choices
        assert choice.finish_reason == "tool_calls"
        assert [(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls or []] == [
            ("toolu_01A", "get_weather", '{"location": "San Francisco \\u00e9"}'),
            ("toolu_01B", "now", "{}"),
            ("toolu_01C", "get_weather", '{"location":"Oslo"}'),
        ]
        # What the SDK put together goes back with the results, thinking and all.
        vendor.answer = None
        sent_back: Any = choice.message.to_dict()
        results: Any = [{"role": "tool", "tool_call_id": c.id, "content": "ok"}
                        for c in choice.message.tool_calls or []]  # fmt: skip
        whole = await client.chat.completions.create(
            model="demo-gpt", messages=[*TALK, sent_back, *results], tools=tools
        )
        assert whole.choices[0].message.content == "hello"
        assert whole.model == "demo-gpt"
        assert whole.usage is not None
        assert whole.usage.total_tokens == 4
        history = vendor.calls[-1].json["messages"]
        assert history[1]["content"][:2] == [
            {"type": "thinking", "thinking": "Two cities, two calls.",
             "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk="},
            {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3p"}]  # fmt: skip
        assert [message["role"] for message in history] == ["user", "assistant", "user"]
        assert [block["type"] for block in history[2]["content"]] == ["tool_result"] * 3
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model="demo-gpt", messages=[*TALK, *results])
        assert refused.value.param == "messages[1]"


async def test_anthropic_sdk_on_openai() -> None:
    tools: Any = [{"name": "get_weather", "input_schema": WEATHER}, {"name": "now", "input_schema": WEATHER}]
    answer_of = answering(OPENAI)
    async with (
        Vendor(OPENAI, answer=answer_of) as vendor,
        running_plane(catalog_of(vendor)) as plane,
        anthropic_client(plane) as client,
    ):
        async with client.messages.stream(model="demo-gpt", max_tokens=99, messages=TALK, tools=tools) as stream:
            final = await stream.get_final_message()
        assert final.stop_reason == "tool_use"
        assert [(b.id, b.name, b.input) for b in final.content if b.type == "tool_use"] == [
            ("call_A", "get_weather", {"location": "Tokyo"}),
            ("call_B", "now", {}),
            ("call_C", "get_weather", {"location": "Oslo"}),
        ]
        assert (final.usage.input_tokens, final.usage.output_tokens) == (67, 31)
        assert vendor.calls[0].json["stream_options"] == {"include_usage": True}
        vendor.answer = None
        results: Any = [{"type": "tool_result", "tool_use_id": b.id, "content": "ok"}
                        for b in final.content if b.type == "tool_use"]  # fmt: skip
        said: Any = {"role": "assistant", "content": [block.to_dict() for block in final.content]}
        whole = await client.messages.create(
            model="demo-gpt", max_tokens=99, tools=tools,
            messages=[*TALK, said, {"role": "user", "content": results}],
        )  # fmt: skip
        assert getattr(whole.content[0], "text", None) == "hello"
        assert [message["role"] for message in vendor.calls[-1].json["messages"]] == [
            "user", "assistant", "tool", "tool", "tool",
        ]  # fmt: skip
        with pytest.raises(anthropic.BadRequestError, match=r"messages\[1\]"):
            await client.messages.create(
                model="demo-gpt", max_tokens=9, messages=[*TALK, {"role": "user", "content": results}]
            )


@EACH_WAY
async def test_an_sdk_raises_on_a_cut_stream(shape: WireShape, host: WireShape) -> None:
    halting = Halting(host, b": nothing more\n\n")
    async with Vendor(host, answer=halting) as vendor, running_plane(catalog_of(vendor)) as plane:
        if shape is OPENAI:
            async with openai_client(plane) as client:
                chunks = await client.chat.completions.create(model="demo-gpt", messages=TALK, stream=True)
                halting.go_on.set()
                with pytest.raises(openai.APIError, match="without its last event"):
                    [chunk async for chunk in chunks]
        elif shape is RESPONSES:
            async with openai_client(plane) as client:
                told = await client.responses.create(model="demo-gpt", input="hi", stream=True)
                halting.go_on.set()
                with pytest.raises(openai.APIError, match="without its last event"):
                    [event async for event in told]
        else:
            async with anthropic_client(plane) as other:
                events = await other.messages.create(model="demo-gpt", messages=TALK, max_tokens=9, stream=True)
                halting.go_on.set()
                with pytest.raises(anthropic.APIError, match="without its last event"):
                    [event async for event in events]

"""Keep-alives of a stream whose host is silent: when they leave, what stays possible after one, where none may be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import anthropic
import openai
import pytest
from aiohttp import HttpVersion11, web

from relay_contract.errors import InternalFault
from relay_contract.nouns import WireShape
from relay_contract.traffic import ErrorSource, FailureClass
from relay_contract.usage import UsageSource
from relay_edge.call_record import CallRecord
from relay_edge.deadlines import DeadlineWheel
from relay_edge.inference import answered
from relay_edge.pings import LOOKS, Pings
from relay_edge.protocols import SURFACES
from relay_edge.protocols.sse import EventReader
from relay_edge.reply import SENT_AND_CLOSE
from relay_edge.streaming import CallerStream
from relay_edge.upstream import Head
from tests.edge.conftest import until
from tests.edge.fault_vendor import Fault, cut_whole, error_body, failing, fault_vendor, healthy, reset, status
from tests.edge.plane import AUTHORIZED, Answer, Caller, Plane, catalog_of, running_plane
from tests.edge.test_inference import error_of
from tests.edge.test_sdks import TALK, anthropic_client, openai_client
from tests.edge.vendor import CALLERS, PATHS, STREAMS, Vendor, VendorCall, Wire

OPENAI, RESPONSES, ANTHROPIC = CALLERS
PING_SECONDS = 0.05
"""The wheel turns ten times a second, so three looks take 0.3 s."""

PINGS = {
    OPENAI: b": ping\n\n",
    RESPONSES: b": ping\n\n",
    ANTHROPIC: b'event: ping\ndata: {"type":"ping"}\n\n',
}
CALLS: dict[WireShape, dict[str, Any]] = {
    OPENAI: {"model": "demo-gpt", "messages": TALK, "stream": True, "stream_options": {"include_usage": True}},
    RESPONSES: {"model": "demo-gpt", "input": "hi", "stream": True},
    ANTHROPIC: {"model": "demo-gpt", "messages": TALK, "max_tokens": 9, "stream": True},
}
SSE_HEAD = ("content-type: text/event-stream", "transfer-encoding: chunked")
EACH_CALLER = pytest.mark.parametrize("shape", CALLERS)


async def ask(plane: Plane, shape: WireShape) -> Caller:
    """A streamed call, under way."""
    caller = await plane.caller()
    await caller.post(CALLS[shape], AUTHORIZED, path=PATHS[shape])
    return caller


async def piece(caller: Caller) -> bytes:
    """The next chunk."""
    async with asyncio.timeout(10):
        size = int(await caller.reader.readuntil(b"\r\n"), 16)
        return (await caller.reader.readexactly(size + 2))[:-2]


async def pinged_head(caller: Caller, shape: WireShape) -> dict[str, str]:
    """The headers of a head that a ping sent, with the ping read."""
    async with asyncio.timeout(10):
        number, headers = await caller.head()
    assert (number, await piece(caller)) == (200, PINGS[shape])
    return headers


async def rest(plane: Plane, caller: Caller, shape: WireShape, headers: dict[str, str]) -> Answer:
    """What comes from now on, without pings. `is_whole` False: the edge has closed the connection."""
    async with asyncio.timeout(10):
        body, is_whole = await caller.chunks()
    await until(lambda: plane.served, "the call to end")
    await caller.close()
    return Answer(200, headers, body.replace(PINGS[shape], b""), is_whole, closes=False)


@asynccontextmanager
async def pinging(*vendors: Vendor, keys: int = 1) -> AsyncIterator[Plane]:
    """A plane over these, that pings soon."""
    async with running_plane(catalog_of(*vendors, keys=keys), ping_seconds=PING_SECONDS) as plane:
        yield plane


def waiting(go_on: asyncio.Event, then: Fault) -> Fault:
    """Silent until then."""

    async def answer(said: Any, shape: WireShape, call: VendorCall, wire: Wire) -> None:
        await go_on.wait()
        await then(said, shape, call, wire)

    return answer


# --- when ---


@EACH_CALLER
@pytest.mark.parametrize("host", CALLERS)
async def test_a_silent_host_is_covered_before_its_head_and_after_its_content(
    shape: WireShape, host: WireShape
) -> None:
    begin, go_on = asyncio.Event(), asyncio.Event()

    async def answer(_call: VendorCall, wire: Wire) -> None:
        await begin.wait()
        await wire.head(200, *SSE_HEAD)
        await wire.chunk(STREAMS[host][0])
        await go_on.wait()
        for each in STREAMS[host][1:]:
            await wire.chunk(each)
        await wire.send(b"0\r\n\r\n")

    async with Vendor(host, answer=answer) as vendor, pinging(vendor) as plane:
        caller = await ask(plane, shape)
        headers = await pinged_head(caller, shape)
        assert set(headers) == {
            "date", "content-type", "cache-control", "x-accel-buffering", "x-request-id", "transfer-encoding",
        }  # fmt: skip
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        begin.set()
        while (content := await piece(caller)) == PINGS[shape]:
            pass
        assert b"hel" in content
        assert await piece(caller) == PINGS[shape]
        go_on.set()
        answered = await rest(plane, caller, shape, headers)
        assert answered.is_whole
        if shape is host:
            assert content + answered.body == b"".join(STREAMS[shape])
        record = plane.served[0]
        assert (record.status, record.error, record.tries, record.host) == (200, "", 1, "vendor-1")
        assert (record.delivered_characters, record.finish) == (5, "end")
        assert record.bytes_out == len(content + answered.body)
        first_byte = record.attempts[0].first_byte
        assert first_byte is not None
        assert record.first_token is not None
        assert record.first_token >= first_byte  # a ping was none
        await until(lambda: len(plane.wheel) == plane.pool.counts()[0] + plane.pool.counts()[1], "an empty wheel")


@EACH_CALLER
async def test_a_ping_never_stands_inside_an_event(shape: WireShape) -> None:
    stream = b"".join(STREAMS[shape])
    middle = len(STREAMS[shape][0]) + 20
    go_on = asyncio.Event()

    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, *SSE_HEAD)
        await wire.chunk(stream[:middle])
        await go_on.wait()
        await wire.chunk(stream[middle:])
        await wire.send(b"0\r\n\r\n")

    async with Vendor(shape, answer=answer) as vendor, pinging(vendor) as plane:
        caller = await ask(plane, shape)
        async with asyncio.timeout(10):
            headers = (await caller.head())[1]
        assert headers["x-relay-host"] == "vendor-1"  # a host that speaks in time has its own head
        assert await piece(caller) == STREAMS[shape][0]
        assert await piece(caller) == PINGS[shape]
        go_on.set()
        answered = await rest(plane, caller, shape, headers)
        assert answered.body == stream[len(STREAMS[shape][0]) :]
        assert answered.is_whole


async def test_only_streams_are_pinged_and_none_where_it_is_off() -> None:
    go_on = asyncio.Event()
    whole = {name: value for name, value in CALLS[OPENAI].items() if not name.startswith("stream")}
    for seconds, document in ((PING_SECONDS, whole), (0.0, CALLS[OPENAI])):
        go_on.clear()
        async with (
            fault_vendor(OPENAI, waiting(go_on, healthy)) as vendor,
            running_plane(catalog_of(vendor), ping_seconds=seconds) as plane,
        ):
            caller = await plane.caller()
            await caller.post(document, AUTHORIZED)
            await until(lambda vendor=vendor: vendor.calls, "the call")
            quiet_until = plane.wheel.now + 0.6
            await until(lambda plane=plane, end=quiet_until: plane.wheel.now > end, "time for a ping")
            go_on.set()
            answer = await caller.answer()
            assert answer.headers["x-relay-attempts"] == "1"
            assert b": ping" not in answer.body


# --- what stays possible ---


@EACH_CALLER
@pytest.mark.parametrize("host", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (status(503), FailureClass.OVERLOADED),
        (status(401), FailureClass.AUTH),
        (reset, FailureClass.NETWORK),
        (cut_whole, FailureClass.SERVER),
        (failing("greeting"), FailureClass.OVERLOADED),
    ],
    ids=["503", "401", "reset", "a document", "an error event"],
)
async def test_another_host_answers_after_a_ping(
    shape: WireShape, host: WireShape, fault: Fault, failure: FailureClass
) -> None:
    go_on = asyncio.Event()
    async with (
        fault_vendor(host, waiting(go_on, fault)) as troubled,
        fault_vendor(host, keys=("sk-vendor-2",)) as spare,
        pinging(troubled, spare) as plane,
    ):
        caller = await ask(plane, shape)
        headers = await pinged_head(caller, shape)
        go_on.set()
        answer = await rest(plane, caller, shape, headers)
        assert answer.is_whole
        assert all(word in answer.body for word in (b"one ", b"two ", b"three"))
        assert b"sk-vendor" not in answer.body
        record = plane.served[0]
        assert (record.status, record.error, record.usage_source) == (200, "", UsageSource.PROVIDER)
        assert [attempt.failure for attempt in record.attempts][-1] is None
        assert record.attempts[0].failure is failure
        assert record.host == "vendor-2"


async def test_a_document_where_a_stream_was_pinged_is_no_answer() -> None:
    """In the caller's own shape; a translated one is told as a stream."""
    go_on = asyncio.Event()

    async def document(said: Any, _shape: WireShape, _call: VendorCall, wire: Wire) -> None:
        await wire.answer(said.whole)

    async with fault_vendor(OPENAI, waiting(go_on, document)) as vendor, pinging(vendor) as plane:
        for shape, is_whole in ((OPENAI, False), (ANTHROPIC, True)):
            go_on.clear()
            plane.served.clear()
            caller = await ask(plane, shape)
            headers = await pinged_head(caller, shape)
            go_on.set()
            answer = await rest(plane, caller, shape, headers)
            assert answer.is_whole is is_whole
            assert answer.body.endswith(b'{"type":"message_stop"}\n\n') is is_whole
            assert plane.served[0].status == (200 if is_whole else 502)


# --- an error after a ping ---


def error_in(shape: WireShape, answer: Answer) -> tuple[str, str]:
    """Type and message of the one event there is."""
    assert not answer.is_whole
    reader = EventReader()
    (found,) = [*reader.feed(answer.body), *reader.end()]
    assert found.name == ("" if shape is OPENAI else "error")
    return error_of(shape, json.loads(found.data))


def pretty(shape: WireShape) -> bytes:
    document = json.loads(error_body(shape, "invalid_request_error", "temperature\nis too hot"))
    return json.dumps(document, indent=2).replace("\n", "\r\n").encode()


@EACH_CALLER
@pytest.mark.parametrize("host", [OPENAI, ANTHROPIC, RESPONSES])
async def test_a_refusal_after_a_ping_is_an_event(shape: WireShape, host: WireShape) -> None:
    go_on = asyncio.Event()

    async def refusing(_call: VendorCall, wire: Wire) -> None:
        await go_on.wait()
        await wire.answer(pretty(host), 400)

    async with Vendor(host, answer=refusing) as vendor, pinging(vendor) as plane:
        caller = await ask(plane, shape)
        headers = await pinged_head(caller, shape)
        go_on.set()
        answer = await rest(plane, caller, shape, headers)
        assert error_in(shape, answer) == ("invalid_request_error", "temperature\nis too hot")
        record = plane.served[0]
        assert (record.status, record.error, record.error_source) == (400, "caller", ErrorSource.CLIENT)
        assert record.usage_source is UsageSource.NONE


@EACH_CALLER
@pytest.mark.parametrize("body", [b"<h1>no\n\ndata: {}</h1>", b'{"error": "no"}', b"[" * 9_000, b"\xff"])
async def test_what_is_no_error_of_the_shape_is_not_quoted(shape: WireShape, body: bytes) -> None:
    go_on = asyncio.Event()

    async def refusing(_call: VendorCall, wire: Wire) -> None:
        await go_on.wait()
        await wire.answer(body, 418)

    async with Vendor(shape, answer=refusing) as vendor, pinging(vendor) as plane:
        caller = await ask(plane, shape)
        headers = await pinged_head(caller, shape)
        go_on.set()
        _, message = error_in(shape, await rest(plane, caller, shape, headers))
        assert message.startswith("The host of this model answered with status 418")
        assert plane.served[0].status == 418


@EACH_CALLER
@pytest.mark.parametrize(("fault", "number"), [(reset, 502), (status(401), 503)], ids=["reset", "401"])
async def test_when_every_host_has_failed_the_error_is_an_event(shape: WireShape, fault: Fault, number: int) -> None:
    go_on = asyncio.Event()
    async with (
        fault_vendor(OPENAI, waiting(go_on, fault)) as first,
        fault_vendor(ANTHROPIC, fault, keys=("sk-vendor-2",)) as second,
        pinging(first, second) as plane,
    ):
        caller = await ask(plane, shape)
        headers = await pinged_head(caller, shape)
        go_on.set()
        _, message = error_in(shape, await rest(plane, caller, shape, headers))
        assert f"Attempts made: {plane.served[0].tries}." in message
        assert plane.served[0].status == number
        assert plane.served[0].tries >= 2


async def test_a_fault_of_ours_after_a_ping_is_an_event_too() -> None:
    async def broken() -> None:
        raise ValueError("sk-vendor-1")

    socket = _Socket()
    stream, record = stream_to(socket, OPENAI), CallRecord("r-1", "chat_completions", 0.0, 0.0)
    with pytest.raises(ValueError, match="sk-vendor"):  # nothing is out: the handler answers with a status
        await answered(broken(), stream, record)
    assert stream.ping(b"")
    assert await answered(broken(), stream, record) is SENT_AND_CLOSE
    assert (record.status, record.error) == (500, InternalFault().code)
    assert b"data: {" in socket.written[-1]
    assert b"sk-vendor" not in b"".join(socket.written)


# --- where none may be ---


class _Socket:
    """The caller's connection, as far as a stream of ours needs it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.writing_paused = self.has_next = self.is_draining = False
        self.keep_alive, self.version, self.method = True, HttpVersion11, "POST"
        self.transport = self.protocol = self

    def __len__(self) -> int:
        """As a request of which nothing was noted."""
        return 0

    def __bool__(self) -> bool:
        return True

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return False


def stream_to(socket: _Socket, shape: WireShape) -> CallerStream:
    return CallerStream(cast("web.BaseRequest", socket), SURFACES[shape], "r-1")


def head_of(content_type: bytes) -> Head:
    return Head(200, [(b"content-type", content_type)], None, False)


def test_a_caller_who_reads_slowly_is_not_pinged() -> None:
    socket = _Socket()
    stream = stream_to(socket, ANTHROPIC)
    socket.writing_paused = True
    assert not stream.ping(b"")
    assert socket.written == []
    socket.writing_paused = False
    assert stream.ping(b"")
    assert len(socket.written) == 1


def test_half_an_event_and_a_document_are_not_pinged() -> None:
    socket = _Socket()
    stream = stream_to(socket, OPENAI)
    assert stream.begin(head_of(b"text/event-stream"), b"")
    stream.write(b"data: {", False)
    assert not stream.ping(b"")
    stream.write(b"}\n\n", False)
    assert stream.ping(b"")
    assert not stream.is_whole
    stream.write(b"data: [DONE]\n\n", True)
    assert not stream.ping(b"")
    document = stream_to(socket, OPENAI)
    assert document.begin(head_of(b"application/json"), b"")
    assert not document.ping(b"")
    document.on_start(cast("Any", None))  # the next try
    assert document.ping(b"")
    assert not document.begin(head_of(b"application/json"), b"")
    assert document.begin(head_of(b"text/event-stream"), b"")
    assert not document.has_started


def test_a_stream_is_pinged_after_so_many_quiet_looks_and_costs_one_place() -> None:
    clock = SimpleNamespace(now=0.0, timed=[])
    wheel = cast("DeadlineWheel", clock)
    clock.add, clock.discard = clock.timed.append, clock.timed.remove
    socket = _Socket()
    stream = stream_to(socket, OPENAI)
    Pings(wheel, 0).keep_alive(stream, b"")
    assert clock.timed == []
    Pings(wheel, 15).keep_alive(stream, b"x-limit: 1\r\n")
    (quiet,) = clock.timed

    def look() -> int:
        clock.now = quiet.deadline
        quiet.on_deadline()
        return len(socket.written)

    assert [look() for _ in range(LOOKS)] == [0] * (LOOKS - 1) + [1]
    assert clock.now == 15
    assert b"\r\nx-limit: 1\r\n" in socket.written[0]
    assert stream.begin(head_of(b"text/event-stream"), b"")
    look()
    stream.write(b"data: {}\n\n", False)
    assert [look() for _ in range(LOOKS + 1)] == [2] * LOOKS + [3]
    stream.close()
    assert clock.timed == []


# --- the vendors' SDKs ---


async def patient(plane: Plane, host: WireShape, wire: Wire, *pieces: bytes) -> None:
    """An answer with a pause before each piece that is long enough for a ping."""
    for place, each in enumerate(pieces):
        passed = plane.wheel.now + 0.5
        await until(lambda passed=passed: plane.wheel.now > passed, "time for a ping")
        if place == 0:
            await wire.head(200, *SSE_HEAD)
        await wire.chunk(each)
    await wire.send(b"0\r\n\r\n")


@EACH_CALLER
async def test_the_sdks_read_past_pings(shape: WireShape) -> None:
    async def answer(_call: VendorCall, wire: Wire) -> None:
        first, *others = STREAMS[shape]
        await patient(plane, shape, wire, first, b"".join(others))

    async with Vendor(shape, answer=answer) as vendor, pinging(vendor) as plane:
        if shape is OPENAI:
            async with openai_client(plane) as client:
                chat = await client.chat.completions.with_raw_response.create(
                    model="demo-gpt", messages=TALK, stream=True
                )
                headers = chat.headers
                text = "".join([chunk.choices[0].delta.content or "" async for chunk in chat.parse()])
        elif shape is RESPONSES:
            async with openai_client(plane) as client:
                told = await client.responses.with_raw_response.create(model="demo-gpt", input="hi", stream=True)
                headers = told.headers
                text = "".join([
                    event.delta async for event in told.parse() if event.type == "response.output_text.delta"
                ])  # fmt: skip
        else:
            async with (
                anthropic_client(plane) as other,
                other.messages.stream(model="demo-gpt", messages=TALK, max_tokens=9) as stream,
            ):
                headers = stream.response.headers
                text = await stream.get_final_text()
        assert text == "hello"
        assert "x-relay-host" not in headers  # the head was a ping's


@EACH_CALLER
async def test_the_sdks_raise_on_an_error_after_a_ping(shape: WireShape) -> None:
    async def answer(_call: VendorCall, wire: Wire) -> None:
        passed = plane.wheel.now + 0.5
        await until(lambda: plane.wheel.now > passed, "time for a ping")
        await wire.answer(pretty(shape), 400)

    async with Vendor(shape, answer=answer) as vendor, pinging(vendor) as plane:
        if shape is ANTHROPIC:
            async with anthropic_client(plane) as other:
                events = await other.messages.create(model="demo-gpt", messages=TALK, max_tokens=9, stream=True)
                with pytest.raises(anthropic.APIError, match="too hot"):
                    [event async for event in events]
            return
        async with openai_client(plane) as client:
            told: Any = (
                await client.chat.completions.create(model="demo-gpt", messages=TALK, stream=True)
                if shape is OPENAI
                else await client.responses.create(model="demo-gpt", input="hi", stream=True)
            )
            with pytest.raises(openai.APIError, match="too hot"):
                [event async for event in told]


@EACH_CALLER
async def test_an_ignored_idempotency_key_puts_nothing_into_a_stream_that_a_ping_opened(
    shape: WireShape, redis_url: str
) -> None:
    go_on = asyncio.Event()
    async with (
        fault_vendor(OPENAI, waiting(go_on, healthy)) as vendor,
        running_plane(catalog_of(vendor), ping_seconds=PING_SECONDS, redis_url=redis_url) as plane,
    ):
        caller = await plane.caller()
        await caller.post(CALLS[shape], AUTHORIZED, "idempotency-key: one", path=PATHS[shape])
        headers = await pinged_head(caller, shape)
        go_on.set()
        answered = await rest(plane, caller, shape, headers)
        assert answered.is_whole
        assert b"x-relay-" not in answered.body

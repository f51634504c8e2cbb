"""Stream targets over real sockets: what passes, when, and what is written down however a call ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import standardwebhooks
from aiohttp import web

from relay_contract import nouns
from relay_contract.intake import STREAM_SHARD
from relay_contract.nouns import Noun, TargetAuth
from relay_contract.traffic import RequestEndRow
from relay_edge.addresses import by_path
from relay_edge.admission import Admission
from relay_edge.auth import Authenticator
from relay_edge.catalog.holder import Catalog
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.client_ip import ClientIps
from relay_edge.deadlines import DeadlineWheel
from relay_edge.door import Door
from relay_edge.endpoints import Endpoints
from relay_edge.fan_out import plan
from relay_edge.intake import Accepted
from relay_edge.metrics import Metrics
from relay_edge.pings import Pings
from relay_edge.prepared import PreparedEndpoints
from relay_edge.relay_call import RelayCall
from relay_edge.relay_callers import RelayCallers
from relay_edge.resolve import Resolver
from relay_edge.shield import Shield
from relay_edge.stream_call import StreamCalls
from relay_edge.target_requests import TargetRequests
from relay_edge.target_tokens import target_tokens
from relay_edge.upstream_pool import UpstreamPool
from tests.edge.conftest import default_tls, until
from tests.edge.nouns import ENDPOINT, LINE, POLICY, PROJECT, RELAY_KEY
from tests.edge.plane import AUTHORIZED, LOOPBACK, SEALER, Answer, Caller
from tests.edge.target import SECRET, SSE, StreamTarget
from tests.edge.vendor import VendorCall, Wire

PATH = "/r/demo/v1/events"
BASE: tuple[Noun, ...] = (POLICY, PROJECT, LINE, ENDPOINT, RELAY_KEY)


@dataclass
class Relay:
    """A running pipeline with the responder of streams."""

    port: int
    catalog: Catalog
    committed: list[Accepted]
    ends: list[RequestEndRow]
    is_closing: bool = False

    async def commit(self, accepted: Accepted, /) -> bool:
        self.committed.append(accepted)
        return True

    async def caller(self) -> Caller:
        return Caller(*await asyncio.open_connection("127.0.0.1", self.port))

    async def post(self, body: bytes = b"{}", *lines: str, path: str = PATH, version: str = "1.1") -> Answer:
        caller = await self.caller()
        await caller.post(body, AUTHORIZED, *lines, path=path, version=version)
        answer = await caller.answer()
        await caller.close()
        return answer

    async def end(self) -> RequestEndRow:
        """What was written down of the one call."""
        await until(lambda: self.ends, "the call to be written down")
        [end] = self.ends
        return end


class EveryMethod(Shield):
    """An endpoint that takes all of them."""

    def before_body(self, call: RelayCall) -> None:
        call.prepared = replace(call.prepared, methods=frozenset({call.request.method}))
        super().before_body(call)


@asynccontextmanager
async def running_relay(redis_url: str, *rows: Noun, allowed: Any = LOOPBACK) -> AsyncIterator[Relay]:
    """At its end nothing may be left in flight."""
    loop = asyncio.get_running_loop()
    wheel, metrics, catalog = DeadlineWheel(loop), Metrics(), Catalog(SEALER)
    catalog.swap(Snapshot.build([*BASE, *rows]))
    pool = UpstreamPool(loop, wheel, Resolver(allowed), default_tls())
    admission = Admission(redis_url, wheel, metrics)
    await admission.start()
    relay = Relay(0, catalog, [], [])
    tokens = target_tokens(pool)
    streams = StreamCalls(TargetRequests(pool, SEALER), tokens, Pings(wheel), relay.ends.append)
    endpoints = Endpoints(
        catalog, admission, relay, metrics,
        callers=RelayCallers(Authenticator()), shield=EveryMethod(), plan=plan, client_ips=ClientIps(()),
        prepared=PreparedEndpoints(), responders={"stream": streams},
    )  # fmt: skip

    async def dispatch(request: web.BaseRequest) -> web.StreamResponse:
        return await endpoints.handle(request, by_path(request.raw_path.partition("?")[0]))

    door = Door(dispatch, metrics.surfaces["other"])
    listening = await loop.create_server(door, "127.0.0.1", 0)
    relay.port = listening.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        listening.close()
        await door.drain(0.1)
        await admission.close()
        await tokens.close()
        await pool.close()
        wheel.close()
    assert admission.in_flight == 0
    assert metrics.surfaces["relay"].in_flight.value == 0


async def read_chunk(caller: Caller) -> bytes:
    """One chunk, as it was framed; b"" at the end."""
    async with asyncio.timeout(20):
        size = int(await caller.reader.readuntil(b"\r\n"), 16)
        body = await caller.reader.readexactly(size)
        assert await caller.reader.readexactly(2) == b"\r\n"
        return body


async def test_events_pass_one_by_one_and_are_written_down(redis_url: str) -> None:
    read = asyncio.Semaphore(0)

    async def answer(_: VendorCall, wire: Wire) -> None:
        await wire.head(200, *SSE, "x-limit: 7", "set-cookie: a=b", "x-relay-target: forged")
        for number in range(3):
            await wire.chunk(b"data: %d\n\n" % number)
            await read.acquire()  # the next one leaves only once the caller has this one
        await wire.send(b"0\r\n\r\n")

    async with StreamTarget(answer=answer) as target, running_relay(redis_url, *target.rows()) as relay:
        caller = await relay.caller()
        sent = ("Content-Type: application/json", "Accept: text/event-stream", "X-Event: a", "relay-hops: 1")
        await caller.post(b'{"a":1}', AUTHORIZED, *sent, path=f"{PATH}?x=1&y=%20")
        status, headers = await caller.head()
        assert (status, headers["x-limit"], headers["x-relay-target"]) == (200, "7", "first")
        assert "set-cookie" not in headers
        for number in range(3):
            assert await read_chunk(caller) == b"data: %d\n\n" % number
            read.release()
        assert await read_chunk(caller) == b""
        await caller.close()
        end = await relay.end()
        [accepted], [call] = relay.committed, target.calls
    [delivery] = accepted.deliveries
    assert (delivery.mode, delivery.shard, delivery.state) == ("stream", STREAM_SHARD, "sending")
    assert headers["x-request-id"] == str(accepted.request.id)
    assert (call.method, call.path, call.body) == ("POST", "/stream?x=1&y=%20", b'{"a":1}')
    assert (call.header("accept"), call.header("x-event"), call.header("relay-hops")) == ("text/event-stream", "a", "2")
    assert call.header("relay-delivery-id") == str(delivery.id)
    assert call.header("content-type") == "application/json"
    standardwebhooks.Webhook(SECRET).verify(call.body, dict(call.headers))
    assert (end.id, end.delivery_id, end.status, end.target_status) == (accepted.request.id, delivery.id, 200, 200)
    assert (end.close_reason, end.error, end.bytes_out, end.heartbeats) == ("complete", "", 27, 0)
    assert end.first_byte_us is not None
    assert 0 < end.first_byte_us <= end.total_us


async def test_proxies_are_told_once_not_to_gather(redis_url: str) -> None:
    async def answer(_: VendorCall, wire: Wire) -> None:
        await wire.head(200, *SSE, "X-Accel-Buffering: no")
        await wire.send(b"0\r\n\r\n")

    async with StreamTarget(answer=answer) as target, running_relay(redis_url, *target.rows()) as relay:
        caller = await relay.caller()
        await caller.post(b"{}", AUTHORIZED, path=PATH)
        head = await caller.reader.readuntil(b"\r\n\r\n")
        await caller.close()
    assert head.lower().count(b"x-accel-buffering: no") == 1


@pytest.mark.parametrize(
    ("status", "reason"), [(200, "complete"), (204, "complete"), (302, "complete"), (404, "refused"), (503, "refused")]
)
async def test_whole_answers_of_any_status_pass_as_they_are(redis_url: str, status: int, reason: str) -> None:
    body = bytes(range(256))

    async def answer(_: VendorCall, wire: Wire) -> None:
        if status == 204:
            await wire.head(204)
        else:
            await wire.answer(body, status, "retry-after: 7", "location: /elsewhere")

    async with StreamTarget(answer=answer) as target, running_relay(redis_url, *target.rows()) as relay:
        got = await relay.post()
        end = await relay.end()
    assert (got.status, got.body, got.is_whole) == (status, b"" if status == 204 else body, True)
    assert (end.status, end.target_status, end.close_reason, end.error) == (status, status, reason, "")
    assert end.bytes_out == len(got.body)


async def test_head_calls_have_no_body(redis_url: str) -> None:
    async def answer(call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-length: 5", "etag: x")
        if call.method != "HEAD":
            await wire.send(b"hello")

    async with StreamTarget(answer=answer) as target, running_relay(redis_url, *target.rows()) as relay:
        caller = await relay.caller()
        await caller.send(f"HEAD {PATH} HTTP/1.1\r\nHost: relay\r\n{AUTHORIZED}\r\n\r\n".encode())
        got = await caller.answer("HEAD")
        end = await relay.end()
        await caller.close()
    assert (got.status, got.headers["content-length"], got.headers["etag"]) == (200, "5", "x")
    assert (target.calls[0].method, end.bytes_out, end.close_reason) == ("HEAD", 0, "complete")


async def test_a_caller_of_http_1_0_is_served_to_the_connection_s_end(redis_url: str) -> None:
    async def answer(_: VendorCall, wire: Wire) -> None:
        await wire.head(200, *SSE)
        await wire.chunk(b"data: 1\n\n")
        await wire.send(b"0\r\n\r\n")

    async with StreamTarget(answer=answer) as target, running_relay(redis_url, *target.rows()) as relay:
        got = await relay.post(version="1.0")
    assert (got.status, got.body, got.closes) == (200, b"data: 1\n\n", True)


async def test_a_caller_who_leaves_ends_the_target_s_call_at_once(redis_url: str) -> None:
    closed = asyncio.Event()

    async def answer(_: VendorCall, wire: Wire) -> None:
        await wire.head(200, *SSE)
        await wire.chunk(b"data: 12345\n\n")
        assert await wire.closed_by_edge()
        closed.set()

    async with StreamTarget(answer=answer) as target, running_relay(redis_url, *target.rows()) as relay:
        caller = await relay.caller()
        await caller.post(b"{}", AUTHORIZED, path=PATH)
        await caller.head()
        assert await read_chunk(caller) == b"data: 12345\n\n"
        await caller.close()
        async with asyncio.timeout(5):
            await closed.wait()
        end = await relay.end()
    assert (end.close_reason, end.status, end.target_status, end.bytes_out) == ("caller_left", 200, 200, 13)


async def test_a_caller_who_leaves_before_the_head(redis_url: str) -> None:
    called = asyncio.Event()

    async def answer(_: VendorCall, wire: Wire) -> None:
        called.set()
        assert await wire.closed_by_edge(5)

    async with StreamTarget(answer=answer) as target, running_relay(redis_url, *target.rows()) as relay:
        caller = await relay.caller()
        await caller.post(b"{}", AUTHORIZED, path=PATH)
        await called.wait()
        await caller.close()
        end = await relay.end()
    assert (end.close_reason, end.status, end.target_status, end.bytes_out) == ("caller_left", 499, None, 0)


async def test_a_caller_who_reads_slowly_slows_the_target_and_pays_for_what_they_took(redis_url: str) -> None:
    piece, stalled = b"x" * 65_536, asyncio.Event()
    written = 0

    async def answer(_: VendorCall, wire: Wire) -> None:
        nonlocal written
        await wire.head(200, "transfer-encoding: chunked")
        while True:
            try:
                async with asyncio.timeout(1):
                    await wire.chunk(piece)
            except TimeoutError:
                stalled.set()
                assert await wire.closed_by_edge(5)
                return
            written += len(piece)

    async with StreamTarget(answer=answer) as target, running_relay(redis_url, *target.rows()) as relay:
        caller = await relay.caller()
        await caller.post(b"{}", AUTHORIZED, path=PATH)
        await caller.head()
        async with asyncio.timeout(30):
            await stalled.wait()
        caller.writer.transport.abort()
        await caller.close()
        end = await relay.end()
    assert end.close_reason == "caller_left"
    assert 0 < end.bytes_out < written
    assert written < 64 * 1024 * 1024  # the kernel's buffers, and no more than a read beyond the high-water mark


@pytest.mark.parametrize("is_sse", [True, False])
async def test_a_stream_that_the_target_cuts_is_cut_for_the_caller(redis_url: str, is_sse: bool) -> None:
    async def answer(_: VendorCall, wire: Wire) -> None:
        await wire.head(200, SSE[1], *([SSE[0]] if is_sse else []))
        await wire.chunk(b"data: half")
        wire.close()

    async with StreamTarget(answer=answer) as target, running_relay(redis_url, *target.rows()) as relay:
        got = await relay.post()
        end = await relay.end()
    assert (got.status, got.is_whole) == (200, False)
    assert got.body.startswith(b"data: half")
    assert (b"event: error" in got.body, b"target_failed" in got.body) == (is_sse, is_sse)
    assert (end.close_reason, end.error, end.bytes_out) == ("target_cut", "target_failed", 10)


@pytest.mark.parametrize("framing", ["transfer-encoding: chunked", "connection: close"])
async def test_the_byte_cap_is_exact(redis_url: str, framing: str) -> None:
    gone = asyncio.Event()

    async def answer(_: VendorCall, wire: Wire) -> None:
        await wire.head(200, framing)
        send = wire.chunk if "chunked" in framing else wire.send
        await send(b"x" * 900)
        await send(b"y" * 200)
        assert await wire.closed_by_edge(5)
        gone.set()

    async with (
        StreamTarget(answer=answer) as target,
        running_relay(redis_url, *target.rows(stream_max_bytes=1000)) as relay,
    ):
        got = await relay.post()
        end = await relay.end()
        await gone.wait()
    assert (got.body, got.is_whole) == (b"x" * 900 + b"y" * 100, False)
    assert (end.close_reason, end.bytes_out) == ("byte_cap", 1000)


async def test_an_answer_that_is_known_to_be_too_large_is_an_error(redis_url: str) -> None:
    async def answer(_: VendorCall, wire: Wire) -> None:
        await wire.answer(b"x" * 1001)

    async with (
        StreamTarget(answer=answer) as target,
        running_relay(redis_url, *target.rows(stream_max_bytes=1000)) as relay,
    ):
        got = await relay.post()
        end = await relay.end()
    assert (got.status, got.json["error"]) == (502, "target_failed")
    assert (end.status, end.target_status, end.close_reason, end.bytes_out) == (502, 200, "byte_cap", 0)


@pytest.mark.parametrize(
    ("limits", "has_head", "reason", "status"),
    [
        ({"timeout_seconds": 1}, False, "target_timeout", 504),
        ({"stream_idle_seconds": 1}, True, "idle_timeout", 200),
        ({"stream_total_seconds": 1}, True, "total_timeout", 200),
    ],
)
async def test_deadlines(redis_url: str, limits: dict[str, int], has_head: bool, reason: str, status: int) -> None:
    async def answer(_: VendorCall, wire: Wire) -> None:
        if has_head:
            await wire.head(200, *SSE)
            await wire.chunk(b"data: 1\n\n")
        assert await wire.closed_by_edge(10)

    async with StreamTarget(answer=answer) as target, running_relay(redis_url, *target.rows(**limits)) as relay:
        got = await relay.post()
        end = await relay.end()
    assert (got.status, end.status, end.close_reason) == (status, status, reason)
    assert got.is_whole is not has_head
    assert end.error == ("target_failed" if has_head else "upstream_timeout")


async def test_heartbeats_fill_the_quiet_between_events_only(redis_url: str) -> None:
    go_on = asyncio.Event()

    async def answer(_: VendorCall, wire: Wire) -> None:
        await wire.head(200, *SSE)
        await wire.chunk(b"data: 1\n\n")
        await go_on.wait()
        await wire.chunk(b"data: 2\n\n")
        await wire.send(b"0\r\n\r\n")

    async with (
        StreamTarget(answer=answer) as target,
        running_relay(redis_url, *target.rows(heartbeat_seconds=1)) as relay,
    ):
        caller = await relay.caller()
        await caller.post(b"{}", AUTHORIZED, path=PATH)
        await caller.head()
        assert [await read_chunk(caller) for _ in range(2)] == [b"data: 1\n\n", b": keep-alive\n\n"]
        go_on.set()
        assert await read_chunk(caller) == b"data: 2\n\n"
        await caller.close()
        end = await relay.end()
    assert (end.heartbeats, end.bytes_out) == (1, 18)


async def test_a_target_that_is_not_there(redis_url: str) -> None:
    async with StreamTarget() as target:
        rows = target.rows()
    async with running_relay(redis_url, *rows) as relay:
        got = await relay.post()
        end = await relay.end()
    assert (got.status, got.json["error"], end.close_reason, end.target_status) == (
        502, "target_failed", "unreachable", None,
    )  # fmt: skip


async def test_an_address_that_is_not_to_be_called(redis_url: str) -> None:
    async with StreamTarget() as target, running_relay(redis_url, *target.rows(), allowed=()) as relay:
        got = await relay.post()
        end = await relay.end()
        assert target.calls == []
    assert (got.status, end.close_reason) == (502, "address_refused")


@pytest.mark.parametrize("reply", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nx-a: 1\x002\r\ncontent-length: 0\r\n\r\n"])
async def test_what_is_no_http_is_no_answer(redis_url: str, reply: bytes) -> None:
    async def answer(_: VendorCall, wire: Wire) -> None:
        await wire.send(reply)

    async with StreamTarget(answer=answer) as target, running_relay(redis_url, *target.rows()) as relay:
        got = await relay.post()
        end = await relay.end()
    assert (got.status, end.close_reason) == (502, "target_cut")


async def test_the_target_s_own_headers_and_credential_win(redis_url: str) -> None:
    async def answer(call: VendorCall, wire: Wire) -> None:
        await wire.answer((call.header("authorization") or "").encode())

    async with StreamTarget(answer=answer) as target:
        sealed = SEALER.seal("t0ken", nouns.target_auth_binding(nouns.TargetId(1)))
        row, secret = target.rows(
            headers=nouns.Headers({"X-Event": "ours"}), auth_kind=TargetAuth.BEARER, sealed_auth_secret=sealed
        )
        async with running_relay(redis_url, row, secret) as relay:
            assert (await relay.post(b"{}", "X-Event: theirs")).body == b"Bearer t0ken"
            assert target.calls[0].header("x-event") == "ours"
            basic = replace(row, auth_kind=TargetAuth.BASIC, auth_config=nouns.AuthConfig(username="me"))
            relay.catalog.swap(Snapshot.build([*BASE, basic, secret]))
            assert (await relay.post()).body == b"Basic [redacted]**"
            assert target.calls[1].header("authorization") == "Basic bWU6dDBrZW4="


@pytest.mark.parametrize(
    "changes",
    [
        {"auth_kind": TargetAuth.BEARER, "sealed_auth_secret": b"\x01nothing"},
        {"auth_kind": TargetAuth.OAUTH2},
        {"client_certificate": "PEM"},
        {"headers": nouns.Headers({"host": "x"})},
    ],
)
async def test_a_target_that_cannot_be_called_takes_no_calls(redis_url: str, changes: dict[str, Any]) -> None:
    async with StreamTarget() as target, running_relay(redis_url, *target.rows(**changes)) as relay:
        got = await relay.post()
        assert (got.status, got.json["error"]) == (503, "endpoint_misconfigured")
        assert (relay.committed, relay.ends, target.calls) == ([], [], [])


async def test_what_has_an_own_loop_is_told(redis_url: str) -> None:
    async with StreamTarget() as target:
        row, secret = target.rows()
        async with running_relay(redis_url, secret) as relay:
            own = replace(row, url=f"http://127.0.0.1:{relay.port}{PATH}", auth_kind=TargetAuth.BEARER)
            sealed = SEALER.seal(AUTHORIZED.rpartition(" ")[2], nouns.target_auth_binding(own.id))
            relay.catalog.swap(Snapshot.build([*BASE, replace(own, sealed_auth_secret=sealed), secret]))
            got = await relay.post()
            await until(lambda: len(relay.ends) == 4, "every round to end")
    assert (got.status, got.json["error"]) == (508, "relay_loop")
    assert {(end.status, end.close_reason) for end in relay.ends} == {(508, "refused")}


async def test_a_stream_that_the_relay_s_end_cuts_says_so(redis_url: str) -> None:
    async def answer(_: VendorCall, wire: Wire) -> None:
        await wire.head(200, *SSE)
        await wire.chunk(b"data: 1\n\n")
        assert await wire.closed_by_edge(10)

    async with StreamTarget(answer=answer) as target:
        async with running_relay(redis_url, *target.rows()) as relay:
            caller = await relay.caller()
            await caller.post(b"{}", AUTHORIZED, path=PATH)
            await caller.head()
            assert await read_chunk(caller) == b"data: 1\n\n"
        [end] = relay.ends
        await caller.close()
    assert (end.close_reason, end.bytes_out) == ("shutdown", 9)

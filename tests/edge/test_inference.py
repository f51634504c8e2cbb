"""Calls to models, from a caller's socket to a vendor's: what passes, what is changed, what is refused, what breaks."""

from __future__ import annotations

import asyncio
import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from relay_contract import nouns
from relay_contract.nouns import WireShape
from tests.edge.conftest import until
from tests.edge.nouns import BINDING, MODEL, POLICY, PROJECT, RELAY_KEY, TOKEN
from tests.edge.plane import AUTHORIZED, MAX_BODY_BYTES, Plane, catalog_of, host_key, running_plane
from tests.edge.vendor import ANSWERS, CALLERS, CHAT, PATHS, STREAMS, Vendor, VendorCall, Wire

OPENAI, RESPONSES, ANTHROPIC = CALLERS
CALL = {"messages": [{"role": "user", "content": "hi"}], "model": "demo-gpt"}
STREAM_CALL = CALL | {"stream": True}
SHAPES = pytest.mark.parametrize("shape", CALLERS)


def error_of(shape: WireShape, document: Any) -> tuple[str, str]:
    """Type and message of an error, after checking that it has the vendor's form and nothing else."""
    if shape is ANTHROPIC:
        assert set(document) == {"type", "error", "request_id"}
        assert document["type"] == "error"
        assert set(document["error"]) == {"type", "message"}
    else:
        if document.get("type") == "error":  # the event of a stream of Responses says it twice
            assert shape is RESPONSES
            assert document == {"sequence_number": 0, **document["error"], "type": "error", "error": document["error"]}
            document = {"error": document["error"]}
        assert set(document) == {"error"}
        assert set(document["error"]) == {"message", "type", "param", "code"}
    return document["error"]["type"], document["error"]["message"]


# --- what passes ---


@SHAPES
async def test_a_call_passes_with_only_the_model_changed(shape: WireShape) -> None:
    body = b'{"messages":[{"role":"user","content":"h\\u00e9 \xc3\xa9"}], "model" :\t"demo-gpt" ,"odd":1.0,"x":{"b":1}}'
    async with Vendor(shape) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(body, "X-Request-Id: mine-1", "Cookie: a=b", "Connection: x-secret", "X-Secret: s",
                                  path=PATHS[shape])  # fmt: skip
        assert answer.status == 200
        assert answer.body == json.dumps(ANSWERS[shape]).encode()
        assert vendor.calls[0].body == body.replace(b'"demo-gpt"', b'"gpt-x"')
        assert answer.headers["x-request-id"] == "mine-1"
        assert answer.headers["x-relay-model"] == "demo-gpt"
        assert answer.headers["x-relay-host"] == "vendor-1"
        assert answer.headers["x-relay-attempts"] == "1"
        assert [(s.status, s.tries, s.host, s.error) for s in plane.served] == [(200, 1, "vendor-1", "")]


@SHAPES
@pytest.mark.parametrize("prefix", ["", "own"])
async def test_a_stream_passes_event_by_event(shape: WireShape, prefix: str) -> None:
    go_on = asyncio.Event()

    async def one_by_one(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
        for event in STREAMS[shape]:
            await wire.chunk(event)
            await go_on.wait()
            go_on.clear()
        await wire.send(b"0\r\nx-trailer: secret\r\n\r\n")

    own = {OPENAI: "/openai", RESPONSES: "/openai", ANTHROPIC: "/anthropic"}[shape] if prefix else ""
    async with Vendor(shape, answer=one_by_one) as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        await caller.post(STREAM_CALL, AUTHORIZED, path=own + PATHS[shape])
        status, headers = await caller.head()
        assert (status, headers["transfer-encoding"]) == (200, "chunked")
        assert headers["x-accel-buffering"] == "no"
        for event in STREAMS[shape]:  # each arrives before the vendor sends the next
            chunk = b"%x\r\n%b\r\n" % (len(event), event)
            assert await caller.reader.readexactly(len(chunk)) == chunk
            go_on.set()
        assert await caller.reader.readexactly(5) == b"0\r\n\r\n"
        assert vendor.calls[0].header("accept") == "text/event-stream"
        await caller.close()


async def test_anthropic_headers() -> None:
    async with Vendor(ANTHROPIC) as vendor, running_plane(catalog_of(vendor)) as plane:
        await plane.post(CALL, path="/v1/messages")
        await plane.post(
            CALL, "anthropic-version: 2026-10-21", "anthropic-beta: effort-a", "Anthropic-Beta: effort-b",
            path="/v1/messages",
        )  # fmt: skip
        refused = await plane.post(CALL, "anthropic-beta: \xe9", path="/v1/messages")
        versions = [(call.header("anthropic-version"), call.header("anthropic-beta")) for call in vendor.calls]
        assert versions == [("2023-06-01", None), ("2026-10-21", "effort-a,effort-b")]
        assert refused.status == 400


async def test_keep_alive_serves_call_after_call_over_one_connection_each_way() -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        for document in (CALL, STREAM_CALL, CALL, {"model": "nothing"}, CALL):
            await caller.post(document, AUTHORIZED)
            answer = await caller.answer()
            assert answer.status == (404 if document == {"model": "nothing"} else 200)
            assert answer.is_whole
            assert not answer.closes
        assert vendor.connections == 1
        assert plane.pool.counts() == (1, 1, 0)
        await caller.close()


async def test_pipelined_calls_are_answered_in_order() -> None:
    async def echo(call: VendorCall, wire: Wire) -> None:
        await wire.answer(call.json["user"].encode())

    async with Vendor(answer=echo) as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        for number in range(5):
            await caller.post(CALL | {"user": f"{number}"}, AUTHORIZED)
        assert [(await caller.answer()).body for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
        await caller.close()


@pytest.mark.parametrize("document", [CALL, STREAM_CALL], ids=["plain", "stream"])
async def test_an_http_1_0_caller_gets_no_chunks_and_a_closed_connection(document: dict[str, Any]) -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        await caller.post(document, AUTHORIZED, "Connection: keep-alive", version="1.0")
        answer = await caller.answer()
        assert answer.closes
        assert answer.body == (b"".join(STREAMS[OPENAI]) if document is STREAM_CALL else json.dumps(CHAT).encode())
        assert await caller.is_closed()
        await caller.close()


async def test_a_caller_who_asks_for_close_gets_it() -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        await caller.post(CALL, AUTHORIZED, "Connection: close")
        answer = await caller.answer()
        assert answer.is_whole
        assert answer.closes
        assert await caller.is_closed()
        await caller.close()


async def test_expect_100_continue_and_a_body_in_pieces() -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        body = json.dumps(CALL).encode()
        await caller.send(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: r\r\n{AUTHORIZED}\r\nExpect: 100-continue\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
        )
        assert await caller.reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        for byte in body:
            await caller.send(bytes([byte]))
        assert (await caller.answer()).status == 200
        await caller.close()


async def test_a_chunked_and_a_compressed_body() -> None:
    body = json.dumps(CALL).encode()
    packed = gzip.compress(body)
    async with Vendor() as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: r\r\n{AUTHORIZED}\r\n"
        await caller.send(
            head.encode() + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        )
        assert (await caller.answer()).status == 200
        await caller.post(packed, AUTHORIZED, "Content-Encoding: gzip")
        assert (await caller.answer()).status == 200
        await caller.post(b"not gzip", AUTHORIZED, "Content-Encoding: gzip")
        assert (await caller.answer()).status == 400
        expected = body.replace(b'"demo-gpt"', b'"gpt-x"')
        assert [call.body for call in vendor.calls] == [expected, expected]
        await caller.close()


async def test_what_a_vendor_says_about_itself_is_withheld() -> None:
    lines = (
        "Set-Cookie: a=b", "Alt-Svc: h3", "X-RateLimit-Remaining-Requests: 7", "anthropic-ratelimit-requests-limit: 5",
        "openai-organization: acme", "X-Request-Id: theirs", "Server: cloud", "Connection: X-Hop", "X-Hop: 1",
        "OpenAI-Version: 2020-10-01", "Retry-After: 3", "Date: Thu, 01 Jan 1970 00:00:00 GMT",
        "Server-Timing: theirs;dur=1",
    )  # fmt: skip

    async def talkative(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(b"{}", 200, *lines)

    async with Vendor(answer=talkative) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(CALL)
        assert set(answer.headers) == {
            "date", "content-type", "content-length", "openai-version", "retry-after", "x-request-id", "x-relay-model",
            "x-relay-host", "x-relay-attempts", "server-timing",
        }  # fmt: skip
        assert not answer.headers["date"].endswith("1970 00:00:00 GMT")
        assert answer.headers["x-request-id"] != "theirs"
        assert "theirs" not in answer.headers["server-timing"]


@pytest.mark.parametrize("sent", ["x" * 128, "a-1 b", "!"])
async def test_a_sound_request_id_comes_back(sent: str) -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor)) as plane:
        assert (await plane.post(CALL, f"X-Request-Id: {sent}")).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["x" * 129, "\xe9", "", "tab\tinside"])
async def test_an_unsound_request_id_is_replaced(sent: str) -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(CALL, f"X-Request-Id: {sent}")
        assert answer.headers["x-request-id"] not in (sent, sent.encode().decode("latin-1"))
        assert len(answer.headers["x-request-id"]) == 36


# --- what is refused ---

BAD_CALLS = {
    "not json": (b"{", 400, "invalid_request_error"),
    "an array": (b"[]", 400, "invalid_request_error"),
    "empty": (b"", 400, "invalid_request_error"),
    "two documents": (b'{"model":"demo-gpt"}{}', 400, "invalid_request_error"),
    "no model": (b"{}", 400, "invalid_request_error"),
    "a number for a model": (b'{"model":1}', 400, "invalid_request_error"),
    "a NUL byte": (b'{"model":"demo-gpt","x":"\0"}', 400, "invalid_request_error"),
    "no UTF-8": (b'{"model":"demo-gpt","x":"\xff"}', 400, "invalid_request_error"),
    "deeply nested": (b'{"model":"demo-gpt","x":' + b"[" * 40_000 + b"]" * 40_000 + b"}", 400, "invalid_request_error"),
    "an unknown model": (b'{"model":"nothing"}', 404, "not_found_error"),
    "a NUL in a name": (b'{"model":"demo-gpt\\u0000"}', 404, "not_found_error"),
}


@SHAPES
@pytest.mark.parametrize("case", BAD_CALLS)
async def test_a_bad_call_is_refused_in_the_callers_shape(shape: WireShape, case: str) -> None:
    body, status, kind = BAD_CALLS[case]
    async with Vendor(shape) as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        await caller.post(body, AUTHORIZED, "x-request-id: q", path=PATHS[shape])
        answer = await caller.answer()
        assert answer.status == status
        assert error_of(shape, answer.json)[0] == kind
        assert answer.headers["x-request-id"] == "q"
        assert vendor.calls == []
        await caller.post(CALL, AUTHORIZED, path=PATHS[shape])  # the connection serves on
        assert (await caller.answer()).status == 200
        await caller.close()


@SHAPES
@pytest.mark.parametrize(
    ("lines", "status"),
    [((), 401), (("Authorization: Bearer rk_live_unknown",), 401), (("Authorization: Basic x",), 401),
     (("x-api-key: rk_live_unknown",), 401), ((f"x-api-key: {TOKEN.token}",), 200),
     ((f"authorization: bearer  {TOKEN.token}",), 200), (("Authorization: Basic x", f"x-api-key: {TOKEN.token}"), 200)],
)  # fmt: skip
async def test_the_key_in_either_header(shape: WireShape, lines: tuple[str, ...], status: int) -> None:
    async with Vendor(shape) as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        await caller.post(CALL, *lines, path=PATHS[shape])
        answer = await caller.answer()
        assert answer.status == status
        if status == 401:
            assert error_of(shape, answer.json)[0] == "authentication_error"
            assert "rk_live_unknown" not in answer.body.decode()
            assert vendor.calls == []
        await caller.close()


@SHAPES
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_over_the_limit(shape: WireShape, is_chunked: bool) -> None:
    async with Vendor(shape) as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        head = f"POST {PATHS[shape]} HTTP/1.1\r\nHost: r\r\n{AUTHORIZED}\r\n".encode()
        piece = b" " * 10_000
        if is_chunked:
            await caller.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(MAX_BODY_BYTES // len(piece) + 1):
                await caller.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        else:
            await caller.send(head + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1))
        answer = await caller.answer()
        assert answer.status == 413
        assert answer.closes
        assert error_of(shape, answer.json)[0] == (
            "request_too_large" if shape is ANTHROPIC else "invalid_request_error"
        )
        assert await caller.is_closed()
        assert vendor.calls == []
        await caller.close()


async def test_a_body_of_exactly_the_limit_passes() -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor)) as plane:
        body = json.dumps(CALL).encode().ljust(MAX_BODY_BYTES)
        assert (await plane.post(body)).status == 200
        assert vendor.calls[0].body == body.replace(b'"demo-gpt"', b'"gpt-x"')


async def test_a_body_that_does_not_come() -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor), body_seconds=0.05) as plane:
        caller = await plane.caller()
        await caller.send(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: r\r\n{AUTHORIZED}\r\nContent-Length: 9\r\n\r\n{{".encode()
        )
        answer = await caller.answer()
        assert answer.status == 408
        assert answer.closes
        assert await caller.is_closed()
        assert vendor.calls == []
        await caller.close()


@SHAPES
@pytest.mark.parametrize("rest", [b"zz\r\n", b"5\r\n1234567", b"-1\r\n", b"ffffffffffffffffff\r\n"])
async def test_a_body_that_turns_out_to_be_malformed(shape: WireShape, rest: bytes) -> None:
    """Long before its deadline, and with nothing more on this connection."""
    async with Vendor(shape) as vendor, running_plane(catalog_of(vendor), body_seconds=60) as plane:
        caller = await plane.caller()
        head = f"POST {PATHS[shape]} HTTP/1.1\r\nHost: r\r\n{AUTHORIZED}\r\nTransfer-Encoding: chunked\r\n\r\n"
        await caller.send(head.encode() + b"1\r\n{\r\n")
        await until(lambda: plane.metrics.surfaces["inference"].in_flight.value, "the call to begin")
        await caller.send(rest)
        answer = await caller.answer()
        assert (answer.status, answer.closes) == (400, True)
        assert error_of(shape, answer.json)[0] == "invalid_request_error"
        assert await caller.is_closed()
        assert [served.status for served in plane.served] == [400]
        assert vendor.calls == []
        await caller.close()


async def test_a_body_that_is_not_compressed_as_it_says() -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor), body_seconds=60) as plane:
        caller = await plane.caller()
        head = f"POST /v1/messages HTTP/1.1\r\nHost: r\r\n{AUTHORIZED}\r\nContent-Encoding: gzip\r\n"
        await caller.send(head.encode() + b"Content-Length: 40\r\n\r\nno gzip at all")
        answer = await caller.answer()
        assert (answer.status, answer.closes) == (400, True)
        assert await caller.is_closed()
        assert vendor.calls == []
        await caller.close()


@SHAPES
async def test_a_wrong_method(shape: WireShape) -> None:
    async with running_plane([]) as plane:
        caller = await plane.caller()
        await caller.send(f"GET {PATHS[shape]} HTTP/1.1\r\nHost: r\r\n\r\n".encode())
        answer = await caller.answer()
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        error_of(shape, answer.json)
        await caller.close()


async def test_before_the_first_snapshot() -> None:
    async with running_plane(None) as plane:
        answer = await plane.post(CALL)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")


async def test_a_model_of_another_policy_and_no_host() -> None:
    async with Vendor() as vendor:
        rows = catalog_of(vendor)
        lonely = replace(MODEL, id=nouns.ModelId(2), name="lonely")
        async with running_plane([*rows, lonely]) as plane:
            assert (await plane.post({"model": "lonely"})).status == 503
            plane.swap([*rows, replace(POLICY, models=("*", "-demo-*"))])
            denied = await plane.post(CALL)
            assert denied.status == 403
            assert error_of(OPENAI, denied.json)[0] == "permission_error"
        assert vendor.calls == []


async def test_a_key_of_a_host_that_cannot_be_opened_is_passed_over() -> None:
    async with Vendor() as vendor:
        spoiled = replace(host_key(1), sealed_value=b"spoiled")
        async with running_plane([*catalog_of(vendor), spoiled]) as plane:
            assert (await plane.post(CALL)).status == 503
            plane.swap([*catalog_of(vendor), spoiled, host_key(2)])
            assert {(await plane.post(CALL)).status for _ in range(2)} == {200}
            plane.swap([*catalog_of(vendor), host_key(1, value="sk\r\nx-evil: 1")])
            assert (await plane.post(CALL)).status == 503
        assert {call.header("authorization") for call in vendor.calls} == {"Bearer sk-vendor-2"}


# --- failover ---


def answering(*statuses: int) -> Any:
    """A vendor's answers in turn; the last one repeats."""
    left = list(statuses)

    async def answer(_call: VendorCall, wire: Wire) -> None:
        status = left.pop(0) if len(left) > 1 else left[0]
        await wire.answer(b'{"said":%d}' % status, status, "x-vendor: yes")

    return answer


@pytest.mark.parametrize("status", [401, 402, 403, 429, 500, 503, 529])
async def test_another_key_is_tried(status: int) -> None:
    async with Vendor(answer=answering(status, 200)) as vendor, running_plane(catalog_of(vendor, keys=2)) as plane:
        answer = await plane.post(CALL)
        assert (answer.status, answer.headers["x-relay-attempts"], answer.json) == (200, "2", {"said": 200})
        assert [call.header("authorization") for call in vendor.calls] == ["Bearer sk-vendor-1", "Bearer sk-vendor-2"]
        assert vendor.connections == 1  # a refused answer is read to its end, and its connection used again


@pytest.mark.parametrize("status", [400, 404, 409, 422, 301])
async def test_the_callers_own_faults_are_never_tried_again(status: int) -> None:
    async with Vendor(answer=answering(status)) as vendor, running_plane(catalog_of(vendor, keys=2)) as plane:
        answer = await plane.post(CALL, "x-request-id: q")
        assert (answer.status, answer.body, answer.headers["x-vendor"]) == (status, b'{"said":%d}' % status, "yes")
        assert len(vendor.calls) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_the_last_answer_passes_with_its_bytes(status: int) -> None:
    async with Vendor(answer=answering(status)) as vendor, running_plane(catalog_of(vendor, keys=2)) as plane:
        answer = await plane.post(CALL)
        assert (answer.status, answer.body) == (status, b'{"said":%d}' % status)
        assert answer.headers["x-relay-attempts"] == "2"


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refusal_of_our_key_is_not_the_callers(status: int) -> None:
    async with Vendor(answer=answering(status)) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(CALL)
        assert answer.status == 503
        assert answer.json["error"]["code"] == "no_host_key"
        assert b"said" not in answer.body


async def test_never_more_than_three_tries() -> None:
    keys = tuple(f"sk-vendor-{number}" for number in range(1, 9))
    async with Vendor(keys=keys, answer=answering(500)) as vendor, running_plane(catalog_of(vendor, keys=8)) as plane:
        answer = await plane.post(CALL)
        assert (answer.status, answer.headers["x-relay-attempts"], len(vendor.calls)) == (500, "3", 3)


async def test_keys_take_turns() -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor, keys=3)) as plane:
        for _ in range(6):
            await plane.post(CALL)
        assert [call.header("authorization")[-1] for call in vendor.calls] == list("123123")  # type: ignore[index]


async def test_a_host_that_is_down_is_passed_over(free_port: int) -> None:
    down = Vendor(port=free_port)
    async with Vendor() as vendor, running_plane(catalog_of(down, vendor)) as plane:
        answer = await plane.post(CALL)
        assert (answer.status, answer.headers["x-relay-host"], answer.headers["x-relay-attempts"]) == (
            200,
            "vendor-2",
            "2",
        )


@SHAPES
async def test_no_host_can_be_reached(shape: WireShape, free_port: int) -> None:
    async with running_plane(catalog_of(Vendor(shape, port=free_port))) as plane:
        answer = await plane.post(CALL, path=PATHS[shape])
        assert answer.status == 502
        assert str(free_port) not in answer.body.decode()
        error_of(shape, answer.json)


async def test_a_host_in_private_space_is_not_called() -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor), allowed=()) as plane:
        answer = await plane.post(CALL)
        assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_address_forbidden")
        assert vendor.connections == 0


# --- what breaks on the way ---


def raw(*pieces: bytes) -> Any:
    """A vendor that sends these bytes and closes."""

    async def answer(_call: VendorCall, wire: Wire) -> None:
        for piece in pieces:
            await wire.send(piece)
        wire.close()

    return answer


OK = b"HTTP/1.1 200 OK\r\n"
GARBLED = {
    "nothing": (b"",),
    "no HTTP": (b"hello\r\n\r\n",),
    "half a head": (OK + b"content-type: text/plain\r\n",),
    "two framings": (OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\nhi",),
    "two lengths": (OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\nhi",),
    "an unasked coding": (OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",),
    "a large head": (OK + b"x: " + b"y" * 70_000 + b"\r\n\r\n",),
    "many headers": (OK + b"".join(b"x-%d: 1\r\n" % n for n in range(300)) + b"content-length: 0\r\n\r\n",),
    "a protocol switch": (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",),
    "a bare CR in a header": (OK + b"x: a\rb\r\ncontent-length: 2\r\n\r\nhi",),
}


@pytest.mark.parametrize("case", GARBLED)
async def test_an_answer_that_is_none(case: str) -> None:
    async with Vendor(answer=raw(*GARBLED[case])) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(CALL)
        assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_protocol_error")
        assert answer.headers["x-relay-attempts"] == "2"  # once more, since it may pass
        await until(lambda: vendor.closed_connections == 2, "the connections to end")
        assert plane.pool.counts() == (0, 0, 0)


CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
WHOLE = {
    "informational answers first": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK
                                    + b"content-length: 2\r\n\r\nhi", b"hi"),
    "the end of the connection": (OK + b"content-type: text/plain\r\n\r\nhi", b"hi"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhi", b"hi"),
    "bytes after the end": (OK + b"content-length: 2\r\n\r\nhi" + OK + b"content-length: 3\r\n\r\nbad", b"hi"),
    "garbage after the end": (OK + CHUNKED + b"2\r\nhi\r\n0\r\n\r\nGARBAGE", b"hi"),
    "chunk extensions": (OK + CHUNKED + b"2;a=b\r\nhi\r\n0;c\r\n\r\n", b"hi"),
    "trailers": (OK + CHUNKED + b"2\r\nhi\r\n0\r\nset-cookie: a=b\r\n\r\n", b"hi"),
    "an empty body": (OK + b"content-length: 0\r\n\r\n", b""),
}  # fmt: skip


@pytest.mark.parametrize("case", WHOLE)
@pytest.mark.parametrize("in_pieces", [False, True])
async def test_an_unusual_answer_that_is_whole(case: str, in_pieces: bool) -> None:
    data, body = WHOLE[case]
    pieces = [data[at : at + 1] for at in range(len(data))] if in_pieces else [data]
    async with Vendor(answer=raw(*pieces)) as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        for _ in range(2):  # the caller's connection is in order afterwards
            await caller.post(CALL, AUTHORIZED)
            answer = await caller.answer()
            assert (answer.status, answer.body, answer.is_whole) == (200, body, True)
            assert not set(answer.headers) & {"link", "set-cookie"}
        await caller.close()


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body(status: int) -> None:
    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.head(status, "x-vendor: yes")

    async with Vendor(answer=answer) as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        for _ in range(2):
            await caller.post(CALL, AUTHORIZED)
            got = await caller.answer()
            assert (got.status, got.headers["x-vendor"]) == (status, "yes")
            assert not set(got.headers) & {"content-length", "transfer-encoding"}
        assert vendor.connections == 1
        await caller.close()


EVENT = STREAMS[OPENAI][0]
SSE = OK + b"content-type: text/event-stream\r\n"
CUTS = {
    "a length": (b"content-length: 10\r\n\r\n", b"hello", b""),
    "chunks": (CHUNKED, b"5\r\nhello\r\n", b""),
    "inside a chunk": (CHUNKED, b"9\r\nhello", b""),
    "a broken chunk": (CHUNKED, b"5\r\nhello\r\n", b"ZZ\r\n"),
}


@pytest.mark.parametrize("case", CUTS)
async def test_a_cut_answer_is_cut_for_the_caller_too(case: str) -> None:
    framing, part, rest = CUTS[case]
    go_on = asyncio.Event()

    async def cutting(_call: VendorCall, wire: Wire) -> None:
        await wire.send(OK + framing + part)
        await go_on.wait()
        await wire.send(rest)
        wire.close()

    async with Vendor(answer=cutting) as vendor, running_plane(catalog_of(vendor, keys=2)) as plane:
        caller = await plane.caller()
        await caller.post(CALL, AUTHORIZED)
        assert (await caller.head())[0] == 200
        go_on.set()
        # To the end of the connection: no last chunk, no missing byte made up.
        assert await caller.reader.read() == (b"hello" if case == "a length" else b"5\r\nhello\r\n")
        assert len(vendor.calls) == 1  # after the first byte nothing is tried again
        assert [(s.status, s.error) for s in plane.served] == [(502, "upstream_protocol_error")]


@SHAPES
@pytest.mark.parametrize("part", ["nothing", "an event", "half an event"])
@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_a_cut_stream_ends_with_an_error_event(shape: WireShape, part: str, framing: str) -> None:
    first, second, *_ = STREAMS[shape]
    rest = {"nothing": b"", "an event": second, "half an event": second[: len(second) // 2]}[part]
    sent = first + rest
    pieces = (SSE + CHUNKED, b"%x\r\n%b\r\n" % (len(sent), sent)) if framing == "chunked" else (SSE + b"\r\n", sent)
    async with Vendor(shape, answer=raw(*pieces)) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(STREAM_CALL, path=PATHS[shape])
        assert (answer.status, answer.is_whole) == (200, False)
        assert answer.body.startswith(first + (second if part == "an event" else b""))
        *_, last = answer.body.removesuffix(b"\n\n").split(b"\n\n")
        if shape is not OPENAI:
            assert last.startswith(b"event: error\n")
        error_of(shape, json.loads(last.split(b"data: ", 1)[1]))
        assert plane.served[0].error == "upstream_protocol_error"
        assert len(vendor.calls) == 1


@SHAPES
async def test_an_unframed_stream_with_its_last_event_is_whole(shape: WireShape) -> None:
    stream = b"".join(STREAMS[shape])
    async with Vendor(shape, answer=raw(SSE + b"\r\n", stream)) as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(STREAM_CALL, path=PATHS[shape])
        assert (answer.body, answer.is_whole) == (stream, True)


async def test_an_unframed_stream_that_ends_inside_its_last_event_is_cut() -> None:
    """The last event of Responses holds the whole answer; where it is a mark alone, the relay makes it."""
    stream = b"".join(STREAMS[RESPONSES])
    inside = stream[: stream.rindex(b"data:") + 9]
    vendor_of_cut = Vendor(RESPONSES, answer=raw(SSE + b"\r\n", inside))
    async with vendor_of_cut as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(STREAM_CALL, path=PATHS[RESPONSES])
        assert not answer.is_whole
        assert plane.served[0].error == "upstream_protocol_error"


async def test_a_host_that_never_answers() -> None:
    async def silent(_call: VendorCall, wire: Wire) -> None:
        assert await wire.closed_by_edge(5)

    async with Vendor(answer=silent) as vendor, running_plane(catalog_of(vendor, first_byte_timeout_ms=50)) as plane:
        answer = await plane.post(CALL)
        assert (answer.status, answer.json["error"]["code"]) == (504, "upstream_timeout")
        await until(lambda: vendor.closed_connections == 1, "the connection to end")


@pytest.mark.parametrize("limit", ["idle_timeout_ms", "total_timeout_ms"])
async def test_a_stream_that_stalls(limit: str) -> None:
    async def stalling(_call: VendorCall, wire: Wire) -> None:
        await wire.send(SSE + CHUNKED)
        await wire.chunk(EVENT)
        assert await wire.closed_by_edge(5)

    async with Vendor(answer=stalling) as vendor, running_plane(catalog_of(vendor, **{limit: 100})) as plane:
        answer = await plane.post(STREAM_CALL)
        assert not answer.is_whole
        assert answer.body.startswith(EVENT)
        assert json.loads(answer.body.split(b"data: ")[-1])["error"]["code"] == "upstream_timeout"


# --- callers who leave, and callers who do not read ---


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
@pytest.mark.parametrize("when", ["before the first byte", "in the stream"])
async def test_the_vendor_sees_a_caller_leave_within_a_second(how: str, when: str) -> None:
    reached, was_closed = asyncio.Event(), asyncio.Event()

    async def waiting(_call: VendorCall, wire: Wire) -> None:
        if when == "in the stream":
            await wire.send(SSE + CHUNKED)
            await wire.chunk(EVENT)
        reached.set()
        assert await wire.closed_by_edge(1.0)
        was_closed.set()

    async with Vendor(answer=waiting) as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        await caller.post(STREAM_CALL, AUTHORIZED)
        await reached.wait()
        if when == "in the stream":
            await caller.head()
        match how:
            case "close":
                await caller.close()
            case "half-close":
                caller.writer.write_eof()
            case _:
                caller.writer.transport.abort()
        async with asyncio.timeout(5):
            await was_closed.wait()
        await until(lambda: plane.served, "the call to end")
        assert plane.served[0].status == 499
        assert plane.metrics.surfaces["inference"].disconnects.value == 1
        await until(lambda: plane.pool.counts() == (0, 0, 0), "the upstream connection to end")
        await caller.close()


async def test_a_caller_who_leaves_in_the_middle_of_a_body() -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        await caller.send(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: r\r\n{AUTHORIZED}\r\nContent-Length: 9\r\n\r\n{{".encode()
        )
        await until(lambda: plane.metrics.surfaces["inference"].in_flight.value, "the call to begin")
        await caller.close()
        await until(lambda: plane.served, "the call to end")
        assert [served.status for served in plane.served] == [499]
        assert plane.metrics.surfaces["inference"].disconnects.value == 1
        assert vendor.calls == []


async def test_a_slow_reader_slows_the_vendor_and_gets_everything() -> None:
    block = b"x" * 65_536
    blocks = 400  # 25 MB: more than the kernel's buffers and ours together
    written = 0

    async def eager(_call: VendorCall, wire: Wire) -> None:
        nonlocal written
        await wire.send(OK + b"content-length: %d\r\n\r\n" % (len(block) * blocks))
        for _ in range(blocks):
            await wire.send(block)
            written += 1

    async with Vendor(answer=eager) as vendor, running_plane(catalog_of(vendor)) as plane:
        caller = await plane.caller()
        await caller.post(CALL, AUTHORIZED)
        status, headers = await caller.head()
        seen = -1
        while seen != written:  # until nothing moves any more
            seen = written
            await asyncio.sleep(0.2)
        assert written < blocks
        assert len(await caller.reader.readexactly(len(block) * blocks)) == int(headers["content-length"])
        assert status == 200
        await caller.post(CALL, AUTHORIZED)
        assert (await caller.head())[0] == 200
        await caller.close()


async def test_a_caller_who_never_reads_is_cut_off() -> None:
    async def endless(_call: VendorCall, wire: Wire) -> None:
        await wire.send(SSE + CHUNKED)
        while True:
            await wire.chunk(EVENT.replace(b"hel", b"x" * 65_536))

    async with Vendor(answer=endless) as vendor, running_plane(catalog_of(vendor, idle_timeout_ms=200)) as plane:
        caller = await plane.caller()
        caller.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads as well
        await caller.post(STREAM_CALL, AUTHORIZED)
        await until(lambda: plane.served, "the call to end")
        assert plane.served[0].error == "upstream_timeout"
        await until(lambda: vendor.closed_connections == 1, "the upstream connection to end")
        caller.writer.transport.abort()


async def test_an_early_answer_to_a_large_body() -> None:
    """The vendor answers before it has read everything: its answer arrives, its connection is not used again."""

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(hasty, "127.0.0.1", 0)
    vendor = Vendor(port=server.sockets[0].getsockname()[1])
    async with running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(json.dumps(CALL).encode().ljust(MAX_BODY_BYTES))
        assert (answer.status, answer.body) == (413, b"no")
    server.close()


# --- limits ---


def limited(vendor: Vendor, *rules: nouns.Rule) -> list[nouns.Noun]:
    limit = nouns.RateLimit(nouns.RateLimitId(9), "tight", rules)
    return [*catalog_of(vendor), limit, replace(RELAY_KEY, rate_limit_id=limit.id)]


@SHAPES
async def test_a_rate_limit_refuses_in_the_callers_shape(shape: WireShape, redis_url: str) -> None:
    async with Vendor(shape) as vendor:
        rows = limited(vendor, nouns.Rule(nouns.Meter.REQUESTS, 2, 3600))
        async with running_plane(rows, redis_url=redis_url) as plane:
            answers = [await plane.post(CALL, path=PATHS[shape]) for _ in range(3)]
            assert [answer.status for answer in answers] == [200, 200, 429]
            assert int(answers[2].headers["retry-after"]) >= 1
            kind, text = error_of(shape, answers[2].json)
            assert kind == "rate_limit_error"
            assert "tight" in text
            assert "2 calls in 3600 s" in text
        assert len(vendor.calls) == 2


@pytest.mark.parametrize("end", ["answered", "left", "cut", "refused"])
async def test_a_place_in_flight_is_given_back_however_the_call_ends(end: str, redis_url: str) -> None:
    reached = asyncio.Event()

    async def answer(call: VendorCall, wire: Wire) -> None:
        reached.set()
        match end:
            case "answered":
                await vendor.standard(call, wire)
            case "left":
                await wire.closed_by_edge()
            case "cut":
                wire.close()
            case _:
                await wire.answer(b"no", 400)

    async with Vendor(answer=answer) as vendor:
        rows = limited(vendor, nouns.Rule(nouns.Meter.CONCURRENCY, 1, 3600))
        async with running_plane(rows, redis_url=redis_url) as plane:
            for _ in range(3):
                reached.clear()
                caller = await plane.caller()
                await caller.post(CALL, AUTHORIZED)
                if end == "left":
                    await reached.wait()
                else:
                    assert (await caller.answer()).status != 429
                await caller.close()
                await until(lambda: plane.admission.in_flight == 0, "the lease to be given back")
            assert len(vendor.calls) == 3  # the first unanswered call is sent once more, then the breaker is open


# --- /v1/models ---


async def get(plane: Plane, path: str, *lines: str, method: str = "GET") -> Any:
    caller = await plane.caller()
    await caller.send("\r\n".join((f"{method} {path} HTTP/1.1", "Host: r", *lines, "", "")).encode())
    answer = await caller.answer(method)
    await caller.close()
    return answer


async def test_models_lists_what_the_key_reaches_and_is_served() -> None:
    async with Vendor() as vendor:
        others = [
            replace(MODEL, id=nouns.ModelId(2), name="unbound"),
            replace(MODEL, id=nouns.ModelId(3), name="disabled", is_enabled=False),
            replace(BINDING, id=nouns.HostBindingId(3), model_id=nouns.ModelId(3)),
            replace(MODEL, id=nouns.ModelId(4), name="secret"),
            replace(BINDING, id=nouns.HostBindingId(4), model_id=nouns.ModelId(4)),
            replace(MODEL, id=nouns.ModelId(5), name="a-claude"),
            replace(BINDING, id=nouns.HostBindingId(5), model_id=nouns.ModelId(5), wire_shape=ANTHROPIC),
            replace(POLICY, models=("*", "-secret")),
        ]
        async with running_plane([*catalog_of(vendor), *others]) as plane:
            for path in ("/v1/models", "/openai/v1/models"):
                openai = await get(plane, path, AUTHORIZED)
                assert openai.json["object"] == "list"
                assert [model["id"] for model in openai.json["data"]] == ["a-claude", "demo-gpt"]
                assert openai.json["data"][1] == {
                    "id": "demo-gpt", "object": "model", "owned_by": "demo",
                    "created": int(MODEL.created_at.timestamp()),
                }  # fmt: skip
            for path, lines in (("/v1/models", ("anthropic-version: 2023-06-01",)), ("/anthropic/v1/models", ())):
                anthropic = (await get(plane, path, AUTHORIZED, *lines)).json
                assert (anthropic["first_id"], anthropic["last_id"], anthropic["has_more"]) == (
                    "a-claude",
                    "demo-gpt",
                    False,
                )
                assert anthropic["data"][1] == {
                    "type": "model", "id": "demo-gpt", "display_name": "demo-gpt", "created_at": "2026-11-21T12:00:00Z"
                }  # fmt: skip
            head = await get(plane, "/v1/models", AUTHORIZED, method="HEAD")
            assert head.headers["content-length"] == openai.headers["content-length"]
            assert (await get(plane, "/v1/models")).status == 401
            assert (await get(plane, "/v1/models", method="DELETE")).headers["allow"] == "GET, HEAD"
            plane.swap([PROJECT, replace(RELAY_KEY, policy_id=None)])
            assert (await get(plane, "/v1/models", AUTHORIZED)).json == {"object": "list", "data": []}

"""Calls with an Idempotency-Key, from callers' sockets to a vendor's: made once, answered as often as they are sent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from psycopg import AsyncConnection

from relay_contract import nouns, tokens
from relay_contract.nouns import WireShape
from relay_contract.redis import keys
from relay_contract.usage import UsageSource
from relay_edge.call_rows import bill_of
from relay_edge.kept_answer import digest_of_key
from relay_edge.protocols import OTHERS
from standalone import valkey
from tests.edge.admitting import client
from tests.edge.conftest import until
from tests.edge.nouns import PROJECT, RELAY_KEY, TOKEN, numbered
from tests.edge.plane import AUTHORIZED, Plane, catalog_of, running_plane
from tests.edge.running import running_edge
from tests.edge.test_inference import CALL, SHAPES, STREAM_CALL, error_of
from tests.edge.test_limits_of_calls import limited
from tests.edge.test_metering import insert_catalog, rows_of
from tests.edge.test_operations import FORM, TRANSCRIPTIONS, answering, form
from tests.edge.vendor import ANSWERS, PATHS, Vendor, VendorCall, Wire

BEARER = {"Authorization": f"Bearer {TOKEN.token}"}
KEY = "Idempotency-Key: order-1"
CHAT, MESSAGES = WireShape.OPENAI_CHAT, WireShape.ANTHROPIC_MESSAGES
STREAMED = {
    CHAT: STREAM_CALL | {"seed": 7},
    WireShape.OPENAI_RESPONSES: {"input": "hi", "model": "demo-gpt", "stream": True},
    MESSAGES: STREAM_CALL | {"max_tokens": 9},
}
ENTRY = keys.idempotent(PROJECT.id, digest_of_key("order-1"))


class Held:
    """A vendor's answer that waits until it is let go."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self.go_on = asyncio.Event()

    async def __call__(self, call: VendorCall, wire: Wire) -> None:
        await self.go_on.wait()
        await self._vendor.standard(call, wire)


def outcomes(plane: Plane) -> dict[str, float]:
    return {name: counter.value for name, counter in plane.claims.counted.items() if counter.value}


# --- what is replayed ---


@SHAPES
async def test_a_call_is_made_once_and_its_answer_given_again(shape: WireShape, redis_url: str) -> None:
    async with Vendor(shape) as vendor, running_plane(catalog_of(vendor), redis_url=redis_url) as plane:
        own = "/openai" if shape is not MESSAGES else "/anthropic"
        first = await plane.post(CALL, KEY, "X-Request-Id: first", path=PATHS[shape])
        again = await plane.post(CALL, KEY, "X-Request-Id: again", path=own + PATHS[shape])
        assert (first.status, first.json) == (200, ANSWERS[shape])
        assert "idempotent-replayed" not in first.headers
        assert (again.status, again.body) == (200, first.body)
        kept = {"content-type", "content-length", "x-relay-model", "x-relay-host", "x-relay-attempts"}
        assert {name: again.headers[name] for name in kept} == {name: first.headers[name] for name in kept}
        assert set(again.headers) == kept | {
            "date", "server-timing", "x-request-id", "idempotent-replayed", "x-relay-original-request-id",
            "x-relay-charge",
        }  # fmt: skip
        assert again.headers["idempotent-replayed"] == "true"
        assert (again.headers["x-request-id"], again.headers["x-relay-original-request-id"]) == ("again", "first")
        assert len(vendor.calls) == 1
        assert vendor.calls[0].header("idempotency-key") is None
        assert outcomes(plane) == {"kept": 1, "replayed": 1}
        made, replayed = plane.served
        assert (made.tries, made.bytes_out) == (1, len(first.body))
        assert (replayed.status, replayed.tries, replayed.bytes_out) == (200, 0, len(first.body))
        bill = bill_of(replayed)
        assert (bill.source, bill.usage.limited_tokens, bill.cost_nanousd) == (UsageSource.NONE, 0, None)


@pytest.mark.parametrize("operation", OTHERS, ids=[each.path for each in OTHERS])
async def test_what_is_no_conversation_too(operation: Any, redis_url: str) -> None:
    sound = bytes(range(256)) * 8

    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: audio/mpeg", "transfer-encoding: chunked")
        await wire.chunk(sound)
        await wire.chunk(sound)
        await wire.send(b"0\r\n\r\n")

    async with (
        Vendor(path=operation.path, answer=answer) as vendor,
        running_plane(catalog_of(vendor), redis_url=redis_url) as plane,
    ):
        answers = [await plane.post(CALL, KEY, path=operation.path) for _ in range(3)]
        assert [(each.body, each.headers["content-type"]) for each in answers] == [(sound * 2, "audio/mpeg")] * 3
        assert len(vendor.calls) == 1
        assert (await plane.post(CALL | {"x": 1}, KEY, path=operation.path)).status == 422


async def test_a_form_is_the_same_with_another_boundary(redis_url: str) -> None:
    body = form(('"file"; filename="a.mp3"', b"\x00\xff" * 50), ('"model"', b"demo-gpt"))
    async with (
        Vendor(path=TRANSCRIPTIONS, takes="multipart/form-data", answer=answering({"text": "hello"})) as vendor,
        running_plane(catalog_of(vendor), redis_url=redis_url) as plane,
    ):
        assert (await plane.post(body, FORM, KEY, path=TRANSCRIPTIONS)).json == {"text": "hello"}
        again, type_again = body.replace(b"x-Boundary_7", b"other"), FORM.replace("x-Boundary_7", "other")
        assert (await plane.post(again, type_again, KEY, path=TRANSCRIPTIONS)).headers["idempotent-replayed"] == "true"
        other = body.replace(b"\x00\xff", b"\x01\xff")
        assert (await plane.post(other, FORM, KEY, path=TRANSCRIPTIONS)).status == 422
        assert len(vendor.calls) == 1


async def test_a_large_body_is_told_apart_too(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_edge.idempotency.LARGE_BYTES", 1_000)
    large = CALL | {"x": "y" * 2_000}
    async with Vendor() as vendor, running_plane(catalog_of(vendor), redis_url=redis_url) as plane:
        assert [(await plane.post(large, KEY)).status for _ in range(2)] == [200, 200]
        assert (await plane.post(large | {"z": 1}, KEY)).status == 422
        assert len(vendor.calls) == 1


async def test_a_translated_answer_keeps_its_warnings(redis_url: str) -> None:
    async with Vendor(MESSAGES) as vendor, running_plane(catalog_of(vendor), redis_url=redis_url) as plane:
        answers = [await plane.post(CALL | {"seed": 7}, KEY) for _ in range(2)]
        first, again = (answer.headers["x-relay-warnings"] for answer in answers)
        assert first == again
        assert "dropped:seed" in first
        assert answers[0].body == answers[1].body
        assert len(vendor.calls) == 1


async def test_a_fault_of_the_call_is_kept_too(redis_url: str) -> None:
    async def refuse(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(b'{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}', 400)

    async with Vendor(answer=refuse) as vendor, running_plane(catalog_of(vendor), redis_url=redis_url) as plane:
        answers = [await plane.post(CALL, KEY) for _ in range(2)]
        assert [(each.status, each.headers["x-relay-error-source"]) for each in answers] == [(400, "client")] * 2
        assert answers[0].body == answers[1].body
        assert len(vendor.calls) == 1


# --- many at once ---


async def test_of_fifty_callers_at_two_processes_one_reaches_the_vendor(redis_url: str) -> None:
    async with Vendor() as vendor:
        vendor.answer = held = Held(vendor)
        rows = catalog_of(vendor)
        async with running_plane(rows, redis_url=redis_url) as one, running_plane(rows, redis_url=redis_url) as other:
            calls = [asyncio.create_task(plane.post(CALL, KEY)) for plane in (one, other) for _ in range(25)]
            await until(lambda: sum(call.done() for call in calls) == 49, "the others")
            held.go_on.set()
            answers = await asyncio.gather(*calls)
            assert sorted(each.status for each in answers) == [200] + [409] * 49
            for plane in (one, other):
                again = await plane.post(CALL, KEY)
                assert (again.status, again.headers["idempotent-replayed"]) == (200, "true")
        assert len(vendor.calls) == 1


@SHAPES
async def test_refusals_have_the_callers_shape(shape: WireShape, redis_url: str) -> None:
    async with Vendor(shape) as vendor, running_plane(catalog_of(vendor), redis_url=redis_url) as plane:
        vendor.answer = held = Held(vendor)
        making = asyncio.create_task(plane.post(CALL, KEY, path=PATHS[shape]))
        await until(lambda: vendor.calls, "the call")
        busy = await plane.post(CALL, KEY, path=PATHS[shape])
        assert (busy.status, busy.headers["retry-after"], busy.headers["x-should-retry"]) == (409, "1", "true")
        assert error_of(shape, busy.json)[1].startswith("A call with this Idempotency-Key is being made.")
        other = await plane.post(CALL | {"x": 1}, KEY, path=PATHS[shape])
        assert (other.status, other.headers["x-should-retry"], "retry-after" in other.headers) == (422, "false", False)
        assert error_of(shape, other.json)[1].startswith("This Idempotency-Key was sent with another call.")
        wrong = await plane.post(CALL, "Idempotency-Key: a b", path=PATHS[shape])
        assert (wrong.status, error_of(shape, wrong.json)[1]) == (
            400, "The header idempotency-key cannot be read: it is 1 to 255 visible ASCII characters, without spaces.",
        )  # fmt: skip
        twice = await plane.post(CALL, KEY, KEY, path=PATHS[shape])
        assert "send it once" in error_of(shape, twice.json)[1]
        held.go_on.set()
        assert (await making).status == 200
        assert len(vendor.calls) == 1
        assert [each.error for each in plane.served] == [
            "idempotency_in_progress", "idempotency_key_reused", "bad_header", "bad_header", "",
        ]  # fmt: skip


async def test_another_project_has_its_own_keys_and_an_operation_its_own_calls(redis_url: str) -> None:
    token = tokens.mint(nouns.KeyMode.LIVE)
    async with Vendor() as vendor:
        rows = [
            *catalog_of(vendor),
            numbered(PROJECT, 2, slug="other"),
            numbered(RELAY_KEY, 2, project_id=nouns.ProjectId(2), token_hash=token.hash),
        ]
        async with running_plane(rows, redis_url=redis_url) as plane:
            await plane.post(CALL, KEY)
            caller = await plane.caller()
            await caller.post(CALL, f"Authorization: Bearer {token.token}", KEY)
            answer = await caller.answer()
            assert (answer.status, answer.headers.get("idempotent-replayed")) == (200, None)
            assert (await plane.post(CALL, KEY, path=PATHS[MESSAGES])).status == 422
        assert len(vendor.calls) == 2


# --- what frees a key ---


@pytest.mark.parametrize("status", [500, 429])
async def test_after_a_failure_the_call_is_made_again(status: int, redis_url: str) -> None:
    async def fail(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(b"{}", status)

    async with Vendor() as vendor, running_plane(catalog_of(vendor), redis_url=redis_url) as plane:
        vendor.answer = fail
        failed = await plane.post(CALL, KEY)
        assert failed.status == status
        assert "x-relay-warnings" not in failed.headers
        vendor.answer = None
        again = await until(lambda: is_answered(plane), "an answer")
        assert again.headers.get("idempotent-replayed") is None
        assert (await plane.post(CALL, KEY)).headers["idempotent-replayed"] == "true"


async def is_answered(plane: Plane) -> Any:
    answer = await plane.post(CALL, KEY)
    return answer if answer.status == 200 else None


async def test_a_limit_frees_the_key_and_a_replay_is_not_counted(redis_url: str) -> None:
    async with Vendor() as vendor:
        rows = limited(vendor, rules=(nouns.Rule(nouns.Meter.REQUESTS, 2, 3600),))
        async with running_plane(rows, redis_url=redis_url) as plane:
            for _ in range(4):
                assert (await plane.post(CALL, KEY)).status == 200
            assert (await plane.post(CALL, "Idempotency-Key: order-2")).status == 200
            for _ in range(2):  # nothing was kept of the first refusal
                assert (await plane.post(CALL, "Idempotency-Key: order-3")).status == 429
        assert len(vendor.calls) == 2


async def test_a_caller_who_leaves_before_the_answer_frees_the_key(redis_url: str) -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor), redis_url=redis_url) as plane:
        vendor.answer = Held(vendor)
        caller = await plane.caller()
        await caller.post(CALL, AUTHORIZED, KEY)
        await until(lambda: vendor.calls, "the call")
        await caller.close()
        with client(redis_url) as redis:
            await until(lambda: not redis.exists(ENTRY), "a free key")
        vendor.answer = None
        assert (await plane.post(CALL, KEY)).status == 200
        assert [each.status for each in plane.served] == [499, 200]
        assert outcomes(plane) == {"given_up": 1, "kept": 1}


async def test_a_caller_who_leaves_while_its_answer_is_kept_finds_it_later(tmp_path: Path) -> None:
    server = valkey.start(tmp_path, fast=True)
    try:
        async with Vendor() as vendor, running_plane(catalog_of(vendor), redis_url=server.url) as plane:
            vendor.answer = held = Held(vendor)
            caller = await plane.caller()
            await caller.post(CALL, AUTHORIZED, KEY)
            await until(lambda: vendor.calls, "the call")
            os.kill(server.pid, signal.SIGSTOP)
            try:
                held.go_on.set()
                await until(lambda: plane.claims._live == set(), "the answer on its way to Redis")
                await caller.close()
                await until(lambda: plane.served, "the end of the call")
            finally:
                os.kill(server.pid, signal.SIGCONT)
            again = await until(lambda: is_answered(plane), "the answer")
            assert again.headers["idempotent-replayed"] == "true"
            assert len(vendor.calls) == 1
    finally:
        server.stop()


async def test_an_answer_that_is_cut_is_tried_elsewhere_and_never_kept(redis_url: str) -> None:
    async def cut(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: audio/mpeg", "content-length: 100")
        await wire.send(b"half")
        wire.close()

    async def whole(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: audio/mpeg", "content-length: 5")
        await wire.send(b"whole")

    path = "/v1/audio/speech"
    async with (
        Vendor(path=path, answer=cut) as first,
        Vendor(path=path, answer=whole) as second,
        running_plane(catalog_of(first, second), redis_url=redis_url) as plane,
    ):
        for _ in range(2):
            answer = await plane.post(CALL, KEY, path=path)
            assert (answer.body, answer.is_whole, answer.headers["x-relay-host"]) == (b"whole", True, "vendor-2")
        assert len(second.calls) == 1


# --- what is not kept ---


@SHAPES
@pytest.mark.parametrize("hosts", ["same", "other"])
async def test_a_stream_ignores_the_key_and_says_so(shape: WireShape, hosts: str, redis_url: str) -> None:
    host_shape = shape if hosts == "same" else MESSAGES if shape is not MESSAGES else CHAT
    async with Vendor(host_shape) as vendor, running_plane(catalog_of(vendor), redis_url=redis_url) as plane:
        for _ in range(2):
            answer = await plane.post(STREAMED[shape], KEY, path=PATHS[shape])
            assert (answer.status, answer.is_whole) == (200, True)
            assert answer.headers["x-relay-warnings"].split(", ")[-1] == "ignored:idempotency-key"
        assert len(vendor.calls) == 2
        assert outcomes(plane) == {}


@pytest.mark.parametrize("framing", ["content-length: {}", "transfer-encoding: chunked"])
async def test_a_large_answer_passes_and_says_that_it_is_not_kept(framing: str, redis_url: str) -> None:
    large = json.dumps({"data": "x" * 5_000}).encode()

    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: application/json", framing.format(len(large)))
        if "chunked" in framing:
            await wire.chunk(large[:2_000])
            await wire.chunk(large[2_000:])
            await wire.send(b"0\r\n\r\n")
        else:
            await wire.send(large)

    async with (
        Vendor(answer=answer) as vendor,
        running_plane(catalog_of(vendor), redis_url=redis_url, max_bytes=len(large) - 1) as plane,
    ):
        for _ in range(2):
            found = await plane.post(CALL, KEY)
            assert (found.body, found.headers["x-relay-warnings"]) == (large, "not_kept:idempotency-key")
            with client(redis_url) as redis:
                await until(lambda: not redis.exists(ENTRY), "a free key")
        assert len(vendor.calls) == 2
        assert outcomes(plane) == {"too_large": 2}
        assert [each.bytes_out for each in plane.served] == [len(large)] * 2


async def test_events_that_nobody_asked_to_stream_pass_as_they_come(redis_url: str) -> None:
    go_on = asyncio.Event()

    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
        await wire.chunk(b'data: {"type":"speech.audio.delta","audio":"aGk="}\n\n')
        await go_on.wait()
        await wire.chunk(b'data: {"type":"speech.audio.done","usage":{"input_tokens":1,"output_tokens":2}}\n\n')
        await wire.send(b"0\r\n\r\n")

    path = "/v1/audio/speech"
    async with (
        Vendor(path=path, answer=answer) as vendor,
        running_plane(catalog_of(vendor), redis_url=redis_url) as plane,
    ):
        caller = await plane.caller()
        await caller.post(CALL | {"stream_format": "sse"}, AUTHORIZED, KEY, path=path)
        status, lines = await caller.head()
        assert (status, lines["x-relay-warnings"]) == (200, "not_kept:idempotency-key")
        go_on.set()
        body, is_whole = await caller.chunks()
        assert is_whole
        assert b"speech.audio.done" in body
        assert await until(lambda: outcomes(plane), "the end of the call") == {"too_large": 1}


async def test_without_redis_no_call_is_made(redis_url: str) -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor)) as plane:
        refused = await plane.post(CALL, KEY)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert "its Redis does not answer" in refused.json["error"]["message"]
        assert vendor.calls == []
        assert (await plane.post(CALL)).status == 200
        assert outcomes(plane) == {"no_redis": 1}


async def test_an_answer_that_redis_does_not_take_says_so(redis_url: str) -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor), redis_url=redis_url) as plane:
        vendor.answer = held = Held(vendor)
        making = asyncio.create_task(plane.post(CALL, KEY))
        await until(lambda: vendor.calls, "the call")
        with client(redis_url) as redis:
            redis.flushall()
        held.go_on.set()
        answer = await making
        assert (answer.status, answer.json) == (200, ANSWERS[CHAT])
        assert answer.headers["x-relay-warnings"] == "not_kept:idempotency-key"
        assert outcomes(plane) == {"not_kept": 1}


# --- whole processes ---


async def test_a_killed_process_frees_its_keys_with_their_lease(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, tmp_path: Path, free_port: int
) -> None:
    async with Vendor() as vendor:
        vendor.answer = Held(vendor)
        await insert_catalog(owner, vendor)
        async with running_edge(tmp_path, free_port, edge_database_url, redis_url) as edge:

            async def ask() -> tuple[int, str | None]:
                sent = edge.client.post(
                    f"{edge.url}{PATHS[CHAT]}", json=CALL, headers=BEARER | {"Idempotency-Key": "order-1"}
                )
                async with sent as answer:
                    return answer.status, answer.headers.get("idempotent-replayed")

            making = asyncio.create_task(ask())
            await until(lambda: vendor.calls, "the call")
            [owner_of_claim] = edge.processes()
            os.kill(owner_of_claim, signal.SIGKILL)
            with pytest.raises(aiohttp.ClientError):
                await making
            vendor.answer = None
            await until(lambda: edge.processes() not in (set(), {owner_of_claim}), "a successor")
            await until(edge.is_ready, "readiness")
            assert await ask() == (409, None)
            with client(redis_url) as redis:
                assert 0 < redis.pttl(ENTRY) <= 30_000
                redis.pexpire(ENTRY, 1)  # as if its time were over
                await until(lambda: not redis.exists(ENTRY), "the end of the lease")
            assert [await ask() for _ in range(2)] == [(200, None), (200, "true")]
            assert len(vendor.calls) == 2
            made, replayed = (await rows_of(owner, 3))[-2:]
            assert (made["attempts"], made["input_tokens"], made["host"]) == (1, 3, "vendor")
            assert made["cost_nanousd"] > 0
            assert (replayed["status"], replayed["attempts"], replayed["input_tokens"]) == (200, 0, 0)
            assert (replayed["host"], replayed["cost_nanousd"], replayed["usage_source"]) == ("", None, "none")


# --- as SDKs do it ---


async def test_an_sdk_that_is_told_to_wait_gets_the_answer_of_its_first_call(redis_url: str) -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor), redis_url=redis_url) as plane:
        vendor.answer = held = Held(vendor)
        async with openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{plane.port}/v1", api_key=TOKEN.token, max_retries=5
        ) as sdk:

            async def ask() -> Any:
                return await sdk.chat.completions.with_raw_response.create(
                    model="demo-gpt",
                    messages=[{"role": "user", "content": "hi"}],
                    extra_headers={"Idempotency-Key": "order-1"},
                )

            both = [asyncio.create_task(ask()) for _ in range(2)]
            await until(lambda: any(each.status == 409 for each in plane.served), "a refusal")
            held.go_on.set()
            first, second = await asyncio.gather(*both)
        assert first.content == second.content
        assert {first.headers.get("idempotent-replayed"), second.headers.get("idempotent-replayed")} == {None, "true"}
        assert len(vendor.calls) == 1
        assert vendor.calls[0].header("idempotency-key") is None

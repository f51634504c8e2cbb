"""Streams that a policy holds for a while: what the caller gets, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from relay_contract.nouns import WireShape
from relay_contract.traffic import FailureClass
from relay_contract.usage import UsageSource
from tests.edge.conftest import until
from tests.edge.fault_vendor import ANTHROPIC, OPENAI, TEXT, Fault, fault_vendor, streaming, text_of
from tests.edge.nouns import POLICY
from tests.edge.plane import AUTHORIZED, Plane, catalog_of, running_plane
from tests.edge.test_failover import ROUTES, ask, assert_served, call_of, error_of, failures
from tests.edge.vendor import PATHS, Vendor


@asynccontextmanager
async def holding(
    host: WireShape, *scripts: Fault, hold_seconds: int = 60, ping_seconds: float = 15.0
) -> AsyncIterator[tuple[Plane, Vendor]]:
    """A plane that holds streams, with two hosts, of which the second is well unless `scripts` say otherwise."""
    keys = ("sk-vendor-1", "sk-vendor-2")
    async with (
        fault_vendor(host, *scripts[:1], keys=keys) as first,
        fault_vendor(host, *scripts[1:], keys=keys) as second,
        running_plane(
            [*catalog_of(first, second), replace(POLICY, hold_seconds=hold_seconds)], ping_seconds=ping_seconds
        ) as plane,
    ):
        yield plane, first


@ROUTES
@pytest.mark.parametrize("then", ["end", "cut"])
async def test_a_stream_that_breaks_goes_elsewhere(shape: WireShape, host: WireShape, then: str) -> None:
    async with holding(host, streaming("greeting", "words", then=then)) as (plane, _):
        answer = await ask(plane, shape)
        assert_served(plane, shape, answer, "vendor-2", 3)
        assert failures(plane) == [FailureClass.SERVER, FailureClass.SERVER, None]


@ROUTES
async def test_where_all_break_the_caller_gets_an_error_and_none_of_them(shape: WireShape, host: WireShape) -> None:
    broken = streaming("greeting", "words", then="cut")
    async with holding(host, broken, broken) as (plane, _):
        answer = await ask(plane, shape)
        assert (answer.status, answer.headers["x-relay-error-source"]) == (502, "upstream")
        assert "Attempts made: 3." in error_of(shape, answer.json)[1]
        assert b"one " not in answer.body
        assert (plane.served[0].usage, plane.served[0].usage_source) == (None, UsageSource.NONE)


@ROUTES
async def test_what_comes_after_the_time_takes_along_what_was_held(shape: WireShape, host: WireShape) -> None:
    on, on_again = asyncio.Event(), asyncio.Event()
    script = streaming("greeting", on, "words", on_again, "finish", "usage", "end")
    async with holding(host, script, hold_seconds=1) as (plane, vendor):
        caller = await plane.caller()
        await caller.post(call_of(shape, True), AUTHORIZED, path=PATHS[shape])
        await until(lambda: vendor.calls, "the host to be asked")
        on.set()
        passed = plane.wheel.now + 2
        await until(lambda: plane.wheel.now > passed, "the time to pass")
        assert not caller.reader._buffer  # type: ignore[attr-defined]  # the stub does not know it
        on_again.set()
        assert_served(plane, shape, await caller.answer(), "vendor-1", 1)
        await caller.close()


async def test_a_large_stream_is_let_go() -> None:
    go_on = asyncio.Event()
    much = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"x" * 100_000)
    async with holding(OPENAI, streaming("greeting", *[much] * 11, go_on, "finish", "usage", "end")) as (plane, _):
        caller = await plane.caller()
        await caller.post(call_of(OPENAI, True), AUTHORIZED, path=PATHS[OPENAI])
        assert (await caller.head())[0] == 200
        go_on.set()
        body, is_whole = await caller.chunks()
        assert (len(text_of(OPENAI, body)), is_whole) == (1_100_000, True)
        await caller.close()


async def test_pings_pass_while_it_is_held() -> None:
    go_on = asyncio.Event()
    script = streaming("greeting", "words", go_on, "finish", "usage", "end")
    async with holding(ANTHROPIC, script, ping_seconds=0.05) as (plane, _):
        caller = await plane.caller()
        await caller.post(call_of(ANTHROPIC, True), AUTHORIZED, path=PATHS[ANTHROPIC])
        assert (await caller.head())[0] == 200
        go_on.set()
        body, is_whole = await caller.chunks()
        assert body.startswith(b"event: ping")
        assert (text_of(ANTHROPIC, body), is_whole) == (TEXT, True)
        await caller.close()


async def test_a_key_for_calls_made_once_changes_nothing() -> None:
    async with holding(OPENAI, streaming("greeting", "words", then="cut")) as (plane, _):
        answer = await plane.post(call_of(OPENAI, True), "Idempotency-Key: a")
        assert (answer.status, text_of(OPENAI, answer.body)) == (200, TEXT)
        assert answer.headers["x-relay-warnings"] == "ignored:idempotency-key"

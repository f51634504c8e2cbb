"""FailoverBench's faults, accelerated, in the caller's own shape and translated: who answers, what the caller is told,
and what is written down. Deadlines are the catalog's, in milliseconds; no test waits for a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay_contract.nouns import WireShape
from relay_contract.traffic import ErrorSource, FailureClass
from relay_contract.usage import Usage, UsageSource
from relay_edge.failover import MAX_TRIES_OF_A_MODEL
from tests.edge.conftest import until
from tests.edge.fault_vendor import (
    ANTHROPIC,
    GARBLED,
    OPENAI,
    SAID,
    TEXT,
    Fault,
    cut_whole,
    error_body,
    failing,
    fault_vendor,
    healthy,
    refusal,
    reset,
    silent,
    slow_to_speak,
    status,
    streaming,
    text_of,
)
from tests.edge.plane import AUTHORIZED, Answer, Plane, catalog_of, running_plane
from tests.edge.test_inference import error_of
from tests.edge.vendor import PATHS, Vendor, VendorCall, Wire

USED = Usage(input_tokens=11, output_tokens=3)
CALL: dict[str, Any] = {"model": "demo-gpt", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}
ROUTES = pytest.mark.parametrize(
    ("shape", "host"),
    [(OPENAI, OPENAI), (ANTHROPIC, ANTHROPIC), (OPENAI, ANTHROPIC), (ANTHROPIC, OPENAI)],
    ids=["chat", "messages", "chat on messages", "messages on chat"],
)
FORMS = pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])


def call_of(shape: WireShape, is_stream: bool) -> dict[str, Any]:
    if not is_stream:
        return CALL
    return CALL | {"stream": True} | ({"stream_options": {"include_usage": True}} if shape is OPENAI else {})


async def ask(plane: Plane, shape: WireShape, is_stream: bool = True) -> Answer:
    return await plane.post(call_of(shape, is_stream), path=PATHS[shape])


async def ask_on(plane: Plane, shape: WireShape, go_on: asyncio.Event) -> Answer:
    """A streamed call whose host goes on once the caller has got something."""
    caller = await plane.caller()
    await caller.post(call_of(shape, True), AUTHORIZED, path=PATHS[shape])
    status_code, headers = await caller.head()
    go_on.set()
    body, is_whole = await caller.chunks()
    await caller.close()
    await until(lambda: plane.served, "the call to end")
    return Answer(status_code, headers, body, is_whole, closes=False)


@asynccontextmanager
async def alone(host: WireShape, *script: Fault, keys: int = 1, **timeouts: int) -> AsyncIterator[tuple[Plane, Vendor]]:
    """A plane with one host."""
    async with (
        fault_vendor(host, *script) as vendor,
        running_plane(catalog_of(vendor, keys=keys, **timeouts)) as plane,
    ):
        yield plane, vendor


@asynccontextmanager
async def with_spare(
    host: WireShape, *script: Fault, keys: int = 1, **timeouts: int
) -> AsyncIterator[tuple[Plane, Vendor, Vendor]]:
    """A plane with a host that fails and one that does not, for the same model."""
    async with (
        fault_vendor(host, *script) as failing_vendor,
        fault_vendor(host, keys=tuple(f"sk-vendor-{n}" for n in range(1, 9))) as spare,
        running_plane(catalog_of(failing_vendor, spare, keys=keys, **timeouts)) as plane,
    ):
        yield plane, failing_vendor, spare


def assert_served(plane: Plane, shape: WireShape, answer: Answer, by: str, attempts: int) -> None:
    """The caller has everything, and the record says who gave it and what that used, once."""
    assert (answer.status, answer.is_whole) == (200, True)
    assert text_of(shape, answer.body) == TEXT
    assert (answer.headers["x-relay-host"], answer.headers["x-relay-attempts"]) == (by, str(attempts))
    record = plane.served[-1]
    assert (record.status, record.error, record.error_source) == (200, "", None)
    assert (record.host, record.tries) == (by, attempts)
    assert (record.usage, record.usage_source, record.finish) == (USED, UsageSource.PROVIDER, "end")
    assert [attempt.failure is None for attempt in record.attempts] == [False] * (attempts - 1) + [True]
    assert record.first_token is not None


def failures(plane: Plane) -> list[FailureClass | None]:
    return [attempt.failure for attempt in plane.served[-1].attempts]


def assert_stream_broke(plane: Plane, shape: WireShape, answer: Answer, words: int) -> str:
    """The caller has so many words and then an error in its shape, not a success. Returns the error's message."""
    assert (answer.status, answer.is_whole) == (200, False)
    assert b"[DONE]" not in answer.body
    assert b"message_stop" not in answer.body
    good, _, last = answer.body.rstrip().rpartition(b"data: ")
    assert text_of(shape, good.removesuffix(b"event: error\n")) == "".join(("one ", "two ", "three")[:words])
    record = plane.served[-1]
    assert record.error_source is ErrorSource.UPSTREAM
    assert record.status in (502, 504)
    assert record.usage_source is UsageSource.PARTIAL
    return error_of(shape, json.loads(last))[1]


# --- S01, S02: 429 ---


@ROUTES
@FORMS
async def test_a_429_goes_elsewhere(shape: WireShape, host: WireShape, is_stream: bool) -> None:
    async with with_spare(host, status(429, "retry-after: 20")) as (plane, limited, spare):
        assert_served(plane, shape, await ask(plane, shape, is_stream), "vendor-2", 2)
        assert (len(limited.calls), len(spare.calls)) == (1, 1)
        assert failures(plane) == [FailureClass.RATE_LIMIT, None]


@ROUTES
@pytest.mark.parametrize("line", ["retry-after-ms: 30", "x-ratelimit-reset-requests: 30ms"])
async def test_a_short_wait_is_waited_where_nobody_else_is(shape: WireShape, host: WireShape, line: str) -> None:
    times = []

    async def noting(said: Any, own: WireShape, call: VendorCall, wire: Wire) -> None:
        times.append(asyncio.get_running_loop().time())
        fault = status(429, line, "x-ratelimit-remaining-requests: 0") if len(times) == 1 else healthy
        await fault(said, own, call, wire)

    async with alone(host, noting) as (plane, _):
        assert_served(plane, shape, await ask(plane, shape), "vendor-1", 2)
        assert times[1] - times[0] >= 0.029  # the clock of the loop counts milliseconds


@ROUTES
@FORMS
async def test_a_429_without_a_wait_is_not_hammered(shape: WireShape, host: WireShape, is_stream: bool) -> None:
    async with alone(host, status(429)) as (plane, vendor):
        answer = await ask(plane, shape, is_stream)
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert (answer.headers["x-relay-error-source"], answer.headers["x-relay-attempts"]) == ("upstream", "1")
        error_of(shape, answer.json)
        assert len(vendor.calls) == 1
        record = plane.served[-1]
        assert (record.status, record.error, record.error_source) == (429, "rate_limit", ErrorSource.UPSTREAM)
        assert (record.usage, record.usage_source) == (None, UsageSource.NONE)


async def test_the_shortest_wait_of_all_hosts_is_told() -> None:
    async with (
        fault_vendor(OPENAI, status(429, "retry-after: 70")) as first,
        fault_vendor(OPENAI, status(503, "retry-after-ms: 29500")) as second,
        running_plane(catalog_of(first, second)) as plane,
    ):
        answer = await ask(plane, OPENAI)
        assert (answer.status, answer.headers["retry-after"]) == (429, "30")
        assert (answer.headers["x-relay-host"], answer.headers["x-relay-attempts"]) == ("vendor-1", "2")
        assert "retry-after-ms" not in answer.headers


@ROUTES
async def test_an_empty_account_of_ours_is_not_the_callers(shape: WireShape, host: WireShape) -> None:
    async with alone(host, refusal("quota")) as (plane, _):
        answer = await ask(plane, shape)
        assert (answer.status, answer.headers["x-relay-error-source"]) == (503, "relay")
        assert "Attempts made: 1." in error_of(shape, answer.json)[1]
        assert b"quota" not in answer.body
        assert b"credit" not in answer.body
        assert failures(plane) == [FailureClass.QUOTA]


# --- S03, S04, S05: 500 once, 503 for good, reset ---


@ROUTES
@FORMS
@pytest.mark.parametrize("fault", [status(500), reset], ids=["500", "reset"])
async def test_what_may_pass_is_tried_once_more(shape: WireShape, host: WireShape, is_stream: bool, fault: Any) -> None:
    async with alone(host, fault, healthy) as (plane, vendor):
        assert_served(plane, shape, await ask(plane, shape, is_stream), "vendor-1", 2)
        assert len(vendor.calls) == 2


@ROUTES
async def test_a_500_is_tried_again_at_the_same_host_first(shape: WireShape, host: WireShape) -> None:
    async with with_spare(host, status(500), healthy) as (plane, _, spare):
        assert_served(plane, shape, await ask(plane, shape), "vendor-1", 2)
        assert spare.calls == []


@ROUTES
@pytest.mark.parametrize("number", [503, 529])
async def test_an_overloaded_host_is_left_alone(shape: WireShape, host: WireShape, number: int) -> None:
    async with with_spare(host, status(number), keys=2) as (plane, busy, _):
        assert_served(plane, shape, await ask(plane, shape), "vendor-2", 2)
        assert len(busy.calls) == 1
    async with alone(host, status(number)) as (plane, vendor):
        answer = await ask(plane, shape)
        assert answer.status in (503, 529)
        assert answer.headers["retry-after"] == "1"
        assert len(vendor.calls) == 1


@ROUTES
@FORMS
async def test_a_reset_connection_goes_elsewhere(shape: WireShape, host: WireShape, is_stream: bool) -> None:
    async with with_spare(host, reset) as (plane, down, _):
        assert_served(plane, shape, await ask(plane, shape, is_stream), "vendor-2", 2)
        assert len(down.calls) == 1
        assert failures(plane)[0] is FailureClass.NETWORK


# --- S06, S07: silence, a slow first token ---


@ROUTES
@pytest.mark.parametrize("fault", [silent, slow_to_speak])
async def test_a_silent_host_is_never_asked_twice(shape: WireShape, host: WireShape, fault: Fault) -> None:
    async with with_spare(host, fault, keys=2, first_token_timeout_ms=50) as (plane, quiet, _):
        assert_served(plane, shape, await ask(plane, shape), "vendor-2", 2)
        assert len(quiet.calls) == 1
        assert failures(plane)[0] is FailureClass.TIMEOUT
        await until(lambda: quiet.closed_connections == 1, "the silent connection to end")
    async with alone(host, fault, keys=2, first_token_timeout_ms=50) as (plane, quiet):
        answer = await ask(plane, shape)
        assert (answer.status, answer.headers["x-relay-attempts"]) == (504, "1")
        assert "Attempts made: 1." in error_of(shape, answer.json)[1]
        assert len(quiet.calls) == 1


@ROUTES
async def test_a_whole_answer_may_take_its_time_until_the_first_byte(shape: WireShape, host: WireShape) -> None:
    """The deadline for a first token is for streams: a whole answer has none before its end."""
    async with with_spare(host, silent, first_token_timeout_ms=1, first_byte_timeout_ms=50) as (plane, quiet, _):
        assert_served(plane, shape, await ask(plane, shape, is_stream=False), "vendor-2", 2)
        assert len(quiet.calls) == 1


@ROUTES
async def test_after_the_first_token_its_deadline_is_over(shape: WireShape, host: WireShape) -> None:
    go_on = asyncio.Event()

    async def paused(said: Any, _own: WireShape, _call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
        await wire.chunk(said.greeting + said.words[0])
        await go_on.wait()
        await wire.chunk(said.words[1] + said.words[2] + said.finish + said.usage + said.end)
        await wire.send(b"0\r\n\r\n")

    async with alone(host, paused, first_token_timeout_ms=1) as (plane, _):
        caller = await plane.caller()
        await caller.post(call_of(shape, True), AUTHORIZED, path=PATHS[shape])
        assert (await caller.head())[0] == 200
        passed = plane.wheel.now + 0.3
        await until(lambda: plane.wheel.now > passed, "the deadline to pass")
        go_on.set()
        body, is_whole = await caller.chunks()
        assert (text_of(shape, body), is_whole) == (TEXT, True)
        await caller.close()


# --- S08, S09: cut, stalled ---


@ROUTES
@pytest.mark.parametrize("then", ["end", "cut"])
async def test_a_stream_that_stops_short_is_never_a_success(shape: WireShape, host: WireShape, then: str) -> None:
    go_on = asyncio.Event()
    async with with_spare(host, streaming("greeting", "words", go_on, then=then)) as (plane, _, spare):
        assert_stream_broke(plane, shape, await ask_on(plane, shape, go_on), 3)
        assert spare.calls == []
        assert plane.served[-1].attempts[0].failure is FailureClass.SERVER
        usage = plane.served[-1].usage
        assert usage == (Usage(input_tokens=11, output_tokens=1) if host is ANTHROPIC else None)


@ROUTES
async def test_a_stalled_stream_ends_within_the_idle_time(shape: WireShape, host: WireShape) -> None:
    async with with_spare(host, streaming("greeting", "words", then="stall"), idle_timeout_ms=50) as (plane, _, spare):
        message = assert_stream_broke(plane, shape, await ask(plane, shape), 3)
        assert "in time" in message
        assert spare.calls == []


@ROUTES
@pytest.mark.parametrize("then", ["end", "cut", "stall"])
async def test_a_stream_that_stops_before_its_content_is_tried_elsewhere(
    shape: WireShape, host: WireShape, then: str
) -> None:
    async with with_spare(host, streaming("greeting", then=then), idle_timeout_ms=50) as (plane, _, _):
        answer = await ask(plane, shape)
        attempts = 2 if then == "stall" else 3  # what was cut may pass: once more at the same host
        assert_served(plane, shape, answer, "vendor-2", attempts)


# --- S10: garbled events ---


@ROUTES
async def test_a_garbled_event_is_left_out(shape: WireShape, host: WireShape) -> None:
    script = streaming("greeting", GARBLED, "words", "finish", "usage", "end")
    async with alone(host, script) as (plane, _):
        answer = await ask(plane, shape)
        assert_served(plane, shape, answer, "vendor-1", 1)
        assert b'"del\n' not in answer.body


@ROUTES
async def test_a_second_garbled_event_breaks_the_stream(shape: WireShape, host: WireShape) -> None:
    go_on = asyncio.Event()
    async with alone(host, streaming("greeting", "words", go_on, GARBLED, GARBLED, "finish", "end")) as (plane, _):
        answer = await ask_on(plane, shape, go_on)
        assert_stream_broke(plane, shape, answer, 3)
        assert b'"del\n' not in answer.body


@ROUTES
async def test_garbage_before_content_is_tried_elsewhere(shape: WireShape, host: WireShape) -> None:
    async with with_spare(host, streaming(GARBLED, GARBLED)) as (plane, garbling, _):
        assert_served(plane, shape, await ask(plane, shape), "vendor-2", 3)
        assert len(garbling.calls) == 2


# --- S11: no end mark ---


@ROUTES
@pytest.mark.parametrize("then", ["end", "cut", "stall"])
async def test_a_finished_stream_without_its_mark_is_whole(shape: WireShape, host: WireShape, then: str) -> None:
    script = streaming("greeting", "words", "finish", "usage", then=then)
    async with alone(host, script, idle_timeout_ms=50) as (plane, _):
        answer = await ask(plane, shape)
        assert_served(plane, shape, answer, "vendor-1", 1)
        assert answer.body.rstrip().endswith(b"[DONE]" if shape is OPENAI else b'"message_stop"}')


@ROUTES
async def test_the_end_mark_is_the_end_though_the_host_holds_on(shape: WireShape, host: WireShape) -> None:
    """The caller's connection serves on, while the host's is given up."""
    async with alone(host, streaming("stream", then="stall"), healthy) as (plane, vendor):
        caller = await plane.caller()
        for _ in range(2):
            await caller.post(call_of(shape, True), AUTHORIZED, path=PATHS[shape])
            answer = await caller.answer()
            assert_served(plane, shape, answer, "vendor-1", 1)
        await until(lambda: vendor.closed_connections == 1, "the host's connection to end")
        await caller.close()


# --- S12, S13: the call is at fault ---


REFUSED = {
    "context": FailureClass.CONTEXT_LENGTH,
    "filter": FailureClass.CONTENT_FILTER,  # Anthropic answers with the stop reason `refusal` instead
    "prefill": FailureClass.CALLER,
}


@FORMS
@pytest.mark.parametrize(
    ("shape", "host", "name"),
    [
        (shape, host, name)
        for shape in (OPENAI, ANTHROPIC)
        for host in (OPENAI, ANTHROPIC)
        for name in REFUSED
        if name != "filter" or host is OPENAI
    ],
)
async def test_the_same_model_is_not_asked_again_for_what_it_refuses(
    shape: WireShape, host: WireShape, name: str, is_stream: bool
) -> None:
    async with with_spare(host, refusal(name), keys=2) as (plane, refusing, spare):
        answer = await ask(plane, shape, is_stream)
        assert (answer.status, answer.headers["x-relay-attempts"]) == (400, "1")
        assert answer.headers["x-relay-error-source"] == "client"
        message = error_of(shape, answer.json)[1]
        if (shape, name) == (ANTHROPIC, "context"):
            assert "prompt is too long" in message
        assert (len(refusing.calls), len(spare.calls)) == (1, 0)
        assert failures(plane) == [REFUSED[name]]
        assert plane.served[-1].error_source is ErrorSource.CLIENT


# --- S15: a host that flaps ---


async def test_a_host_that_was_down_is_used_again() -> None:
    down = True

    async def flapping(said: Any, own: WireShape, call: VendorCall, wire: Wire) -> None:
        await (status(503) if down else healthy)(said, own, call, wire)

    async with with_spare(OPENAI, flapping) as (plane, vendor, _):
        for _ in range(10):
            answer = await ask(plane, OPENAI)
            assert (answer.status, answer.headers["x-relay-host"]) == (200, "vendor-2")
        assert len(vendor.calls) <= 10
        down = False

        async def is_back() -> bool:
            return (await ask(plane, OPENAI)).headers["x-relay-host"] == "vendor-1"

        await until(is_back, "the host to be used again", seconds=30)


# --- errors inside a stream, cut bodies ---


@ROUTES
async def test_an_error_before_content_is_tried_elsewhere(shape: WireShape, host: WireShape) -> None:
    async with with_spare(host, failing("greeting")) as (plane, _, _):
        answer = await ask(plane, shape)
        assert_served(plane, shape, answer, "vendor-2", 2)
        assert failures(plane)[0] is FailureClass.OVERLOADED
        assert b"luck" not in answer.body


@ROUTES
async def test_a_429_in_the_middle_of_a_stream_ends_the_call(shape: WireShape, host: WireShape) -> None:
    go_on = asyncio.Event()
    async with alone(host, failing("greeting", "words", go_on, kind="rate_limit_error")) as (plane, vendor):
        message = assert_stream_broke(plane, shape, await ask_on(plane, shape, go_on), 3)
        assert message == "The upstream host reported rate_limit_error in its stream."
        assert len(vendor.calls) == 1
        assert failures(plane) == [FailureClass.RATE_LIMIT]


@ROUTES
async def test_a_cut_body_is_tried_again(shape: WireShape, host: WireShape) -> None:
    async with with_spare(host, cut_whole) as (plane, cutting, _):
        assert_served(plane, shape, await ask(plane, shape, is_stream=False), "vendor-2", 3)
        assert len(cutting.calls) == 2
    async with alone(host, cut_whole) as (plane, _):
        answer = await ask(plane, shape, is_stream=False)
        assert (answer.status, answer.headers["x-relay-attempts"]) == (502, "2")
        assert "Attempts made: 2." in error_of(shape, answer.json)[1]


@ROUTES
@FORMS
async def test_an_http_1_0_caller_is_failed_over_too(shape: WireShape, host: WireShape, is_stream: bool) -> None:
    async with with_spare(host, status(429)) as (plane, _, _):
        caller = await plane.caller()
        await caller.post(call_of(shape, is_stream), AUTHORIZED, path=PATHS[shape], version="1.0")
        answer = await caller.answer()
        assert_served(plane, shape, answer, "vendor-2", 2)
        assert answer.closes
        await caller.close()


# --- error answers that cannot be read ---


@ROUTES
@pytest.mark.parametrize("how", ["too large", "never whole", "cut"])
async def test_an_error_without_a_readable_reason_is_known_by_its_status(
    shape: WireShape, host: WireShape, how: str
) -> None:
    async def unreadable(_said: Any, _own: WireShape, _call: VendorCall, wire: Wire) -> None:
        await wire.head(429, "content-type: application/json", "content-length: 1000000")
        await wire.send(b"x" * (900_000 if how == "too large" else 10))
        if how == "cut":
            wire.close()
        else:
            await wire.closed_by_edge(20)

    async with with_spare(host, unreadable, idle_timeout_ms=50) as (plane, _, _):
        assert_served(plane, shape, await ask(plane, shape), "vendor-2", 2)
        assert failures(plane)[0] is FailureClass.RATE_LIMIT
    async with alone(host, unreadable, idle_timeout_ms=50) as (plane, _):
        answer = await ask(plane, shape)
        assert (answer.status, answer.is_whole) == (429, True)
        assert "with status 429" in error_of(shape, answer.json)[1]


# --- bounds ---


@ROUTES
async def test_a_call_ends_whatever_its_hosts_do(shape: WireShape, host: WireShape) -> None:
    faults = (status(429), status(500), reset, status(401), failing("greeting"), status(503))
    for fault in faults:
        async with (
            fault_vendor(host, fault, keys=tuple(f"sk-vendor-{n}" for n in range(1, 17))) as one,
            fault_vendor(host, fault, keys=tuple(f"sk-vendor-{n}" for n in range(1, 17))) as two,
            running_plane(catalog_of(one, two, keys=8)) as plane,
        ):
            answer = await ask(plane, shape)
            assert answer.status >= 400
            assert len(one.calls) + len(two.calls) == MAX_TRIES_OF_A_MODEL
            assert answer.headers["x-relay-attempts"] == str(MAX_TRIES_OF_A_MODEL)


async def test_the_total_deadline_is_the_calls_and_not_the_tries() -> None:
    async def dawdling(said: Any, own: WireShape, call: VendorCall, wire: Wire) -> None:
        await wire.closed_by_edge(20)

    async with (
        fault_vendor(OPENAI, dawdling) as one,
        fault_vendor(OPENAI, dawdling) as two,
        running_plane(catalog_of(one, two, total_timeout_ms=50)) as plane,
    ):
        answer = await ask(plane, OPENAI)
        assert (answer.status, answer.headers["x-relay-attempts"]) == (504, "1")
        assert (len(one.calls), len(two.calls)) == (1, 0)


async def test_what_a_caller_who_left_has_used_is_kept() -> None:
    async with alone(ANTHROPIC, streaming("greeting", "words", then="stall")) as (plane, vendor):
        caller = await plane.caller()
        await caller.post(call_of(ANTHROPIC, True), AUTHORIZED, path="/v1/messages")
        await caller.head()
        await caller.close()
        await until(lambda: plane.served, "the call to end")
        record = plane.served[0]
        assert (record.status, record.usage_source) == (499, UsageSource.PARTIAL)
        assert record.usage == Usage(input_tokens=11, output_tokens=1)
        assert record.attempts[0].ended > 0
        await until(lambda: vendor.closed_connections == 1, "the host's connection to end")


# --- what is told ---


async def test_every_error_says_whose_fault_it_is(free_port: int) -> None:
    async with running_plane(catalog_of(Vendor(port=free_port))) as plane:
        unreachable = await ask(plane, OPENAI)
        assert (unreachable.status, unreachable.headers["x-relay-error-source"]) == (502, "upstream")
        unknown = await plane.post(CALL | {"model": "nothing"})
        assert (unknown.status, unknown.headers["x-relay-error-source"]) == (404, "client")
        assert "x-relay-attempts" not in unknown.headers
    async with alone(OPENAI, status(401)) as (plane, _):
        ours = await ask(plane, OPENAI)
        assert (ours.status, ours.headers["x-relay-error-source"]) == (503, "relay")
        assert ours.headers["x-relay-model"] == "demo-gpt"


@ROUTES
async def test_a_host_that_quotes_our_key_is_not_quoted(shape: WireShape, host: WireShape) -> None:
    async def quoting(_said: Any, own: WireShape, _call: VendorCall, wire: Wire) -> None:
        body = error_body(own, "some_error", "the key sk-vendor-1 may not")
        await wire.answer(body, 400, "x-key: sk-vendor-1", "x-other: yes")

    async with alone(host, quoting) as (plane, _):
        answer = await ask(plane, shape)
        assert answer.status == 400
        assert b"sk-vendor-1" not in answer.body
        assert "x-key" not in answer.headers
        assert ("x-other" in answer.headers) is (shape is host)


async def test_the_failure_that_says_most_is_told() -> None:
    """A wrong key of ours comes last, though it came first; and the answer is the one host's, word for word."""
    async with (
        fault_vendor(OPENAI, status(401)) as first,
        fault_vendor(OPENAI, status(529, kind="overloaded_error")) as second,
        running_plane(catalog_of(first, second)) as plane,
    ):
        answer = await ask(plane, OPENAI)
        assert (answer.status, answer.headers["x-relay-host"]) == (529, "vendor-2")
        assert answer.headers["x-relay-attempts"] == "2"
        assert answer.body == error_body(OPENAI, "overloaded_error", "no")


async def test_a_large_answer_passes_while_it_comes() -> None:
    """What is held of a JSON answer until it is whole is bounded; its usage is read all the same."""
    filling = json.loads(SAID[OPENAI].whole)
    filling["choices"][0]["message"]["content"] = "x" * 600_000
    body = json.dumps(filling).encode()
    go_on = asyncio.Event()

    async def large(_said: Any, _own: WireShape, _call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: application/json", f"content-length: {len(body)}")
        await wire.send(body[:500_000])
        await go_on.wait()
        await wire.send(body[500_000:])

    async with alone(OPENAI, large) as (plane, _):
        caller = await plane.caller()
        await caller.post(CALL, AUTHORIZED)
        status_code, headers = await caller.head()
        go_on.set()
        assert (status_code, headers["content-length"]) == (200, str(len(body)))
        assert await caller.reader.readexactly(len(body)) == body
        await until(lambda: plane.served, "the call to end")
        assert (plane.served[0].usage, plane.served[0].finish) == (USED, "end")
        await caller.close()

"""What a whole edge process leaves of calls besides their rows: traces, captures, spans, log lines, figures."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from relay_contract import nouns as meaning
from relay_contract.nouns import Noun, WireShape
from relay_contract.redis import breakers, keys
from relay_contract.sealing import Sealer
from tests.edge import nouns
from tests.edge.collector import Collector, running_collector
from tests.edge.conftest import until
from tests.edge.inside import InsideEdge, inside_edge
from tests.edge.running import ROOT
from tests.edge.vendor import CHAT, Vendor, VendorCall, Wire

CALL = {"model": "demo-gpt", "messages": [{"role": "user", "content": "canary-prompt"}]}
KEY = {"Authorization": f"Bearer {nouns.TOKEN.token}"}
SECOND_KEY = "sk-vendor-2"
TEN_A_MINUTE = replace(nouns.RATE_LIMIT, rules=(meaning.Rule(meaning.Meter.TOKENS, 100_000, 60),))


async def insert_catalog(owner: AsyncConnection[Any], vendor: Vendor, **changes: Noun) -> None:
    """One model at one vendor, with a price and two keys."""

    def sealed(number: int, value: str) -> bytes:
        return Sealer(bytes(32)).seal(value, f"host_key:{number}")

    changed: tuple[Noun, ...] = (
        replace(nouns.HOST, base_url=vendor.url),
        replace(nouns.HOST_KEY, sealed_value=sealed(1, "sk-vendor-1")),
        replace(nouns.BINDING, pricing_id=nouns.PRICING.id, wire_shape=vendor.shape),
        TEN_A_MINUTE,
        *changes.values(),
    )
    rows = {type(each): each for each in changed}
    await nouns.insert(owner, *(rows.get(type(row), row) for row in nouns.EVERYTHING))
    second = replace(nouns.HOST_KEY, id=meaning.HostKeyId(2), name="second", sealed_value=sealed(2, SECOND_KEY))
    await nouns.insert(owner, second)


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    """Answers as usual, or as a test tells it to."""
    async with Vendor() as running:
        yield running


@pytest.fixture
def start(edge_database_url: str, redis_url: str, tmp_path: Path, free_port: int) -> Any:
    """Starts an edge with these settings, with a connection for rows."""

    @asynccontextmanager
    async def starting(**settings: str) -> AsyncIterator[InsideEdge]:
        async with inside_edge(tmp_path, free_port, edge_database_url, redis_url, **settings) as edge:
            await until(lambda: edge.edge.records.is_connected, "a connection for rows")
            yield edge

    return starting


async def post(
    edge: InsideEdge, document: Any = CALL, path: str = "/v1/chat/completions", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    async with edge.client.post(f"{edge.url}{path}", json=document, headers=KEY | headers) as answer:
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.read()


async def rows_of(owner: AsyncConnection[Any], table: str, count: int) -> list[dict[str, Any]]:
    """Rows with the request ids of their calls, oldest first, once there are so many of both."""

    async def read() -> list[dict[str, Any]]:
        async with owner.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(f"SELECT t.*, c.request_id FROM {table} t JOIN traffic_call c USING (id) ORDER BY id")
            found = await cursor.fetchall()
        return found if len(found) >= count else []

    return await until(read, f"{count} rows of {table}")


async def test_a_retried_call_leaves_a_trace_and_a_plain_one_none(
    owner: AsyncConnection[Any], start: Any, vendor: Vendor
) -> None:
    limited = replace(nouns.RELAY_KEY, rate_limit_id=nouns.RATE_LIMIT.id)
    await insert_catalog(owner, vendor, key=limited)
    refused = 0

    async def once_busy(call: VendorCall, wire: Wire) -> None:
        nonlocal refused
        if not refused:
            refused += 1
            await wire.answer(b'{"error":{"message":"canary-words"}}', 429)
        else:
            await vendor.standard(call, wire)

    async with start(RELAY_TRACE_SHARE="0") as edge:
        assert (await post(edge, **{"x-request-id": "plain-0"}))[0] == 200
        vendor.answer = once_busy
        assert (await post(edge, CALL | {"max_tokens": 50}, **{"x-request-id": "retried"}))[0] == 200
        vendor.answer = None
        assert (await post(edge, CALL | {"model": "nothing"}, **{"x-request-id": "failed"}))[0] == 404
        assert (await post(edge, **{"x-request-id": "asked", "x-relay-tags": "relay-trace=1"}))[0] == 200
    traced, failed, asked = await rows_of(owner, "traffic_trace", 3)
    assert (traced["request_id"], failed["request_id"], asked["request_id"]) == ("retried", "failed", "asked")
    assert asked["trace"]["why"] == "asked"
    trace = traced["trace"]
    assert (trace["why"], trace["policy"], trace["candidate_count"]) == ("retried", "all", 2)
    assert [(each["status"], each["failure"], each["host"]) for each in trace["attempts"]] == [
        (429, "rate_limit", "vendor"), (200, None, "vendor"),
    ]  # fmt: skip
    first, second = trace["attempts"]
    assert {first["host_key"], second["host_key"]} == {"main", "second"}
    assert 0 < first["start_us"] < first["start_us"] + first["duration_us"] <= second["start_us"]
    assert second["start_us"] < second["first_byte_us"] <= second["first_token_us"] <= trace["phases"]["total_us"]
    [limit] = trace["limits"]
    assert (limit["meter"], limit["limit"]) == ("tokens", 100_000)
    assert trace["reserved"]["tokens"] > 50
    assert trace["used"] == {"tokens": 4, "nanousd": 13_750}
    assert trace["price"]["lines"] == [
        {"meter": "input", "units": 3, "nanousd_per_million": 1_250_000_000, "nanousd": 3_750},
        {"meter": "output", "units": 1, "nanousd_per_million": 10_000_000_000, "nanousd": 10_000},
    ]
    assert (failed["trace"]["candidates"], failed["trace"]["attempts"]) == ([], [])
    assert failed["trace"]["phases"]["admission_us"] is None
    written = json.dumps([traced["trace"], failed["trace"]])
    for secret in ("sk-vendor", "canary", nouns.TOKEN.token):
        assert secret not in written


async def test_a_translated_call_says_what_was_left_out(owner: AsyncConnection[Any], start: Any) -> None:
    async with Vendor(shape=WireShape.ANTHROPIC_MESSAGES) as vendor:
        await insert_catalog(owner, vendor)
        async with start(RELAY_TRACE_SHARE="1") as edge:
            status, headers, _ = await post(edge, CALL | {"seed": 7})
            assert status == 200
        [row] = await rows_of(owner, "traffic_trace", 1)
    assert row["trace"]["why"] == "sampled"
    assert row["trace"]["warnings"] == headers["x-relay-warnings"].split(", ")
    assert row["trace"]["candidates"][0]["is_translated"] is True


async def test_server_timing_on_answers_and_errors(owner: AsyncConnection[Any], start: Any, vendor: Vendor) -> None:
    await insert_catalog(owner, vendor)
    async with start() as edge:
        for document, status in ((CALL, 200), (CALL | {"model": "nothing"}, 404)):
            got, headers, _ = await post(edge, document)
            parts = [part.split(";dur=") for part in headers["server-timing"].split(", ")]
            assert got == status
            assert [name for name, _ in parts] == (["relay", "admission"] if status == 200 else ["relay"])
            assert all(0 < float(milliseconds) < 10_000 for _, milliseconds in parts)


# --- captured payloads ---


@pytest.mark.parametrize("who", ["key", "policy"])
async def test_a_capture_is_redacted_and_cut(who: str, owner: AsyncConnection[Any], start: Any, vendor: Vendor) -> None:
    noun = nouns.RELAY_KEY if who == "key" else nouns.POLICY
    await insert_catalog(owner, vendor, changed=replace(noun, captures_payloads=True))
    quoting = json.dumps(CHAT | {"note": f"you sent sk-vendor-1 or {SECOND_KEY}", "tail": "x" * 3000}).encode()

    async def quotes(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(quoting)

    vendor.answer = quotes
    async with start(RELAY_CAPTURE_BYTES="1024") as edge:
        _, headers, body = await post(edge, CALL | {"password": "hunter2-canary"}, **{"x-request-id": "kept"})
        assert body == quoting
        assert not [name for name in headers if "captur" in name]
        assert (await post(edge, CALL | {"model": "nothing"}, **{"x-request-id": "refused"}))[0] == 404
    kept, refused = await rows_of(owner, "traffic_capture", 2)
    assert "canary-prompt" in kept["request"]
    assert "hunter2-canary" not in kept["request"]
    assert kept["response"].startswith('{"id": "chatcmpl-1"')
    assert (len(kept["response"]), kept["is_cut"]) == (1024, True)
    assert "sk-vendor" not in kept["response"]
    assert "you sent [redacted] or [redacted]" in kept["response"]
    assert json.loads(refused["response"])["error"]["code"] == "model_not_found"
    assert refused["is_cut"] is False


async def test_a_captured_stream_is_what_was_delivered(owner: AsyncConnection[Any], start: Any, vendor: Vendor) -> None:
    await insert_catalog(owner, vendor, changed=replace(nouns.RELAY_KEY, captures_payloads=True))
    async with start() as edge:
        status, _, body = await post(edge, CALL | {"stream": True})
        assert status == 200
    [kept] = await rows_of(owner, "traffic_capture", 1)
    assert kept["response"].encode() == body
    assert body.endswith(b"data: [DONE]\n\n")


async def test_nothing_is_captured_unasked(owner: AsyncConnection[Any], start: Any, vendor: Vendor) -> None:
    await insert_catalog(owner, vendor)
    async with start() as edge:
        assert (await post(edge))[0] == 200
    cursor = await owner.execute("SELECT (SELECT count(*) FROM traffic_call), (SELECT count(*) FROM traffic_capture)")
    assert await cursor.fetchone() == (1, 0)


# --- breakers in the explanation ---


async def test_the_explanation_says_which_breaker_is_open(
    owner: AsyncConnection[Any], start: Any, vendor: Vendor, redis_url: str
) -> None:
    await insert_catalog(owner, vendor)
    field = breakers.host_key_field("sk-vendor-1")
    entry = {
        "state": "open", "reason": "auth", "since_ms": 0, "until_ms": 4_000_000_000_000, "level": 1, "host": "vendor",
        "row_id": 1,
    }  # fmt: skip

    async def told(edge: InsideEdge) -> dict[str, str | None]:
        _, _, body = await post(edge, {"model": "demo-gpt"}, "/api/resolve")
        document = json.loads(body)
        found = {each["hostKey"]: each["breaker"] for each in document["legs"][0]["candidates"]}
        assert ("At this moment: host key open" in document["reason"]) is (found["main"] is not None)
        return found

    async with start() as edge:
        assert await told(edge) == {"main": None, "second": None}
        with redis_py.Redis.from_url(redis_url) as client:
            client.hset(keys.BREAKERS, field, json.dumps(entry))
            found = await told(edge)
            client.delete(keys.BREAKERS)
    assert found["second"] is None
    assert str(found["main"]).startswith("host key open (auth) for ")


async def test_without_redis_the_state_of_breakers_is_unknown(
    owner: AsyncConnection[Any], edge_database_url: str, tmp_path: Path, free_port: int, vendor: Vendor
) -> None:
    await insert_catalog(owner, vendor)
    async with inside_edge(tmp_path, free_port, edge_database_url, "redis://127.0.0.1:1/0") as edge:
        status, _, body = await post(edge, {"model": "demo-gpt"}, "/api/resolve")
    assert status == 200
    assert {each["breaker"] for each in json.loads(body)["legs"][0]["candidates"]} == {"unknown: Redis does not answer"}


# --- log lines, figures ---


async def test_a_line_for_each_call_where_it_is_asked_for(
    owner: AsyncConnection[Any], start: Any, vendor: Vendor
) -> None:
    await insert_catalog(owner, vendor)
    async with start(RELAY_ACCESS_LOG="1") as edge:
        stream = edge.edge._log.stream
        assert (await post(edge, **{"x-request-id": "mine"}))[0] == 200
        assert (await post(edge, CALL | {"model": "sk-in-the-wrong-field-1234"}))[0] == 404
    lines = [line for line in map(json.loads, stream.getvalue().splitlines()) if line["event"] == "call"]
    assert [(line["status"], line["error"], line["model"], line["attempts"]) for line in lines] == [
        (200, "", "demo-gpt", 1), (404, "model_not_found", "[redacted]", 0),
    ]  # fmt: skip
    answered = lines[0]
    assert (answered["request_id"], answered["relay_key_id"], answered["host"]) == ("mine", 1, "vendor")
    assert (answered["input_tokens"], answered["output_tokens"], answered["cost_usd"]) == (3, 1, "0.00001375")


async def test_figures_of_calls(owner: AsyncConnection[Any], start: Any, vendor: Vendor) -> None:
    await insert_catalog(owner, vendor)

    async def series(edge: InsideEdge) -> dict[str, str]:
        async with edge.client.get(f"{edge.url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    async with start() as edge:
        assert (await post(edge))[0] == 200
        assert (await post(edge, CALL | {"stream": True}))[0] == 200
        found = await until(lambda: series(edge), "figures")
    assert found['relay_edge_attempts_total{host="vendor",outcome="answered"}'] == "2"
    assert float(found['relay_edge_usage_total{meter="input_tokens"}']) >= 3
    assert float(found["relay_edge_cost_usd_total"]) > 0
    assert found["relay_edge_first_token_seconds_count"] == "1"


# --- spans ---


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


def attributes(span: Span) -> dict[str, Any]:
    """By name, each in its own type."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


async def test_calls_become_spans_below_the_callers(
    owner: AsyncConnection[Any], start: Any, vendor: Vendor, collector: Collector
) -> None:
    await insert_catalog(owner, vendor)
    trace_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    async with start(RELAY_OTLP_ENDPOINT=collector.url, RELAY_OTLP_HEADERS="x-team=relay") as edge:
        assert (await post(edge, traceparent=f"00-{trace_id}-{parent_id}-01"))[0] == 200
        await until(lambda: len(collector.spans) == 2, "two spans")
        assert (await post(edge, traceparent=f"00-{trace_id}-{parent_id}-00"))[0] == 200  # not sampled
        assert (await post(edge, CALL | {"model": "nothing"}, traceparent="garbage"))[0] == 404
        await until(lambda: len(collector.spans) == 3, "the span of a refused call")
    call, attempt, refused = collector.spans
    assert call.trace_id.hex() == attempt.trace_id.hex() == trace_id
    assert (call.parent_span_id.hex(), attempt.parent_span_id) == (parent_id, call.span_id)
    assert (call.name, attempt.name) == ("chat demo-gpt", "chat gpt-x")
    assert (call.kind, attempt.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert call.start_time_unix_nano <= attempt.start_time_unix_nano <= attempt.end_time_unix_nano
    assert attempt.end_time_unix_nano <= call.end_time_unix_nano
    said = attributes(call)
    assert {name: said[name] for name in said if name.startswith("gen_ai")} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "demo-gpt",
        "gen_ai.request.stream": False,
        "gen_ai.response.model": "gpt-x",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 1,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.cache_creation.input_tokens": 0,
        "gen_ai.response.finish_reasons": said["gen_ai.response.finish_reasons"],
    }
    assert (attributes(attempt)["server.address"], attributes(attempt)["http.response.status_code"]) == (
        "127.0.0.1", 200,
    )  # fmt: skip
    assert (attributes(refused)["error.type"], refused.parent_span_id) == ("model_not_found", b"")
    assert refused.trace_id.hex() != trace_id
    assert collector.headers[0]["x-team"] == "relay"
    assert [each.header("traceparent") for each in vendor.calls] == [None, None]


def test_the_edge_does_not_load_the_exporter() -> None:
    """redis-py loads OpenTelemetry's metrics wherever it is installed; tracing and exporter are ours to leave out."""
    program = "import sys, relay_edge.app, relay_edge.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    found = {name for name in loaded.stdout.split() if name.startswith("opentelemetry.")}
    assert not [name for name in found if name.startswith(("opentelemetry.exporter", "opentelemetry.sdk.trace"))]


async def test_what_the_collector_refuses_is_counted(
    owner: AsyncConnection[Any], start: Any, vendor: Vendor, collector: Collector
) -> None:
    await insert_catalog(owner, vendor)
    collector.status = 400
    async with start(RELAY_OTLP_ENDPOINT=collector.url) as edge:
        assert (await post(edge))[0] == 200
        families = edge.edge.metrics.registry._families
        dropped = families["relay_edge_span_calls_dropped_total"].children[""]
        await until(lambda: dropped.dump() == 1, "a counted drop")
        assert families["relay_edge_spans_exported_total"].children[""].dump() == 0

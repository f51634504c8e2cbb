"""What load balancers and Prometheus see, and the door that every connection comes through."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from psycopg import AsyncConnection

from relay_edge.health import may_read_metrics
from tests.edge.conftest import until
from tests.edge.inside import InsideEdge, inside_edge
from tests.edge.nouns import EVERYTHING, TOKEN, insert

BEARER = {"Authorization": f"Bearer {TOKEN.token}"}


@pytest.fixture
async def edge(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, free_port: int, tmp_path: Path
) -> AsyncIterator[InsideEdge]:
    await insert(owner, *EVERYTHING)
    async with inside_edge(tmp_path, free_port, edge_database_url, redis_url) as edge:
        yield edge


async def test_healthz(edge: InsideEdge) -> None:
    async with edge.client.get(f"{edge.url}/healthz") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ok"})
        assert answer.headers["Cache-Control"] == "no-store"


async def test_readyz(edge: InsideEdge) -> None:
    async with edge.client.get(f"{edge.url}/readyz") as answer:
        assert answer.status == 200
        document = await answer.json()
    catalog, process = document.pop("catalog"), document.pop("process")
    assert document == {
        "status": "ready",
        "problems": [],
        "postgres": {"connected": True},
        "secrets": {"references": 0, "failing": 0, "without_value": 0},
        "records": {"connected": True, "spilled_bytes": 0, "full": False},
        "redis": {"connected": True, "problem": None},
    }
    assert 0 <= catalog.pop("age_seconds") < 60
    assert catalog == {"connected": True, "problem": None, "version": 1}
    assert process["index"] == 0


async def test_readyz_while_the_process_ends(edge: InsideEdge) -> None:
    edge.edge.health.is_draining = True
    async with edge.client.get(f"{edge.url}/readyz") as answer:
        assert answer.status == 503
        assert (await answer.json())["problems"] == ["shutting down"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_methods(edge: InsideEdge, path: str) -> None:
    async with edge.client.post(edge.url + path) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    async with edge.client.head(edge.url + path) as answer:
        assert (answer.status, await answer.read()) == (200, b"")


@pytest.mark.parametrize(
    ("token", "authorization", "peer", "may"),
    [
        ("", "", "127.0.0.1", True),
        ("", "", "::1", True),
        ("", "", None, True),  # a Unix socket
        ("", "", "10.0.0.1", False),
        ("", "", "fe80::1%eth0", False),
        ("", "Bearer ", "10.0.0.1", False),
        ("secret", "Bearer secret", "10.0.0.1", True),
        ("secret", "Bearer secret ", "10.0.0.1", False),
        ("secret", "bearer secret", "127.0.0.1", False),
        ("secret", "", "127.0.0.1", False),
        ("secret", "Bearer \udcff", "127.0.0.1", False),
    ],
)
def test_who_may_read_metrics(token: str, authorization: str, peer: str | None, may: bool) -> None:
    assert may_read_metrics(token, authorization, peer) is may


async def test_metrics_with_a_token(edge: InsideEdge) -> None:
    edge.edge.health._metrics_token = "secret"
    async with edge.client.get(f"{edge.url}/metrics", headers={"Authorization": "Bearer other"}) as answer:
        assert (answer.status, (await answer.json())["error"]) == (401, "metrics_forbidden")
    async with edge.client.get(f"{edge.url}/metrics", headers={"Authorization": "Bearer secret"}) as answer:
        assert answer.status == 200


SAMPLE = re.compile(r'[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? -?[0-9.e+-]+')


async def test_metrics(edge: InsideEdge) -> None:
    async with edge.client.post(f"{edge.url}/r/demo/v1/events", data=b"{}", headers=BEARER) as answer:
        assert answer.status == 202
    async with edge.client.get(f"{edge.url}/metrics") as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = await answer.text()
    lines = text.splitlines()
    assert [line for line in lines if not line.startswith("# ") and not SAMPLE.fullmatch(line)] == []
    for line in (
        'relay_edge_requests_total{surface="relay",status="2xx"} 1',
        "relay_edge_intake_requests_total 1",
        "relay_edge_intake_deliveries_total 1",
        "relay_edge_intake_queue 0",
        "relay_edge_catalog_loads_total 1",
        'relay_edge_catalog_version{process="0"} 1',
        'relay_edge_in_flight{surface="relay"} 0',
    ):
        assert line in lines
    names = {line.split(" ")[2] for line in lines if line.startswith("# TYPE ")}
    assert {line.split("{")[0].split(" ")[0] for line in lines if line[0] != "#"} <= names | {
        f"{name}_{part}" for name in names for part in ("bucket", "sum", "count")
    }


async def test_requests_do_not_block_the_loop(edge: InsideEdge, owner: AsyncConnection[Any]) -> None:
    with blockbuster_ctx("relay_edge"):
        async with edge.client.post(f"{edge.url}/r/demo/v1/events", data=b"{}", headers=BEARER) as answer:
            assert answer.status == 202
        async with edge.client.get(f"{edge.url}/metrics") as answer:
            assert answer.status == 200
        await owner.execute("UPDATE catalog_project SET slug = 'moved'")
        assert edge.edge.catalog.snapshot is not None
        await until(lambda: edge.edge.catalog.snapshot.project_by_slug("moved"), "a change")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /healthz HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization Bearer rk_live_canary\r\n\r\n",
        b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:16]),
)
async def test_what_is_no_http_is_answered_in_json_and_not_quoted(edge: InsideEdge, sent: bytes) -> None:
    head, _, body = (await edge.raw(sent)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nconnection: close" in head
    assert json.loads(body)["error"] in {"bad_request", "bad_header"}
    assert b"canary" not in body
    assert b"xxx" not in body


async def test_pipelined_requests_are_answered_in_their_order(edge: InsideEdge) -> None:
    head = f"Host: a\r\nAuthorization: Bearer {TOKEN.token}\r\nContent-Length: 2\r\n"
    answer = await edge.raw(
        f"POST /r/demo/v1/events HTTP/1.1\r\n{head}\r\n{{}}GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
        f"POST /r/demo/v1/none HTTP/1.1\r\n{head}Connection: close\r\n\r\n{{}}".encode()
    )
    assert re.findall(rb"HTTP/1\.1 (\d{3})", answer) == [b"202", b"200", b"404"]


CHUNKED = f"Host: a\r\nAuthorization: Bearer {TOKEN.token}\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_body_that_breaks_behind_another_request_is_answered_in_its_turn(edge: InsideEdge) -> None:
    answer = await edge.raw(
        f"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nPOST /r/demo/v1/events HTTP/1.1\r\n{CHUNKED}".encode(),
        b"1\r\n{\r\nzz\r\n",
    )
    assert re.findall(rb"HTTP/1\.1 (\d{3})", answer) == [b"200", b"400"]
    assert b'"bad_request"' in answer


async def test_a_body_that_breaks_after_its_answer_ends_the_connection_and_is_no_error(
    edge: InsideEdge, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(f"POST /r/demo/v1/events HTTP/1.1\r\n{CHUNKED.replace(TOKEN.token, 'unknown')}".encode())
    assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 401 ")
    writer.write(b"zz\r\n")
    assert await reader.read() == b""
    writer.close()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_connections_that_never_speak_are_closed(edge: InsideEdge) -> None:
    silent_reader, silent = await asyncio.open_connection("127.0.0.1", edge.port)
    half_reader, half = await asyncio.open_connection("127.0.0.1", edge.port)
    half.write(b"GET /healthz HTTP/1.1\r\nHost")
    spoken_reader, spoken = await asyncio.open_connection("127.0.0.1", edge.port)
    spoken.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    await spoken_reader.readuntil(b"}")
    door = edge.edge._door
    await until(lambda: door.counts()[0] == 3, "three connections")
    loop = asyncio.get_running_loop()
    assert door.close_silent(loop.time() - 3600) == 0
    assert door.close_silent(loop.time() + 1) == 2
    assert await silent_reader.read() == b""
    assert await half_reader.read() == b""
    spoken.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    await spoken_reader.readuntil(b"}")
    for writer in (silent, half, spoken):
        writer.close()

"""What each death of a process leaves: to the caller, on record, in the ledger. `docs/reliability.md` says the same.

Only processes of this product are killed, by the id read a moment before.
"""

import asyncio
import json
import os
import signal
from typing import Any

import aiohttp
import pytest

from tests.chaos.run import Options, run
from tests.chaos.traffic import Traffic
from tests.system.product import Process, Product, wait_for

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("kills"), pytest.mark.timeout(240)]


@pytest.fixture
def product(mortal_product: Product) -> Product:
    return mortal_product


def edges(product: Product) -> list[Process]:
    """The processes that serve callers, without their parent."""
    everything = product.processes("-m relay_edge")
    parents = {process.pid for process in everything}
    return [process for process in everything if process.parent in parents]


def kill(processes: list[Process]) -> None:
    assert processes
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)


def session(product: Product, **headers: str) -> aiohttp.ClientSession:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return aiohttp.ClientSession(
        product.edge_url,
        headers={"Authorization": f"Bearer {product.relay_key}", "Content-Type": "application/json", **names},
        timeout=aiohttp.ClientTimeout(total=60),
    )


async def answer(product: Product, path: str, key: str) -> tuple[int, dict[str, Any], Any]:
    """Of a call that is made until an edge is there to answer it."""
    async with asyncio.timeout(60):
        while True:
            try:
                async with session(product, Idempotency_Key=key) as caller, caller.post(path, data=b"{}") as response:
                    if response.status != 503:
                        return response.status, await response.json(content_type=None), response.headers
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


def is_sync_call_sent(product: Product) -> bool:
    return bool(product.sql("SELECT 1 FROM deliveries_live WHERE mode = 'sync' AND state = 'sending'"))


def test_a_short_chaos(product: Product) -> None:
    """`make chaos` in small: see tests/chaos."""
    report = run(
        product, Options(requests=400, concurrency=32, kills=5, beside=0, spenders=1, waiting=0, seed=1, seconds=90)
    )
    assert report.differences == [], report.text()
    assert sorted(report.killed) == ["edge", "flush", "postgres", "valkey", "worker"]
    assert report.acknowledged >= 400
    assert report.deliveries >= 3 * report.acknowledged


def test_kill_9_of_the_edges_in_mid_stream(product: Product) -> None:
    """The caller's stream is cut; its delivery is nobody's until it expires, then it ends unknown and costs nothing."""
    path, key = "/r/demo/v1/stream?events=200", "stream-of-a-dead-edge"

    async def cut_stream() -> str:
        async with session(product, Idempotency_Key=key) as caller, caller.post(path, data=b"{}") as response:
            assert response.status == 200
            await response.content.readuntil(b"\n\n")
            kill(edges(product))
            with pytest.raises(aiohttp.ClientError):
                await response.content.read()
            return str(response.headers["X-Request-Id"])

    request_id = asyncio.run(cut_stream())
    status, said, _ = asyncio.run(answer(product, path, key))
    assert (status, said["error"]) == (409, "idempotency_in_progress")
    assert product.finished(request_id, "stream") == []
    product.sql("UPDATE deliveries_live SET expires_at = now() WHERE request_id = %s AND mode = 'stream'", request_id)
    ended = wait_for(lambda: product.finished(request_id, "stream"), "the stream to be ended")
    assert ended == [("dead", "unknown_outcome", "hold+release")]
    assert product.api(f"/api/v1/requests/{request_id}")["end"]["closeReason"] == "edge_lost"
    status, said, headers = asyncio.run(answer(product, path, key))
    assert (status, said["error"]) == (409, "answer_not_kept")
    assert headers["X-Relay-Original-Request-Id"] == request_id
    product.manage("credits", "check")


def test_kill_9_of_the_edges_under_a_sync_call(product: Product) -> None:
    """The caller's connection breaks and the delivery goes on: whoever sends the same key gets the target's answer."""
    path, key = "/r/demo/v1/lookup?delay=2", "call-of-a-dead-edge"

    async def broken_call() -> None:
        async with session(product, Idempotency_Key=key) as caller:
            calling = asyncio.create_task(caller.post(path, data=b"{}").__aenter__())
            await asyncio.to_thread(wait_for, lambda: is_sync_call_sent(product), "the worker to have it")
            kill(edges(product))
            with pytest.raises(aiohttp.ClientError):
                await calling

    asyncio.run(broken_call())

    def found() -> tuple[int, dict[str, Any], Any] | None:
        said = asyncio.run(answer(product, path, key))
        return None if said[0] == 409 else said

    status, said, headers = wait_for(found, "the answer")
    assert (status, said["found"], headers["Idempotent-Replayed"]) == (200, "customers", "true")
    ended = product.finished(headers["X-Relay-Original-Request-Id"], "sync")
    assert ended == [("delivered", "", "hold+settle")]


def test_an_idempotency_key_across_restarts_of_postgres(product: Product) -> None:
    """Fifty callers send one key while the server is killed under them, twice: one request, one answer."""
    key, kills = "key-across-restarts", 0

    def kill_postgres() -> None:
        kill(wait_for(lambda: product.processes("/bin/postgres "), "Postgres", 60)[:1])

    async def on_acknowledged(_count: int) -> None:
        nonlocal kills
        if kills == 1:
            kills += 1
            await asyncio.to_thread(kill_postgres)

    async def call() -> Traffic:
        nonlocal kills
        traffic = Traffic(f"{product.edge_url}/r/demo/v1/events", product.relay_key, 50, on_acknowledged)
        await traffic.begin()
        calling = asyncio.create_task(traffic.call_all([key] * 400, 120))
        kills += 1
        await asyncio.to_thread(kill_postgres)
        await calling
        return traffic

    traffic = asyncio.run(call())
    assert traffic.said.wrong == []
    assert kills == 2
    stored = product.sql("SELECT id::text FROM deliveries_request WHERE idempotency_key = %s AND error = ''", key)
    assert stored == [(traffic.said.ids[key],)]
    status, said, headers = asyncio.run(answer_of_events(product, key))
    assert (status, json.dumps(said)) == (202, json.dumps({"status": "queued", "requestId": stored[0][0]}))
    assert headers["Idempotent-Replayed"] == "true"


async def answer_of_events(product: Product, key: str) -> tuple[int, dict[str, Any], Any]:
    """Of the very call that Traffic makes."""
    async with (
        session(product, Idempotency_Key=key) as caller,
        caller.post("/r/demo/v1/events", json={"key": key}) as response,
    ):
        return response.status, await response.json(), response.headers

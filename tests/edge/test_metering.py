"""Calls through a whole edge process, and the rows that are left of them."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from relay_contract.nouns import Noun
from relay_contract.sealing import Sealer
from tests.edge import nouns
from tests.edge.conftest import until
from tests.edge.inside import InsideEdge, inside_edge
from tests.edge.proxy import Proxy
from tests.edge.running import running_edge
from tests.edge.vendor import CHAT, Vendor, VendorCall, Wire

CALL = {"model": "demo-gpt", "messages": [{"role": "user", "content": "hi"}]}
KEY = {"Authorization": f"Bearer {nouns.TOKEN.token}"}


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    """Answers as usual, or as a test tells it to."""
    async with Vendor() as running:
        yield running


async def insert_catalog(owner: AsyncConnection[Any], vendor: Vendor) -> None:
    """One model, served by this vendor at a price."""
    changed: tuple[Noun, ...] = (
        replace(nouns.HOST, base_url=vendor.url),
        replace(nouns.HOST_KEY, sealed_value=Sealer(bytes(32)).seal("sk-vendor-1", "host_key:1")),
        replace(nouns.BINDING, pricing_id=nouns.PRICING.id),
    )
    rows = {type(each): each for each in changed}
    await nouns.insert(owner, *(rows.get(type(row), row) for row in nouns.EVERYTHING))


@pytest.fixture
async def edge(  # noqa: PLR0917 (fixtures)
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, tmp_path: Path, free_port: int, vendor: Vendor
) -> AsyncIterator[InsideEdge]:
    """An edge in this process."""
    await insert_catalog(owner, vendor)
    async with inside_edge(tmp_path, free_port, edge_database_url, redis_url) as running:
        await until(lambda: running.edge.records.is_connected, "a connection for rows")
        yield running


async def rows_of(owner: AsyncConnection[Any], count: int) -> list[dict[str, Any]]:
    """The rows of calls, oldest first, once there are so many."""

    async def read() -> list[dict[str, Any]]:
        async with owner.cursor(row_factory=dict_row) as cursor:
            await cursor.execute("SELECT * FROM traffic_call ORDER BY id")
            found = await cursor.fetchall()
        return found if len(found) >= count else []

    return await until(read, f"{count} rows")


async def post(edge: InsideEdge, document: Any = CALL, **headers: str) -> tuple[int, Any]:
    async with edge.client.post(f"{edge.url}/v1/chat/completions", json=document, headers=KEY | headers) as answer:
        return answer.status, await answer.json()


async def test_each_call_of_a_known_key_leaves_a_row(
    owner: AsyncConnection[Any], edge: InsideEdge, vendor: Vendor
) -> None:
    assert (await post(edge, **{"x-request-id": "mine", "x-relay-tags": "team=search"}))[0] == 200
    assert (await post(edge, CALL | {"model": "other\0"}))[0] == 404
    assert (await post(edge, b"no json".decode()))[0] == 400
    assert (await post(edge, Authorization="Bearer rk_live_nobody"))[0] == 401
    status, refused = await post(edge, **{"x-relay-tags": "search"})
    assert (status, refused["error"]["code"]) == (400, "bad_header")
    assert "write `name=value" in refused["error"]["message"]
    assert [call.header("x-relay-tags") for call in vendor.calls] == [None]
    answered, unknown, unreadable, tagged = await rows_of(owner, 4)
    assert (answered["request_id"], answered["tags"], answered["status"], answered["host"]) == (
        "mine", {"team": "search"}, 200, "vendor",
    )  # fmt: skip
    assert (answered["bytes_out"], answered["attempts"], answered["project_id"]) == (len(json.dumps(CHAT)), 1, 1)
    assert answered["cost_nanousd"] is not None
    assert (unknown["requested_model"], unknown["error"], unknown["status"]) == (
        "other\ufffd", "model_not_found", 404,
    )  # fmt: skip
    assert (unreadable["error"], tagged["error"]) == ("bad_request", "bad_header")
    for row in (unknown, unreadable, tagged):
        assert (row["attempts"], row["usage_source"], row["cost_nanousd"], row["host_id"]) == (0, "none", None, None)


async def test_a_row_names_the_version_that_priced_it(owner: AsyncConnection[Any], edge: InsideEdge) -> None:
    assert (await post(edge))[0] == 200
    at_first = edge.edge.catalog.snapshot
    await owner.execute("""UPDATE catalog_pricing SET rates = '[{"meter": "call", "nanousd_per_million": 7000000}]'""")
    await until(lambda: edge.edge.catalog.snapshot is not at_first, "the new rates")
    assert (await post(edge))[0] == 200
    now = edge.edge.catalog.snapshot
    await owner.execute("UPDATE catalog_hostbinding SET pricing_id = NULL")
    await until(lambda: edge.edge.catalog.snapshot is not now, "a binding without a price")
    assert (await post(edge))[0] == 200
    now = edge.edge.catalog.snapshot
    await owner.execute("UPDATE catalog_policy SET unpriced = 'estimate', estimate_pricing_id = 1")
    await until(lambda: edge.edge.catalog.snapshot is not now, "an estimate")
    assert (await post(edge))[0] == 200
    told = [
        (row["pricing_id"], row["pricing_version"], row["estimated_price"], row["cost_nanousd"])
        for row in await rows_of(owner, 4)
    ]
    cost = told[0][3]
    assert cost is not None
    assert cost > 7
    assert told == [(1, 1, False, cost), (1, 2, False, 7), (None, 0, False, None), (1, 2, True, 7)]
    kept = await (await owner.execute("SELECT version FROM catalog_priceversion ORDER BY version")).fetchall()
    assert [version for (version,) in kept] == [1, 2]
    async with edge.client.get(f"{edge.url}/metrics") as answer:
        assert "relay_edge_unpriced_calls_total 1" in await answer.text()


async def test_a_caller_who_leaves_leaves_a_row(owner: AsyncConnection[Any], edge: InsideEdge, vendor: Vendor) -> None:
    arrived = asyncio.Event()

    async def silent(_call: VendorCall, _wire: Wire) -> None:
        arrived.set()
        await asyncio.Event().wait()

    vendor.answer = silent
    caller = asyncio.create_task(post(edge))
    await arrived.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    [row] = await rows_of(owner, 1)
    assert (row["status"], row["attempts"], row["usage_source"], row["host"]) == (499, 1, "none", "vendor")


async def test_no_call_begins_that_could_not_be_written_down(
    owner: AsyncConnection[Any], edge: InsideEdge, vendor: Vendor
) -> None:
    edge.edge.records._is_spill_full = True
    status, refused = await post(edge)
    assert (status, refused["error"]["code"], vendor.calls) == (503, "unavailable", [])
    assert edge.edge.metrics.unrecordable.value == 1
    async with edge.client.get(f"{edge.url}/readyz") as answer:
        assert (await answer.json())["records"] == {"connected": True, "spilled_bytes": 0, "full": True}
    edge.edge.records._is_spill_full = False
    assert (await post(edge))[0] == 200
    [row] = await rows_of(owner, 1)
    assert row["status"] == 200


async def test_rows_of_a_killed_process_are_not_lost(
    owner: AsyncConnection[Any], edge_database_url: str, free_port: int, tmp_path: Path, vendor: Vendor
) -> None:
    """Answered while Postgres was away, by a process that was killed then, and written down by its successor."""
    await insert_catalog(owner, vendor)
    proxy = await Proxy.start(edge_database_url)
    async with running_edge(tmp_path, free_port, proxy.url, "redis://127.0.0.1:1/0") as edge:
        await proxy.close()
        for number in range(20):
            headers = KEY | {"x-request-id": str(number)}
            async with edge.client.post(f"{edge.url}/v1/chat/completions", json=CALL, headers=headers) as answer:
                assert answer.status == 200

        async def are_spilled() -> bool:
            return await edge.metric('relay_edge_records_spilled_total{kind="call"}') == 20

        await until(are_spilled, "the rows in a file")
        assert _spilled_lines(tmp_path) == 20
        [killed] = edge.processes()
        os.kill(killed, signal.SIGKILL)
        await proxy.open()
        rows = await rows_of(owner, 20)
        await until(lambda: _spilled_lines(tmp_path) == 0, "the file taken back")
    assert [row["request_id"] for row in rows] == [str(number) for number in range(20)]
    await proxy.close()


def _spilled_lines(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (folder / "spill").glob("*.jsonl"))

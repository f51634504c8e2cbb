"""Refused calls in the request log: those of known callers, so many a second, and nothing of strangers."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from relay_contract.intake import DeliveryRow, PayloadRow, RequestRow
from relay_contract.nouns import Conditions, Meter, Rule
from relay_edge.refused_calls import BURST_ROWS
from tests.edge.conftest import until
from tests.edge.inside import InsideEdge, inside_edge
from tests.edge.nouns import ENDPOINT, EVERYTHING, RATE_LIMIT, TARGET, TOKEN, insert, numbered
from tests.edge.test_intake import stored

BEARER = {"Authorization": f"Bearer {TOKEN.token}"}
NONE_LEFT = numbered(RATE_LIMIT, 7, slug="none", rules=(Rule(Meter.REQUESTS, 1, 86_400),))
ROWS = (
    *EVERYTHING,
    NONE_LEFT,
    numbered(ENDPOINT, 2, slug="limited", rate_limit_id=NONE_LEFT.id),
    numbered(ENDPOINT, 3, slug="broken"),
    numbered(TARGET, 3, endpoint_id=3, conditions=Conditions({"near": 1})),
)


@pytest.fixture
async def edge(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, free_port: int, tmp_path: Path
) -> AsyncIterator[InsideEdge]:
    await insert(owner, *ROWS)
    async with inside_edge(tmp_path, free_port, edge_database_url, redis_url) as edge:
        yield edge


async def status_of(edge: InsideEdge, path: str, headers: dict[str, str], body: bytes = b"{}") -> int:
    async with edge.client.post(f"{edge.url}/r/demo/{path}", data=body, headers=headers) as answer:
        await answer.read()
        return answer.status


async def rows(owner: AsyncConnection[Any], count: int) -> list[RequestRow]:
    async def written() -> list[RequestRow]:
        found: list[RequestRow] = await stored(owner, RequestRow)
        return found if len(found) >= count else []

    found = await until(written, "the refused calls")
    assert len(found) == count
    return found


async def test_what_is_kept_of_a_refused_call(edge: InsideEdge, owner: AsyncConnection[Any]) -> None:
    sent = BEARER | {"X-Order": "7", "X-Request-Id": "caller-7", "Content-Type": "text/plain", "Idempotency-Key": "a b"}
    assert await status_of(edge, "v1/events?a=1", sent) == 400
    [row] = await rows(owner, 1)
    assert (row.status, row.error, row.method, row.path, row.query) == (
        400, "bad_header", "POST", "/r/demo/v1/events", "a=1",
    )  # fmt: skip
    assert (row.project_id, row.line_id, row.endpoint_id, row.relay_key_id, row.mode) == (1, 1, 1, 1, "live")
    assert (row.caller_request_id, row.content_type, row.body_bytes, str(row.client_ip)) == (
        "caller-7", "text/plain", 2, "127.0.0.1",
    )  # fmt: skip
    assert row.headers["x-order"] == "7"  # type: ignore[index]  # read back as a document
    assert (row.target_count, row.filtered_count, row.idempotency_key, row.origin) == (0, 0, "", "caller")
    assert await stored(owner, PayloadRow) == await stored(owner, DeliveryRow) == []


async def test_who_leaves_a_row(edge: InsideEdge, owner: AsyncConnection[Any]) -> None:
    assert await status_of(edge, "v1/events", {}) == 401
    assert await status_of(edge, "v1/events", {"Authorization": "Bearer rk_live_unknown"}) == 401
    assert await status_of(edge, "v1/none", BEARER) == 404
    assert await status_of(edge, "v1/events", BEARER, b"x" * 1_001) == 413
    assert await status_of(edge, "v1/broken", BEARER) == 503
    assert await status_of(edge, "v1/limited", BEARER | {"Idempotency-Key": "k-1"}) == 202
    assert await status_of(edge, "v1/limited", BEARER | {"Idempotency-Key": "k-2"}) == 429
    found = await rows(owner, 5)
    assert sorted((row.status, row.error, row.endpoint_id, row.idempotency_key) for row in found if row.error) == [
        (404, "endpoint_not_found", None, ""),
        (413, "body_too_large", 1, ""),
        (429, "rate_limited", 2, "k-2"),
        (503, "endpoint_misconfigured", 3, ""),
    ]  # fmt: skip


async def test_one_who_is_refused_all_the_time_does_not_fill_the_log(
    edge: InsideEdge, owner: AsyncConnection[Any]
) -> None:
    refused = edge.edge.records.dropped_refusals
    calls = int(BURST_ROWS) + 200
    for _ in range(calls):
        assert await status_of(edge, "v1/none", BEARER) == 404
        if refused.value:
            break
    assert refused.value == 1

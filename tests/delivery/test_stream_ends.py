"""Streams' deliveries once their edge has told, or never told, how they ended."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async

from delivery.charges import RELEASE, SETTLE
from delivery.database import Connection
from delivery.stream_ends import end_of, fold
from relay_admin.ledger import reconcile
from relay_contract import intake
from relay_contract.traffic import CloseReason, RequestEndRow, insert_statement
from relay_edge.call_rows import encode_row
from tests.delivery.conftest import Work
from tests.delivery.queue import Queue

CREDIT = 1_000_000
URL = "http://127.0.0.1:9/stream"
NOW = datetime(2026, 11, 21, tzinfo=UTC)


async def streaming(queue: Queue) -> tuple[UUID, UUID]:
    """Request and delivery of a stream that an edge has begun."""
    target = await queue.target(URL)
    [accepted] = await queue.accept(target)
    await queue.sql(
        "UPDATE deliveries_live SET mode = 'stream', shard = %s, state = 'sending' WHERE request_id = %s",
        intake.STREAM_SHARD,
        accepted.request_id,
    )
    return accepted.request_id, accepted.deliveries[0]


async def end(queue: Queue, request_id: UUID, delivery_id: UUID, **changes: Any) -> None:
    """What an edge writes."""
    values: dict[str, Any] = {
        "id": request_id, "delivery_id": delivery_id, "received_at": NOW, "status": 200, "error": "",
        "target_status": 200, "first_byte_us": 2_500, "total_us": 7_000_000, "bytes_out": 0, "heartbeats": 0,
        "close_reason": CloseReason.COMPLETE, "is_stream": True, "url": URL,
    }  # fmt: skip
    await queue.sql(insert_statement(RequestEndRow), f"[{encode_row(RequestEndRow(**values | changes)).decode()}]")


async def test_a_whole_stream_is_delivered_and_settled_by_its_bytes(queue: Queue, work: Work) -> None:
    request_id, delivery_id = await streaming(queue)
    await end(queue, request_id, delivery_id, bytes_out=3 * 65_536 - 1)
    await work()
    row = await queue.until(delivery_id, "delivered")
    assert (row["last_status"], row["last_error"], row["duration_ms"], row["was_contacted"]) == (200, "", 7000, True)
    assert await queue.charges(delivery_id) == [(0, "hold", CREDIT), (0, "settle", 3 * CREDIT)]
    assert await queue.sql("SELECT close_reason FROM deliveries_requestend") == [{"close_reason": "complete"}]
    [attempt] = await queue.attempts(delivery_id)
    assert (attempt["outcome"], attempt["url"], attempt["first_byte_ms"], attempt["started_at"]) == (
        "delivered", URL, 2, NOW,
    )  # fmt: skip
    assert await sync_to_async(reconcile.problems)() == []


async def test_a_cut_stream_is_dead_and_settled_for_what_left(queue: Queue, work: Work) -> None:
    request_id, delivery_id = await streaming(queue)
    cut = CloseReason.TARGET_CUT
    await end(queue, request_id, delivery_id, bytes_out=65_536, close_reason=cut, error="target_failed")
    await work()
    row = await queue.until(delivery_id, "dead")
    assert (row["dead_reason"], row["last_error"]) == ("attempts_exhausted", "target_cut")
    assert (await queue.charges(delivery_id))[1] == (0, "settle", 2 * CREDIT)
    assert (await queue.attempts(delivery_id))[0]["is_response_cut"]


async def test_a_stream_whose_edge_died_ends_once_it_expires(queue: Queue, work: Work) -> None:
    request_id, delivery_id = await streaming(queue)
    await work()
    await queue.sql("UPDATE deliveries_live SET expires_at = now() WHERE id = %s", delivery_id)
    row = await queue.until(delivery_id, "dead")
    assert row["dead_reason"] == "unknown_outcome"
    assert await queue.charges(delivery_id) == [(0, "hold", CREDIT), (0, "release", CREDIT)]
    [attempt] = await queue.attempts(delivery_id)
    assert (attempt["outcome"], attempt["url"]) == ("lease_lost", URL)
    [ended] = await queue.sql("SELECT * FROM deliveries_requestend WHERE id = %s", request_id)
    assert (ended["delivery_id"], ended["status"], ended["error"], ended["close_reason"], ended["is_stream"]) == (
        delivery_id, 0, "unknown_outcome", "edge_lost", True,
    )  # fmt: skip
    assert (ended["bytes_out"], ended["target_status"], ended["url"]) == (0, None, URL)
    assert await sync_to_async(reconcile.problems)() == []


async def test_a_stream_that_goes_on_is_left_alone(queue: Queue, database_url: str) -> None:
    _, delivery_id = await streaming(queue)
    connection = Connection(database_url, "test")
    assert await fold(connection) is False
    await connection.close()
    assert (await queue.delivery(delivery_id))["state"] == "sending"


async def test_two_workers_finish_a_stream_once(queue: Queue, database_url: str) -> None:
    for _ in range(5):
        request_id, delivery_id = await streaming(queue)
        await end(queue, request_id, delivery_id)
    connections = [Connection(database_url, "test") for _ in range(4)]
    await asyncio.gather(*map(fold, connections))
    for connection in connections:
        await connection.close()
    assert await queue.states() == {"delivered": 5}
    assert await queue.sql("SELECT count(*) AS n FROM ledger_charge WHERE phase = 1") == [{"n": 5}]


@pytest.mark.parametrize(
    ("reason", "status", "state", "dead_reason", "closes_as"),
    [
        (CloseReason.COMPLETE, 200, "delivered", None, SETTLE),
        (CloseReason.COMPLETE, 302, "delivered", None, SETTLE),
        (CloseReason.REFUSED, 404, "dead", "permanent_failure", SETTLE),
        (CloseReason.REFUSED, 503, "dead", "attempts_exhausted", SETTLE),
        (CloseReason.CALLER_LEFT, 200, "delivered", None, SETTLE),
        (CloseReason.CALLER_LEFT, None, "dead", "attempts_exhausted", SETTLE),
        (CloseReason.CALLER_LEFT, 500, "dead", "attempts_exhausted", SETTLE),
        (CloseReason.TARGET_TIMEOUT, None, "dead", "attempts_exhausted", SETTLE),
        (CloseReason.IDLE_TIMEOUT, 200, "dead", "attempts_exhausted", SETTLE),
        (CloseReason.TOTAL_TIMEOUT, 200, "dead", "attempts_exhausted", SETTLE),
        (CloseReason.BYTE_CAP, 200, "dead", "permanent_failure", SETTLE),
        (CloseReason.UNREACHABLE, None, "dead", "attempts_exhausted", RELEASE),
        (CloseReason.ADDRESS_REFUSED, None, "dead", "address_refused", RELEASE),
        (CloseReason.RELAY_ERROR, None, "dead", "attempts_exhausted", RELEASE),
        (CloseReason.SHUTDOWN, None, "dead", "attempts_exhausted", RELEASE),
        (CloseReason.SHUTDOWN, 200, "dead", "attempts_exhausted", SETTLE),
        (None, None, "dead", "unknown_outcome", RELEASE),
        ("of another version", 200, "dead", "attempts_exhausted", SETTLE),
    ],
)
def test_what_an_end_means(
    reason: str | None, status: int | None, state: str, dead_reason: str | None, closes_as: str
) -> None:
    end = end_of(reason, status)
    assert (end.state, end.dead_reason, end.closes_as) == (state, dead_reason, closes_as)

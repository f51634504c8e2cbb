"""What is forgotten, and what never is."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async

from relay_admin.deliveries import retention
from relay_contract.intake import LIVE_STATES
from tests.delivery.queue import Queue


async def aged(queue: Queue, state: str, days: int) -> UUID:
    """A request of that age with one delivery in that state and one attempt; its id."""
    target = await queue.target("http://127.0.0.1:9/")
    [accepted] = await queue.accept(target)
    await queue.sql(
        "UPDATE deliveries_delivery SET state = %s, next_attempt_at = %s WHERE request_id = %s",
        state,
        datetime.now(UTC) if state in LIVE_STATES else None,
        accepted.request_id,
    )
    for table in ("deliveries_request", "deliveries_payload"):
        await queue.sql(f"UPDATE {table} SET received_at = received_at - %s * interval '1 day'", days)
    await queue.sql(
        "INSERT INTO deliveries_attempt (delivery_id, number, replay, outcome, started_at, duration_ms, url, error,"
        " response_body, is_response_cut) VALUES (%s, 1, 0, 'retry', now(), 1, '', '', '', false)",
        accepted.deliveries[0],
    )
    return accepted.request_id


async def left(queue: Queue) -> list[set[UUID]]:
    """Per table, the requests that have rows."""
    statements = (
        "SELECT id FROM deliveries_request",
        "SELECT request_id AS id FROM deliveries_payload",
        "SELECT request_id AS id FROM deliveries_delivery",
        "SELECT request_id AS id FROM deliveries_attempt JOIN deliveries_delivery AS d ON d.id = delivery_id",
    )
    return [{row["id"] for row in await queue.sql(statement)} for statement in statements]


async def forget(days: int) -> int:
    return await sync_to_async(retention.requests_forget)(older_than_days=days)


@pytest.mark.parametrize("state", ["delivered", "dead"])
async def test_finished_requests_are_forgotten_by_age(queue: Queue, state: str) -> None:
    await aged(queue, state, days=31)
    young = await aged(queue, state, days=0)
    await queue.sql("UPDATE deliveries_request SET received_at = now() - interval '29 days' WHERE id = %s", young)
    assert await forget(30) == 1
    assert await left(queue) == [{young}] * 4
    assert len(await queue.sql("SELECT 1 FROM deliveries_attempt")) == 1


@pytest.mark.parametrize("state", ["pending", "sending"])
async def test_a_live_delivery_keeps_its_request(queue: Queue, state: str) -> None:
    live = await aged(queue, state, days=400)
    assert await forget(30) == 0
    assert await left(queue) == [{live}] * 4


async def test_more_than_one_batch(queue: Queue) -> None:
    target = await queue.target("http://127.0.0.1:9/")
    await queue.accept(target, calls=2 * retention.BATCH + 1)
    await queue.sql("UPDATE deliveries_delivery SET state = 'delivered', next_attempt_at = NULL")
    await queue.sql("UPDATE deliveries_request SET received_at = now() - interval '2 days'")
    assert await forget(1) == 2 * retention.BATCH + 1
    assert await left(queue) == [set()] * 4


async def test_a_request_nobody_was_to_receive_is_forgotten_too(queue: Queue) -> None:
    await queue.accept(await queue.target("http://127.0.0.1:9/"))
    await queue.sql("DELETE FROM deliveries_delivery")
    await queue.sql("UPDATE deliveries_request SET received_at = now() - interval '2 days'")
    assert await forget(1) == 1
    assert await left(queue) == [set()] * 4

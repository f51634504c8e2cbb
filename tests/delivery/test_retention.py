"""What is forgotten, and what never is."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest
from asgiref.sync import sync_to_async

from relay_admin.deliveries import retention
from relay_contract.intake import LIVE_STATES
from tests.delivery.queue import Queue, until


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


async def test_it_waits_for_a_replay_in_the_order_in_which_replays_lock(queue: Queue, database_url: str) -> None:
    [accepted] = await queue.accept(*[await queue.target("http://127.0.0.1:9/") for _ in range(2)])
    first, second = sorted(accepted.deliveries)
    await queue.sql("UPDATE deliveries_delivery SET state = 'dead', next_attempt_at = NULL")
    # Behind the second in the table and, as the column is indexed, in every index that does not know the id.
    await queue.sql("UPDATE deliveries_delivery SET finished_at = now() WHERE id = %s", first)
    await queue.sql("UPDATE deliveries_request SET received_at = now() - interval '2 days'")
    lock = "SELECT 1 FROM deliveries_delivery WHERE id = %s FOR UPDATE"
    async with await psycopg.AsyncConnection.connect(database_url) as replay:
        await replay.execute(lock, [first])
        forgetting = asyncio.create_task(forget(1))

        async def is_waiting() -> bool:
            return bool(await queue.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))

        await until(is_waiting)
        await replay.execute(lock + " NOWAIT", [second])  # held by the other one, this would be a deadlock
        await replay.commit()
        assert await forgetting == 1

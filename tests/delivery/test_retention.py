"""The schedule's hourly run: days that are past their retention, keys that are past their time, replays meanwhile."""

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
from asgiref.sync import sync_to_async

from relay_admin.deliveries import retention, storage
from relay_contract.ids import uuid7
from tests.delivery.queue import Queue, until


async def forget(days: int) -> int:
    return await sync_to_async(retention.requests_forget)(requests_days=days, payloads_days=7, ledger_days=400)


async def test_a_run_drops_old_days_and_only_those(queue: Queue) -> None:
    [accepted] = await queue.accept(await queue.target("http://127.0.0.1:9/"))
    await queue.finish("delivered")
    day = datetime.now(UTC).date() - timedelta(days=3)
    tables = [parent.table for parent in storage.PARENTS]
    for table in tables:
        await queue.sql(storage.create_statement(table, day))
    assert await forget(2) == len(tables) - 1  # all but the ledger's; bodies no later than their requests
    assert await forget(2) == 0
    await queue.sql(f"DROP TABLE {storage.partition_name('ledger_charge', day)}")
    assert [row["id"] for row in await queue.sql("SELECT id FROM deliveries_request")] == [accepted.request_id]


async def test_it_waits_for_a_replay_that_is_under_way(queue: Queue, database_url: str) -> None:
    day = datetime.now(UTC).date() - timedelta(days=3)
    name = storage.partition_name("deliveries_finished", day)
    await queue.sql(storage.create_statement("deliveries_finished", day))
    async with await psycopg.AsyncConnection.connect(database_url) as replay:
        await replay.execute(f"LOCK TABLE {name} IN ROW SHARE MODE")
        forgetting = asyncio.create_task(forget(2))

        async def is_waiting() -> bool:
            return bool(await queue.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))

        await until(is_waiting)
        await replay.commit()
        assert await forgetting == 1


async def test_keys_are_forgotten_after_their_time(queue: Queue) -> None:
    for key, seconds in (("old", -1), ("young", 60)):
        await queue.sql(
            "INSERT INTO deliveries_idempotency VALUES (1, %s, %s, '', now(), now() + make_interval(secs => %s))",
            key,
            uuid7(),
            seconds,
        )
    assert await sync_to_async(retention.keys_forget)() == 1
    assert [row["key"] for row in await queue.sql("SELECT key FROM deliveries_idempotency")] == ["young"]


async def test_bodies_go_when_all_is_delivered_where_the_endpoint_says_so(queue: Queue) -> None:
    """And stay for what is still to be sent, or may be replayed, and where nothing of the kind was asked for."""
    target = await queue.target("http://127.0.0.1:9/")
    [through] = await queue.accept(target)
    await queue.finish("delivered")
    [dead] = await queue.accept(target)
    await queue.finish("dead")
    [mixed] = await queue.accept(target, target)
    await queue.sql(
        "UPDATE deliveries_live SET state = 'waiting' WHERE id = %s",
        mixed.deliveries[0],
    )

    async def forgotten() -> int:
        return await sync_to_async(retention.delivered_bodies_forget)(payloads_days=7)

    assert await forgotten() == 0
    await queue.sql("UPDATE catalog_endpoint SET keeps_body = 'until_delivered'")
    assert await forgotten() == 1
    rows = await queue.sql("SELECT request_id FROM deliveries_payload")
    assert {row["request_id"] for row in rows} == {dead.request_id, mixed.request_id}
    assert through.request_id not in {row["request_id"] for row in rows}
    await queue.finish("delivered")
    assert await forgotten() == 1

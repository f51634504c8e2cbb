"""Replays as the workers run them: at their pace, stopped when told, each delivery once, whoever dies."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async

from delivery.database import Connection
from delivery.purse_writes import PurseWrites
from delivery.replay_runner import IDLE_SECONDS, ReplayRunner
from relay_admin.deliveries import services
from relay_admin.deliveries.models import ReplayBatch
from relay_contract.credits import MICRO
from tests.delivery.conftest import Work
from tests.delivery.queue import Queue, Target, until
from tests.delivery.receiver import Receiver

start = sync_to_async(services.replay_start)
preview = sync_to_async(services.replay_preview)


@asynccontextmanager
async def running_replays(database_url: str, on_due: Callable[[int], None]) -> AsyncIterator[None]:
    """Replays run while the body does."""
    connection, writes = Connection(database_url, "replay"), PurseWrites(os.environ["REDIS_URL"])
    try:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(ReplayRunner(connection, writes, on_due).run(), name="replay")
            try:
                yield
            finally:
                running.cancel()
    finally:
        await writes.close()
        await connection.close()


@pytest_asyncio.fixture
async def runner(database_url: str, redis_url: str) -> AsyncIterator[ReplayRunner]:
    connection, writes = Connection(database_url, "replay"), PurseWrites(redis_url)
    yield ReplayRunner(connection, writes, lambda _shard: None)
    await writes.close()
    await connection.close()


async def fail(queue: Queue, target: Target, count: int, *, ago: str = "1 minute") -> list[UUID]:
    """So many deliveries in the failure queue, held and settled, since some time ago."""
    accepted = await queue.accept(target, calls=count)
    await queue.finish("dead")
    ids = [delivery for each in accepted for delivery in each.deliveries]
    await queue.sql(
        "UPDATE deliveries_finished SET finished_at = now() - %s::interval, dead_reason = 'attempts_exhausted'"
        " WHERE id = ANY(%s)",
        ago,
        ids,
    )
    await queue.sql(
        "INSERT INTO ledger_charge (delivery_id, replay, phase, kind, request_id, project_id, target_id, key_mode,"
        " micro_credits, units) SELECT delivery_id, replay, 1, 'settle', request_id, project_id, target_id, key_mode,"
        " micro_credits, units FROM ledger_charge WHERE phase = 0 AND delivery_id = ANY(%s)",
        ids,
    )
    return ids


async def batch_of(queue: Queue, batch: ReplayBatch) -> dict[str, Any]:
    [row] = await queue.sql("SELECT * FROM deliveries_replaybatch WHERE id = %s", batch.pk)
    return row


async def until_over(queue: Queue, batch: ReplayBatch) -> dict[str, Any]:
    async def is_over() -> bool:
        return (await batch_of(queue, batch))["ended_at"] is not None

    await until(is_over)
    return await batch_of(queue, batch)


async def test_a_thousand_go_at_their_pace_and_cost_what_was_said(queue: Queue, database_url: str) -> None:
    """By the database's clock. A step that comes late is made up for, so the machine's load does not count."""
    target = await queue.target("http://127.0.0.1:9/")
    ids = await fail(queue, target, 1000, ago="2 days")  # older than a day: not the free one
    said = await preview({"target": target.id})
    async with running_replays(database_url, lambda _shard: None):
        batch = await start({"target": target.id}, pace=Decimal(50), by=None)
        row = await until_over(queue, batch)
    assert (row["state"], row["replayed_count"], row["refused_count"]) == ("done", 1000, 0)
    [span] = await queue.sql(
        "SELECT extract(epoch FROM max(next_attempt_at) - min(next_attempt_at))::float8 AS seconds,"
        " sum(credits)::bigint AS held FROM deliveries_live"
    )
    assert 18 <= span["seconds"] <= 22
    assert said.replayable == 1000
    assert said.credits == row["credits_estimate"] == row["credits"] == span["held"] == 1000 * MICRO
    assert await queue.charges(ids[0]) == [(0, "hold", MICRO), (0, "settle", MICRO), (1, "hold", MICRO)]


async def test_a_look_without_a_batch_stays_away_from_history(
    queue: Queue, runner: ReplayRunner, database_url: str
) -> None:
    """It would have to lock and plan each of its days, once a second."""
    assert await runner.look() == IDLE_SECONDS
    target = await queue.target("http://127.0.0.1:9/")
    await fail(queue, target, 1)
    await start({}, pace=Decimal(1), by=None)
    await queue.sql("UPDATE deliveries_replaybatch SET next_at = clock_timestamp() + interval '1 hour'")
    async with await psycopg.AsyncConnection.connect(database_url) as other:
        await other.execute("LOCK TABLE deliveries_finished IN ACCESS EXCLUSIVE MODE")
        assert await runner.look() == IDLE_SECONDS
    assert await queue.states() == {"dead": 1}


async def test_a_batch_that_is_due_is_stepped_and_looked_at_again(queue: Queue, runner: ReplayRunner) -> None:
    target = await queue.target("http://127.0.0.1:9/")
    await fail(queue, target, 3)
    await start({}, pace=None, by=None)
    assert await runner.look() == 0
    assert await queue.states() == {"pending": 3}


async def test_a_pause_stops_and_a_cancel_leaves_the_rest(queue: Queue, runner: ReplayRunner) -> None:
    target = await queue.target("http://127.0.0.1:9/")
    await fail(queue, target, 30)
    batch = await start({}, pace=Decimal(50), by=None)
    assert await runner.step()
    await sync_to_async(services.replay_pause)(batch, by=None)
    await queue.sql("UPDATE deliveries_replaybatch SET next_at = now()")
    assert not await runner.step()
    assert await queue.states() == {"pending": 10, "dead": 20}

    await sync_to_async(services.replay_resume)(batch, by=None)
    assert await runner.step()
    assert await queue.states() == {"pending": 20, "dead": 10}
    await sync_to_async(services.replay_cancel)(batch, by=None)
    await queue.sql("UPDATE deliveries_replaybatch SET next_at = now()")
    assert not await runner.step()
    row = await batch_of(queue, batch)
    assert (row["state"], row["replayed_count"]) == ("cancelled", 20)
    assert row["ended_at"] is not None


async def test_a_killed_runner_leaves_the_rest_to_another(queue: Queue, database_url: str, redis_url: str) -> None:
    """Killed between and within its steps: each delivery becomes due once."""
    target = await queue.target("http://127.0.0.1:9/")
    ids = await fail(queue, target, 400)
    batch = await start({"target": target.id}, pace=Decimal(10_000), by=None)
    await queue.sql("UPDATE deliveries_replaybatch SET pace_per_second = 500")
    kills = 0
    while (await batch_of(queue, batch))["ended_at"] is None:
        connection, writes = Connection(database_url, "replay"), PurseWrites(redis_url)
        running = asyncio.create_task(ReplayRunner(connection, writes, lambda _shard: None).run())
        before = (await batch_of(queue, batch))["replayed_count"]

        async def has_moved(before: int = before) -> bool:
            row = await batch_of(queue, batch)
            return row["replayed_count"] > before or row["ended_at"] is not None

        await until(has_moved)
        await queue.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'relay-delivery-replay'"
        )
        running.cancel()
        await asyncio.wait([running])
        await writes.close()
        await connection.close()
        kills += 1
    assert kills > 1
    assert await queue.states() == {"pending": 400}
    rows = await queue.sql("SELECT replay_count FROM deliveries_live")
    assert {row["replay_count"] for row in rows} == {1}
    [holds] = await queue.sql("SELECT count(*) FROM ledger_charge WHERE kind = 'hold' AND replay = 1")
    assert holds["count"] == len(ids)


async def test_batches_that_overlap_take_each_delivery_once(queue: Queue, database_url: str) -> None:
    target = await queue.target("http://127.0.0.1:9/")
    ids = await fail(queue, target, 300)
    first = await start({"ids": ids[:200]}, pace=None, by=None)
    second = await start({"target": target.id}, pace=None, by=None)
    async with running_replays(database_url, lambda _: None), running_replays(database_url, lambda _: None):
        rows = [await until_over(queue, batch) for batch in (first, second)]
    assert sum(row["replayed_count"] for row in rows) == 300
    assert await queue.states() == {"pending": 300}
    assert {row["replay_count"] for row in await queue.sql("SELECT replay_count FROM deliveries_live")} == {1}


async def test_what_fails_again_is_not_replayed_by_the_same_batch(queue: Queue, runner: ReplayRunner) -> None:
    target = await queue.target("http://127.0.0.1:9/")
    await fail(queue, target, 25)
    batch = await start({}, pace=Decimal(50), by=None)
    for _ in range(6):
        await queue.sql("UPDATE deliveries_replaybatch SET next_at = now()")
        await runner.step()
        await queue.sql(
            "WITH gone AS (DELETE FROM deliveries_live RETURNING *) INSERT INTO deliveries_finished SELECT"
            " (jsonb_populate_record(NULL::deliveries_finished, to_jsonb(gone) || jsonb_build_object('state', 'dead',"
            " 'finished_at', now(), 'dead_reason', 'attempts_exhausted'))).* FROM gone"
        )
    row = await batch_of(queue, batch)
    assert (row["state"], row["replayed_count"]) == ("done", 25)
    assert {each["replay_count"] for each in await queue.sql("SELECT replay_count FROM deliveries_finished")} == {1}


async def test_what_cannot_be_replayed_is_named_with_its_reason(queue: Queue, runner: ReplayRunner) -> None:
    target, gone = await queue.target("http://127.0.0.1:9/"), await queue.target("http://127.0.0.1:9/")
    sync, bare, good = await fail(queue, target, 3)
    [orphan] = await fail(queue, gone, 1)
    await queue.sql("UPDATE deliveries_finished SET mode = 'sync' WHERE id = %s", sync)
    await queue.sql(
        "DELETE FROM deliveries_payload WHERE request_id = (SELECT request_id FROM deliveries_finished WHERE id = %s)",
        bare,
    )
    await queue.sql("DELETE FROM catalog_targetsecret WHERE target_id = %s", gone.id)
    await queue.sql("DELETE FROM catalog_target WHERE id = %s", gone.id)
    said = await preview({})
    assert said.by_refusal == {"not_replayable": 1, "payload_expired": 1, "target_deleted": 1}
    assert (said.replayable, said.by_reason) == (1, {"attempts_exhausted": 1})
    batch = await start({}, pace=None, by=None)
    await runner.step()
    row = await batch_of(queue, batch)
    assert row["refused"] == {
        str(sync): "not_replayable",
        str(bare): "payload_expired",
        str(orphan): "target_deleted",
    }
    assert (row["replayed_count"], row["refused_count"]) == (1, 3)
    assert (await queue.delivery(good))["state"] == "pending"


@pytest.mark.parametrize(
    ("charge", "ago", "replays", "price"),
    [
        ("first_free", "1 hour", 0, 0),
        ("first_free", "25 hours", 0, MICRO),
        ("first_free", "1 hour", 1, MICRO),
        ("free", "25 hours", 3, 0),
        ("half", "1 hour", 0, MICRO // 2),
        ("full", "1 hour", 0, MICRO),
    ],
)
async def test_a_replay_costs_what_the_operator_chose(
    charge: str, ago: str, replays: int, price: int, *, queue: Queue, runner: ReplayRunner, settings: Any
) -> None:
    settings.REPLAY_CHARGE = charge
    target = await queue.target("http://127.0.0.1:9/")
    [dead] = await fail(queue, target, 1, ago=ago)
    await queue.sql("UPDATE deliveries_finished SET replay_count = %s", replays)
    said = await preview({"ids": [dead]})
    await start({"ids": [dead]}, pace=None, by=None)
    await runner.step()
    row = await queue.delivery(dead)
    assert said.credits == row["credits"] == price
    assert (await queue.charges(dead))[-1] == (replays + 1, "hold", price)


async def test_the_target_says_how_long_a_replay_is_tried(queue: Queue, runner: ReplayRunner) -> None:
    target = await queue.target("http://127.0.0.1:9/")
    [dead] = await fail(queue, target, 1)
    await queue.sql("UPDATE catalog_target SET expire_seconds = 3600")
    await start({}, pace=None, by=None)
    await runner.step()
    [row] = await queue.sql(
        "SELECT extract(epoch FROM expires_at - next_attempt_at)::int AS seconds FROM deliveries_live WHERE id = %s",
        dead,
    )
    assert row["seconds"] == 3600


async def test_a_replay_arrives_under_its_old_ids(
    queue: Queue, work: Work, receiver: Receiver, database_url: str
) -> None:
    """From a worker that runs replays as well: the receiver can tell that it is one."""
    target = await queue.target(receiver.url)
    [dead] = await fail(queue, target, 1)
    request_id = (await queue.delivery(dead))["request_id"]
    drainer = await work()
    async with running_replays(database_url, drainer.activate):
        await start({"reason": "attempts_exhausted"}, pace=Decimal(1), by=None)
        await queue.until(dead, "delivered")
    [got] = receiver.calls
    assert got.headers["relay-replay"] == "1"
    assert got.headers["relay-delivery-id"] == str(dead)
    assert got.headers["webhook-id"] == str(request_id)

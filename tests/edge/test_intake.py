"""Group commit to a real Postgres: what was answered is stored, what is refused is not, nobody pays for another."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from typing import Any

import pytest
from psycopg import AsyncConnection
from redis.asyncio import Redis

from relay_contract.ending import end
from relay_contract.errors import AcceptUnavailable, InternalFault, ShuttingDown
from relay_contract.intake import SYNC_SHARDS, DeliveryRow, IdempotencyRow, PayloadRow, RequestRow
from relay_contract.messages import QUEUE
from relay_contract.redis import keys
from relay_edge import intake, wakes
from relay_edge.intake import Accepted, Intake, IntakeLimits
from relay_edge.metrics import Metrics
from relay_edge.postgres import connect
from relay_edge.wakes import Wakes
from tests import intake_rows
from tests.edge.conftest import until
from tests.edge.nouns import MOMENT
from tests.edge.proxy import Proxy


def accepted(body: bytes = b"{}", targets: int = 2, **changes: Any) -> Accepted:
    """The rows of a request to `targets` targets, numbered from 1."""
    request = intake_rows.request_row(
        relay_key_id=3_000_000_000_000,
        received_at=MOMENT,
        client_ip="192.0.2.7",
        headers='{"x-one": "1"}',
        body_bytes=len(body),
        target_count=targets,
    )
    request = replace(request, **changes)
    deliveries = tuple(
        intake_rows.delivery_row(request_id=request.id, target_id=number, created_at=MOMENT, body_bytes=len(body))
        for number in range(1, targets + 1)
    )
    return Accepted(request, PayloadRow(request.id, MOMENT, body), deliveries)


_READ_AS = {
    "expire_seconds": "extract(epoch FROM expires_at - next_attempt_at)::int",
    "relay_key_id": "(SELECT relay_key_id FROM ledger_charge WHERE delivery_id = deliveries_live.id)",
    "generation": "(SELECT generation FROM ledger_charge WHERE delivery_id = deliveries_live.id)",
    "units": "(SELECT units FROM ledger_charge WHERE delivery_id = deliveries_live.id)",
}


async def stored(owner: AsyncConnection[Any], row: type[Any]) -> list[Any]:
    """Every row of a table as the edge wrote it."""
    read_as = _READ_AS if row is DeliveryRow else {}
    names = ", ".join(read_as.get(field.name, field.name) for field in fields(row))
    cursor = await owner.execute(f"SELECT {names} FROM {row.table} ORDER BY 1")
    return [row(*values) for values in await cursor.fetchall()]


async def taken(owner: AsyncConnection[Any]) -> list[RequestRow]:
    """The requests that were accepted; those that were refused are in the same table."""
    return [row for row in await stored(owner, RequestRow) if not row.error]


async def stored_ids(owner: AsyncConnection[Any]) -> set[Any]:
    cursor = await owner.execute("SELECT id FROM deliveries_request")
    return {row[0] for row in await cursor.fetchall()}


class Running:
    """An intake at work, with what it reports to."""

    def __init__(self, database_url: str, redis_url: str, limits: IntakeLimits | None) -> None:
        self.metrics = Metrics()
        self.wakes = Wakes(redis_url, self.metrics)
        self.intake = Intake(database_url, self.wakes, self.metrics, limits)


@asynccontextmanager
async def running(database_url: str, redis_url: str, limits: IntakeLimits | None = None) -> AsyncIterator[Running]:
    both = Running(database_url, redis_url, limits)
    tasks = [asyncio.create_task(both.intake.run()), asyncio.create_task(both.wakes.run())]
    try:
        yield both
    finally:
        await end(*tasks)


async def test_stores_the_rows_as_they_were_given(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str
) -> None:
    given = accepted(bytes(range(256)) * 10, headers='{"x-name": "Zo\\u00eb"}', client_ip="2001:db8::1")
    async with running(edge_database_url, redis_url) as edge:
        await edge.intake.commit(given)
    (request,) = await stored(owner, RequestRow)
    assert (json.loads(given.request.headers), str(request.client_ip)) == (request.headers, "2001:db8::1")
    assert replace(request, headers=given.request.headers, client_ip=given.request.client_ip) == given.request
    assert await stored(owner, PayloadRow) == [given.payload]
    assert await stored(owner, DeliveryRow) == list(given.deliveries)


@pytest.mark.parametrize(("as_set_up", "used"), [("off", "on"), ("on", "on"), ("remote_apply", "remote_apply")])
async def test_what_is_committed_is_on_the_disk_however_postgres_is_set_up(
    edge_database_url: str, as_set_up: str, used: str
) -> None:
    url = f"{edge_database_url}?options=-c%20synchronous_commit%3D{as_set_up}"
    async with await connect(url, "test") as connection:
        cursor = await connection.execute("SHOW synchronous_commit")
        assert await cursor.fetchall() == [(used,)]


async def test_a_request_without_targets_is_stored(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str
) -> None:
    given = accepted(b"", targets=0)
    async with running(edge_database_url, redis_url) as edge:
        await edge.intake.commit(given)
    assert await stored(owner, PayloadRow) == [given.payload]
    assert await stored(owner, DeliveryRow) == []


async def test_a_key_makes_one_of_many_requests(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str
) -> None:
    """Among others that have none, one of them bad, so that the batch is committed in parts."""

    def keyed() -> Accepted:
        given = accepted()
        return given._replace(key=IdempotencyRow(2, "once", given.request.id, b"hash", 60))

    given = [keyed() if number % 2 else accepted() for number in range(50)]
    given[10] = accepted(client_ip="somewhere")
    async with running(edge_database_url, redis_url) as edge:
        answers = await asyncio.gather(*(edge.intake.commit(each) for each in given), return_exceptions=True)
        again = await edge.intake.commit(keyed())
        assert edge.metrics.intake_requests.value == 25
        assert edge.metrics.intake_deliveries.value == 50
    assert isinstance(answers[10], InternalFault)
    assert again is False
    first = [each.request.id for each, answer in zip(given, answers, strict=True) if each.key and answer is True]
    plain = {each.request.id for number, each in enumerate(given) if not each.key and number != 10}
    assert len(first) == 1
    assert await stored_ids(owner) == plain | set(first)
    assert [answer for each, answer in zip(given, answers, strict=True) if each.key].count(False) == 24


async def test_only_what_the_async_lane_may_take_wakes_it(
    edge_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, posted = accepted(targets=3), list[int]()
    held, sync, pending = given.deliveries
    rows = (replace(held, state="held"), replace(sync, shard=SYNC_SHARDS[0], mode="sync"), pending)
    async with running(edge_database_url, redis_url) as edge:
        monkeypatch.setattr(edge.wakes, "post", posted.append)
        assert await edge.intake.commit(given._replace(deliveries=rows)) is True
    assert posted == [pending.shard]


async def test_many_callers_share_transactions_and_each_is_stored_once(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str
) -> None:
    given = [accepted() for _ in range(1000)]
    async with running(edge_database_url, redis_url) as edge:
        await asyncio.gather(*(edge.intake.commit(each) for each in given))
        assert edge.metrics.intake_requests.value == 1000
        assert edge.metrics.intake_deliveries.value == 2000
        assert edge.metrics.intake_batch_rows.counts[-2:] == [8, 0]  # seven of 128, one of 104
    assert await stored_ids(owner) == {each.request.id for each in given}
    assert len(await stored(owner, DeliveryRow)) == 2000


async def test_no_caller_is_forgotten_between_two_writers(edge_database_url: str, redis_url: str) -> None:
    """A writer that takes what another one was woken for must not leave that one asleep for ever."""
    chance = random.Random(7)

    async def caller(edge: Running) -> None:
        for _ in range(400):
            await edge.intake.commit(accepted(targets=0))
            await asyncio.sleep(chance.choice((0, 0.001, 0.002, 0.003)))

    async with running(edge_database_url, redis_url, IntakeLimits(gather_seconds=0.001)) as edge:
        await asyncio.gather(*(caller(edge) for _ in range(4)))
        assert (edge.metrics.intake_requests.value, edge.metrics.intake_failures.value) == (1600, 0)


async def test_a_batch_stays_within_its_bytes(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str
) -> None:
    given = [accepted(bytes(300_000), targets=0) for _ in range(8)]
    async with running(edge_database_url, redis_url) as edge:
        await asyncio.gather(*(edge.intake.commit(each) for each in given))
        assert edge.metrics.intake_batch_rows.counts[:3] == [0, 1, 2]  # two of three, one of two
    assert await stored_ids(owner) == {each.request.id for each in given}


@pytest.mark.parametrize(
    "bad",
    [
        {"headers": '{"x": "\\u0000"}'},
        {"headers": "not JSON"},
        {"client_ip": "somewhere"},
        {"caller_request_id": "nul \x00 byte"},
        {"caller_request_id": "surrogate \udcff"},
        {"content_type": "x" * 300},
        {"body_bytes": 2**40},
    ],
    ids=str,
)
async def test_a_bad_row_fails_alone(
    owner: AsyncConnection[Any],
    edge_database_url: str,
    redis_url: str,
    caplog: pytest.LogCaptureFixture,
    bad: dict[str, Any],
) -> None:
    given = [accepted() for _ in range(40)]
    culprit = accepted(**bad)
    async with running(edge_database_url, redis_url) as edge:
        everyone = [*given[:17], culprit, *given[17:]]
        answers = await asyncio.gather(*(edge.intake.commit(each) for each in everyone), return_exceptions=True)
        assert edge.metrics.intake_bad_rows.value == 1
    assert [type(answer) for answer in answers] == [bool] * 17 + [InternalFault] + [bool] * 23
    assert await stored_ids(owner) == {each.request.id for each in given}
    refusal = next(record for record in caplog.records if record.getMessage() == "intake_row_refused")
    assert refusal.fields["request_id"] == str(culprit.request.id)  # type: ignore[attr-defined]  # extra


async def test_a_full_queue_refuses_and_stores_nothing_of_it(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str
) -> None:
    given = [accepted() for _ in range(5)]
    async with running(edge_database_url, redis_url, IntakeLimits(queue_requests=3)) as edge:
        answers = await asyncio.gather(*(edge.intake.commit(each) for each in given), return_exceptions=True)
        assert edge.metrics.intake_refusals.value == 2
    assert [type(answer) for answer in answers] == [bool] * 3 + [AcceptUnavailable] * 2
    refused = answers[-1]
    assert isinstance(refused, AcceptUnavailable)
    assert refused.retry_after_seconds == 1.0
    assert await stored_ids(owner) == {each.request.id for each in given[:3]}


async def test_a_queue_full_of_bytes_refuses(edge_database_url: str, redis_url: str) -> None:
    async with running(edge_database_url, redis_url, IntakeLimits(queue_bytes=100_000)) as edge:
        answers = await asyncio.gather(
            edge.intake.commit(accepted(bytes(90_000))),
            edge.intake.commit(accepted(bytes(90_000))),
            return_exceptions=True,
        )
    assert [type(answer) for answer in answers] == [bool, AcceptUnavailable]


async def test_a_commit_that_takes_too_long_is_refused(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, database_url: str
) -> None:
    async with (
        running(edge_database_url, redis_url, IntakeLimits(commit_seconds=0.3)) as edge,
        await AsyncConnection.connect(database_url) as locker,
    ):
        await locker.execute("LOCK TABLE deliveries_request IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(AcceptUnavailable):
            await edge.intake.commit(accepted())
        await locker.rollback()
        after = accepted()
        await until(lambda: edge.intake.is_connected, "a new connection")
        await edge.intake.commit(after)
    assert await stored_ids(owner) == {after.request.id}


async def test_a_connection_lost_during_a_commit_is_no_acceptance(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, database_url: str
) -> None:
    async with (
        running(edge_database_url, redis_url) as edge,
        await AsyncConnection.connect(database_url) as locker,
    ):
        await locker.execute("LOCK TABLE deliveries_request IN ACCESS EXCLUSIVE MODE")
        waiting = asyncio.create_task(edge.intake.commit(accepted()))
        await until(lambda: cut_off(owner, "AND wait_event_type = 'Lock'"), "a blocked commit")
        with pytest.raises(AcceptUnavailable):
            await waiting
        await locker.rollback()
        after = accepted()
        await edge.intake.commit(after)
    assert await stored_ids(owner) == {after.request.id}


async def test_a_commit_that_nobody_answers_is_refused_in_time(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "CANCEL_SECONDS", 0.1)
    proxy = await Proxy.start(edge_database_url)
    async with running(proxy.url, redis_url, IntakeLimits(commit_seconds=0.3)) as edge:
        await edge.intake.commit(accepted())
        proxy.freeze()
        with pytest.raises(AcceptUnavailable):
            await edge.intake.commit(accepted())
        assert edge.metrics.intake_failures.value == 1
        proxy.thaw()
        after = accepted()
        await edge.intake.commit(after)
    await proxy.close()
    assert after.request.id in await stored_ids(owner)


async def cut_off(owner: AsyncConnection[Any], condition: str = "") -> int:
    """Ends the writers' backends and waits for their end; how many."""
    cursor = await owner.execute(
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
        f" WHERE application_name = 'relay-edge-intake' AND datname = current_database() {condition}"
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def test_idle_connections_that_were_closed_cost_no_caller_anything(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str
) -> None:
    given = [accepted() for _ in range(4)]
    async with running(edge_database_url, redis_url) as edge:
        await edge.intake.commit(given[0])
        for each in given[1:]:
            await until(lambda: cut_off(owner), "connections to cut")
            await edge.intake.commit(each)
    assert await stored_ids(owner) == {each.request.id for each in given}


async def test_without_postgres_callers_wait_for_their_time_and_then_are_refused_at_once(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str
) -> None:
    proxy = await Proxy.start(edge_database_url)
    await proxy.close()
    async with running(proxy.url, redis_url, IntakeLimits(commit_seconds=0.3)) as edge:
        with pytest.raises(AcceptUnavailable):
            await edge.intake.commit(accepted())
        assert edge.metrics.intake_failures.value == 1
        assert not edge.intake.is_connected
        with pytest.raises(AcceptUnavailable):
            await edge.intake.commit(accepted())
        assert edge.metrics.intake_refusals.value == 1
        await proxy.open()
        await until(lambda: edge.intake.is_connected, "a connection")
        after = accepted()
        await edge.intake.commit(after)
    await proxy.close()
    assert await stored_ids(owner) == {after.request.id}


async def test_a_short_outage_is_waited_out(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str
) -> None:
    proxy = await Proxy.start(edge_database_url)
    async with running(proxy.url, redis_url) as edge:
        await until(lambda: edge.intake.is_connected, "a connection")
        await proxy.close()
        await until(lambda: not edge.intake.is_connected, "the loss")
        given = accepted()
        waiting = asyncio.create_task(edge.intake.commit(given))
        await proxy.open()
        await waiting
    await proxy.close()
    assert await stored_ids(owner) == {given.request.id}


async def test_a_caller_who_left_takes_nothing_back(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str
) -> None:
    given = accepted()
    async with running(edge_database_url, redis_url) as edge:
        leaving = asyncio.create_task(edge.intake.commit(given))
        await asyncio.sleep(0)
        leaving.cancel()
        await edge.intake.drain(10)
        with pytest.raises(ShuttingDown):
            await edge.intake.commit(accepted())
    assert await stored_ids(owner) == {given.request.id}


async def test_draining_commits_what_was_taken(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str
) -> None:
    given = [accepted() for _ in range(300)]
    async with running(edge_database_url, redis_url) as edge:
        waiting = [asyncio.create_task(edge.intake.commit(each)) for each in given]
        await asyncio.sleep(0)
        await edge.intake.drain(10)
        assert edge.intake.is_closing
        assert await asyncio.gather(*waiting) == [True] * 300
    assert await stored_ids(owner) == {each.request.id for each in given}


async def test_each_shard_is_woken_once_until_a_worker_begins(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str
) -> None:
    async with running(edge_database_url, redis_url) as edge, Redis.from_url(redis_url) as redis:
        await asyncio.gather(*(edge.intake.commit(accepted(targets=2)) for _ in range(200)))
        await until(lambda: edge.metrics.wakes.value == 2, "two wakes")
        messages = [json.loads(message) for message in await redis.lrange(QUEUE, 0, -1)]
        assert sorted(message["headers"]["argsrepr"] for message in messages) == ["(1,)", "(2,)"]
        assert await redis.exists(keys.wake(1), keys.wake(2), keys.wake(0), keys.wake(3)) == 2
        await redis.delete(keys.wake(1))  # what a worker does before its first claim
        await edge.intake.commit(accepted(targets=1))
        await until(lambda: edge.metrics.wakes.value == 3, "a third wake")
        assert await redis.llen(QUEUE) == 3
        assert edge.metrics.wakes_failed.value == 0


async def test_the_first_wake_of_a_quiet_time_waits_for_no_turn(
    edge_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakes, "TURN_SECONDS", 3600.0)
    async with running(edge_database_url, redis_url) as edge:
        await edge.intake.commit(accepted(targets=3))
        await until(lambda: edge.metrics.wakes.value == 3, "a wake for each shard")


async def test_without_redis_requests_are_committed_all_the_same(
    owner: AsyncConnection[Any], edge_database_url: str, free_port: int
) -> None:
    given = accepted(targets=3)
    async with running(edge_database_url, f"redis://127.0.0.1:{free_port}/0") as edge:
        await edge.intake.commit(given)
        await until(lambda: edge.metrics.wakes_failed.value == 3, "three failed wakes")
    assert await stored_ids(owner) == {given.request.id}

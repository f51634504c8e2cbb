"""Replays of a prepaid project: paid from the purse before anything is made due, refused where it is empty, and given
back or found again, whoever dies between two steps."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.db import OperationalError

from delivery.database import Connection
from delivery.generations import Times
from delivery.purse_writes import PurseWrites
from delivery.replay_runner import ReplayRunner
from relay_admin.deliveries import services
from relay_contract.credits import MICRO
from relay_contract.redis import keys
from tests.delivery.money import Money
from tests.delivery.queue import Queue
from tests.delivery.test_replay_runner import batch_of, fail, start

TIMES = Times(close=20, look=5, open=30, flush_wait=3)


@pytest_asyncio.fixture
async def money(queue: Queue, database_url: str, redis_url: str, settings: Any) -> AsyncIterator[Money]:
    settings.REPLAY_CHARGE = "full"
    opened = await Money.open(queue, database_url, redis_url, TIMES)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def runner(money: Money, database_url: str) -> AsyncIterator[ReplayRunner]:
    connection = Connection(database_url, "replay")
    yield ReplayRunner(connection, money.writes[0], lambda _shard: None)
    await connection.close()


async def fail_paid(money: Money, count: int, left: int) -> list[Any]:
    """Dead deliveries whose first hold and settlement are in the balance, and money open with so many credits left."""
    target = await money.queue.target("http://127.0.0.1:9/")
    ids = await fail(money.queue, target, count)
    await money.grant((count + left) * MICRO)
    await money.fold()
    await money.open_money()
    assert await money.available() == left * MICRO
    return ids


async def live(money: Money) -> int:
    """Micro-credits that the queue holds."""
    [row] = await money.queue.sql("SELECT coalesce(sum(credits), 0)::bigint AS held FROM deliveries_live")
    return int(row["held"])


async def close_generations(money: Money) -> None:
    for _ in range(30):
        money.clock.now += 5
        await money.fold()
        await money.keeper.step()


async def test_what_is_made_due_is_paid_first(money: Money, runner: ReplayRunner) -> None:
    ids = await fail_paid(money, 3, left=5)
    batch = await start({"ids": ids}, pace=None, by=None)
    await runner.step()
    assert await money.available() == 2 * MICRO
    assert (await money.purse())["used"] == 3 * MICRO
    await money.fold()
    await money.keeper.step()
    assert await money.available() == 2 * MICRO
    rows = await money.queue.sql("SELECT generation, micro_credits FROM ledger_charge WHERE replay = 1")
    assert {(row["generation"] is not None, row["micro_credits"]) for row in rows} == {(True, MICRO)}
    assert (await batch_of(money.queue, batch))["replayed_count"] == 3
    await close_generations(money)
    assert await money.available() == 2 * MICRO
    assert "used" not in await money.purse() or (await money.purse())["used"] == 0


async def test_what_cannot_be_paid_stays_dead(money: Money, runner: ReplayRunner) -> None:
    ids = await fail_paid(money, 5, left=2)
    said = await sync_to_async(services.replay_preview)({"ids": ids})
    assert (said.replayable, said.credits, said.by_refusal) == (2, 2 * MICRO, {"insufficient_credits": 3})
    batch = await start({"ids": ids}, pace=None, by=None)
    await runner.step()
    row = await batch_of(money.queue, batch)
    assert (row["replayed_count"], row["refused_count"], row["credits"]) == (2, 3, 2 * MICRO)
    assert row["refused"] == dict.fromkeys(map(str, sorted(ids)[2:]), "insufficient_credits")
    assert await money.queue.states() == {"pending": 2, "dead": 3}
    assert await money.available() == 0


async def test_what_is_free_needs_no_credits(money: Money, runner: ReplayRunner, settings: Any) -> None:
    settings.REPLAY_CHARGE = "free"
    ids = await fail_paid(money, 3, left=0)
    await start({"ids": ids}, pace=None, by=None)
    await runner.step()
    assert await money.queue.states() == {"pending": 3}
    assert await money.available() == 0


async def test_while_money_is_closed_a_paid_batch_waits(money: Money, runner: ReplayRunner) -> None:
    ids = await fail_paid(money, 2, left=5)
    batch = await start({"ids": ids}, pace=None, by=None)
    await money.client.delete(keys.MONEY)
    assert not await runner.step()
    assert not await runner.step()  # it is not due before some seconds are over
    assert (await batch_of(money.queue, batch))["state"] == "running"
    assert await money.queue.states() == {"dead": 2}
    await money.open_money()
    await money.queue.sql("UPDATE deliveries_replaybatch SET next_at = now()")
    assert await runner.step()
    assert await money.queue.states() == {"pending": 2}


async def test_a_step_that_another_took_is_given_back(
    money: Money, runner: ReplayRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await fail_paid(money, 3, left=9)
    batch = await start({"ids": ids}, pace=None, by=None)
    take_some = PurseWrites.take_some

    async def overtaken(self: PurseWrites, account: int, prices: list[int]) -> tuple[int, int]:
        taken = await take_some(self, account, prices)
        await money.queue.sql("UPDATE deliveries_replaybatch SET cursor = %s WHERE id = %s", min(ids), batch.pk)
        return taken

    monkeypatch.setattr(PurseWrites, "take_some", overtaken)
    assert not await runner.step()
    assert await money.available() == 9 * MICRO
    assert await money.queue.states() == {"dead": 3}


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 6))
async def test_killed_at_any_point_nothing_is_lost_or_spent_twice(
    money: Money, database_url: str, monkeypatch: pytest.MonkeyPatch, at: int, *, is_done: bool
) -> None:
    """Before each statement and command, or when it was done and nobody heard of it."""
    ids = await fail_paid(money, 4, left=3)
    await start({"ids": ids}, pace=None, by=None)
    left = at

    def dies(cls: type, name: str, monkey: pytest.MonkeyPatch) -> None:
        done: Callable[..., Any] = getattr(cls, name)

        async def until(self: object, *given: object) -> object:
            nonlocal left
            left -= 1
            if left == 0 and not is_done:
                raise Killed
            result = await done(self, *given)
            if left == 0:
                raise Killed
            return result

        monkey.setattr(cls, name, until)

    connection = Connection(database_url, "replay")
    with monkeypatch.context() as monkey:
        dies(Connection, "rows", monkey)
        dies(PurseWrites, "take_some", monkey)
        dies(PurseWrites, "give_back", monkey)
        with suppress(Killed):
            await ReplayRunner(connection, money.writes[0], lambda _shard: None).step()
    await connection.close()
    await money.fold()
    await money.keeper.step()
    assert await money.available() + await live(money) <= 3 * MICRO  # at no time is more there than was granted
    await close_generations(money)
    assert await money.available() + await live(money) == 3 * MICRO

    again = Connection(database_url, "replay")
    await ReplayRunner(again, money.writes[0], lambda _shard: None).step()
    await again.close()
    assert await live(money) == 3 * MICRO
    assert await money.queue.states() == {"pending": 3, "dead": 1}
    assert await money.available() == 0


@pytest.mark.parametrize("how", ["fails", "unknown"])
async def test_by_hand_what_was_taken_comes_back_when_it_fails(
    money: Money, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """At once where the transaction was rolled back; where nobody knows, when the generation is closed."""
    ids = await fail_paid(money, 2, left=5)
    error: Exception = ValueError("no") if how == "fails" else OperationalError("gone")

    def broken(*_given: object, **_named: object) -> None:
        raise error

    monkeypatch.setattr(services.ReplayBatch, "refresh_from_db", broken)
    with pytest.raises(type(error)):
        await sync_to_async(services.delivery_replay)(delivery_ids=ids, by=None)
    assert await money.queue.states() == {"dead": 2}
    assert await money.available() == (5 if how == "fails" else 3) * MICRO
    await close_generations(money)
    assert await money.available() == 5 * MICRO


async def test_by_hand_what_cannot_be_paid_is_named(money: Money) -> None:
    ids = await fail_paid(money, 3, left=1)
    batch = await sync_to_async(services.delivery_replay)(delivery_ids=ids, by=None)
    assert batch.refused == dict.fromkeys(map(str, sorted(ids)[1:]), "insufficient_credits")
    assert await money.available() == 0
    await money.client.delete(keys.MONEY)
    with pytest.raises(services.ValidationError, match="cannot be looked up"):
        await sync_to_async(services.delivery_replay)(delivery_ids=ids[1:], by=None)

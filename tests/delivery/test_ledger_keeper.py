"""What Redis believes of money: told, closed, lost and made anew, whoever dies between two steps."""

from collections.abc import AsyncIterator, Awaitable

import pytest
import pytest_asyncio

from delivery import ledger_fold
from delivery.database import Connection
from delivery.generations import Marker, Times
from delivery.purse_writes import PurseWrites
from relay_contract.ids import uuid7
from relay_contract.redis import keys
from tests.delivery.money import Money
from tests.delivery.queue import Queue, until

TIMES = Times(close=120, look=10, open=150, flush_wait=3)


@pytest_asyncio.fixture
async def money(queue: Queue, database_url: str, redis_url: str) -> AsyncIterator[Money]:
    opened = await Money.open(queue, database_url, redis_url, TIMES)
    await opened.grant(1000)
    yield opened
    await opened.close()


async def marker(money: Money) -> Marker:
    found = Marker.read(await money.client.get(keys.MONEY))
    assert found is not None
    return found


async def test_the_marker_comes_last_and_after_a_wait(money: Money) -> None:
    await money.keeper.step()
    assert await money.client.get(keys.MONEY) is None
    assert await money.purse() == {}
    money.clock.now += TIMES.flush_wait
    await money.keeper.step()
    assert (await marker(money)).is_opening
    await money.keeper.step()  # no edge lives, so none has anything to declare
    found = await marker(money)
    assert not found.is_opening
    assert found.generation == found.seed
    assert (await money.client.info("server"))["run_id"] == found.run_id
    assert await money.available() == 1000


async def test_what_changes_is_told(money: Money) -> None:
    await money.open_money()
    await money.grant(500)
    await money.queue.sql("UPDATE ledger_account SET overdraft_microcredits = 70 WHERE id = %s", money.wallet)
    await money.fold()
    await money.keeper.step()
    assert await money.available() == 1570


async def test_what_purses_are_told_outlives_a_crash_of_postgres(money: Money) -> None:
    """Else a generation might be closed in Redis alone, and its calls granted a second time."""
    await money.open_money()

    async def is_flushed_by(step: Awaitable[object]) -> bool:
        [before] = await money.queue.sql("SELECT pg_current_wal_insert_lsn() AS place")
        await step
        [after] = await money.queue.sql("SELECT pg_current_wal_flush_lsn() > %s AS is_so", before["place"])
        return bool(after["is_so"])

    for _ in range(5):
        await money.post(1, (await marker(money)).generation)
        assert await is_flushed_by(ledger_fold.fold(money.connection))
        money.clock.now += TIMES.close
        assert await is_flushed_by(money.keeper._close({money.wallet: 1}))


async def test_a_project_that_becomes_prepaid_has_a_purse(money: Money) -> None:
    await money.open_money()
    await money.queue.sql(
        "INSERT INTO catalog_project (id, slug, name, description, is_archived, created_at, updated_at)"
        " VALUES (77, 'late', '', '', false, now(), now())"
    )
    [late] = await money.queue.sql("SELECT live_wallet_id AS id FROM catalog_project WHERE slug = 'late'")
    await money.keeper.step()
    assert not await money.client.exists(keys.purse("w", str(late["id"])))
    await money.queue.sql("UPDATE catalog_project SET billing = 'prepaid' WHERE slug = 'late'")
    await money.keeper.step()
    assert await money.client.hget(keys.purse("w", str(late["id"])), "granted") == b"0"  # type: ignore[misc]


async def test_a_posted_call_changes_nothing_and_closing_replaces_it(money: Money) -> None:
    await money.open_money()
    edge = await money.edge()
    call = await edge.admit(money.wallet, 300)
    assert call is not None
    assert await money.available() == 700
    await edge.settle(money.wallet, call, 250)
    assert await money.available() == 750
    await money.post(250, call.generation)
    await money.fold()
    await money.keeper.step()
    assert await money.available() == 750
    assert (await money.purse())["granted"] == 1000
    await run(money, 400)
    assert (await marker(money)).generation > call.generation
    assert await money.available() == 750
    assert await money.purse() | {"version": 0} == {"granted": 750, "used": 0, "version": 0}
    assert await money.queue.sql("SELECT * FROM ledger_taken") == []


async def run(money: Money, seconds: int) -> None:
    """Rounds of the keeper, with all edges alive."""
    for _ in range(0, seconds, 5):
        money.clock.now += 5
        for edge in money.edges:
            await edge.beat()
        await money.keeper.step()


async def test_a_lost_row_is_given_back(money: Money) -> None:
    await money.open_money()
    edge = await money.edge()
    call = await edge.admit(money.wallet, 300)
    assert call is not None
    await edge.settle(money.wallet, call, 300)  # and no row
    await run(money, 400)
    assert await money.available() == 1000


async def test_what_a_dead_process_held_is_given_back_and_its_row_counts(money: Money) -> None:
    await money.open_money()
    edge = await money.edge()
    lost, written = await edge.admit(money.wallet, 300), await edge.admit(money.wallet, 100)
    assert lost is not None
    assert written is not None
    await money.post(100, written.generation)
    await money.fold()
    await edge.die()
    money.edges.clear()
    await run(money, 100)
    assert await money.available() == 600
    await run(money, 400)
    assert await money.available() == 900
    assert not await money.client.smembers(keys.EDGES)  # type: ignore[misc]


async def test_a_stream_keeps_its_generation_open_and_no_ninth_is_opened(money: Money) -> None:
    await money.open_money()
    edge = await money.edge()
    for _ in range(9):
        assert await edge.admit(money.wallet, 10) is not None
        await run(money, 160)
    assert await money.available() == 910
    first = edge.calls[0].generation
    assert (await marker(money)).generation == first + 7
    for call in edge.calls:
        await edge.settle(money.wallet, call, 10)
        await money.post(10, call.generation)
    await money.fold()
    await run(money, 400)
    assert await money.available() == 910
    assert (await marker(money)).generation > first + 7


async def test_an_edge_that_keeps_rows_to_itself_keeps_generations_open(money: Money) -> None:
    await money.open_money()
    edge = await money.edge()
    call = await edge.admit(money.wallet, 300)
    assert call is not None
    await edge.settle(money.wallet, call, 250)
    for _ in range(100):
        money.clock.now += 5
        await money.client.set(keys.alive(edge.process), "61.5")
        await money.client.sadd(keys.EDGES, edge.process)  # type: ignore[misc]
        await money.keeper.step()
    assert await money.available() == 750
    await money.post(250, call.generation)
    await money.fold()
    await run(money, 200)
    assert await money.available() == 750


async def test_budgets_get_back_what_the_dead_held(money: Money) -> None:
    await money.open_money()
    budget = keys.purse("b", "key:7")
    generation = (await marker(money)).generation
    await money.client.hset(  # type: ignore[misc]
        budget, mapping={"bucket": 1, "used": 30, f"h:{'a' * 16}:{generation}": 20, f"h:{'b' * 16}:{generation + 9}": 1}
    )
    await run(money, 400)
    assert await money.client.hgetall(budget) == {  # type: ignore[misc]
        b"bucket": b"1", b"used": b"10", f"h:{'b' * 16}:{generation + 9}".encode(): b"1"
    }  # fmt: skip


@pytest.mark.parametrize("how", ["flushed", "of another server", "nonsense"])
async def test_without_its_marker_money_is_closed_and_made_anew(money: Money, how: str) -> None:
    await money.open_money()
    before = await marker(money)
    edge = await money.edge()
    call = await edge.admit(money.wallet, 300)
    assert call is not None
    if how == "flushed":
        await money.client.flushall()
    else:
        other = str(before._replace(run_id="0" * 40)) if how == "of another server" else "nonsense"
        await money.client.set(keys.MONEY, other)
    await money.keeper.step()
    assert await edge.admit(money.wallet, 1) is None
    await money.open_money()
    assert (await marker(money)).seed > before.generation
    assert call.generation == (await marker(money)).generation
    assert await money.available() == 700
    assert await edge.admit(money.wallet, 1) is not None
    await edge.settle(money.wallet, call, 200)
    assert await money.available() == 799


async def rounds(money: Money, count: int) -> None:
    for _ in range(count):
        await money.keeper.step()
        money.clock.now += 1


async def test_purses_pay_when_every_edge_has_declared_what_it_holds(money: Money) -> None:
    await money.open_money()
    first, second = await money.edge(), await money.edge()
    assert await second.admit(money.wallet, 600) is not None
    await money.keeper.step()
    await money.client.flushall()
    await rounds(money, 6)
    await first.beat()  # hears of it
    await first.beat()  # and says so
    await rounds(money, 3)
    assert (await marker(money)).is_opening  # there were two, and the other holds something
    assert await first.admit(money.wallet, 500) is None
    await second.beat()
    await second.beat()
    await rounds(money, 1)
    assert not (await marker(money)).is_opening
    assert await first.admit(money.wallet, 500) is None
    assert await first.admit(money.wallet, 400) is not None


async def test_a_dead_edge_is_not_waited_for_for_ever(money: Money) -> None:
    await money.open_money()
    living, dead = await money.edge(), await money.edge()
    assert await dead.admit(money.wallet, 600) is not None
    await money.keeper.step()
    await money.client.flushall()
    await rounds(money, 6)
    since = money.clock.now
    while (await marker(money)).is_opening:
        await living.beat()
        await rounds(money, 1)
    assert TIMES.patience - 5 <= money.clock.now - since <= TIMES.patience
    assert await money.available() == 1000


async def test_rows_of_before_the_flush_are_posted_before_purses_pay(money: Money) -> None:
    await money.open_money()
    edge = await money.edge()
    call = await edge.admit(money.wallet, 300)
    assert call is not None
    await money.keeper.step()
    await money.client.flushall()
    edge.calls.clear()
    edge.unwritten.append(money.clock.now)  # it ended, and its row is still in the edge
    for _ in range(7):
        await edge.beat()
        await rounds(money, 1)
    assert (await marker(money)).is_opening
    due = uuid7()
    await money.queue.sql("INSERT INTO ledger_due (id, not_before) VALUES (%s, now() - interval '1 day')", due)
    edge.unwritten.clear()
    await edge.beat()
    await rounds(money, 3)
    assert (await marker(money)).is_opening
    await money.queue.sql("DELETE FROM ledger_due")
    await money.post(250, call.generation)
    await rounds(money, 1)
    assert not (await marker(money)).is_opening
    assert await money.available() == 750


async def test_a_row_of_before_the_flush_counts_once(money: Money) -> None:
    await money.open_money()
    edge = await money.edge()
    call = await edge.admit(money.wallet, 300)
    assert call is not None
    await edge.settle(money.wallet, call, 250)
    edge.calls.clear()
    await money.client.flushall()
    await money.open_money()
    await money.post(250, call.generation)
    await money.fold()
    await money.keeper.step()
    assert await money.available() == 750
    await run(money, 400)
    assert await money.available() == 750


async def test_only_one_keeps_and_the_other_takes_over(money: Money, database_url: str) -> None:
    await money.open_money()
    connection = Connection(database_url, "keeper")
    other = money.another_keeper(connection)
    await other.step()
    assert (money.keeper.figures.is_keeper, other.figures.is_keeper) == (True, False)
    before = await marker(money)
    await money.connection.close()  # its session, as when its process is killed
    await money.grant(5)
    await money.fold()

    async def takes_over() -> bool:
        await other.step()
        return other.figures.is_keeper and await money.available() == 1005

    await until(takes_over)
    assert await marker(money) == before
    await connection.close()


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("at", range(1, 31))
async def test_killed_between_any_two_steps_and_run_again(
    money: Money, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """A flush, a dead edge and a generation that closes; each statement and command may be the last one."""
    await money.open_money()
    edge = await money.edge()
    call = await edge.admit(money.wallet, 300)
    assert call is not None
    await edge.settle(money.wallet, call, 250)
    await money.post(250, call.generation)
    await money.grant(100)
    left = at

    def count_down() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    rows, scan = Connection.rows, PurseWrites._make

    async def rows_until(self: Connection, *given: object) -> object:
        count_down()
        return await rows(self, *given)  # type: ignore[arg-type]

    async def make_until(self: PurseWrites, *given: object) -> object:
        count_down()
        return await scan(self, *given)  # type: ignore[arg-type]

    await money.client.flushall()
    monkeypatch.setattr(Connection, "rows", rows_until)
    monkeypatch.setattr(PurseWrites, "_make", make_until)
    try:
        await money.open_money()
        await run(money, 400)
    except Killed:
        pass
    monkeypatch.undo()
    await money.connection.close()
    money.keeper = money.another_keeper(money.connection)
    await money.open_money()
    await money.fold()
    await run(money, 400)
    assert await money.available() == 850
    assert await money.purse() | {"version": 0} == {"granted": 850, "version": 0} | (
        {"used": 0} if "used" in await money.purse() else {}
    )

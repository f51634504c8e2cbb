"""Random calls of several edges, kills, lost rows, late settlements and flushes against the real scripts and the real
ledger: a wallet is never below its overdraft, and when all is over Redis believes exactly what Postgres has. Edges hear
of a flush one after the other, write rows late, and rows are posted later still."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

import pytest
import pytest_asyncio

from delivery.generations import Times
from relay_contract.ids import uuid7
from tests.delivery.money import Edge, Held, Money
from tests.delivery.queue import Queue

pytestmark = pytest.mark.timeout(300)

STEPS = 500
LONGEST_WRITING, LONGEST_POSTING = 10, 30
"""Seconds from a call's end to its row, and from there to the ledger."""
TIMES = Times(close=120, look=20, open=100, flush_wait=2, patience=10_000)


@pytest_asyncio.fixture
async def money(queue: Queue, database_url: str, redis_url: str) -> AsyncIterator[Money]:
    opened = await Money.open(queue, database_url, redis_url, TIMES)
    await opened.grant(1000)
    yield opened
    await opened.close()


@dataclass
class Row:
    """A call that is over, on its way to the ledger."""

    edge: Edge
    ended_at: float
    written_at: float
    posted_at: float
    charge: int
    generation: int
    due: UUID | None = None  # once it is written


@dataclass
class Late:
    """A settlement on its way to Redis."""

    at: float
    edge: Edge
    call: Held
    charge: int


@dataclass
class Model:
    """What happens, and what is not there yet."""

    money: Money
    chance: random.Random
    overdraft: int
    has_flushes: bool
    rows: list[Row] = field(default_factory=list)
    late: list[Late] = field(default_factory=list)
    refused: int = 0
    flushes: int = 0

    async def step(self) -> None:
        money, chance = self.money, self.chance
        money.clock.now += 1
        for edge in chance.sample(money.edges, chance.randrange(len(money.edges) + 1)):
            await edge.beat()
        await self.arrive()
        await self.write()
        what = chance.random()
        if what < 0.45:
            edge = chance.choice(money.edges)
            if await edge.admit(money.wallet, chance.randrange(1, 120)) is None:
                self.refused += 1
        elif what < 0.75:
            await self.end_call()
        elif what < 0.85:
            await self.post()
        elif what < 0.97:
            await self.keep()
        elif what < 0.975:
            await money.grant(chance.randrange(1, 200))
        elif what < 0.985:
            await self.kill()
        elif what < 0.99 and self.has_flushes:
            await money.client.flushall()
            self.flushes += 1

    async def arrive(self) -> None:
        for late in [late for late in self.late if late.at <= self.money.clock.now]:
            self.late.remove(late)
            await late.edge.settle(self.money.wallet, late.call, late.charge)

    async def end_call(self) -> None:
        ending = {id(late.call) for late in self.late}
        open_calls = [(edge, c) for edge in self.money.edges for c in edge.calls if id(c) not in ending]
        if open_calls:
            edge, call = self.chance.choice(open_calls)
            charge, now = self.chance.randrange(call.need + 1), self.money.clock.now
            self.late.append(Late(now + self.chance.randrange(5), edge, call, charge))
            self.end(edge, charge, call.generation, now + self.chance.randrange(LONGEST_WRITING))

    def end(self, edge: Edge, charge: int, generation: int, written_at: float) -> None:
        now = self.money.clock.now
        posted_at = written_at + self.chance.randrange(LONGEST_POSTING)
        self.rows.append(Row(edge, now, written_at, posted_at, charge, generation))
        edge.unwritten.append(now)

    async def write(self) -> None:
        for row in self.rows:
            if row.due is None and row.written_at <= self.money.clock.now:
                row.due = uuid7()
                row.edge.unwritten.remove(row.ended_at)
                await self.money.queue.sql(
                    "INSERT INTO ledger_due (id, not_before) VALUES (%s, now() - interval '1 day')", row.due
                )

    async def post(self) -> None:
        for row in [row for row in self.rows if row.due is not None and row.posted_at <= self.money.clock.now]:
            self.rows.remove(row)
            await self.money.queue.sql("DELETE FROM ledger_due WHERE id = %s", row.due)
            await self.money.post(row.charge, row.generation)
        if self.chance.random() < 0.7:
            await self.money.fold()

    async def keep(self) -> None:
        await self.money.keeper.step()

    async def kill(self) -> None:
        """Of what it held some was written, and none is settled; what was not written is lost."""
        edge = self.money.edges.pop(self.chance.randrange(len(self.money.edges)))
        await edge.die()
        self.rows = [row for row in self.rows if row.edge is not edge or row.due is not None]
        edge.unwritten.clear()
        ending = {id(late.call) for late in self.late}
        for call in edge.calls:
            if id(call) not in ending and self.chance.random() < 0.5:
                self.end(edge, self.chance.randrange(call.need + 1), call.generation, self.money.clock.now)
        await self.write()
        self.late = [late for late in self.late if late.edge is not edge]
        await self.money.edge()

    async def balance(self) -> int:
        """With every row that is written, posted or not."""
        return await self.money.posted() - sum(row.charge for row in self.rows)


@pytest.mark.parametrize("has_flushes", [False, True])
@pytest.mark.parametrize("seed", range(4))
async def test_never_below_the_overdraft_and_exact_at_the_end(money: Money, seed: int, has_flushes: bool) -> None:
    overdraft = 150 if seed % 2 else 0
    await money.queue.sql(
        "UPDATE ledger_account SET overdraft_microcredits = %s WHERE id = %s", overdraft, money.wallet
    )
    model = Model(money, random.Random(seed), overdraft, has_flushes)
    for _ in range(4):
        await money.edge()
    await money.open_money()
    for _ in range(STEPS):
        await model.step()
        assert await model.balance() >= -overdraft
    assert model.refused
    assert not has_flushes or model.flushes
    for edge in money.edges:
        for call in edge.calls:
            await edge.settle(money.wallet, call, 0)
    money.clock.now += LONGEST_WRITING + LONGEST_POSTING
    await model.write()
    await model.post()
    await money.fold()
    for _ in range(60):
        money.clock.now += 10
        for edge in money.edges:
            await edge.beat()
        await model.keep()
    assert model.rows == []
    assert await money.available() == await money.posted() + overdraft
    assert {name for name in await money.purse() if ":" in name} == set()

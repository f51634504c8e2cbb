"""Random calls, kills, lost rows, late settlements and flushes against the real scripts and the real ledger: a wallet
is never below its overdraft, and when all is over Redis believes exactly what Postgres has."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from delivery.generations import Times
from relay_contract.redis import keys
from tests.delivery.money import Edge, Held, Money
from tests.delivery.queue import Queue

STEPS = 500
LONGEST_POSTING = 40
"""Seconds from a call's end to its row."""
TIMES = Times(close=120, look=20, open=100, flush_wait=LONGEST_POSTING + 1)


@pytest_asyncio.fixture
async def money(queue: Queue, database_url: str, redis_url: str) -> AsyncIterator[Money]:
    opened = await Money.open(queue, database_url, redis_url, TIMES)
    await opened.grant(1000)
    yield opened
    await opened.close()


@dataclass
class Row:
    """A call that is over, on its way to the ledger."""

    at: float
    charge: int
    generation: int


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
    seed: bytes | None = None
    refused: int = 0
    flushes: int = 0

    async def step(self) -> None:
        money, chance = self.money, self.chance
        money.clock.now += 1
        for edge in money.edges:
            await edge.beat()
        await self.arrive()
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
            late.edge.calls.remove(late.call)
            await late.edge.settle(self.money.wallet, late.call, late.charge)

    async def end_call(self) -> None:
        ending = {id(late.call) for late in self.late}
        open_calls = [(edge, c) for edge in self.money.edges for c in edge.calls if id(c) not in ending]
        if open_calls:
            edge, call = self.chance.choice(open_calls)
            charge, now = self.chance.randrange(call.need + 1), self.money.clock.now
            self.late.append(Late(now + self.chance.randrange(5), edge, call, charge))
            self.rows.append(Row(now + self.chance.randrange(LONGEST_POSTING), charge, call.generation))

    async def post(self) -> None:
        for row in [row for row in self.rows if row.at <= self.money.clock.now]:
            self.rows.remove(row)
            await self.money.post(row.charge, row.generation)
        if self.chance.random() < 0.7:
            await self.money.fold()

    async def keep(self) -> None:
        """And edges hear of a new seed before anybody asks."""
        await self.money.keeper.step()
        found = await self.money.client.get(keys.MONEY)
        if found is not None and found.split(b":")[1] != self.seed:
            generation, self.seed = int(found.split(b":")[0]), found.split(b":")[1]
            for edge in self.money.edges:
                edge.seed = int(self.seed)
                await edge.declare(self.money.wallet, generation)

    async def kill(self) -> None:
        """Of what it held some was written, and none is settled."""
        edge = self.money.edges.pop(self.chance.randrange(len(self.money.edges)))
        await edge.die()
        ending = {id(late.call) for late in self.late}
        for call in edge.calls:
            if id(call) not in ending and self.chance.random() < 0.5:
                at = self.money.clock.now + self.chance.randrange(LONGEST_POSTING)
                self.rows.append(Row(at, self.chance.randrange(call.need + 1), call.generation))
        self.late = [late for late in self.late if late.edge is not edge]
        await self.money.edge()
        self.money.edges[-1].seed = int(self.seed or 0)

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
    for _ in range(TIMES.flush_wait.__ceil__() + 2):
        money.clock.now += 1
        await model.keep()
    for _ in range(STEPS):
        await model.step()
        assert await model.balance() >= -overdraft
    assert model.refused
    assert not has_flushes or model.flushes
    for edge in money.edges:
        for call in list(edge.calls):
            edge.calls.remove(call)
            await edge.settle(money.wallet, call, 0)
    money.clock.now += LONGEST_POSTING
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

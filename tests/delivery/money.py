"""Money as the keeper and edges see it: a prepaid project, purses in Redis, a clock that tests move, and edges that go
through the real scripts and may be killed at any moment."""

import itertools
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import redis.asyncio

from delivery import ledger_fold
from delivery.database import Connection
from delivery.generations import Marker, Times
from delivery.ledger_keeper import Keeper
from delivery.purse_writes import PurseWrites
from relay_contract.ids import uuid7
from relay_contract.redis import keys, scripts
from tests.delivery.queue import PROJECT_ID, Queue

NOBODY = UUID(int=0)


@dataclass
class Clock:
    """Seconds that only tests move."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Held:
    """A call that was let in, until it is settled."""

    need: int
    process: str
    generation: int


class Edge:
    """One edge process, with a connection of its own: `beat` says that it lives, and hears of a new seed."""

    _numbers = itertools.count(1)

    def __init__(self, client: "redis.asyncio.Redis", clock: Clock, account: int) -> None:
        self._redis = client
        self._clock = clock
        self._account = account
        self._moved_at = clock.now
        self.unwritten: list[float] = []  # when calls ended whose rows Postgres does not have
        self._settlements = 0
        self.process = f"{next(self._numbers):016x}"
        self.seed = 0
        self.calls: list[Held] = []

    async def beat(self) -> None:
        oldest = min(self.unwritten, default=self._clock.now)
        declared = self.seed if oldest >= self._moved_at else 0
        said = f"{int(self._clock.now - oldest)}:{declared}"
        await self._redis.set(keys.alive(self.process), said, px=keys.ALIVE_MS)
        await self._redis.sadd(keys.EDGES, self.process)
        marker = Marker.read(await self._redis.get(keys.MONEY))
        if marker is not None and marker.seed != self.seed:
            await self._hear(marker.generation, marker.seed)

    async def die(self) -> None:
        """As if the time of its last word were over."""
        await self._redis.delete(keys.alive(self.process))

    async def admit(self, account: int, need: int) -> Held | None:
        """None where it is refused."""
        run_id = (await self._redis.info("server"))["run_id"]
        reply: Any = await self._redis.eval(
            scripts.ADMIT.text.decode(),
            3,
            *(keys.BREAKERS, keys.MONEY, keys.purse("w", str(account))),
            *("call", 0, 0, 0, 0, f"0:0:{run_id}", f"h:{self.process}:0", need, need, 0, 1, 0, 0),
        )
        if reply[0] != 0:
            return None
        if reply[7] != self.seed:
            await self._hear(reply[6], reply[7])
        call = Held(need, self.process, reply[6])
        self.calls.append(call)
        return call

    async def _hear(self, generation: int, seed: int) -> None:
        """It declares what it holds, to a Redis that has not heard of it."""
        self.seed, self._moved_at = seed, self._clock.now
        for call in self.calls:
            call.generation = generation
            await self._settle(self._account, "W", call, 0)

    async def settle(self, account: int, call: Held, charge: int) -> None:
        self.calls = [each for each in self.calls if each is not call]
        await self._settle(account, "w", call, charge)

    async def _settle(self, account: int, kind: str, call: Held, charge: int) -> None:
        self._settlements += 1
        await self._redis.eval(
            scripts.SETTLE.text.decode(),
            3,
            *(keys.settled(self.process), keys.BREAKERS, keys.purse("w", str(account))),
            *(self._settlements, "call", 0, 0, 0, 1, kind, call.need, charge),
            *(f"h:{call.process}:{call.generation}", f"spent:{call.generation}"),
        )


@dataclass
class Money:
    """One prepaid wallet, and whoever touches it."""

    queue: Queue
    client: "redis.asyncio.Redis"
    keeper: Keeper
    connection: Connection
    clock: Clock
    wallet: int
    times: Times
    redis_url: str
    writes: list[PurseWrites]
    edges: list[Edge] = field(default_factory=list)

    @classmethod
    async def open(cls, queue: Queue, database_url: str, redis_url: str, times: Times) -> "Money":
        await queue.sql("UPDATE catalog_project SET billing = 'prepaid' WHERE id = %s", PROJECT_ID)
        [project] = await queue.sql("SELECT live_wallet_id FROM catalog_project WHERE id = %s", PROJECT_ID)
        clock, connection = Clock(), Connection(database_url, "keeper")
        writes, client = PurseWrites(redis_url), redis.asyncio.Redis.from_url(redis_url)
        keeper = Keeper(connection, writes, times, clock)
        return cls(queue, client, keeper, connection, clock, project["live_wallet_id"], times, redis_url, [writes])

    def another_keeper(self, connection: Connection) -> Keeper:
        """That of another process."""
        self.writes.append(PurseWrites(self.redis_url))
        return Keeper(connection, self.writes[-1], self.times, self.clock)

    async def close(self) -> None:
        for writes in self.writes:
            await writes.close()
        await self.connection.close()
        await self.client.aclose()

    async def edge(self) -> Edge:
        made = Edge(self.client, self.clock, self.wallet)
        await made.beat()
        self.edges.append(made)
        return made

    async def grant(self, amount: int) -> None:
        await self.queue.sql(
            "INSERT INTO ledger_entry (source, kind, debit_id, credit_id, amount, note) VALUES (%s, 11, 6, %s, %s, '')",
            uuid7(),
            self.wallet,
            amount,
        )

    async def post(self, charge: int, generation: int | None) -> None:
        """A call's row, posted."""
        if charge:
            await self.queue.sql(
                "INSERT INTO ledger_entry (source, kind, debit_id, credit_id, amount, note, generation)"
                " VALUES (%s, 1, %s, 2, %s, '', %s)",
                *(uuid7(), self.wallet, charge, generation),
            )

    async def fold(self) -> None:
        while await ledger_fold.fold(self.connection):
            pass

    async def open_money(self) -> None:
        """Rounds of the keeper, with all edges alive, until purses pay."""
        while (marker := Marker.read(await self.client.get(keys.MONEY))) is None or marker.is_opening:
            for edge in self.edges:
                await edge.beat()
            await self.keeper.step()
            self.clock.now += 1

    async def purse(self) -> dict[str, int]:
        """The wallet's hash."""
        found: Any = await self.client.hgetall(keys.purse("w", str(self.wallet)))  # type: ignore[misc]
        return {name.decode(): int(value) for name, value in found.items()}

    async def available(self) -> int:
        """As Redis believes."""
        purse = await self.purse()
        return purse.get("granted", 0) - purse.get("used", 0)

    async def posted(self) -> int:
        """As Postgres knows, folded or not."""
        [row] = await self.queue.sql(
            "SELECT (coalesce((SELECT sum(CASE WHEN credit_id = %s THEN amount ELSE -amount END) FROM ledger_entry"
            " WHERE %s IN (debit_id, credit_id)), 0))::bigint AS posted",
            self.wallet,
            self.wallet,
        )
        return int(row["posted"])

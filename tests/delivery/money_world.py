"""A small relay that is all about money, on real Postgres and Valkey: what happens to it, and what should come of it.

Everything goes through what the product runs: the admission and settlement scripts, the statements of the edge, the
poster, the fold, the keeper, and the services of the control plane. Beside it stands a model of plain numbers.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import redis.asyncio

from delivery import ledger_fold
from delivery.database import DatabaseAway
from delivery.generations import Times
from delivery.ledger_keeper import Keeper
from delivery.ledger_poster import Poster
from delivery.purse_writes import PurseWrites
from relay_admin.access.models import User
from relay_admin.catalog.models import Project
from relay_admin.deliveries import endings, services
from relay_admin.ledger.models import Account
from relay_contract.intake import DeadReason, DeliveryState
from relay_contract.ledger import AccountId, Leg, Terms, charge_of, legs
from relay_contract.nouns import TermsId
from relay_contract.redis import keys
from relay_contract.traffic import CallRow
from tests.delivery.money import Clock, Edge, Held
from tests.delivery.queue import Queue, Target
from tests.delivery.test_alerts import call_row, call_rows
from tests.delivery.test_ledger_poster import Failing

CREDIT = 1_000_000
TIMES = Times(close=20, look=4, open=15, flush_wait=3)
MARKUP_PPM, OWNER_PPM = 150_001, 900_001
CHOSEN = "SELECT ctid AS place FROM deliveries_live WHERE id = %s FOR UPDATE"
ENDS = {
    kind: endings.end(CHOSEN, DeliveryState.DEAD, DeadReason.EXPIRED, f"'{kind}'") for kind in ("settle", "release")
}
EMPTIED = """
TRUNCATE ledger_entry, ledger_charge, ledger_delta, ledger_chargedelta, ledger_day, ledger_balance, ledger_taken,
    ledger_due, ledger_usagedelta, ledger_usagehour, ledger_topup, ledger_refund, ledger_paymentevent,
    ledger_coderedemption, ledger_creditcode, traffic_call, deliveries_live, deliveries_finished CASCADE
"""
T = TypeVar("T")


@dataclass(frozen=True)
class Payer:
    """Who pays for calls. `is_purse`: beforehand, through Redis."""

    account: int
    mode: str
    project_id: int
    is_purse: bool
    terms: Terms | None = None
    user_id: int | None = None


@dataclass
class Open:
    """A call that was let in. `held` where a purse holds something for it."""

    payer: Payer
    most: int
    held: Held | None


@dataclass
class Delivery:
    """One that is in the queue, or over."""

    id: UUID
    payer: Payer
    held: int
    is_over: bool = False


class World:
    """Made anew for each example. Not for use inside an event loop: services of the control plane are called too."""

    def __init__(self, runner: asyncio.Runner, queue: Queue, target: Target, database_url: str, redis_url: str) -> None:
        self.runner, self.queue, self.target = runner, queue, target
        self.database_url, self.redis_url = database_url, redis_url
        self.sql(EMPTIED)
        self.clock = Clock()
        self.posted: Counter[int] = Counter()  # what should be, without calls
        self.open_holds: Counter[int] = Counter()
        self.excused: Counter[int] = Counter()  # how far below its overdraft an account may be, and why it may is told
        self.overdraft: Counter[int] = Counter()
        self.calls: list[Open] = []
        self.rows: dict[UUID, tuple[CallRow, tuple[Leg, ...]]] = {}
        self.deliveries: list[Delivery] = []
        name = f"somebody-{User.objects.count()}"
        self.by = User.objects.create_user(name, f"{name}@example.test")
        self._payers()
        self.run(self._open_redis())
        self.keep()

    def _payers(self) -> None:
        number = Project.objects.count()
        metered = Project.objects.create(slug=f"metered-{number}", name="")
        prepaid = Project.objects.create(slug=f"prepaid-{number}", name="", billing="prepaid")
        for each in (metered, prepaid, self.by):
            each.refresh_from_db()
        [row] = self.sql(
            "INSERT INTO ledger_terms (project_id, markup_ppm, owner_ppm, referral_ppm) VALUES (%s, %s, %s, 0)"
            " RETURNING id", prepaid.pk, MARKUP_PPM, OWNER_PPM,
        )  # fmt: skip
        terms = Terms(TermsId(row["id"]), MARKUP_PPM, OWNER_PPM, 0)
        self.earnings = {
            each.project_id: each.pk for each in Account.objects.filter(kind="earnings", mode="live", user_id=None)
        }
        self.payers = (
            Payer(prepaid.live_wallet_id, "live", prepaid.pk, is_purse=True),
            Payer(self.by.live_wallet_id, "live", prepaid.pk, is_purse=True, terms=terms, user_id=self.by.pk),
            Payer(prepaid.live_pool_id, "live", prepaid.pk, is_purse=True),
            Payer(metered.live_wallet_id, "live", metered.pk, is_purse=False),
            Payer(metered.test_wallet_id, "test", metered.pk, is_purse=False),
        )

    async def _open_redis(self) -> None:
        self.client = redis.asyncio.Redis.from_url(self.redis_url)
        await self.client.flushall()
        self.writes = PurseWrites(self.redis_url)
        self.edges: dict[int, Edge] = {}
        for payer in self.payers:
            await self._new_edge(payer)
        self.connection = Failing(self.database_url, 0, before=False)
        self.keeper = Keeper(self.connection, self.writes, TIMES, self.clock)

    async def _new_edge(self, payer: Payer) -> None:
        edge = self.edges[payer.account] = Edge(self.client, self.clock, payer.account)
        await edge.beat()

    def close(self) -> None:
        """Its connections, not those it was given."""

        async def close() -> None:
            await self.writes.close()
            await self.client.aclose()
            await self.connection.close()

        self.run(close())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def sql(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        return self.run(self.queue.sql(statement, *parameters))

    # Calls.

    def admit(self, payer: Payer, cost: int) -> None:
        """One that costs so much at most; refused where a purse has too little."""
        most = charge_of(cost, payer.terms.markup_ppm if payer.terms else 0)[0]
        held = None
        if payer.is_purse:
            held = self.run(self.edges[payer.account].admit(payer.account, most))
            if held is None:
                return
        self.calls.append(Open(payer, cost, held))

    def end_call(self, call: Open, cost: int, *, is_settled: bool = True) -> None:
        """Its row is written, and Redis hears of it, unless its edge was killed in between."""
        self.calls.remove(call)
        payer, terms = call.payer, call.payer.terms
        charge, markup = charge_of(cost, terms.markup_ppm if terms else 0)
        row = call_row(
            project_id=payer.project_id, mode=payer.mode, payer_id=payer.account, charge_microcredits=charge,
            markup_microcredits=markup, cost_nanousd=cost, terms_id=terms and terms.id, pricing_id=None,
            generation=call.held and call.held.generation, user_id=payer.user_id, application_id=None, model="m",
        )  # fmt: skip
        self.write(row)
        owner = AccountId(self.earnings[payer.project_id])
        self.rows[row.id] = row, legs(AccountId(payer.account), cost, markup, terms=terms, owner=owner)
        if call.held is not None and is_settled:
            edge = self.edges[payer.account]
            edge.calls.remove(call.held)
            self.run(edge.settle(payer.account, call.held, charge))

    def write(self, row: CallRow) -> None:
        """As the edge does it, which may do it twice."""
        self.run(call_rows(self.queue, row))

    def kill_edge(self, payer: Payer, rows: int) -> None:
        """Of the calls that it held some were written, and none is settled."""
        held = [call for call in self.calls if call.payer is payer]
        for number, call in enumerate(held):
            if number < rows:
                self.end_call(call, call.most, is_settled=False)
            else:
                self.calls.remove(call)
        self.run(self.edges[payer.account].die())
        self.run(self._new_edge(payer))

    # Deliveries.

    def accept(self, payer: Payer) -> None:
        """A delivery of one credit, which a prepaid project pays when it is accepted."""
        generation = None
        if payer.is_purse:
            edge = self.edges[payer.account]
            held = self.run(edge.admit(payer.account, CREDIT))
            if held is None:
                return
            generation = held.generation
            edge.calls.remove(held)
        [accepted] = self.run(
            self.queue.accept(self.target, project_id=payer.project_id, key_mode=payer.mode, generation=generation)
        )
        if payer.is_purse:
            self.run(edge.settle(payer.account, held, CREDIT))
        self.deliveries.append(Delivery(accepted.deliveries[0], payer, CREDIT))
        self.open_holds[payer.account] += CREDIT

    def end_delivery(self, delivery: Delivery, kind: str) -> None:
        """And whoever comes second adds nothing."""
        for _ in range(2):
            self.sql(ENDS[kind], delivery.id)
        delivery.is_over = True
        self.open_holds[delivery.payer.account] -= delivery.held
        if kind == "settle":
            self.move(delivery.payer.account, 2 + (delivery.payer.mode == "test"), delivery.held)

    def replay(self, delivery: Delivery) -> None:
        """It may take its wallet below its overdraft: an operator wants it."""
        for _ in range(2):
            services.delivery_replay(delivery_ids=[delivery.id], by=None)
        [row] = self.sql(
            "SELECT micro_credits FROM ledger_charge WHERE delivery_id = %s AND phase = 0 ORDER BY replay DESC LIMIT 1",
            delivery.id,
        )
        delivery.is_over, delivery.held = False, row["micro_credits"]
        self.open_holds[delivery.payer.account] += delivery.held
        self.excused[delivery.payer.account] += delivery.held

    # Money that comes, and goes by hand.

    def move(self, debit: int, credit: int, amount: int) -> None:
        """In the model."""
        self.posted[debit] -= amount
        self.posted[credit] += amount

    def account(self, payer: Payer) -> Account:
        return Account.objects.get(pk=payer.account)

    # Workers.

    def post(self, kill_at: int = 0, *, before: bool = False) -> None:
        """All that is due; or one step, whose connection is lost at a statement."""

        async def post() -> None:
            connection = Failing(self.database_url, kill_at, before=before)
            with suppress(DatabaseAway):
                poster = Poster(connection)
                while await poster.step() and not kill_at:
                    pass
            await connection.close()

        self.run(post())

    def fold(self, kill_at: int = 0, *, before: bool = False) -> None:
        """The same of a fold."""

        async def fold() -> None:
            connection = Failing(self.database_url, kill_at, before=before)
            with suppress(DatabaseAway):
                while await ledger_fold.fold(connection) and not kill_at:
                    pass
            await connection.close()

        self.run(fold())

    def keep(self, kill_at: int = 0, *, before: bool = False) -> None:
        """Rounds of the keeper until money is open; it may be killed on the way, and then another begins."""

        async def keep() -> None:
            await self.connection.close()
            self.connection = Failing(self.database_url, kill_at, before=before)
            self.keeper = Keeper(self.connection, self.writes, TIMES, self.clock)
            while True:
                try:
                    await self.keeper.step()
                except DatabaseAway:
                    self.keeper = Keeper(self.connection, self.writes, TIMES, self.clock)
                if await self.client.get(keys.MONEY) is not None and self.keeper.figures.is_keeper:
                    break
                self.clock.now += 1
            self.connection.left = 0
            await self._hear()

        self.run(keep())

    async def _hear(self) -> None:
        """Edges hear of a new seed before anybody asks, and say what they hold."""
        for edge in self.edges.values():
            await edge.beat()

    def pass_time(self, seconds: int) -> None:
        """Rows are posted sooner than a generation is closed, whoever is killed; docs/reconcile.md says why."""
        self.post()
        self.fold()

        async def keep() -> None:
            for _ in range(0, seconds, 5):
                self.clock.now += 5
                await self._hear()
                await self.keeper.step()
                await self._hear()

        self.run(keep())

    def flush(self) -> None:
        """What has ended and is not posted yet is all that may take a wallet below its overdraft."""
        for row, _ in self.due():
            self.excused[int(row.payer_id or 0)] += int(row.charge_microcredits)
        self.run(self.client.flushall())
        self.keep()

    def due(self) -> list[tuple[CallRow, tuple[Leg, ...]]]:
        """Calls that are written and not posted."""
        return [self.rows[row["id"]] for row in self.sql("SELECT id FROM ledger_due")]

    def left(self, payer: Payer) -> int:
        """As Redis believes."""
        found: Any = self.run(self.client.hmget(keys.purse("w", str(payer.account)), "granted", "used"))  # type: ignore[arg-type]
        return int(found[0] or 0) - int(found[1] or 0)

    def expected(self) -> dict[int, int]:
        """What every account has, with all calls that are posted."""
        sums: defaultdict[int, int] = defaultdict(int, self.posted)
        due = {row.id for row, _ in self.due()}
        for id_, (_, rows) in self.rows.items():
            for leg in rows if id_ not in due else ():
                sums[leg.debit] -= leg.amount
                sums[leg.credit] += leg.amount
        return dict(sums)


@contextmanager
def worlds(database_url: str, redis_url: str, master_keys: tuple[bytes, ...]) -> Iterator[Any]:
    """Makes worlds, one after the other, on one event loop."""
    with asyncio.Runner() as runner:
        queue = runner.run(Queue.open(database_url, master_keys))
        target = runner.run(queue.target("http://127.0.0.1:9/"))
        runner.run(queue.sql("ALTER SEQUENCE catalog_project_id_seq RESTART WITH 100"))
        yield lambda: World(runner, queue, target, database_url, redis_url)
        runner.run(queue.close())

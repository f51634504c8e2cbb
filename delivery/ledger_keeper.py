"""The keeper of the purses: what Redis believes of money is what Postgres has, and where nobody knows, no purse pays.

One worker at a time, by an advisory lock of its session. Each second it tells purses what changed; now and then it
opens a generation, and closes those that are over (`generations.py`). When the marker of money is gone, or was set on
another Redis, it makes all purses anew. Then the marker says that money is opening: edges declare what they hold, and
when all of them have, and what ended before is posted, purses pay.

Whatever it writes may be written twice, late, or by two who both believe that it is their turn: balances carry
versions, the marker is changed only from what it was, and purses are made under one token while there is no marker.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError

from delivery import ledger_fold
from delivery.database import Connection, DatabaseAway, Outage
from delivery.generations import MOST_OPEN, Beat, Marker, Part, Parts, Times, Watch
from delivery.purse_writes import Overtaken, PurseWrites
from relay_admin.ledger import budget_sql, folding, purse_sql
from relay_admin.ledger.locks import Lock
from relay_contract import periods
from relay_contract.logs import log_fields
from relay_contract.redis import keys

logger = logging.getLogger(__name__)

ROUND_SECONDS = 1.0
SAY_SECONDS = 5.0
"""Between two words to operators, unless there is something new."""
HURRY_SECONDS = 0.25
"""Between rounds while no purse pays."""
MOST_PAGES = 40
"""Of purses told in one round."""
MOST_BEHIND_SECONDS = 10
"""That money stays closed at most for calls which are not posted yet, and whose cost purses would not know of."""


@dataclass(slots=True)
class Figures:
    """For the metrics page."""

    is_keeper: bool = False
    generation: int = 0  # 0: money is closed
    open_generations: int = 0
    edges: int = 0  # processes that live
    told: int = 0  # purses
    closed: int = 0  # generations of purses
    seedings: int = 0


class Keeper:
    """One for each worker process; those whose turn it is not only ask for it. `clock`: seconds that never go back."""

    def __init__(
        self,
        connection: Connection,
        writes: PurseWrites,
        times: Times = Times(),  # noqa: B008 (frozen)
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._writes = writes
        self._times = times
        self._clock = clock
        self._said: tuple[bool, int, int] | None = None
        self._said_at = 0.0
        self._most_edges = 0  # that lived at once, when purses last paid
        self.figures = Figures()
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Of what it saw nothing counts."""
        self._watch = Watch(self._times.close)
        self._version = -1  # the last that purses were told; at first all are
        self._marker: Marker | None = None
        self._turned_at = self._looked_at = self._clock()
        self._open = 1  # generations, when it last looked
        self._token = ""  # under which it makes purses anew
        self._seed_at = 0.0
        self._declared_at: float | None = None  # when every edge had declared what it holds

    async def run(self) -> None:
        """For the life of the process; ends by cancellation."""
        outage, is_redis_away = Outage("keeper"), False
        while True:
            try:
                await self.step()
                outage.is_over()
                is_redis_away = False
            except DatabaseAway as away:  # and the lock with its session
                self._lose_turn()
                outage.goes_on(away)
            except (RedisError, OSError) as error:
                self.figures.generation = 0
                if not is_redis_away:
                    logger.warning("keeper_redis_away", extra=log_fields(reason=type(error).__name__))
                is_redis_away = True
            try:
                await self._say()
            except DatabaseAway:
                self._lose_turn()
            is_closed = self.figures.is_keeper and not self.figures.generation and not is_redis_away
            await asyncio.sleep(HURRY_SECONDS if is_closed else ROUND_SECONDS)

    async def step(self) -> None:
        """One round. Raises DatabaseAway, RedisError, OSError."""
        if not await self._has_turn():
            return
        found, run_id = await self._writes.marker()
        marker = Marker.read(found)
        if marker is None or marker.run_id != run_id:
            self.figures.generation = 0
            if found is not None:
                await self._writes.turn(found, b"")
            await self._seed(run_id)
            return
        self._token = ""
        if marker != self._marker:
            self._marker, self._turned_at = marker, self._clock()
        beats = await self._writes.beats()
        self.figures.edges, self.figures.open_generations = len(beats), self._open
        if marker.is_opening:
            self.figures.generation = 0
            await self._open_money(marker, beats)
            return
        self.figures.generation, self._most_edges = marker.generation, len(beats)
        await self._tell()
        if self._clock() - self._looked_at >= self._times.look:
            await self._look(marker)
            await self._tell()
            self._looked_at = self._clock()
        if self._clock() - self._turned_at >= self._times.open and self._open < MOST_OPEN:
            await self._open_next(marker)

    async def _say(self) -> None:
        """For the page of money, and for alerts. Raises DatabaseAway."""
        figures, now = self.figures, self._clock()
        news = (figures.generation > 0, figures.open_generations, figures.edges)
        if figures.is_keeper and (news != self._said or now - self._said_at >= SAY_SECONDS):
            is_open, open_generations, edges = news
            await self._connection.rows(purse_sql.SAY, (is_open, figures.generation, open_generations, edges))
            self._said, self._said_at = news, now

    async def _has_turn(self) -> bool:
        if not self.figures.is_keeper:
            [(is_ours,)] = await self._connection.rows("SELECT pg_try_advisory_lock(%b::bigint)", (int(Lock.KEEPER),))
            if is_ours:
                self._begin_anew()
                self.figures.is_keeper = True
        return self.figures.is_keeper

    def _lose_turn(self) -> None:
        self.figures.is_keeper, self.figures.generation = False, 0

    async def _tell(self) -> None:
        for _ in range(MOST_PAGES):
            page = await self._connection.rows(purse_sql.CHANGED, (self._version,))
            if not page:
                return
            await self._writes.fund(page)
            self._version = page[-1][1]
            self.figures.told += len(page)

    async def _open_money(self, marker: Marker, beats: Sequence[Beat]) -> None:
        """Once nobody holds anything that purses do not know, and nothing is under way that would lower them."""
        now = self._clock()
        undeclared = max(self._most_edges, len(beats)) - sum(beat.seed == marker.seed for beat in beats)
        if now < self._turned_at + self._times.patience:
            if undeclared:
                self._declared_at = None
                return
            if self._declared_at is None:
                self._declared_at = now
            if await self._is_behind(now - self._declared_at):
                return
        elif undeclared:
            logger.warning("purses_opened_without", extra=log_fields(edges=undeclared))
        while await ledger_fold.fold(self._connection):
            pass
        await self._tell()
        await self._writes.turn(str(marker).encode(), str(marker._replace(is_opening=False)).encode())
        self._declared_at = None

    async def _open_next(self, marker: Marker) -> None:
        [(generation,)] = await self._connection.rows(purse_sql.NEXT_GENERATION, ())
        await self._writes.turn(str(marker).encode(), str(marker._replace(generation=generation)).encode())
        self._open += 1

    async def _look(self, marker: Marker) -> None:
        """At all purses; closes what is over, unless rows are still under way."""
        purses = await self._writes.purses()
        for account, generation, taken in await self._connection.rows(purse_sql.TAKEN, (marker.generation,)):
            parts = purses.setdefault(keys.purse("w", str(account)), {})
            parts.setdefault(generation, Part()).taken = taken
        living, unwritten = await self._writes.edges(_holders(purses))
        closable = self._watch.look(self._clock(), marker.generation, purses, living)
        self._open = len({number for parts in purses.values() for number in parts} | {marker.generation})
        if not closable or unwritten > self._times.most_unwritten or await self._is_behind(self._times.most_unwritten):
            return
        wallets = {account: closable[key] for key in closable if (account := keys.purse_account(key)) is not None}
        if wallets and not await self._close(wallets):
            return
        await self._writes.free({key: number for key, number in closable.items() if keys.purse_account(key) is None})
        self.figures.closed += len(closable)

    async def _close(self, wallets: dict[int, int]) -> bool:
        """False: of these generations something was posted and not folded."""
        last, is_closed = max(wallets.values()), False
        while await ledger_fold.fold(self._connection):
            pass
        async with self._connection.transaction():
            await self._connection.rows(purse_sql.TAKE_TURN, ())
            [(is_unfolded,)] = await self._connection.rows(purse_sql.IS_UNFOLDED, (last, last))
            if not is_unfolded:
                await self._connection.rows(purse_sql.CLOSE, (list(wallets), list(wallets.values())))
                await self._connection.rows(purse_sql.FORGET_TAKEN, ())
                is_closed = True
        return is_closed

    async def _seed(self, run_id: str) -> None:
        """The wait first, over some rounds, and then everything at once."""
        if not self._token or not await self._writes.is_seeding(self._token):
            self._token = secrets.token_hex(8)
            self._seed_at = self._clock() + self._times.flush_wait
            await self._writes.begin_seeding(self._token)
            return
        if self._clock() < self._seed_at:
            return
        if self._clock() < self._seed_at + self._times.patience and await self._is_behind(self._times.flush_wait):
            return
        generation, version = await self._close_all()
        try:
            await self._writes.drop_purses(self._token)
            account = 0
            while page := await self._connection.rows(purse_sql.ALL, (account,)):
                await self._writes.seed_wallets(self._token, page)
                account = page[-1][0]
            await self._seed_budgets()
            await self._writes.open_money(self._token, Marker(generation, generation, run_id, is_opening=True))
        except Overtaken:
            self._token = ""
            return
        logger.warning("purses_seeded", extra=log_fields(generation=generation))
        self._begin_anew()
        self._version = version
        self.figures.seedings += 1

    async def _seed_budgets(self) -> None:
        used = {
            keys.purse(kind, owner): (periods.index(periods.Period(period), start_ms), spent)
            for kind, owner, period, start_ms, spent in await self._connection.rows(budget_sql.USED, ())
        }
        await self._writes.seed_budgets(self._token, used)

    async def _is_behind(self, seconds: float) -> bool:
        [(is_behind,)] = await self._connection.rows(purse_sql.IS_BEHIND, (seconds,))
        return bool(is_behind)

    async def _close_all(self) -> tuple[int, int]:
        """A new generation, with all before it closed; and the version of which all purses are to be."""
        while await ledger_fold.fold(self._connection):
            pass
        async with self._connection.transaction():
            await self._connection.rows(purse_sql.TAKE_TURN, ())
            await self._connection.rows(folding.FOLD, ())  # what came meanwhile
            [(last,)] = await self._connection.rows(purse_sql.NEXT_GENERATION, ())
            await self._connection.rows(purse_sql.CLOSE_ALL, (last,))
            await self._connection.rows(purse_sql.FORGET_TAKEN, ())
            [(version,)] = await self._connection.rows(purse_sql.LATEST_VERSION, ())
            [(generation,)] = await self._connection.rows(purse_sql.NEXT_GENERATION, ())
        return generation, version


def _holders(purses: dict[str, Parts]) -> set[str]:
    return {process for parts in purses.values() for part in parts.values() for process in part.held}

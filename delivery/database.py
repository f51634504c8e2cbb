"""A connection to Postgres that comes back: one per loop of a worker, so that no statement waits for another's.

What is broken off (a restart, a lost network, a statement over its time) is raised as DatabaseAway, and the next call
connects anew. A mistake of ours, such as a missing column, is raised as it is and ends the process.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from relay_contract import logs

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 20
BACK_OFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)

# synchronous_commit: a claim or a result that a crash of Postgres takes back is a delivery that is made again, which
# at-least-once allows. It saves a wait for the disk per statement. What a caller was promised is the edge's commit.
# enable_seqscan: statistics of a queue are always out of date, and a plan that reads the whole table is never right.
OPTIONS = "-c synchronous_commit=off -c enable_seqscan=off -c enable_mergejoin=off -c jit=off -c timezone=UTC"

PLANNED_ONCE = " -c plan_cache_mode=force_generic_plan"
"""Planning anew costs a single result 0.4 ms of 0.7, and a statement that names all days of history 10 to 100 ms. What
is run here finds its rows by key or by place, whatever the parameters are."""

ONE_PLAN = f"{PLANNED_ONCE} -c enable_bitmapscan=off"
"""For claims: planning one anew costs 1.5 ms, as much as 75 of its rows do. A plan that does not know its LIMIT would
read and sort all that is due; without bitmaps it walks the index in its order."""


class DatabaseAway(Exception):
    """Postgres cannot be reached, or broke off. The statement may or may not have happened."""


class Connection:
    """One lazily opened connection. Not for use by two tasks at once."""

    def __init__(self, url: str, name: str, options: str = "") -> None:
        self._url = url
        self._name = name
        self._options = OPTIONS + options
        self._connection: psycopg.AsyncConnection[TupleRow] | None = None

    async def rows(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run one prepared statement in a transaction of its own. Any: a row's types are the statement's business."""
        try:
            async with asyncio.timeout(STATEMENT_SECONDS):
                connection = self._connection or await self._connect()
                cursor = await connection.execute(statement, parameters, prepare=True, binary=True)
                return await cursor.fetchall() if cursor.description else []
        except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError, OSError) as error:
            await self.close()
            raise DatabaseAway(type(error).__name__) from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """What `rows` runs inside is committed together, or not at all. Raises DatabaseAway."""
        await self.rows("BEGIN", ())
        try:
            yield
            await self.rows("COMMIT", ())
        except BaseException:
            await self.close()  # also takes back what is open
            raise

    async def run_in_transaction(self, work: Callable[[psycopg.AsyncConnection[TupleRow]], Awaitable[None]]) -> None:
        """Run several statements in one transaction. Raises DatabaseAway."""
        try:
            async with asyncio.timeout(STATEMENT_SECONDS):
                connection = self._connection or await self._connect()
                async with connection.transaction():
                    await work(connection)
        except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError, OSError) as error:
            await self.close()
            raise DatabaseAway(type(error).__name__) from error

    async def close(self) -> None:
        """Drop the connection; the next statement opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connect(self) -> psycopg.AsyncConnection[TupleRow]:
        self._connection = await psycopg.AsyncConnection.connect(
            self._url,
            autocommit=True,
            application_name=f"relay-delivery-{self._name}",
            options=self._options,
            connect_timeout=CONNECT_SECONDS,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
        )
        return self._connection


class Outage:
    """How often a loop failed to reach Postgres in a row: says it once at each end, and how long to pause."""

    def __init__(self, loop: str) -> None:
        self._loop = loop
        self._failures = 0

    def goes_on(self, away: DatabaseAway) -> float:
        """Seconds to pause before the next try."""
        if self._failures == 0:
            logger.warning("database_away", extra=logs.log_fields(loop=self._loop, reason=str(away)))
        pause = BACK_OFF_SECONDS[min(self._failures, len(BACK_OFF_SECONDS) - 1)]
        self._failures += 1
        return pause

    def is_over(self) -> None:
        """Postgres answered."""
        if self._failures:
            logger.warning("database_back", extra=logs.log_fields(loop=self._loop, failures=self._failures))
        self._failures = 0

"""Keeps the catalog current: listens on one Postgres connection of its own, reads changed rows again, swaps.

The order after each connect is LISTEN, then a full load: a change between the two is loaded and announced, never
missed. On a live connection Postgres does not lose a notification, so nothing is polled; a ping every few seconds finds
a connection whose other end is gone, and dates the snapshot. While Postgres is away the last snapshot serves on.

What refuses or admits access tokens is read ahead of everything else, and is not gathered: who was shown out is out
within a tenth of a second, also while the rest of the catalog changes.

Cost: a change is one SELECT by primary key and a copy of what it touches; a ping every 2 s when nothing changes.
"""

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.abc import PQGen

from relay_contract import channel
from relay_contract.logs import log_fields
from relay_contract.nouns import BY_TABLE, Noun, Revocation, SigningKey
from relay_edge import postgres
from relay_edge.catalog.holder import Catalog
from relay_edge.catalog.load import BadRows, load_all, load_some
from relay_edge.metrics import Metrics
from relay_edge.statement_deadline import statement_deadline

logger = logging.getLogger(__name__)

PING_SECONDS = 2.0
PING_TIMEOUT_SECONDS = 4.0
LOAD_TIMEOUT_SECONDS = 120.0
READ_TIMEOUT_SECONDS = 15.0

GATHER_SECONDS = 0.05
MAX_GATHER_SECONDS = 1.0
GATHER_SHARE = 10
"""Under a stream of changes, gather for ten times as long as applying them took: a tenth of the time at most."""

URGENT: frozenset[type[Noun]] = frozenset({Revocation, SigningKey})
"""Read as soon as they are announced. Gathering looks for them each GATHER_SECONDS."""

FIRST_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 3.0

MAX_READ_IDS = 2_000
"""More changed rows than this are cheaper to find by a full load, which lets requests through while it runs."""

RELEASE_AFTER_SECONDS = 1.0
RELEASE_PORTIONS = 32
"""Of about 100 rows each: 1 ms."""

CONNECTION_OPTIONS: dict[str, Any] = {
    **postgres.CONNECTION_OPTIONS,
    "application_name": "relay-edge-catalog",
    "prepare_threshold": 1,
}


Result = TypeVar("Result")


class _QuietConnection(AsyncConnection[Any]):
    """Waits in peace: psycopg looks up ten times a second for a Ctrl-C, which here is the event loop's affair.

    An idle process spends 1 ms of CPU a second less.
    """

    async def wait(
        self,
        gen: PQGen[Result],
        interval: float = PING_SECONDS,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's signature
    ) -> Result:
        return await super().wait(gen, interval, timeout)


async def release(portions: list[Any]) -> None:
    """Frees a replaced snapshot, given as its portions, a few at a time.

    Requests that began with it, and what remembers callers by it, are given a moment to let go of it first.
    """
    await asyncio.sleep(RELEASE_AFTER_SECONDS)
    while portions:
        del portions[-RELEASE_PORTIONS:]
        await asyncio.sleep(0)


class Pending:
    """Rows announced as changed and not yet read. Bounded: beyond `MAX_READ_IDS` it only remembers to read all."""

    def __init__(self) -> None:
        self.ids: dict[type[Noun], set[int]] = {}
        self.urgent: dict[type[Noun], set[int]] = {}
        """Of URGENT nouns, which are kept apart, also where everything else is to be read."""
        self.is_everything = False
        self._count = 0

    def add(self, payload: str) -> None:
        """One notification's payload."""
        change = channel.parse(payload)
        if change is None or change.id is None:
            self.is_everything = True
            return
        noun = BY_TABLE.get(change.table)
        if noun is None:
            return  # a table of a newer version, which this one does not hold
        if noun in URGENT:
            self._put(self.urgent, noun, change.id)
        elif not self.is_everything:
            self._put(self.ids, noun, change.id)

    def _put(self, held: dict[type[Noun], set[int]], noun: type[Noun], row_id: int) -> None:
        held.setdefault(noun, set()).add(row_id)
        self._count += 1
        if self._count > MAX_READ_IDS:
            self.is_everything = True
            held.clear()

    def take_urgent(self) -> dict[type[Noun], set[int]]:
        """What is to be read at once; it is no longer pending then."""
        urgent, self.urgent = self.urgent, {}
        return urgent

    def __bool__(self) -> bool:
        return self.is_everything or bool(self.ids) or bool(self.urgent)


class CatalogListener:
    """Runs as one task for the life of the process."""

    def __init__(self, catalog: Catalog, database_url: str, metrics: Metrics) -> None:
        self._catalog = catalog
        self._database_url = database_url
        self._metrics = metrics
        self._versions = 0
        self._gather_seconds = GATHER_SECONDS
        self._releasing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Connects, loads, follows; again after each loss, for ever. Ends by cancellation only."""
        backoff_seconds = FIRST_BACKOFF_SECONDS
        while True:
            started = time.monotonic()
            try:
                await self._follow()
            except (psycopg.Error, OSError, TimeoutError) as error:
                self._lost(error)
            if time.monotonic() - started > 2 * MAX_BACKOFF_SECONDS:
                backoff_seconds = FIRST_BACKOFF_SECONDS  # it had been well for a while
            # Jitter, so that all processes of all edges do not load at the same moment.
            await asyncio.sleep(backoff_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            backoff_seconds = min(backoff_seconds * 2, MAX_BACKOFF_SECONDS)

    def _lost(self, error: Exception) -> None:
        self._metrics.catalog_losses.add()
        reason = type(error).__name__
        state = getattr(error, "sqlstate", None)
        self._catalog.lose(f"Postgres: {reason} {state}" if state else f"Postgres: {reason}")
        logger.warning("catalog_connection_lost", extra=log_fields(reason=reason, sqlstate=state))

    async def _follow(self) -> None:
        connection = await _QuietConnection.connect(self._database_url, autocommit=True, **CONNECTION_OPTIONS)
        try:
            with statement_deadline(connection, READ_TIMEOUT_SECONDS):
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel.CHANNEL)))
            await self._load(connection)
            while True:
                await self._turn(connection)
        finally:
            await connection.close()

    async def _turn(self, connection: AsyncConnection[Any]) -> None:
        """Waits for changes and applies them, or pings when there are none."""
        pending = Pending()
        async for notification in connection.notifies(timeout=PING_SECONDS, stop_after=1):
            pending.add(notification.payload)
        if not pending:
            with statement_deadline(connection, PING_TIMEOUT_SECONDS):
                await connection.execute("SELECT 1")
            self._catalog.confirm()
            return
        await self._read(connection, pending.take_urgent())
        if pending:
            await self._gather(connection, pending)
            started = time.monotonic()
            await self._apply(connection, pending)
            took = time.monotonic() - started
            self._gather_seconds = min(max(GATHER_SECONDS, GATHER_SHARE * took), MAX_GATHER_SECONDS)

    async def _gather(self, connection: AsyncConnection[Any], pending: Pending) -> None:
        """A form that was saved, a file that was applied: the rest of it is on its way."""
        ends = time.monotonic() + self._gather_seconds
        while (left := ends - time.monotonic()) > 0:
            async for notification in connection.notifies(timeout=min(left, GATHER_SECONDS)):
                pending.add(notification.payload)
            await self._read(connection, pending.take_urgent())

    async def _apply(self, connection: AsyncConnection[Any], pending: Pending) -> None:
        if pending.is_everything:
            await self._load(connection)
        else:
            await self._read(connection, pending.ids)

    async def _read(self, connection: AsyncConnection[Any], ids: Mapping[type[Noun], set[int]]) -> None:
        """Reads these rows again and puts them in place."""
        snapshot = self._catalog.snapshot
        if not ids:
            return
        assert snapshot is not None  # changes are followed once everything was loaded
        with statement_deadline(connection, READ_TIMEOUT_SECONDS):
            changes = await load_some(connection, ids, BadRows(self._metrics.catalog_bad_rows.add))
        self._metrics.catalog_changes.add(sum(map(len, changes.values())))
        self._catalog.swap(snapshot.apply(changes))
        self._versions += 1

    async def _load(self, connection: AsyncConnection[Any]) -> None:
        started = time.monotonic()
        with statement_deadline(connection, LOAD_TIMEOUT_SECONDS):
            snapshot = await load_all(connection, self._versions + 1, BadRows(self._metrics.catalog_bad_rows.add))
        self._versions += 1
        replaced = self._catalog.snapshot
        self._catalog.swap(snapshot)
        if replaced is not None:
            self._releasing = asyncio.create_task(release(replaced.portions()))
        self._metrics.catalog_loads.add()
        took_ms = round(1000 * (time.monotonic() - started))
        logger.info("catalog_loaded", extra=log_fields(took_ms=took_ms, **snapshot.counts()))

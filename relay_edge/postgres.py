"""How the edge speaks to Postgres: connection options, which errors mean what, and a connection that comes back.

One statement of its own, when a connection begins: what the edge commits is on the disk, however the server is set up.
"""

import asyncio
import logging
import time
from typing import Any

import psycopg
from psycopg import AsyncConnection

from relay_contract.logs import log_fields
from relay_edge.statement_deadline import statement_deadline

CONNECTION_OPTIONS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
FIRST_BACKOFF_SECONDS = 0.05
MAX_BACKOFF_SECONDS = 2.0
WELL_SECONDS = 5.0
"""A connection that lived for so long was a good one: the next attempt comes soon."""

FIRST_STATEMENT_SECONDS = 5.0
# A server or role set to `off` would have callers told of commits that a crash of Postgres takes back: `make chaos`
# finds hundreds of them. Stronger settings than `on` stay.
_DURABLE = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"

DATA_ERRORS = (psycopg.DataError, psycopg.IntegrityError, UnicodeError)
"""What the rows are to blame for, and not the connection or the server. To be caught before LOSSES."""
LOSSES = (psycopg.Error, OSError, TimeoutError)
"""What makes a connection useless."""


async def connect(database_url: str, application_name: str) -> AsyncConnection[Any]:
    """A connection on which each statement is its own transaction, and on the disk with it. Raises one of LOSSES."""
    connection = await AsyncConnection.connect(
        database_url, autocommit=True, application_name=application_name, **CONNECTION_OPTIONS
    )
    try:
        with statement_deadline(connection, FIRST_STATEMENT_SECONDS):
            await connection.execute(_DURABLE)
    except BaseException:
        await connection.close()
        raise
    return connection


def log_loss(logger: logging.Logger, event: str, error: Exception, **further: object) -> None:
    """Without the error's text, which may quote rows or the URL."""
    state = getattr(error, "sqlstate", None)
    logger.warning(event, extra=log_fields(reason=type(error).__name__, sqlstate=state, **further))


class Link:
    """One connection, opened again after each loss. `connection` is None while there is none."""

    def __init__(self, database_url: str, application_name: str, logger: logging.Logger) -> None:
        self._database_url = database_url
        self._application_name = application_name
        self._logger = logger
        self._is_lost = asyncio.Event()
        self.connection: AsyncConnection[Any] | None = None

    def lose(self, connection: AsyncConnection[Any]) -> None:
        """The connection failed whoever used it. Telling it twice is telling it once."""
        if self.connection is connection:
            self.connection = None
            self._is_lost.set()

    async def run(self) -> None:
        """For the life of the process; ends by cancellation."""
        backoff_seconds = FIRST_BACKOFF_SECONDS
        while True:
            started = time.monotonic()
            try:
                connection = await connect(self._database_url, self._application_name)
            except LOSSES as error:
                log_loss(self._logger, "connect_failed", error, application=self._application_name)
            else:
                await self._hold(connection)
            if time.monotonic() - started > WELL_SECONDS:
                backoff_seconds = FIRST_BACKOFF_SECONDS
            await asyncio.sleep(backoff_seconds)
            backoff_seconds = min(2 * backoff_seconds, MAX_BACKOFF_SECONDS)

    async def _hold(self, connection: AsyncConnection[Any]) -> None:
        self._is_lost.clear()
        self.connection = connection
        try:
            await self._is_lost.wait()
        finally:
            self.connection = None
            await connection.close()

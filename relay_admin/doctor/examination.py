"""Looks at everything, in the order in which a deployment comes up."""

from collections.abc import Generator, Iterator
from pathlib import Path

import psycopg
from django.conf import settings
from django.db import DatabaseError

from relay_admin.doctor import (
    clocks,
    disk,
    edge_role,
    edges,
    egress,
    postgres,
    processes,
    secrets,
    triggers,
    valkey,
    web,
)
from relay_admin.doctor.finding import Finding, broken
from relay_admin.doctor.postgres import Database
from relay_admin.own_connection import own_connection
from relay_admin.redis_link import RedisAwayError, open_redis

CONNECT_TIMEOUT_SECONDS = 3
SPILL_ROOM_BYTES = 268_435_456
"""What one edge process may spill by default."""


def examine(folders: list[Path]) -> Iterator[Finding]:
    """Every finding; costs some dozen queries, a few connections to each part, and changes nothing.

    `folders`: such as back-ups are written to, beside the spill's.
    """
    has_tables = yield from _postgres()
    alive = yield from _redis()
    yield from edges.examine(settings.EDGE_INTERNAL_URL, alive, edges.some_key() if has_tables else None)
    spills = [Path(settings.SPILL_FOLDER)] if settings.SPILL_FOLDER else []
    yield from disk.examine([*spills, *folders], least_bytes=SPILL_ROOM_BYTES)
    yield egress.policy(settings.EGRESS_ALLOW)
    if has_tables:
        yield egress.names(egress.hosts(), settings.EGRESS_ALLOW, egress.resolve)
    yield from web.examine()
    yield processes.control(settings.CONTROL_URL)


def of_content(database: Database) -> Iterator[Finding]:
    """What a database is to have in itself, whichever server it is on. Raises psycopg.Error and Django's."""
    yield from postgres.of_content(database)
    yield from triggers.examine(database)
    yield from secrets.examine()


def _postgres() -> Generator[Finding, None, bool]:
    """Returns whether there is a database with our tables."""
    try:
        with own_connection(CONNECT_TIMEOUT_SECONDS) as database:
            yield from postgres.of_server(database)
            yield from edge_role.examine(database, settings.EDGE_DATABASE_URL)
            yield from of_content(database)
            yield from processes.examine(database)
            yield from clocks.examine({"postgres": clocks.postgres_clock(database)})
    except psycopg.OperationalError as error:
        yield postgres.away(error)
        return False
    except (psycopg.Error, DatabaseError) as error:  # such as a table that this release has and the database has not
        said = str(error).partition("\n")[0][:200]
        yield broken("postgres.schema", said, "Run `python manage.py prepare`.")
        return False
    return True


def _redis() -> Generator[Finding, None, int | None]:
    """Returns how many edge processes say there that they live; None: not known."""
    try:
        with open_redis() as client:
            yield from valkey.examine(client)
            yield processes.schedule(client)
            yield from clocks.examine({"redis": clocks.redis_clock(client)})
            return edges.alive(client)
    except RedisAwayError as error:
        yield valkey.away(str(error))
        return None

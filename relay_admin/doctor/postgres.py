"""Postgres: its version, whether a commit lasts, who owns the tables, migrations, partitions, connections."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeAlias

import psycopg

from relay_admin.deliveries import storage
from relay_admin.doctor.finding import Finding, broken, ok, some_of, warning
from relay_admin.health import migrations_applied, migrations_of_this_release

Database: TypeAlias = psycopg.Connection[tuple[Any, ...]]

OLDEST_VERSION = 140_000
FULL_SHARE = 0.8
DURABILITY = ("fsync", "full_page_writes", "synchronous_commit")
DURABILITY_ACTION = (
    "Turn it on in postgresql.conf (or ALTER ROLE ... RESET, ALTER DATABASE ... RESET): a 202 means committed."
)


def away(error: psycopg.Error) -> Finding:
    """The one finding of a Postgres that does not answer."""
    return broken(
        "postgres.reachable",
        f"does not answer ({type(error).__name__})",
        "Start Postgres, or correct DATABASE_URL; nothing else of it can be looked at.",
    )


def of_server(database: Database) -> Iterator[Finding]:
    """How it is run."""
    yield ok("postgres.reachable", f"answers as {database.info.user} at {database.info.host}")
    yield version(database.info.server_version)
    yield durability("postgres.durability", shown(database))
    yield connections(*_connections(database))


def of_content(database: Database) -> Iterator[Finding]:
    """Its tables."""
    yield owner(database.info.user, _strangers_tables(database))
    missing = migrations_of_this_release() - migrations_applied(database)
    yield migrations(sorted(f"{app}.{name}" for app, name in missing))
    if not missing:
        yield partitions([name for name, _day in database.execute(storage.MISSING)])


def shown(database: Database) -> dict[str, str]:
    """The settings of DURABILITY as this connection has them."""
    rows = database.execute("SELECT name, setting FROM pg_settings WHERE name = ANY (%s)", [list(DURABILITY)])
    return dict(rows)


def version(number: int) -> Finding:
    """`number`: as libpq gives it, 180004 for 18.4."""
    said = f"{number // 10_000}.{number % 10_000}"
    if number < OLDEST_VERSION:
        return broken("postgres.version", said, "Upgrade Postgres to 14 or newer.")
    return ok("postgres.version", said)


def durability(check: str, settings: dict[str, str]) -> Finding:
    """Whether what was committed is there after the machine lost power."""
    off = sorted(name for name, value in settings.items() if value == "off")
    if off:
        return broken(check, f"{' and '.join(off)} off", DURABILITY_ACTION)
    return ok(check, ", ".join(f"{name} {settings[name]}" for name in DURABILITY))


def owner(user: str, strangers: list[str]) -> Finding:
    """`strangers`: tables of the schema that somebody else owns; migrations cannot change those."""
    if strangers:
        return broken(
            "postgres.owner",
            f"{user} does not own {some_of(strangers)}",
            f"As a superuser: REASSIGN OWNED BY the other role TO {user}; or set DATABASE_URL to the tables' owner.",
        )
    return ok("postgres.owner", f"{user} owns every table")


def migrations(missing: list[str]) -> Finding:
    """`missing`: those of this release that the database lacks."""
    if missing:
        return broken("postgres.migrations", f"missing: {some_of(missing)}", "Run `python manage.py prepare`.")
    return ok("postgres.migrations", "all of this release are applied")


def partitions(missing: list[str]) -> Finding:
    """`missing`: the table of each day that should have a partition by now; rows of such days go to the default one."""
    if missing:
        short = [f"{table} ({days} days)" for table, days in Counter(missing).items()]
        return broken(
            "postgres.partitions",
            f"days to come have none: {some_of(short)}",
            "Run `python manage.py prepare`, and see why the schedule does not make them each hour.",
        )
    return ok("postgres.partitions", f"made for {storage.ENOUGH_AHEAD_DAYS} days ahead at least")


def connections(used: int, most: int) -> Finding:
    """Against `max_connections`."""
    if used >= FULL_SHARE * most:
        return warning(
            "postgres.connections",
            f"{used} of {most} are used",
            "Raise max_connections, or run fewer processes: docs/deploy.md says how many each takes.",
        )
    return ok("postgres.connections", f"{used} of {most} are used")


def _strangers_tables(database: Database) -> list[str]:
    rows = database.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT pg_has_role(relowner, 'USAGE') ORDER BY relname"
    )
    return [name for (name,) in rows]


def _connections(database: Database) -> tuple[int, int]:
    [(used, most)] = database.execute(
        "SELECT count(*), current_setting('max_connections')::int FROM pg_stat_activity"
        " WHERE backend_type = 'client backend'"
    )
    return used, most

"""`GET /healthz`: whether this process can do its work, and why not. Costs one connection and a query."""

from functools import cache
from typing import Any

import psycopg
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, JsonResponse

from relay_admin.own_connection import own_connection

CONNECT_TIMEOUT_SECONDS = 2


@cache
def migrations_of_this_release() -> frozenset[tuple[str, str]]:
    """App and name of each."""
    # Read from disk once: a process serves the release it was started from.
    return frozenset(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)


def missing_migrations() -> int:
    """Migrations of this release that the database lacks. Raises psycopg.Error when the database is away.

    Over a connection of its own: a pool that is used up says nothing about Postgres, and waits longer than a probe.
    """
    with own_connection(CONNECT_TIMEOUT_SECONDS) as database:
        return len(migrations_of_this_release() - migrations_applied(database))


def migrations_applied(database: psycopg.Connection[tuple[Any, ...]]) -> set[tuple[str, str]]:
    """App and name of each; none of an empty database."""
    if database.execute("SELECT to_regclass('django_migrations') IS NOT NULL").fetchone() != (True,):
        return set()
    return {(app, name) for app, name in database.execute("SELECT app, name FROM django_migrations")}


def healthz(_request: HttpRequest) -> JsonResponse:
    """200 when Postgres answers and has every migration of this release, else 503; the body says which."""
    try:
        missing = missing_migrations()
    except psycopg.Error as error:
        # The error's text names hosts and roles; its class says enough to somebody outside.
        return _answer(
            {"database": f"does not answer ({type(error).__name__})", "migrations": "not known"}, healthy=False
        )
    if missing:
        return _answer(
            {"database": "ok", "migrations": f"{missing} missing: run `python manage.py migrate`"}, healthy=False
        )
    return _answer({"database": "ok", "migrations": "ok"}, healthy=True)


def _answer(checks: dict[str, str], *, healthy: bool) -> JsonResponse:
    body = {"status": "ok" if healthy else "unavailable", "checks": checks}
    answer = JsonResponse(body, status=200 if healthy else 503)
    answer["Cache-Control"] = "no-store"
    return answer

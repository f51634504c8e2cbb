"""A connection to the database that is none of Django's: for what wants neither its pool nor its transactions."""

from functools import cache
from typing import Any

import psycopg
from django.db import connection


@cache
def _libpq_keywords() -> frozenset[str]:
    # Without those of Django and its pool; with sslmode, where the URL has it.
    return frozenset(option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults())


def own_connection(timeout_seconds: int) -> psycopg.Connection[tuple[Any, ...]]:
    """As the owner, with autocommit; to be closed by who asked. Raises psycopg.OperationalError."""
    parameters = connection.get_connection_params()
    connect = {name: value for name, value in parameters.items() if name in _libpq_keywords()}
    return psycopg.connect(**connect, connect_timeout=timeout_seconds, autocommit=True)

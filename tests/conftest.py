"""What tests of every room share: the embedded servers' addresses, and a port nobody listens on."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from itertools import product
from urllib.parse import urlsplit

import pytest
import redis
from django.core.management import call_command
from django.db import connection
from pytest_django import DjangoDbBlocker

from relay_admin.deliveries import storage
from standalone import embedded
from tests import pristine

pytest_plugins = ["tests.system.fixtures"]


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """Leave the test database at the end: its whole server goes, and other processes may still be connected."""
    return True


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """With the partitions of today and tomorrow alone, and put back after each test that commits."""
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {connection.settings_dict['NAME']} SET relay.may_truncate = 'on'")
        for parent, day in product(storage.PARENTS, range(1, storage.AHEAD_DAYS + 1)):
            name = storage.partition_name(parent.table, tomorrow + timedelta(days=day))
            cursor.execute(f"DROP TABLE IF EXISTS {name}")
        pristine.keep()
    connection.close()
    connection.close_pool()  # what was set for the database counts for connections to come


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a committing test that would not put back what migrations wrote: a later one would write it twice."""
    for item in items:
        marker = item.get_closest_marker("django_db")
        if marker and marker.kwargs.get("transaction") and not marker.kwargs.get("serialized_rollback"):
            raise pytest.UsageError(f"{item.nodeid}: transaction=True needs serialized_rollback=True")


def _in_test_database(url: str) -> str:
    return urlsplit(url)._replace(path="/" + connection.settings_dict["NAME"]).geturl()


@pytest.fixture
def database_url(transactional_db: None, django_db_serialized_rollback: None) -> str:
    """The test database for code that is not Django, as its owner. Rows are committed, and gone after the test."""
    return _in_test_database(os.environ["DATABASE_URL"])


@pytest.fixture(scope="session")
def _edge_role(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    with django_db_blocker.unblock():
        call_command("edge_role")


@pytest.fixture
def edge_database_url(database_url: str, _edge_role: None) -> str:
    """The test database as the edge sees it: the restricted role, its grants in place."""
    return _in_test_database(os.environ["RELAY_EDGE_DATABASE_URL"])


@pytest.fixture
def redis_url() -> str:
    """An empty Valkey."""
    url = os.environ["REDIS_URL"]
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture
def free_port() -> int:
    """A loopback port nobody listens on at this moment."""
    return embedded.free_port()

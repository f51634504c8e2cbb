"""One running product for all system tests of a pytest worker, and receivers for its deliveries."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.system.product import Product, new_home
from tests.system.receiver import Receiver


@contextmanager
def _running() -> Iterator[Product]:
    home = new_home()
    running = Product(home).start()
    yield running
    running.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    with _running() as running:
        yield running


@pytest.fixture(scope="session")
def mortal_product() -> Iterator[Product]:
    """Another, for the tests that kill its processes: those of the xdist group `kills`."""
    with _running() as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    target = Receiver()
    yield target
    target.close()

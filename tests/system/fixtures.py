"""One running product for all system tests of a pytest worker, and receivers for its deliveries."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.system.product import Product, new_home
from tests.system.receiver import Receiver

_products: list[Product] = []


@contextmanager
def _running(**settings: str) -> Iterator[Product]:
    home = new_home()
    running = Product(home, **settings).start()
    _products.append(running)
    yield running
    running.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Under xdist, stop products with the last test of their group: idle ones take a tenth of a CPU each, and the large
    groups come first. One process by itself runs files in their order, and comes back to a group."""
    if "PYTEST_XDIST_WORKER" in os.environ and nextitem is not None and _group(item) != _group(nextitem):
        while _products:
            _products.pop().stop()


def _group(item: pytest.Item) -> str:
    marker = item.get_closest_marker("xdist_group")
    return str(marker.args[0]) if marker else ""


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    with _running() as running:
        yield running


@pytest.fixture(scope="session")
def mortal_product() -> Iterator[Product]:
    """Another, for the tests that kill or replace its processes: those of the xdist group `kills`."""
    with _running(RELAY_SHARE_PORT="true") as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    target = Receiver()
    yield target
    target.close()

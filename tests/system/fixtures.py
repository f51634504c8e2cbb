"""One running product for all system tests of a pytest worker, and receivers for its deliveries."""

import shutil
from collections.abc import Iterator

import pytest

from tests.system.product import Product, new_home
from tests.system.receiver import Receiver


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    home = new_home()
    running = Product(home).start()
    yield running
    running.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    target = Receiver()
    yield target
    target.close()

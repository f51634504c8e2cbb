"""The drainer's home: what it does to the process it lives in."""

import gc
from collections.abc import Iterator

import pytest

from delivery.resident import Resident
from tests.delivery.conftest import settings_for


@pytest.fixture
def _collections() -> Iterator[None]:
    """As they were, afterwards: this process is the tests'."""
    threshold = gc.get_threshold()
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("_collections")
def test_what_was_loaded_is_not_collected_while_deliveries_are_made(database_url: str, redis_url: str) -> None:
    loaded = object.__new__(type("Loaded", (), {}))
    assert any(each is loaded for each in gc.get_objects())
    resident = Resident(settings_for(database_url, redis_url, RELAY_DELIVERY_LANES="async"))
    try:
        resident.drain(0)
        assert not any(each is loaded for each in gc.get_objects())  # frozen objects are of no generation
    finally:
        resident.join()

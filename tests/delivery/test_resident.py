"""The drainer's home: what it does to the process it lives in."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from delivery import resident as resident_module
from delivery.resident import Lanes, Resident, open_lanes
from delivery.settings import Settings
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


@pytest.mark.usefixtures("_collections")
def test_who_waits_for_it_waits_until_it_delivers(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery calls a worker ready after that, and whoever replaces another one ends it then."""
    is_open = threading.Event()

    @asynccontextmanager
    async def opened(settings: Settings) -> AsyncIterator[Lanes]:
        async with open_lanes(settings) as lanes:
            await asyncio.to_thread(is_open.wait)
            yield lanes

    monkeypatch.setattr(resident_module, "open_lanes", opened)
    resident = Resident(settings_for(database_url, redis_url, RELAY_DELIVERY_LANES="sync"))
    try:
        resident.start()
        waiting = threading.Thread(target=resident.wait)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        is_open.set()
        waiting.join(20)
        assert not waiting.is_alive()
    finally:
        is_open.set()
        resident.join()

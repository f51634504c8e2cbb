"""A queue, a receiver, and drainers that work on them."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest_asyncio

from delivery import settings as delivery_settings
from delivery.drain import Drainer
from delivery.resident import Lanes, open_lanes
from delivery.settings import Settings
from delivery.sync_lane import SyncLane
from tests.delivery.queue import Queue
from tests.delivery.receiver import Receiver

Work = Callable[..., Awaitable[Drainer]]
WorkSync = Callable[..., Awaitable[SyncLane]]


def settings_for(database_url: str, redis_url: str, **changes: str) -> Settings:
    """What a worker would read, with variables changed."""
    return delivery_settings.read({**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url, **changes})


@pytest_asyncio.fixture
async def queue(database_url: str, redis_url: str) -> AsyncIterator[Queue]:
    opened = await Queue.open(database_url, settings_for(database_url, redis_url).master_keys)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    started = await Receiver().start()
    yield started
    await started.close()


@pytest_asyncio.fixture
async def work(database_url: str, redis_url: str) -> AsyncIterator[Work]:
    """Start a drainer as a worker process does; it runs to the end of the test."""
    async with AsyncExitStack() as stack:

        async def start(grace_seconds: float = 0, **changes: Any) -> Drainer:
            url = changes.pop("redis_url", redis_url)
            settings = settings_for(database_url, url, RELAY_DELIVERY_LANES="async", **changes)
            lanes = await _started(stack, settings, grace_seconds)
            assert lanes.drainer is not None
            return lanes.drainer

        yield start


@pytest_asyncio.fixture
async def answer(database_url: str, redis_url: str) -> AsyncIterator[WorkSync]:
    """The same with a sync lane."""
    async with AsyncExitStack() as stack:

        async def start(grace_seconds: float = 0, **changes: Any) -> SyncLane:
            url = changes.pop("redis_url", redis_url)
            settings = settings_for(database_url, url, RELAY_DELIVERY_LANES="sync", **changes)
            lanes = await _started(stack, settings, grace_seconds)
            assert lanes.sync is not None
            return lanes.sync

        yield start


async def _started(stack: AsyncExitStack, settings: Settings, grace_seconds: float) -> Lanes:
    lanes = await stack.enter_async_context(open_lanes(settings))
    running = asyncio.create_task(lanes.run(grace_seconds))

    async def end() -> None:
        lanes.stop()
        await running

    stack.push_async_callback(end)
    return lanes

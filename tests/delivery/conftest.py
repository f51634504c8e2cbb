"""A queue, a receiver, and drainers that work on them."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest_asyncio

from delivery import settings as delivery_settings
from delivery.drain import Drainer
from delivery.resident import open_drainer
from delivery.settings import Settings
from tests.delivery.queue import Queue
from tests.delivery.receiver import Receiver

Work = Callable[..., Awaitable[Drainer]]


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
            settings = settings_for(database_url, changes.pop("redis_url", redis_url), **changes)
            drainer = await stack.enter_async_context(open_drainer(settings))
            running = asyncio.create_task(drainer.run(grace_seconds))

            async def end() -> None:
                drainer.stop()
                await running

            stack.push_async_callback(end)
            return drainer

        yield start

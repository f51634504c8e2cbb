"""What the edge's tests share."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import cache
from typing import Any, TypeVar

import pytest
import uvloop
from psycopg import AsyncConnection

from relay_edge.upstream_pool import client_tls

T = TypeVar("T")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The edge's tests run on the edge's loop."""
    return {"uvloop": uvloop.new_event_loop}


@cache
def default_tls() -> ssl.SSLContext:
    """What pools trust where nothing is said. One for all tests, as an edge has one for its life: reading the system's
    roots takes 40 ms."""
    return client_tls()


async def until(condition: Callable[[], T | Awaitable[T]], what: str, seconds: float = 20) -> T:
    """The condition's first truthy answer. Fails, naming `what`, when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer: Any = condition()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer  # type: ignore[no-any-return]
        assert time.monotonic() < deadline, f"still waiting for {what}"
        await asyncio.sleep(0.01)


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection that writes as the control plane does."""
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection

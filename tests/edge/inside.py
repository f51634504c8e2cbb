"""An edge process inside the test's own loop: real sockets, Postgres and Valkey, but no fork. A blocked loop fails."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from relay_contract.ending import end
from relay_contract.logs import LogStream
from relay_edge.app import Edge
from relay_edge.settings import EdgeSettings
from tests.edge.conftest import until
from tests.edge.running import environment, spill_of


@dataclass
class InsideEdge:
    """The running process and ways to speak to it."""

    edge: Edge
    url: str
    port: int
    client: aiohttp.ClientSession = field(repr=False)

    async def raw(self, sent: bytes, later: bytes = b"") -> bytes:
        """Sends bytes on a connection of their own and reads until the edge closes it; `later`: once it answers."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        answer = b""
        if later:
            answer = await reader.read(1)
            writer.write(later)
        answer += await reader.read()
        writer.close()
        return answer


@asynccontextmanager
async def inside_edge(
    folder: Path, port: int, database_url: str, redis_url: str, **settings: Any
) -> AsyncIterator[InsideEdge]:
    """Ready, and ended in good order at the end."""
    read = EdgeSettings.read(environment(port, database_url, redis_url, **spill_of(folder) | settings))
    edge = Edge(read, 0, folder, LogStream(io.StringIO()))
    stop = asyncio.Event()
    task = asyncio.create_task(edge.run(stop))
    async with aiohttp.ClientSession() as client:
        inside = InsideEdge(edge, f"http://127.0.0.1:{port}", port, client)
        try:
            await until(lambda: edge.is_listening or task.done(), "an open port")
            yield inside
        finally:
            await client.close()
            stop.set()
            await asyncio.wait({task}, timeout=30)
            await end(task)
    task.result()

"""A real edge: `python -m relay_edge` on a port of its own, against the test's Postgres and Valkey."""

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.edge.conftest import until

ROOT = Path(__file__).resolve().parent.parent.parent
MASTER_KEY = base64.b64encode(bytes(32)).decode()


@dataclass
class RunningEdge:
    """The parent process and an HTTP client for it."""

    url: str
    process: asyncio.subprocess.Process
    log_path: Path
    client: aiohttp.ClientSession = field(repr=False)

    def log(self) -> list[dict[str, Any]]:
        """Every line of its log so far; a line that is no JSON fails."""
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    def processes(self) -> set[int]:
        """Ids of the serving processes."""
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(pid) for pid in text.split()}

    async def readyz(self) -> tuple[int, dict[str, Any]]:
        """Status and document, of whichever process answers."""
        async with aiohttp.ClientSession() as client, client.get(f"{self.url}/readyz") as answer:
            return answer.status, await answer.json()

    async def is_ready(self) -> bool:
        """Whether /readyz answers 200."""
        try:
            status, _ = await self.readyz()
        except aiohttp.ClientError:
            return False
        return status == 200

    async def metric(self, line: str) -> float | None:
        """The value of one series, as printed."""
        async with self.client.get(f"{self.url}/metrics") as answer:
            for printed in (await answer.text()).splitlines():
                if printed.startswith(f"{line} "):
                    return float(printed.rpartition(" ")[2])
        return None


def environment(port: int, database_url: str, redis_url: str, **settings: str) -> dict[str, str]:
    """What an edge process gets, and nothing of the test run's own."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    given = {
        "RELAY_EDGE_DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "RELAY_MASTER_KEY": MASTER_KEY,
        "RELAY_PORT": str(port),
        "RELAY_EDGE_PROCESSES": "1",
        "RELAY_EGRESS_ALLOW": "127.0.0.0/8",
        "RELAY_SHUTDOWN_SECONDS": "5",
        "PYTHONWARNINGS": "error",
    }
    return kept | given | settings


def spill_of(folder: Path) -> dict[str, Any]:
    """The variable that keeps an edge's spilled rows below its own test's folder."""
    return {"RELAY_SPILL_DIR": str(folder / "spill")}


@asynccontextmanager
async def running_edge(
    folder: Path, port: int, database_url: str, redis_url: str, *, is_ready: bool = True, **settings: str
) -> AsyncIterator[RunningEdge]:
    """Started, ready unless `is_ready` is False, and ended at the end."""
    log_path = folder / f"edge-{port}.log"
    with log_path.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "relay_edge",
            cwd=ROOT, env=environment(port, database_url, redis_url, **spill_of(folder) | settings),
            stdout=log, stderr=log,
        )  # fmt: skip
    async with aiohttp.ClientSession() as client:
        edge = RunningEdge(f"http://127.0.0.1:{port}", process, log_path, client)
        try:
            if is_ready:
                await until(edge.is_ready, "a ready edge")
            yield edge
        finally:
            await client.close()  # the edge would wait for its connections to be quiet
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 30)

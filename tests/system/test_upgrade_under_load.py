"""Edges and workers are replaced one after another, and no caller of a model, a stream, a queued or a sync endpoint
notices.

Callers keep their connections, as SDKs do, and try nothing twice. Only processes of this test's own product are ended,
by pid, with SIGTERM.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import openai
import pytest

from tests.system.product import ROOT, Product, wait_for

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("kills"), pytest.mark.timeout(240)]

PAUSE_SECONDS = 0.15  # a dozen callers stay below the 6,000 calls a minute that the demo's key may make
READY = ' ready."'  # of Celery's line
WORKER = (
    *("celery", "--quiet", "-A", "delivery.app", "worker", "--pool", "threads", "--concurrency", "32"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"),
)
WAITING = """
SELECT count(*) FROM deliveries_live JOIN catalog_target AS target ON target.id = target_id WHERE target.name <> 'flaky'
"""
QUESTION = [{"role": "user", "content": "Tell me of the sea, " * 12}]


class Callers:
    """Call steadily until told to stop; what went wrong is kept."""

    def __init__(self, product: Product) -> None:
        self.done: Counter[str] = Counter()
        self.failed: list[str] = []
        self.is_over = False
        key = product.relay_key
        self._sdk = openai.AsyncOpenAI(base_url=f"{product.edge_url}/v1", api_key=key, max_retries=0)
        self._http = httpx2.AsyncClient(
            base_url=product.edge_url, headers={"Authorization": f"Bearer {key}"}, timeout=60
        )
        self._kinds: tuple[Callable[[], Awaitable[None]], ...] = (self.chat, self.stream, self.event, self.lookup)

    async def run(self) -> None:
        """Three of each kind, until `is_over`."""
        async with asyncio.TaskGroup() as group:
            for kind in self._kinds * 3:
                group.create_task(self._steadily(kind))
        await self._sdk.close()
        await self._http.aclose()

    async def _steadily(self, kind: Callable[[], Awaitable[None]]) -> None:
        while not self.is_over:
            try:
                await kind()
            except (openai.OpenAIError, httpx2.HTTPError, AssertionError) as error:
                self.failed.append(f"{kind.__name__}: {type(error).__name__}: {error} {error.__cause__!r}")
            self.done[kind.__name__] += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def chat(self) -> None:
        answer = await self._sdk.chat.completions.create(model="demo-gpt", messages=QUESTION)  # type: ignore[arg-type]
        assert answer.choices[0].finish_reason == "stop"

    async def stream(self) -> None:
        stream = await self._sdk.chat.completions.create(model="demo-gpt", messages=QUESTION, stream=True)  # type: ignore[call-overload]
        reasons = [chunk.choices[0].finish_reason async for chunk in stream if chunk.choices]
        assert reasons[-1] == "stop"

    async def event(self) -> None:
        answer = await self._http.post("/r/demo/v1/events", json={"type": "order.created", "order": 42})
        assert answer.status_code == 202, answer.text

    async def lookup(self) -> None:
        answer = await self._http.post("/r/demo/v1/lookup", json={"query": "42"})
        assert answer.status_code == 200, answer.text


def mains(product: Product, mark: str) -> list[int]:
    """The processes that the supervisor started with that command; not what those forked."""
    assert product.process is not None
    return [each.pid for each in product.processes(mark) if each.parent == product.process.pid]


def is_gone(pid: int) -> bool:
    """Ended, and seen to have ended by who started it."""
    return not Path(f"/proc/{pid}").exists()


def said(log: Path, event: str) -> int:
    """How often."""
    return log.read_text(errors="replace").count(event)


async def until(condition: Callable[[], bool], what: str) -> None:
    """Waits beside the callers."""
    await asyncio.to_thread(wait_for, condition, what, 60)


async def ended(pid: int) -> None:
    """Told to end, and gone."""
    os.kill(pid, signal.SIGTERM)
    await until(lambda: is_gone(pid), f"process {pid} to end")


def another(like: int, log: Path, *command: str) -> "subprocess.Popen[bytes]":
    """A process with the variables of that one."""
    lines = Path(f"/proc/{like}/environ").read_text().split("\0")
    environment = dict(line.partition("=")[::2] for line in lines if line)
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=environment, stdout=output, stderr=output
        )


async def replaced(product: Product, mark: str, says: str, times: int, *command: str) -> None:
    """Another starts and `says` so, the old one ends; then the supervisor's next one takes over from that."""
    [old] = mains(product, mark)
    log = product.home / "another.log"
    following = await asyncio.to_thread(another, old, log, *command)
    try:
        await until(lambda: said(log, says) == times, f"{says}: {command}")
        before = said(product.log, says)
        await ended(old)
        await until(lambda: said(product.log, says) == before + times, f"{says}: the supervisor's next {mark}")
    finally:
        following.terminate()
        status = await asyncio.to_thread(following.wait, 60)
    assert status == 0, log.read_text()
    assert '"connections_cut"' not in log.read_text() + product.log.read_text(errors="replace")


def callers_done(product: Product) -> int:
    """Deliveries that are over."""
    [(count,)] = product.sql("SELECT count(*) FROM deliveries_finished WHERE state = 'delivered'")
    return int(count)


@pytest.mark.timeout(240)
async def test_nobody_notices(mortal_product: Product) -> None:
    callers = Callers(mortal_product)
    load = asyncio.create_task(callers.run())
    await until(lambda: min(callers.done[kind] for kind in ("chat", "stream", "event", "lookup")) > 20, "some calls")
    processes = int(mortal_product.environment["RELAY_EDGE_PROCESSES"])
    await replaced(mortal_product, "relay_edge", '"event":"listening"', processes, "relay_edge")
    await replaced(mortal_product, "worker-sync@", READY, 1, *WORKER, "--hostname", "worker-next@%h")
    [worker] = mains(mortal_product, "worker1@")  # worker2 goes on
    done = callers_done(mortal_product)
    await ended(worker)
    await until(lambda: callers_done(mortal_product) > done + 50, "deliveries by the other worker")
    callers.is_over = True
    await load
    assert callers.failed == []
    wait_for(lambda: mortal_product.sql(WAITING) == [(0,)], "every accepted call to be delivered", 60)
    assert ", 0 broken" in mortal_product.manage("doctor")

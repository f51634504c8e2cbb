"""What is killed or emptied in mid-traffic loses nothing that was acknowledged.

Every 202 id has its deliveries, and each target saw each id at least once. Only processes of this test's own product
are killed, by pid.
"""

import asyncio
import os
import shutil
import signal
import urllib.request
from collections.abc import Callable, Iterator

import aiohttp
import pytest
import redis

from tests.system.product import Product, new_home, wait_for
from tests.system.receiver import Receiver

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("kills"), pytest.mark.timeout(240)]

TARGETS = ("one", "two", "three")
CALLS = 400


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    home = new_home()
    running = Product(home).start()
    yield running
    running.stop()
    shutil.rmtree(home, ignore_errors=True)


def endpoint(receiver: Receiver, slug: str) -> str:
    """An endpoint of the demo project whose three targets retry quickly and long enough to outlive a kill."""
    targets = "".join(
        f"""
              - name: {name}
                url: {receiver.url}/{slug}/{name}
                timeout_seconds: 2
                retry_schedule_seconds: [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4]
                has_breaker: false"""
        for name in TARGETS
    )
    return f"""
version: 1
projects:
  - slug: demo
    name: Demo
    lines:
      - slug: v1
        endpoints:
          - slug: {slug}
            targets:{targets}
"""


async def call_steadily(product: Product, slug: str, in_flight: int, disturb: Callable[[], None]) -> set[str]:
    """CALLS calls; `disturb` runs when a quarter of them are answered. The ids that were acknowledged with 202.

    A caller whose connection is cut or who gets a 503 has no promise, and tries again, as the SDKs do.
    """
    acknowledged: set[str] = set()
    numbers = iter(range(CALLS))
    disturbed = False

    async def deliver(session: aiohttp.ClientSession, number: int) -> str | None:
        try:
            async with session.post(f"{product.edge_url}/r/demo/v1/{slug}", json={"n": number}) as answer:
                assert answer.status in {202, 503}, await answer.text()
                return str((await answer.json())["requestId"]) if answer.status == 202 else None
        except aiohttp.ClientError:
            return None

    async def caller(session: aiohttp.ClientSession) -> None:
        nonlocal disturbed
        for number in numbers:
            while (request_id := await deliver(session, number)) is None:  # noqa: ASYNC110  (a back-off, no event)
                await asyncio.sleep(0.05)
            acknowledged.add(request_id)
            if not disturbed and len(acknowledged) >= CALLS // 4:
                disturbed = True
                disturb()

    headers = {"Authorization": f"Bearer {product.relay_key}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=30)) as session:
        try:
            async with asyncio.timeout(120):
                await asyncio.gather(*(caller(session) for _ in range(in_flight)))
        except TimeoutError:
            raise AssertionError(f"{len(acknowledged)} of {CALLS} accepted; {product.log_tail()}") from None
    return acknowledged


def seen_everywhere(receiver: Receiver, slug: str, ids: set[str]) -> bool:
    return all(ids <= {call.request_id for call in receiver.at(f"/{slug}/{name}")} for name in TARGETS)


def prepare(product: Product, receiver: Receiver, slug: str) -> None:
    product.apply(endpoint(receiver, slug))

    request = urllib.request.Request(f"{product.edge_url}/r/demo/v1/{slug}", b"{}")
    request.add_header("Authorization", f"Bearer {product.relay_key}")

    def is_live() -> bool:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return bool(answer.status == 202)
        except OSError:  # 404 before the edge has heard, 503 while Postgres recovers from the test before
            return False

    # Several times: both edge processes have to have heard, and the kernel picks which one answers.
    wait_for(lambda: all(is_live() for _ in range(8)), "the new endpoint to be live everywhere", 90)


def one(product: Product, mark: str, child_of: str = "") -> int:
    """The pid of one process of the product, by its command line (and its parent's)."""
    found = product.processes(mark)
    if child_of:
        parents = {process.pid for process in product.processes(child_of)}
        found = [process for process in found if process.parent in parents]
    assert found, f"no process {mark!r} in {product.processes()}"
    return found[0].pid


def check(product: Product, receiver: Receiver, slug: str, ids: set[str]) -> None:
    assert len(ids) == CALLS
    wait_for(lambda: seen_everywhere(receiver, slug, ids), "every id at every target", 90)
    sample = sorted(ids)[:: CALLS // 20]
    for request_id in sample:
        states = [delivery["state"] for delivery in product.api(f"/api/v1/requests/{request_id}")["deliveries"]]
        assert len(states) == len(TARGETS)
        assert set(states) <= {"delivered", "sending", "pending"}


def test_kill_9_of_a_worker(product: Product, receiver: Receiver) -> None:
    prepare(product, receiver, "worker")
    victim = one(product, "--hostname worker1@")
    ids = asyncio.run(call_steadily(product, "worker", 16, lambda: os.kill(victim, signal.SIGKILL)))
    check(product, receiver, "worker", ids)
    wait_for(lambda: len(product.processes("--hostname worker1@")) == 1, "the worker to be restarted")


def test_kill_9_of_an_edge_process(product: Product, receiver: Receiver) -> None:
    prepare(product, receiver, "edge")
    victim = one(product, "relay_edge", child_of="relay_edge")
    ids = asyncio.run(call_steadily(product, "edge", 16, lambda: os.kill(victim, signal.SIGKILL)))
    check(product, receiver, "edge", ids)


def test_kill_9_of_valkey(product: Product, receiver: Receiver) -> None:
    prepare(product, receiver, "valkey")
    victim = one(product, "valkey-server")
    ids = asyncio.run(call_steadily(product, "valkey", 16, lambda: os.kill(victim, signal.SIGKILL)))
    check(product, receiver, "valkey", ids)


def test_kill_9_of_a_postgres_backend_and_of_postgres(product: Product, receiver: Receiver) -> None:
    """Postgres restarts itself after a killed backend; the edge answers 503 until it is back, and loses no 202."""
    prepare(product, receiver, "postgres")
    server = one(product, "/bin/postgres")
    backend = one(product, "relay_edge", child_of="/bin/postgres")
    assert backend != server
    ids = asyncio.run(call_steadily(product, "postgres", 16, lambda: os.kill(backend, signal.SIGKILL)))
    check(product, receiver, "postgres", ids)


def test_flushall_with_retries_pending(product: Product, receiver: Receiver) -> None:
    prepare(product, receiver, "flush")
    for name in TARGETS:
        receiver.statuses[f"/flush/{name}"] = 503
    ids = asyncio.run(call_steadily(product, "flush", 16, lambda: None))
    wait_for(lambda: seen_everywhere(receiver, "flush", ids), "a first try everywhere")
    url = product.manage("shell", "-v0", "-c", "from django.conf import settings; print(settings.REDIS_URL)").split()[
        -1
    ]
    with redis.Redis.from_url(url) as client:
        client.flushall()
    before = len(receiver.calls)
    receiver.statuses.clear()
    check(product, receiver, "flush", ids)
    for request_id in sorted(ids)[:: CALLS // 20]:
        path = f"/api/v1/requests/{request_id}"
        wait_for(lambda path=path: {d["state"] for d in product.api(path)["deliveries"]} == {"delivered"}, path)
    assert len(receiver.calls) > before

"""The real programs, as the supervisor starts them: Celery's worker with its threads pool, and its beat."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest_asyncio
import redis

from delivery.resident import EXIT_STATUS
from relay_contract.intake import shard_of
from relay_contract.messages import QUEUE, drain_message
from relay_contract.redis import keys
from tests.delivery.queue import Queue, until
from tests.delivery.receiver import Receiver

ROOT = Path(__file__).resolve().parents[2]
WORKER = [
    "worker",
    "--pool",
    "threads",
    "--concurrency",
    "32",
    "--without-gossip",
    "--without-mingle",
    "-Q",
    "delivery",
]
Start = Callable[..., Awaitable[Process]]


@pytest_asyncio.fixture
async def start(database_url: str, redis_url: str) -> AsyncIterator[Start]:
    """Start `celery -A delivery.app ...` in a folder; killed at the end of the test where it still runs."""
    started: list[Process] = []

    async def celery(*arguments: str, folder: Path = ROOT, **changes: str) -> Process:
        environment = {**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url, "PYTHONPATH": str(ROOT)}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "celery", "-A", "delivery.app", *arguments),
            cwd=folder,
            env={**environment, **changes},
            stdout=PIPE if changes.pop("is_read", "") else DEVNULL,
            stderr=DEVNULL,
        )
        started.append(process)
        return process

    yield celery
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ended(process: Process) -> int:
    return await asyncio.wait_for(process.wait(), 60)


async def test_a_wake_up_is_taken_and_a_stop_finishes_what_runs(
    queue: Queue, receiver: Receiver, start: Start, redis_url: str
) -> None:
    receiver.hold("/in")
    target = await queue.target(f"{receiver.url}/in")
    delivery = await queue.accept_one(target)
    with redis.Redis.from_url(redis_url) as client:
        client.set(keys.wake(shard_of(target.id)), 1, px=keys.WAKE_TTL_MS)
        client.lpush(QUEUE, drain_message(shard_of(target.id)))
        worker = await start(*WORKER, RELAY_DELIVERY_GRACE_SECONDS="60")
        await receiver.until("/in", 1)

        async def is_taken() -> bool:
            return client.llen(QUEUE) == 0

        await until(is_taken)
        worker.send_signal(signal.SIGTERM)
        receiver.release("/in")
        assert await ended(worker) == 0
        assert (await queue.delivery(delivery))["state"] == "delivered"
        assert client.hlen("unacked") == 0


async def test_a_stop_does_not_wait_for_ever(queue: Queue, receiver: Receiver, start: Start) -> None:
    receiver.hold("/in")
    delivery = await queue.accept_one(await queue.target(f"{receiver.url}/in"))
    worker = await start(*WORKER, RELAY_DELIVERY_GRACE_SECONDS="0")
    await receiver.until("/in", 1)
    worker.send_signal(signal.SIGTERM)
    assert await ended(worker) == 0
    row = await queue.delivery(delivery)
    assert (row["state"], row["claim_id"], row["attempt_count"]) == ("pending", None, 1)


async def test_another_worker_makes_what_a_killed_one_had_begun(queue: Queue, receiver: Receiver, start: Start) -> None:
    receiver.hold("/in")
    delivery = await queue.accept_one(await queue.target(f"{receiver.url}/in"))
    worker = await start(*WORKER)
    await receiver.until("/in", 1)
    worker.kill()
    assert await ended(worker) == -signal.SIGKILL
    assert (await queue.delivery(delivery))["state"] == "sending"
    receiver.release("/in")

    await start(*WORKER)
    await queue.make_due(delivery)  # as if the lease were over
    await queue.until(delivery, "delivered", attempts=2)
    assert [a["outcome"] for a in await queue.attempts(delivery)] == ["lease_lost", "delivered"]
    first, second = receiver.at("/in")
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


async def test_a_worker_whose_drainer_died_ends(start: Start) -> None:
    """Against a database without tables, which is a mistake and not an outage."""
    worker = await start(*WORKER, DATABASE_URL=os.environ["DATABASE_URL"], is_read="yes")
    assert worker.stdout is not None
    output = await asyncio.wait_for(worker.stdout.read(), 60)
    assert await ended(worker) == EXIT_STATUS
    assert b'"event":"drainer_died"' in output
    assert b"UndefinedTable" in output


async def test_the_schedule_leaves_no_file(start: Start, tmp_path: Path, redis_url: str) -> None:
    beat = await start("beat", "--pidfile=", folder=tmp_path, is_read="yes")
    assert beat.stdout is not None
    line = b""
    while b"beat: Starting" not in line:
        line = await asyncio.wait_for(beat.stdout.readline(), 60)
        assert line, "beat ended"
    beat.send_signal(signal.SIGTERM)
    assert await ended(beat) == 0
    assert os.listdir(tmp_path) == []  # noqa: PTH208 (the Path way counts as blocking here)

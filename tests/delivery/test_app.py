"""How the worker is configured: Celery, schedule, settings, the metrics page."""

import asyncio
import base64
import logging
import os
import socket
import subprocess
import sys

import pytest

from delivery import settings as delivery_settings
from delivery import tasks
from delivery.app import app
from relay_contract.env import ConfigurationError
from relay_contract.intake import MAX_SHARDS
from relay_contract.messages import DRAIN_TASK, QUEUE
from tests.delivery.conftest import Work
from tests.delivery.queue import Queue
from tests.delivery.receiver import Receiver, status

REQUIRED = {
    "DATABASE_URL": "postgresql://relay:hunter2@db/relay",
    "REDIS_URL": "redis://:hunter2@cache/0",
    "RELAY_MASTER_KEY": base64.b64encode(b"k" * 32).decode(),
}


def test_defaults() -> None:
    settings = delivery_settings.read(REQUIRED)
    assert (settings.in_flight, settings.in_flight_per_target, settings.grace_seconds) == (256, 64, 10)
    assert (settings.retention_days, settings.metrics_port, settings.log_level) == (30, 0, "INFO")
    assert settings.egress_allow == ()
    assert "hunter2" not in repr(settings)
    assert str(b"k" * 32) not in repr(settings)


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        delivery_settings.read(
            {
                "DATABASE_URL": "mysql://db/relay",
                "RELAY_MASTER_KEY": "short",
                "RELAY_EGRESS_ALLOW": "everything",
                "RELAY_DELIVERY_IN_FLIGHT": "0",
                "RELAY_DELIVERY_IN_FLIGHT_PER_TARGET": "many",
                "RELAY_DELIVERY_GRACE_SECONDS": "-1",
                "RELAY_RETENTION_DAYS": "0",
                "RELAY_WORKER_METRICS_PORT": "70000",
                "RELAY_LOG_LEVEL": "LOUD",
            }
        )
    assert len(caught.value.problems) == 10


def test_celery_carries_json_and_keeps_no_results() -> None:
    app.loader.import_default_modules()
    assert DRAIN_TASK in app.tasks
    assert app.conf.task_default_queue == QUEUE
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_ignore_result is True
    assert app.conf.result_backend is None
    assert app.conf.broker_transport_options["visibility_timeout"] == 600
    assert app.conf.worker_hijack_root_logger is False


def test_what_is_scheduled_exists() -> None:
    app.loader.import_default_modules()
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= app.tasks.keys()


async def test_the_metrics_page_counts_what_happened(
    queue: Queue, receiver: Receiver, work: Work, free_port: int
) -> None:
    receiver.plans["/bad"] = [status(410)]
    good, bad, nobody = [
        await queue.target(url) for url in (f"{receiver.url}/in", f"{receiver.url}/bad", "http://[::1]:1/")
    ]
    await queue.accept(good, bad, nobody)
    await work(RELAY_WORKER_METRICS_PORT=str(free_port))
    await queue.until_states(delivered=1, dead=1, pending=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", free_port)
    writer.write(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
    head, page = (await asyncio.wait_for(reader.read(), 30)).decode().split("\r\n\r\n")
    writer.close()
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    lines = page.splitlines()
    assert 'relay_delivery_attempts_total{outcome="delivered"} 1' in lines
    assert 'relay_delivery_attempts_total{outcome="dead"} 1' in lines
    assert 'relay_delivery_attempts_total{outcome="retry"} 1' in lines
    assert 'relay_delivery_faults_total{fault="connection_refused"} 1' in lines
    assert "relay_delivery_in_flight 0" in lines
    assert "relay_delivery_fences_lost_total 0" in lines


async def test_a_late_delivery_is_warned_of_once(
    queue: Queue, receiver: Receiver, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.hold("/in")
    target = await queue.target(f"{receiver.url}/in")
    await queue.accept(target, calls=2)
    await queue.sql("UPDATE deliveries_live SET next_attempt_at = now() - interval '5 minutes'")
    caplog.set_level(logging.WARNING)
    drainer = await work(RELAY_DELIVERY_IN_FLIGHT_PER_TARGET="1")
    await receiver.until("/in", 1)
    async with asyncio.timeout(30):
        while drainer.figures.oldest_due_seconds < 300:  # noqa: ASYNC110 (a figure raises no event)
            await asyncio.sleep(0.01)
    assert [record.msg for record in caplog.records].count("deliveries_late") == 1


@pytest.mark.parametrize("shard", [-1, MAX_SHARDS, "1", None])
def test_a_message_with_no_shard_fails_alone(shard: object) -> None:
    with pytest.raises(ValueError, match="no shard of the async lane"):
        tasks.drain(shard)


async def test_the_metrics_page_is_on_loopback_only(work: Work, free_port: int) -> None:
    await work(RELAY_WORKER_METRICS_PORT=str(free_port))
    with socket.socket() as other:
        other.bind(("127.0.0.2", free_port))  # in use, if the page were on every address


def test_root_is_not_warned_of_pickles_that_nobody_takes() -> None:
    ask = "import delivery.app, celery.platforms as p; p.check_privileges(delivery.app.app.conf.accept_content)"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", ask], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "superuser" not in done.stderr


SET_UP = """
from types import SimpleNamespace
from celery import signals
from delivery.app import app
app.amqp.queues
signals.celeryd_after_setup.send(sender="worker", instance=SimpleNamespace(app=app), conf=app.conf)
print(*app.amqp.queues.consume_from)
"""


@pytest.mark.parametrize(("lanes", "queues"), [("sync", []), ("async", [QUEUE]), ("async,sync", [QUEUE])])
def test_only_a_process_of_the_async_lane_hears_of_wake_ups(lanes: str, queues: list[str]) -> None:
    read = delivery_settings.read(REQUIRED | {"RELAY_DELIVERY_LANES": lanes})
    assert (read.lanes, read.sync_in_flight) == (set(lanes.split(",")), 128)
    done = subprocess.run(
        [sys.executable, "-c", SET_UP], capture_output=True, text=True, check=True, timeout=60,
        env={**os.environ, "RELAY_DELIVERY_LANES": lanes},
    )  # fmt: skip
    assert done.stdout.split() == queues


@pytest.mark.parametrize("wrong", [{"RELAY_DELIVERY_LANES": "sync,fast"}, {"RELAY_SYNC_IN_FLIGHT": "0"}])
def test_a_lane_that_could_deliver_nothing_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        delivery_settings.read(REQUIRED | wrong)

"""From the version before: what its tables held is delivered, replayed and accounted for after the migration."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest_asyncio

from delivery.resident import open_drainer
from relay_contract import sealing, signing
from relay_contract.ids import uuid7, uuid7_shifted
from tests.delivery.conftest import settings_for
from tests.delivery.queue import Queue
from tests.delivery.receiver import Receiver

ROOT = Path(__file__).resolve().parent.parent.parent
DAY_MS = 86_400_000
STATES = ("pending", "sending", "dead", "delivered")


async def manage(database_url: str, *arguments: str) -> str:
    """Run `manage.py` on a database; what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "manage.py", *arguments,
        cwd=ROOT, env=os.environ | {"DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


@pytest_asyncio.fixture
async def old_url() -> AsyncIterator[str]:
    """A database as the version before left it."""
    server, name = os.environ["DATABASE_URL"], f"upgrade_{os.getpid()}"
    async with await psycopg.AsyncConnection.connect(server, autocommit=True) as connection:
        await connection.execute(f"CREATE DATABASE {name}".encode())
        url = urlsplit(server)._replace(path=f"/{name}").geturl()
        await manage(url, "migrate", "deliveries", "0002", "--verbosity", "0")
        yield url
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


async def fill(url: str, target_url: str, master_keys: tuple[bytes, ...]) -> dict[str, UUID]:
    """One request a state, of today and of twenty days ago, each with a delivery; state -> delivery of today."""
    secret = sealing.Sealer(*master_keys).seal(signing.new_secret(), "target:1")
    today: dict[str, UUID] = {}
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as old:

        async def insert(table: str, **columns: object) -> None:
            names, places = ", ".join(columns), ", ".join(["%s"] * len(columns))
            await old.execute(f"INSERT INTO {table} ({names}) VALUES ({places})".encode(), list(columns.values()))

        now = datetime.now(UTC)
        written = {"description": "", "created_at": now, "updated_at": now}
        await insert("catalog_project", id=1, slug="shop", name="", is_archived=False, **written)
        await insert("catalog_line", id=1, project_id=1, slug="v1", is_enabled=True, **written)
        await insert("catalog_endpoint", id=1, line_id=1, slug="in", is_enabled=True, max_body_bytes=1000, **written)
        await insert(
            "catalog_target", id=1, endpoint_id=1, name="t", delivery_mode="async", is_enabled=True, url=target_url,
            headers="{}", timeout_seconds=5, retry_schedule_seconds=[60], sealed_signing_secret=secret, **written,
        )  # fmt: skip
        for days_ago, state in product((20, 0), STATES):
            request_id, delivery_id = (uuid7_shifted(uuid7(), -days_ago * DAY_MS) for _ in range(2))
            is_live = state in ("pending", "sending")
            await insert(
                "deliveries_request", id=request_id, mode="live", received_at=now - timedelta(days=days_ago),
                caller_request_id="", client_ip="192.0.2.1", content_type="text/plain", headers='{"x-a": "b"}',
                body_bytes=4, target_count=1, project_id=1, endpoint_id=1, relay_key_id=9,
            )  # fmt: skip
            await insert("deliveries_payload", request_id=request_id, received_at=now, body=b"body")
            await insert(
                "deliveries_delivery", id=delivery_id, request_id=request_id, project_id=1, target_id=1, shard=1,
                state=state, created_at=now, next_attempt_at=now if is_live else None, attempt_count=1, replay_count=2,
                finished_at=None if is_live else now, dead_reason="target_gone" if state == "dead" else "",
            )  # fmt: skip
            await insert(
                "deliveries_attempt", delivery_id=delivery_id, number=1, replay=2, outcome="retry", started_at=now,
                duration_ms=5, url="u", error="", response_body=b"no", is_response_cut=False,
            )  # fmt: skip
            if not days_ago:
                today[state] = delivery_id
        await old.execute(
            "INSERT INTO deliveries_replaybatch (requested_count, replayed_count, delivery_ids, refused)"
            ' VALUES (2, 1, \'["a"]\', \'{"b": "not_dead"}\')'
        )
    return today


async def test_an_upgrade_loses_nothing(old_url: str, redis_url: str) -> None:
    settings = settings_for(old_url, redis_url)
    receiver = await Receiver().start()
    today = await fill(old_url, f"{receiver.url}/in", settings.master_keys)
    await manage(old_url, "migrate", "--verbosity", "0")
    queue = await Queue.on(old_url, settings.master_keys)
    try:
        assert await queue.states() == dict.fromkeys(STATES, 2)
        assert "every delivery is accounted for" in await manage(old_url, "credits", "check")
        [request] = await queue.sql(
            "SELECT r.* FROM deliveries_request r JOIN deliveries_delivery d ON d.request_id = r.id WHERE d.id = %s",
            today["dead"],
        )
        assert (request["path"], request["line_id"], request["status"]) == ("/r/shop/v1/in", 1, 202)
        in_default = "SELECT count(*) FROM deliveries_finished_default"
        assert [row["count"] for row in await queue.sql(in_default)] == [0]
        [batch] = await queue.sql("SELECT * FROM deliveries_replaybatch")
        assert (batch["filter"], batch["matched_count"], batch["refused_count"]) == ({"ids": ["a", "b"]}, 2, 1)

        again = f"delivery_replay(delivery_ids=[UUID('{today['dead']}')], by=None)"
        await manage(
            old_url, "shell", "-c", f"from uuid import UUID; from relay_admin.deliveries.services import *; {again}"
        )
        async with open_drainer(settings) as drainer:
            running = asyncio.create_task(drainer.run(0))
            await queue.until_states(delivered=7, dead=1)
            drainer.stop()
            await running
        assert len(receiver.calls) == 5
        assert {call.body for call in receiver.calls} == {b"body"}
        assert [(a["number"], a["replay"]) for a in await queue.attempts(today["dead"])] == [(1, 2), (1, 3)]
        assert "every delivery is accounted for" in await manage(old_url, "credits", "check")
    finally:
        await queue.close()
        await receiver.close()

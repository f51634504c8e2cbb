"""From the version before: what its tables held is delivered, replayed and accounted for after the migration."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest_asyncio

from delivery.resident import open_drainer
from relay_contract import nouns, sealing, signing
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
        cwd=ROOT, env=os.environ | {"DATABASE_URL": database_url}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
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
    secret = sealing.Sealer(*master_keys).seal(signing.new_secret(), nouns.signing_secret_binding(1))
    names = "description, created_at, updated_at"
    today: dict[str, UUID] = {}
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as old:
        await old.execute(
            f"INSERT INTO catalog_project (id, slug, name, is_archived, {names}) VALUES (1, 'shop', '', false, '', now(), now());"
            f"INSERT INTO catalog_line (id, project_id, slug, is_enabled, {names}) VALUES (1, 1, 'v1', true, '', now(), now());"
            f"INSERT INTO catalog_endpoint (id, line_id, slug, is_enabled, max_body_bytes, {names})"
            " VALUES (1, 1, 'in', true, 1000, '', now(), now())".encode()
        )
        await old.execute(
            f"INSERT INTO catalog_target (id, endpoint_id, name, delivery_mode, is_enabled, url, headers, timeout_seconds,"
            f" retry_schedule_seconds, sealed_signing_secret, {names})"
            " VALUES (1, 1, 't', 'async', true, %s, '{}', 5, '{60}', %s, '', now(), now())",
            [target_url, secret],
        )
        for days_ago in (20, 0):
            for state in STATES:
                request_id, delivery_id = (uuid7_shifted(uuid7(), -days_ago * DAY_MS) for _ in range(2))
                is_live = state in ("pending", "sending")
                await old.execute(
                    "INSERT INTO deliveries_request VALUES (%s, 'live', now() - make_interval(days => %s), '', '192.0.2.1',"
                    " 'text/plain', '{\"x-a\": \"b\"}', 4, 1, 1, 1, 9)",
                    [request_id, days_ago],
                )
                await old.execute("INSERT INTO deliveries_payload VALUES (%s, now(), 'body')", [request_id])
                await old.execute(
                    "INSERT INTO deliveries_delivery (id, request_id, project_id, target_id, shard, state, created_at,"
                    " next_attempt_at, attempt_count, replay_count, finished_at, dead_reason) VALUES (%s, %s, 1, 1, 1, %s,"
                    " now(), CASE WHEN %s THEN now() END, 1, 2, CASE WHEN %s THEN NULL ELSE now() END, %s)",
                    [delivery_id, request_id, state, is_live, is_live, "target_gone" if state == "dead" else ""],
                )
                await old.execute(
                    "INSERT INTO deliveries_attempt (delivery_id, number, replay, outcome, started_at, duration_ms, url,"
                    " error, response_body, is_response_cut) VALUES (%s, 1, 2, 'retry', now(), 5, 'u', '', 'no', false)",
                    [delivery_id],
                )
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
        await manage(old_url, "shell", "-c", f"from relay_admin.deliveries.services import *; {again}")
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

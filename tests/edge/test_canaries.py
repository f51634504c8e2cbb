"""Marked secrets everywhere, real calls of every kind, and then a look into everything that was written or answered."""

import asyncio
import base64
import io
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.test import Client
from psycopg import AsyncConnection, sql
from redis.asyncio import Redis

from relay_admin.access import services as access
from relay_admin.catalog import services
from relay_admin.catalog.models import Host, HostBinding, Model, Policy
from relay_contract.redis import keys
from relay_contract.sealing import Sealer
from relay_contract.traffic import CallRow, CaptureRow, TraceRow
from tests.admin import rows
from tests.admin.test_secrets import every_page
from tests.edge.collector import Collector, running_collector
from tests.edge.conftest import until
from tests.edge.running import RunningEdge, running_edge
from tests.edge.vendor import CHAT as ANSWER
from tests.edge.vendor import Vendor, VendorCall, Wire

SEEN = "canaries-are-looked-for-here"
"""The request id of each call: a sink that does not show it was not looked into."""
CHAT = {"model": "gpt-demo", "messages": [{"role": "user", "content": "hi"}]}
MESSAGE = {**CHAT, "max_tokens": 9}
RAW = {**CHAT, "model": "gpt-up"}
CALLS = (("/v1/chat/completions", CHAT), ("/v1/messages", MESSAGE), ("/passthrough/vendor/chat/completions", RAW))
PROMPTS = ("hi", "400", "401", "429", "500", "cut in two", "no http", "half")
KEPT = len(CALLS) * len(PROMPTS) + 2
"""Calls that leave a row: those, and two that are no calls."""


@pytest.fixture
def master_key(settings: Any) -> Iterator[bytes]:
    key = secrets.token_bytes(32)
    settings.MASTER_KEYS = (key,)
    services.sealer.cache_clear()
    yield key
    services.sealer.cache_clear()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


class Echo:
    """A vendor whose next answers are told by the prompt, each quoting the credential it was called with."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, call: VendorCall, wire: Wire) -> None:
        self.calls += 1
        key = (call.header("authorization") or "").removeprefix("Bearer ")
        said = json.dumps(
            {"error": {"message": f"Incorrect API key provided: {key} of canary-org", "code": key}}
        ).encode()
        echoes = (f"x-debug-key: {key}", f"authorization: Bearer {key}")
        prompt = call.json["messages"][0]["content"]
        if prompt in ("400", "401", "429", "500"):
            await wire.answer(said, int(prompt), *echoes)
        elif prompt == "cut in two":
            await wire.head(400, "content-type: application/json", f"content-length: {len(said)}", *echoes)
            middle = said.index(key.encode()) + 5
            await wire.send(said[:middle])
            await asyncio.sleep(0)
            await wire.send(said[middle:])
        elif prompt == "no http":
            await wire.send(f"{key} {key}\r\n\r\n".encode())
            wire.close()
        elif prompt == "half":
            await wire.head(200, "content-type: application/json", "content-length: 999", *echoes)
            await wire.send(b'{"choices"')
            wire.close()
        else:
            await wire.answer(json.dumps(ANSWER).encode(), 200, *echoes)


async def calls(edge: RunningEdge, token: str, redis_url: str) -> list[str]:
    """Every kind of call; what was answered, heads included. Breakers are closed before each: all reach a host."""
    answers = []
    redis = Redis.from_url(redis_url)
    for path, document in CALLS:
        for prompt in PROMPTS:
            await redis.delete(keys.BREAKERS)
            asked = {**document, "messages": [{"role": "user", "content": prompt}]}
            answers.append(await post(edge, path, token, json.dumps(asked).encode()))
    await redis.aclose()
    answers.append(await post(edge, "/v1/chat/completions", token, b"{"))
    answers.append(await post(edge, "/v1/chat/completions", token, json.dumps(CHAT | {"model": token}).encode()))
    answers.append(await post(edge, "/v1/chat/completions", f"{token}x", json.dumps(CHAT).encode()))
    answers.append(await post(edge, "/r/shop/v1/orders", token, b"{}"))
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(edge.url).port)
    writer.write(
        f"POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer {token}\r\nBad Header\0: x\r\n\r\n".encode()
    )
    answers.append((await reader.read()).decode("latin-1"))
    writer.close()
    for page in ("metrics", "readyz"):
        async with edge.client.get(f"{edge.url}/{page}") as answer:
            answers.append(await answer.text())
    return answers


async def post(edge: RunningEdge, path: str, token: str, body: bytes) -> str:
    headers = {"authorization": f"Bearer {token}", "x-request-id": SEEN, "content-type": "application/json"}
    try:
        async with edge.client.post(f"{edge.url}{path}", data=body, headers=headers) as answer:
            return f"{answer.status} {answer.raw_headers!r} {await answer.text()}"
    except aiohttp.ClientPayloadError as cut:
        return repr(cut)


async def every_table(owner: AsyncConnection[Any]) -> dict[str, str]:
    """All rows of each table as JSON, bytes as text."""
    cursor = await owner.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    dumped = {}
    for (table,) in await cursor.fetchall():
        found = await owner.execute(sql.SQL("SELECT to_jsonb(t)::text FROM {} t").format(sql.Identifier(table)))
        dumped[table] = "".join(row for (row,) in await found.fetchall())
    return dumped


def control_plane(client: Client, token: dict[str, str], catalog: rows.Catalog) -> str:
    """Everything that the control plane shows to who may see everything."""
    exported = io.StringIO()
    call_command("catalog", "export", stdout=exported)
    seen = exported.getvalue() + every_page(client, catalog)
    kept = json.loads(client.get("/api/v1/calls?limit=200", headers=token).content)["results"]
    for path in (
        "/admin/traffic/call/",
        *(f"/admin/traffic/call/{each['id']}/change/" for each in kept),
        "/api/v1/calls?limit=200",
        *(f"/api/v1/calls/{each['id']}" for each in kept),
        "/api/v1/deliveries",
        "/api/v1/catalog",
        "/auth/whoami",
        "/readyz",
        "/healthz",
    ):
        answer = client.get(path, headers=token)
        assert answer.status_code in (200, 404), path
        seen += f"{answer.headers} {answer.content.decode()}"
    return seen


def prepare(vendor: Vendor) -> tuple[rows.Catalog, list[str]]:
    """A model on two hosts, one of which takes raw calls, and the values of their keys. Payloads are captured."""
    catalog = rows.catalog_rows()
    Policy.objects.update(models=["*"], captures_payloads=True)
    Host.objects.update(passthrough_paths=["/chat/completions"])
    values = [f"canary{secrets.token_hex(12)}" for _ in range(4)]  # not `sk-`: nothing may go by its look
    Host.objects.update(base_url=vendor.url)
    services.host_key_set_value(host_key=catalog.host_key, value=values[0])
    services.host_key_create(host=catalog.host, name="second", value=values[1])
    other = Host.objects.create(slug="other", base_url=vendor.url)
    services.host_key_create(host=other, name="main", value=values[2])
    HostBinding.objects.create(
        model=Model.objects.get(), host=other, wire_shape="openai_chat", upstream_name="x", priority=500
    )
    return catalog, values


@pytest.mark.usefixtures("_edge_role")
async def test_no_secret_is_written_or_told_anywhere(  # noqa: PLR0917 (fixtures)
    owner: AsyncConnection[Any],
    edge_database_url: str,
    redis_url: str,
    tmp_path: Path,
    free_port: int,
    master_key: bytes,
    collector: Collector,
) -> None:
    echo = Echo()
    async with Vendor(answer=echo) as vendor:
        catalog, values = await sync_to_async(prepare)(vendor)
        vendor.keys = tuple(values)
        written = base64.b64encode(master_key).decode()
        own = {
            "RELAY_MASTER_KEY": written,
            "RELAY_LOG_LEVEL": "DEBUG",
            "RELAY_TRACE_SHARE": "1",
            "RELAY_ACCESS_LOG": "true",
            "RELAY_OTLP_ENDPOINT": collector.url,
            "RELAY_OTLP_HEADERS": f"x-collector={values[3]}",
        }
        async with running_edge(tmp_path, free_port, edge_database_url, redis_url, **own) as edge:
            told = await calls(edge, catalog.token, redis_url)
            root = await sync_to_async(rows.user)("root", is_superuser=True)
            minted = await sync_to_async(access.admin_token_mint)(user=root, name="canary")

            async def all_kept() -> bool:
                cursor = await owner.execute(
                    "SELECT (SELECT count(*) FROM traffic_call WHERE request_id = %s),"
                    " (SELECT count(*) FROM traffic_trace), (SELECT count(*) FROM traffic_capture)",
                    [SEEN],
                )
                return await cursor.fetchone() == (KEPT, KEPT, KEPT)

            await until(all_kept, "the rows of the calls, their traces and captures")
        client = Client()
        await sync_to_async(client.force_login)(root)
        shown = await sync_to_async(control_plane)(client, {"Authorization": f"Bearer {minted.token}"}, catalog)
    tables = await every_table(owner)
    assert all(tables[row.table] for row in (CallRow, TraceRow, CaptureRow))
    assert "canary-org" in tables[CaptureRow.table]  # of what hosts said while they quoted their key
    sinks = {
        "answers": "\n".join(told),
        "log": edge.log_path.read_text(),
        "spans": b"".join(collector.bodies).decode("latin-1"),
        "control plane": shown,
        "files": await asyncio.to_thread(_files, tmp_path),
    }
    assert {name: SEEN in sink for name, sink in sinks.items()} == {
        "answers": True, "log": True, "spans": True, "control plane": True, "files": False,
    }  # fmt: skip
    sinks |= tables
    assert '"event": "listening"'.replace(" ", "") in sinks["log"]
    assert sinks["log"].count('"event":"call"') >= KEPT
    assert collector.headers[0]["x-collector"] == values[3]
    canaries = {
        "a host key, or the collector's": values,
        "the relay key": [catalog.token],
        "the admin token": [minted.token],
        "a signing secret": [rows.SIGNING_SECRET],
        "the master key": [written, master_key.hex()],
        "a password": [urlsplit(url).password or "" for url in (edge_database_url, redis_url, owner.info.dsn)],
    }
    for meaning, marks in canaries.items():
        for mark in filter(None, marks):
            for name, sink in sinks.items():
                assert mark not in sink, f"{meaning} is in the {name}: ...{_before(sink, mark)}"
    opened = Sealer(master_key).unseal(bytes(catalog.host_key.sealed_value), f"host_key:{catalog.host_key.pk}")
    assert opened == values[0]
    assert echo.calls > 20


def _before(text: str, mark: str) -> str:
    place = text.index(mark)
    return text[max(0, place - 80) : place]


def _files(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.rglob("*.jsonl"))

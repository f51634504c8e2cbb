"""A new master key while calls go on, and host keys whose values are kept outside the database."""

import asyncio
import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command

from relay_admin.catalog import services
from relay_admin.catalog.models import Host, HostKey
from tests.admin import rows
from tests.edge.conftest import until
from tests.edge.running import RunningEdge, running_edge
from tests.edge.vendor import Vendor

OLD, NEW = b"\x01" * 32, b"\x02" * 32
CALL = {"model": "gpt-demo", "messages": [{"role": "user", "content": "hi"}]}


def text(key: bytes) -> str:
    return base64.b64encode(key).decode()


@pytest.fixture(autouse=True)
def _sealer(settings: Any) -> Iterator[None]:
    settings.MASTER_KEYS = (OLD,)
    services.sealer.cache_clear()
    yield
    services.sealer.cache_clear()


def prepare(vendor: Vendor, reference: str = "") -> rows.Catalog:
    catalog = rows.catalog_rows()
    Host.objects.update(base_url=vendor.url)
    services.host_key_set_value(host_key=catalog.host_key, value="sk-vendor-1")
    HostKey.objects.update(reference=reference)
    return catalog


async def call(edge: RunningEdge, token: str) -> int:
    headers = {"authorization": f"Bearer {token}"}
    async with edge.client.post(f"{edge.url}/v1/chat/completions", json=CALL, headers=headers) as answer:
        await answer.read()
        return answer.status


async def test_calls_go_on_while_every_secret_is_sealed_anew(
    edge_database_url: str, redis_url: str, tmp_path: Path, free_port: int, settings: Any
) -> None:
    async with Vendor() as vendor:
        catalog = await sync_to_async(prepare)(vendor)
        both = {"RELAY_MASTER_KEY": text(NEW), "RELAY_PREVIOUS_MASTER_KEYS": text(OLD)}
        async with running_edge(tmp_path, free_port, edge_database_url, redis_url, **both) as edge:
            statuses: list[int] = []
            changes = "relay_edge_catalog_changes_total"

            async def caller() -> None:
                while True:
                    statuses.append(await call(edge, catalog.token))

            calling = asyncio.create_task(caller())
            await until(lambda: len(statuses) > 20, "calls before")
            settings.MASTER_KEYS = (NEW, OLD)
            services.sealer.cache_clear()
            before = await edge.metric(changes)
            output = io.StringIO()
            await sync_to_async(call_command)("rotate_master_key", stdout=output)
            assert "host keys: 1 sealed anew" in output.getvalue()

            async def has_heard() -> bool:
                return await edge.metric(changes) != before

            await until(has_heard, "the edge to read the row again")
            count = len(statuses)
            await until(lambda: len(statuses) > count + 20, "calls after")
            calling.cancel()
            await asyncio.wait({calling})
            assert set(statuses) == {200}
        async with running_edge(tmp_path, free_port, edge_database_url, redis_url, RELAY_MASTER_KEY=text(NEW)) as edge:
            assert await call(edge, catalog.token) == 200


async def test_a_key_is_read_from_a_file_and_replaced_there(
    edge_database_url: str, redis_url: str, tmp_path: Path, free_port: int
) -> None:
    secret = tmp_path / "vendor-key"
    secret.write_text("sk-vendor-2\n")
    async with Vendor(keys=("sk-vendor-2", "sk-vendor-3")) as vendor:
        catalog = await sync_to_async(prepare)(vendor, f"file:{secret}")
        own = {"RELAY_MASTER_KEY": text(OLD)}
        async with running_edge(tmp_path, free_port, edge_database_url, redis_url, **own) as edge:
            assert await call(edge, catalog.token) == 200  # the first: the value was there before the port was open
            fresh = tmp_path / "fresh"
            fresh.write_text("sk-vendor-3\n")
            fresh.replace(secret)

            async def uses_it() -> bool:
                assert await call(edge, catalog.token) == 200
                return vendor.calls[-1].header("authorization") == "Bearer sk-vendor-3"

            await until(uses_it, "the new value")
            secret.unlink()

            async def tells() -> bool:
                _, document = await edge.readyz()
                return bool(document["secrets"] == {"references": 1, "failing": 1, "without_value": 0})

            await until(tells, "the failure to show")
            assert await call(edge, catalog.token) == 200
        [line] = [line for line in edge.log() if line["event"] == "secret_unreadable"]
        assert (line["problem"], line["keeps_last"]) == ("No such file or directory", True)


async def test_a_key_without_a_value_is_no_key_and_becomes_one(
    edge_database_url: str, redis_url: str, tmp_path: Path, free_port: int
) -> None:
    async with Vendor() as vendor:
        catalog = await sync_to_async(prepare)(vendor, "env:MISSING")
        own = {"RELAY_MASTER_KEY": text(OLD), "VENDOR_KEY": "sk-vendor-1"}
        async with running_edge(tmp_path, free_port, edge_database_url, redis_url, **own) as edge:
            assert await call(edge, catalog.token) == 503
            await sync_to_async(HostKey.objects.update)(reference="env:VENDOR_KEY")

            async def is_served() -> bool:
                return await call(edge, catalog.token) == 200

            await until(is_served, "the new reference")

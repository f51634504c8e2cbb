"""Host keys whose values are kept elsewhere: read, kept through failures, changed under way, and never our own."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from relay_contract import nouns
from relay_contract.sealing import Sealer, SealFault, SealingError
from relay_edge import secret_sources as module
from relay_edge.catalog.holder import Catalog
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.deadlines import DeadlineWheel
from relay_edge.metrics import Metrics
from relay_edge.resolve import Resolver
from relay_edge.secret_sources import SecretSources
from relay_edge.upstream_pool import UpstreamPool
from relay_edge.vault import MAX_ANSWER_BYTES, Vault, VaultError, value_in
from tests.edge.conftest import default_tls, until
from tests.edge.nouns import HOST_KEY

TOKEN = "hvs.canary-vault-token"


@dataclass
class VaultServer:
    """Answers each GET with what the test says. `calls`: request heads."""

    answer: bytes = b"{}"
    status: int = 200
    calls: list[str] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.calls.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (self.status, len(self.answer)))
                writer.write(self.answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def vault_of(allowed: str = "127.0.0.0/8", token: str = TOKEN) -> AsyncIterator[tuple[VaultServer, Vault]]:
    loop = asyncio.get_running_loop()
    server = VaultServer()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    wheel = DeadlineWheel(loop)
    pool = UpstreamPool(loop, wheel, Resolver((ip_network(allowed),)), default_tls())
    try:
        yield server, Vault(pool, server.url, token)
    finally:
        await pool.close()
        wheel.close()
        listening.close()


def kv2(**fields: str) -> bytes:
    return json.dumps({"data": {"data": fields, "metadata": {"version": 3}}}).encode()


NO_VAULT: Any = None


def sources_of(*references: str, vault: Vault = NO_VAULT, **environment: str) -> SecretSources:
    sources = SecretSources(environment, {"own-secret"}, vault, Metrics())
    sources.follow(lambda: frozenset(references), lambda: None)
    return sources


async def problem_of(reference: str, **environment: str) -> str:
    sources = sources_of(reference, **environment)
    await sources.look()
    with pytest.raises(SealingError) as raised:
        sources.value(reference)
    assert raised.value.fault is SealFault.UNREADABLE
    return sources.problems()[reference]


# --- env and file ---


async def test_a_variable() -> None:
    sources = sources_of("env:VENDOR_KEY", VENDOR_KEY=" sk-1 ")
    with pytest.raises(SealingError, match="not read yet"):
        sources.value("env:VENDOR_KEY")
    await sources.look()
    assert (sources.value("env:VENDOR_KEY"), sources.problems()) == ("sk-1", {})


@pytest.mark.parametrize(
    ("reference", "environment", "problem"),
    [
        ("env:MISSING", {}, "the edge was started without this variable"),
        ("env:BLANK", {"BLANK": " "}, "the edge was started without this variable"),
        ("env:RELAY_MASTER_KEY", {"RELAY_MASTER_KEY": "x"}, "it is one of the relay's own variables"),
        ("env:REDIS_URL", {"REDIS_URL": "x"}, "it is one of the relay's own variables"),
        ("env:A", {"A": "own-secret"}, "it is one of the relay's own secrets"),
        ("env:A", {"A": "two words"}, "it is not 1 to 4096 printable ASCII characters without spaces"),
        ("env:A", {"A": "a\r\nx-evil: 1"}, "it is not 1 to 4096 printable ASCII characters without spaces"),
        ("ftp:x", {}, "only env:, file: and vault: are read"),
        ("file:/nowhere/at/all", {}, "No such file or directory"),
        ("file:/proc/self/environ", {}, "it is no file of a disk"),
        ("file:/dev/null", {}, "it is no file of a disk"),
        ("file:/etc", {}, "it is no regular file"),
    ],
)
async def test_what_gives_no_value(reference: str, environment: dict[str, str], problem: str) -> None:
    assert await problem_of(reference, **environment) == problem


async def test_a_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk-1\r\n")
    reference = f"file:{path}"
    sources = sources_of(reference)
    await sources.look()
    assert sources.value(reference) == "sk-1"
    fresh = tmp_path / "fresh"
    fresh.write_text("sk-2\n")
    fresh.replace(path)  # as secret stores do it
    sources._held[reference].due_at = 0
    await sources.look()
    assert sources.value(reference) == "sk-2"


async def test_a_file_that_did_not_change_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk-1")
    sources = sources_of(f"file:{path}")
    await sources.look()
    state = path.stat()
    path.write_text("sk-2")  # the same size, inode and, set back, time
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    sources._held[f"file:{path}"].due_at = 0
    await sources.look()
    assert sources.value(f"file:{path}") == "sk-1"


@pytest.mark.parametrize("content", [b"x" * 9000, b"", b"\n", b"a\nb\n", b"\xff\xfe", b"a\0b", b"own-secret\n"])
async def test_a_file_that_holds_no_credential(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    assert await problem_of(f"file:{path}") != ""


async def test_a_link_to_where_secrets_of_the_process_are(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to("/proc/self/environ")
    assert await problem_of(f"file:{tmp_path / 'key'}") == "it is no file of a disk"


async def test_the_last_good_value_stays_and_the_failure_shows(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk-1")
    reference = f"file:{path}"
    sources = sources_of(reference)
    await sources.look()
    path.unlink()
    sources._held[reference].due_at = 0
    await sources.look()
    assert sources.value(reference) == "sk-1"
    assert sources.counts() == {"references": 1, "failing": 1, "without_value": 0}
    assert sources._failures.value == 1
    for content in ("two words", "two words"):  # a file that is no good stays no good
        path.write_text(content)
        sources._held[reference].due_at = 0
        await sources.look()
        assert (sources.value(reference), sources.counts()["failing"]) == ("sk-1", 1)
    path.write_text("sk-2")
    sources._held[reference].due_at = 0
    await sources.look()
    assert sources.value(reference) == "sk-2"
    assert sources.counts() == {"references": 1, "failing": 0, "without_value": 0}


async def test_what_the_catalog_names_no_more_is_forgotten() -> None:
    sources = sources_of("env:A", A="x")
    await sources.look()
    sources.follow(frozenset, lambda: None)
    await sources.look()
    with pytest.raises(SealingError):
        sources.value("env:A")


# --- vault ---


@pytest.mark.parametrize(
    ("document", "name", "value"),
    [
        ({"data": {"data": {"key": "sk-1"}, "metadata": {}}}, "key", "sk-1"),
        ({"data": {"key": "sk-1"}}, "key", "sk-1"),
        ({"data": {"data": "sk-1"}}, "data", "sk-1"),  # version 1 with a field of that name
    ],
)
def test_both_shapes_are_read(document: Any, name: str, value: str) -> None:
    assert value_in(json.dumps(document).encode(), name) == value


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"data": null}', b'{"data": {"key": 1}}', b'{"data": {"other": "x"}}', b"\xff"]
)
def test_other_answers_have_no_value(body: bytes) -> None:
    with pytest.raises(VaultError):
        value_in(body, "key")


async def test_a_value_out_of_a_vault() -> None:
    async with vault_of() as (server, vault):
        server.answer = kv2(value="sk-1", api="sk-2")
        assert await vault.read(f"{server.url}/v1/secret/data/x") == "sk-1"
        assert await vault.read(f"{server.url}/v1/secret/data/x#api") == "sk-2"
        line, *headers = server.calls[0].split("\r\n")
        assert line == "GET /v1/secret/data/x HTTP/1.1"
        assert f"x-vault-token: {TOKEN}" in headers


@pytest.mark.parametrize(
    "place",
    ["http://127.0.0.1:1/v1/x", "{url}/other/x", "{url}.evil.example/v1/x", "{url}@evil.example/v1/x", "{url}/v1/a b"],
)
async def test_the_token_goes_to_the_vault_alone(place: str) -> None:
    async with vault_of() as (server, vault):
        with pytest.raises(VaultError):
            await vault.read(place.format(url=server.url))
        assert server.calls == []


async def test_a_vault_passes_the_guard() -> None:
    async with vault_of(allowed="10.0.0.0/8") as (server, vault):
        with pytest.raises(VaultError, match="upstream_address_forbidden"):
            await vault.read(f"{server.url}/v1/x")
        assert server.calls == []


@pytest.mark.parametrize(
    ("status", "answer", "text"),
    [
        (403, b'{"errors": ["canary"]}', "the answer's status is 403"),
        (307, b"", "the answer's status is 307"),
        (200, b"x" * (MAX_ANSWER_BYTES + 1), "is larger than"),
    ],
)
async def test_a_vault_that_gives_none(status: int, answer: bytes, text: str) -> None:
    async with vault_of() as (server, vault):
        server.status, server.answer = status, answer
        with pytest.raises(VaultError, match=text) as raised:
            await vault.read(f"{server.url}/v1/x")
        assert "canary" not in str(raised.value)


# --- the catalog ---


async def eventually(condition: Callable[[], bool]) -> None:
    await until(condition, "the value")


async def test_a_changed_value_makes_a_new_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was prepared from the old one would go on with the old value."""
    monkeypatch.setattr(module, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(module, "VAULT_SECONDS", 0.01)
    async with vault_of() as (server, vault):
        server.answer = kv2(value="sk-1")
        sources = SecretSources({}, (), vault, Metrics())
        catalog = Catalog(Sealer(bytes(32)), sources)
        key = replace(HOST_KEY, sealed_value=b"", reference=f"vault:{server.url}/v1/x")
        plain = replace(HOST_KEY, id=nouns.HostKeyId(2))
        snapshot = Snapshot.build([key, plain])
        catalog.swap(snapshot)
        catalog.lose("gone")
        running = asyncio.create_task(sources.run())
        await eventually(lambda: catalog.snapshot is not snapshot)
        assert (catalog.host_key_value(key), catalog.snapshot == snapshot) == ("sk-1", True)
        assert not catalog.is_connected  # a new secret says nothing of Postgres
        held = catalog.snapshot
        calls = len(server.calls)
        await eventually(lambda: len(server.calls) > calls + 3)
        assert catalog.snapshot is held  # the same value again
        server.answer = kv2(value="sk-2")
        await eventually(lambda: catalog.host_key_value(key) == "sk-2")
        assert catalog.snapshot is not held
        server.status = 500
        await eventually(lambda: bool(sources.problems()))
        assert catalog.host_key_value(key) == "sk-2"
        running.cancel()
        await asyncio.wait({running})


async def test_a_refused_key_is_read_anew_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with vault_of() as (server, vault):
        server.answer = kv2(value="sk-1")
        sources = SecretSources({}, (), vault, Metrics())
        catalog = Catalog(Sealer(bytes(32)), sources)
        key = replace(HOST_KEY, sealed_value=b"", reference=f"vault:{server.url}/v1/x")
        catalog.swap(Snapshot.build([key]))
        await sources.look()
        server.answer = kv2(value="sk-2")
        assert not await catalog.refresh_host_key(key)  # read a moment ago
        monkeypatch.setattr(module, "REFRESH_SECONDS", 0)
        held = catalog.snapshot
        changed = await asyncio.gather(*(catalog.refresh_host_key(key) for _ in range(50)))
        assert (set(changed), len(server.calls)) == ({True}, 2)
        assert (catalog.host_key_value(key), catalog.snapshot is not held) == ("sk-2", True)
        assert not await catalog.refresh_host_key(key)  # the same again
        assert not await catalog.refresh_host_key(replace(key, reference=""))

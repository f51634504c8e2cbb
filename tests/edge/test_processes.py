"""`python -m relay_edge` as an operator runs it: start, crash, outage, end."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
from psycopg import AsyncConnection

from relay_contract.intake import RequestRow
from tests.edge.conftest import until
from tests.edge.nouns import EVERYTHING, TOKEN, insert
from tests.edge.proxy import Proxy
from tests.edge.running import ROOT, RunningEdge, environment, running_edge
from tests.edge.test_intake import stored

BEARER = {"Authorization": f"Bearer {TOKEN.token}"}


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def test_two_processes_serve_and_one_that_is_killed_comes_back(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, free_port: int, tmp_path: Path
) -> None:
    await insert(owner, *EVERYTHING)
    async with running_edge(tmp_path, free_port, edge_database_url, redis_url, RELAY_EDGE_PROCESSES="2") as edge:
        first = await until(lambda: len(edge.processes()) == 2 and edge.processes(), "two processes")
        seen = {}
        while len(seen) < 2:
            _, document = await edge.readyz()
            seen[document["process"]["index"]] = document["process"]["pid"]
        assert set(seen.values()) == first

        async def posted() -> str:
            async with edge.client.post(f"{edge.url}/r/demo/v1/events", data=b"{}", headers=BEARER) as answer:
                assert answer.status == 202
                return str((await answer.json())["requestId"])

        ids = {await posted() for _ in range(20)}
        counted = 'relay_edge_requests_total{surface="relay",status="2xx"}'
        # This connection stays with one process, so the other one's share of the sum comes out of its file.
        await until(lambda: has_value(edge.metric(counted), 20), "all processes' counters")
        async with edge.client.get(f"{edge.url}/readyz") as answer:
            survivor = (await answer.json())["process"]["pid"]
        (victim,) = first - {survivor}
        os.kill(victim, signal.SIGKILL)
        await until(lambda: len(edge.processes()) == 2 and victim not in edge.processes(), "a successor")
        await until(edge.is_ready, "readiness")
        ids |= {await posted() for _ in range(20)}
        assert {str(row.id) for row in await stored(owner, RequestRow)} == ids
        await until(lambda: has_value(edge.metric(counted), 40), "counters that go on")
    assert edge.process.returncode == 0
    assert [line["exit_code"] for line in edge.log() if line["event"] == "process_ended"] == [-9]


async def has_value(found: Any, value: float) -> bool:
    return bool(await found == value)


async def test_a_killed_parent_leaves_nobody_behind(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, free_port: int, tmp_path: Path
) -> None:
    async with running_edge(tmp_path, free_port, edge_database_url, redis_url, RELAY_EDGE_PROCESSES="2") as edge:
        children = edge.processes()
        edge.process.kill()
        await until(lambda: all(is_gone(pid) for pid in children), "the end of all processes")


async def test_a_port_in_use_is_told_and_nothing_is_started(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, free_port: int, tmp_path: Path
) -> None:
    async with running_edge(tmp_path, free_port, edge_database_url, redis_url):
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "relay_edge",
            cwd=ROOT, env=environment(free_port, edge_database_url, redis_url), stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, said = await second.communicate()
    assert second.returncode == 2
    assert said.decode() == (
        f"Port {free_port} on 127.0.0.1 is in use. Stop what listens there, or set RELAY_PORT to another.\n"
    )


async def test_every_mistake_in_the_settings_is_told_at_once() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "relay_edge",
        cwd=ROOT, env={"RELAY_PORT": "70000", "RELAY_EDGE_PROCESSES": "0"}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    assert process.returncode == 2
    for name in ("RELAY_EDGE_DATABASE_URL", "REDIS_URL", "RELAY_MASTER_KEY", "RELAY_PORT", "RELAY_EDGE_PROCESSES"):
        assert name in said.decode()


async def test_starts_without_postgres_and_redis_and_is_ready_once_postgres_is_there(
    owner: AsyncConnection[Any], edge_database_url: str, free_port: int, tmp_path: Path
) -> None:
    await insert(owner, *EVERYTHING)
    proxy = await Proxy.start(edge_database_url)
    await proxy.close()
    nowhere = "redis://127.0.0.1:1/0"
    async with running_edge(tmp_path, free_port, proxy.url, nowhere, is_ready=False) as edge:

        async def document() -> dict[str, Any] | None:
            try:
                status, found = await edge.readyz()
            except aiohttp.ClientError:
                return None
            assert status == 503
            return found

        found = await until(document, "an answer of /readyz")
        assert found["status"] == "unready"
        assert found["problems"][0].startswith("no catalog yet: Postgres: ")
        assert (found["postgres"]["connected"], found["redis"]["connected"]) == (False, False)
        assert found["catalog"]["age_seconds"] is None
        async with edge.client.get(f"{edge.url}/healthz") as answer:
            assert answer.status == 200
        async with edge.client.post(f"{edge.url}/r/demo/v1/events", data=b"{}", headers=BEARER) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert (await answer.json())["error"] == "unavailable"
        await proxy.open()
        await until(edge.is_ready, "readiness")

        async def can_commit() -> dict[str, Any] | None:
            """Ready is who has a catalog; the connection for commits may come a moment later."""
            _, found = await edge.readyz()
            return found if found["postgres"]["connected"] else None

        found = await until(can_commit, "a connection for commits")
        assert not found["redis"]["connected"]
        async with edge.client.post(f"{edge.url}/r/demo/v1/events", data=b"{}", headers=BEARER) as answer:
            assert answer.status == 202
    await proxy.close()


async def is_refused(port: int) -> bool:
    """Whether nobody listens there."""
    try:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_two_edges_share_a_port_where_both_may(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, free_port: int, tmp_path: Path
) -> None:
    await insert(owner, *EVERYTHING)
    shared, other = {"RELAY_SHARE_PORT": "true"}, tmp_path / "other"
    other.mkdir()
    place = (free_port, edge_database_url, redis_url)
    async with running_edge(tmp_path, *place, **shared) as old, running_edge(other, *place, **shared) as new:
        await until(lambda: said(new, "listening"), "the new edge to listen")
        await old.client.close()
        old.process.terminate()
        assert await old.process.wait() == 0
        status, found = await new.readyz()
        assert status == 200
        assert {found["process"]["pid"]} == new.processes()


async def said(edge: RunningEdge, event: str) -> bool:
    """Whether its log has it."""
    return any(line["event"] == event for line in edge.log())


async def test_sigterm_lets_a_request_on_its_way_finish(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, free_port: int, tmp_path: Path
) -> None:
    await insert(owner, *EVERYTHING)
    settings = {"RELAY_SHUTDOWN_SECONDS": "30"}
    async with running_edge(tmp_path, free_port, edge_database_url, redis_url, **settings) as edge:
        (pid,) = edge.processes()
        reader, writer = await asyncio.open_connection("127.0.0.1", free_port)
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", free_port)
        writer.write(
            b"POST /r/demo/v1/events HTTP/1.1\r\nhost: relay\r\ncontent-length: 10\r\n"
            b"authorization: Bearer %b\r\n\r\n12345" % TOKEN.token.encode()
        )
        in_flight = 'relay_edge_in_flight{surface="relay"}'
        await until(lambda: has_value(edge.metric(in_flight), 1), "a request in flight")
        edge.process.terminate()
        await edge.client.close()
        await until(lambda: is_refused(free_port), "a closed port")
        idle_writer.write(b"GET /readyz HTTP/1.1\r\nhost: relay\r\n\r\n")  # it did not know
        last = await idle_reader.read()
        assert last.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nconnection: close\r\n" in last
        writer.write(b"67890")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 202 ")
        assert await edge.process.wait() == 0
        assert is_gone(pid)
        writer.close()
        idle_writer.close()
    assert [row.body_bytes for row in await stored(owner, RequestRow)] == [10]


LINES_WITH_A_KEY = ("Authorization: Bearer {}", "x-api-key: {}", "x-other: \x01 {}", "Authorization: {}\x00")


async def test_no_log_line_and_no_answer_holds_a_bearer(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, free_port: int, tmp_path: Path
) -> None:
    canary = TOKEN.token
    await insert(owner, *EVERYTHING)
    async with running_edge(tmp_path, free_port, edge_database_url, redis_url, RELAY_LOG_LEVEL="DEBUG") as edge:
        for line in [
            changed for sent in LINES_WITH_A_KEY for changed in (sent, sent + "x" * 20_000, "broken header " + sent)
        ]:
            reader, writer = await asyncio.open_connection("127.0.0.1", free_port)
            head = f"POST /r/demo/v1/none HTTP/1.1\r\nHost: relay\r\n{line.format(canary)}\r\nContent-Length: 0\r\n\r\n"
            writer.write(head.encode())
            writer.write_eof()
            answer = await reader.read()
            assert answer[9:12] in {b"400", b"401", b"404"} or answer == b""
            assert canary.encode() not in answer
            writer.close()
    text = edge.log_path.read_text()
    assert "listening" in text
    assert canary not in text
    assert canary[20:50] not in text

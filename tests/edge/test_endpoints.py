"""Relay endpoints over real sockets: what is accepted is stored exactly, what is refused leaves nothing."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from relay_contract import nouns, tokens
from relay_contract.headers import MAX_STORED_HEADERS
from relay_contract.intake import DeliveryRow, PayloadRow, RequestRow
from relay_edge.addresses import EndpointAddress, by_host, by_path, project_by_host
from tests.edge.conftest import until
from tests.edge.inside import InsideEdge, inside_edge
from tests.edge.nouns import ENDPOINT, EVERYTHING, LINE, PROJECT, RATE_LIMIT, RELAY_KEY, TARGET, TOKEN, insert, numbered
from tests.edge.proxy import Proxy
from tests.edge.test_intake import stored, taken

BEARER = {"Authorization": f"Bearer {TOKEN.token}"}
PATH = "/r/demo/v1/events"
OTHERS = tokens.mint(nouns.KeyMode.LIVE)
INFERENCE_ONLY = tokens.mint(nouns.KeyMode.TEST)
BEARERS = {"own": TOKEN.token, "others": OTHERS.token, "inference-only": INFERENCE_ONLY.token}
"""By name, so that a test is called the same in every process."""
TIGHT = numbered(RATE_LIMIT, 7, slug="tight", rules=(nouns.Rule(nouns.Meter.REQUESTS, 2, 3600),))
ROWS = (
    *EVERYTHING,
    TIGHT,
    numbered(TARGET, 2, name="second"),
    numbered(TARGET, 3, name="third", is_enabled=False),
    numbered(ENDPOINT, 2, slug="nobody"),
    numbered(ENDPOINT, 3, slug="closed", is_enabled=False),
    numbered(ENDPOINT, 4, slug="limited", rate_limit_id=TIGHT.id),
    numbered(LINE, 2, slug="v0", is_enabled=False),
    numbered(ENDPOINT, 5, slug="events", line_id=nouns.LineId(2)),
    numbered(PROJECT, 2, slug="other"),
    numbered(LINE, 3, slug="v1", project_id=nouns.ProjectId(2)),
    numbered(ENDPOINT, 6, slug="events", line_id=nouns.LineId(3)),
    numbered(RELAY_KEY, 2, project_id=nouns.ProjectId(2), token_hash=OTHERS.hash),
    numbered(RELAY_KEY, 3, mode=nouns.KeyMode.TEST, token_hash=INFERENCE_ONLY.hash, scopes=(nouns.Scope.INFERENCE,)),
)


@pytest.fixture
async def edge(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, free_port: int, tmp_path: Path
) -> AsyncIterator[InsideEdge]:
    await insert(owner, *ROWS)
    settings = {"RELAY_DOMAIN": "Relay.Example.", "RELAY_BODY_TIMEOUT_SECONDS": "1"}
    async with inside_edge(tmp_path, free_port, edge_database_url, redis_url, **settings) as edge:
        yield edge


async def is_empty(owner: AsyncConnection[Any]) -> bool:
    """But for the log of what was refused, which is `test_refused_calls.py`'s."""
    return [await taken(owner), *[await stored(owner, row) for row in (PayloadRow, DeliveryRow)]] == [[], [], []]


async def test_accepts_stores_and_says_so(edge: InsideEdge, owner: AsyncConnection[Any]) -> None:
    body = bytes(range(256))
    sent = BEARER | {
        "Content-Type": "application/x-custom; a=b",
        "X-Event": "created",
        "X-Request-Id": "caller-7",
        "X-Forwarded-For": "198.51.100.1",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "ends here",
        "Cookie": "secret=1",
    }
    async with edge.client.post(edge.url + PATH, data=body, headers=sent) as answer:
        assert answer.status == 202
        document = await answer.json()
        assert document["status"] == "queued"
        assert answer.headers["Relay-Durability"] == "committed"
        assert answer.headers["X-Request-Id"] == document["requestId"]
        assert answer.headers["Content-Type"] == "application/json"
    (request,) = await taken(owner)
    assert str(request.id) == document["requestId"]
    assert request == RequestRow(
        id=request.id,
        project_id=1,
        line_id=1,
        endpoint_id=1,
        relay_key_id=1,
        mode="live",
        origin="caller",
        received_at=request.received_at,
        revision=1,
        method="POST",
        path=PATH,
        query="",
        event_type="",
        caller_request_id="caller-7",
        client_ip=request.client_ip,
        content_type="application/x-custom; a=b",
        headers={"x-event": "created", "x-request-id": "caller-7", "relay-hops": "1"},
        body_bytes=256,
        target_count=3,
        filtered_count=0,
        status=202,
        error="",
        idempotency_key="",
        accept_us=request.accept_us,
    )
    assert 0 < request.accept_us < 10_000_000
    assert str(request.client_ip) == "127.0.0.1"
    assert await stored(owner, PayloadRow) == [PayloadRow(request.id, request.received_at, body)]
    deliveries = await stored(owner, DeliveryRow)
    assert deliveries == [
        DeliveryRow(
            id=delivery.id,
            request_id=request.id,
            project_id=1,
            target_id=target_id,
            shard=target_id % 4,
            mode="async",
            is_shadow=False,
            is_compared=False,
            key_mode="live",
            state=state,
            revision=1,
            created_at=request.received_at,
            expire_seconds=604_800,
            ordering_key=None,
            body_bytes=256,
            credits=1_000_000,
            relay_key_id=1,
            units=1,
        )
        for delivery, target_id, state in zip(deliveries, (1, 2, 3), ("pending", "pending", "held"), strict=True)
    ]


async def test_an_endpoint_without_targets_accepts(edge: InsideEdge, owner: AsyncConnection[Any]) -> None:
    async with edge.client.post(f"{edge.url}/r/demo/v1/nobody", headers=BEARER) as answer:
        assert answer.status == 202
    (request,) = await taken(owner)
    assert (request.target_count, request.body_bytes, request.content_type) == (0, 0, "application/octet-stream")
    assert await stored(owner, DeliveryRow) == []


@pytest.mark.parametrize(
    ("path", "bearer", "status", "code"),
    [
        (PATH, None, 401, "missing_key"),
        ("/r/demo/v1/none", None, 401, "missing_key"),
        ("/r/what/ever", None, 401, "missing_key"),
        (PATH, "rk_live_unknown", 401, "invalid_key"),
        (PATH, "inference-only", 403, "scope_missing"),
        (PATH, "others", 403, "wrong_project"),
        ("/r/demo/v1/none", "others", 403, "wrong_project"),
        ("/r/none/v1/events", "own", 404, "endpoint_not_found"),
        ("/r/demo/v2/events", "own", 404, "endpoint_not_found"),
        ("/r/demo/v1/none", "own", 404, "endpoint_not_found"),
        ("/r/demo/v1/closed", "own", 404, "endpoint_not_found"),
        ("/r/demo/v0/events", "own", 404, "endpoint_not_found"),
        ("/r/demo/v1", "own", 404, "endpoint_not_found"),
        ("/r/demo/v1/events/", "own", 404, "endpoint_not_found"),
        ("/r/demo/v1//events", "own", 404, "endpoint_not_found"),
        ("/r/demo/v1/%2e%2e/events", "own", 404, "endpoint_not_found"),
        ("/r/demo/v1/events%00", "own", 404, "endpoint_not_found"),
        ("/r/demo/v1/" + "x" * 5000, "own", 404, "endpoint_not_found"),
        ("/elsewhere", "own", 404, "not_found"),
    ],
)
async def test_refusals_tell_no_more_than_they_must(  # noqa: PLR0917 - pytest's arguments
    edge: InsideEdge, owner: AsyncConnection[Any], path: str, bearer: str | None, status: int, code: str
) -> None:
    token = BEARERS.get(bearer or "", bearer)
    line = f"Authorization: Bearer {token}\r\n" if token else ""
    answer = await edge.raw(
        f"POST {path} HTTP/1.1\r\nHost: relay\r\n{line}Connection: close\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b" ", 2)[1] == str(status).encode()
    document = json.loads(body)
    assert (document["error"], sorted(document)) == (code, ["error", "message", "requestId"])
    assert await is_empty(owner)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods(edge: InsideEdge, owner: AsyncConnection[Any], method: str) -> None:
    async with edge.client.request(method, edge.url + PATH, headers=BEARER) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert (await answer.json())["error"] == "method_not_allowed"
    async with edge.client.request(method, edge.url + PATH) as answer:
        assert answer.status == 401
    assert await is_empty(owner)


async def test_a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not(
    edge: InsideEdge, owner: AsyncConnection[Any]
) -> None:
    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * 100

    for body in (b"x" * 1000, pieces(10)):
        async with edge.client.post(edge.url + PATH, data=body, headers=BEARER) as answer:
            assert answer.status == 202
    assert [row.body for row in await stored(owner, PayloadRow)] == [b"x" * 1000] * 2
    await owner.execute("DELETE FROM deliveries_live")
    await owner.execute("DELETE FROM deliveries_payload")
    await owner.execute("DELETE FROM deliveries_request")
    for body in (b"x" * 1001, pieces(11)):
        async with edge.client.post(edge.url + PATH, data=body, headers=BEARER) as answer:
            assert answer.status == 413
            assert (await answer.json())["error"] == "body_too_large"
    assert await is_empty(owner)


async def test_an_oversized_body_is_refused_before_it_is_sent(edge: InsideEdge, owner: AsyncConnection[Any]) -> None:
    answer = await edge.raw(
        f"POST {PATH} HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer {TOKEN.token}\r\n"
        "Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert await is_empty(owner)


@pytest.mark.parametrize(
    "framing", ["Content-Length: 10\r\n\r\n12345", "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n"]
)
async def test_a_body_that_does_not_arrive(edge: InsideEdge, owner: AsyncConnection[Any], framing: str) -> None:
    answer = await edge.raw(
        f"POST {PATH} HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer {TOKEN.token}\r\n{framing}".encode()
    )
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"body_timeout"' in answer
    assert await is_empty(owner)


@pytest.mark.parametrize(
    "lines",
    [
        b"X-Nul: a\x00b\r\n",
        b"X-Bell: a\x07b\r\n",
        b"X-Latin: caf\xe9\r\n",
        "X-Utf: café\r\n".encode(),
        b"X-Cut: a\rX-Injected: b\r\n",
        b"X Space: a\r\n",
        b"Content-Type: text/\xff\r\n",
        b"Content-Type: " + b"x" * 256 + b"\r\n",
        b"X-Big: " + b"x" * 4100 + b"\r\n",
        b"X-Huge: " + b"x" * 20_000 + b"\r\n",
        b"".join(b"X-N%d: 1\r\n" % number for number in range(MAX_STORED_HEADERS + 1)),
        b"".join(b"X-N%d: 1\r\n" % number for number in range(2000)),
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
    ],
    ids=lambda lines: repr(lines[:24]),
)
async def test_headers_that_are_not_sent_on_are_refused(
    edge: InsideEdge, owner: AsyncConnection[Any], lines: bytes
) -> None:
    answer = await edge.raw(
        b"POST %b HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer %b\r\nConnection: close\r\n%b"
        b"Content-Length: 2\r\n\r\n{}" % (PATH.encode(), TOKEN.token.encode(), lines)
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"] in {"bad_header", "bad_request"}
    assert TOKEN.token.encode() not in answer
    assert await is_empty(owner)


async def test_repeated_headers_are_joined(edge: InsideEdge, owner: AsyncConnection[Any]) -> None:
    answer = await edge.raw(
        f"POST {PATH} HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer {TOKEN.token}\r\nConnection: close\r\n"
        "X-Tag: a\r\nx-tag: b\r\nContent-Length: 0\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 202 ")
    (request,) = await taken(owner)
    assert request.headers == {"x-tag": "a, b", "relay-hops": "1"}


async def test_the_endpoints_own_limit(edge: InsideEdge, owner: AsyncConnection[Any]) -> None:
    statuses = []
    for _ in range(3):
        async with edge.client.post(f"{edge.url}/r/demo/v1/limited", data=b"", headers=BEARER) as answer:
            statuses.append(answer.status)
    assert statuses == [202, 202, 429]
    assert answer.headers["Retry-After"].isdigit()
    assert len(await taken(owner)) == 2


async def test_a_project_by_its_host_name(edge: InsideEdge, owner: AsyncConnection[Any]) -> None:
    async def status(host: str, path: str) -> int:
        async with edge.client.post(edge.url + path, data=b"", headers=BEARER | {"Host": host}) as answer:
            return answer.status

    assert await status("demo.relay.example", "/v1/events") == 202
    assert await status("DEMO.Relay.Example.:8080", "/v1/events?source=1") == 202
    assert await status("other.relay.example", "/v1/events") == 403
    assert await status("demo.relay.example", "/r/demo/v1/events") == 404
    assert await status("relay.example", "/v1/events") == 404
    assert await status("demo.relay.example.evil.com", "/v1/events") == 404
    assert await status("relay.example", PATH) == 202
    assert len(await taken(owner)) == 3


async def test_a_revoked_key_and_an_archived_project_are_refused_soon(
    edge: InsideEdge, owner: AsyncConnection[Any]
) -> None:
    async def refusal() -> str | None:
        async with edge.client.post(edge.url + PATH, data=b"", headers=BEARER) as answer:
            return None if answer.status == 202 else str((await answer.json())["error"])

    assert await refusal() is None
    await owner.execute("UPDATE catalog_project SET is_archived = true WHERE id = 1")
    assert await until(refusal, "a refusal") == "project_archived"
    await owner.execute("UPDATE access_relaykey SET revoked_at = now() WHERE id = 1")

    async def other_refusal() -> str | None:
        code = await refusal()
        return None if code == "project_archived" else code

    assert await until(other_refusal, "another refusal") == "key_revoked"


async def test_without_postgres_nothing_is_accepted(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, free_port: int, tmp_path: Path
) -> None:
    await insert(owner, *ROWS)
    proxy = await Proxy.start(edge_database_url)
    async with inside_edge(tmp_path, free_port, proxy.url, redis_url) as edge:
        async with edge.client.post(edge.url + PATH, data=b"1", headers=BEARER) as answer:
            assert answer.status == 202
        await proxy.close()
        async with edge.client.post(edge.url + PATH, data=b"2", headers=BEARER) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert (await answer.json())["error"] == "accept_unavailable"
        async with edge.client.get(f"{edge.url}/readyz") as answer:
            assert answer.status == 200  # calls to models go on
            assert (await answer.json())["postgres"] == {"connected": False}
    await proxy.close()
    assert [row.body for row in await stored(owner, PayloadRow)] == [b"1"]


async def test_a_line_in_the_access_log_with_the_callers_address(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, free_port: int, tmp_path: Path
) -> None:
    await insert(owner, *ROWS)
    settings = {"RELAY_ACCESS_LOG": "1", "RELAY_TRUSTED_PROXIES": "127.0.0.0/8 192.0.2.1/32"}
    async with inside_edge(tmp_path, free_port, edge_database_url, redis_url, **settings) as edge:
        log = edge.edge._log.stream
        headers = BEARER | {"X-Forwarded-For": "198.51.100.9, 203.0.113.7, 192.0.2.1"}
        async with edge.client.post(edge.url + PATH, data=b"12345", headers=headers) as answer:
            request_id = (await answer.json())["requestId"]
        async with edge.client.post(edge.url + PATH, data=b"12345") as answer:
            assert answer.status == 401
    (request,) = await taken(owner)
    assert str(request.client_ip) == "203.0.113.7"
    accepted, refused = (line for line in map(json.loads, log.getvalue().splitlines()) if line["event"] == "relayed")
    assert accepted == {
        "ts": accepted["ts"], "level": "info", "event": "relayed", "process": "edge", "request_id": request_id,
        "relay_key_id": 1, "project": "demo", "line": "v1", "endpoint": "events", "mode": "async", "status": 202,
        "error": "", "targets": 3, "bytes_in": 5, "bytes_out": 0, "client_ip": "203.0.113.7", "ms": accepted["ms"],
    }  # fmt: skip
    assert (refused["status"], refused["error"], refused["mode"], refused["client_ip"], refused["relay_key_id"]) == (
        401, "missing_key", "", "127.0.0.1", None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/r/a/b/c", EndpointAddress("a", "b", "c")),
        ("/r/a/b", None),
        ("/r/a/b/c/d", None),
        ("/r//b/c", None),
        ("/r/a/b/", None),
        ("/x/a/b/c", None),
        ("r/a/b/c/", None),
        ("/r/a/b/" + "c" * 64, None),
    ],
)
def test_addresses_by_path(path: str, expected: EndpointAddress | None) -> None:
    assert by_path(path) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("demo.relay.example", "demo"),
        ("Demo.RELAY.example:443", "demo"),
        ("demo.relay.example.", "demo"),
        ("relay.example", None),
        ("a.demo.relay.example", None),
        (".relay.example", None),
        ("-demo.relay.example", None),
        ("demo.relay.example:x", None),
        ("demo.relay.example..", None),
        ("demo@relay.example", None),
        ("demo.relay.example\n", None),
        ("", None),
    ],
)
def test_projects_by_host(host: str, expected: str | None) -> None:
    assert project_by_host(host, "relay.example") == expected
    assert project_by_host(host, "") is None


def test_addresses_by_host() -> None:
    assert by_host("a", "/b/c") == EndpointAddress("a", "b", "c")
    assert by_host("a", "/b") is None
    assert by_host("a", "/b/c/d") is None

"""Whatever a stream target is called, an edge reaches nothing inside: each spelling, and names that change."""

import asyncio
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from relay_contract import netguard
from relay_contract.errors import AddressForbidden, UpstreamConnectError
from tests.edge.test_upstream import OK, Server, exchange, origin_of, running_pool, serving
from tests.ssrf_corpus import ADDRESSES, DIALLED, METADATA

ANY_ADDRESS = (netguard.IPv4Network("0.0.0.0/0"), netguard.IPv6Network("::/0"))
ONE = (netguard.IPv4Network("127.0.0.1/32"),)


@pytest.mark.parametrize("address", ADDRESSES)
async def test_no_internal_address_is_connected_to(address: str) -> None:
    async with running_pool(allowed=()) as pool:
        failure, _ = await exchange(origin_of(pool, 9, address))
        assert failure is not None
        assert type(failure.error) in (AddressForbidden, UpstreamConnectError)  # some are a literal to no parser


@pytest.mark.parametrize("spelling", DIALLED)
async def test_no_spelling_reaches_anything(spelling: str) -> None:
    """As an edge reads a target that was saved past every check: its form first, then its address."""
    server = Server(OK)
    async with serving(server) as port, running_pool(allowed=()) as pool:
        url = spelling.replace("{port}", str(port))
        try:
            netguard.check_url(url, allowed=ANY_ADDRESS)
        except netguard.UrlRefused:
            return
        parts = urlsplit(url)
        assert parts.hostname is not None
        failure, _ = await exchange(origin_of(pool, parts.port or 80, parts.hostname))
        assert failure is not None
        assert type(failure.error) is AddressForbidden
        assert server.connections == 0


@pytest.mark.parametrize("inside", ["127.0.0.2", "::1", "::ffff:127.0.0.2", METADATA, "10.0.0.1"])
async def test_a_name_that_changes_its_mind_is_judged_at_each_look_up(
    inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["127.0.0.1", inside]

    async def look_up(host: str, port: Any, **_: Any) -> list[Any]:
        address = answers.pop(0)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 0, "", (address, 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    server = Server(OK, b"")
    async with serving(server) as port, running_pool(allowed=ONE) as pool:
        origin = origin_of(pool, port, "flips.example")
        failure, sink = await exchange(origin)
        assert (failure, sink.status) == (None, 200)
        pool.resolver.forget("flips.example")  # what its time does
        origin.close()
        failure, _ = await exchange(origin)
        assert failure is not None
        assert type(failure.error) is AddressForbidden
        assert server.connections == 1
    assert answers == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer(status: int) -> None:
    inside = Server(OK)
    async with serving(inside) as inner_port:
        head = f"HTTP/1.1 {status} Go\r\nLocation: http://127.0.0.1:{inner_port}/\r\nContent-Length: 0\r\n\r\n"
        server = Server(head.encode())
        async with serving(server) as port, running_pool(allowed=ONE) as pool:
            failure, sink = await exchange(origin_of(pool, port))
            assert (failure, sink.status) == (None, status)
    assert (server.connections, inside.connections) == (1, 0)

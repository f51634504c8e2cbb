"""Whatever a target or a token endpoint is called, a worker reaches nothing inside: each spelling, both ways out."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_network

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from delivery.attempt import Answer, Claim, Destination, Fault, Needs
from delivery.sender import Sender
from relay_contract.netguard import Network
from relay_contract.oauth2 import ClientCredentials
from tests.delivery.receiver import Receiver, status
from tests.delivery.test_sender import KEY, claim
from tests.ssrf_corpus import DIALLED, METADATA

EVERYTHING: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
ONE: tuple[Network, ...] = (ip_network("127.0.0.1/32"),)
REFUSED = {Fault.ADDRESS_REFUSED, Fault.BAD_URL, Fault.DNS_FAILURE, Fault.CONNECT_FAILED}
"""Some spellings a client refuses to read, some are names that nobody has; the others the guard stops."""


class Victim:
    """A service on every address of this machine that nobody outside should reach."""

    def __init__(self) -> None:
        self.connections = 0

    async def __aenter__(self) -> "Victim":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._others = []
        for host in ("127.1.2.3", "127.0.0.2", "::1"):
            with suppress(OSError):  # a machine without IPv6, or with one loopback address only
                self._others.append(await asyncio.start_server(self._serve, host, self.port))
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in (self._server, *self._others):
            server.close()

    async def _serve(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()


@pytest.fixture
async def victim() -> AsyncIterator[Victim]:
    async with Victim() as started:
        yield started


async def send(one: Claim, allow: tuple[Network, ...] = ()) -> Answer:
    sender = Sender(allow)
    try:
        return await sender.send(one)
    finally:
        await sender.close()


def asking(token_url: str, url: str = "http://127.0.0.1:9/") -> Claim:
    """A delivery whose target wants a token from there first."""
    credentials = ClientCredentials(token_url, "relay", "secret")
    destination = Destination(URL(url), {}, 20, (), (KEY,), needs=Needs(credentials=credentials))
    return replace(claim(url), destination=destination)


def to(url: str) -> Claim:
    """A delivery whose URL was saved past every check; what cannot even be parsed is not sent."""
    return claim(url)


@pytest.mark.parametrize("spelling", DIALLED)
async def test_no_spelling_of_a_target_reaches_anything(victim: Victim, spelling: str) -> None:
    url = spelling.replace("{port}", str(victim.port))
    try:
        one = to(url)
    except ValueError:  # yarl: as `Destinations` it would be BAD_URL
        return
    answer = await send(one)
    assert answer.fault in REFUSED, answer
    assert victim.connections == 0


@pytest.mark.parametrize("spelling", DIALLED)
async def test_no_spelling_of_a_token_endpoint_reaches_anything(victim: Victim, spelling: str) -> None:
    answer = await send(asking(spelling.replace("{port}", str(victim.port))))
    assert answer.fault is Fault.TOKEN_UNAVAILABLE
    assert b"secret" not in answer.excerpt
    assert victim.connections == 0


async def test_many_of_those_spellings_do_reach_it_without_a_guard(victim: Victim) -> None:
    """So that the two tests before this one can fail."""
    for spelling in DIALLED:
        try:
            one = to(spelling.replace("{port}", str(victim.port)))
        except ValueError:
            continue
        await send(one, EVERYTHING)
    assert victim.connections >= 15


class Flipping(AbstractResolver):
    """A name that is where it may be at first, and inside from then on."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        address = self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("inside", ["127.0.0.2", "::1", "::ffff:127.0.0.2", METADATA, "10.0.0.1"])
async def test_a_name_that_changes_its_mind_is_judged_at_each_connection(victim: Victim, inside: str) -> None:
    sender = Sender(ONE)
    connector = sender._session.connector
    connector._resolver = Flipping("127.0.0.1", inside)  # type: ignore[union-attr]  # as its DNS would answer
    one = claim(f"http://flips.example:{victim.port}/")
    try:
        assert (await sender.send(one)).status == 200
        connector.clear_dns_cache()  # type: ignore[union-attr]  # what ten seconds do
        answer = await sender.send(one)
    finally:
        await sender.close()
    assert (answer.status, answer.fault) == (None, Fault.ADDRESS_REFUSED)
    assert victim.connections == 1


async def test_a_token_endpoints_name_that_leads_inside_is_refused(victim: Victim) -> None:
    sender = Sender(ONE)
    sender._session.connector._resolver = Flipping("127.0.0.2")  # type: ignore[union-attr]
    try:
        answer = await sender.send(asking(f"http://flips.example:{victim.port}/"))
    finally:
        await sender.close()
    assert (answer.fault, answer.excerpt) == (
        Fault.TOKEN_UNAVAILABLE,
        b"The token endpoint could not be called: address_refused.",
    )
    assert victim.connections == 0


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_is_not_followed(victim: Victim, code: int) -> None:
    """Also to where we would call: the caller's body and the client's secret go nowhere but where they were meant."""
    receiver = await Receiver().start()
    location = f"Location: http://127.0.0.1:{victim.port}/latest/meta-data/"
    receiver.plans["/in"] = receiver.plans["/token"] = [status(code, location)]
    try:
        answer = await send(claim(f"{receiver.url}/in"), ONE)
        assert (answer.status, answer.fault) == (code, None)
        answer = await send(asking(f"{receiver.url}/token", f"{receiver.url}/in"), ONE)
        assert (answer.fault, answer.excerpt) == (
            Fault.TOKEN_UNAVAILABLE,
            f"The token endpoint answered {code}.".encode(),
        )
        assert len(receiver.calls) == 2
    finally:
        await receiver.close()
    assert victim.connections == 0

"""The upstream client by itself: kept connections, limits of the pool, TLS, names."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay_contract.errors import (
    AddressForbidden,
    UpstreamConnectError,
    UpstreamProtocolError,
    UpstreamTimeout,
)
from relay_edge.deadlines import DeadlineWheel
from relay_edge.resolve import Resolver, interleaved
from relay_edge.upstream import Failure, Head, Timeouts, UpstreamConnection
from relay_edge.upstream_pool import Origin, PoolLimits, UpstreamPool, client_tls
from tests.edge.conftest import default_tls, until

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
TIMEOUTS = Timeouts(connect=2, first_byte=2, idle=2, total=5)
REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Sink:
    """Keeps an answer."""

    wants: bool = True
    status: int = 0
    body: bytes = b""
    is_whole: bool = False
    connections: list[UpstreamConnection] = field(default_factory=list)

    def on_start(self, connection: UpstreamConnection) -> None:
        self.connections.append(connection)

    def on_head(self, head: Head) -> bool:
        self.status = head.status
        return self.wants

    def on_data(self, body: bytes, is_end: bool) -> None:
        self.body += body
        self.is_whole = is_end


@asynccontextmanager
async def running_pool(
    limits: PoolLimits | None = None, tls: ssl.SSLContext | None = None, allowed: Any = LOOPBACK
) -> AsyncIterator[UpstreamPool]:
    """A pool; at its end every connection must be gone from the wheel once closed."""
    wheel = DeadlineWheel(asyncio.get_running_loop())
    pool = UpstreamPool(asyncio.get_running_loop(), wheel, Resolver(allowed), tls or default_tls(), limits)
    try:
        yield pool
    finally:
        await pool.close()
        await until(lambda: len(wheel) == 0, "every connection to end")
        wheel.close()
    assert pool.counts() == (0, 0, 0)


class Server:
    """Answers each request with the next of its bytes; b"" closes instead. The last one repeats."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[int] = []  # the number of the connection each came on
        self.connections = 0
        self.gate: asyncio.Event | None = None
        self.writers: list[asyncio.StreamWriter] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self.writers.append(writer)
        try:
            while await reader.readexactly(len(REQUEST)):
                self.requests.append(number)
                if self.gate is not None:
                    await self.gate.wait()
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if not answer:
                    break
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client closed
        finally:
            writer.close()


@asynccontextmanager
async def serving(server: Server, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """The server's port."""
    listening = await asyncio.start_server(server, host, 0, ssl=tls)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        for writer in server.writers:
            writer.close()
        listening.close()


async def exchange(
    origin: Origin, sink: Sink | None = None, timeouts: Timeouts = TIMEOUTS
) -> tuple[Failure | None, Sink]:
    sink = sink or Sink()
    return await origin.exchange(REQUEST, sink, timeouts), sink


def origin_of(pool: UpstreamPool, port: int, host: str = "127.0.0.1", scheme: str = "http") -> Origin:
    return pool.origin(scheme, host, port)


async def test_a_connection_is_used_again() -> None:
    server = Server(OK)
    async with serving(server) as port, running_pool() as pool:
        origin = origin_of(pool, port)
        for _ in range(5):
            failure, sink = await exchange(origin)
            assert (failure, sink.status, sink.body, sink.is_whole) == (None, 200, b"ok", True)
        assert server.requests == [1] * 5
        assert pool.origin("http", "127.0.0.1", port) is origin


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + b"trailing",
        OK + OK,
    ],
)
async def test_a_connection_is_not_used_again_when_it_may_not_be(answer: bytes) -> None:
    server = Server(answer, OK)
    async with serving(server) as port, running_pool() as pool:
        origin = origin_of(pool, port)
        for _ in range(2):
            assert (await exchange(origin))[1].body == b"ok"
        assert server.requests == [1, 2]


async def test_a_kept_connection_that_the_host_closed_is_replaced_once() -> None:
    server = Server(OK, b"", OK)
    async with serving(server) as port, running_pool() as pool:
        origin = origin_of(pool, port)
        await exchange(origin)
        failure, sink = await exchange(origin)  # the host closes when it gets the request
        assert (failure, sink.body) == (None, b"ok")
        assert server.requests == [1, 1, 2]


async def test_a_fresh_connection_that_the_host_closes_is_a_failure() -> None:
    server = Server(b"")
    async with serving(server) as port, running_pool() as pool:
        failure, _ = await exchange(origin_of(pool, port))
        assert failure is not None
        assert isinstance(failure.error, UpstreamProtocolError)
        assert server.requests == [1]


async def test_a_kept_connection_cut_inside_its_answer_is_a_failure() -> None:
    server = Server(OK, b"HTTP/1.1 200 OK\r\nconnection: close\r\n", b"")
    async with serving(server) as port, running_pool() as pool:
        origin = origin_of(pool, port)
        await exchange(origin)
        first = asyncio.ensure_future(exchange(origin))
        await until(lambda: len(server.requests) == 2, "the second request")
        server.writers[0].close()
        failure, _ = await first
        assert failure is not None
        assert not failure.is_stale
        assert server.requests == [1, 1]


async def test_bytes_nobody_asked_for_end_an_idle_connection() -> None:
    server = Server(OK)
    async with serving(server) as port, running_pool() as pool:
        origin = origin_of(pool, port)
        await exchange(origin)
        server.writers[0].write(OK)
        await until(lambda: pool.counts() == (0, 0, 0), "the connection to be given up")
        assert (await exchange(origin))[1].body == b"ok"
        assert server.requests == [1, 2]


async def test_idle_connections_are_reaped() -> None:
    server = Server(OK)
    async with serving(server) as port, running_pool(PoolLimits(idle_seconds=0.05)) as pool:
        await exchange(origin_of(pool, port))
        await until(lambda: pool.counts() == (0, 0, 0), "the idle connection to be closed")


async def test_connections_are_bounded_and_the_rest_wait_their_turn() -> None:
    server = Server(OK)
    server.gate = asyncio.Event()
    async with serving(server) as port, running_pool(PoolLimits(connections=2, waiting=3)) as pool:
        origin = origin_of(pool, port)
        calls = [asyncio.ensure_future(exchange(origin)) for _ in range(5)]
        await until(lambda: len(server.requests) == 2 and pool.counts() == (2, 0, 3), "three to wait")
        failure, _ = await exchange(origin)
        assert failure is not None
        assert isinstance(failure.error, UpstreamConnectError)
        calls[4].cancel()  # one who waits leaves
        await until(lambda: pool.counts() == (2, 0, 2), "one to leave")
        calls[0].cancel()  # one who is served leaves: its connection ends, its place goes on
        await until(lambda: len(server.requests) == 3, "the place to be taken")
        server.gate.set()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(end, asyncio.CancelledError) for end in ended] == [True, False, False, False, True]
        assert all(end[0] is None for end in ended if not isinstance(end, BaseException))
        assert server.connections == 3
        assert pool.counts() == (2, 2, 0)


async def test_waiting_for_a_connection_ends_in_time() -> None:
    server = Server(OK)
    server.gate = asyncio.Event()
    async with serving(server) as port, running_pool(PoolLimits(connections=1)) as pool:
        origin = origin_of(pool, port)
        first = asyncio.ensure_future(exchange(origin))
        await until(lambda: server.requests, "the first call")
        failure, _ = await exchange(origin, timeouts=Timeouts(0.05, 1, 1, 1))
        assert failure is not None
        assert isinstance(failure.error, UpstreamTimeout)
        assert pool.counts() == (1, 0, 0)
        server.gate.set()
        assert (await first)[0] is None


async def test_a_refused_answer_is_drained_when_it_is_short() -> None:
    server = Server(OK, b"HTTP/1.1 500 No\r\ncontent-length: 200000\r\n\r\n" + b"x" * 200_000, OK)
    async with serving(server) as port, running_pool() as pool:
        origin = origin_of(pool, port)
        failure, sink = await exchange(origin, Sink(wants=False))
        assert (failure, sink.body) == (None, b"")
        await exchange(origin, Sink(wants=False))  # too long: the connection goes
        assert (await exchange(origin))[1].body == b"ok"
        assert server.requests == [1, 1, 2]


async def test_a_refused_answer_that_does_not_end() -> None:
    server = Server(b"HTTP/1.1 500 No\r\ncontent-length: 5\r\n\r\nxx")
    async with serving(server) as port, running_pool() as pool:
        await exchange(origin_of(pool, port), Sink(wants=False))
        await until(lambda: pool.counts() == (0, 0, 0), "the connection to be given up")


async def test_a_large_body_on_a_slow_line_is_no_silence() -> None:
    """The first-byte deadline counts from the request's last byte."""
    received = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        while received < len(large):
            received += len(await reader.read(4_000_000))
            await asyncio.sleep(0.05)
        writer.write(OK)
        await reader.read()
        writer.close()

    body = b"x" * 40_000_000
    large = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    listening = await asyncio.start_server(slow, "127.0.0.1", 0, limit=1_000_000)
    async with running_pool() as pool:
        origin = origin_of(pool, listening.sockets[0].getsockname()[1])
        sink = Sink()
        failure = await origin.exchange(large, sink, Timeouts(1, 0.3, 5, 60))
        assert (failure, sink.body) == (None, b"ok")
    listening.close()


async def test_the_first_byte_is_waited_for_once() -> None:
    """A small request that has left is no large body on a slow line."""
    server = Server(OK)
    server.gate = asyncio.Event()
    async with serving(server) as port, running_pool() as pool:
        sink = Sink()
        exchanging = asyncio.create_task(origin_of(pool, port).exchange(REQUEST, sink, Timeouts(1, 60, 60, 60)))
        await until(lambda: server.requests, "the request to arrive")
        sink.connections[0].on_deadline()
        async with asyncio.timeout(20):
            failure = await exchanging
        server.gate.set()
    assert failure is not None
    assert type(failure.error) is UpstreamTimeout


@pytest.mark.parametrize(
    ("start", "drop"), [(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"), (b"HTTP/1.1 200 OK\r\nx: ", b"y")]
)
async def test_a_head_that_drips_ends_with_the_wait_for_it(start: bytes, drop: bytes) -> None:
    async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(REQUEST))
        writer.write(start)
        while not reader.at_eof():
            writer.write(drop)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await reader.read()
        writer.close()

    listening = await asyncio.start_server(dripping, "127.0.0.1", 0)
    async with running_pool() as pool, asyncio.timeout(20):
        origin = origin_of(pool, listening.sockets[0].getsockname()[1])
        failure = await origin.exchange(REQUEST, Sink(), Timeouts(1, 0.3, 60, 60))
    listening.close()
    assert failure is not None
    assert type(failure.error) is UpstreamTimeout


async def test_an_answer_that_we_end_is_not_whole() -> None:
    """Where only the connection's end tells the end of an answer, ours tells nothing."""

    class Enough(Sink):
        def on_data(self, body: bytes, is_end: bool) -> None:
            super().on_data(body, is_end)
            self.connections[0].close()

    server = Server(b"HTTP/1.1 200 OK\r\n\r\nand more")
    async with serving(server) as port, running_pool() as pool:
        sink = Enough()
        failure = await origin_of(pool, port).exchange(REQUEST, sink, TIMEOUTS)
    assert failure is not None
    assert (sink.body, sink.is_whole) == (b"and more", False)


@pytest.mark.parametrize("status", [b"000", b"099", b"101"])
async def test_a_status_that_is_none(status: bytes) -> None:
    server = Server(b"HTTP/1.1 %b Odd\r\ncontent-length: 2\r\n\r\nok" % status)
    async with serving(server) as port, running_pool() as pool:
        failure, sink = await exchange(origin_of(pool, port))
    assert failure is not None
    assert (type(failure.error), sink.status) == (UpstreamProtocolError, 0)


@pytest.mark.parametrize("framing", [b"content-length: 300", b"transfer-encoding: chunked"])
async def test_an_answer_larger_than_the_cap_is_cut(framing: bytes) -> None:
    body = b"x" * 300 if b"length" in framing else b"12c\r\n" + b"x" * 300 + b"\r\n0\r\n\r\n"
    server = Server(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + body)
    async with serving(server) as port:
        for cap, is_whole in ((300, True), (299, False)):
            async with running_pool(PoolLimits(answer_bytes=cap)) as pool:
                failure, sink = await exchange(origin_of(pool, port))
                assert (failure is None, sink.is_whole) == (is_whole, is_whole)


# --- names and addresses ---


async def test_a_refused_connection(free_port: int) -> None:
    async with running_pool() as pool:
        failure, _ = await exchange(origin_of(pool, free_port))
        assert failure is not None
        assert type(failure.error) is UpstreamConnectError


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "0.0.0.0"])
async def test_addresses_that_may_not_be_called(host: str) -> None:
    server = Server(OK)
    async with serving(server) as port, running_pool(allowed=()) as pool:
        failure, _ = await exchange(origin_of(pool, port, host))
        assert failure is not None
        assert type(failure.error) is AddressForbidden
        assert server.connections == 0


async def test_a_name_that_does_not_exist() -> None:
    async with running_pool() as pool:
        failure, _ = await exchange(origin_of(pool, 80, "nothing.invalid"))
        assert failure is not None
        assert type(failure.error) is UpstreamConnectError
        assert "name" in failure.error.public_text


async def test_a_name_is_asked_for_once_by_many() -> None:
    resolver = Resolver(LOOPBACK)
    answers = await asyncio.gather(*[resolver.addresses("localhost") for _ in range(20)])
    assert len(set(answers)) == 1
    assert set(answers[0]) <= {"127.0.0.1", "::1"}
    await resolver.close()


async def test_the_second_address_is_called_when_the_first_is_down() -> None:
    server = Server(OK)
    async with serving(server) as port, running_pool() as pool:
        failure, sink = await exchange(origin_of(pool, port, "localhost"))  # ::1 comes first where it exists
        assert (failure, sink.body) == (None, b"ok")


@pytest.mark.parametrize(
    ("found", "order"),
    [
        ((), ()),
        (("1", "2"), ("1", "2")),
        (("a:", "b:", "1", "2", "3"), ("a:", "1", "b:", "2", "3")),
        (("1", "2", "a:"), ("1", "a:", "2")),
    ],
)
def test_families_take_turns(found: tuple[str, ...], order: tuple[str, ...]) -> None:
    assert interleaved(found) == order


async def test_a_host_that_swallows_packets() -> None:
    """A full backlog: the handshake never ends."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        stuffing = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            stuffing.append(one)
        async with running_pool() as pool:
            failure, _ = await exchange(origin_of(pool, full.getsockname()[1]), timeouts=Timeouts(0.1, 1, 1, 1))
            assert failure is not None
            assert type(failure.error) is UpstreamTimeout
        for one in stuffing:
            one.close()


# --- TLS ---


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for `name`, and a server's context with it."""

    pem: str
    context: ssl.SSLContext


def certificate(name: str, folder: Path) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    try:
        names: x509.GeneralName = x509.IPAddress(ip_address(name))
    except ValueError:
        names = x509.DNSName(name)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = built.public_bytes(serialization.Encoding.PEM)
    (folder / "pair.pem").write_bytes(
        pem
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pair.pem")
    context.set_alpn_protocols(["h2", "http/1.1"])
    return Certificate(pem.decode(), context)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_tls_with_a_certificate_for_the_name(name: str, tmp_path: Path) -> None:
    made = certificate(name, tmp_path)
    asked: list[str | None] = []
    made.context.sni_callback = lambda _socket, name, _context: asked.append(name)
    server = Server(OK)
    async with serving(server, made.context) as port, running_pool(tls=client_tls(made.pem)) as pool:
        origin = origin_of(pool, port, name, "https")
        for _ in range(3):
            failure, sink = await exchange(origin)
            assert (failure, sink.body) == (None, b"ok")
        assert server.requests == [1, 1, 1]
        assert server.writers[0].get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        assert asked == [name if name == "localhost" else None]


@pytest.mark.parametrize("case", ["wrong name", "unknown issuer", "no TLS"])
async def test_tls_that_cannot_be_trusted(case: str, tmp_path: Path) -> None:
    made = certificate("other.example" if case == "wrong name" else "localhost", tmp_path)
    server = Server(OK)
    context = default_tls() if case == "unknown issuer" else client_tls(made.pem)
    served = None if case == "no TLS" else made.context
    async with serving(server, served) as port, running_pool(tls=context) as pool:
        failure, _ = await exchange(
            origin_of(pool, port, "localhost", "https"), timeouts=Timeouts(0.5 if case == "no TLS" else 5, 1, 1, 1)
        )
        assert failure is not None
        assert isinstance(failure.error, UpstreamConnectError | UpstreamTimeout)
        if case != "no TLS":
            assert "certificate" in failure.error.public_text
            assert server.requests == []


async def test_certificates_have_connections_of_their_own(tmp_path: Path) -> None:
    made = certificate("localhost", tmp_path)
    server = Server(OK)
    ours, theirs = client_tls(made.pem), client_tls(made.pem)
    async with serving(server, made.context) as port, running_pool(tls=ours) as pool:
        origins = [pool.origin("https", "localhost", port, tls) for tls in (None, ours, theirs)]
        assert len(set(origins)) == 3
        assert pool.origin("https", "localhost", port, theirs) is origins[2]
        for origin in (*origins, *origins):
            failure, _ = await exchange(origin)
            assert failure is None
        assert server.requests == [1, 2, 3, 1, 2, 3]  # by the connection they came on
    async with serving(server, made.context) as port, running_pool() as pool:  # trusts no such certificate by itself
        failure, _ = await exchange(pool.origin("https", "localhost", port))
        assert failure is not None
        failure, _ = await exchange(pool.origin("https", "localhost", port, theirs))
        assert failure is None


async def test_an_origin_that_nobody_uses_is_forgotten_and_goes_on_when_it_is_used() -> None:
    server = Server(OK)
    async with serving(server) as port, running_pool(PoolLimits(idle_seconds=0.1)) as pool:
        origin = origin_of(pool, port)
        other = origin_of(pool, port, "localhost")
        await exchange(origin)
        assert pool.forget(0) == 1  # the one without a connection
        assert origin_of(pool, port) is origin
        assert origin_of(pool, port, "localhost") is not other
        await until(lambda: origin.counts() == (0, 0, 0), "an idle connection to end")
        assert pool.forget(3600) == 0
        assert pool.forget(0) == 2
        failure, sink = await exchange(origin)
        assert (failure, sink.body, pool.counts()) == (None, b"ok", (1, 1, 0))
        assert origin_of(pool, port).counts() == (1, 1, 0)
        assert origin.counts() == (0, 0, 0)


async def test_origins_are_forgotten_by_themselves() -> None:
    async with running_pool(PoolLimits(unused_seconds=0.05)) as pool:
        origin = origin_of(pool, 9)
        await until(lambda: origin.is_forgotten, "the origin to be forgotten")
        assert origin_of(pool, 9) is not origin

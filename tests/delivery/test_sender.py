"""Every way in which a target can fail, on real sockets and on the event loop that workers use."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from yarl import URL

from delivery.attempt import MAX_EXCERPT_BYTES, MAX_RESPONSE_BYTES, Answer, Claim, Destination, Fault
from delivery.faults import fault_of
from delivery.sender import Sender
from relay_contract import signing
from relay_contract.netguard import Network
from tests.delivery.receiver import Behaviour, Receiver, drip, flood, raw, reset, status, then_close

LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
KEY = signing.DatedKey(signing.parse_secret(signing.new_secret()), datetime(2026, 11, 21, tzinfo=UTC), None)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def claim(
    url: str, *, body: bytes = b"{}", headers: Mapping[str, str] | None = None, timeout_seconds: int = 20
) -> Claim:
    return Claim(
        delivery_id=UUID(int=1),
        claim_id=UUID(int=2),
        request_id=UUID(int=3),
        target_id=4,
        shard=0,
        number=1,
        replay=0,
        content_type="application/json",
        request_headers=headers or {},
        body=body,
        url=url,
        destination=Destination(URL(url, encoded=True), {}, timeout_seconds, (), (KEY,)),
        body_bytes=len(body),
        revision=0,
        target_version=0,
    )


@pytest.fixture
def run() -> Iterator[Callable[[Awaitable[Answer]], Answer]]:
    """Run a coroutine on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run  # type: ignore[misc]  # a coroutine is an awaitable


Run = Callable[[Awaitable[Answer]], Answer]


async def send(one: Claim, allow: tuple[Network, ...] = LOOPBACK) -> Answer:
    sender = Sender(allow)
    try:
        return await sender.send(one)
    finally:
        await sender.close()


async def answered_by(*plan: Behaviour, timeout_seconds: int = 20, tls: ssl.SSLContext | None = None) -> Answer:
    receiver = await Receiver().start(tls)
    receiver.plans["/in"] = list(plan)
    try:
        return await send(claim(f"{receiver.url}/in", timeout_seconds=timeout_seconds))
    finally:
        await receiver.close()


@pytest.mark.parametrize(
    ("behaviour", "fault"),
    [
        (reset, Fault.CONNECTION_RESET),
        (then_close(b""), Fault.CONNECTION_CLOSED),
        (then_close(b"HTTP/1.1 200 OK\r\nContent-Le"), Fault.CONNECTION_CLOSED),
        (raw(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n"), Fault.INVALID_RESPONSE),
        (raw(b"HTTP/1.1 two hundred\r\n\r\n"), Fault.INVALID_RESPONSE),
        (raw(b"HTTP/1.1 200 OK\r\nx y z\r\n\r\n"), Fault.INVALID_RESPONSE),
        (raw(b"HTTP/1.1 101 Whatever\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), Fault.INVALID_RESPONSE),
        (raw(b"HTTP/1.1 000 Whatever\r\nContent-Length: 2\r\n\r\nok"), Fault.INVALID_RESPONSE),
        (raw(b"HTTP/1.1 200 OK\r\nx-long: " + b"a" * 20_000 + b"\r\n\r\n"), Fault.RESPONSE_HEADER_TOO_LARGE),
    ],
)
def test_no_answer(run: Run, behaviour: Behaviour, fault: Fault) -> None:
    answer = run(answered_by(behaviour))
    assert (answer.status, answer.fault) == (None, fault)
    assert answer.excerpt == b""


@pytest.mark.parametrize(
    "answer_bytes",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
def test_an_answer_that_breaks_off_keeps_what_came(run: Run, answer_bytes: bytes) -> None:
    answer = run(answered_by(then_close(answer_bytes)))
    assert (answer.status, answer.fault) == (200, Fault.RESPONSE_BROKEN_OFF)
    assert (answer.excerpt, answer.is_cut) == (b"half", True)


def test_bad_chunks(run: Run) -> None:
    answer = run(answered_by(raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")))
    assert answer.fault in {Fault.RESPONSE_BROKEN_OFF, Fault.INVALID_RESPONSE}


def test_a_whole_answer(run: Run) -> None:
    answer = run(answered_by(status(201, "Retry-After: 7", body=b"made")))
    assert (answer.status, answer.fault, answer.retry_after) == (201, None, "7")
    assert (answer.excerpt, answer.is_cut) == (b"made", False)


def test_a_compressed_answer_is_kept_as_it_came(run: Run) -> None:
    answer = run(answered_by(status(200, "Content-Encoding: gzip", body=b"\x1f\x8bnot really")))
    assert (answer.fault, answer.excerpt) == (None, b"\x1f\x8bnot really")


def test_a_long_answer_is_kept_in_part(run: Run) -> None:
    answer = run(answered_by(status(200, body=b"y" * (MAX_EXCERPT_BYTES + 1))))
    assert (answer.fault, answer.excerpt, answer.is_cut) == (None, b"y" * MAX_EXCERPT_BYTES, True)


def test_an_endless_answer_is_cut_at_the_cap(run: Run) -> None:
    answer = run(answered_by(flood))
    assert (answer.status, answer.fault, answer.is_cut) == (200, None, True)
    assert answer.excerpt == b"x" * MAX_EXCERPT_BYTES


def test_the_connection_serves_again_after_an_answer_at_the_cap(run: Run) -> None:
    async def twice() -> Answer:
        receiver = await Receiver().start()
        receiver.plans["/in"] = [status(200, body=b"z" * MAX_RESPONSE_BYTES)]
        sender = Sender(LOOPBACK)
        try:
            await sender.send(claim(f"{receiver.url}/in"))
            answer = await sender.send(claim(f"{receiver.url}/in"))
            assert receiver.connections == 1
        finally:
            await sender.close()
            await receiver.close()
        return answer

    assert run(twice()).fault is None


def test_a_slow_answer_ends_at_the_deadline(run: Run) -> None:
    answer = run(answered_by(drip, timeout_seconds=1))
    assert (answer.status, answer.fault, answer.is_cut) == (200, Fault.TIMEOUT, True)


def test_no_answer_ends_at_the_deadline(run: Run) -> None:
    answer = run(answered_by(raw(b""), timeout_seconds=1))
    assert (answer.status, answer.fault) == (None, Fault.TIMEOUT)


def test_nobody_listens(run: Run, free_port: int) -> None:
    assert run(send(claim(f"http://127.0.0.1:{free_port}/"))).fault is Fault.CONNECTION_REFUSED


def test_an_unknown_name(run: Run) -> None:
    assert run(send(claim("http://no-such-host.invalid/"))).fault is Fault.DNS_FAILURE


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "0.0.0.0"]
)
def test_a_refused_address_is_not_connected(run: Run, host: str) -> None:
    async def refused() -> Answer:
        receiver = await Receiver().start()
        try:
            return await send(claim(receiver.url.replace("127.0.0.1", host) + "/in"), ())
        finally:
            assert receiver.connections == 0
            await receiver.close()

    assert run(refused()).fault is Fault.ADDRESS_REFUSED


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\x00b"])
def test_a_stored_header_cannot_add_another(run: Run, value: str) -> None:
    async def injected() -> Answer:
        receiver = await Receiver().start()
        try:
            return await send(claim(f"{receiver.url}/in", headers={"x-trace": value}))
        finally:
            assert receiver.calls == []
            await receiver.close()

    assert run(injected()).fault is Fault.BAD_HEADER


def test_a_large_body_arrives_whole(run: Run) -> None:
    body = bytes(range(256)) * 20_000

    async def large() -> Answer:
        receiver = await Receiver().start()
        try:
            answer = await send(claim(f"{receiver.url}/in", body=body))
            assert receiver.calls[0].body == body
            assert receiver.calls[0].headers["content-length"] == str(len(body))
            return answer
        finally:
            await receiver.close()

    assert run(large()).status == 200


def test_what_cannot_be_sent_says_why(run: Run) -> None:
    broken = claim("http://127.0.0.1:1/")
    values = {name: getattr(broken, name) for name in Claim.__slots__}
    for changed, fault in (
        ({"destination": Fault.BAD_URL}, Fault.BAD_URL),
        ({"body": None}, Fault.PAYLOAD_EXPIRED),
    ):
        assert run(send(Claim(**{**values, **changed}))).fault is fault


@pytest.fixture
def certificate(tmp_path: Path) -> ssl.SSLContext:
    """A server's context with a certificate that nobody vouches for."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "t")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    return context


def test_a_certificate_nobody_vouches_for(run: Run, certificate: ssl.SSLContext) -> None:
    assert run(answered_by(status(200), tls=certificate)).fault is Fault.CERTIFICATE_REFUSED


def test_a_target_that_does_not_speak_tls(run: Run) -> None:
    async def plain() -> Answer:
        receiver = await Receiver().start(greeting=OK)
        try:
            return await send(claim(receiver.url.replace("http", "https")))
        finally:
            await receiver.close()

    assert run(plain()).fault is Fault.TLS_FAILURE


def test_every_failure_of_the_client_has_a_fault() -> None:
    """None of aiohttp's may fall through to `internal_error`, which says that the mistake is ours."""

    def descend(kind: type[BaseException]) -> Iterator[type[BaseException]]:
        yield kind
        for child in kind.__subclasses__():
            yield from descend(child)

    kinds = {kind for kind in descend(aiohttp.ClientError) if kind.__module__.startswith("aiohttp")}
    assert len(kinds) > 20
    for kind in kinds:
        assert fault_of(kind.__new__(kind)) is not Fault.INTERNAL_ERROR, kind


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (TimeoutError(), Fault.TIMEOUT),
        (socket.gaierror(-2, "x"), Fault.CONNECT_FAILED),
        (OSError(113, "no route"), Fault.CONNECT_FAILED),
        (OSError(13, "several addresses"), Fault.ADDRESS_REFUSED),
        (OSError("several addresses, several ways"), Fault.CONNECT_FAILED),
        (BrokenPipeError(32, "x"), Fault.CONNECTION_RESET),
        (ConnectionResetError(104, "x"), Fault.CONNECTION_RESET),
        (ssl.SSLError(1, "x"), Fault.TLS_FAILURE),
        (KeyError("x"), Fault.INTERNAL_ERROR),
    ],
)
def test_fault_of(error: Exception, fault: Fault) -> None:
    assert fault_of(error) is fault

"""Client certificates: what is accepted, and a server that demands one."""

import asyncio
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from relay_contract.client_certificates import CertificateError, CertificateFacts, check, client_context

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | Ed25519PrivateKey


def pem_of(key: Key, lock: KeySerializationEncryption | None = None) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock or NoEncryption()).decode()


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def issued(key: Key, *, subject: str, by: tuple[str, Key], start: datetime, end: datetime) -> str:
    """A certificate. The server's is one too, so each is good for 127.0.0.1."""
    issuer, authority = by
    names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=subject == issuer, path_length=None), critical=True)
    )
    digest = None if isinstance(authority, Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(authority, digest).public_bytes(Encoding.PEM).decode()


AUTHORITY = ec.generate_private_key(ec.SECP256R1())
ROOT = issued(AUTHORITY, subject="root", by=("root", AUTHORITY), start=NOW - DAY, end=NOW + 9 * DAY)


def client(key: Key, start: datetime = NOW - DAY, end: datetime = NOW + DAY) -> str:
    return issued(key, subject="client", by=("root", AUTHORITY), start=start, end=end)


def demanding_context(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context that demands a client of ROOT's; and everybody trusts ROOT as if the system did."""
    (folder / "root.pem").write_text(ROOT)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "root.pem"))
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = issued(key, subject="server", by=("root", AUTHORITY), start=NOW - DAY, end=NOW + DAY)
    (folder / "server.pem").write_text(certificate + pem_of(key))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=ROOT)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / "server.pem")
    return context


KEYS: dict[str, Key] = {
    "ec": ec.generate_private_key(ec.SECP256R1()),
    "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ed25519": Ed25519PrivateKey.generate(),
}
KEY = KEYS["ec"]


@pytest.mark.parametrize("kind", KEYS)
def test_what_belongs_together_is_accepted(kind: str) -> None:
    key = KEYS[kind]
    facts = CertificateFacts("CN=client", "CN=root", NOW - DAY, NOW + DAY)
    assert check(client(key), pem_of(key), NOW) == facts
    assert check(client(key) + ROOT, pem_of(key), NOW) == facts  # with its chain behind it
    client_context(client(key) + ROOT, pem_of(key))


UNUSABLE: dict[str, Callable[[], tuple[str, str]]] = {
    "not the certificate's": lambda: (client(KEYS["rsa"]), pem_of(KEY)),
    "another public key": lambda: (ROOT + client(KEY), pem_of(KEY)),  # the client's own has to come first
    r"expired on \d{4}-\d\d-\d\d": lambda: (client(KEY, end=NOW - timedelta(hours=1)), pem_of(KEY)),
    "not valid before": lambda: (client(KEY, start=NOW + timedelta(hours=1)), pem_of(KEY)),
    "locked with a password": lambda: (client(KEY), pem_of(KEY, BestAvailableEncryption(b"x"))),
    "holds more than 10 certificates": lambda: (ROOT * 11, pem_of(AUTHORITY)),
    "certificate is longer than 65536": lambda: ("-" * 65_537, pem_of(KEY)),
    "private key is longer than 65536": lambda: (client(KEY), "-" * 65_537),
}


@pytest.mark.parametrize("message", UNUSABLE)
def test_what_cannot_be_used_is_explained(message: str) -> None:
    certificate, key = UNUSABLE[message]()
    with pytest.raises(CertificateError, match=message):
        check(certificate, key, NOW)


@pytest.mark.parametrize(
    "text", ["", "canary", "canary é", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_what_is_no_pem_is_explained_and_not_repeated(text: str) -> None:
    for certificate, key, message in (
        (text, pem_of(KEY), "certificate is not PEM"),
        (client(KEY), text, "private key is not PEM"),
        (pem_of(KEY), pem_of(KEY), "certificate is not PEM"),
        (client(KEY), client(KEY), "private key is not PEM"),
    ):
        with pytest.raises(CertificateError, match=message) as caught:
            check(certificate, key, NOW)
        assert "canary" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_context_of_what_was_never_checked_is_an_error_and_no_prompt() -> None:
    for certificate, key in (
        (client(KEYS["rsa"]), pem_of(KEY)),
        (client(KEY), pem_of(KEY, BestAvailableEncryption(b"x"))),
        ("", ""),
        (client(KEY), "é"),
    ):
        with pytest.raises(CertificateError, match="cannot be used together"):
            client_context(certificate, key)


def test_no_file_and_no_descriptor_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = len(list(Path("/dev/fd").iterdir()))
    client_context(client(KEY), pem_of(KEY))
    with pytest.raises(CertificateError):
        client_context(client(KEY), "nonsense")
    assert list(tmp_path.iterdir()) == []
    assert len(list(Path("/dev/fd").iterdir())) == before


@pytest.fixture
async def demanding(tmp_path: Path) -> AsyncIterator[int]:
    """The port of a server that talks to clients of ROOT's only, and says who called."""

    async def answer(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        shown = request.transport.get_extra_info("peercert")
        return web.Response(text=str(shown["subject"][0][0][1]))

    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "server.pem").write_text(
        issued(key, subject="server", by=("root", AUTHORITY), start=NOW - DAY, end=NOW + DAY) + pem_of(key)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=ROOT)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tmp_path / "server.pem")
    listener = socket.create_server(("127.0.0.1", 0))
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.SockSite(runner, listener, ssl_context=context).start()
    yield listener.getsockname()[1]
    await runner.cleanup()


def calling(context: ssl.SSLContext) -> ssl.SSLContext:
    context.load_verify_locations(cadata=ROOT)
    return context


async def test_a_server_that_demands_a_certificate_gets_it(demanding: int) -> None:
    """One session and two contexts: a connection that was opened with a certificate never serves a call without."""
    url = f"https://127.0.0.1:{demanding}/"
    shown = calling(await asyncio.to_thread(client_context, client(KEY) + ROOT, pem_of(KEY)))
    bare = calling(ssl.create_default_context())
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.get(url, ssl=shown) as answer:
                assert await answer.text() == "client"
        with pytest.raises((aiohttp.ClientError, ConnectionError, ssl.SSLError)):
            await session.get(url, ssl=bare)

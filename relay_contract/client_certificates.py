"""A target's client certificate (mTLS): whether certificate and key can be used, and a TLS context that shows them.

OpenSSL reads both from named files only. They are written to files without a name (memory, where the system has
`memfd`; elsewhere an unlinked temporary file) and opened through their descriptor, so that no key is left behind
whenever the process ends.

A check costs about 50 us; `client_context` 10 to 30 ms and 0.8 MB, nearly all of it the system's authorities: make one
for each target and version, off the event loop, and keep it. Connections must not be shared across contexts.
"""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import IO

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

MAX_PEM_BYTES = 65_536
MAX_CHAIN = 10


class CertificateError(ValueError):
    """A certificate or key that cannot be shown to a target. The text is one sentence and repeats nothing of a key."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What an operator wants to see of a certificate that was accepted. Times are in UTC."""

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime


def check(certificate: str, key: str, now: datetime) -> CertificateFacts:
    """CertificateError unless these are a certificate in PEM, its chain behind it, and the private key of the first.

    `now` is aware. A certificate that is not valid yet is refused too: a target would refuse it.
    """
    leaf = _leaf(certificate)
    private = _private(key)
    if leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != private:
        raise CertificateError(
            "The private key is not the certificate's: the first certificate has another public key."
        )
    facts = CertificateFacts(
        leaf.subject.rfc4514_string(), leaf.issuer.rfc4514_string(), leaf.not_valid_before_utc, leaf.not_valid_after_utc
    )
    if now > facts.not_after:
        raise CertificateError(f"The certificate expired on {facts.not_after:%Y-%m-%d}; ask its issuer for a new one.")
    if now < facts.not_before:
        raise CertificateError(f"The certificate is not valid before {facts.not_before:%Y-%m-%d %H:%M} UTC.")
    return facts


def client_context(certificate: str, key: str) -> ssl.SSLContext:
    """A context for calls out, as `ssl.create_default_context` makes it, that shows this certificate when asked.

    CertificateError where OpenSSL takes one of them for unusable, which `check` says in better words. Blocks.
    """
    context = ssl.create_default_context()
    with _nameless(certificate) as certificate_path, _nameless(key) as key_path:
        try:
            context.load_cert_chain(certificate_path, key_path, password="")  # never a prompt on a terminal
        except (ssl.SSLError, ValueError):
            raise CertificateError("The certificate and its private key cannot be used together.") from None
    return context


def _leaf(text: str) -> x509.Certificate:
    """The certificate that is the client's own: the first of its file (RFC 8446, section 4.4.2)."""
    if len(text) > MAX_PEM_BYTES:
        raise CertificateError(f"The certificate is longer than {MAX_PEM_BYTES} characters.")
    try:
        chain = x509.load_pem_x509_certificates(text.encode("ascii"))
        leaf = chain[0]
        leaf.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError("The certificate is not PEM that can be read (-----BEGIN CERTIFICATE-----).") from None
    if len(chain) > MAX_CHAIN:
        raise CertificateError(f"The certificate's chain holds more than {MAX_CHAIN} certificates.")
    return leaf


def _private(text: str) -> bytes:
    """The public half of the key, as DER."""
    if len(text) > MAX_PEM_BYTES:
        raise CertificateError(f"The private key is longer than {MAX_PEM_BYTES} characters.")
    try:
        key = load_pem_private_key(text.encode("ascii"), password=None)
    except TypeError:
        raise CertificateError(
            "The private key is locked with a password; decrypt it first, it is sealed here."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError("The private key is not PEM that can be read (-----BEGIN PRIVATE KEY-----).") from None
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@contextmanager
def _nameless(text: str) -> Iterator[str]:
    with _file() as file:
        file.write(text.encode("utf-8", "replace"))
        file.flush()
        file.seek(0)
        yield f"/dev/fd/{file.fileno()}"


def _file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("client-certificate", os.MFD_CLOEXEC), "w+b")
    return tempfile.TemporaryFile()

"""The keys of Standard Webhooks 1.0.0: `v1` (HMAC-SHA256, one shared secret) and `v1a` (ed25519, a pair).

    whsec_ + base64 of 24 to 64 bytes       shared: whoever can check a signature can make one
    whsk_  + base64 of 32 or 64 bytes       private: the seed, or the seed followed by the public key
    whpk_  + base64 of 32 bytes             public: checks signatures and makes none

The specification names the prefixes; that `whsk_` holds seed and public key is Svix's form (its server's README), and
the bare seed is what other senders write. Both are read, the first is written.

Pure. About 2 us per signature of `v1`, 30 us of `v1a` and 80 us for checking one. Decode a key once and keep it: it
may be shared by threads. Which files may import `cryptography` says tests/test_rooms.py.
"""

import base64
import binascii
import hmac
import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SECRET_PREFIX = "whsec_"  # noqa: S105 (a prefix, not a secret)
PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64

_NEW_SECRET_BYTES = 32
_SEED_BYTES = 32
_PAIR_BYTES = 64


class Scheme(StrEnum):
    """What a signature starts with."""

    HMAC = "v1"
    ED25519 = "v1a"


class SigningSecretError(ValueError):
    """A key has none of the forms above. The text says what is wrong and never repeats it."""


@dataclass(frozen=True, slots=True)
class HmacKey:
    """A shared secret, decoded."""

    key: bytes = field(repr=False)

    def signature(self, signed_content: bytes) -> str:
        """One element of `webhook-signature`, `v1,...`."""
        return "v1," + base64.b64encode(hmac.digest(self.key, signed_content, "sha256")).decode("ascii")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of a pair."""

    key: Ed25519PublicKey = field(repr=False)

    def text(self) -> str:
        """`whpk_...`, for whoever checks signatures."""
        return PUBLIC_PREFIX + base64.b64encode(self.key.public_bytes_raw()).decode("ascii")

    def verifies(self, signature: str, signed_content: bytes) -> bool:
        """Whether `v1a,...` is this key's signature. False for text of any other form."""
        try:
            self.key.verify(base64.b64decode(signature.removeprefix("v1a,"), validate=True), signed_content)
        except (InvalidSignature, ValueError):  # ValueError: not base64, or outside ASCII
            return False
        return True


@dataclass(frozen=True, slots=True)
class Ed25519Key:
    """The private half of a pair."""

    key: Ed25519PrivateKey = field(repr=False)

    def signature(self, signed_content: bytes) -> str:
        """One element of `webhook-signature`, `v1a,...`. The same bytes always have the same signature (RFC 8032)."""
        return "v1a," + base64.b64encode(self.key.sign(signed_content)).decode("ascii")

    def public(self) -> PublicKey:
        """The half that may be shown."""
        return PublicKey(self.key.public_key())


SigningKey: TypeAlias = HmacKey | Ed25519Key


def new_secret(scheme: Scheme = Scheme.HMAC) -> str:
    """A fresh secret, `whsec_...` or `whsk_...`. Store it sealed; show its owner the secret, or of a pair `public`."""
    if scheme is Scheme.HMAC:
        return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_NEW_SECRET_BYTES)).decode("ascii")
    key = Ed25519PrivateKey.generate()
    pair = key.private_bytes_raw() + key.public_key().public_bytes_raw()
    return PRIVATE_PREFIX + base64.b64encode(pair).decode("ascii")


def parse_secret(text: str) -> SigningKey:
    """Decode `whsec_...` or `whsk_...`. SigningSecretError says what is wrong with it."""
    if text.startswith(SECRET_PREFIX):
        return _hmac_key(_decoded(text, SECRET_PREFIX))
    if text.startswith(PRIVATE_PREFIX):
        return _private_key(_decoded(text, PRIVATE_PREFIX))
    if text.startswith(PUBLIC_PREFIX):
        raise SigningSecretError("`whpk_` is a public key, which checks signatures; signing needs its `whsk_` half")
    raise SigningSecretError("a signing secret starts with `whsec_`, or with `whsk_` for an asymmetric key")


def parse_public_key(text: str) -> PublicKey:
    """Decode `whpk_...`. SigningSecretError says what is wrong with it."""
    if not text.startswith(PUBLIC_PREFIX):
        raise SigningSecretError("a public key starts with `whpk_`")
    raw = _decoded(text, PUBLIC_PREFIX)
    if len(raw) != _SEED_BYTES:
        raise SigningSecretError(f"a public key holds {_SEED_BYTES} bytes after decoding, not {len(raw)}")
    return PublicKey(Ed25519PublicKey.from_public_bytes(raw))


def _hmac_key(raw: bytes) -> HmacKey:
    if not MIN_SECRET_BYTES <= len(raw) <= MAX_SECRET_BYTES:
        raise SigningSecretError(
            f"a signing secret holds {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes after decoding, not {len(raw)}"
        )
    return HmacKey(raw)


def _private_key(raw: bytes) -> Ed25519Key:
    if len(raw) not in (_SEED_BYTES, _PAIR_BYTES):
        raise SigningSecretError(
            f"a private key holds {_SEED_BYTES} or {_PAIR_BYTES} bytes after decoding, not {len(raw)}"
        )
    key = Ed25519PrivateKey.from_private_bytes(raw[:_SEED_BYTES])
    if len(raw) == _PAIR_BYTES and key.public_key().public_bytes_raw() != raw[_SEED_BYTES:]:
        raise SigningSecretError("the two halves of the private key do not belong together; was it copied whole?")
    return Ed25519Key(key)


def _decoded(text: str, prefix: str) -> bytes:
    try:
        return base64.b64decode(text[len(prefix) :], validate=True)
    except (binascii.Error, ValueError):  # ValueError: characters outside ASCII
        raise SigningSecretError(f"what follows `{prefix}` is not base64; was the key copied whole?") from None

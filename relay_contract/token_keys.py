"""The RSA keys that access tokens are signed with: made, stored, read again, published (RFC 7517).

Stored private keys are PKCS #8 in DER, sealed by who stores them; public ones SubjectPublicKeyInfo in DER. Of keys from
elsewhere only RSA ones of 2,048 to 4,096 bits are read, so that nobody can slip in one that is weak or slow to check.

Pure. Making a key takes some 100 ms, reading a public one 20 us: read once and keep.
"""

import base64
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

KEY_BITS: Final = 2_048
MOST_KEY_BITS: Final = 4_096

_EXPONENT = 65_537

PrivateKey = RSAPrivateKey
PublicKey = RSAPublicKey


class TokenKeyError(ValueError):
    """The bytes are no RSA key of ours. The text repeats nothing of them."""


def make() -> PrivateKey:
    """A new pair."""
    return generate_private_key(_EXPONENT, KEY_BITS)


def private_der(key: PrivateKey) -> bytes:
    """What is sealed and stored."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def public_der(key: PrivateKey) -> bytes:
    """What edges get."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def read_private(der: bytes) -> PrivateKey:
    """What `private_der` wrote. Raises TokenKeyError."""
    try:
        key = load_der_private_key(der, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TokenKeyError("it is no private key in DER") from None
    if not isinstance(key, RSAPrivateKey):
        raise TokenKeyError("it is no RSA key")
    _check_size(key.key_size)
    return key


def read_public(der: bytes) -> PublicKey:
    """What `public_der` wrote. Raises TokenKeyError."""
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        raise TokenKeyError("it is no public key in DER") from None
    if not isinstance(key, RSAPublicKey):
        raise TokenKeyError("it is no RSA key")
    _check_size(key.key_size)
    return key


def jwk(kid: str, key: PublicKey) -> dict[str, str]:
    """A member of a JWK Set (RFC 7517 section 5, RFC 7518 section 6.3.1)."""
    numbers = key.public_numbers()
    return {
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid,
        "n": _base64_uint(numbers.n), "e": _base64_uint(numbers.e),
    }  # fmt: skip


def _check_size(bits: int) -> None:
    if not KEY_BITS <= bits <= MOST_KEY_BITS:
        raise TokenKeyError(f"it has {bits} bits, and {KEY_BITS} to {MOST_KEY_BITS} are taken")


def _base64_uint(number: int) -> str:
    octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")

"""What relay keys, admin tokens and invitations look like, how they are minted, and what is stored of them.

    rk_live_<id12><secret32><crc6>    rk_test_...    ra_...    ri_...     all base62, one run of characters

- The prefix lets secret scanners and people recognise a leaked key, and tells live from test at a glance.
- The id is public: it is what lists, logs and support tickets show (`display`).
- The secret is 32 base62 characters, 190 bits from the system's generator.
- The checksum (CRC-32 of everything before it) tells a typo from an unknown key without a look-up. It is no secret and
  protects nothing: anyone can compute it.

Only `hash_token` of the whole token is stored; the token is shown once. A plain SHA-256 is the right hash here. Slow,
salted hashes (argon2, PBKDF2) make guessing dear where people choose the secret; nobody guesses 190 random bits at any
price per guess, equal secrets do not occur, and a slow hash would put 50 ms on every call.

Timing: look the digest up in a dict or an index, never the token itself. How far such a look-up gets before it fails
depends on the digest, which a caller cannot steer towards a stored one, so it tells nothing about any token. Where two
secrets are compared directly, use `hmac.compare_digest`, never `==`.

Pure: no I/O besides `secrets`.
"""

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass, field

from relay_contract.nouns import KeyMode

ID_LENGTH = 12
SECRET_LENGTH = 32
CHECKSUM_LENGTH = 6  # 62 ** 6 is the first power above 2 ** 32

RELAY_PREFIX = "rk_"
ADMIN_PREFIX = "ra_"
INVITATION_PREFIX = "ri_"

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY = rf"([0-9A-Za-z]{{{ID_LENGTH}}})[0-9A-Za-z]{{{SECRET_LENGTH}}}[0-9A-Za-z]{{{CHECKSUM_LENGTH}}}"
_RELAY_KEY = re.compile(rf"{RELAY_PREFIX}(live|test)_{_BODY}")
_ADMIN_TOKEN = re.compile(rf"{ADMIN_PREFIX}{_BODY}")


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A new token. `token` is shown to its owner once and never stored; `key_id` and `hash` (32 bytes) are stored."""

    token: str = field(repr=False)
    key_id: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """What a well-formed relay key says about itself. It need not exist."""

    mode: KeyMode
    key_id: str


def mint(mode: KeyMode) -> MintedKey:
    """A new relay key, `rk_live_...` or `rk_test_...`."""
    return _mint(f"{RELAY_PREFIX}{mode.value}_")


def mint_admin() -> MintedKey:
    """A new token for the control API, `ra_...`."""
    return _mint(ADMIN_PREFIX)


def mint_invitation() -> MintedKey:
    """What opens an invitation, `ri_...`."""
    return _mint(INVITATION_PREFIX)


def hash_token(token: str | bytes) -> bytes:
    """SHA-256 of the whole token, 32 bytes: what is stored and looked up. Takes any text a caller may send."""
    if isinstance(token, str):
        # Header values arrive with undecodable bytes as lone surrogates, which plain UTF-8 refuses to encode.
        token = token.encode("utf-8", "surrogatepass")
    return hashlib.sha256(token).digest()


def parse(token: str) -> ParsedKey | None:
    """Mode and id of a relay key, or None for what was never minted: another shape, or a checksum that is off."""
    shape = _RELAY_KEY.fullmatch(token)
    if shape is None or not _checksum_is_right(token):
        return None
    return ParsedKey(KeyMode(shape[1]), shape[2])


def parse_admin(token: str) -> str | None:
    """The id of an admin token, or None for what was never minted."""
    shape = _ADMIN_TOKEN.fullmatch(token)
    return shape[1] if shape is not None and _checksum_is_right(token) else None


def display(token: str) -> str:
    """What may be shown of a token ever after: prefix and id, `rk_live_<id12>…`. ValueError for another shape."""
    shape = _RELAY_KEY.fullmatch(token) or _ADMIN_TOKEN.fullmatch(token)
    if shape is None:
        raise ValueError("not a relay key or admin token")
    return f"{token[: -SECRET_LENGTH - CHECKSUM_LENGTH]}…"


def _mint(prefix: str) -> MintedKey:
    key_id = _random_base62(ID_LENGTH)
    unchecked = f"{prefix}{key_id}{_random_base62(SECRET_LENGTH)}"
    token = unchecked + _checksum(unchecked)
    return MintedKey(token=token, key_id=key_id, hash=hash_token(token))


def _random_base62(length: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(length))


def _checksum(unchecked: str) -> str:
    rest = zlib.crc32(unchecked.encode("ascii"))
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        rest, digit = divmod(rest, 62)
        digits = _BASE62[digit] + digits
    return digits


def _checksum_is_right(token: str) -> bool:
    return _checksum(token[:-CHECKSUM_LENGTH]) == token[-CHECKSUM_LENGTH:]

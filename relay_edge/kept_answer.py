"""The answer to a call that is made once, as it is kept for whoever sends the call again. Pure."""

import hashlib
from dataclasses import dataclass

import msgspec

from relay_contract.headers import CHARGE

_KEPT_PREFIXES = ("content-", "x-relay-")
_KEPT = frozenset({"request-id"})  # Anthropic's, under which the vendor knows the call
_PASSING = frozenset({408, 409, 425, 429})
_FIRST_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """A whole answer."""

    status: int
    lines: tuple[tuple[str, str], ...]  # that speak of the answer; those about its moment (limits, timing) are left out
    request_id: str  # of the call that got it
    body: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(KeptAnswer).decode


def is_final(status: int) -> bool:
    """Whether the same call would come to the same again: an answer, or a fault of the call itself."""
    return 200 <= status < 300 or (400 <= status < _FIRST_SERVER_ERROR and status not in _PASSING)


def kept_lines(head: bytes) -> tuple[tuple[str, str], ...]:
    """Those header lines of a rendered head (status line first, names in lower case) that are kept."""
    pairs = (line.partition(": ") for line in head.decode("latin-1").split("\r\n")[1:])
    return tuple((name, value) for name, _, value in pairs if _is_kept(name))


def _is_kept(name: str) -> bool:
    return name in _KEPT or (name.startswith(_KEPT_PREFIXES) and name != CHARGE)


def encoded(answer: KeptAnswer) -> bytes:
    """For Redis, once it is sealed."""
    return _encode(answer)


def decoded(kept: bytes) -> KeptAnswer:
    """Raises msgspec.DecodeError for what another version of the relay wrote."""
    return _decode(kept)


def digest_of_key(key: str) -> str:
    """What stands for a caller's key in Redis."""
    return hashlib.sha256(key.encode("ascii")).hexdigest()


def digest_of_call(operation: str, body: bytes) -> bytes:
    """32 bytes that tell one call from another. 0.5 to 2 ms for a megabyte."""
    digest = hashlib.sha256(operation.encode("ascii") + b"\0")
    digest.update(body)
    return digest.digest()

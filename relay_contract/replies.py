"""What a worker tells the edge of a sync delivery: the target's answer, or why there is none. Pure.

One message on the edge's channel: request id (16 bytes), status (2), flags (1), length of what follows (4), that many
bytes of JSON, then the body; of a fault the seconds after which to ask again, in digits, where they are known. Numbers
are unsigned, big end first. The JSON is the list of header lines of an answer, or the code of the fault where there is
none. A body above MAX_INLINE_BYTES does not travel on a channel, where Redis would cut the connection of an edge that
is slow to read: it lies under `keys.answer`, and a flag says so.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

import msgspec

from relay_contract.headers import CREDENTIALS, HOP_BY_HOP

MAX_INLINE_BYTES: Final = 262_144
MAX_ANSWER_BYTES: Final = 8_388_608
"""A longer answer is none: the caller is told so, and never gets a part of it as if it were the whole."""
MAX_KEPT_BYTES: Final = 262_144
"""Of an answer that a caller with the same Idempotency-Key may ask for again."""
MAX_RETRY_SECONDS: Final = 30
MAX_HEADERS: Final = 128
MAX_HEADER_BYTES: Final = 32_768

NO_ROOM: Final = "no_room"
"""Fault of a delivery whose target takes nothing at the moment: it was not called."""
TIMEOUT: Final = "timeout"
TOKEN_UNAVAILABLE: Final = "token_unavailable"  # noqa: S105 (a code)
"""Fault of a delivery whose target's token endpoint gave none: the target was not called."""

EDGE_DIGITS: Final = 16
"""Of the name that an edge process gives itself: random, so that a process which comes after it has another."""

_HEAD: Final = struct.Struct(">16sHBI")
_ELSEWHERE: Final = 1
_WAIT_DIGITS: Final = 2
_WITHHELD: Final = HOP_BY_HOP | CREDENTIALS
_decode_lines: Final = msgspec.json.Decoder(list[tuple[str, str]])
_decode_fault: Final = msgspec.json.Decoder(str)

Lines = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, or with `fault` none."""

    request_id: UUID
    status: int  # 0 with a fault
    lines: Lines = ()  # header lines, in latin-1: names as sent
    body: bytes = b""
    fault: str = ""
    is_elsewhere: bool = False  # the body lies under `keys.answer`
    retry_after_seconds: int = 0  # of NO_ROOM, 1 to MAX_RETRY_SECONDS; 0: nobody knows

    @property
    def is_large(self) -> bool:
        """Whether the body has to lie elsewhere."""
        return len(self.body) > MAX_INLINE_BYTES

    def pointing(self) -> "Reply":
        """The same without its body, which lies elsewhere."""
        return replace(self, body=b"", is_elsewhere=True)


def passed(raw: Iterable[tuple[bytes, bytes]]) -> Lines | None:
    """The header lines of a target's answer that leave the worker: nothing of its connection, what `Connection` names
    included (RFC 9110 section 7.6.1), and no credentials. None for more of them than anybody needs."""
    sent = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]
    options = ",".join(value for name, value in sent if name.lower() == "connection")
    withheld = _WITHHELD.union(option.strip().lower() for option in options.split(","))
    lines = tuple((name, value) for name, value in sent if name.lower() not in withheld)
    if len(lines) > MAX_HEADERS or sum(len(name) + len(value) for name, value in lines) > MAX_HEADER_BYTES:
        return None
    return lines


def as_object(lines: Lines) -> dict[str, str]:
    """The same as they are stored: names in lower case, repeated ones joined (RFC 9110 section 5.3)."""
    joined: dict[str, str] = {}
    for name, value in lines:
        lowered = name.lower()
        kept = value.replace("\0", "")  # which no JSON in Postgres holds
        joined[lowered] = f"{joined[lowered]}, {kept}" if lowered in joined else kept
    return joined


def encode(reply: Reply) -> bytes:
    """The message."""
    head = msgspec.json.encode(reply.fault or reply.lines)
    flags = _ELSEWHERE if reply.is_elsewhere else 0
    body = b"%d" % reply.retry_after_seconds if reply.retry_after_seconds else reply.body
    return _HEAD.pack(reply.request_id.bytes, reply.status, flags, len(head)) + head + body


def decode(message: bytes) -> Reply:
    """Raises ValueError for what no worker writes."""
    if len(message) < _HEAD.size:
        raise ValueError("a reply is shorter than its head")
    request_id, status, flags, length = _HEAD.unpack_from(message)
    start, end = _HEAD.size, _HEAD.size + length
    if end > len(message):
        raise ValueError("a reply is shorter than it says")
    text = message[start:end]
    if not status:
        wait = message[end : end + _WAIT_DIGITS]
        seconds = min(int(wait), MAX_RETRY_SECONDS) if wait.isdigit() else 0
        return Reply(UUID(bytes=request_id), 0, fault=_decode_fault.decode(text), retry_after_seconds=seconds)
    lines = tuple(_decode_lines.decode(text))
    return Reply(UUID(bytes=request_id), status, lines, message[end:], is_elsewhere=bool(flags & _ELSEWHERE))


def encode_call(edge: str, request_id: UUID) -> bytes:
    """What an edge publishes on `keys.SYNC_WAKE`: who waits for which answer."""
    return f"{edge} {request_id.hex}".encode("ascii")


def decode_call(message: bytes) -> tuple[UUID, str]:
    """The request and its edge. Raises ValueError for what no edge writes."""
    edge, _, request_id = message.decode("ascii").partition(" ")
    if len(edge) != EDGE_DIGITS or not edge.isalnum():
        raise ValueError("no name of an edge")
    return UUID(hex=request_id), edge

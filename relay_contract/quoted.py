"""What a target was shown and may quote in its answer, and answers without it. Pure.

A target that echoes what it was called with would give our credential for it to the caller. Whatever it quotes exactly
is covered by as many bytes as it has, so that lengths and framing stay true; what it quotes otherwise (compressed,
encoded, in parts) is not found. Nothing is looked for where a target is shown no credential.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from math import inf

from relay_contract.headers import CREDENTIALS
from relay_contract.logs import REDACTED, is_secret_name

MIN_BYTES = 8
"""Of what is covered in an answer. Shorter ones would be found where nobody quoted them."""
MIN_GUESSED_BYTES = 16
"""Of a header's value whose name only sounds like a credential's: `x-partition-key` has a short word."""

_SOUNDS_SECRET = re.compile(r"auth|token|secret|key|passw|credential|cookie|session")
_TEXT = re.compile(
    rb"text/|application/(x-www-form-urlencoded|([\w.-]+\+|x-)?(json|jsonl|ndjson|xml|yaml|javascript)\b)"
)

Lines = Iterable[tuple[bytes, bytes]]


def secrets_of(headers: Mapping[str, str]) -> tuple[bytes, ...]:
    """Of header lines that a target is sent, by lower-case name, what it may quote: the values of credentials, without
    their scheme, and of Basic the password too. Of `authorization` also what is too short for `Quotes`."""
    found: list[bytes] = []
    for name, value in headers.items():
        if len(value) >= _least(name):
            scheme, _, credential = value.rpartition(" ")
            found.append((credential if scheme else value).encode())
            if scheme.lower() == "basic":
                found.append(_password(credential))
    return tuple(filter(None, found))


def _least(name: str) -> float:
    """From how many bytes on a header's value is a credential."""
    if name == "authorization":
        return 0
    if name in CREDENTIALS or is_secret_name(name):
        return MIN_BYTES
    return MIN_GUESSED_BYTES if _SOUNDS_SECRET.search(name) else inf


def _password(credential: str) -> bytes:
    try:
        return base64.b64decode(credential).partition(b":")[2]
    except binascii.Error:
        return b""


def is_text(headers: Lines) -> bool:
    """Whether an answer's body is text as it stands: of a textual type, or of none, and not compressed."""
    kind = coding = b""
    for name, value in headers:
        match name.lower():
            case b"content-type":
                kind = value.strip().lower()
            case b"content-encoding":
                coding = value.strip().lower()
    return coding in (b"", b"identity") and (not kind or _TEXT.match(kind) is not None)


class Quotes:
    """Of a target's credentials those that are long enough. False where there is none. Of two that overlap in one place
    the longer is covered."""

    __slots__ = ("_covers",)

    def __init__(self, secrets: Iterable[bytes]) -> None:
        long = {secret for secret in secrets if len(secret) >= MIN_BYTES}
        self._covers = [(secret, _cover(len(secret))) for secret in sorted(long, key=len, reverse=True)]

    def __bool__(self) -> bool:
        return bool(self._covers)

    def covered(self, data: bytes) -> bytes:
        """The same bytes with every quote covered."""
        for secret, cover in self._covers:
            if secret in data:
                data = data.replace(secret, cover)
        return data

    def covered_lines(self, headers: Lines) -> list[tuple[bytes, bytes]]:
        """Header lines with every quote in a value covered."""
        return [(name, self.covered(value)) for name, value in headers]

    def begun(self, data: bytes) -> int:
        """How many bytes at its end may be the beginning of a quote. Nearly always none."""
        longest = 0
        for secret, _ in self._covers:
            for size in range(min(len(secret) - 1, len(data)), longest, -1):
                if data.endswith(secret[:size]):
                    longest = size
                    break
        return longest


class Passing:
    """A body that passes in parts: what may be the beginning of a quote waits for the next part."""

    __slots__ = ("_held", "_quotes")

    def __init__(self, quotes: Quotes) -> None:
        self._quotes = quotes
        self._held = b""

    def next(self, part: bytes, is_end: bool) -> bytes:
        """What may pass now."""
        data = self._quotes.covered(self._held + part)
        held = 0 if is_end else self._quotes.begun(data)
        self._held = data[len(data) - held :]
        return data[: len(data) - held]


def _cover(length: int) -> bytes:
    return REDACTED.encode().ljust(length, b"*") if length >= len(REDACTED) else b"*" * length

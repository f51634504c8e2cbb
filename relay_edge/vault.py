"""A secret out of HashiCorp Vault, OpenBao or whatever speaks their KV engine: one GET over the guarded pool.

Shapes (developer.hashicorp.com/vault/api-docs/secret/kv, read 2026-11): version 2 answers
`{"data": {"data": {field: value}, "metadata": ...}}`, version 1 `{"data": {field: value}}`. Redirects are not followed:
the token goes to the configured address and nowhere else.
"""

import asyncio
import re
from typing import Any
from urllib.parse import urlsplit

import msgspec

from relay_edge.small_answer import SmallAnswer
from relay_edge.upstream import Timeouts
from relay_edge.upstream_pool import UpstreamPool

MAX_READS = 8
"""At once: a catalog full of references must not flood the server."""
MAX_ANSWER_BYTES = 262_144
TIMEOUTS = Timeouts(connect=3.0, first_byte=5.0, idle=5.0, total=10.0)
DEFAULT_FIELD = "value"

_PLAIN = re.compile(r"[!-~]+")
_PORTS = {"http": 80, "https": 443}


class VaultError(Exception):
    """No value came. The text says why, and holds nothing of what was answered."""


class Vault:
    """One server, as the settings name it."""

    def __init__(self, pool: UpstreamPool, address: str, token: str) -> None:
        """`address` such as https://vault.example.com:8200; empty: there is none."""
        self._pool = pool
        self._address = address.rstrip("/")
        self._token = token
        self._turns = asyncio.Semaphore(MAX_READS)

    async def read(self, url: str) -> str:
        """The value at `https://host/v1/path#field`. Raises VaultError."""
        if not self._address or not self._token:
            raise VaultError("RELAY_VAULT_ADDR or RELAY_VAULT_TOKEN is not set")
        if not _PLAIN.fullmatch(self._token):
            raise VaultError("RELAY_VAULT_TOKEN holds characters that HTTP does not allow")
        place, _, field = url.partition("#")
        # The token must not go wherever somebody with a form can point: one server, written in the settings.
        if not place.startswith(f"{self._address}/v1/"):
            raise VaultError("it is not below RELAY_VAULT_ADDR and /v1/")
        parts = urlsplit(place)
        if not parts.hostname or not _PLAIN.fullmatch(place):
            raise VaultError("its URL is not a plain one")
        port = parts.port or _PORTS[parts.scheme]
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        head = (
            f"GET {target} HTTP/1.1\r\nhost: {parts.netloc}\r\nx-vault-token: {self._token}\r\n"
            "x-vault-request: true\r\naccept: application/json\r\naccept-encoding: identity\r\n"
            "user-agent: relay\r\n\r\n"
        )
        answer = SmallAnswer(MAX_ANSWER_BYTES)
        origin = self._pool.origin(parts.scheme, parts.hostname, port)
        async with self._turns:
            failure = await origin.exchange(head.encode("ascii"), answer, TIMEOUTS)
        if answer.is_too_large:
            raise VaultError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
        if failure is not None:
            raise VaultError(f"{failure.error.code}: {failure.error.public_text}")
        if answer.status != 200:
            raise VaultError(f"the answer's status is {answer.status}")
        return value_in(answer.body, field or DEFAULT_FIELD)


def value_in(body: bytes, field: str) -> str:
    """The field of a KV answer. Raises VaultError."""
    try:
        document: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise VaultError("the answer is not JSON") from None
    data = document.get("data") if isinstance(document, dict) else None
    if isinstance(data, dict) and isinstance(data.get("data"), dict) and "metadata" in data:
        data = data["data"]
    value = data.get(field) if isinstance(data, dict) else None
    if not isinstance(value, str):
        raise VaultError(f"the answer has no text under {field!r}")
    return value

"""Targets as something that the edge itself can send a call to: origin, deadlines, header lines, signing keys.

Prepared once for each snapshot, so that a changed target or secret is never used on; per call the head is put together
and signed (3 us, and half a microsecond for each KiB of the body). No I/O. Bounded: at MOST_TARGETS everything is
forgotten and made anew as it is asked for.
"""

import base64
import re
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Final
from urllib.parse import quote, urlsplit
from uuid import UUID

from relay_contract import headers, netguard
from relay_contract.nouns import Target, TargetAuth, target_auth_binding, target_secret_binding
from relay_contract.sealing import Sealer, SealingError
from relay_contract.signing import DatedKey, SigningSecretError, keys_at, parse_secret, signature_headers
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.relay_call import RelayCall
from relay_edge.upstream import Timeouts
from relay_edge.upstream_pool import Origin, UpstreamPool

MOST_TARGETS = 10_000
CONNECT_SECONDS = 5.0
MAX_ACCEPT_LENGTH = 1_024

_DEFAULT_PORTS = {"http": 80, "https": 443}
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_PLAIN: Final = re.compile(r"[\x21-\x7e]*")
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_ANYTHING = "*/*"
_ANY_ADDRESS = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


class TargetUnusableError(Exception):
    """A target is written so that no call can be sent to it. The text is for operators; no secret in it."""


@dataclass(frozen=True, slots=True)
class PreparedTarget:
    """Everything about a target that is the same for each call."""

    origin: Origin
    timeouts: Timeouts
    path: str  # with the URL's own query
    lines: bytes  # header lines of every request, the credential's among them
    static_names: frozenset[str]  # of headers among them, lower case: they win over the caller's
    keys: tuple[DatedKey, ...]
    answer_lines: bytes  # of ours, for the head of its answers


class TargetRequests:
    """One for each process."""

    __slots__ = ("_known", "_pool", "_sealer", "_snapshot")

    def __init__(self, pool: UpstreamPool, sealer: Sealer) -> None:
        self._pool = pool
        self._sealer = sealer
        self._snapshot: Snapshot | None = None
        self._known: dict[int, PreparedTarget] = {}

    def of(self, snapshot: Snapshot, target: Target) -> PreparedTarget:
        """Raises TargetUnusableError, each time anew: whoever mends the target makes another snapshot."""
        if snapshot is not self._snapshot or len(self._known) >= MOST_TARGETS:
            self._snapshot, self._known = snapshot, {}
        known = self._known.get(target.id)
        if known is None:
            known = self._known[target.id] = self._prepare(snapshot, target)
        return known

    def _prepare(self, snapshot: Snapshot, target: Target) -> PreparedTarget:
        if target.client_certificate:
            raise TargetUnusableError("the edge presents no client certificates")
        if not _PLAIN.fullmatch(target.name):
            raise TargetUnusableError("its name holds characters that no header may")
        scheme, host, port, path = _split(target.url)
        authority = f"[{host}]" if ":" in host else host
        if port != _DEFAULT_PORTS[scheme]:
            authority += f":{port}"
        static = self._static_headers(target)
        lines = {"host": authority, "accept-encoding": "identity", "user-agent": "Relay/1"} | static
        return PreparedTarget(
            self._pool.origin(scheme, host, port),
            Timeouts(
                connect=min(CONNECT_SECONDS, target.timeout_seconds),
                first_byte=target.timeout_seconds,
                idle=target.stream_idle_seconds,
                total=target.stream_total_seconds,
            ),
            path,
            "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode("ascii"),
            frozenset(lines),
            self._keys(snapshot, target),
            f"{headers.TARGET}: {target.name}\r\n".encode("ascii"),
        )

    def _static_headers(self, target: Target) -> dict[str, str]:
        try:
            for name, value in target.headers.value.items():
                netguard.check_header(name, value)
        except netguard.HeaderRefused as refused:
            raise TargetUnusableError(f"a static header is refused: {refused}") from refused
        return {name.lower(): value for name, value in target.headers.value.items()} | self._credential(target)

    def _credential(self, target: Target) -> dict[str, str]:
        if target.auth_kind is TargetAuth.NONE:
            return {}
        if target.auth_kind is TargetAuth.OAUTH2:
            raise TargetUnusableError("the edge fetches no OAuth2 tokens")
        try:
            secret = self._sealer.unseal(target.sealed_auth_secret, target_auth_binding(target.id))
        except SealingError as error:
            raise TargetUnusableError("its credential does not open with the master key") from error
        if target.auth_kind is TargetAuth.BASIC:
            pair = f"{target.auth_config.username}:{secret}".encode()
            return {"authorization": "Basic " + base64.b64encode(pair).decode("ascii")}
        if not secret or not _PLAIN.fullmatch(secret):
            raise TargetUnusableError("its token holds characters that HTTP does not allow")
        return {"authorization": f"Bearer {secret}"}

    def _keys(self, snapshot: Snapshot, target: Target) -> tuple[DatedKey, ...]:
        try:
            return tuple(
                DatedKey(
                    parse_secret(self._sealer.unseal(secret.sealed_value, target_secret_binding(secret.id))),
                    secret.created_at,
                    secret.expires_at,
                )
                for secret in snapshot.secrets_of(target.id)
            )
        except (SealingError, SigningSecretError) as error:
            raise TargetUnusableError("a signing secret does not open with the master key, or is none") from error


def packed(call: RelayCall, prepared: PreparedTarget, delivery_id: UUID, now: datetime) -> bytes:
    """One request, head and body. Later headers win: the caller's, the target's own, the relay's.

    Raises TargetUnusableError where all of its signing secrets have expired.
    """
    keys = keys_at(prepared.keys, now)
    if not keys:
        raise TargetUnusableError("none of its signing secrets signs any more")
    body, method, static = call.body, call.request.method, prepared.static_names
    lines = [f"{name}: {value}\r\n" for name, value in call.headers.items() if name not in static]
    if "accept" not in static:
        lines.append(f"accept: {_accepted(call)}\r\n")
    if call.content_type and "content-type" not in static and (body or method in _WITH_BODY):
        lines.append(f"content-type: {call.content_type}\r\n")
    lines += [
        f"{name}: {value}\r\n"
        for name, value in signature_headers(keys, str(call.request_id), int(now.timestamp()), body).items()
    ]
    lines.append(f"{headers.DELIVERY_ID}: {delivery_id}\r\n{headers.ATTEMPT}: 1\r\n")
    if body or method in _WITH_BODY:
        lines.append(f"content-length: {len(body)}\r\n")
    start = f"{method} {_with_query(prepared.path, call.request.rel_url.raw_query_string)} HTTP/1.1\r\n"
    return b"%b%b%b\r\n%b" % (start.encode("ascii"), prepared.lines, "".join(lines).encode("ascii"), body)


def _accepted(call: RelayCall) -> str:
    """What the caller takes: event streams are chosen by it."""
    value = call.request.headers.get("accept", _ANYTHING)
    return value if 0 < len(value) <= MAX_ACCEPT_LENGTH and _VALUE.fullmatch(value) else _ANYTHING


def _with_query(path: str, query: str) -> str:
    """The caller's query after the URL's own; what no request line may hold is escaped."""
    if not query:
        return path
    if not _PLAIN.fullmatch(query):
        query = quote(query.encode("utf-8", "surrogateescape"), safe="!$&'()*+,/:;=?@[]~%")
    return f"{path}{'&' if '?' in path else '?'}{query}"


def _split(url: str) -> tuple[str, str, int, str]:
    """Scheme, host without brackets, port, path with its query."""
    try:
        # Only the form: addresses are judged at each connection, where a name cannot hide one.
        netguard.check_url(url, allowed=_ANY_ADDRESS)
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (netguard.UrlRefused, ValueError, KeyError) as error:
        raise TargetUnusableError("its URL is not a plain http(s) URL") from error
    assert parts.hostname is not None  # check_url
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, parts.hostname, port, path

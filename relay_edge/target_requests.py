"""Targets as something that the edge itself can send a call to: origin, deadlines, header lines, signing keys, and for
some what they ask for besides: a token that is fetched, a client certificate.

Prepared once for each snapshot, so that a changed target or secret is never used on; per call the head is put together
and signed (3 us, and half a microsecond for each KiB of the body). No I/O. Bounded: at MOST_TARGETS everything is
forgotten and made anew as it is asked for.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote
from uuid import UUID

from relay_contract import client_certificates, headers, netguard
from relay_contract.client_certificates import CertificateError
from relay_contract.nouns import (
    Target,
    TargetAuth,
    target_auth_binding,
    target_client_key_binding,
    target_secret_binding,
)
from relay_contract.oauth2 import ClientCredentials
from relay_contract.quoted import Quotes, secrets_of
from relay_contract.sealing import Sealer, SealingError
from relay_contract.signing import DatedKey, SigningSecretError, keys_at, parse_secret, signature_headers
from relay_contract.target_auth import read_credential
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.origin_urls import OriginUrl, UrlUnusableError
from relay_edge.relay_call import RelayCall
from relay_edge.upstream import Timeouts
from relay_edge.upstream_pool import ClientCertificate, Origin, UpstreamPool

MOST_TARGETS = 10_000
CONNECT_SECONDS = 5.0
MAX_ACCEPT_LENGTH = 1_024

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_PLAIN: Final = re.compile(r"[\x21-\x7e]*")
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_ANYTHING = "*/*"


class TargetUnusableError(Exception):
    """A target is written so that no call can be sent to it. The text is for operators; no secret in it."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is got before a call can be sent. One of them at least is there."""

    key: tuple[int, int]  # the target's id and version
    url: OriginUrl
    token: ClientCredentials | None
    certificate: ClientCertificate | None
    shown_until: datetime | None  # when the certificate expires

    def check(self, now: datetime) -> None:
        """Raises TargetUnusableError where the certificate has expired since it was read."""
        if self.shown_until is not None and now > self.shown_until:
            raise TargetUnusableError("its client certificate has expired")


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
    credentials: Credentials | None  # None for most
    secrets: tuple[bytes, ...]  # that its answers may quote: of its static headers and its credential
    quotes: Quotes | None  # those that are long enough; None where there is none


class TargetRequests:
    """One for each process."""

    __slots__ = ("_known", "_sealer", "_snapshot", "pool")

    def __init__(self, pool: UpstreamPool, sealer: Sealer) -> None:
        self.pool = pool
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
        if not _PLAIN.fullmatch(target.name):
            raise TargetUnusableError("its name holds characters that no header may")
        try:
            url = OriginUrl.of(target.url)
        except UrlUnusableError as problem:
            raise TargetUnusableError(str(problem)) from problem
        credential = self._credential(target)
        token = credential if isinstance(credential, ClientCredentials) else None
        static = _static_headers(target) | ({"authorization": credential} if isinstance(credential, str) else {})
        secrets = secrets_of(static)
        certificate, until = self._certificate(target, url)
        lines = {"host": url.authority, "accept-encoding": "identity", "user-agent": "Relay/1"} | static
        return PreparedTarget(
            self.pool.origin(url.scheme, url.host, url.port),
            Timeouts(
                connect=min(CONNECT_SECONDS, target.timeout_seconds),
                first_byte=target.timeout_seconds,
                idle=target.stream_idle_seconds,
                total=target.stream_total_seconds,
            ),
            url.path,
            "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode("ascii"),
            frozenset({*lines, "authorization"} if token else lines),
            self._keys(snapshot, target),
            f"{headers.TARGET}: {target.name}\r\n".encode("ascii"),
            Credentials((target.id, target.version), url, token, certificate, until) if token or certificate else None,
            secrets,
            Quotes(secrets) or None,
        )

    def _credential(self, target: Target) -> str | ClientCredentials | None:
        if target.auth_kind is TargetAuth.NONE:
            return None
        try:
            secret = self._sealer.unseal(target.sealed_auth_secret, target_auth_binding(target.id))
        except SealingError as error:
            raise TargetUnusableError("its credential does not open with the master key") from error
        try:
            return read_credential(target.auth_kind, target.auth_config, secret)
        except ValueError as problem:
            raise TargetUnusableError(str(problem)) from None

    def _certificate(self, target: Target, url: OriginUrl) -> tuple[ClientCertificate | None, datetime | None]:
        """And when it expires."""
        if not target.client_certificate:
            return None, None
        if url.scheme != "https":
            raise TargetUnusableError("a client certificate is shown over https only")
        try:
            key = self._sealer.unseal(target.sealed_client_key, target_client_key_binding(target.id))
            facts = client_certificates.check(target.client_certificate, key, datetime.now(UTC))
        except SealingError as error:
            raise TargetUnusableError("its client key does not open with the master key") from error
        except CertificateError as problem:
            raise TargetUnusableError(str(problem)) from None
        return ClientCertificate(target.client_certificate, key), facts.not_after

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


def _static_headers(target: Target) -> dict[str, str]:
    try:
        for name, value in target.headers.value.items():
            netguard.check_header(name, value)
    except netguard.HeaderRefused as refused:
        raise TargetUnusableError(f"a static header is refused: {refused}") from refused
    return {name.lower(): value for name, value in target.headers.value.items()}


def packed(
    call: RelayCall, prepared: PreparedTarget, delivery_id: UUID, now: datetime, authorization: str = ""
) -> bytes:
    """One request, head and body. Later headers win: the caller's, the target's own, the relay's. `authorization`: that
    header's value where it was fetched.

    Raises TargetUnusableError where all of its signing secrets have expired.
    """
    keys = keys_at(prepared.keys, now)
    if not keys:
        raise TargetUnusableError("none of its signing secrets signs any more")
    body, method, static = call.body, call.request.method, prepared.static_names
    lines = [f"{name}: {value}\r\n" for name, value in call.headers.items() if name not in static]
    if authorization:
        lines.append(f"authorization: {authorization}\r\n")
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

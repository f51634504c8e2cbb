"""Candidates as something that a request can be sent to: address, header lines and deadlines, prepared once.

No I/O. One that cannot be used is logged once, and passed over until the catalog changes.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from relay_contract import headers
from relay_contract.errors import BadHeader
from relay_contract.logs import log_fields
from relay_contract.nouns import Host, HostBinding, HostBindingId, HostKey, HostKeyId, WireShape
from relay_contract.sealing import SealingError
from relay_edge.failover import MAX_TRIES
from relay_edge.protocols import HOST_SURFACES
from relay_edge.routing import Candidate
from relay_edge.upstream import Timeouts
from relay_edge.upstream_pool import Origin, UpstreamPool

logger = logging.getLogger(__name__)

MIN_SECRET_LENGTH = 8
IMPATIENT_SECONDS = 12.0
"""How long a stream's first token is waited for while another host or model could be tried: late enough for a busy
host, early enough that the caller is answered elsewhere within 15 s. A binding's own `first_token_timeout_ms` is never
cut short, for models that think in silence."""

_URL_PART = re.compile(r"[\x21-\x7e]*")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class HostUnusableError(Exception):
    """A host or its key is written so that no request can be made of it. The text is for operators; no secret in it."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host with one of its keys."""

    origin: Origin
    path: str  # of the base URL, without a trailing slash
    lines: bytes  # header lines of every request, the credential's among them
    secret: bytes  # the host key, for answers that quote it; b"" for one that is too short to be told from other text


@dataclass(frozen=True, slots=True)
class Destination:
    """Everything about a candidate that is the same for each call."""

    origin: Origin
    whole: Timeouts  # of a call without a stream
    stream: Timeouts
    impatient_stream: Timeouts  # while another host or model is left
    head: bytes  # request line and header lines, up to those of the single call
    stream_head: bytes  # the same for a stream
    secret: bytes  # as in Address
    host_lines: tuple[bytes, ...]  # `x-relay-*` lines for the first, second, ... try


class Destinations:
    """Prepared candidates; made anew for each snapshot, so that a changed key or host is never used on."""

    __slots__ = ("_known", "_pool", "_unseal")

    def __init__(self, pool: UpstreamPool, unseal: Callable[[HostKey], str]) -> None:
        """`unseal` may raise SealingError."""
        self._pool = pool
        self._unseal = unseal
        self._known: dict[tuple[HostBindingId, HostKeyId, str], Destination | None] = {}

    def of(self, candidate: Candidate, upstream_path: str = "") -> Destination | None:
        """None for a host or key of which no request can be made. `upstream_path`: as in `Operation`."""
        key = (candidate.binding.id, candidate.key.id, upstream_path)
        if key in self._known:
            return self._known[key]
        try:
            prepared = self._prepare(candidate, upstream_path)
        except HostUnusableError as problem:
            logger.error(  # noqa: TRY400  # the trace says no more than the problem
                "host_unusable",
                extra=log_fields(host=candidate.host.slug, host_key_id=candidate.key.id, problem=str(problem)),
            )
            prepared = None
        self._known[key] = prepared
        return prepared

    def address(self, host: Host, key: HostKey, shape: WireShape) -> Address:
        """Raises HostUnusableError."""
        scheme, name, port, path = _split_base_url(host)
        authority = f"[{name}]" if ":" in name else name
        if port != _DEFAULT_PORTS[scheme]:
            authority += f":{port}"
        try:
            value = self._unseal(key)
            credential = HOST_SURFACES[shape].credential_lines(value)
        except (SealingError, BadHeader) as error:
            raise HostUnusableError("its key cannot be opened, or holds characters that HTTP does not allow") from error
        lines = f"host: {authority}\r\naccept-encoding: identity\r\nuser-agent: relay\r\n"
        secret = value.encode() if len(value) >= MIN_SECRET_LENGTH else b""
        return Address(self._pool.origin(scheme, name, port), path, lines.encode("ascii") + credential, secret)

    def _prepare(self, candidate: Candidate, upstream_path: str) -> Destination:
        model_name, upstream_name = candidate.model.name, candidate.binding.upstream_name
        host, surface = candidate.host, HOST_SURFACES[candidate.binding.wire_shape]
        if not _URL_PART.fullmatch(model_name + host.slug):
            raise HostUnusableError("the name of the model or the host holds characters that HTTP does not allow")
        address = self.address(host, candidate.key, surface.shape)
        head, stream_head = (
            f"POST {address.path}{upstream_path or surface.path_for(upstream_name, is_stream)} HTTP/1.1\r\n"
            for is_stream in (False, True)
        )
        served_by = (
            f"{headers.SERVED_MODEL}: {model_name}\r\n{headers.SERVED_HOST}: {host.slug}\r\n{headers.ATTEMPTS}: "
        )
        whole, stream, impatient_stream = timeouts_of(host, candidate.binding)
        return Destination(
            origin=address.origin,
            whole=whole,
            stream=stream,
            impatient_stream=impatient_stream,
            head=head.encode("ascii") + address.lines,
            stream_head=stream_head.encode("ascii") + address.lines,
            secret=address.secret,
            host_lines=tuple(f"{served_by}{number}\r\n".encode("ascii") for number in range(1, MAX_TRIES + 1)),
        )


def timeouts_of_host(host: Host, binding: HostBinding | None = None) -> Timeouts:
    """Of a whole answer. A binding's own come first."""
    first_byte = idle = total = None
    if binding is not None:
        first_byte, idle, total = (
            binding.first_byte_timeout_ms, binding.idle_timeout_ms, binding.total_timeout_ms,
        )  # fmt: skip
    return Timeouts(
        connect=host.connect_timeout_ms / 1000,
        first_byte=(first_byte or host.first_byte_timeout_ms) / 1000,
        idle=(idle or host.idle_timeout_ms) / 1000,
        total=(total or host.total_timeout_ms) / 1000,
    )


def timeouts_of(host: Host, binding: HostBinding) -> tuple[Timeouts, Timeouts, Timeouts]:
    """Of a whole answer, of a stream, and of a stream while another host or model is left."""
    whole = timeouts_of_host(host, binding)
    first_token = (binding.first_token_timeout_ms or host.first_token_timeout_ms) / 1000
    stream = replace(whole, first_token=first_token)
    if binding.first_token_timeout_ms is not None:
        return whole, stream, stream
    return whole, stream, replace(whole, first_token=min(first_token, IMPATIENT_SECONDS))


def _split_base_url(host: Host) -> tuple[str, str, int, str]:
    """Scheme, host name without brackets, port, path without a trailing slash."""
    try:
        parts = urlsplit(host.base_url)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError) as error:
        raise HostUnusableError("its base URL is not an http(s) URL") from error
    path = parts.path.rstrip("/")
    if not parts.hostname or parts.query or parts.fragment or not _URL_PART.fullmatch(parts.hostname + path):
        raise HostUnusableError("its base URL is not a plain http(s) URL")
    return parts.scheme, parts.hostname, port, path

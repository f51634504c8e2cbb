"""A call's tries at its hosts, until one answers or nothing is left to try. At most three, always on another key.

| before the first byte | then |
|---|---|
| no connection, no answer in time, a cut or malformed answer | another host, else another key of this one |
| 401, 402, 403, 429, 5xx | another key, else another host |
| any other status | it is the caller's answer |
| the call cannot be said in the host's shape | another host; the caller's fault when there is none |

When nothing is left: a host's 429 or 5xx passes through with its bytes; 401, 402 and 403 are about *our* key, often
quote it, and would tell the caller that theirs is wrong, so they become NoHostKey. After the first byte nothing is
retried.
"""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from relay_contract.errors import BadHeader, BadRequest, NoHostKey, RelayError, UpstreamProtocolError
from relay_contract.ids import uuid7
from relay_contract.logs import log_fields
from relay_contract.nouns import Host, HostBindingId, HostKey, HostKeyId
from relay_contract.sealing import SealingError
from relay_edge.call_record import Attempt, CallRecord
from relay_edge.metrics import Metrics
from relay_edge.protocols import HOST_SURFACES
from relay_edge.protocols.model_name import ModelRequest
from relay_edge.protocols.translation import Translation, Translator
from relay_edge.routing import Blame, Candidate, Plan, next_candidate
from relay_edge.streaming import CallerStream
from relay_edge.translated import TranslatedAnswer
from relay_edge.upstream import Timeouts
from relay_edge.upstream_pool import Origin, UpstreamPool

logger = logging.getLogger(__name__)

MAX_TRIES = 3

_OUR_KEY_REFUSED = frozenset({401, 402, 403})
_WORTH_ANOTHER_KEY = _OUR_KEY_REFUSED | {429}
_URL_PART = re.compile(r"[\x21-\x7e]*")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ACCEPTS = {True: b"accept: text/event-stream\r\n", False: b"accept: application/json\r\n"}


class HostUnusableError(Exception):
    """A host or its key is written so that no request can be made of it. The text is for operators; no secret in it."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Everything about a candidate that is the same for each call."""

    origin: Origin
    timeouts: Timeouts
    head: bytes  # request line and header lines, up to those of the single call
    stream_head: bytes  # the same for a stream
    host_lines: tuple[bytes, ...]  # `x-relay-*` lines for the first, second, ... try


class Destinations:
    """Prepared candidates; made anew for each snapshot, so that a changed key or host is never used on.

    One that cannot be used is logged once, and passed over until the catalog changes.
    """

    __slots__ = ("_known", "_pool", "_unseal")

    def __init__(self, pool: UpstreamPool, unseal: Callable[[HostKey], str]) -> None:
        """`unseal` may raise SealingError."""
        self._pool = pool
        self._unseal = unseal
        self._known: dict[tuple[HostBindingId, HostKeyId], Destination | None] = {}

    def of(self, candidate: Candidate) -> Destination | None:
        """None for a host or key of which no request can be made."""
        key = (candidate.binding.id, candidate.key.id)
        if key in self._known:
            return self._known[key]
        try:
            prepared = self._prepare(candidate)
        except HostUnusableError as problem:
            logger.error(  # noqa: TRY400  # the trace says no more than the problem
                "host_unusable",
                extra=log_fields(host=candidate.host.slug, host_key_id=candidate.key.id, problem=str(problem)),
            )
            prepared = None
        self._known[key] = prepared
        return prepared

    def _prepare(self, candidate: Candidate) -> Destination:
        model_name, upstream_name = candidate.model.name, candidate.binding.upstream_name
        host, surface = candidate.host, HOST_SURFACES[candidate.binding.wire_shape]
        scheme, name, port, path = _split_base_url(host)
        if not _URL_PART.fullmatch(model_name + host.slug):
            raise HostUnusableError("the name of the model or the host holds characters that HTTP does not allow")
        authority = f"[{name}]" if ":" in name else name
        if port != _DEFAULT_PORTS[scheme]:
            authority += f":{port}"
        try:
            credential = surface.credential_lines(self._unseal(candidate.key))
        except (SealingError, BadHeader) as error:
            raise HostUnusableError("its key cannot be opened, or holds characters that HTTP does not allow") from error
        head, stream_head = (
            f"POST {path}{surface.path_for(upstream_name, is_stream)} HTTP/1.1\r\nhost: {authority}\r\n"
            "content-type: application/json\r\naccept-encoding: identity\r\nuser-agent: relay\r\n"
            for is_stream in (False, True)
        )
        served_by = f"x-relay-model: {model_name}\r\nx-relay-host: {host.slug}\r\nx-relay-attempts: "
        return Destination(
            origin=self._pool.origin(scheme, name, port),
            timeouts=_timeouts(host),
            head=head.encode("ascii") + credential,
            stream_head=stream_head.encode("ascii") + credential,
            host_lines=tuple(f"{served_by}{number}\r\n".encode("ascii") for number in range(1, MAX_TRIES + 1)),
        )


def _timeouts(host: Host) -> Timeouts:
    return Timeouts(
        connect=host.connect_timeout_ms / 1000,
        first_byte=host.first_byte_timeout_ms / 1000,
        idle=host.idle_timeout_ms / 1000,
        total=host.total_timeout_ms / 1000,
    )


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


class Call:
    """One caller's request on its way: made once, `run` once."""

    __slots__ = ("_candidate", "_destinations", "_leg", "_metrics", "_plan", "_record", "_translator", "_tried")

    def __init__(self, plan: Plan, destinations: Destinations, metrics: Metrics, record: CallRecord) -> None:
        self._plan = plan
        self._leg = plan.legs[0]
        self._destinations = destinations
        self._metrics = metrics
        self._record = record
        self._candidate = self._leg.candidates[0]
        self._tried: list[tuple[Candidate, Blame]] = []
        self._translator: Translator | None = None

    def refuses(self, status: int) -> bool:
        """Whether such an answer is kept from the caller: something is left to try, or it is about our key."""
        if status < 500 and status not in _WORTH_ANOTHER_KEY:
            return False
        return status in _OUR_KEY_REFUSED or self._next(Blame.KEY) is not None

    async def run(self, request: ModelRequest, caller_lines: bytes, stream: CallerStream) -> None:
        """Returns once an answer was passed on whole. Raises a RelayError when there is none, or when it was cut
        (`stream.has_started`)."""
        first: RelayError | None = None
        while True:
            self._record.candidate = self._candidate
            self._record.attempts.append(Attempt(self._candidate, time.monotonic()))
            error, blame = await self._try(request, caller_lines, stream)
            if error is None:
                return
            if stream.has_started:
                raise error
            if first is None or not isinstance(error, BadRequest):  # that one host cannot be told is not the reason
                first = error
            following = self._next(blame)
            if following is None:
                raise first
            self._tried.append((self._candidate, blame))
            self._candidate = following

    def _next(self, blame: Blame) -> Candidate | None:
        if len(self._tried) + 1 >= MAX_TRIES:
            return None
        return next_candidate(self._leg, [*self._tried, (self._candidate, blame)])

    async def _try(
        self, request: ModelRequest, caller_lines: bytes, stream: CallerStream
    ) -> tuple[RelayError | None, Blame]:
        candidate = self._candidate
        destination = self._destinations.of(candidate)
        if destination is None:
            return NoHostKey(), Blame.KEY
        host_lines = destination.host_lines[len(self._tried)]
        translated = None
        if candidate.binding.wire_shape is self._plan.shape:
            body = request.for_model(candidate.binding.upstream_name)
            stream.next_try(host_lines)
        else:
            try:
                translation = self._translation(request, candidate)
            except BadRequest as error:
                return error, Blame.HOST
            body, caller_lines = translation.body, HOST_SURFACES[candidate.binding.wire_shape].caller_lines({})
            translated = TranslatedAnswer(stream, translation, host_lines)
        packed = b"%b%b%bcontent-length: %d\r\n\r\n%b" % (
            destination.stream_head if request.is_stream else destination.head,
            caller_lines,
            _ACCEPTS[request.is_stream],
            len(body),
            body,
        )
        self._metrics.upstream_attempts.value += 1
        failure = await destination.origin.exchange(packed, translated or stream, destination.timeouts)
        if translated is not None:
            failure = translated.settle(failure)
        if failure is not None:
            self._metrics.upstream_failure(failure.error)
            return failure.error, Blame.HOST
        if stream.refused_status:
            return _refusal(stream.refused_status), Blame.KEY
        return None, Blame.KEY

    def _translation(self, request: ModelRequest, candidate: Candidate) -> Translation:
        """Raises BadRequest for what the host's shape has no words for."""
        if self._translator is None:
            self._translator = Translator(
                self._plan.shape,
                request.body,
                created=int(time.time()),
                fallback_id=uuid7().hex,
                is_strict=self._plan.is_strict,
            )
        binding = candidate.binding
        return self._translator.to(binding.wire_shape, binding.upstream_name, candidate.model.capabilities)


def _refusal(status: int) -> RelayError:
    """What a refused answer means when nothing else is left to try."""
    if status in _OUR_KEY_REFUSED:
        return NoHostKey("The host refused the relay's own key for this model. An operator has to replace it.")
    return UpstreamProtocolError()

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

from relay_contract.errors import (
    BadHeader,
    BadRequest,
    NoHostKey,
    RelayError,
    UpstreamConnectError,
    UpstreamProtocolError,
    UpstreamTimeout,
)
from relay_contract.ids import uuid7
from relay_contract.logs import log_fields
from relay_contract.nouns import Host, HostBindingId, HostKey, HostKeyId
from relay_contract.sealing import SealingError
from relay_contract.traffic import FailureClass
from relay_edge.admission import Admission, Reservation
from relay_edge.call_record import Attempt, CallRecord
from relay_edge.metrics import Metrics
from relay_edge.offers import Offer, Offers
from relay_edge.protocols import SURFACES
from relay_edge.protocols.model_name import ModelRequest
from relay_edge.protocols.translation import Translation, Translator
from relay_edge.routing import Blame, Candidate, Plan, next_candidate
from relay_edge.selection import Load
from relay_edge.streaming import CallerStream
from relay_edge.translated import TranslatedAnswer
from relay_edge.upstream import Timeouts
from relay_edge.upstream_pool import Origin, UpstreamPool

logger = logging.getLogger(__name__)

MAX_TRIES = 3
MIN_SECRET_LENGTH = 8

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
    secret: bytes  # the host key, for answers that quote it; b"" for one that is too short to be told from other text
    head: bytes  # request line and header lines, up to those of the single call
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
        model_name = candidate.model.name
        host, surface = candidate.host, SURFACES[candidate.binding.wire_shape]
        scheme, name, port, path = _split_base_url(host)
        if not _URL_PART.fullmatch(model_name + host.slug):
            raise HostUnusableError("the name of the model or the host holds characters that HTTP does not allow")
        authority = f"[{name}]" if ":" in name else name
        if port != _DEFAULT_PORTS[scheme]:
            authority += f":{port}"
        try:
            value = self._unseal(candidate.key)
            credential = surface.credential_lines(value)
        except (SealingError, BadHeader) as error:
            raise HostUnusableError("its key cannot be opened, or holds characters that HTTP does not allow") from error
        head = (
            f"POST {path}{surface.upstream_path} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\n"
            "accept-encoding: identity\r\nuser-agent: relay\r\n"
        )
        served_by = f"x-relay-model: {model_name}\r\nx-relay-host: {host.slug}\r\nx-relay-attempts: "
        return Destination(
            origin=self._pool.origin(scheme, name, port),
            timeouts=_timeouts(host),
            secret=value.encode() if len(value) >= MIN_SECRET_LENGTH else b"",
            head=head.encode("ascii") + credential,
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


@dataclass(frozen=True, slots=True)
class Tickets:
    """What a call needs to go to another candidate."""

    admission: Admission
    reservation: Reservation
    offers: Offers
    offer: Offer  # the chosen one
    limit_lines: bytes


class Call:
    """One caller's request on its way: made once, `run` once."""

    __slots__ = (
        "_candidate", "_destinations", "_leg", "_load", "_metrics", "_offer", "_plan", "_record", "_tickets",
        "_translator", "_tried",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917
        self,
        plan: Plan,
        destinations: Destinations,
        metrics: Metrics,
        record: CallRecord,
        tickets: Tickets,
        load: Load,
    ) -> None:
        self._plan = plan
        self._leg = plan.legs[0]
        self._destinations = destinations
        self._metrics = metrics
        self._record = record
        self._load = load
        self._tickets = tickets
        self._offer = tickets.offer
        self._candidate = tickets.offer.candidate
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
            error, blame = await self._counted_try(request, caller_lines, stream)
            self._report(error, stream)
            if error is None:
                return
            if stream.has_started:
                raise error
            if first is None or not isinstance(error, BadRequest):  # that one host cannot be told is not the reason
                first = error
            if not await self._advance(blame):
                raise first

    async def _advance(self, blame: Blame) -> bool:
        """To the next candidate that can be had. False when there is none."""
        if len(self._tried) + 1 >= MAX_TRIES:
            return False
        self._tried.append((self._candidate, blame))
        keys = {candidate.key.id for candidate, _ in self._tried}
        silent_hosts = {candidate.host.id for candidate, blame in self._tried if blame is Blame.HOST}
        left = [candidate for candidate in self._leg.candidates if candidate.key.id not in keys]
        left.sort(key=lambda candidate: candidate.host.id in silent_hosts)
        offers = [offer for each in left if (offer := self._tickets.offers.of(each)) is not None]
        chosen = await self._tickets.admission.pick(self._tickets.reservation, offers)
        if chosen is None:
            return False
        self._offer = offers[chosen]
        self._candidate = self._offer.candidate
        return True

    def _report(self, error: RelayError | None, stream: CallerStream) -> None:
        """What the try says about the breakers."""
        breakers, reservation = self._tickets.admission.breakers, self._tickets.reservation
        status = stream.refused_status or (stream.status if error is None else 0)
        failure = _failure_class(error, status)
        if failure is not None:
            breakers.failed(self._offer, failure, None, reservation)
        elif error is None:
            breakers.succeeded(self._offer, reservation)

    def _next(self, blame: Blame) -> Candidate | None:
        if len(self._tried) + 1 >= MAX_TRIES:
            return None
        return next_candidate(self._leg, [*self._tried, (self._candidate, blame)])

    async def _counted_try(
        self, request: ModelRequest, caller_lines: bytes, stream: CallerStream
    ) -> tuple[RelayError | None, Blame]:
        """As `_try`, told to the load. A call that could not be said in the host's shape speaks against no host."""
        binding_id, started, failed = self._candidate.binding.id, time.monotonic(), False
        self._load.started(binding_id)
        try:
            error, blame = await self._try(request, caller_lines, stream)
            failed = error is not None and not isinstance(error, BadRequest)
            return error, blame
        finally:
            first = stream.first_sent_at
            self._load.ended(binding_id, None if first is None else first - started, failed)

    async def _try(
        self, request: ModelRequest, caller_lines: bytes, stream: CallerStream
    ) -> tuple[RelayError | None, Blame]:
        candidate = self._candidate
        destination = self._destinations.of(candidate)
        if destination is None:
            return NoHostKey(), Blame.KEY
        host_lines = destination.host_lines[len(self._tried)] + self._tickets.limit_lines
        stream.secret = destination.secret
        translated = None
        if candidate.binding.wire_shape is self._plan.shape:
            body = request.for_model(candidate.binding.upstream_name)
            stream.next_try(host_lines)
        else:
            try:
                translation = self._translation(request, candidate)
            except BadRequest as error:
                return error, Blame.HOST
            body, caller_lines = translation.body, SURFACES[candidate.binding.wire_shape].caller_lines({})
            translated = TranslatedAnswer(stream, translation, host_lines)
        packed = b"%b%b%bcontent-length: %d\r\n\r\n%b" % (
            destination.head,
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
                self._plan.shape, request.body, created=int(time.time()), fallback_id=uuid7().hex
            )
        return self._translator.to(candidate.binding.wire_shape, candidate.binding.upstream_name)


_STATUS_CLASSES = {
    401: FailureClass.AUTH,
    402: FailureClass.QUOTA,
    403: FailureClass.AUTH,
    429: FailureClass.RATE_LIMIT,
    503: FailureClass.OVERLOADED,
    529: FailureClass.OVERLOADED,
}
_ERROR_CLASSES: dict[type[RelayError], FailureClass] = {
    UpstreamTimeout: FailureClass.TIMEOUT,
    UpstreamConnectError: FailureClass.NETWORK,
    UpstreamProtocolError: FailureClass.SERVER,
}


def _failure_class(error: RelayError | None, status: int) -> FailureClass | None:
    """What a try's end means for what it was tried on; None: nothing."""
    found = _STATUS_CLASSES.get(status) or (FailureClass.SERVER if status >= 500 else None)
    return found or (None if error is None else _ERROR_CLASSES.get(type(error)))


def _refusal(status: int) -> RelayError:
    """What a refused answer means when nothing else is left to try."""
    if status in _OUR_KEY_REFUSED:
        return NoHostKey("The host refused the relay's own key for this model. An operator has to replace it.")
    return UpstreamProtocolError()

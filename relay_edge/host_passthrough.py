"""`/passthrough/{host}/{path}`: a raw call to a host with one of its keys, for what the relay has no surface for.

A host's `passthrough_paths` list what may be called. The caller's policy has to grant everything on the host and deny
nothing there, since a raw call may name any model. Nobody knows beforehand what it uses, so a key under a limit of
tokens or cost or with a purse (`purses.py`) makes none, and neither does one whose policy wants a price for everything.
Bytes pass both ways.

Where a POST names a model as a binding of this host does, that binding's breaker guards the call and hears how it went;
else only the host key's does. A usage that the answer to such a POST tells is priced by the binding of the model that
answered, or that was asked; where there is none it is written down without a price.

Another key is tried where the host refuses the first (401, 402, 403, 429), which did nothing then. After any other
failure nobody knows what the host did, so the caller is told.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from relay_contract import headers
from relay_contract.errors import Forbidden, ModelUnpriced, NoHostKey, NotFound, UpstreamProtocolError
from relay_contract.nouns import Host, HostKey, WireShape
from relay_contract.traffic import ErrorSource, FailureClass
from relay_contract.usage import UsageSource
from relay_edge.call_record import CallRecord, Reached
from relay_edge.caller import Caller
from relay_edge.destinations import Address, HostUnusableError, timeouts_of_host
from relay_edge.failures import classify, retry_after_ms
from relay_edge.host_answer import Refusal
from relay_edge.inference import Inference, View, answered, none_left
from relay_edge.offers import KeyOffer
from relay_edge.passed import PassedAnswer
from relay_edge.priced import PriceRule, price_rule
from relay_edge.protocols import SURFACES, Operation
from relay_edge.protocols.anthropic_messages import VERSION_HEADER
from relay_edge.protocols.raw_calls import ANTHROPIC_RAW, OPENAI_RAW, RawWatch, named_model
from relay_edge.protocols.surface import sound_header
from relay_edge.raw_path import PREFIX, RawPath, read_raw_path
from relay_edge.refusals import tell, words_of
from relay_edge.reservation import Reservation
from relay_edge.routing import NO_POLICY, Candidate, Router, Turns
from relay_edge.streaming import CallerStream
from relay_edge.upstream import Head

MAX_KEYS = 3
"""Tried in one call."""

_KEY_REFUSED = frozenset({401, 402, 403, 429})
_KEY_FAILURES = frozenset({FailureClass.AUTH, FailureClass.QUOTA})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_NOT_GRANTED = "The policy of this relay key does not grant everything on this host, which a raw call takes."
_NOT_LIMITABLE = "This relay key is under a limit of tokens or cost, which a raw call cannot be held to."
_NOT_PAYABLE = "Calls of this relay key are paid beforehand or fall under a budget, which a raw call cannot be held to."
_NOT_PRICEABLE = "The policy of this relay key wants a price for every call, which a raw call cannot be held to."
_NOT_LISTED = "This path of the host may not be called. An operator lists what may."
_OUR_KEY_REFUSED = "The host refused the relay's own key. An operator has to replace it."


@dataclass(frozen=True, slots=True)
class _Way:
    """A host key that may be used."""

    key: HostKey
    candidate: Candidate | None  # that the model which was asked for stands for
    offer: KeyOffer
    address: Address


class RawAnswer(PassedAnswer):
    """Also of a HEAD, which has a length and no body."""

    __slots__ = ("_is_of_head", "_said")

    def __init__(self, stream: CallerStream, host_lines: bytes, watch: RawWatch, *, is_of_head: bool) -> None:
        super().__init__(stream, host_lines, lambda _hides_usage: watch)
        self._said = watch
        self._is_of_head = is_of_head

    @property
    def model(self) -> str:
        """See RawWatch."""
        return self._said.model

    def on_head(self, head: Head) -> bool:
        """See Receiver."""
        if not self._is_of_head:
            return super().on_head(head)
        self.status, self.first_byte = head.status, time.monotonic()
        if head.status in _KEY_REFUSED:
            self.refusal = Refusal(head)
        elif self._stream.begin(head, self._host_lines):
            self._stream.write(b"", True)
            self._is_done = True
        else:
            self._fail(UpstreamProtocolError())
        return False


class HostPassthrough:
    """The handler."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._turns = Turns()
        self.PREFIXES = {PREFIX: self.handle}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The host's answer. The relay's own errors are in Anthropic's shape for callers who say its version."""
        operation = ANTHROPIC_RAW if VERSION_HEADER in request.headers else OPENAI_RAW
        return await self._inference.serve(request, operation=operation, relay=self._relay)

    async def _relay(self, request: web.BaseRequest, operation: Operation, record: CallRecord) -> web.StreamResponse:
        inference = self._inference
        view, caller = inference.begin(request, operation, record)
        target = read_raw_path(request.raw_path)
        host, prices = _host(view, caller, target)
        body = await inference.body_of(request)
        record.bytes_in = len(body)
        shape = view.snapshot.host_shape(host.id) or WireShape.OPENAI_CHAT
        model = named_model(request.method, target.path, request.headers.get("Content-Type", ""), body)
        record.requested_model = model or ""
        ways = self._ways(view, prices, host, shape, model)
        if not ways:
            raise NoHostKey
        inference.may_capture(record, caller, body)
        reservation = await inference.admit(record, caller.charges, [way.offer for way in ways])
        try:
            if reservation.chosen is None:
                raise none_left(reservation.retry_after_seconds)
            stream = CallerStream(request, operation.surface, record.request_id, record.capture)
            call = RawCall(
                inference, request, stream, record, reservation,
                host=host, shape=shape, router=view.router, prices=prices,
            )  # fmt: skip
            return await answered(call.run(ways, target, body), stream, record)
        finally:
            inference.admission.settle(reservation)

    def _ways(self, view: View, prices: PriceRule, host: Host, shape: WireShape, model: str | None) -> list[_Way]:
        """The host's keys in turn."""
        ways: list[_Way] = []
        for key in view.snapshot.host_keys(host.id):
            candidate = None if model is None else view.router.named_at(prices, host, model, key)
            offer = view.offers.of_key(host, key) if candidate is None else view.offers.of(candidate)
            try:
                address = view.destinations.address(host, key, shape)
            except HostUnusableError:
                continue  # its candidates say so in the log
            if offer is not None:
                ways.append(_Way(key, candidate, offer, address))
        turn = self._turns.take(host.id) % len(ways) if len(ways) > 1 else 0
        return ways[turn:] + ways[:turn]


class RawCall:
    """One caller's raw call, with one key after the other."""

    def __init__(
        self,
        inference: Inference,
        request: web.BaseRequest,
        stream: CallerStream,
        record: CallRecord,
        reservation: Reservation,
        *,
        host: Host,
        shape: WireShape,
        router: Router,
        prices: PriceRule,
    ) -> None:
        self._inference = inference
        self._request = request
        self._stream = stream
        self._record = record
        self._reservation = reservation
        self._host = host
        self._shape = shape
        self._router = router
        self._prices = prices

    async def run(self, ways: Sequence[_Way], target: RawPath, body: bytes) -> None:
        """Returns once the caller has an answer. Raises RelayError."""
        assert self._reservation.chosen is not None
        lines = self._request_lines(body)
        chosen: int | None = self._reservation.chosen
        left = list(ways)
        for number in range(1, MAX_KEYS + 1):
            assert chosen is not None
            way = left.pop(chosen)
            refusal = await self._try(way, target, lines, body, number)
            if refusal is None:
                return
            chosen = None
            if refusal.head.status in _KEY_REFUSED and number < MAX_KEYS:
                chosen = await self._inference.admission.pick(self._reservation, [each.offer for each in left])
            if chosen is None:
                self._tell(refusal, way, number)
                return

    def _request_lines(self, body: bytes) -> bytes:
        """What the caller says, less what is about its own connection and credentials."""
        given = self._request.headers
        named = {name.strip().lower() for value in given.getall("Connection", ()) for name in value.split(",")}
        lines = b"".join(
            sound_header(name.lower(), value)
            for name, value in given.items()
            if headers.reaches_hosts(name.lower()) and name.lower() not in named
        )
        if self._shape is WireShape.ANTHROPIC_MESSAGES and VERSION_HEADER not in given:
            lines += SURFACES[self._shape].caller_lines({})
        if body or self._request.method in _WITH_BODY:
            lines += b"content-length: %d\r\n" % len(body)
        return lines

    async def _try(self, way: _Way, target: RawPath, lines: bytes, body: bytes, number: int) -> Refusal | None:
        """None: the caller has an answer. A failure after which nobody knows what was done is raised."""
        record, stream, method = self._record, self._stream, self._request.method
        record.reached = Reached(self._host, way.key, number)
        stream.secret = way.address.secret
        if record.capture is not None:
            record.capture.sent_with(way.address.secret)
        watch = RawWatch(self._shape, target.path)
        answer = RawAnswer(stream, self._host_lines(number), watch, is_of_head=method == "HEAD")
        start = f"{method} {way.address.path}{target.path}{target.query} HTTP/1.1\r\n".encode("ascii")
        packed = b"%b%b%b\r\n%b" % (start, way.address.lines, lines, body)
        started = time.monotonic()
        try:
            fault = answer.settle(await way.address.origin.exchange(packed, answer, timeouts_of_host(self._host)))
        finally:
            record.upstream_seconds += time.monotonic() - started
            self._note(way, answer)
        breakers = self._inference.admission.breakers
        if fault is not None:
            breakers.failed(way.offer, fault.failure, None, self._reservation)
            raise fault.error
        if answer.refusal is None:
            if record.usage is not None:
                record.usage_source = UsageSource.PROVIDER
            breakers.succeeded(way.offer, self._reservation)
            return None
        head = answer.refusal.head
        failure = classify(head.status, None)
        breakers.failed(way.offer, failure, retry_after_ms(head.headers, time.time()), self._reservation)
        if failure is FailureClass.AUTH:
            self._inference.reread(way.key)
        return answer.refusal

    def _note(self, way: _Way, answer: RawAnswer) -> None:
        """What is known however the try ended. Only a POST uses anything, and only where it names a model is that
        certain: one that changes or cancels what was made before is told its usage again."""
        record = self._record
        answer.read_usage()
        record.first_token = answer.first_token
        if self._request.method != "POST" or answer.usage is None:
            return
        record.usage, record.usage_source = answer.usage, UsageSource.PARTIAL
        record.delivered_characters = answer.delivered_characters
        if record.requested_model:
            record.candidate = self._router.named_at(self._prices, self._host, answer.model, way.key) or way.candidate

    def _host_lines(self, number: int) -> bytes:
        return f"{headers.SERVED_HOST}: {self._host.slug}\r\n{headers.ATTEMPTS}: {number}\r\n".encode("ascii")

    def _tell(self, refusal: Refusal, way: _Way, number: int) -> None:
        status = refusal.head.status
        failure = classify(status, None)
        if failure in _KEY_FAILURES:
            raise NoHostKey(_OUR_KEY_REFUSED)
        words = words_of(refusal, self._shape, None, self._stream.request_id, way.address.secret)
        source = ErrorSource.CLIENT if failure is FailureClass.CALLER else ErrorSource.UPSTREAM
        wait_ms = retry_after_ms(refusal.head.headers, time.time())
        if not tell(self._stream, words, self._host_lines(number), source, wait_ms):
            raise UpstreamProtocolError
        self._record.error, self._record.error_source = failure.value, source


def _host(view: View, caller: Caller, target: RawPath) -> tuple[Host, PriceRule]:
    """The host, where the caller may call it so, and what its calls are priced by. Raises NotFound, Forbidden,
    ModelUnpriced."""
    host = view.snapshot.host_by_slug(target.host)
    if host is None or not host.is_enabled:
        raise NotFound("No such host. The address is /passthrough/{host}/{path}.")
    if caller.policy is None:
        raise Forbidden(NO_POLICY)
    if not view.router.grants(caller.policy).of_whole_host(host.slug):
        raise Forbidden(_NOT_GRANTED)
    if caller.charges.set.counts_use:
        raise Forbidden(_NOT_LIMITABLE)
    if caller.purses.is_asked:
        raise Forbidden(_NOT_PAYABLE)
    prices = price_rule(view.snapshot, caller.policy)
    if prices.is_price_needed:
        raise ModelUnpriced(_NOT_PRICEABLE)
    if not target.is_in(host.passthrough_paths):
        raise NotFound(_NOT_LISTED)
    return host, prices

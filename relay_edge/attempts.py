"""A call's tries at its hosts, until one answers or nobody is left to try.

Until the first content has reached the caller any failure may go to another key, host or model (`failover.py` says to
whom, `failures.py` what a failure is); after it, none may. When nobody is left, the failure that says most is told: a
host's own answer with its bytes, or the relay's words. What is about *our* key (401, 402, 403, an empty account) would
tell the caller that theirs is wrong, so it becomes NoHostKey.

Each try has deadlines of its own; the total one of the first host bounds the whole call, every later try within it.
"""

import asyncio
import math
import time
from dataclasses import dataclass, replace

from relay_contract import headers
from relay_contract.errors import BadRequest, NoHostKey, RelayError, UpstreamProtocolError
from relay_contract.ids import uuid7
from relay_contract.traffic import ErrorSource, FailureClass
from relay_contract.usage import Usage, UsageSource
from relay_edge import server_timing
from relay_edge.call_record import Attempt, CallRecord
from relay_edge.call_rows import priced
from relay_edge.destinations import Destination, Destinations
from relay_edge.failover import (
    Tried,
    followers,
    is_last_hope,
    is_our_key_at_fault,
    is_the_call_at_fault,
    reported,
    shortest_wait_ms,
    worth_waiting_for,
)
from relay_edge.failures import MAX_RETRY_AFTER_MS, classify, retry_after_ms
from relay_edge.host_answer import HostAnswer, Refusal
from relay_edge.metrics import Metrics
from relay_edge.passed import PassedAnswer
from relay_edge.picker import Picker
from relay_edge.protocols import HOST_SURFACES, Operation
from relay_edge.protocols.form import FormRequest
from relay_edge.protocols.model_name import ModelRequest
from relay_edge.protocols.notes import Notes
from relay_edge.protocols.surface import sound_header
from relay_edge.protocols.translation import Translation, Translator
from relay_edge.refusals import Words, host_refusal, tell, words_of
from relay_edge.routing import Candidate, Plan
from relay_edge.streaming import CallerStream
from relay_edge.translated import TranslatedAnswer
from relay_edge.upstream import Timeouts

LATER_SECONDS = 0.02
"""A host that is waited for is asked a little later than it said: clocks differ, and its breaker's counts too."""

_CONVERSING = {
    True: b"content-type: application/json\r\naccept: text/event-stream\r\n",
    False: b"content-type: application/json\r\naccept: application/json\r\n",
}
_CHARGE = headers.CHARGE.encode("ascii")
_OUR_KEY_REFUSED = "The host refused the relay's own key for this model. An operator has to replace it."


@dataclass(frozen=True, slots=True)
class _Try(Tried):
    words: Words | None = None  # the host's own; None: `error` is what the caller is told


class Call:
    """One caller's request on its way: made once, `run` once."""

    __slots__ = (
        "_caller_lines", "_caller_notes", "_content_lines", "_deadline", "_destinations", "_limit_lines", "_metrics",
        "_operation", "_picker", "_plan", "_record", "_request", "_sent", "_stream", "_translator", "_tried",
    )  # fmt: skip

    def __init__(
        self,
        operation: Operation,
        plan: Plan,
        destinations: Destinations,
        picker: Picker,
        *,
        metrics: Metrics,
        record: CallRecord,
        request: ModelRequest | FormRequest,
        caller_lines: bytes,
        caller_notes: Notes | None = None,
        limit_lines: bytes = b"",
        stream: CallerStream,
    ) -> None:
        """`caller_lines`: the caller's headers that a host of its own shape has to see; `caller_notes`: what is not in
        them. `limit_lines`: header lines that tell the caller what is left of its limits."""
        self._operation = operation
        self._plan = plan
        self._destinations = destinations
        self._picker = picker
        self._metrics = metrics
        self._record = record
        self._request = request
        self._caller_lines = caller_lines
        self._caller_notes = caller_notes
        self._limit_lines = limit_lines
        self._stream = stream
        self._content_lines = _CONVERSING[request.is_stream] if operation.hosts is None else _content_lines(request)
        self._translator: Translator | None = None
        self._tried: list[_Try] = []
        self._sent = 0
        self._deadline = math.inf

    async def run(self) -> None:
        """Returns once the caller has an answer, be it a host's refusal. Raises a RelayError when there is none, or
        when it was cut (`stream.has_started`)."""
        candidate = self._picker.first(followers(self._plan, ()))
        while candidate is not None:
            tried = await self._try(candidate)
            if tried is None:
                return
            if self._stream.has_started:
                raise tried.error
            self._tried.append(tried)
            candidate = await self._next()
        self._give_up()

    async def _next(self) -> Candidate | None:
        now = time.monotonic()
        if now >= self._deadline:
            return None
        following = followers(self._plan, self._tried)
        if not following or following[0].model.id != self._plan.legs[0].model.id:
            patient = worth_waiting_for(self._plan, self._tried)
            if patient is not None and now + patient[1] < self._deadline:
                seconds = patient[1] + LATER_SECONDS
                self._record.upstream_seconds += seconds
                await asyncio.sleep(seconds)
                following = (patient[0], *following)
        return await self._picker.next(following) if following else None

    async def _try(self, candidate: Candidate) -> _Try | None:
        """None: the caller has a whole answer."""
        operation = self._operation
        destination = self._destinations.of(candidate, operation.upstream_path)
        if destination is None:
            return _Try(candidate, FailureClass.AUTH, NoHostKey(), is_sent=False)
        request, name = self._request, candidate.binding.upstream_name
        if operation.hosts is not None or isinstance(request, FormRequest):
            body, hides_usage = request.for_model(name), False
        elif candidate.binding.wire_shape is self._plan.shape:
            body, hides_usage = operation.surface.request_for(request, name)
        else:
            return await self._try_translated(candidate, destination)
        self._record.notes = self._caller_notes
        lines = self._lines(destination, self._sent) + self._warning_line()
        passed = PassedAnswer(self._stream, lines, operation.watch or operation.surface.watch, hides_usage=hides_usage)
        return await self._send(candidate, destination, self._caller_lines, body, answer=passed, translation=None)

    async def _try_translated(self, candidate: Candidate, destination: Destination) -> _Try | None:
        """The same at a host of another shape."""
        try:
            translation = self._translation(candidate)
        except BadRequest as error:
            return _Try(candidate, None, error, is_sent=False)
        self._record.notes = translation.notes
        translated = TranslatedAnswer(self._stream, self._lines(destination, self._sent), translation)
        lines = HOST_SURFACES[candidate.binding.wire_shape].caller_lines({})
        return await self._send(
            candidate, destination, lines, translation.body, answer=translated, translation=translation
        )

    def _lines(self, destination: Destination, place: int) -> bytes:
        """Header lines of ours for an answer of this host. `place`: how many tries were before it."""
        timing = server_timing.line(self._record, time.monotonic())
        return destination.host_lines[place] + self._limit_lines + timing

    def _warning_line(self) -> bytes:
        """What hosts of the caller's own shape are not told."""
        return b"" if self._caller_notes is None else self._caller_notes.header_line()

    def _translation(self, candidate: Candidate) -> Translation:
        """Raises BadRequest for what the host's shape has no words for."""
        if self._translator is None:
            self._translator = Translator(
                self._plan.shape,
                self._request.body,
                created=int(time.time()),
                fallback_id=uuid7().hex,
                is_strict=self._plan.is_strict,
            )
        binding = candidate.binding
        return self._translator.to(binding.wire_shape, binding.upstream_name, candidate.model.capabilities)

    async def _send(
        self,
        candidate: Candidate,
        destination: Destination,
        lines: bytes,
        body: bytes,
        *,
        answer: HostAnswer,
        translation: Translation | None,
    ) -> _Try | None:
        """`lines`: header lines of the call. None: the caller has a whole answer."""
        record = self._record
        packed = b"%b%b%bcontent-length: %d\r\n\r\n%b" % (
            destination.stream_head if self._request.is_stream else destination.head,
            lines,
            self._content_lines,
            len(body),
            body,
        )
        timeouts = self._timeouts(candidate, destination)
        self._sent += 1
        self._metrics.upstream_attempts.value += 1
        record.candidate = candidate
        attempt = Attempt(candidate, time.monotonic())
        record.attempts.append(attempt)
        self._picker.started(attempt)
        self._stream.secret = destination.secret
        answer.charge_line = self._charge_line
        if record.capture is not None:
            record.capture.sent_with(destination.secret)
        try:
            fault = answer.settle(await destination.origin.exchange(packed, answer, timeouts))
        except asyncio.CancelledError:
            attempt.has_left = True
            self._picker.left(attempt)
            raise
        finally:
            self._note(attempt, answer)
        if fault is None and answer.refusal is None:
            if record.usage is not None:
                record.usage_source = UsageSource.PROVIDER
            self._picker.succeeded(attempt)
            return None
        if fault is not None:
            self._metrics.upstream_failure(fault.error)
            tried = _Try(candidate, fault.failure, fault.error)
        else:
            assert answer.refusal is not None
            tried = self._refused(candidate, answer.refusal, translation)
        return self._failed(attempt, tried)

    def _charge_line(self, usage: Usage) -> bytes:
        bill = priced(self._record, usage, UsageSource.PROVIDER)
        if bill.cost_nanousd is None or self._record.paying is None:
            return b""
        self._record.told = bill
        return b"%b: %d\r\n" % (_CHARGE, bill.charge)

    def _timeouts(self, candidate: Candidate, destination: Destination) -> Timeouts:
        if not self._request.is_stream:
            timeouts = destination.whole
        elif is_last_hope(self._plan, self._tried, candidate):
            timeouts = destination.stream
        else:
            timeouts = self._stream.impatient(destination.impatient_stream)
        now = time.monotonic()
        if self._sent == 0:
            self._deadline = now + timeouts.total
            return timeouts
        left = self._deadline - now
        return replace(timeouts, connect=min(timeouts.connect, left), total=min(timeouts.total, left))

    def _note(self, attempt: Attempt, answer: HostAnswer) -> None:
        """What is known however the try ended, a caller who left included."""
        record = self._record
        attempt.ended = time.monotonic()
        attempt.status, attempt.first_byte, attempt.first_token = answer.status, answer.first_byte, answer.first_token
        record.upstream_seconds += attempt.ended - attempt.started
        answer.read_usage()
        record.first_token, record.usage, record.finish = answer.first_token, answer.usage, answer.finish
        record.delivered_characters = answer.delivered_characters
        if answer.usage is not None or self._stream.has_started:
            record.usage_source = UsageSource.PARTIAL

    def _refused(self, candidate: Candidate, refusal: Refusal, translation: Translation | None) -> _Try:
        said = host_refusal(refusal, candidate.binding.wire_shape)
        failure = classify(said.status, said.code)
        wait_ms = retry_after_ms(refusal.head.headers, time.time())
        if wait_ms is None and said.retry_after_seconds is not None:
            wait_ms = min(MAX_RETRY_AFTER_MS, round(said.retry_after_seconds * 1000))
        if is_our_key_at_fault(failure):
            return _Try(candidate, failure, NoHostKey(_OUR_KEY_REFUSED), retry_after_ms=wait_ms)
        words = words_of(refusal, self._plan.shape, translation, self._stream.request_id, self._stream.secret)
        return _Try(candidate, failure, UpstreamProtocolError(), retry_after_ms=wait_ms, words=words)

    def _failed(self, attempt: Attempt, tried: _Try) -> _Try:
        """Notes a failed try; of one that nobody saw, what it used does not count."""
        assert tried.failure is not None
        attempt.failure = tried.failure
        attempt.error = tried.error.code if tried.words is None else tried.failure.value
        if not self._stream.has_started:
            record = self._record
            record.first_token, record.usage, record.finish, record.usage_source = None, None, "", UsageSource.NONE
            record.delivered_characters = 0
        self._picker.failed(attempt, tried.retry_after_ms)
        return tried

    def _give_up(self) -> None:
        """The caller is told of the failure that says most. Raises it where the relay has the words."""
        if not self._tried:
            raise NoHostKey
        told, wait_ms = reported(self._plan, self._tried), shortest_wait_ms(self._tried)
        if told.is_sent:
            self._record.candidate = told.candidate
        if told.words is not None:
            destination = self._destinations.of(told.candidate, self._operation.upstream_path)
            assert destination is not None
            self._stream.secret = destination.secret
            source = ErrorSource.CLIENT if is_the_call_at_fault(told) else ErrorSource.UPSTREAM
            lines = self._lines(destination, self._sent - 1)
            if told.candidate.binding.wire_shape is self._plan.shape:
                lines += self._warning_line()
            if tell(self._stream, told.words, lines, source, wait_ms):
                assert told.failure is not None
                self._record.error, self._record.error_source = told.failure.value, source
                return
        raise self._last_error(told.error, wait_ms)

    def _last_error(self, error: RelayError, wait_ms: int | None) -> RelayError:
        if self._sent:
            error.add_attempts(self._sent)
        if wait_ms is not None and error.retryable:
            error.retry_after_seconds = wait_ms / 1000
        return error


def _content_lines(request: ModelRequest | FormRequest) -> bytes:
    """Of bytes that pass: what they are. Their answer may be anything."""
    content_type = request.content_type if isinstance(request, FormRequest) else "application/json"
    return b"%baccept: */*\r\n" % sound_header("content-type", content_type)

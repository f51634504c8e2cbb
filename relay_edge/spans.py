"""Calls as OpenTelemetry spans, where RELAY_OTLP_ENDPOINT names a collector: one of the call, one below it for each
try.

Names and attributes are those of the GenAI conventions (opentelemetry.io/docs/specs/semconv/gen-ai, 2026-11). A
caller's `traceparent` (w3.org/TR/trace-context) becomes the parent; one that says "not sampled" gets no spans. It is
not sent on to hosts, which are other people's and would learn which of their calls belong together.

Spans are made and sent by a thread of its own; OpenTelemetry is imported nowhere else, and only by who exports. Cost on
the response path: one append. What the collector does not take in time is dropped and counted.
"""

import asyncio
import logging
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from relay_contract.logs import log_fields
from relay_contract.nouns import WireShape
from relay_contract.pricing import NANOUSD
from relay_edge.call_record import Attempt, CallRecord
from relay_edge.call_rows import MAX_NAME_LENGTH, bill_of, requested_model
from relay_edge.later import Later
from relay_edge.metrics import Metrics

logger = logging.getLogger(__name__)

MOST_CALLS = 4_000
MOST_BATCHES = 16
"""That wait for the collector."""
SLICE = 256
EXPORT_SECONDS = 5.0
"""What one batch gets, retries included."""

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope("relay")
_FIRST_FAILURE = 400
_PORTS = {"http": 80, "https": 443}
_OPERATION = "chat"
_PROVIDERS = {
    WireShape.OPENAI_CHAT: "openai",
    WireShape.OPENAI_RESPONSES: "openai",
    WireShape.ANTHROPIC_MESSAGES: "anthropic",
    WireShape.GEMINI: "gcp.gemini",
}
"""Of the API that a host speaks; whose model it is the model's own provider may say otherwise."""

_Attributes = dict[str, AttributeValue]


class Spans:
    """One for each process; called with each call that ended."""

    def __init__(self, endpoint: str, headers: str, metrics: Metrics) -> None:
        """`endpoint`: of an OTLP/HTTP collector, without `/v1/traces`. `headers`: `name=value`, by comma."""
        self._exporter = OTLPSpanExporter(
            f"{endpoint.rstrip('/')}/v1/traces", headers=_pairs(headers), timeout=EXPORT_SECONDS
        )
        self._resource = Resource.create({"service.name": "relay"})
        counter = metrics.registry.counter
        self._exported = counter("relay_edge_spans_exported_total", "Spans that the collector took.")
        self._dropped = counter(
            "relay_edge_span_calls_dropped_total", "Calls without spans: the collector was slow, or refused them."
        )
        self._later = Later(self._send, most=MOST_CALLS, dropped=self._dropped, slice_items=SLICE)
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="spans")
        self._sending: dict[asyncio.Future[int], int] = {}  # and how many calls each is about

    def __call__(self, record: CallRecord) -> None:
        """Never waits."""
        self._later.add(record)

    async def close(self) -> None:
        """Sends what is left, within EXPORT_SECONDS."""
        self._later.flush()
        if self._sending:
            await asyncio.wait(self._sending, timeout=EXPORT_SECONDS)
        self._dropped.value += sum(self._sending.values())
        self._sender.shutdown(wait=False, cancel_futures=True)
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # theirs

    def _send(self, ended: list[CallRecord]) -> None:
        if len(self._sending) >= MOST_BATCHES:
            self._dropped.value += len(ended)
            return
        sending = asyncio.get_running_loop().run_in_executor(self._sender, self._export, ended)
        self._sending[sending] = len(ended)
        sending.add_done_callback(self._sent)

    def _sent(self, sending: asyncio.Future[int]) -> None:
        calls = self._sending.pop(sending)
        if sending.cancelled():
            return  # `close` has counted it
        error = sending.exception()
        if error is not None:
            logger.error("spans_failed", exc_info=error, extra=log_fields(calls=calls))
        exported = -1 if error is not None else sending.result()
        if exported < 0:
            self._dropped.value += calls
        else:
            self._exported.value += exported

    def _export(self, ended: list[CallRecord]) -> int:
        """How many spans the collector took; -1 when it took none of them. In the sender's thread."""
        spans = [span for record in ended for span in spans_of(record, self._resource)]
        if spans and self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            return -1
        return len(spans)


def spans_of(record: CallRecord, resource: Resource) -> list[ReadableSpan]:
    """The call's span, then one for each try; none where the caller's own trace is not sampled."""
    parent = _parent(record.traceparent)
    if parent is not None and not parent.trace_flags.sampled:
        return []
    trace_id = secrets.randbits(128) or 1 if parent is None else parent.trace_id
    own = _context(trace_id)
    offset = record.received_at - record.started  # from monotonic to Unix seconds
    failed = record.error or (str(record.status) if record.status >= _FIRST_FAILURE else "")
    call = ReadableSpan(
        f"{_OPERATION} {record.model if record.candidate else _asked_for(record)}".rstrip(),
        own,
        parent,
        resource,
        _of_call(record, failed),
        kind=SpanKind.SERVER,
        status=Status(StatusCode.ERROR) if failed else Status(StatusCode.UNSET),
        start_time=_ns(record.started + offset),
        end_time=_ns(record.ended + offset),
        instrumentation_scope=_SCOPE,
    )
    return [call, *(_try(record, attempt, own, resource, offset) for attempt in record.attempts)]


def _try(record: CallRecord, attempt: Attempt, parent: SpanContext, resource: Resource, offset: float) -> ReadableSpan:
    failed = attempt.failure or ("caller_left" if attempt.has_left else "")
    binding = attempt.candidate.binding
    url = urlsplit(attempt.candidate.host.base_url)
    attributes: _Attributes = {
        "gen_ai.operation.name": _OPERATION,
        "gen_ai.provider.name": _PROVIDERS[binding.wire_shape],
        "gen_ai.request.model": binding.upstream_name,
        "server.address": url.hostname or "",
        "server.port": url.port or _PORTS.get(url.scheme, 0),
        "relay.host": attempt.candidate.host.slug,
        "relay.host_key.id": attempt.candidate.key.id,
    }
    if attempt.status:
        attributes["http.response.status_code"] = attempt.status
    if attempt.first_token is not None:
        attributes["relay.first_token_ms"] = round((attempt.first_token - attempt.started) * 1000, 3)
    if failed:
        attributes["error.type"] = str(failed)
    elif record.finish:
        attributes["gen_ai.response.finish_reasons"] = (record.finish,)
    return ReadableSpan(
        f"{_OPERATION} {binding.upstream_name}",
        _context(parent.trace_id),
        parent,
        resource,
        attributes,
        kind=SpanKind.CLIENT,
        status=Status(StatusCode.ERROR) if failed else Status(StatusCode.UNSET),
        start_time=_ns(attempt.started + offset),
        end_time=_ns(max(attempt.ended, attempt.started) + offset),
        instrumentation_scope=_SCOPE,
    )


def _of_call(record: CallRecord, failed: str) -> _Attributes:
    bill, usage = bill_of(record), bill_of(record).usage
    attributes: _Attributes = {
        "gen_ai.operation.name": _OPERATION,
        "gen_ai.request.model": _asked_for(record),
        "gen_ai.request.stream": record.is_stream,
        "http.response.status_code": record.status,
        "relay.request_id": record.request_id,
        "relay.attempts": record.tries,
    }
    if record.candidate is not None:
        attributes["gen_ai.provider.name"] = _PROVIDERS[record.candidate.binding.wire_shape]
        attributes["gen_ai.response.model"] = record.candidate.binding.upstream_name
        attributes["relay.host"] = record.candidate.host.slug
        attributes["relay.model"] = record.candidate.model.name
    if record.relay_key_id is not None:
        attributes["relay.key.id"] = record.relay_key_id
    if record.application_id is not None:
        attributes["relay.application.id"] = record.application_id
    if record.project_id is not None:
        attributes["relay.project.id"] = record.project_id
    if bill.is_used:
        attributes["gen_ai.usage.input_tokens"] = usage.prompt_tokens
        attributes["gen_ai.usage.output_tokens"] = usage.all_output_tokens
        attributes["gen_ai.usage.cache_read.input_tokens"] = usage.cache_read_tokens
        attributes["gen_ai.usage.cache_creation.input_tokens"] = (
            usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        )
        if bill.cost_nanousd is not None:
            attributes["relay.cost_usd"] = bill.cost_nanousd / NANOUSD
    if record.finish:
        attributes["gen_ai.response.finish_reasons"] = (record.finish,)
    if record.first_token is not None:
        attributes["relay.first_token_ms"] = round((record.first_token - record.started) * 1000, 3)
    if failed:
        attributes["error.type"] = failed
    return attributes


def _asked_for(record: CallRecord) -> str:
    return requested_model(record)[:MAX_NAME_LENGTH]


def _parent(traceparent: str) -> SpanContext | None:
    found = _TRACEPARENT.fullmatch(traceparent.strip())
    if found is None or (traceparent.startswith("00") and len(traceparent.strip()) != 55):
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    return SpanContext(trace_id, span_id, True, TraceFlags(flags))


def _context(trace_id: int) -> SpanContext:
    return SpanContext(trace_id, secrets.randbits(64) or 1, False, _SAMPLED)


def _ns(unix_seconds: float) -> int:
    return int(unix_seconds * 1_000_000_000)


def _pairs(text: str) -> dict[str, str]:
    """`a=b,c=d`, as OTEL_EXPORTER_OTLP_HEADERS has it."""
    parts = (part.partition("=") for part in text.split(",") if "=" in part)
    return {name.strip(): value.strip() for name, _, value in parts}

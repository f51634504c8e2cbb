"""The rows in which the edge writes down what passed: calls, their traces, captured payloads, breakers that changed,
ends of sync and stream calls, calls to relay endpoints that were refused.

A batch of rows is one JSON array in one statement (`insert_statement`): a row of forty columns costs the edge a few
microseconds that way, and what could not be written is spilled to a file in the same form. `id` is the writer's, so
writing a batch twice is writing it once. Column names are the fields here; a test compares them with Django's models,
and the edge's database role may INSERT these columns and nothing else.
"""

from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, ClassVar, TypeAlias, get_args, get_origin
from uuid import UUID

from relay_contract import intake


class ErrorSource(StrEnum):
    """Whose fault an answer is; `x-relay-error-source`."""

    CLIENT = "client"
    RELAY = "relay"
    UPSTREAM = "upstream"


class BreakerKind(StrEnum):
    """What a breaker guards."""

    HOST_KEY = "host_key"  # known by its value, so that a replaced credential starts afresh
    BINDING = "binding"


class BreakerState(StrEnum):
    """closed -> open -> half_open -> slow_start -> closed."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"  # one call probes
    SLOW_START = "slow_start"  # closed again, with a growing share of the calls


class FailureClass(StrEnum):
    """What a failed try means for what it was tried on."""

    AUTH = "auth"  # 401, 403: the key is wrong
    QUOTA = "quota"  # 402, insufficient_quota: the account is empty
    RATE_LIMIT = "rate_limit"  # 429
    OVERLOADED = "overloaded"  # 529, 503
    SERVER = "server"  # other 5xx, an answer that is no answer
    TIMEOUT = "timeout"
    NETWORK = "network"
    CONTEXT_LENGTH = "context_length"  # the caller's prompt is too long for this model; speaks against nothing
    CONTENT_FILTER = "content_filter"  # the host refused the content; speaks against nothing
    CALLER = "caller"  # any other 4xx


@dataclass(frozen=True, slots=True)
class CallRow:
    """One call to a model, answered or not: what was used, what it cost, how long it took. Never dropped.

    `*_id` name catalog rows as they were; the names beside them stay readable when those rows are gone. NULL: there was
    none. Meters are `usage.Usage`. Times are microseconds. What has a default here came later: a row that was spilled
    before may be without it.
    """

    table: ClassVar[str] = "traffic_call"

    id: UUID
    request_id: str  # as the caller knows it: x-request-id
    received_at: datetime
    project_id: int
    relay_key_id: int | None  # None: an application's call
    user_id: int | None
    mode: str  # nouns.KeyMode
    surface: str  # e.g. chat_completions
    requested_model: str
    model_id: int | None
    model: str  # that answered, or was tried last
    host_id: int | None
    host: str
    host_key_id: int | None
    binding_id: int | None
    status: int  # as the caller saw it; 499 for a caller who left
    error: str  # code, or ""
    error_source: str  # ErrorSource, or ""
    finish: str  # canonical.Stop, or ""
    is_stream: bool
    attempts: int
    usage_source: str  # usage.UsageSource
    input_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    input_audio_tokens: int
    input_image_tokens: int
    output_tokens: int
    output_audio_tokens: int
    output_image_tokens: int
    reasoning_tokens: int
    server_tool_calls: int
    cost_nanousd: int | None  # None: not priced
    pricing_id: int | None
    tags: dict[str, str]
    total_us: int
    upstream_us: int  # part of it: from the first byte to a host to the end of its answer
    first_token_us: int | None  # from the caller's request to the first content
    bytes_in: int
    bytes_out: int
    input_audio_seconds: int = 0
    pricing_version: int = 0  # whose rates the cost was reckoned by; 0: no price, or of a time before versions
    estimated_price: bool = False  # the binding has none: it is the policy's
    application_id: int | None = None
    payer_id: int | None = None  # the account that is charged; None: of a time before there were any
    charge_microcredits: int = 0  # cost and mark-up
    markup_microcredits: int = 0
    terms_id: int | None = None  # that the mark-up is shared by
    generation: int | None = None  # of purses that it was admitted under; None: nobody asked a purse


@dataclass(frozen=True, slots=True)
class TraceRow:
    """How a call came to its answer: candidates, tries, limits, phases. Dropped and counted when the edge is behind."""

    table: ClassVar[str] = "traffic_trace"

    id: UUID  # of the call
    received_at: datetime
    trace: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CaptureRow:
    """What a call sent and received, redacted and cut to size, where its key or policy asks for it."""

    table: ClassVar[str] = "traffic_capture"

    id: UUID  # of the call
    received_at: datetime
    request: str
    response: str
    is_cut: bool


@dataclass(frozen=True, slots=True)
class BreakerEventRow:
    """A breaker that changed."""

    table: ClassVar[str] = "traffic_breakerevent"

    id: UUID
    at: datetime
    kind: str  # BreakerKind
    host: str
    host_key_id: int | None
    binding_id: int | None
    from_state: str  # BreakerState
    to_state: str
    reason: str  # FailureClass, or "probe", "recovered", "reset"
    open_ms: int  # until it is tried again; 0 where that is not the matter


class CloseReason(StrEnum):
    """Why there is no more of a stream (`RequestEndRow.close_reason`)."""

    COMPLETE = "complete"
    REFUSED = "refused"  # complete too, with a 4xx or 5xx of the target's
    CALLER_LEFT = "caller_left"
    TARGET_CUT = "target_cut"  # the target's connection ended before its answer did, or it spoke no HTTP
    TARGET_TIMEOUT = "target_timeout"  # no head in time
    IDLE_TIMEOUT = "idle_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    BYTE_CAP = "byte_cap"
    UNREACHABLE = "unreachable"
    ADDRESS_REFUSED = "address_refused"
    TOKEN_UNAVAILABLE = "token_unavailable"  # noqa: S105 (a code): no access token for the target, so it was not called
    SHUTDOWN = "shutdown"  # of the relay's process
    RELAY_ERROR = "relay_error"
    EDGE_LOST = "edge_lost"  # nobody told; of a row that a worker wrote in the edge's place


@dataclass(frozen=True, slots=True)
class RequestEndRow:
    """What the caller of a sync or stream target got in the end. Never dropped: streams are settled by it."""

    table: ClassVar[str] = "deliveries_requestend"

    id: UUID  # of the request
    delivery_id: UUID | None
    received_at: datetime
    status: int  # as the caller saw it; 0: nobody knows
    error: str  # code, or ""
    target_status: int | None  # None: the target never answered
    first_byte_us: int | None
    total_us: int
    bytes_out: int  # of the body, as far as it left
    heartbeats: int
    close_reason: str
    is_stream: bool
    url: str


@dataclass(frozen=True, slots=True)
class RefusedRequestRow(intake.RequestRow):
    """A call to a relay endpoint that was refused after its caller was known. Dropped and counted when the edge is
    behind: the caller has the answer."""


TrafficRow: TypeAlias = CallRow | TraceRow | CaptureRow | BreakerEventRow | RequestEndRow | RefusedRequestRow
TRAFFIC_ROWS: tuple[type[TrafficRow], ...] = (
    CallRow,
    TraceRow,
    CaptureRow,
    BreakerEventRow,
    RequestEndRow,
    RefusedRequestRow,
)

_SQL_TYPES: dict[type, str] = {
    UUID: "uuid",
    int: "bigint",
    str: "text",
    bool: "boolean",
    datetime: "timestamptz",
    dict: "jsonb",
}
_READ_AS = {"client_ip": "inet"}
_CASTS = {"headers": "::jsonb"}  # a JSON document that is already text


def columns(row: type[TrafficRow]) -> tuple[str, ...]:
    """Column names in the order of the fields."""
    return tuple(field.name for field in fields(row))


def _sql_type(hint: Any) -> str:
    options = [each for each in get_args(hint) if each is not NoneType] if isinstance(hint, UnionType) else [hint]
    return _SQL_TYPES[get_origin(options[0]) or options[0]]


def insert_statement(row: type[TrafficRow]) -> str:
    """Inserts a JSON array of rows, its one parameter; a row that is there already stays as it is."""
    listed = ", ".join(columns(row))
    typed = ", ".join(f"{field.name} {_READ_AS.get(field.name) or _sql_type(field.type)}" for field in fields(row))
    values = ", ".join(
        (field.name if field.default in (MISSING, None) else f"COALESCE({field.name}, {field.default})")
        + _CASTS.get(field.name, "")
        for field in fields(row)
    )
    return (
        f"INSERT INTO {row.table} ({listed}) SELECT {values} FROM jsonb_to_recordset(%s::jsonb) AS r({typed})"  # noqa: S608
        " ON CONFLICT DO NOTHING"  # with a conflict target the role would need SELECT
    )

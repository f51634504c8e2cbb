"""The rows that the edge writes for a call to a relay endpoint: the request, its body, one delivery for each of its
targets with the credits held for it, and the key that makes a call happen once.

The edge inserts a whole batch in one statement (`INSERT_BATCH`, or `INSERT_BATCH_KEYED` where a request has an
Idempotency-Key), which commits or fails as one. A delivery is a row of the queue (`deliveries_live`) until it is over
and a row of history (`deliveries_finished`) afterwards. `tests/contract/test_intake_matches_models.py` compares the
columns here with Django's models, and the edge's database role may INSERT these and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from types import NoneType
from typing import Any, ClassVar, TypeAlias, get_args
from uuid import UUID

from relay_contract.ids import uuid7_shifted

SHARDS = 4
"""Deliveries are dealt to shards by target, so that a wake-up names a part of the queue and not a row. Changing this
number only moves new rows: a worker claims from every shard below MAX_SHARDS that has due ones."""
MAX_SHARDS = 64
"""Shards below are drained by the async lane; those from here on have an owner of their own."""
SYNC_SHARDS = (64, 65)
"""Of deliveries whose answer a caller waits for; dealt by request, since one target must not queue behind itself."""
STREAM_SHARD = 127
"""Of deliveries that the edge makes itself. No worker claims them."""

_CALL_MS = 3_600_000


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"  # waits for next_attempt_at
    SENDING = "sending"  # leased by a worker; next_attempt_at is the end of the lease, after which it is due again
    WAITING = "waiting"  # is due, but its target has no room: let in again when there is some
    HELD = "held"  # its target is disabled: released or discarded by an operator
    DELIVERED = "delivered"
    DEAD = "dead"  # in the failure queue, until someone replays it
    DISCARDED = "discarded"  # an operator's choice


DUE_STATES = (DeliveryState.PENDING, DeliveryState.SENDING)
"""`next_attempt_at` says when a worker may take it."""
LIVE_STATES = (*DUE_STATES, DeliveryState.WAITING, DeliveryState.HELD)
"""Those of `deliveries_live`; the others are of `deliveries_finished`."""
FINISHED_STATES = (DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.DISCARDED)


class DeadReason(StrEnum):
    """Why a delivery ended without being delivered."""

    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    PERMANENT_FAILURE = "permanent_failure"
    TARGET_GONE = "target_gone"
    TARGET_DELETED = "target_deleted"
    ADDRESS_REFUSED = "address_refused"
    PAYLOAD_EXPIRED = "payload_expired"
    MAPPING_FAILED = "mapping_failed"
    EXPIRED = "expired"
    UNKNOWN_OUTCOME = "unknown_outcome"  # of a sync or stream delivery whose worker or edge died with it
    NO_ANSWER_IN_TIME = "no_answer_in_time"  # of a sync delivery that no worker took before its caller's deadline
    NO_ROOM = "no_room"  # of a sync delivery whose target takes nothing at the moment
    BLOCKED_KEY = "blocked_key"
    DISCARDED_BY_OPERATOR = "discarded_by_operator"


class Origin(StrEnum):
    """Who made a request."""

    CALLER = "caller"
    ALERT = "alert"  # the relay itself: such requests cost nothing and raise no alerts


def shard_of(target_id: int) -> int:
    """The shard of a target's async deliveries, 0 to SHARDS - 1."""
    return target_id % SHARDS


def sync_shard_of(request_id: UUID) -> int:
    """The shard of a request's sync delivery."""
    return SYNC_SHARDS[request_id.int % len(SYNC_SHARDS)]


def last_delivery_id(request_id: UUID) -> UUID:
    """No delivery of the request has an id from here on, and none has one below the request's own: they are made in its
    call. A look-up by request that says so reads a day's partition and not all of them."""
    return uuid7_shifted(request_id, _CALL_MS)


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A call. `headers` is a JSON object of the caller's headers that travel on, as text.

    `status` is what the caller was answered when the row was written, 0 where that was not known yet: of sync and
    stream calls `traffic.RequestEndRow` tells. None: refused before it was known, or a caller without a key.
    """

    table: ClassVar[str] = "deliveries_request"

    id: UUID
    project_id: int
    line_id: int | None
    endpoint_id: int | None
    relay_key_id: int | None
    mode: str  # nouns.KeyMode
    origin: str  # Origin
    received_at: datetime
    revision: int  # of the line's configuration
    method: str
    path: str  # raw, without its query
    query: str
    event_type: str
    caller_request_id: str  # x-request-id as sent, or ""
    client_ip: str
    content_type: str
    headers: str
    body_bytes: int
    target_count: int
    filtered_count: int  # targets whose conditions it did not meet
    status: int
    error: str  # code, or ""
    idempotency_key: str
    accept_us: int  # from its first byte to its commit's beginning


@dataclass(frozen=True, slots=True)
class PayloadRow:
    """A request's body, byte for byte, in a table of its own so that it can be forgotten before the request is."""

    table: ClassVar[str] = "deliveries_payload"

    request_id: UUID
    received_at: datetime
    body: bytes


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One request on its way to one target: the unit that support works with.

    When it is due (at once) and when it expires are reckoned by the database's clock: an edge whose clock is off must
    neither delay a delivery nor eat a caller's deadline.
    """

    table: ClassVar[str] = "deliveries_live"

    id: UUID
    request_id: UUID
    project_id: int
    target_id: int
    shard: int
    mode: str  # nouns.DeliveryMode
    is_shadow: bool
    is_compared: bool  # its answer is kept and compared with a sibling's
    key_mode: str  # nouns.KeyMode
    state: str  # DeliveryState
    revision: int
    created_at: datetime
    expire_seconds: int
    ordering_key: str | None
    body_bytes: int
    credits: int  # held for it, micro-credits
    relay_key_id: int | None  # who pays; of the ledger's row alone, as is:
    units: int  # credits.units of the body
    generation: int | None = None  # of the purses that it was let in by; None: nobody asked one


@dataclass(frozen=True, slots=True)
class IdempotencyRow:
    """An Idempotency-Key of an endpoint, and the first request that came with it."""

    table: ClassVar[str] = "deliveries_idempotency"

    endpoint_id: int
    key: str
    request_id: UUID
    body_hash: bytes
    keep_seconds: int


IntakeRow: TypeAlias = RequestRow | PayloadRow | DeliveryRow | IdempotencyRow
INTAKE_ROWS: tuple[type[IntakeRow], ...] = (RequestRow, PayloadRow, DeliveryRow, IdempotencyRow)

CHARGE_TABLE = "ledger_charge"
CHARGE_COLUMNS = (
    "delivery_id",
    "replay",
    "phase",
    "kind",
    "request_id",
    "project_id",
    "relay_key_id",
    "target_id",
    "key_mode",
    "micro_credits",
    "units",
    "generation",
)
"""What the edge inserts of a hold, beside the delivery it is for."""

_SQL_TYPES: dict[type, str] = {
    UUID: "uuid",
    int: "bigint",
    str: "text",
    bool: "boolean",
    datetime: "timestamptz",
    bytes: "bytea",
}
_STORED_AS: dict[str, dict[str, str]] = {  # table -> column -> expression over a row's fields; else the field itself
    RequestRow.table: {
        "line_id": "nullif(line_id, 0)",
        "endpoint_id": "nullif(endpoint_id, 0)",
        "relay_key_id": "nullif(relay_key_id, 0)",
        "client_ip": "client_ip::inet",
        "headers": "headers::jsonb",
    },
    DeliveryRow.table: {
        "next_attempt_at": "now()",
        "expires_at": "now() + make_interval(secs => expire_seconds)",
    },
    IdempotencyRow.table: {
        "created_at": "now()",
        "expires_at": "now() + make_interval(secs => keep_seconds)",
    },
}
_NULLABLE_NUMBERS = frozenset({"line_id", "endpoint_id", "relay_key_id", "generation"})
_NOT_STORED = {
    DeliveryRow.table: {"expire_seconds", "relay_key_id", "units", "generation"},
    IdempotencyRow.table: {"keep_seconds"},
}


def columns(row: type[IntakeRow]) -> tuple[str, ...]:
    """The columns that the edge fills, in the order in which it does."""
    stored = [field.name for field in fields(row) if field.name not in _NOT_STORED.get(row.table, ())]
    return (*stored, *(name for name in _STORED_AS.get(row.table, {}) if name not in stored))


def arrays(row: type[IntakeRow], rows: Sequence[IntakeRow]) -> list[list[Any]]:
    """The parameters of these rows: one array for each field. NULL among numbers travels as 0, which no id is: an array
    of nothing but None has no type in psycopg's binary form."""
    return [
        [getattr(each, name) or 0 for each in rows]
        if name in _NULLABLE_NUMBERS
        else [getattr(each, name) for each in rows]
        for name in (field.name for field in fields(row))
    ]


def _sql_type(hint: Any) -> str:
    return _SQL_TYPES[next((each for each in get_args(hint) if each is not NoneType), hint)]


def _rows(row: type[IntakeRow]) -> str:
    """The rows given, as something to select from: one array for each field."""
    arrays = ", ".join(f"%b::{_sql_type(field.type)}[]" for field in fields(row))
    return f"unnest({arrays}) AS r({', '.join(field.name for field in fields(row))})"


def _insert(row: type[IntakeRow], source: str, tail: str = "") -> str:
    names = columns(row)
    stored_as = _STORED_AS.get(row.table, {})
    values = ", ".join(stored_as.get(name, name) for name in names)
    return f"INSERT INTO {row.table} ({', '.join(names)}) SELECT {values} FROM {source}{tail}"  # noqa: S608


def _ctes(tail: str = "", of_request: str = "") -> str:
    """Requests, payloads, and the deliveries `d` with their holds. The tails may leave out rows, by request."""
    held = (
        "id, 0, 0, 'hold', request_id, project_id, nullif(relay_key_id, 0), target_id, key_mode, credits, units,"
        " nullif(generation, 0)"
    )
    return f"""
q AS ({_insert(RequestRow, _rows(RequestRow), tail.format("id"))}),
p AS ({_insert(PayloadRow, _rows(PayloadRow), of_request)}),
d AS MATERIALIZED (SELECT * FROM {_rows(DeliveryRow)}{of_request}),
h AS (INSERT INTO {CHARGE_TABLE} ({", ".join(CHARGE_COLUMNS)}) SELECT {held} FROM d)"""  # noqa: S608


INSERT_BATCH = f"WITH {_ctes()}\n{_insert(DeliveryRow, 'd')}"
"""One statement for a batch. Parameters: the `arrays` of RequestRow, then of PayloadRow, then of DeliveryRow."""

_WITHOUT_LOST = " WHERE {} NOT IN (SELECT request_id FROM lost)"

# In one order for all edges, so that two that have the same keys wait for each other and do not deadlock. Two equal
# keys of one batch have one winner as well: DO NOTHING sees the statement's own rows.
INSERT_BATCH_KEYED = f"""WITH k AS MATERIALIZED (SELECT * FROM {_rows(IdempotencyRow)}),
won AS ({_insert(IdempotencyRow, "k", " ORDER BY endpoint_id, key ON CONFLICT DO NOTHING RETURNING request_id")}),
lost AS MATERIALIZED (
    SELECT request_id FROM k WHERE NOT EXISTS (SELECT 1 FROM won WHERE won.request_id = k.request_id)
),{_ctes(_WITHOUT_LOST, _WITHOUT_LOST.format("request_id"))},
l AS ({_insert(DeliveryRow, "d")})
SELECT request_id FROM lost"""  # noqa: S608
"""The same where keys decide which requests of the batch exist at all. Parameters: those of IdempotencyRow, then
as above. Returns the ids of requests that came second: nothing of them is stored."""

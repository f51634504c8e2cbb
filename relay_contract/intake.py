"""The rows that the edge writes: an accepted request, its body, and one delivery for each of its targets.

The edge inserts a whole batch in one statement (`INSERT_BATCH`), which commits or fails as one. Column names are the
fields of the dataclasses here; `tests/contract/test_intake_matches_models.py` compares them with Django's models, and
the edge's database role may INSERT these columns and nothing else.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

SHARDS = 4
"""Deliveries are dealt to shards by target, so that a wake-up names a part of the queue and not a row. Changing this
number only moves new rows: a worker claims from every shard that has due ones."""


class DeliveryState(StrEnum):
    """Where a delivery stands. `pending` and `sending` are live: `next_attempt_at` says when a worker may take it."""

    PENDING = "pending"  # waits for next_attempt_at
    SENDING = "sending"  # leased by a worker; next_attempt_at is the end of the lease, after which it is due again
    DELIVERED = "delivered"
    DEAD = "dead"  # in the failure queue, until someone replays it


LIVE_STATES = (DeliveryState.PENDING, DeliveryState.SENDING)


def shard_of(target_id: int) -> int:
    """The shard of a target's deliveries, 0 to SHARDS - 1."""
    return target_id % SHARDS


@dataclass(frozen=True, slots=True)
class RequestRow:
    """An accepted call. `headers` is a JSON object of the caller's headers that travel on, as text."""

    table: ClassVar[str] = "deliveries_request"

    id: UUID
    project_id: int
    endpoint_id: int
    relay_key_id: int
    mode: str  # nouns.KeyMode
    received_at: datetime
    caller_request_id: str  # x-request-id as sent, or ""
    client_ip: str
    content_type: str
    headers: str
    body_bytes: int
    target_count: int


@dataclass(frozen=True, slots=True)
class PayloadRow:
    """A request's body, byte for byte, in a table of its own so that it can be forgotten before the request is."""

    table: ClassVar[str] = "deliveries_payload"

    request_id: UUID
    received_at: datetime
    body: bytes


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One request on its way to one target: the unit that support works with."""

    table: ClassVar[str] = "deliveries_delivery"

    id: UUID
    request_id: UUID
    project_id: int
    target_id: int
    shard: int
    state: str  # DeliveryState
    created_at: datetime
    next_attempt_at: datetime


_SQL_TYPES: dict[type, str] = {UUID: "uuid", int: "bigint", str: "text", datetime: "timestamptz", bytes: "bytea"}
_CASTS = {"headers": "::jsonb", "client_ip": "::inet", "shard": "::smallint", "body_bytes": "::integer"}


def columns(row: type[RequestRow | PayloadRow | DeliveryRow]) -> tuple[str, ...]:
    """Column names in the order of the fields."""
    return tuple(field.name for field in fields(row))


def _insert(row: type[RequestRow | PayloadRow | DeliveryRow]) -> str:
    names = columns(row)
    listed = ", ".join(names)
    arrays = ", ".join(f"%b::{_SQL_TYPES[field.type]}[]" for field in fields(row))  # type: ignore[index]  # no strings
    values = ", ".join(name + _CASTS.get(name, "") for name in names)
    return f"INSERT INTO {row.table} ({listed}) SELECT {values} FROM unnest({arrays}) AS r({listed})"  # noqa: S608


INSERT_BATCH = f"WITH r AS ({_insert(RequestRow)}), p AS ({_insert(PayloadRow)}) {_insert(DeliveryRow)}"
"""One statement for a batch. Parameters: one array for each field of RequestRow, then PayloadRow, then DeliveryRow."""

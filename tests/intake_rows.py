"""Rows as an edge makes them, for tests of every room: the smallest ones, with what a test says otherwise."""

from datetime import UTC, datetime
from typing import Any

from relay_contract import intake, nouns
from relay_contract.ids import uuid7

MOMENT = datetime(2026, 11, 21, 10, 0, 0, 123456, UTC)


def request_row(**columns: Any) -> intake.RequestRow:
    """A call of key 3 to endpoint 2 of project 1."""
    values: dict[str, Any] = {
        "id": uuid7(),
        "project_id": 1,
        "line_id": 1,
        "endpoint_id": 2,
        "relay_key_id": 3,
        "mode": "live",
        "origin": "caller",
        "received_at": MOMENT,
        "revision": 0,
        "method": "POST",
        "path": "/r/demo/v1/events",
        "query": "",
        "event_type": "",
        "caller_request_id": "",
        "client_ip": "192.0.2.1",
        "content_type": "application/json",
        "headers": "{}",
        "body_bytes": 0,
        "target_count": 0,
        "filtered_count": 0,
        "status": 202,
        "error": "",
        "idempotency_key": "",
        "accept_us": 0,
    }
    return intake.RequestRow(**values | columns)


def delivery_row(**columns: Any) -> intake.DeliveryRow:
    """A pending async delivery to target 7, in its shard."""
    target_id = columns.get("target_id", 7)
    values: dict[str, Any] = {
        "id": uuid7(),
        "request_id": uuid7(),
        "project_id": 1,
        "target_id": target_id,
        "shard": intake.shard_of(target_id),
        "mode": "async",
        "is_shadow": False,
        "is_compared": False,
        "key_mode": "live",
        "state": "pending",
        "revision": 0,
        "created_at": MOMENT,
        "expire_seconds": nouns.DEFAULT_EXPIRE_SECONDS,
        "ordering_key": None,
        "body_bytes": 0,
        "credits": 1_000_000,
        "relay_key_id": 3,
        "units": 1,
    }
    return intake.DeliveryRow(**values | columns)

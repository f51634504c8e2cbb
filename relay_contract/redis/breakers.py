"""Circuit breakers as they stand in Redis: the fields of the hash `keys.BREAKERS`, and what a field holds. Pure."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from relay_contract.traffic import BreakerKind

PAUSED = "paused"
"""Beside `traffic.BreakerState`: a host key that asked for a moment. Over by itself, without a probe or an event."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A breaker that is not closed. Times are milliseconds of Redis time."""

    field: str
    kind: BreakerKind
    state: str  # traffic.BreakerState, or PAUSED
    reason: str  # traffic.FailureClass
    since_ms: int  # when it came into this state
    until_ms: int  # when it is tried again; the end of a slow start
    level: int  # how often it opened again: each time twice as long
    host: str  # slug, as of the failure
    row_id: int  # of the host key (one of those with this value) or of the binding

    @property
    def upstream_name(self) -> str:
        """Of the only model that it guards a host key for; "" where it guards the whole."""
        return "".join(self.field.split(":", 2)[2:])


def host_key_field(value: str) -> str:
    """The breaker of a credential, known by a hash of its clear value: rows that hold the same one share a breaker, and
    a replaced one starts afresh."""
    return f"host_key:{hashlib.sha256(b'relay breaker ' + value.encode()).hexdigest()[:32]}"


def key_at_model_field(key_field: str, upstream_name: str) -> str:
    """The breaker of a credential for one of the host's models: what vendors limit the rate of."""
    return f"{key_field}:{upstream_name}"


def binding_field(binding_id: int) -> str:
    """The breaker of a host binding."""
    return f"binding:{binding_id}"


def read(field: str, stored: bytes | str) -> Entry:
    """What a field holds. Raises ValueError, KeyError or TypeError for what the scripts did not write."""
    entry: dict[str, Any] = json.loads(stored)
    return Entry(
        field=field,
        kind=BreakerKind(field.partition(":")[0]),
        state=str(entry["state"]),
        reason=str(entry["reason"]),
        since_ms=int(entry["since_ms"]),
        until_ms=int(entry["until_ms"]),
        level=int(entry["level"]),
        host=str(entry["host"]),
        row_id=int(entry["row_id"]),
    )

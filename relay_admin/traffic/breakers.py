"""Breakers as they stand now, and closing one by hand. They live in Redis (`relay_contract/redis/breakers.py`); the
edge asks there at each call, so a reset counts from the next call on. What happened to them is `BreakerEvent`.
"""

import redis
from django.utils import timezone

from relay_admin.catalog.models import HostBinding, HostKey
from relay_admin.catalog.services import host_key_value
from relay_admin.redis_link import open_redis
from relay_admin.traffic.models import BreakerEvent
from relay_contract.ids import uuid7
from relay_contract.redis import breakers, keys
from relay_contract.traffic import BreakerKind, BreakerState


def breakers_list() -> list[breakers.Entry]:
    """Every breaker that is not closed, the one that changed last first. Raises RedisAwayError."""
    with open_redis() as client:
        stored = client.hgetall(keys.BREAKERS)
        now_ms = _now_ms(client)
    assert isinstance(stored, dict)
    found = [breakers.read(field.decode(), value) for field, value in stored.items()]
    shown = [entry for entry in found if entry.state != breakers.PAUSED or entry.until_ms > now_ms]
    return sorted(shown, key=lambda entry: -entry.since_ms)


def breakers_of(row: HostKey | HostBinding) -> list[breakers.Entry]:
    """Those of them that guard this row, of a host key also for one model each. Keys with the same value share theirs.
    Of a key whose value only the edges can read, those that it was seen at. Raises RedisAwayError."""
    if isinstance(row, HostBinding):
        return [entry for entry in breakers_list() if entry.field == breakers.binding_field(row.pk)]
    value = None if row.reference else host_key_value(host_key=row)
    if value is None:
        return [entry for entry in breakers_list() if (entry.kind, entry.row_id) == (BreakerKind.HOST_KEY, row.pk)]
    own = breakers.host_key_field(value)
    return [entry for entry in breakers_list() if entry.field == own or entry.field.startswith(f"{own}:")]


def breaker_reset(*, field: str) -> BreakerEvent | None:
    """Closes a breaker and forgets what spoke against it. The event; None when it was closed already.

    Raises RedisAwayError. Who did it is the caller's to write down.
    """
    with open_redis() as client, client.pipeline(transaction=True) as pipeline:
        pipeline.hget(keys.BREAKERS, field)
        pipeline.hdel(keys.BREAKERS, field)
        pipeline.delete(keys.health(field))
        stored, was_there, _ = pipeline.execute()
    if not was_there:
        return None
    entry = breakers.read(field, stored)
    is_key = entry.kind is BreakerKind.HOST_KEY
    return BreakerEvent.objects.create(
        id=uuid7(),
        at=timezone.now(),
        kind=entry.kind,
        host=entry.host,
        host_key_id=entry.row_id if is_key else None,
        binding_id=None if is_key else entry.row_id,
        from_state=BreakerState.OPEN if entry.state == breakers.PAUSED else entry.state,
        to_state=BreakerState.CLOSED,
        reason="reset",
        open_ms=0,
    )


def _now_ms(client: redis.Redis) -> int:
    seconds, micros = client.time()
    return int(seconds) * 1000 + int(micros) // 1000

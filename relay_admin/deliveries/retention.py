"""Forgets what is past its retention: whole days at once, then what was left over of them. Run each hour.

A request of which something is still to be delivered stays, however old: a promise outlives its retention.
"""

import logging

from django.db import connection

from relay_admin.deliveries import storage
from relay_contract.logs import log_fields

logger = logging.getLogger(__name__)

BATCH = 2_000

_KEYS = """
    DELETE FROM deliveries_idempotency WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM deliveries_idempotency WHERE expires_at < now() ORDER BY expires_at LIMIT %s
        FOR UPDATE SKIP LOCKED
    ))
"""


def requests_forget(*, requests_days: int, payloads_days: int, ledger_days: int) -> int:
    """Forget days that are older; how many partitions were dropped. A body goes with its request at the latest."""
    days = {
        storage.REQUESTS: requests_days,
        storage.PAYLOADS: min(payloads_days, requests_days),
        storage.LEDGER: ledger_days,
    }
    partitions = storage.partitions_forget(days)
    rows = storage.defaults_sweep(days)
    if partitions or rows:
        logger.info("requests_forgotten", extra=log_fields(partitions=partitions, rows=rows))
    return partitions


def keys_forget() -> int:
    """Delete idempotency keys that are past their time; how many that were. Until then they still count."""
    total = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_KEYS, [BATCH])
            deleted = cursor.rowcount
        total += deleted
        if deleted < BATCH:
            return total

"""Forgets what is past its retention: whole days at once, then what was left over of them. Run each hour.

A request of which something is still to be delivered stays, however old: a promise outlives its retention.
"""

import logging
from uuid import UUID

from django.db import connection
from django.utils import timezone

from relay_admin.catalog.models import Endpoint
from relay_admin.deliveries import storage
from relay_contract.ids import uuid7_bound
from relay_contract.logs import log_fields
from relay_contract.nouns import BodyKeeping

logger = logging.getLogger(__name__)

BATCH = 2_000

_KEYS = """
    DELETE FROM deliveries_idempotency WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM deliveries_idempotency WHERE expires_at < now() ORDER BY expires_at LIMIT %s
        FOR UPDATE SKIP LOCKED
    ))
"""
# A page of an endpoint's requests; what of them may still be sent, or replayed, keeps its body.
_DELIVERED = """
    WITH page AS MATERIALIZED (
        SELECT id FROM deliveries_request WHERE endpoint_id = %s AND id > %s ORDER BY id LIMIT %s
    ), gone AS (
        DELETE FROM deliveries_payload p USING page
        WHERE p.request_id = page.id
          AND NOT EXISTS (SELECT 1 FROM deliveries_live l WHERE l.request_id = page.id)
          AND NOT EXISTS (
              SELECT 1 FROM deliveries_finished f
              WHERE f.request_id = page.id AND f.id >= page.id AND f.state = 'dead'
          )
        RETURNING 1
    )
    SELECT (SELECT id FROM page ORDER BY id DESC LIMIT 1), (SELECT count(*) FROM gone)
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


def delivered_bodies_forget(*, payloads_days: int) -> int:
    """Delete the bodies of requests that are through, of endpoints that keep bodies until then; how many that were.

    A body whose delivery is in the failure queue stays: it can be replayed until its retention is over.
    """
    oldest = uuid7_bound(int((timezone.now().timestamp() - payloads_days * 86_400) * 1000))
    endpoints = Endpoint.objects.filter(keeps_body=BodyKeeping.UNTIL_DELIVERED).values_list("pk", flat=True)
    total = sum(_delivered_bodies_forget(endpoint_id, oldest) for endpoint_id in list(endpoints))
    if total:
        logger.info("delivered_bodies_forgotten", extra=log_fields(bodies=total))
    return total


def _delivered_bodies_forget(endpoint_id: int, after: UUID | None) -> int:
    total = 0
    while after is not None:
        with connection.cursor() as cursor:
            cursor.execute(_DELIVERED, [endpoint_id, after, BATCH])
            after, deleted = cursor.fetchone()
        total += deleted
    return total


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

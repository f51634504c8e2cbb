"""Forgets old requests, with their bodies, deliveries and attempts. Run by the schedule each hour.

A request of which something is still to be delivered stays, however old: a promise outlives its retention.
"""

import logging
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.utils import timezone

from relay_contract.intake import LIVE_STATES
from relay_contract.logs import log_fields

logger = logging.getLogger(__name__)

BATCH = 500
"""Requests deleted in one transaction: short locks, and a run that is cut off keeps what it did."""

_LIVE = [str(state) for state in LIVE_STATES]

_OLD = """
    SELECT id FROM deliveries_request AS request
    WHERE received_at < %s AND NOT EXISTS (
        SELECT 1 FROM deliveries_delivery WHERE request_id = request.id AND state = ANY(%s)
    )
    ORDER BY received_at LIMIT %s FOR UPDATE SKIP LOCKED
"""
# Locked before the last look, so that a replay in the same moment either comes first, and its request stays, or finds
# nothing to replay. In the order in which replays lock, so that the two wait for each other and do not deadlock.
_LOCK = "SELECT request_id, state = ANY(%s) FROM deliveries_delivery WHERE request_id = ANY(%s) ORDER BY id FOR UPDATE"
_DELETE = (
    "DELETE FROM deliveries_attempt USING deliveries_delivery AS d WHERE delivery_id = d.id AND d.request_id = ANY(%s)",
    "DELETE FROM deliveries_delivery WHERE request_id = ANY(%s)",
    "DELETE FROM deliveries_payload WHERE request_id = ANY(%s)",
    "DELETE FROM deliveries_request WHERE id = ANY(%s)",
)


def requests_forget(*, older_than_days: int) -> int:
    """Delete requests that were received longer ago; how many that were."""
    before = timezone.now() - timedelta(days=older_than_days)
    total = 0
    while True:
        old, deleted = _forget_batch(before)
        total += deleted
        if old < BATCH:
            break
    if total:
        logger.info("requests_forgotten", extra=log_fields(requests=total, older_than_days=older_than_days))
    return total


def _forget_batch(before: datetime) -> tuple[int, int]:
    """One transaction: how many old requests were found, and how many of them deleted."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_OLD, (before, _LIVE, BATCH))
        old = {request_id for (request_id,) in cursor.fetchall()}
        if not old:
            return 0, 0
        cursor.execute(_LOCK, (_LIVE, list(old)))
        live = {request_id for request_id, is_live in cursor.fetchall() if is_live}
        for statement in _DELETE:
            cursor.execute(statement, (list(old - live),))
        return len(old), len(old - live)

"""Forgets old calls, traces, captures and breaker events. Run by the schedule each hour.

A call whose charge is still to be posted stays, however old.
"""

import logging
from datetime import datetime, timedelta

from django.db import connection, models
from django.utils import timezone

from relay_admin.traffic.models import BreakerEvent, Call, Capture, Trace
from relay_contract.logs import log_fields

logger = logging.getLogger(__name__)

BATCH = 2_000
"""Rows deleted in one transaction: short locks, and a run that is cut off keeps what it did."""


def traffic_forget(*, calls_days: int, traces_days: int, captures_days: int) -> dict[str, int]:
    """Delete rows that are older, breaker events with the traces; how many of each table that were."""
    forgotten = {
        model._meta.db_table: _forget(model, column, timezone.now() - timedelta(days=days))
        for model, column, days in (
            (Call, "received_at", calls_days),
            (Trace, "received_at", traces_days),
            (Capture, "received_at", captures_days),
            (BreakerEvent, "at", traces_days),
        )
    }
    if any(forgotten.values()):
        logger.info("traffic_forgotten", extra=log_fields(**forgotten))
    return forgotten


def _forget(model: type[models.Model], column: str, before: datetime) -> int:
    table, total = model._meta.db_table, 0
    kept = f"AND NOT EXISTS (SELECT 1 FROM ledger_due WHERE id = {table}.id)" if model is Call else ""  # noqa: S608 (ours)
    old = f"SELECT id FROM {table} WHERE {column} < %s {kept} ORDER BY {column} LIMIT %s FOR UPDATE SKIP LOCKED"  # noqa: S608 (ours)
    statement = f"DELETE FROM {table} WHERE id = ANY(ARRAY({old}))"  # noqa: S608 (ours)
    while True:
        with connection.cursor() as cursor:
            cursor.execute(statement, (before, BATCH))
            deleted = cursor.rowcount
        total += deleted
        if deleted < BATCH:
            return total

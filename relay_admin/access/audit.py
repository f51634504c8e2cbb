"""Reads of the audit log, and its retention. Nobody writes it but the triggers (`audit_triggers.py`)."""

import logging
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.utils import timezone

from relay_admin.access.audit_triggers import FORGETTING
from relay_admin.access.models import AuditEvent
from relay_admin.catalog.models import Project
from relay_contract.logs import log_fields

logger = logging.getLogger(__name__)

BATCH = 2_000
"""Rows deleted in one transaction: short locks, and a run that is cut off keeps what it did."""

SUBJECTS = (
    "access.admintoken",
    "access.authorization",
    "access.externalidentity",
    "access.invitation",
    "access.membership",
    "access.oauthapplication",
    "access.relaykey",
    "access.revocation",
    "access.signingkey",
    "access.user",
    "auth.group",
    "catalog.endpoint",
    "catalog.host",
    "catalog.hostbinding",
    "catalog.hostkey",
    "catalog.line",
    "catalog.model",
    "catalog.policy",
    "catalog.pricing",
    "catalog.project",
    "catalog.ratelimit",
    "catalog.target",
    "deliveries.alertrule",
    "deliveries.replaybatch",
    "ledger.creditcode",
    "ledger.topup",
)
"""Whose changes are in it, by the model's label."""

_PROJECT = Subquery(Project.objects.filter(pk=OuterRef("project_id")).order_by().values("slug")[:1])


def events_named(rows: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
    """Adds `project_slug`, None where the project is gone."""
    return rows.annotate(project_slug=_PROJECT)


def audit_forget(*, days: int) -> int:
    """Delete events that are older; how many that were. The only way to delete any."""
    before, total = timezone.now() - timedelta(days=days), 0
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config(%s, 'on', true)", [FORGETTING])
            cursor.execute(
                "DELETE FROM access_auditevent WHERE id = ANY(ARRAY("
                "SELECT id FROM access_auditevent WHERE at < %s ORDER BY at LIMIT %s FOR UPDATE SKIP LOCKED))",
                [before, BATCH],
            )
            deleted = cursor.rowcount
            # Of a savepoint the setting would outlive what it was for.
            cursor.execute("SELECT set_config(%s, '', true)", [FORGETTING])
        total += deleted
        if deleted < BATCH:
            break
    if total:
        logger.info("audit_forgotten", extra=log_fields(events=total))
    return total

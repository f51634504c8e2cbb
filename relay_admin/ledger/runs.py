"""Comparisons of what is kept twice, and what each found: on demand and each night. What Postgres says of itself is of
one moment, in a transaction that only reads; the purses are compared after it, by what stands still."""

import logging
import re
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.utils import timezone

from relay_admin.ledger import budget_drifts, proofs, purse_drifts, reconcile
from relay_admin.ledger.drifts import Drift, Row, one_moment
from relay_admin.ledger.models import Account, FoundDrift, ReconcileRun
from relay_admin.redis_link import RedisAwayError
from relay_contract.ledger import AccountKind
from relay_contract.logs import log_fields

logger = logging.getLogger(__name__)

DAYS = 35
"""Deliveries and their charges are compared so far back."""
KEPT_RUNS = 400
NOT_CHECKED = -1
"""For purses and budgets, where Redis did not answer."""
_ACCOUNT = re.compile(r"account (\d{1,18})\b", re.ASCII)
_PROJECT = re.compile(r"project (\d{1,18}), (live|test)", re.ASCII)


def reconcile_run(*, asked_by_id: int | None = None, days: int = DAYS) -> ReconcileRun:
    """Compare everything; returns the run with its drifts. Reads every entry."""
    run = ReconcileRun.objects.create(checks={}, asked_by_id=asked_by_id)
    run.refresh_from_db()
    since = datetime.now(UTC) - timedelta(days=days)
    with one_moment():
        found = {"ledger": proofs.drifts(since.date()), "deliveries": reconcile.drifts(since)}
    for name, drifts in found.items():
        _keep(run, name, drifts)
    try:
        _keep(run, "purses", purse_drifts.drifts())
        budgets = budget_drifts.compared()
        _keep(run, "budgets", budget_drifts.drifts_of(budgets))
        budget_drifts.recount(budgets)
    except RedisAwayError:
        run.checks = {"purses": NOT_CHECKED, "budgets": NOT_CHECKED} | run.checks
    run.ended_at = timezone.now()
    with transaction.atomic():
        run.save(update_fields=["checks", "ended_at"])
        kept = ReconcileRun.objects.values("pk")[:KEPT_RUNS]
        ReconcileRun.objects.exclude(pk__in=list(kept.values_list("pk", flat=True))).delete()
    logger.info("reconciled", extra=log_fields(**run.checks))
    return run


def drifts_of(run: ReconcileRun, limit: int | None = None) -> list[Drift]:
    """What the run found, as it was found."""
    return [
        Drift(
            kept.code,
            kept.subject,
            kept.expected,
            kept.found,
            rows=tuple(Row.of_json(row) for row in kept.rows),
            row_count=kept.row_count,
        )
        for kept in run.drifts.all()[:limit]
    ]


def _keep(run: ReconcileRun, name: str, drifts: list[Drift]) -> None:
    run.checks[name] = len(drifts)
    FoundDrift.objects.bulk_create([_kept(run, drift) for drift in drifts])


def _kept(run: ReconcileRun, drift: Drift) -> FoundDrift:
    return FoundDrift(
        run=run,
        code=drift.code,
        subject=drift.subject,
        expected=drift.expected,
        found=drift.found,
        account_id=_account_of(drift.subject),
        rows=[row.as_json() for row in drift.rows],
        row_count=drift.row_count,
    )


def _account_of(subject: str) -> int | None:
    """Whose rows to look at."""
    if found := _ACCOUNT.search(subject):
        return int(found[1])
    if found := _PROJECT.search(subject):
        wallets = Account.objects.filter(kind=AccountKind.WALLET, project_id=int(found[1]), mode=found[2])
        return wallets.values_list("pk", flat=True).first()
    return None

"""Comparisons of what is kept twice, and what each found: on demand and each night. Every check is one statement, so
one snapshot, but that of the purses, which compares only what stands still."""

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.utils import timezone

from relay_admin.ledger import proofs, purse_drifts, reconcile
from relay_admin.ledger.models import Account, FoundDrift, ReconcileRun
from relay_admin.ledger.proofs import Drift
from relay_admin.redis_link import RedisAwayError
from relay_contract.ids import uuid7_bound
from relay_contract.ledger import AccountKind
from relay_contract.logs import log_fields

logger = logging.getLogger(__name__)

DAYS = 35
"""Deliveries and their charges are compared so far back."""
KEPT_RUNS = 400
NOT_CHECKED = -1
"""For the purses, where Redis did not answer."""
_ACCOUNT = re.compile(r"account (\d{1,18})\b", re.ASCII)
_PROJECT = re.compile(r"project (\d{1,18}), (live|test)", re.ASCII)


def reconcile_run(*, asked_by_id: int | None = None, days: int = DAYS) -> ReconcileRun:
    """Compare everything; returns the run with its drifts. Reads every entry."""
    run = ReconcileRun.objects.create(checks={}, asked_by_id=asked_by_id)
    run.refresh_from_db()
    since = datetime.now(UTC) - timedelta(days=days)
    checks: dict[str, Callable[[], list[Drift]]] = {
        "ledger": lambda: proofs.drifts(since.date()),
        "deliveries": lambda: _of_deliveries(since),
        "purses": purse_drifts.drifts,
    }
    for name, check in checks.items():
        try:
            found = check()
        except RedisAwayError:
            run.checks[name] = NOT_CHECKED
        else:
            run.checks[name] = len(found)
            FoundDrift.objects.bulk_create([_row(run, drift) for drift in found])
    run.ended_at = timezone.now()
    with transaction.atomic():
        run.save(update_fields=["checks", "ended_at"])
        kept = ReconcileRun.objects.values("pk")[:KEPT_RUNS]
        ReconcileRun.objects.exclude(pk__in=list(kept.values_list("pk", flat=True))).delete()
    logger.info("reconciled", extra=log_fields(**run.checks))
    return run


def _of_deliveries(since: datetime) -> list[Drift]:
    return [
        Drift(problem.code, f"delivery {problem.delivery_id}, replay {problem.replay}", None, None)
        for problem in reconcile.problems(uuid7_bound(int(since.timestamp() * 1000)))
    ]


def _row(run: ReconcileRun, drift: Drift) -> FoundDrift:
    return FoundDrift(
        run=run,
        code=drift.code,
        subject=drift.subject,
        expected=drift.expected,
        found=drift.found,
        account_id=_account_of(drift.subject),
    )


def _account_of(subject: str) -> int | None:
    """Whose rows to look at."""
    if found := _ACCOUNT.search(subject):
        return int(found[1])
    if found := _PROJECT.search(subject):
        wallets = Account.objects.filter(kind=AccountKind.WALLET, project_id=int(found[1]), mode=found[2])
        return wallets.values_list("pk", flat=True).first()
    return None

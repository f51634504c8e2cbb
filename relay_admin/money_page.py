"""The page "Money": runs that compared what is kept twice, what the newest found, and a button that compares now."""

from typing import Any, cast

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache

from relay_admin.access.models import User
from relay_admin.ledger import corrections, runs
from relay_admin.ledger.admin import credits_text
from relay_admin.ledger.drifts import Drift, Row
from relay_admin.ledger.keeping import keeping
from relay_admin.ledger.models import ReconcileRun

SHOWN_RUNS = 30
SHOWN_DRIFTS = 500
PERMISSION = "ledger.view_account"


@never_cache
def page(request: HttpRequest) -> HttpResponse:
    """The newest run, or that of `run`; a POST compares now."""
    user = cast("User", request.user)
    if not user.has_perm(PERMISSION):
        raise PermissionDenied
    if request.method == "POST":
        return _run(request, user)
    found = list(ReconcileRun.objects.all()[:SHOWN_RUNS])
    wanted = request.GET.get("run", "")
    shown = next((run for run in found if str(run.pk) == wanted), found[0] if found else None)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Money",
        "runs": [_run_row(run) for run in found],
        "shown": shown and _run_row(shown),
        "drifts": _drift_rows(shown) if shown else [],
        "keeping": keeping(),
        "may_run": user.has_perm(corrections.PERMISSION),
    }
    return TemplateResponse(request, "relay/money.html", context)


def _run(request: HttpRequest, user: User) -> HttpResponse:
    if not user.has_perm(corrections.PERMISSION):
        raise PermissionDenied
    run = runs.reconcile_run(asked_by_id=user.pk)
    drifts = sum(count for count in run.checks.values() if count > 0)
    if drifts:
        messages.error(request, f"{drifts} drifts were found.")
    elif runs.NOT_CHECKED in run.checks.values():
        messages.warning(request, "Redis does not answer: the purses were not compared. All else adds up.")
    else:
        messages.success(request, "Everything adds up.")
    return redirect("money")


def _run_row(run: ReconcileRun) -> dict[str, Any]:
    checks = [
        (name, "not checked" if count == runs.NOT_CHECKED else str(count)) for name, count in sorted(run.checks.items())
    ]
    return {
        "run": run,
        "checks": checks,
        "drifts": sum(count for count in run.checks.values() if count > 0),
        "by": User.objects.filter(pk=run.asked_by_id).values_list("username", flat=True).first() or "schedule, command",
    }


def _drift_rows(run: ReconcileRun) -> list[dict[str, Any]]:
    accounts = run.drifts.values_list("account_id", flat=True)[:SHOWN_DRIFTS]
    drifts = runs.drifts_of(run, SHOWN_DRIFTS)
    return [_drift_row(drift, account_id) for drift, account_id in zip(drifts, accounts, strict=True)]


def _drift_row(drift: Drift, account_id: int | None) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "code": drift.code,
        "subject": drift.subject,
        **_figures(drift, drift),
        "rows": [{"what": row.what, "at": row.at, **_figures(drift, row)} for row in drift.rows],
        "more": drift.row_count - len(drift.rows),
    }


def _figures(drift: Drift, of: Drift | Row) -> dict[str, str]:
    """As text; those of rows are of the same kind as the drift's own."""
    texts = credits_text if drift.is_credits else str
    return {name: "" if (figure := getattr(of, name)) is None else texts(figure) for name in ("expected", "found")}

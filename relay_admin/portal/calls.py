"""Calls to models in the portal: a project's log, one's own calls, and the page of one."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from relay_admin.access.models import RelayKey
from relay_admin.access.roles import Act
from relay_admin.access.scoping import actor_of, one_of, rows_of
from relay_admin.account.page import user_of
from relay_admin.ledger.amounts import credits_text
from relay_admin.portal.lists import after_of, older_address
from relay_admin.portal.page import Place, portal_page, project_of, shown
from relay_admin.portal.traffic_forms import CallFilter
from relay_admin.traffic.models import Call
from relay_admin.traffic.selectors import calls_before, in_status_class, name_calls
from relay_admin.traffic.trace_view import time_text
from relay_contract.pricing import usd_text
from relay_contract.usage import METERS

PAGE = 50
MOST_KEYS = 500
_LOOKUPS = {
    "model": "model",
    "key": "relay_key_id",
    "mode": "mode",
    "request": "request_id",
    "since": "received_at__gte",
    "until": "received_at__lt",
}


@require_safe
@portal_page
def project_calls(request: HttpRequest, project: str) -> HttpResponse:
    """A project's, newest first."""
    place = project_of(request, project, Act.SEE_TRAFFIC)
    rows = rows_of(Call, place.actor, Act.SEE_TRAFFIC).filter(project=place.project)
    keys = RelayKey.objects.filter(project=place.project).order_by("name").values_list("pk", "name")[:MOST_KEYS]
    return _list(request, place, rows, [(key, name) for key, name in keys])


@require_safe
@portal_page
def own_calls(request: HttpRequest) -> HttpResponse:
    """Those of who is signed in, with whatever application."""
    rows = rows_of(Call, actor_of(request), Act.SEE_TRAFFIC).filter(user=user_of(request))
    return _list(request, None, rows, [])


@require_safe
@portal_page
def project_call(request: HttpRequest, project: str, call_id: UUID) -> HttpResponse:
    """One of a project's."""
    place = project_of(request, project, Act.SEE_TRAFFIC)
    return _one(request, place, rows_of(Call, place.actor, Act.SEE_TRAFFIC).filter(project=place.project), call_id)


@require_safe
@portal_page
def own_call(request: HttpRequest, call_id: UUID) -> HttpResponse:
    """One of one's own: what it used and was charged, not how the project served it."""
    return _one(request, None, rows_of(Call, actor_of(request), Act.SEE_TRAFFIC).filter(user=user_of(request)), call_id)


def _list(request: HttpRequest, place: Place | None, rows: QuerySet[Call], keys: list[tuple[int, str]]) -> HttpResponse:
    form = CallFilter(request.GET)
    if place is None:
        del form.fields["key"]
    else:
        form.offer(key=keys)
    found = list(_narrowed(rows, form, after_of(request))[: PAGE + 1]) if form.is_valid() else []
    older = older_address(request, found[PAGE - 1].pk) if len(found) > PAGE else ""
    return shown(request, "calls", place, form=form, rows=[_row(call) for call in found[:PAGE]], older=older)


def _narrowed(rows: QuerySet[Call], form: CallFilter, after: UUID | None) -> QuerySet[Call]:
    """An `after` that is none of these, or not kept any more, is the first page."""
    wanted = form.wanted
    found = rows.filter(**{lookup: wanted[name] for name, lookup in _LOOKUPS.items() if name in wanted})
    if "status" in wanted:
        found = found.filter(in_status_class(wanted["status"]))
    last = rows.filter(pk=after).first() if after else None
    if last is not None:
        found = calls_before(found, last)
    return name_calls(found).order_by("-received_at", "-pk")


def _row(call: Call) -> dict[str, Any]:
    return {
        "call": call,
        "model": call.model or call.requested_model,
        "tokens": call.input_tokens + call.output_tokens,
        "charge": credits_text(call.charge_microcredits),
        "took": time_text(call.total_us),
    }


def _one(request: HttpRequest, place: Place | None, rows: QuerySet[Call], call_id: UUID) -> HttpResponse:
    one_of(Call, actor_of(request), Act.SEE_TRAFFIC, pk__in=rows.filter(pk=call_id).values("pk"))
    call = name_calls(rows).get(pk=call_id)
    return shown(request, "call", place, call=call, facts=_facts(call, is_own=place is None))


def _facts(call: Call, *, is_own: bool) -> list[tuple[str, list[tuple[str, object]]]]:
    """By heading; what is empty is left out."""
    named: Any = call
    caller = [
        ("Received", call.received_at),
        ("Request id", call.request_id),
        ("Key", "" if is_own else (named.relay_key_name or "")),
        ("Application", named.application_name or ""),
        ("Mode", call.mode),
    ]
    answer = [
        ("Status", call.status),
        ("Error", call.error),
        ("Finish", call.finish),
        ("Asked for", call.requested_model),
        ("Model", call.model),
        ("Host", "" if is_own else call.host),
        ("Attempts", "" if is_own else call.attempts),
        ("Took", time_text(call.total_us)),
        ("First token after", "" if call.first_token_us is None else time_text(call.first_token_us)),
    ]
    cost = "" if is_own else "unknown" if call.cost_nanousd is None else f"{usd_text(call.cost_nanousd)} USD"
    used = [
        *((meter.replace("_", " ").capitalize(), f"{value:,}") for meter in METERS if (value := getattr(call, meter))),
        ("Cost at list price", cost),
        ("Charged", f"{credits_text(call.charge_microcredits)} credits"),
    ]
    sections = (("Caller", caller), ("Answer", answer), ("Used", used))
    return [(title, [(name, value) for name, value in facts if value != ""]) for title, facts in sections]

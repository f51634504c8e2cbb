"""The failure queue of a project in the portal, and replays of it: some that are chosen, or all that match a filter.

Before anything is made due its page says how many and for how many credits. A replay is of one project always: what its
address names or its form sends of others' is a 404.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of, rows_of
from relay_admin.account.page import user_of
from relay_admin.catalog.models import Target
from relay_admin.deliveries import services
from relay_admin.deliveries.admin.keyset import failed_before
from relay_admin.deliveries.admin.replay_pages import facts, filter_texts, staying
from relay_admin.deliveries.models import DeadDelivery, Delivery, ReplayBatch
from relay_admin.deliveries.replays import ReplayState
from relay_admin.deliveries.selectors import name_deliveries, replay_progress
from relay_admin.portal.lists import older_address
from relay_admin.portal.page import FORM_METHODS, Place, portal_page, project_of, shown
from relay_admin.portal.traffic_forms import FailureFilter, PaceForm
from relay_contract.intake import DeliveryState

PAGE = 50
MOST_TARGETS = 500
MOST_REPLAYS = 10
REFRESH_SECONDS = 2
_TURNS: dict[str, tuple[Callable[..., ReplayBatch], frozenset[str]]] = {
    "pause": (services.replay_pause, frozenset({ReplayState.RUNNING})),
    "resume": (services.replay_resume, frozenset({ReplayState.PAUSED})),
    "cancel": (services.replay_cancel, frozenset({ReplayState.RUNNING, ReplayState.PAUSED})),
}


@require_safe
@portal_page
def queue(request: HttpRequest, project: str) -> HttpResponse:
    """What failed, the last first."""
    place = project_of(request, project, Act.SEE_TRAFFIC)
    form = _filter(request, place)
    found = list(_failed(place, form, request.GET.get("after", ""))[: PAGE + 1]) if form.is_valid() else []
    query = request.GET.copy()
    query.pop("after", None)
    return shown(
        request,
        "failures",
        place,
        form=form,
        rows=found[:PAGE],
        older=older_address(request, found[PAGE - 1].place) if len(found) > PAGE else "",
        may_replay=place.may(Act.REPLAY),
        query=query.urlencode(),
        replays=_replays(place).order_by("-pk")[:MOST_REPLAYS],
    )


@FORM_METHODS
@portal_page
def replay(request: HttpRequest, project: str) -> HttpResponse:
    """What a replay would do, of the deliveries that `delivery` names, else of the filter. A POST starts it."""
    place = project_of(request, project, Act.REPLAY)
    form = _filter(request, place)
    named = request.GET.getlist("delivery")
    if not (named or form.is_valid()):
        return shown(request, "replay", place, status=400, form=form, found=None)
    wanted = {"ids": _own_ids(place, named)} if named else {**form.wanted, "project": place.project.pk}
    pace = PaceForm(request.POST) if request.method == "POST" else PaceForm(initial={"pace": None} if named else None)
    if request.method == "POST" and pace.is_valid():
        batch = _started(request, place, wanted, pace)
        return redirect("portal:failures-progress", place.project.slug, batch.pk)
    found = services.replay_preview(wanted)
    return shown(
        request,
        "replay",
        place,
        found=found,
        facts=facts(found),
        staying=staying(found),
        pace=pace,
        status=400 if pace.is_bound else 200,
    )


@require_safe
@portal_page
def progress(request: HttpRequest, project: str, batch_id: int) -> HttpResponse:
    """How far a replay is. While it goes on the page is loaded again by itself."""
    place = project_of(request, project, Act.SEE_TRAFFIC)
    batch = _batch(place, batch_id, Act.SEE_TRAFFIC)
    how_far = replay_progress(batch)
    refused = [f"{key}: {services.REFUSALS.get(code, code)}" for key, code in batch.refused.items()]
    response = shown(
        request,
        "replay_progress",
        place,
        batch=batch,
        progress=how_far,
        asked=filter_texts(batch),
        refused=refused,
        turns=[word for word, (_, states) in _TURNS.items() if batch.state in states] if place.may(Act.REPLAY) else [],
    )
    if how_far.goes_on:
        response["Refresh"] = str(REFRESH_SECONDS)
    return response


@require_POST
@portal_page
def turn(request: HttpRequest, project: str, batch_id: int, word: str) -> HttpResponse:
    """Pause, resume or cancel."""
    place = project_of(request, project, Act.REPLAY)
    batch = _batch(place, batch_id, Act.REPLAY)
    if word not in _TURNS:
        raise Http404
    try:
        _TURNS[word][0](batch, by=user_of(request))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    return redirect("portal:failures-progress", place.project.slug, batch.pk)


def _filter(request: HttpRequest, place: Place) -> FailureFilter:
    form = FailureFilter(request.GET)
    rows = rows_of(Target, place.actor, Act.SEE_TRAFFIC).filter(endpoint__line__project=place.project)
    form.offer(target=list(rows.order_by("name").values_list("pk", "name")[:MOST_TARGETS]))
    return form


def _failed(place: Place, form: FailureFilter, after: str) -> QuerySet[DeadDelivery]:
    lookups = {
        "target": "target_id",
        "reason": "dead_reason",
        "status": "last_status",
        "event_type": "request__event_type",
        "since": "finished_at__gte",
        "until": "finished_at__lt",
    }
    rows = rows_of(DeadDelivery, place.actor, Act.SEE_TRAFFIC)
    rows = rows.filter(project=place.project, state=str(DeliveryState.DEAD))
    rows = rows.filter(**{lookups[name]: value for name, value in form.wanted.items()})
    return name_deliveries(failed_before(rows, after))


def _own_ids(place: Place, named: list[str]) -> list[UUID]:
    """Http404 where one of them is none of the project's."""
    ids = {found for each in named[: services.MAX_REPLAY] if (found := _as_id(each))}
    rows = rows_of(Delivery, place.actor, Act.REPLAY).filter(project=place.project, pk__in=ids)
    if len(ids) != len(set(named)) or rows.count() != len(ids):
        raise Http404
    return sorted(ids)


def _started(request: HttpRequest, place: Place, wanted: dict[str, Any], form: PaceForm) -> ReplayBatch:
    pace, note, by = form.cleaned_data["pace"], form.cleaned_data["note"], user_of(request)
    if "ids" in wanted and pace is None:
        return services.delivery_replay(delivery_ids=wanted["ids"], by=by, note=note, project_id=place.project.pk)
    return services.replay_start(wanted, pace=pace, by=by, note=note, project_id=place.project.pk)


def _replays(place: Place) -> Any:
    return rows_of(ReplayBatch, place.actor, Act.SEE_TRAFFIC).filter(project=place.project)


def _batch(place: Place, batch_id: int, act: Act) -> ReplayBatch:
    return one_of(ReplayBatch, place.actor, act, pk=min(batch_id, 2**63 - 1), project=place.project)


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None

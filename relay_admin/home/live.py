"""How the other processes are, asked at this moment: edges over HTTP, the rest by what it leaves in Redis and Postgres.

A few connections to the edge and some commands to Redis, each of which waits TIMEOUT_SECONDS (Redis two) at the most.
The home fetches it when it is there, so that a dead process makes no page slow; it is a page of its own too.
"""

from typing import Any, cast

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from relay_admin.access.models import User
from relay_admin.doctor import edges, processes
from relay_admin.doctor.edges import Edge
from relay_admin.doctor.finding import State
from relay_admin.home.notes import Note, counted, note_of, well, worst_first
from relay_admin.redis_link import RedisAwayError, open_redis
from relay_admin.traffic.breakers import breakers_list

TIMEOUT_SECONDS = 1.0
"""Of each connection to the edge; the first that comes to nothing is the last."""
MOST_COUNTED = 1_000
SEES_BREAKERS = "traffic.view_breakerevent"


def may_see(user: User) -> bool:
    """Who sees what passes may see how those are who pass it on."""
    return user.has_perm("traffic.view_call") or user.has_perm("deliveries.view_delivery")


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """A part of a page with `part` in the address, else a whole one."""
    user = cast("User", request.user)
    if not may_see(user):
        raise PermissionDenied
    met, notes = _looked_at(sees_breakers=user.has_perm(SEES_BREAKERS))
    context: dict[str, Any] = {"edges": met, "notes": worst_first(notes)}
    if "part" in request.GET:
        return TemplateResponse(request, "relay/home/live.html", context)
    return TemplateResponse(
        request, "relay/home/live_page.html", {**admin.site.each_context(request), "title": "Processes", **context}
    )


def _looked_at(*, sees_breakers: bool) -> tuple[list[Edge], list[Note]]:
    notes: list[Note] = []
    alive: int | None = None
    try:
        with open_redis() as client:
            alive = edges.alive(client)
            notes.append(note_of("Schedule", processes.schedule(client)))
        if sees_breakers:
            notes.append(_breakers())
    except RedisAwayError as problem:
        notes.append(Note(State.BROKEN, str(problem), "", "Limits and breakers are each edge process's own meanwhile."))
    with connection.cursor() as cursor:
        cursor.execute(processes.WORKER_CONNECTIONS)
        notes.append(note_of("Workers", processes.workers(cursor.fetchone()[0])))
    try:
        met = edges.ask(settings.EDGE_INTERNAL_URL, TIMEOUT_SECONDS)
    except edges.NO_EDGE as error:
        return [], [note_of("Edges", edges.unreachable(settings.EDGE_INTERNAL_URL, error)), *notes]
    return met, [*_of_edges(met, alive), *notes]


def _of_edges(met: list[Edge], alive: int | None) -> list[Note]:
    return [
        note_of("Edges", edges.reached(met, alive)),
        note_of("Their snapshots", edges.catalogs(met)),
        note_of("They reach", edges.connected(met)),
        note_of("Their records", edges.records(met)),
    ]


def _breakers() -> Note:
    url, entries = reverse("admin:traffic_breakerevent_changelist"), breakers_list()
    if not entries:
        return well("Every breaker of host keys and bindings is closed.", url)
    hosts = ", ".join(sorted({entry.host for entry in entries})[:5])
    text = f"{counted(len(entries), MOST_COUNTED)} breaker{' is' if len(entries) == 1 else 's are'} not closed"
    return Note(State.WARNING, text, url, f"Of {hosts}: calls go elsewhere meanwhile.")

"""The page "My sessions": where somebody is signed in, with buttons that end one, or all others."""

from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache

from relay_admin.access import session_services
from relay_admin.access.agents import agent_words
from relay_admin.access.models import Session, User

MAX_LISTED = 100


@never_cache
def page(request: HttpRequest) -> HttpResponse:
    """The list; a POST with `revoke`: a session's id, or `others`."""
    user = cast("User", request.user)
    current: int = request.session.row_id  # type: ignore[attr-defined]  # our store's
    if request.method == "POST":
        return _revoke(request, user, current)
    sessions = session_services.sessions_of(user)
    listed = [_row(session, current) for session in sessions[:MAX_LISTED]]
    listed.sort(key=lambda row: not row["is_current"])
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "My sessions",
        "sessions": listed,
        "others": sessions.exclude(pk=current).count(),
        "max_listed": MAX_LISTED,
    }
    return TemplateResponse(request, "relay/sessions.html", context)


def _row(session: Session, current: int | None) -> dict[str, Any]:
    return {"session": session, "where": agent_words(session.agent), "is_current": session.pk == current}


def _revoke(request: HttpRequest, user: User, current: int) -> HttpResponse:
    wanted = request.POST.get("revoke", "")
    said = session_services.own_sessions_revoke(user=user, wanted=wanted, current=current)
    if wanted == str(current):
        logout(request)
        return redirect("admin:login")
    messages.info(request, said)
    return redirect("sessions")

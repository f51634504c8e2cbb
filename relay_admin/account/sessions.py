"""Where one is signed in, with buttons that end one, or all others."""

from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from relay_admin.access import session_services
from relay_admin.access.agents import agent_words
from relay_admin.account.page import shown, signed_in, user_of
from relay_admin.account.sign_in import FORM_METHODS

MAX_LISTED = 100


@FORM_METHODS
@signed_in
def sessions(request: HttpRequest) -> HttpResponse:
    """The list; a POST with `revoke`: a session's id, or `others`."""
    user = user_of(request)
    current: int = request.session.row_id  # type: ignore[attr-defined]  # our store's
    if request.method == "POST":
        wanted = request.POST.get("revoke", "")
        said = session_services.own_sessions_revoke(user=user, wanted=wanted, current=current)
        if wanted == str(current):
            logout(request)
            return redirect("account:sign-in")
        messages.info(request, said)
        return redirect("account:sessions")
    mine = session_services.sessions_of(user)
    listed = [
        {"session": one, "where": agent_words(one.agent), "is_current": one.pk == current} for one in mine[:MAX_LISTED]
    ]
    listed.sort(key=lambda row: not row["is_current"])
    others = mine.exclude(pk=current).count()
    return shown(request, "sessions", sessions=listed, others=others, max_listed=MAX_LISTED)

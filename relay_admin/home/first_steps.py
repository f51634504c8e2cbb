"""The first steps: a host key, a relay key, a call, and the moment in which it arrives.

What is done is read from the catalog and the newest calls. The home shows the steps while one is missing and nobody hid
them in this session; their own page shows them always, and waits for the next call. Costs some look-ups by index, and
on that page a question to the edge: which model it serves.
"""

from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from relay_admin.access.models import RelayKey, User
from relay_admin.catalog.models import Host, HostKey, Project
from relay_admin.deliveries.admin.base import as_uuid
from relay_admin.deliveries.models import Request
from relay_admin.home import examples
from relay_admin.portal.quick_start import model_of, model_snippets
from relay_admin.traffic.models import Call
from relay_admin.traffic.trace_view import time_text
from relay_contract.nouns import Scope

SEES_CALLS = "traffic.view_call"
HIDDEN = "first_steps_hidden"
"""In the session of who hid them."""
NEWEST = 100
"""Calls among which one that went well is looked for."""
DONE, NEXT, LATER = "done", "next", "later"


@dataclass(frozen=True, slots=True)
class Step:
    """`state` is DONE, NEXT (the first that is not done) or LATER. `url` leads to where it is done."""

    name: str
    text: str
    state: str
    url: str
    action: str


def may_see(user: User) -> bool:
    """Who is shown calls, and may make one of the keys."""
    return user.has_perm(SEES_CALLS) and (user.has_perm("catalog.add_hostkey") or user.has_perm("access.add_relaykey"))


def steps_at_home(request: HttpRequest) -> list[Step]:
    """None where all are done, for who may do none of them, and for who hid them."""
    user = cast("User", request.user)
    if not may_see(user) or request.session.get(HIDDEN) or _is_used():
        return []
    steps = steps_of()
    return steps if any(step.state != DONE for step in steps) else []


def steps_of() -> list[Step]:
    """In their order."""
    page = reverse("first-steps")
    has_host_key = HostKey.objects.filter(is_enabled=True, host__is_enabled=True).exists()
    found = [
        ("Add a host key", *_host_key(), "Add another", has_host_key),
        ("Mint a relay key", *_relay_key(), "Mint another", _usable_keys().exists()),
        ("Make a call", "Paste a line into a terminal.", f"{page}#call", *["Show the line"] * 2, Call.objects.exists()),
        ("See it arrive", "A page shows it when it ended.", f"{page}#arrived", *["Wait for it"] * 2, _is_served()),
    ]
    next_one = next((name for name, *_, is_done in found if not is_done), None)
    return [
        Step(name, text, DONE if is_done else NEXT if name == next_one else LATER, url, again if is_done else action)
        for name, text, url, action, again, is_done in found
    ]


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """The steps, all of them open. A POST with `hide` or `show` says whether the home shows them too."""
    user = cast("User", request.user)
    if not may_see(user):
        raise PermissionDenied
    if request.method == "POST":
        request.session[HIDDEN] = "hide" in request.POST
        return redirect("admin:index")
    asked, newest = request.GET.get("after"), _newest()
    model, is_sure = _model()
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "First steps",
        "steps": steps_of(),
        "curl": model_snippets(settings.EDGE_URL, model)[0].text if model else "",
        "is_sure": is_sure,
        "edge_url": settings.EDGE_URL,
        "after": (newest.pk if newest else "") if asked is None else asked,
        "arrived": _shown(newest) if asked is not None and _is_new(newest, as_uuid(asked)) else None,
        "is_hidden": bool(request.session.get(HIDDEN)),
    }
    return TemplateResponse(request, "relay/home/first_steps_page.html", context)


@require_safe
def arrived(request: HttpRequest) -> HttpResponse:
    """`{"call": null}`, or the newest call where it is another one than `after`: what the page showed as the newest."""
    if not may_see(cast("User", request.user)):
        raise PermissionDenied
    newest = _newest()
    is_new = _is_new(newest, as_uuid(request.GET.get("after", "")))
    return JsonResponse({"call": _shown(newest) if is_new else None})


def _host_key() -> tuple[str, str, str]:
    """What to do, where, and the link's words."""
    if Host.objects.exists():
        text = "The credential that calls to a vendor go out with. It is sealed, and never shown again."
        return text, reverse("admin:catalog_hostkey_add"), "Add a host key"
    text = "No vendor is known yet. `manage.py catalog seed` brings the known ones with their models and prices."
    return text, reverse("admin:catalog_host_add"), "Or add a host by hand"


def _relay_key() -> tuple[str, str, str]:
    if Project.objects.filter(is_archived=False).exists():
        text = "What your app calls with: of a project, under a policy that says which models it reaches."
        return text, reverse("admin:access_relaykey_add"), "Mint a relay key"
    return "A key is of a project, and there is none yet.", reverse("admin:catalog_project_add"), "Add a project"


def _usable_keys() -> Any:
    """Relay keys that may call models now."""
    now = timezone.now()
    live = RelayKey.objects.filter(revoked_at=None, project__is_archived=False, policy__isnull=False)
    return live.filter(Q(expires_at=None) | Q(expires_at__gt=now), scopes__contains=[str(Scope.INFERENCE)])


def _is_used() -> bool:
    """Whether endpoints take calls: such a relay may want no model at all."""
    newest = Request.objects.order_by("-pk").values_list("status", flat=True)[:NEWEST]
    return any(status < 300 for status in newest)


def _is_served() -> bool:
    newest = Call.objects.order_by("-received_at").values_list("status", flat=True)[:NEWEST]
    return any(status < 300 for status in newest)


def _model() -> tuple[str | None, bool]:
    """One to call, and whether the edge says that a key of the newest key's project reaches it."""
    key = _usable_keys().select_related("project").order_by("-pk").first()
    served = model_of(key.project) if key else None
    return served or examples.model(), served is not None


def _newest() -> Call | None:
    return Call.objects.order_by("-received_at", "-pk").first()


def _is_new(newest: Call | None, after: UUID | None) -> bool:
    return newest is not None and newest.pk != after


def _shown(call: Call | None) -> dict[str, Any] | None:
    """For the page and its script."""
    if call is None:
        return None
    return {
        "id": str(call.pk),
        "url": reverse("admin:traffic_call_change", args=[call.pk]),
        "status": call.status,
        "error": call.error,
        "model": call.model or call.requested_model,
        "host": call.host,
        "took": time_text(call.total_us),
        "isServed": call.status < 300,
    }

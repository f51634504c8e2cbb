"""The page "Test console", the stream of a call, and where the call is written down.

For whoever may mint and revoke relay keys: a call costs the project what any call of the key costs it.
"""

from typing import Any, cast

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST, require_safe

from relay_admin.access.models import RelayKey, User
from relay_admin.access.request_actor import actor_in_request
from relay_admin.access.roles import Act
from relay_admin.access.scoping import Actor, actor_of, rows_of
from relay_admin.access.stand_ins import stand_ins
from relay_admin.catalog.models import Endpoint
from relay_admin.console.call import ConsoleCall
from relay_admin.console.forms import CHAT, ConsoleForm
from relay_admin.console.stream import lines
from relay_admin.deliveries.admin.base import as_uuid
from relay_admin.deliveries.models import Request
from relay_admin.resolve_page import suggested_models
from relay_admin.traffic.models import Call

PERMISSIONS = ("access.view_relaykey", "access.add_relaykey", "access.change_relaykey")
MOST_SUGGESTED = 500
_MAX_ID_LENGTH = 128


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """The form. What the address holds is filled in, so that other pages can lead here."""
    actor = _operator(request)
    models = suggested_models() if request.user.has_perm("catalog.view_model") else []
    endpoints = _endpoints() if request.user.has_perm("catalog.view_endpoint") else []
    likely = {"model": models[:1], "endpoint": endpoints[:1], "relay_key": _only_key(actor)}
    initial = {name: first for name, found in likely.items() for first in found} | request.GET.dict()
    form = ConsoleForm(actor, initial=initial)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Test console",
        "form": form,
        "media": form.media,
        "models": models,
        "endpoints": endpoints,
    }
    return TemplateResponse(request, "relay/console.html", context)


@require_POST
def send(request: HttpRequest) -> HttpResponseBase:
    """The call as `application/x-ndjson`; 400 with `{"problems": {field: [text]}}` where the form is wrong."""
    form = ConsoleForm(_operator(request), request.POST)
    if not form.is_valid():
        problems = {name: list(errors) for name, errors in form.errors.items()}
        return JsonResponse({"problems": problems}, status=400)
    relay_key, user = form.cleaned_data["relay_key"], cast("User", request.user)
    call = ConsoleCall(form.asked(), relay_key, form.scope, user, actor_in_request(request))
    unbuffered = {"X-Accel-Buffering": "no"}
    return StreamingHttpResponse(lines(call), content_type="application/x-ndjson", headers=unbuffered)


@require_GET
def recorded(request: HttpRequest) -> JsonResponse:
    """`{"url": ...}` of the page of a call that was made, by the `request` id that the caller was told; null while
    it is not written down, and for who may not see it."""
    _operator(request)
    request_id = request.GET.get("request", "")[:_MAX_ID_LENGTH].replace("\0", "")
    is_chat = request.GET.get("kind") == CHAT
    found = _call_url(request, request_id) if is_chat else _request_url(request, request_id)
    return JsonResponse({"url": found})


def _operator(request: HttpRequest) -> Actor:
    actor = actor_of(request, *PERMISSIONS)
    if not actor.is_operator:
        raise PermissionDenied
    return actor


def _call_url(request: HttpRequest, request_id: str) -> str | None:
    if not request_id or not request.user.has_perm("traffic.view_call"):
        return None
    row = Call.objects.filter(request_id=request_id).only("pk").first()
    return None if row is None else reverse("admin:traffic_call_change", args=[row.pk])


def _request_url(request: HttpRequest, request_id: str) -> str | None:
    key = as_uuid(request_id)
    if key is None or not request.user.has_perm("deliveries.view_request"):
        return None
    is_there = Request.objects.filter(pk=key).exists()
    return reverse("admin:deliveries_request_change", args=[key]) if is_there else None


def _only_key(actor: Actor) -> list[int]:
    """The key that works, where there is no other to choose."""
    rows = rows_of(RelayKey, actor, Act.MANAGE_KEYS).exclude(stand_ins()).filter(revoked_at=None).order_by("pk")
    keys = list(rows[:2])
    return [key.pk for key in keys if len(keys) == 1 and key.state(timezone.now()) in ("active", "expiring")]


def _endpoints() -> list[str]:
    rows = Endpoint.objects.filter(is_enabled=True).select_related("line__project")
    return [str(row) for row in rows.order_by("line__project__slug", "line__slug", "slug")[:MOST_SUGGESTED]]

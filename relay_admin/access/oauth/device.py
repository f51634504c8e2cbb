"""The device flow (RFC 8628): a program shows a code, and its user types it in here, on another screen.

Whoever sends somebody else such a code wants them to allow what they did not begin: so the page says who asks, shows
the code again, and asks whether it is on a device in front of them.
"""

import secrets
from datetime import timedelta
from typing import Any, cast

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods
from oauth2_provider.models import get_device_grant_model
from oauthlib.common import Request
from oauthlib.oauth2.rfc6749 import errors
from oauthlib.oauth2.rfc8628.grant_types import DeviceCodeGrant

from relay_admin.access.models import User
from relay_admin.access.oauth import authorizations, endpoints
from relay_admin.access.oauth.cors import shared
from relay_admin.access.oauth.metadata import url_of
from relay_admin.access.oauth.models import OAuthApplication
from relay_admin.access.oauth.pages import CapForm, page
from relay_admin.access.oauth.revocation import ConsentOver
from relay_admin.access.oauth.server import core
from relay_admin.access.oauth.validator import DEVICE_LIFE, hashed
from relay_admin.access.throttle import Action, LoginThrottled, Throttled, code_begin, code_found, site_begin

LIFE_SECONDS = int(DEVICE_LIFE.total_seconds())
INTERVAL_SECONDS = 5
MOST_PENDING = 1_000
"""Of one application: anybody may ask for codes, and each is a row."""
ABANDONED = timedelta(seconds=60)
"""A program that still wants its code asks for it at least each SLOWEST_SECONDS."""

_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so no words; none that looks like another
_HALF = 4


@shared("POST")
@endpoints.limited
def device_authorization(request: HttpRequest) -> HttpResponse:
    """RFC 8628 section 3.1: a code for the program, and one for its user."""
    server = core().server
    asked = Request(*core()._extract_params(request))
    asked.scopes = None
    try:
        DeviceCodeGrant(server.request_validator).validate_device_authorization_request(asked)
        if not asked.client.allows_grant_type(OAuthApplication.GRANT_DEVICE_CODE):
            raise errors.UnauthorizedClientError(request=asked)
    except errors.OAuth2Error as error:
        return endpoints.answer(error.headers, error.json, error.status_code)
    try:
        site_begin(request.META.get("REMOTE_ADDR", ""), Action.DEVICE)
    except Throttled as throttled:
        return endpoints.too_many(throttled)
    device_model = get_device_grant_model()
    with transaction.atomic():
        if not _has_place(asked.client.client_id):
            return JsonResponse({"error": "temporarily_unavailable"}, status=503, headers={"Retry-After": "60"})
        device_code, user_code = secrets.token_urlsafe(32), _user_code()
        device_model.objects.create(
            client_id=asked.client.client_id,
            device_code=hashed(device_code),
            user_code=user_code,
            scope=" ".join(asked.scopes),
            interval=INTERVAL_SECONDS,
            expires=timezone.now() + timedelta(seconds=LIFE_SECONDS),
        )
    shown = f"{user_code[:_HALF]}-{user_code[_HALF:]}"
    said = {
        "device_code": device_code,
        "user_code": shown,
        "verification_uri": url_of("oauth-device-code"),
        "verification_uri_complete": f"{url_of('oauth-device-code')}?user_code={shown}",
        "expires_in": LIFE_SECONDS,
        "interval": INTERVAL_SECONDS,
    }
    return JsonResponse(said, headers={"Cache-Control": "no-store"})


def _has_place(client_id: str) -> bool:
    """Whether another code of this application may wait. Where there is no place, those that no program asks for any
    more give theirs up. Forgets codes that have been over for so long that nobody asks whether they are."""
    device_model, now = get_device_grant_model(), timezone.now()
    device_model.objects.filter(expires__lt=now - DEVICE_LIFE).delete()
    waiting = device_model.objects.filter(
        client_id=client_id, status=device_model.AUTHORIZATION_PENDING, expires__gt=now
    )
    if waiting.count() >= MOST_PENDING:
        waiting.filter(last_checked__lt=now - ABANDONED).delete()
    return waiting.count() < MOST_PENDING


@csrf_protect
@login_required
@require_http_methods(["GET", "POST"])
def code_page(request: HttpRequest) -> HttpResponse:
    """Asks for the code, then whether to allow what it is about."""
    user = cast("User", request.user)
    typed = request.POST.get("user_code") or request.GET.get("user_code") or ""
    if not typed:
        return page(request, "oauth/device.html", {})
    try:
        device, application = _found(request, user, typed)
    except LoginThrottled as error:
        said = f"Too many tries. Wait {error.wait_seconds} seconds."
        return page(request, "oauth/device.html", {"said": said}, status=429)
    if device is None or application is None:
        said = "There is no such code, or it is over. Look at the device again."
        return page(request, "oauth/device.html", {"said": said}, status=400)
    if request.method == "GET":
        return _asked(request, user, application, device, CapForm(initial=_kept_cap(user, application)))
    try:
        return _decided(request, user, application, device)
    except ConsentOver:
        return redirect(request.path)


def _found(request: HttpRequest, user: User, typed: str) -> tuple[Any, OAuthApplication | None]:
    """What a code that waits is about; None for one that does not. Raises LoginThrottled."""
    address = request.META.get("REMOTE_ADDR", "")
    code_begin(address, user)
    letters = "".join(letter for letter in typed.upper()[:40] if letter in _LETTERS)
    device_model = get_device_grant_model()
    device = device_model.objects.filter(
        user_code=letters, status=device_model.AUTHORIZATION_PENDING, expires__gt=timezone.now()
    ).first()
    if device is None:
        return None, None
    application = OAuthApplication.objects.select_related("project").filter(client_id=device.client_id).first()
    if application is None or not application.is_usable():
        return None, None
    code_found(address, user)
    return device, application


def _asked(request: HttpRequest, user: User, application: OAuthApplication, device: Any, form: CapForm) -> HttpResponse:
    context = {
        **authorizations.asked_context(user, application, device.scope.split()),
        "form": form,
        "user_code": f"{device.user_code[:_HALF]}-{device.user_code[_HALF:]}",
        "action": request.path,
    }
    return page(request, "oauth/consent.html", context, status=400 if form.errors else 200)


def _decided(request: HttpRequest, user: User, application: OAuthApplication, device: Any) -> HttpResponse:
    is_allowed = request.POST.get("decision") == "allow"
    form = CapForm(request.POST)
    if is_allowed and not form.is_valid():
        return _asked(request, user, application, device, form)
    device_model = get_device_grant_model()
    standing = authorizations.authorization_of(user, application)
    with transaction.atomic():
        waits = device_model.objects.filter(pk=device.pk, status=device_model.AUTHORIZATION_PENDING)
        status = device_model.AUTHORIZED if is_allowed else device_model.DENIED
        if waits.update(user=user, status=status) and is_allowed:
            authorizations.authorization_give(
                standing=standing,
                user=user,
                application=application,
                scopes=device.scope.split(),
                cap_microcredits=form.microcredits(),
            )
    said = "Go back to the device: it goes on by itself." if is_allowed else "Nothing was allowed."
    return page(request, "oauth/device.html", {"said": said})


def _kept_cap(user: User, application: OAuthApplication) -> dict[str, Any]:
    return authorizations.cap_initial(authorizations.authorization_of(user, application))


def _user_code() -> str:
    """8 letters: 34 bits, for 10 minutes, tried at as slowly as passwords."""
    return "".join(secrets.choice(_LETTERS) for _ in range(2 * _HALF))

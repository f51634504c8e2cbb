"""To the OpenID Connect provider and back: to sign in, or to connect it with the account that one is signed in as."""

import hmac
import logging
import time
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_safe

from relay_admin.access.oidc import NotLetIn, identity_link, identity_unlink, offers_oidc, person_enter
from relay_admin.access.oidc_client import Begun, Provider, ProviderFailed
from relay_admin.access.throttle import Action
from relay_admin.account.forms import OwnPasswordForm
from relay_admin.account.page import counted, own_path, said, shown, signed_in, user_of
from relay_admin.account.sign_in import FORM_METHODS
from relay_contract.logs import log_fields

logger = logging.getLogger(__name__)

LIFE_SECONDS = 600
_KEY = "oidc"
of_provider = counted(Action.OIDC)
_FAILED = "The sign-in there did not work. Try again, or use your password."


def provider_name() -> str:
    """What people know it by: its host."""
    return urlsplit(settings.OIDC_ISSUER).hostname or ""


@require_safe
@of_provider
def begin(request: HttpRequest) -> HttpResponse:
    """On to the provider."""
    try:
        return redirect(_address(request, onward=request.GET.get("next", "")))
    except ProviderFailed as failed:
        return _failed(request, failed)


@sensitive_post_parameters()
@FORM_METHODS
@signed_in
@of_provider
def connect(request: HttpRequest) -> HttpResponse:
    """With the password: a browser that was left open is not enough for a second way in. What leads on is a link, since
    browsers hold a form's redirect to the content policy."""
    user = user_of(request)
    if not offers_oidc():
        raise Http404
    if "disconnect" in request.POST:
        return _disconnect(request)
    form = OwnPasswordForm(request, user, request.POST if request.method == "POST" else None)
    context: dict[str, Any] = {"provider": provider_name(), "identities": user.external_identities.all()}
    if form.is_valid():
        try:
            context["address"] = _address(request, onward=reverse("account:oidc"), user_id=user.pk)
        except ProviderFailed as failed:
            return _failed(request, failed)
    return shown(request, "oidc", form=form, **context)


@require_safe
@of_provider
def callback(request: HttpRequest) -> HttpResponse:
    """Back with a code. What was begun is forgotten before it is used, so that nothing is used twice."""
    kept = request.session.pop(_KEY, None)
    if not offers_oidc() or kept is None or not _is_answer_to(request, kept):
        return said(request, "This sign-in is over", "It was not begun in this browser, or too long ago.", status=400)
    begun = Begun(**kept["begun"])
    if "code" not in request.GET:
        return said(request, "Not signed in", _FAILED, status=400)
    try:
        person = _provider().person(begun, request.GET["code"])
    except ProviderFailed as failed:
        return _failed(request, failed)
    try:
        if kept["user_id"] is None:
            login(request, person_enter(person))
        elif request.user.pk == kept["user_id"]:
            identity_link(person=person, user=user_of(request))
            messages.success(request, f"You can sign in with {provider_name()} now.")
        else:
            return said(request, "This sign-in is over", "You are not signed in as who began it.", status=400)
    except NotLetIn as refused:
        return said(request, "Not signed in", str(refused), status=403)
    return redirect(own_path(kept["onward"], user_of(request)))


def _disconnect(request: HttpRequest) -> HttpResponse:
    if identity_unlink(user=user_of(request)):
        messages.success(request, f"{provider_name()} is disconnected.")
    else:
        messages.warning(request, "It is your only way in. Set a password first, by a reset.")
    return redirect("account:oidc")


def _address(request: HttpRequest, *, onward: str, user_id: int | None = None) -> str:
    if not offers_oidc():
        raise Http404
    begun = Begun.new()
    address = _provider().address(begun)
    if not request.user.is_authenticated:
        request.session.set_expiry(LIFE_SECONDS)  # anybody may begin, and each time makes a row
    request.session[_KEY] = {"begun": asdict(begun), "onward": onward, "user_id": user_id, "at": time.time()}
    return address


def _is_answer_to(request: HttpRequest, kept: dict[str, Any]) -> bool:
    """`iss`: RFC 9207, for providers that send it."""
    is_young = 0 <= time.time() - kept["at"] <= LIFE_SECONDS
    is_ours = hmac.compare_digest(request.GET.get("state", "").encode(), kept["begun"]["state"].encode())
    return is_young and is_ours and request.GET.get("iss", settings.OIDC_ISSUER) == settings.OIDC_ISSUER


def _provider() -> Provider:
    return Provider(
        issuer=settings.OIDC_ISSUER,
        client_id=settings.OIDC_CLIENT_ID,
        client_secret=settings.OIDC_CLIENT_SECRET,
        redirect_uri=settings.CONTROL_URL + reverse("account:oidc-callback"),
        allowed=settings.EGRESS_ALLOW,
    )


def _failed(request: HttpRequest, failed: ProviderFailed) -> HttpResponse:
    logger.warning("oidc_failed", extra=log_fields(reason=str(failed)))
    return said(request, "Not signed in", _FAILED, status=502)

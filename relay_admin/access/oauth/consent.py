"""`/oauth/authorize`: asks a user, in plain words, whether an application may call models in their name.

Everything that is asked for is in the address, also of the POST: a form's hidden field could say something else than
what was shown.
"""

from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods
from oauth2_provider.exceptions import FatalClientError, OAuthToolkitError
from oauthlib.oauth2.rfc6749 import errors

from relay_admin.access.models import User
from relay_admin.access.oauth import authorizations
from relay_admin.access.oauth.addresses import origin_of
from relay_admin.access.oauth.models import Authorization, OAuthApplication
from relay_admin.access.oauth.pages import CapForm, page
from relay_admin.access.oauth.revocation import ConsentOver
from relay_admin.access.oauth.server import core


@dataclass(frozen=True, slots=True)
class _Asking:
    """A request that may be put to a user. `credentials`: what oauthlib made of the address."""

    request: HttpRequest
    user: User
    application: OAuthApplication
    scopes: list[str]
    credentials: dict[str, Any]


@csrf_protect
@require_http_methods(["GET", "POST"])
def authorize(request: HttpRequest) -> HttpResponse:
    """RFC 6749 section 3.1. Asks only once for the same scopes."""
    if any("\0" in value for _, values in request.GET.lists() for value in values):
        return _refused(request, "A parameter has a NUL.")
    try:
        scopes, credentials = core().validate_authorization_request(request)
    except FatalClientError as error:
        return _refused(request, error.oauthlib_error.description or error.oauthlib_error.error)
    except OAuthToolkitError as error:
        return _back_with(request, error.oauthlib_error)
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    user = cast("User", request.user)
    asking = _Asking(request, user, credentials["request"].client, scopes, credentials)
    try:
        return _decided(asking) if request.method == "POST" else _begun(asking)
    except ConsentOver:
        return redirect(request.get_full_path())  # to be recognised, and asked, anew


def _refused(request: HttpRequest, said: str) -> HttpResponse:
    """Nobody is sent anywhere: neither the application nor where to go back to is certain."""
    return page(request, "oauth/refused.html", {"said": said}, status=400)


def _back_with(request: HttpRequest, error: errors.OAuth2Error) -> HttpResponse:
    """Back to the application, once it is known who goes (RFC 9700 section 4.11.2): else whoever may make one would
    lead people from our address to any other."""
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    return _back(error.redirect_uri, error.twotuples)


def _begun(asking: _Asking) -> HttpResponse:
    with transaction.atomic():
        given = authorizations.authorization_held(asking.user, asking.application)
        if given is not None and set(asking.scopes) <= set(given.scopes) and _is_known(asking):
            return _with_code(asking, given)
    return _asked(asking, CapForm(initial=authorizations.cap_initial(given)))


def _is_known(asking: _Asking) -> bool:
    """Whether only the application itself gets the code. On a user's own machine any program may listen (RFC 8252)."""
    is_confidential = asking.application.client_type == OAuthApplication.CLIENT_CONFIDENTIAL
    return is_confidential or asking.credentials["redirect_uri"].startswith("https://")


def _asked(asking: _Asking, form: CapForm) -> HttpResponse:
    redirect_uri = asking.credentials["redirect_uri"]
    context = {
        **authorizations.asked_context(asking.user, asking.application, asking.scopes),
        "form": form,
        "target": urlsplit(redirect_uri).netloc,
        "action": asking.request.get_full_path(),
    }
    status = 400 if form.errors else 200
    return page(asking.request, "oauth/consent.html", context, form_target=origin_of(redirect_uri), status=status)


def _decided(asking: _Asking) -> HttpResponse:
    if asking.request.POST.get("decision") != "allow":
        denied = errors.AccessDeniedError(state=asking.credentials["state"])
        return _back(asking.credentials["redirect_uri"], denied.twotuples)
    form = CapForm(asking.request.POST)
    if not form.is_valid():
        return _asked(asking, form)
    standing = authorizations.authorization_of(asking.user, asking.application)
    with transaction.atomic():
        given = authorizations.authorization_give(
            standing=standing,
            user=asking.user,
            application=asking.application,
            scopes=asking.scopes,
            cap_microcredits=form.microcredits(),
            referral=asking.request.GET.get("referral", ""),
        )
        return _with_code(asking, given)


def _with_code(asking: _Asking, given: Authorization) -> HttpResponse:
    uri, method, _, headers = core()._extract_params(asking.request)
    credentials = {**asking.credentials, "user": asking.user, "authorization": given}
    answered, _, _ = core().server.create_authorization_response(
        uri, method, headers=headers, scopes=asking.scopes, credentials=credentials
    )
    return _redirect(answered["Location"])


def _back(redirect_uri: str, parameters: list[tuple[str, str]]) -> HttpResponse:
    parsed = urlsplit(redirect_uri)
    query = [*parse_qsl(parsed.query, keep_blank_values=True), *parameters]
    return _redirect(urlunsplit(parsed._replace(query=urlencode(query))))


def _redirect(location: str) -> HttpResponse:
    """With `iss` (RFC 9207), to an address that was registered."""
    parsed = urlsplit(location)
    query = [pair for pair in parse_qsl(parsed.query, keep_blank_values=True) if pair[0] != "iss"]
    response = HttpResponse(status=302, headers={"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"})
    response.headers["Location"] = urlunsplit(parsed._replace(query=urlencode([*query, ("iss", settings.CONTROL_URL)])))
    return response

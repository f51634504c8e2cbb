"""In, out, and the page of who is in."""

from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import login, logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from relay_admin.access.mails import sends_mail
from relay_admin.access.oidc import offers_oidc
from relay_admin.account.forms import SignInForm
from relay_admin.account.page import landing, led_on, own_path, public, shown, signed_in, user_of

FORM_METHODS = require_http_methods(["GET", "HEAD", "POST"])


@require_safe
@signed_in
def home(request: HttpRequest) -> HttpResponse:
    """What one's account is, and where to change it."""
    user = user_of(request)
    projects = user.memberships.select_related("project").filter(project__is_archived=False)
    return shown(request, "home", sends_mail=sends_mail(), projects=projects, has_oidc=offers_oidc())


@require_safe
@public
def begin(request: HttpRequest) -> HttpResponse:
    """`/`: to where who is signed in begins, else to the sign-in."""
    return redirect(landing(user_of(request)) if request.user.is_authenticated else "account:sign-in")


@sensitive_post_parameters()
@FORM_METHODS
@public
def sign_in(request: HttpRequest) -> HttpResponse:
    """The session's key is a new one afterwards (`session_middleware.py`)."""
    onward = request.POST.get("next", request.GET.get("next", ""))
    if request.method != "POST" and request.user.is_authenticated:
        return redirect(own_path(onward, user_of(request)))
    form = SignInForm(request, request.POST if request.method == "POST" else None)
    if form.is_valid():
        login(request, form.user)
        return led_on(own_path(onward, user_of(request)))
    context = {"form": form, "next": onward, "is_open": settings.SIGNUP == "open"}
    context |= {"provider": urlsplit(settings.OIDC_ISSUER).hostname}
    return shown(request, "sign_in", status=429 if _has_to_wait(form) else 200, **context)


@FORM_METHODS
@public
def sign_out(request: HttpRequest) -> HttpResponse:
    """A POST ends the session. A GET asks, so that no link and no picture of another site signs anybody out."""
    if request.method == "POST":
        logout(request)
        return redirect("account:sign-in")
    return shown(request, "sign_out") if request.user.is_authenticated else redirect("account:sign-in")


def _has_to_wait(form: SignInForm) -> bool:
    return form.is_bound and form.has_error("__all__", "throttled")

"""What the account's pages share: how one is answered, who may see it, where one may be led."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast
from urllib.parse import urlencode

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.encoding import iri_to_uri
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache

from relay_admin.access.models import User
from relay_admin.access.throttle import Action, Throttled, site_begin

P = ParamSpec("P")
_ASKED_BY_OTHERS = "/oauth/"
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def shown(request: HttpRequest, name: str, *, status: int = 200, **context: Any) -> HttpResponse:
    """A page of `templates/account/`."""
    return TemplateResponse(request, f"account/{name}.html", context, status=status)


def said(request: HttpRequest, title: str, text: str, *, status: int = 200) -> HttpResponse:
    """A page that has one thing to say."""
    return shown(request, "said", status=status, title=title, text=text)


def link_is_over(request: HttpRequest) -> HttpResponse:
    """For a link that was never made, is used or is too old: they look alike."""
    text = "It was used already, it is too old, or it was not copied whole. Ask for another one."
    return said(request, "This link does not work", text, status=404)


def public(view: View[P]) -> View[P]:
    """A page for everybody. It is in no cache: it has a form's token, or says who is signed in."""

    @never_cache
    @wraps(view)
    def answer(request: HttpRequest, *args: P.args, **keywords: P.kwargs) -> HttpResponse:
        return view(request, *args, **keywords)

    return answer


def counted(action: Action) -> Callable[[View[P]], View[P]]:
    """A page that each network address may ask for so often (`throttle.OF_SITE`), and whose address is in no log."""

    def decorated(view: View[P]) -> View[P]:
        @public
        @wraps(view)
        def answer(request: HttpRequest, *args: P.args, **keywords: P.kwargs) -> HttpResponse:
            try:
                site_begin(request.META.get("REMOTE_ADDR", ""), action)
            except Throttled as throttled:
                return _unlogged(waits(request, throttled))
            return _unlogged(view(request, *args, **keywords))

        return answer

    return decorated


def of_link(view: View[P]) -> View[P]:
    """A page behind a link with a token: opening them is counted, so that nobody tries many."""
    return counted(Action.LINK)(view)


def _unlogged(response: HttpResponse) -> HttpResponse:
    """Django logs the address of what is refused, and the address of a link is its token."""
    response._has_been_logged = True  # type: ignore[attr-defined]  # what django.utils.log asks
    return response


def signed_in(view: View[P]) -> View[P]:
    """A page for who is signed in; others sign in first, and then come back to it."""

    @public
    @wraps(view)
    def answer(request: HttpRequest, *args: P.args, **keywords: P.kwargs) -> HttpResponse:
        if request.user.is_authenticated:
            return view(request, *args, **keywords)
        return redirect(f"{reverse('account:sign-in')}?{urlencode({'next': request.path})}")

    return answer


def waits(request: HttpRequest, throttled: Throttled) -> HttpResponse:
    """429, with how long."""
    answer = said(request, "Please wait", str(throttled), status=429)
    answer["Retry-After"] = str(throttled.wait_seconds)
    return answer


def user_of(request: HttpRequest) -> User:
    """Who is signed in, on a page that is `signed_in`."""
    return cast("User", request.user)


def landing(user: User) -> str:
    """Where somebody begins: operators in the admin, everybody else in the portal."""
    return reverse("admin:index") if user.is_staff else reverse("portal:projects")


def own_path(text: str, user: User) -> str:
    """Where `next` leads: a path of ours, else where they begin."""
    is_ours = text.startswith("/") and url_has_allowed_host_and_scheme(text, allowed_hosts=None)
    return text if is_ours else landing(user)


def led_on(path: str) -> HttpResponse:
    """On to a path of ours, in answer to a form. What an application asks for may lead on to its own site, and browsers
    hold all redirects of a form to the content policy of its page: so that is begun anew."""
    if not path.startswith(_ASKED_BY_OTHERS):
        return redirect(path)
    return HttpResponse(headers={"Refresh": f"0; url={iri_to_uri(path)}"})


def add_errors(form: Form, error: ValidationError) -> None:
    """A service's refusal, at the fields that the form has."""
    problems = error.message_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.messages}
    for name, messages in problems.items():
        for message in messages:
            form.add_error(name if name in form.fields else None, message)

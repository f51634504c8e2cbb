"""Which pages of other sites may read what the endpoints for programs answer: those of enabled applications.

By name, never `*`, and never with cookies: none of these endpoints looks at one.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt

from relay_admin.access.oauth.models import OAuthApplication

PREFLIGHT_SECONDS = 600
_ASKED = "authorization, content-type"

View = Callable[[HttpRequest], HttpResponse]


def shared(method: str) -> Callable[[View], View]:
    """A view for programs, by this method alone, that declared pages may call."""

    def decorated(view: View) -> View:
        @csrf_exempt
        @wraps(view)
        def wrapper(request: HttpRequest) -> HttpResponse:
            if request.method == "OPTIONS":
                response: HttpResponse = HttpResponse(status=204)
            elif request.method == method:
                response = view(request)
            else:
                response = HttpResponseNotAllowed([method, "OPTIONS"])
            return _allowed(request, response, method)

        return wrapper

    return decorated


def readable(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A view of the control API, of which declared pages may read what a GET with an access token answers."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **named: Any) -> HttpResponse:
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return _allowed(request, HttpResponse(status=204), "GET")
        response = view(request, *args, **named)
        return _allowed(request, response, "GET") if request.method == "GET" else response

    return wrapper


def _allowed(request: HttpRequest, response: HttpResponse, method: str) -> HttpResponse:
    origin = request.headers.get("Origin")
    patch_vary_headers(response, ["Origin"])
    if origin is None or not is_declared(origin):
        return response
    response.headers["Access-Control-Allow-Origin"] = origin
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = method
        response.headers["Access-Control-Allow-Headers"] = _ASKED
        response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
    else:
        response.headers["Access-Control-Expose-Headers"] = "WWW-Authenticate, Retry-After"
    return response


def is_declared(origin: str) -> bool:
    """Whether an enabled application of a project at work names it, exactly."""
    if "\0" in origin:
        return False
    return OAuthApplication.objects.filter(
        allowed_origins__contains=[origin], is_enabled=True, project__is_archived=False
    ).exists()

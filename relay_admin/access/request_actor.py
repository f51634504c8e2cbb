"""Who acts in a request of the control plane, for the audit log."""

import ipaddress
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from relay_admin.access.acting import Actor, Via, acting
from relay_admin.access.models import AccessToken, AdminToken, RelayKey

API_PREFIXES = ("/api/", "/auth/")
PORTAL_PREFIXES = ("/account/", "/portal/")
VIA = "relay.via"
"""Of an ASGI scope that was made in this process: the door by which the caller came."""


def request_actor(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Django middleware, after the one that knows the session's user. An admin token's is known once it is read."""

    def middleware(request: HttpRequest) -> HttpResponse:
        with acting(lambda: actor_in_request(request)):
            return get_response(request)

    return middleware


def actor_in_request(request: HttpRequest) -> Actor:
    """For the audit log."""
    user, token = request.user, getattr(request, "auth", None)
    known = token.user if isinstance(token, AccessToken) else user if user.is_authenticated else None
    return Actor(
        _via(request),
        user_id=known.pk if known else None,
        user_name=known.get_username() if known else "",
        tool=_tool(token),
        address=_address(request.META.get("REMOTE_ADDR", "")),
    )


def _via(request: HttpRequest) -> Via:
    inside = getattr(request, "scope", {}).get(VIA)
    if inside is not None:
        return Via(inside)
    if request.path.startswith(API_PREFIXES):
        return Via.API
    return Via.PORTAL if request.path.startswith(PORTAL_PREFIXES) else Via.ADMIN


def _tool(token: object) -> str:
    match token:
        case AdminToken():
            return token.name
        case RelayKey():
            return f"relay key {token.key_id}"
        case AccessToken():
            return f"application {token.application.client_id}"
        case _:
            return ""


def _address(text: str) -> str | None:
    """None behind a Unix socket."""
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None

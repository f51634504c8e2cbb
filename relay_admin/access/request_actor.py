"""Who acts in a request of the control plane, for the audit log."""

import ipaddress
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from relay_admin.access.acting import Actor, Via, acting
from relay_admin.access.models import AdminToken, RelayKey
from relay_admin.urls import API_PREFIXES, PORTAL_PREFIXES


def request_actor(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Django middleware, after the one that knows the session's user. An admin token's is known once it is read."""

    def middleware(request: HttpRequest) -> HttpResponse:
        with acting(lambda: _actor(request)):
            return get_response(request)

    return middleware


def _actor(request: HttpRequest) -> Actor:
    user, token = request.user, getattr(request, "auth", None)
    known = user if user.is_authenticated else None
    return Actor(
        _via(request.path),
        user_id=known.pk if known else None,
        user_name=known.get_username() if known else "",
        tool=_tool(token),
        address=_address(request.META.get("REMOTE_ADDR", "")),
    )


def _via(path: str) -> Via:
    if path.startswith(API_PREFIXES):
        return Via.API
    return Via.PORTAL if path.startswith(PORTAL_PREFIXES) else Via.ADMIN


def _tool(token: object) -> str:
    match token:
        case AdminToken():
            return token.name
        case RelayKey():
            return f"relay key {token.key_id}"
        case _:
            return ""


def _address(text: str) -> str | None:
    """None behind a Unix socket."""
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None

"""The endpoints for programs: token, revocation, introspection, user info. Each answers JSON, and no cookie counts."""

import base64
import json
from contextlib import suppress
from functools import wraps
from typing import Any
from urllib.parse import unquote

from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from oauthlib.common import Request

from relay_admin.access.models import User
from relay_admin.access.oauth.cors import View, shared
from relay_admin.access.oauth.live_tokens import claims_of
from relay_admin.access.oauth.models import OAuthApplication
from relay_admin.access.oauth.scopes import ACCOUNT
from relay_admin.access.oauth.server import core
from relay_admin.access.throttle import Throttled, client_begin, client_succeeded
from relay_admin.ledger.accounts import balance_of
from relay_admin.ledger.purses import available

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_BASIC = {"WWW-Authenticate": 'Basic realm="oauth"'}


def limited(view: View) -> View:
    """An endpoint that takes a form, counted by network address, and by application and address what is a guess: a
    wrong secret, code or token. A device that asks before its user said yes does not guess."""

    @wraps(view)
    def wrapper(request: HttpRequest) -> HttpResponse:
        fault = _form_fault(request)
        if fault is not None:
            return fault
        address, client_id = request.META.get("REMOTE_ADDR", ""), _client_named(request)
        try:
            client_begin(address, client_id)
        except Throttled as throttled:
            return too_many(throttled)
        response = view(request)
        if not _is_guess(response):
            client_succeeded(address, client_id)
        return response

    return wrapper


def too_many(throttled: Throttled) -> JsonResponse:
    """429, with how long."""
    headers = {**_NO_STORE, "Retry-After": str(throttled.wait_seconds)}
    return JsonResponse(
        {"error": "too_many_requests", "error_description": str(throttled)}, status=429, headers=headers
    )


def _client_named(request: HttpRequest) -> str:
    """The application that the request names, whoever sends it; "" for one that there is not."""
    named = Request(*core()._extract_params(request)).client_id or ""
    kind, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":
        with suppress(ValueError):
            named = unquote(base64.b64decode(credentials).decode().partition(":")[0])
    is_there = "\0" not in named and OAuthApplication.objects.filter(client_id=named).exists()
    return named if is_there else ""


def _is_guess(response: HttpResponse) -> bool:
    return response.status_code == 401 or (
        response.status_code == 400 and json.loads(response.content).get("error") == "invalid_grant"
    )


def _form_fault(request: HttpRequest) -> HttpResponse | None:
    """What no endpoint takes: anything in the address, another type of body, bytes that no text has, and two secrets
    (RFC 6749 section 2.3), of which one could be another application's."""
    if request.META.get("QUERY_STRING"):
        return _error("invalid_request", "Send parameters in the body: addresses are written to logs.")
    if request.content_type != "application/x-www-form-urlencoded":
        return _error("invalid_request", "Send a form: application/x-www-form-urlencoded.")
    if any("\0" in value for values in request.POST.lists() for value in values[1]):
        return _error("invalid_request", "A parameter has a NUL.")
    if "Authorization" in request.headers and "client_secret" in request.POST:
        return _error("invalid_request", "Send the client's secret once: in the header or in the body.")
    return None


@shared("POST")
@limited
def token(request: HttpRequest) -> HttpResponse:
    """RFC 6749 section 3.2. One transaction: an answer that is an error keeps what it revoked."""
    with transaction.atomic():
        _, headers, body, status = core().create_token_response(request)
    return answer(headers, body, status)


@shared("POST")
@limited
def revoke(request: HttpRequest) -> HttpResponse:
    """RFC 7009. 200 also for a token that is none of the application's."""
    with transaction.atomic():
        _, headers, body, status = core().create_revocation_response(request)
    return answer(headers, body, status)


@shared("POST")
@limited
def introspect(request: HttpRequest) -> HttpResponse:
    """RFC 7662, of access tokens, for confidential applications of the same project."""
    asking = _authenticated(request)
    if asking is None:
        return JsonResponse(
            {"error": "invalid_client"}, status=401, headers={"WWW-Authenticate": 'Basic realm="oauth"'}
        )
    text = request.POST.get("token", "")
    if not text:
        return _error("invalid_request", "Send `token`.")
    claims = claims_of(text)
    if claims is None or claims.project_id != asking.project_id:
        return JsonResponse({"active": False}, headers=_NO_STORE)
    said = {
        "active": True,
        "scope": " ".join(claims.scopes),
        "client_id": claims.client_id,
        "token_type": "Bearer",
        "exp": claims.expires_at,
        "iat": claims.issued_at,
        "sub": str(claims.subject),
        "jti": claims.jti,
    }
    return JsonResponse(said, headers=_NO_STORE)


@shared("GET")
def userinfo(request: HttpRequest) -> HttpResponse:
    """Who the token's user is, for tokens with the scope `account`."""
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    claims = claims_of(text) if kind.lower() == "bearer" else None
    if claims is None:
        challenge = 'Bearer realm="relay"' + (', error="invalid_token"' if text else "")
        return JsonResponse({"error": "invalid_token"}, status=401, headers={"WWW-Authenticate": challenge})
    if ACCOUNT not in claims.scopes:
        challenge = f'Bearer realm="relay", error="insufficient_scope", scope="{ACCOUNT}"'
        return JsonResponse({"error": "insufficient_scope"}, status=403, headers={"WWW-Authenticate": challenge})
    user = User.objects.get(pk=claims.subject)
    said = {
        "sub": str(user.pk),
        "preferred_username": user.get_username(),
        **_address(user),
        "balance": {"mode": claims.mode, "microcredits": _left(claims.wallet_id)},
    }
    return JsonResponse(said, headers=_NO_STORE)


def _left(wallet_id: int) -> int:
    """What the wallet has for calls. A call that has just ended is in its purse before its row is in its balance."""
    balance = balance_of(wallet_id)
    purse = available([wallet_id]).get(wallet_id)
    return balance.available if purse is None else min(balance.available, purse - balance.overdraft)


def _address(user: User) -> dict[str, Any]:
    """Of somebody whose name is their e-mail address, which is told as their name: whether they have proved it. Another
    address is no application's to know."""
    if user.get_username().lower() != user.email.lower():
        return {}
    return {"email": user.email, "email_verified": user.email_verified_at is not None}


def _authenticated(request: HttpRequest) -> Any:
    """The confidential application that asks, or None."""
    asked = Request(*core()._extract_params(request))
    if not core().server.request_validator.authenticate_client(asked):
        return None
    return asked.client if asked.client.client_type == asked.client.CLIENT_CONFIDENTIAL else None


def _error(code: str, text: str) -> JsonResponse:
    return JsonResponse({"error": code, "error_description": text}, status=400, headers=_NO_STORE)


def answer(headers: dict[str, str], body: str, status: int) -> HttpResponse:
    """What oauthlib says, as Django's."""
    response = HttpResponse(body or json.dumps({}), status=status, content_type="application/json")
    challenge = _BASIC if status == 401 else {}
    for name, value in {**headers, **_NO_STORE, **challenge}.items():
        response.headers[name] = value
    return response

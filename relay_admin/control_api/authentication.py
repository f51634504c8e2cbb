"""Bearers of the control API. An admin token acts as its user: with that user's permissions, within its own scopes and
projects, and only while the account is active. A relay key with the scope `control` acts as a developer of its project.
An access token that is for this plane reads what is its user's own with the scope `account`; with `control:read` or
`control` it acts in the project of its application, as its user there and as no more than a developer."""

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from relay_admin.access.models import AccessToken, AdminToken, RelayKey, User
from relay_admin.access.oauth.live_tokens import live_token
from relay_admin.access.oauth.scopes import ACCOUNT, AT_CONTROL, CONTROL, CONTROL_READ
from relay_admin.access.token_scopes import SAFE_METHODS, lacking
from relay_admin.control_api.errors import ScopeMissing
from relay_contract import tokens
from relay_contract.networks import Networks
from relay_contract.nouns import Scope

MAX_HEADER_BYTES = 256


class KeyHolder(AnonymousUser):
    """Whoever holds a relay key or an application's token: without any permission, but known."""

    is_authenticated = True  # type: ignore[assignment]  # of Django's it is a property


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer ra_...` or `rk_...`, or a JWT.

    Every bearer of a kind costs the same work, whatever is wrong with it: one hash and one look-up of that hash in an
    index. All get one answer, so it cannot be used to find out which tokens once existed.
    """

    def authenticate(self, request: Request) -> tuple[User | KeyHolder, AdminToken | RelayKey | AccessToken] | None:
        """None where no bearer was sent, which leaves the call to the session. Every route of the API comes by here, so
        this is where a bearer that was made for less is refused. Raises AuthenticationFailed and PermissionDenied."""
        header = get_authorization_header(request)
        scheme, _, token = header.partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        if token.count(b".") == 2:
            shown = _access_token(token.strip())
            _refuse_beyond(shown, request)
            return KeyHolder(), shown
        token = token.strip()[:MAX_HEADER_BYTES]
        if token.startswith(tokens.RELAY_PREFIX.encode()):
            key = _relay_key(token, request.META.get("REMOTE_ADDR", ""))
            if key is None or Scope.CONTROL not in key.scopes:
                raise AuthenticationFailed("The relay key is unknown, has ended, or is not for this.")
            return KeyHolder(), key
        is_current = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        rows = AdminToken.objects.select_related("user").filter(is_current, user__is_active=True)
        found = rows.filter(token_hash=tokens.hash_token(token)).first()
        if found is None:
            raise AuthenticationFailed("The admin token is unknown, expired, or its user is not active.")
        _refuse_beyond(found, request)
        return found.user, found

    def authenticate_header(self, _request: Request) -> str:
        """What makes an unauthenticated call a 401 and not a 403."""
        return f'Bearer resource_metadata="{settings.CONTROL_URL}{reverse("oauth-resource")}"'


def _access_token(token: bytes) -> AccessToken:
    """Raises AuthenticationFailed, and PermissionDenied for one that is not for this plane."""
    found = live_token(token.decode("latin-1"), settings.CONTROL_URL)
    if found is None:
        raise AuthenticationFailed("The access token is not for this, has ended, or was revoked.")
    claims, row = found
    if AT_CONTROL.isdisjoint(claims.scopes):
        raise PermissionDenied(f"This access token lacks the scope `{ACCOUNT}`, `{CONTROL_READ}` or `{CONTROL}`.")
    return row


def scope_lacking(bearer: object, method: str | None, route: str) -> str | None:
    """The scope that a bearer of any kind lacks for a call; None where it has it, and for a session."""
    match bearer:
        case AdminToken():
            return lacking(bearer.scopes, method, route)
        case AccessToken() if method not in SAFE_METHODS and CONTROL not in bearer.scope.split():
            return CONTROL
        case _:
            return None


def _refuse_beyond(bearer: AdminToken | AccessToken, request: Request) -> None:
    scope = scope_lacking(bearer, request.method, request.resolver_match.route)
    if scope is not None:
        raise ScopeMissing(scope)


class HolderAuthentication(BaseAuthentication):
    """`Authorization: Bearer rk_...` of any scope: for what is about the key itself."""

    def authenticate(self, request: Request) -> tuple[KeyHolder, RelayKey]:
        """Raises AuthenticationFailed, also where no bearer was sent."""
        scheme, _, token = get_authorization_header(request).partition(b" ")
        address = request.META.get("REMOTE_ADDR", "")
        key = _relay_key(token.strip()[:MAX_HEADER_BYTES], address) if scheme.lower() == b"bearer" else None
        if key is None:
            raise AuthenticationFailed("The relay key is unknown or has ended, or this is no place to use it from.")
        return KeyHolder(), key

    def authenticate_header(self, _request: Request) -> str:
        """As above."""
        return "Bearer"


def _relay_key(token: bytes, address: str) -> RelayKey | None:
    """The key, where the edges would take it too."""
    key = RelayKey.objects.select_related("project").filter(token_hash=tokens.hash_token(token)).first()
    if key is None or key.project.is_archived:
        return None
    if key.state(timezone.now()) in ("stopped", "expired", "revoked"):
        return None
    if key.allowed_networks and address not in Networks(key.allowed_networks):
        return None
    return key

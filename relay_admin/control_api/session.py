"""`/auth/*`: who is calling, and sessions for pages that are not the admin."""

from datetime import datetime
from typing import Any, Literal, TypedDict

from django.contrib.auth import authenticate, login, logout
from django.middleware.csrf import get_token
from rest_framework import serializers
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.admin_tokens import projects_of
from relay_admin.access.login_form import MAX_SIGN_IN_NAME
from relay_admin.access.models import AccessToken, AdminToken, RelayKey, User
from relay_admin.access.roles import Role
from relay_admin.control_api import errors
from relay_admin.control_api.answers import answers
from relay_admin.control_api.wire import Strict, read


class BoundsJson(TypedDict):
    """What an admin token is narrowed to. `projects` null: every one of its user's."""

    name: str
    scopes: list[str]
    projects: list[str] | None
    expiresAt: datetime | None


class PersonJson(TypedDict):
    """A user who calls with a session or an admin token. `token`: what bounds it; null for a session."""

    username: str
    email: str
    referralCode: str | None
    isSuperuser: bool
    groups: list[str]
    permissions: list[str]
    token: BoundsJson | None
    via: Literal["token", "session"]


class KeyJson(TypedDict):
    """A relay key with the scope `control` that calls."""

    project: str
    role: str
    relayKey: str
    via: Literal["key"]


class ApplicationCallerJson(TypedDict):
    """An application that calls for a user."""

    username: str
    application: str
    scopes: list[str]
    via: Literal["application"]


class CsrfJson(TypedDict):
    """What goes back as X-CSRFToken."""

    csrfToken: str


def who(request: Request) -> dict[str, Any]:
    """The caller: `via` is `token`, `session`, `key` or `application`."""
    user, key = request.user, request.auth
    if isinstance(key, RelayKey):
        return {"project": key.project.slug, "role": str(Role.DEVELOPER), "relayKey": key.key_id, "via": "key"}
    if isinstance(key, AccessToken):
        named = {"username": key.user.get_username(), "application": key.application.client_id}
        return {**named, "scopes": key.scope.split(), "via": "application"}
    assert isinstance(user, User)
    return {
        "username": user.username,
        "email": user.email,
        "referralCode": user.referral_code,
        "isSuperuser": user.is_superuser,
        "groups": sorted(user.groups.values_list("name", flat=True)),
        "permissions": sorted(user.get_all_permissions()),
        "token": _bounds(key) if isinstance(key, AdminToken) else None,
        "via": "token" if isinstance(key, AdminToken) else "session",
    }


def _bounds(token: AdminToken) -> BoundsJson:
    projects = projects_of(token)
    return {
        "name": token.name,
        "scopes": token.scopes,
        "projects": None if projects is None else [project.slug for project in projects],
        "expiresAt": token.expires_at,
    }


class WhoAmI(APIView):
    """GET: who is calling, and what they may do."""

    permission_classes = [IsAuthenticated]

    @answers(PersonJson | KeyJson | ApplicationCallerJson, name="whoAmI")
    def get(self, request: Request) -> Response:
        """401 for nobody."""
        return Response(who(request))


class Credentials(Strict):
    """Body of a login. `username`: a name or an e-mail address."""

    username = serializers.CharField(max_length=MAX_SIGN_IN_NAME)
    password = serializers.CharField(max_length=4096, trim_whitespace=False)


class Login(APIView):
    """GET hands out a CSRF token; POST with it and credentials begins a session."""

    # DRF asks for CSRF tokens of signed-in callers only, and a forged login signs people in as somebody else.
    authentication_classes = []
    permission_classes = [AllowAny]

    @answers(CsrfJson, name="getCsrfToken")
    def get(self, request: Request) -> Response:
        """Sets the cookie, and gives the value to send back as X-CSRFToken."""
        return Response({"csrfToken": get_token(request._request)})

    @answers(PersonJson, refuses=(401, 403, 429), name="logIn")
    def post(self, request: Request) -> Response:
        """401 for wrong credentials, the same for an unknown name, a wrong password and an inactive account."""
        SessionAuthentication().enforce_csrf(request)
        credentials = read(Credentials, request.data)
        user = authenticate(request._request, **credentials)
        if user is None:
            # Not raised: without an authenticator DRF would turn it into a 403.
            return Response(errors.WRONG_CREDENTIALS, status=401, headers={"WWW-Authenticate": "Bearer"})
        login(request._request, user)
        request.user = user
        return Response(who(request))


class Logout(APIView):
    """POST ends the session."""

    authentication_classes = [SessionAuthentication]
    permission_classes = [AllowAny]

    @answers(refuses=(403,), name="logOut")
    def post(self, request: Request) -> Response:
        """204, also for a session that has ended already."""
        logout(request._request)
        return Response(status=204)

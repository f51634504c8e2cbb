"""`/api/v1/sessions`: where somebody is signed in, and the end of it."""

from typing import TypedDict, cast

from django.contrib.auth import logout
from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access import session_services
from relay_admin.access.login_form import MAX_SIGN_IN_NAME
from relay_admin.access.models import Session, User
from relay_admin.access.session_services import VIEW_PERMISSION
from relay_admin.control_api.answers import Rows, answers
from relay_admin.control_api.paging import Query
from relay_admin.control_api.permissions import IsPerson
from relay_admin.control_api.wire import CamelCaseSerializer, read

MAX_LISTED = 200


class SessionJson(CamelCaseSerializer):
    """A session. `address` and `agent`: of the request seen last. `isCurrent`: this call is made with it."""

    user = serializers.CharField(source="user.username")
    is_current = serializers.SerializerMethodField()

    class Meta:
        model = Session
        fields = ["id", "user", "address", "agent", "created_at", "seen_at", "expires_at", "is_current"]

    def get_is_current(self, session: Session) -> bool:
        """Never of a call with an admin token."""
        return session.pk == self.context["current"]


class RevokedJson(TypedDict):
    """How many sessions were ended."""

    revoked: int


class SessionsQuery(Query):
    """Query of the list: somebody's by name, or `*` for everybody's."""

    user = serializers.CharField(max_length=MAX_SIGN_IN_NAME, required=False)


class SessionsView(APIView):
    """The caller's sessions."""

    permission_classes = [IsPerson]

    @answers(Rows(SessionJson, "items"))
    def get(self, call: Request) -> Response:
        """The last seen first, at most MAX_LISTED."""
        sessions = _asked_for(call)[:MAX_LISTED]
        return Response({"items": SessionJson(sessions, many=True, context={"current": _current(call)}).data})

    @answers(RevokedJson, name="endOtherSessions")
    def delete(self, call: Request) -> Response:
        """Ends all of the caller's but the one that this call is made with; how many those were."""
        read(Query, call.query_params)  # by name one would mean another's
        user = cast("User", call.user)
        others = session_services.sessions_of(user).exclude(pk=_current(call))
        return Response({"revoked": session_services.sessions_revoke(others, by=user)})


class SessionView(APIView):
    """One session."""

    permission_classes = [IsPerson]

    @answers(name="endSession")
    def delete(self, call: Request, session_id: int) -> Response:
        """204; 404 for one that is not the caller's, unless they may revoke everybody's."""
        user = cast("User", call.user)
        wanted = session_services.sessions_revocable_by(user).filter(pk=session_id)
        if not session_services.sessions_revoke(wanted, by=user):
            raise NotFound("There is no such session.")
        if session_id == _current(call):
            logout(call._request)
        return Response(status=204)


def _asked_for(call: Request) -> QuerySet[Session]:
    user = cast("User", call.user)
    name: str = read(SessionsQuery, call.query_params).get("user", user.username)
    if name == user.username:
        return session_services.sessions_of(user)
    if not user.has_perm(VIEW_PERMISSION):
        raise PermissionDenied(f"Other people's sessions need the permission {VIEW_PERMISSION}.")
    everybody = session_services.current_sessions()
    return everybody if name == "*" else everybody.filter(user__username=name)


def _current(call: Request) -> int | None:
    """The session that this call is made with; None for an admin token, whatever cookie came beside it."""
    return None if call.auth is not None else call._request.session.row_id  # type: ignore[attr-defined]  # our store's

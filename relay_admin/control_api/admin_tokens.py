"""`/api/v1/admin-tokens`: bearers of this API, narrowed as they are made: to scopes, projects and an end. A token makes
others that are no wider; revoked, it takes them with it. Its text is told once."""

from datetime import timedelta
from typing import Any, cast

from django.contrib.admin.models import ADDITION, DELETION
from django.core.exceptions import ValidationError
from django.http import Http404
from django.utils import timezone
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access import admin_tokens
from relay_admin.access.models import AdminToken, User
from relay_admin.access.roles import Act
from relay_admin.access.scoping import actor_of
from relay_admin.access.token_scopes import SCOPES
from relay_admin.control_api.answers import Also, Page, answers
from relay_admin.control_api.history import note
from relay_admin.control_api.nouns.fields import on_the_wire
from relay_admin.control_api.paging import MAX_ID, MAX_PAGE, Query, page_of
from relay_admin.control_api.project_field import ProjectField
from relay_admin.control_api.wire import CamelCaseSerializer, ChoiceField, Strict, read

ADD = "access.add_admintoken"
LIFE = timedelta(days=90)
"""Of a token that is made in a session, unless somebody says otherwise."""


class MakesTokens(BasePermission):
    """People see and revoke their own. Making one takes the right to, as in the admin; or a token, since what is made
    with it can do nothing that it could not."""

    message = "This is for people: sign in, or use an admin token."

    def has_permission(self, request: Request, _view: APIView) -> bool:
        if not isinstance(request.user, User):
            return False
        self.message = f"This needs the permission {ADD}, or an admin token to make another with."
        return request.method != "POST" or isinstance(request.auth, AdminToken) or request.user.has_perm(ADD)


class AdminTokenJson(CamelCaseSerializer):
    """A token without its text. `projects`: null where it is for every one of its user's. `parentId`: the token that it
    was made with, and ends with."""

    user = serializers.CharField(source="user.username")
    projects = serializers.SerializerMethodField()
    parent_id = serializers.IntegerField(allow_null=True)

    class Meta:
        model = AdminToken
        fields = ["id", "user", "name", "scopes", "projects", "parent_id", "expires_at", "created_at"]

    def get_projects(self, token: AdminToken) -> list[str] | None:
        """By slug; without those that are gone."""
        if token.project_ids is None:
            return None
        slugs: dict[int, str] = self.context["slugs"]
        return [slugs[project_id] for project_id in token.project_ids if project_id in slugs]


class AdminTokensQuery(Query):
    """Query of the list. `after` is the `next` of the page before."""

    after = serializers.IntegerField(min_value=1, max_value=MAX_ID, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)


class AdminTokenBody(Strict):
    """Body of a POST. `projects` and `expiresAt` that are left out are those of the token that it is made with; in a
    session every project, and 90 days. null is every project, and no end."""

    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(child=ChoiceField(SCOPES), allow_empty=False)
    projects = ProjectField(Act.SEE_PROJECT, many=True, allow_empty=False, allow_null=True, required=False)
    expiresAt = serializers.DateTimeField(allow_null=True, required=False, source="expires_at")  # noqa: N815


class AdminTokensView(APIView):
    """GET tokens, the newest first; POST makes one."""

    permission_classes = [MakesTokens]

    @answers(Page(AdminTokenJson))
    def get(self, call: Request) -> Response:
        """The caller's own, a superuser's everybody's; of a narrowed token itself and those that it made."""
        wanted = read(AdminTokensQuery, call.query_params)
        rows = admin_tokens.admin_tokens_of(cast("User", call.user), _shown(call))
        if "after" in wanted:
            rows = rows.filter(pk__lt=wanted["after"])
        page, more = page_of(rows, wanted["limit"])
        return Response({"results": _json(page), "next": page[-1].pk if more else None})

    @answers({201: Also("MintedAdminToken", AdminTokenJson, {"token": str})}, name="mintAdminToken")
    def post(self, call: Request) -> Response:
        """201 with the token, this once. 400 for more than the token that it is made with may."""
        body = read(AdminTokenBody, call.data, actor=actor_of(call, "catalog.view_project"))
        parent = _shown(call)
        body.setdefault("expires_at", timezone.now() + LIFE if parent is None else parent.expires_at)
        if "projects" not in body:
            body["projects"] = None if parent is None else admin_tokens.projects_of(parent)
        try:
            minted = admin_tokens.admin_token_mint(user=cast("User", call.user), parent=parent, **body)
        except ValidationError as refused:
            raise on_the_wire(refused) from None
        note(call, minted.admin_token, ADDITION, "Minted.")
        [shown] = _json([minted.admin_token])
        return Response({**shown, "token": minted.token}, status=201, headers={"Cache-Control": "no-store"})


class AdminTokenView(APIView):
    """GET one; DELETE revokes it."""

    permission_classes = [MakesTokens]

    @answers(AdminTokenJson)
    def get(self, call: Request, token_id: int) -> Response:
        """404 for one that is not the caller's."""
        return Response(_json([_token(call, token_id)])[0])

    @answers(name="revokeAdminToken")
    def delete(self, call: Request, token_id: int) -> Response:
        """204. It is refused from the next call on, and all that was made with it."""
        token = _token(call, token_id)
        note(call, token, DELETION, "Revoked.")
        admin_tokens.admin_token_revoke(admin_token=token)
        return Response(status=204)


def _shown(call: Request) -> AdminToken | None:
    return call.auth if isinstance(call.auth, AdminToken) else None


def _token(call: Request, token_id: int) -> AdminToken:
    rows = admin_tokens.admin_tokens_of(cast("User", call.user), _shown(call))
    found = rows.filter(pk=min(token_id, MAX_ID)).first()
    if found is None:
        raise Http404
    return found


def _json(rows: list[AdminToken]) -> list[dict[str, Any]]:
    slugs = admin_tokens.project_slugs(rows)
    return [dict(AdminTokenJson(row, context={"slugs": slugs}).data) for row in rows]

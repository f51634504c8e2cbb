"""`/api/v1/projects/{project}/invitations`: who is asked to come into a project. A token is told once."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access import invitations
from relay_admin.access.models import Invitation
from relay_admin.access.roles import GIVEN, Act
from relay_admin.access.scoping import one_of, rows_of
from relay_admin.catalog.models import Project
from relay_admin.control_api.answers import Also, Page, answers
from relay_admin.control_api.members import MembersQuery
from relay_admin.control_api.paging import page_of
from relay_admin.control_api.permissions import actor_in, requires, user_of
from relay_admin.control_api.wire import CamelCaseSerializer, ChoiceField, Strict, read

_NO_STORE = {"Cache-Control": "no-store"}


class InvitationJson(CamelCaseSerializer):
    """An invitation without its token."""

    invited_by = serializers.CharField(source="invited_by.username", allow_null=True, default=None)

    class Meta:
        model = Invitation
        fields = ["id", "email", "role", "invited_by", "created_at", "expires_at", "accepted_at"]


class InvitationBody(Strict):
    """Body of a POST."""

    email = serializers.EmailField(max_length=254)
    role = ChoiceField([str(role) for role in GIVEN])


class InvitationsView(APIView):
    """GET a project's invitations, the first first; POST makes one."""

    def get_permissions(self) -> list[Any]:
        """By what is asked."""
        verb = "add" if self.request.method == "POST" else "view"
        return [requires(f"access.{verb}_invitation", act=Act.MANAGE_MEMBERS)()]

    @answers(Page(InvitationJson))
    def get(self, call: Request, project: str) -> Response:
        """`{"results": [...], "next": id or null}`."""
        wanted = read(MembersQuery, call.query_params)
        found = one_of(Project, actor_in(call), Act.MANAGE_MEMBERS, slug=project)
        rows = rows_of(Invitation, actor_in(call), Act.MANAGE_MEMBERS).filter(
            project=found, pk__gt=wanted.get("after", 0)
        )
        page, more = page_of(rows.select_related("invited_by").order_by("pk"), wanted["limit"])
        return Response({"results": InvitationJson(page, many=True).data, "next": page[-1].pk if more else None})

    @answers({201: Also("MadeInvitation", InvitationJson, {"token": str, "link": str})})
    def post(self, call: Request, project: str) -> Response:
        """201 with the token and the link that it is in, this once. One that was open for the same address ends."""
        body = read(InvitationBody, call.data)
        found = one_of(Project, actor_in(call), Act.MANAGE_MEMBERS, slug=project)
        minted = invitations.invitation_create(project=found, by=user_of(call), **body)
        answer = {**InvitationJson(minted.invitation).data, "token": minted.token, "link": minted.link}
        return Response(answer, status=201, headers=_NO_STORE)


class InvitationView(APIView):
    """DELETE takes an invitation back."""

    permission_classes = [requires("access.delete_invitation", act=Act.MANAGE_MEMBERS)]

    @answers()
    def delete(self, call: Request, project: str, invitation_id: int) -> Response:
        """204. A member that came by it stays."""
        named = {"pk": invitation_id, "project__slug": project}
        one_of(Invitation, actor_in(call), Act.MANAGE_MEMBERS, **named).delete()
        return Response(status=204)

"""`/api/v1/projects/{project}/members`: who is in a project, and as what."""

from typing import Any

from django.db import transaction
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access import memberships
from relay_admin.access.models import Membership, User
from relay_admin.access.roles import GIVEN, Act, Role
from relay_admin.access.scoping import one_of, rows_of
from relay_admin.catalog.models import Project
from relay_admin.control_api.answers import Page, answers
from relay_admin.control_api.budget_body import BudgetBody, BudgetJson
from relay_admin.control_api.paging import Query, page_of
from relay_admin.control_api.permissions import actor_in, requires
from relay_admin.control_api.wire import CamelCaseSerializer, ChoiceField, Strict, read

MAX_PAGE = 200
_PERMISSIONS = {
    "GET": requires("access.view_membership", act=Act.MANAGE_MEMBERS),
    "POST": requires("access.add_membership"),
    "PATCH": requires("access.change_membership", act=Act.MANAGE_MEMBERS),
    "DELETE": requires("access.delete_membership", act=Act.MANAGE_MEMBERS),
}


class MemberJson(CamelCaseSerializer):
    """A member."""

    username = serializers.CharField(source="user.username")
    email = serializers.CharField(source="user.email")
    budget = serializers.SerializerMethodField()

    class Meta:
        model = Membership
        fields = ["id", "username", "email", "role", "has_own_budget", "budget", "created_at"]

    def get_budget(self, member: Membership) -> BudgetJson | None:
        """Their own; null is none."""
        return member.budget


class MembersQuery(Query):
    """Query of the list. `after` is the `next` of the page before."""

    after = serializers.IntegerField(min_value=1, max_value=2**63 - 1, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)


class MemberChangeBody(Strict):
    """Body of a change; what is not sent stays as it is. `budget` goes with `hasOwnBudget`: true and null is none."""

    role = ChoiceField([str(role) for role in (Role.OWNER, *GIVEN)])
    hasOwnBudget = serializers.BooleanField(required=False)  # noqa: N815 (a name of the API)
    budget = BudgetBody(allow_null=True, required=False)


class MemberBody(Strict):
    """Body of an operator's addition."""

    role = ChoiceField([str(role) for role in (Role.OWNER, *GIVEN)])
    username = serializers.SlugRelatedField("username", queryset=User.objects.all())


class _MembersView(APIView):
    def get_permissions(self) -> list[Any]:
        """By what is asked."""
        return [_PERMISSIONS.get(str(self.request.method), _PERMISSIONS["GET"])()]


class MembersView(_MembersView):
    """GET members, the first first; POST adds a user, for operators: members invite."""

    @answers(Page(MemberJson))
    def get(self, call: Request, project: str) -> Response:
        """`{"results": [...], "next": id or null}`."""
        wanted = read(MembersQuery, call.query_params)
        found = one_of(Project, actor_in(call), Act.MANAGE_MEMBERS, slug=project)
        rows = rows_of(Membership, actor_in(call), Act.MANAGE_MEMBERS).filter(
            project=found, pk__gt=wanted.get("after", 0)
        )
        page, more = page_of(rows.select_related("user").order_by("pk"), wanted["limit"])
        return Response({"results": MemberJson(page, many=True).data, "next": page[-1].pk if more else None})

    @answers({201: MemberJson})
    def post(self, call: Request, project: str) -> Response:
        """201 with the member; 400 for somebody who is one."""
        body = read(MemberBody, call.data)
        found = one_of(Project, actor_in(call), Act.MANAGE_MEMBERS, slug=project)
        made = memberships.membership_add(project=found, user=body["username"], role=body["role"])
        return Response(MemberJson(made).data, status=201)


class MemberView(_MembersView):
    """GET a member; PATCH gives another role or budget; DELETE removes."""

    @answers(MemberJson)
    def get(self, call: Request, project: str, member_id: int) -> Response:
        """404 for who is no member."""
        return Response(MemberJson(_member(call, project, member_id)).data)

    @answers(MemberJson)
    def patch(self, call: Request, project: str, member_id: int) -> Response:
        """The member. The owner is changed by operators alone: the one before becomes an admin."""
        asked = read(MemberChangeBody, call.data, partial=True)
        member = _member(call, project, member_id)
        with transaction.atomic():
            if "role" in asked:
                is_operator = actor_in(call).is_operator
                member = memberships.membership_change(
                    membership=member, role=asked["role"], may_make_owner=is_operator
                )
            if asked.keys() & {"hasOwnBudget", "budget"}:
                member = memberships.membership_budget_set(membership=member, **_budget_asked(asked, member))
        return Response(MemberJson(member).data)

    @answers(refuses=(400,))
    def delete(self, call: Request, project: str, member_id: int) -> Response:
        """204; 400 for the owner."""
        memberships.membership_remove(membership=_member(call, project, member_id))
        return Response(status=204)


def _budget_asked(asked: dict[str, Any], member: Membership) -> dict[str, Any]:
    """What is not said stays; without a budget of their own there is none to keep."""
    has_own: bool = asked.get("hasOwnBudget", member.has_own_budget)
    return {"has_own_budget": has_own, "budget": asked.get("budget", member.budget if has_own else None)}


def _member(call: Request, project: str, member_id: int) -> Membership:
    named = {"pk": member_id, "project__slug": project}
    return one_of(Membership, actor_in(call), Act.MANAGE_MEMBERS, "user", **named)

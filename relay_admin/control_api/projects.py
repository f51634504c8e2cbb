"""`/api/v1/projects`: the caller's projects."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access import budgets, memberships
from relay_admin.access.models import Membership
from relay_admin.access.roles import Act
from relay_admin.access.scoping import Actor, one_of, rows_of
from relay_admin.catalog.models import Project
from relay_admin.control_api.budget_body import BudgetBody
from relay_admin.control_api.paging import Query, page_of
from relay_admin.control_api.permissions import IsPerson, actor_in, requires
from relay_admin.control_api.wire import Strict, read

MAX_PAGE = 200
SEES = requires("catalog.view_project", act=Act.SEE_PROJECT)
CHANGES = requires("catalog.change_project", act=Act.MANAGE_MEMBERS)


class Page(Query):
    """Query of the list. `after` is the `next` of the page before."""

    after = serializers.CharField(max_length=63, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)


class ChangeBody(Strict):
    """Body of a change: null gives users no budget."""

    userBudget = BudgetBody(allow_null=True)  # noqa: N815 (a name of the API)


class ProjectsView(APIView):
    """GET projects, by slug."""

    permission_classes = [SEES]

    def get(self, call: Request) -> Response:
        """`{"results": [...], "next": slug or null}`; none for somebody who is in none."""
        wanted = read(Page, call.query_params)
        rows = rows_of(Project, actor_in(call), Act.SEE_PROJECT).order_by("slug")
        if "after" in wanted:
            rows = rows.filter(slug__gt=wanted["after"])
        page, more = page_of(rows, wanted["limit"])
        results = [_project_json(project, actor_in(call)) for project in page]
        return Response({"results": results, "next": page[-1].slug if more else None})


class ProjectView(APIView):
    """GET one project; PATCH what each user may spend in it."""

    def get_permissions(self) -> list[Any]:
        """Who manages members says what they may spend."""
        return [(CHANGES if self.request.method == "PATCH" else SEES)()]

    def get(self, call: Request, project: str) -> Response:
        """404 where the caller has none of that name. With `ownBudget`: what the caller may spend, and has."""
        found = one_of(Project, actor_in(call), Act.SEE_PROJECT, slug=project)
        return Response({**_project_json(found, actor_in(call)), "ownBudget": _own_budget(found, actor_in(call))})

    def patch(self, call: Request, project: str) -> Response:
        """The project."""
        asked = read(ChangeBody, call.data)
        found = one_of(Project, actor_in(call), Act.MANAGE_MEMBERS, slug=project)
        changed = budgets.user_budget_set(project=found, budget=asked["userBudget"])
        return Response(_project_json(changed, actor_in(call)))


class LeaveView(APIView):
    """POST ends the caller's own membership."""

    permission_classes = [IsPerson, requires(act=Act.SEE_PROJECT)]

    def post(self, call: Request, project: str) -> Response:
        """204; 400 for the owner."""
        user = actor_in(call).user
        own = one_of(Membership, actor_in(call), Act.SEE_PROJECT, project__slug=project, user=user)
        memberships.membership_remove(membership=own)
        return Response(status=204)


def _project_json(project: Project, actor: Actor) -> dict[str, Any]:
    """`role`: the caller's; null for an operator."""
    return {
        "id": project.pk,
        "slug": project.slug,
        "name": project.name,
        "isArchived": project.is_archived,
        "role": actor.roles.get(project.pk),
        "userBudget": project.user_budget,
    }


def _own_budget(project: Project, actor: Actor) -> dict[str, Any] | None:
    """`used` null: not known at the moment. None for who is no member, and who has no budget."""
    members = rows_of(Membership, actor, Act.SEE_PROJECT).select_related("project")
    own = None if actor.user is None else members.filter(project=project, user=actor.user).first()
    spending = None if own is None else budgets.spending_of(own)
    if spending is None:
        return None
    return {
        "microcredits": spending.microcredits,
        "period": spending.period,
        "used": spending.used,
        "resetAt": spending.reset_at,
    }

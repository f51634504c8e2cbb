"""`/api/v1/projects`: tenants, as their members see them, and as operators make, change, archive and delete them."""

from typing import Any

from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access import budgets, memberships
from relay_admin.access.models import Membership
from relay_admin.access.roles import Act
from relay_admin.access.scoping import Actor, one_of, rows_of
from relay_admin.catalog.models import Project
from relay_admin.catalog.references import Reference
from relay_admin.control_api.answers import Also, answers
from relay_admin.control_api.budget_body import OwnBudgetJson, own_budget_json
from relay_admin.control_api.nouns.kinds import PROJECTS
from relay_admin.control_api.nouns.views import KindView, ReferencesView, RowsView, RowView
from relay_admin.control_api.permissions import IsPerson, actor_in, requires

TOLD_TO_MEMBERS = ("id", "slug", "name", "isArchived", "userBudget", "role", "createdAt", "updatedAt")
CHANGED_BY_MEMBERS = frozenset({"user_budget"})
OPERATORS_CHANGE = "Operators change this. Who manages the project's members changes `userBudget`."


class _OfProjects(KindView):
    """Members are told less than operators; `role` is the caller's, null for an operator."""

    kind = PROJECTS

    def shown(self, call: Request, rows: list[Any]) -> list[dict[str, Any]]:
        """As far as the caller may see it."""
        actor = actor_in(call)
        for row in rows:
            row.role = actor.roles.get(row.pk)
        found = super().shown(call, rows)
        return found if actor.is_operator else [{name: one[name] for name in TOLD_TO_MEMBERS} for one in found]


class ProjectsView(_OfProjects, RowsView):
    """GET projects; POST makes one, with its wallets. Operators make projects."""


class ProjectView(_OfProjects, RowView):
    """GET, PUT, PATCH and DELETE one project. `isArchived` refuses all its calls at once, and can be taken back.
    Deleting is for one that nothing is in any more; its wallets' entries and what passed through it stay."""

    @answers(Also("ProjectOfCaller", PROJECTS.json, {"ownBudget": OwnBudgetJson | None}))
    def get(self, call: Request, **parts: Any) -> Response:
        """404 where the caller has none of that name. With `ownBudget`: what the caller may spend, and has."""
        row = self.row(call, "view", parts)
        said = self.told(call, row)
        said.data["ownBudget"] = _own_budget(row, actor_in(call))
        return said

    def _write(self, call: Request, found: Any, body: dict[str, Any], *, is_replaced: bool) -> Response:
        if not actor_in(call).is_operator and not body.keys() <= CHANGED_BY_MEMBERS:
            raise PermissionDenied(OPERATORS_CHANGE)
        return super()._write(call, found, body, is_replaced=is_replaced)

    def _refuse(self, call: Request, referring: list[Reference]) -> Response:
        said = super()._refuse(call, referring)
        said.data["action"] += " Or archive it, which ends all its calls and keeps everything: PATCH `isArchived`."
        return said


class ProjectReferencesView(_OfProjects, ReferencesView):
    """GET what stands in the way of deleting a project."""

    def get_permissions(self) -> list[Any]:
        """For who may delete it."""
        return [self.kind.permission("delete")]


class LeaveView(APIView):
    """POST ends the caller's own membership."""

    permission_classes = [IsPerson, requires(act=Act.SEE_PROJECT)]

    @answers(refuses=(400,))
    def post(self, call: Request, project: str) -> Response:
        """204; 400 for the owner."""
        user = actor_in(call).user
        own = one_of(Membership, actor_in(call), Act.SEE_PROJECT, project__slug=project, user=user)
        memberships.membership_remove(membership=own)
        return Response(status=204)


def _own_budget(project: Project, actor: Actor) -> OwnBudgetJson | None:
    """None for who is no member, and who has no budget."""
    members = rows_of(Membership, actor, Act.SEE_PROJECT).select_related("project")
    own = None if actor.user is None else members.filter(project=project, user=actor.user).first()
    return own_budget_json(None if own is None else budgets.spending_of(own))

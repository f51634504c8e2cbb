"""Which rows somebody may have. Pages and APIs for members read through here, and nothing else.

An operator, who holds the Django permissions that a view names, has every project. A member has what the role in a
project allows (`roles.py`), a relay key with the scope `control` what a developer of its project may. To everybody
else a row is what an id that never was is: a 404, the same byte for byte.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.core.exceptions import PermissionDenied
from django.db.models import Model, Q, QuerySet
from django.http import Http404, HttpRequest

from relay_admin.access.models import AccessToken, AdminToken, Membership, OAuthApplication, RelayKey, User
from relay_admin.access.oauth.scopes import ACCOUNT, CONTROL, CONTROL_READ
from relay_admin.access.roles import ACTS, Act, Role, refusal
from relay_contract.nouns import KeyMode, Payer

Row = TypeVar("Row", bound=Model)
_READING = ("GET", "HEAD", "OPTIONS")

PATHS = {
    "access.auditevent": "project_id",
    "access.authorization": "application__project",
    "access.invitation": "project",
    "access.membership": "project",
    "access.oauthapplication": "project",
    "access.relaykey": "project",
    "catalog.endpoint": "line__project",
    "catalog.line": "project",
    "catalog.project": "pk",
    "catalog.target": "endpoint__line__project",
    "deliveries.deaddelivery": "project",
    "deliveries.delivery": "project",
    "deliveries.replaybatch": "project",
    "deliveries.request": "project",
    "ledger.account": "project_id",
    "ledger.invoice": "account__project_id",
    "ledger.topup": "account__project_id",
    "traffic.call": "project",
}
"""Label of a model -> what leads from a row to its project. A model that is not here is operators' alone."""

OWNERS = {
    "access.authorization": "user",
    "ledger.account": "user_id",
    "ledger.invoice": "account__user_id",
    "ledger.topup": "account__user_id",
    "traffic.call": "user_id",
}
"""Label of a model -> what leads from a row to the person whose own it is: theirs for every act, without any role."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: a person, a relay key, or nobody. `roles`: by project id; of an operator none are needed."""

    user: User | None = None
    relay_key: RelayKey | None = None
    roles: Mapping[int, Role] = field(default_factory=dict)
    is_operator: bool = False
    is_narrow: bool = False  # by a bearer that may less than whoever it acts for: an application's, or a narrowed token

    def projects(self, act: Act) -> list[int]:
        """Ids of those in which a role allows it."""
        return [project_id for project_id, role in self.roles.items() if act in ACTS[role]]

    def may(self, act: Act) -> bool:
        """Whether anywhere."""
        return self.is_operator or bool(self.projects(act))


def actor_of(request: HttpRequest, *permissions: str) -> Actor:
    """Who makes this request. Whoever holds all of these Django permissions, each `app.codename`, is an operator;
    without any named nobody is. Costs a query for people who are none."""
    shown = getattr(request, "auth", None)
    if isinstance(shown, RelayKey):
        return Actor(relay_key=shown, roles={shown.project_id: Role.DEVELOPER})
    if isinstance(shown, AccessToken):
        return _application_actor(shown, is_reading=request.method in _READING)
    if isinstance(shown, AdminToken) and shown.project_ids is not None:
        return _narrowed_actor(shown.user, shown.project_ids)
    user = request.user
    if not isinstance(user, User):
        return Actor()
    is_narrow = isinstance(shown, AdminToken) and CONTROL not in shown.scopes
    if permissions and user.has_perms(permissions):
        return Actor(user, is_operator=True, is_narrow=is_narrow)
    found = Membership.objects.filter(user=user).order_by("project_id").values_list("project_id", "role")
    return Actor(user, roles={project_id: Role(role) for project_id, role in found}, is_narrow=is_narrow)


def _narrowed_actor(user: User, project_ids: list[int]) -> Actor:
    """Of an admin token that is for some projects: its user's role in each, a superuser's an owner's. No operator's
    rights, which are of every project, and nothing that is its user's own."""
    if user.is_superuser:
        return Actor(roles=dict.fromkeys(project_ids, Role.OWNER), is_narrow=True)
    found = Membership.objects.filter(user=user, project__in=project_ids).values_list("project_id", "role")
    return Actor(roles={project_id: Role(role) for project_id, role in found}, is_narrow=True)


def _application_actor(token: AccessToken, *, is_reading: bool) -> Actor:
    """With `account` an application sees what is its user's own, and nothing that a role of theirs opens; with
    `control` it has their role in its own project, a developer's at most, as a relay key with that scope. Never their
    other projects, and never an operator's rights: anybody may make an application of a project of theirs and send an
    operator to its consent page. What is the user's own it changes in no case."""
    scopes = set(token.scope.split())
    own = token.user if ACCOUNT in scopes and is_reading else None
    if scopes.isdisjoint({CONTROL, CONTROL_READ}):
        return Actor(own)
    found = Membership.objects.filter(user=token.user, project=token.application.project_id)
    roles = {
        project_id: Role.DEVELOPER if role in (Role.OWNER, Role.ADMIN) else Role(role)
        for project_id, role in found.values_list("project_id", "role")
    }
    return Actor(own, roles=roles, is_narrow=True)


def rows_of(model: type[Row], actor: Actor, act: Act) -> QuerySet[Row]:
    """Those on which the actor may do it. KeyError for a model that has no project."""
    path, rows = PATHS[model._meta.label_lower], model._default_manager.all()
    if actor.is_operator:
        return rows
    reach = Q(**{f"{path}__in": actor.projects(act)})
    if act is Act.MANAGE_TEST_KEYS and issubclass(model, (RelayKey, OAuthApplication)):
        reach &= Q(mode=KeyMode.TEST) | Q(project__in=actor.projects(Act.MANAGE_KEYS))
    if act in (Act.SEE_KEYS, Act.MANAGE_TEST_KEYS) and issubclass(model, RelayKey) and actor.user is not None:
        reach |= Q(user=actor.user, pays=Payer.USER, project__in=actor.projects(Act.OWN_KEYS))
    owner = OWNERS.get(model._meta.label_lower)
    if owner is not None and actor.user is not None:
        reach |= Q(**{owner: actor.user.pk})
    return rows.filter(reach)


def one_of(model: type[Row], actor: Actor, act: Act, *related: str, **lookup: Any) -> Row:
    """The one row, with its `related` ones. Http404 where there is none, and where it is a stranger's; PermissionDenied
    for a member whose role does not allow it."""
    if any("\0" in value for value in lookup.values() if isinstance(value, str)):
        raise Http404
    found = rows_of(model, actor, act).select_related(*related).filter(**lookup).first()
    if found is not None:
        return found
    if not actor.is_operator and rows_of(model, actor, Act.SEE_PROJECT).filter(**lookup).exists():
        raise PermissionDenied(refusal(act))
    raise Http404

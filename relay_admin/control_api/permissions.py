"""Who may use a view: holders of Django's permissions, as in the admin, and members whose role allows it."""

from typing import cast

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from relay_admin.access.models import RelayKey, User
from relay_admin.access.roles import Act, refusal
from relay_admin.access.scoping import Actor, actor_of


def requires(*permissions: str, act: Act | None = None, own: bool = False) -> type[BasePermission]:
    """A permission class for operators, who hold all of these, each `app.codename`, and for those who may do the act
    in some project: `scoping` says in which. Everybody may see their projects, if only that they have none. Without an
    act it is operators' alone. With `own` every person may ask, for rows that are their own. A view has one of them."""

    class HasPermissions(BasePermission):
        needed = permissions
        act_of_members, is_for_own = act, own
        message = f"This needs the permission {', '.join(permissions)}."

        def has_permission(self, request: Request, _view: APIView) -> bool:
            actor = actor_of(request, *permissions)
            request.actor = actor  # type: ignore[attr-defined]  # read by `actor_in`
            if act is Act.SEE_PROJECT:
                return bool(request.user.is_authenticated)
            if own and actor.user is not None:
                return True
            if actor.is_operator or (act is not None and actor.may(act)):
                return True
            if act is not None and actor.roles:
                self.message = refusal(act)
            return False

    return HasPermissions


class IsPerson(BasePermission):
    """For users, by session or admin token: a relay key has no account, and a token that is narrowed to projects is
    not for its user's."""

    message = "This is for people: sign in, or use an admin token that is not narrowed to projects."

    def has_permission(self, request: Request, _view: APIView) -> bool:
        return isinstance(request.user, User) and getattr(request.auth, "project_ids", None) is None


class IsHolder(BasePermission):
    """For whoever holds a relay key."""

    def has_permission(self, request: Request, _view: APIView) -> bool:
        return isinstance(request.auth, RelayKey)


def actor_in(call: Request) -> Actor:
    """Who asks, as the view's permission class found."""
    return cast("Actor", call.actor)  # type: ignore[attr-defined]  # set above


def user_of(call: Request) -> User | None:
    """The person who asks; None for a relay key."""
    return call.user if isinstance(call.user, User) else None

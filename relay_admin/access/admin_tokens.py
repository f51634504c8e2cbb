"""Making, listing and revoking admin tokens. A token leaves here once, as a return value; only its hash is stored.

What is made with a token is never wider and never lives longer (`_within`), and is deleted with it, by the database. So
a token's rows never have to be compared with its parent's again: neither is ever changed.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet

from relay_admin.access.models import AdminToken, User
from relay_admin.access.oauth.scopes import CONTROL
from relay_admin.access.token_scopes import SCOPES, covers
from relay_admin.catalog.models import Project
from relay_contract import tokens

NO_ROLE = "A token for projects acts in its user's role there, and its user has none in one of them."


@dataclass(frozen=True, slots=True)
class MintedAdminToken:
    """A new admin token and its text, which nobody can read again."""

    admin_token: AdminToken
    token: str = field(repr=False)


@transaction.atomic
def admin_token_mint(
    *,
    user: User,
    name: str,
    scopes: Collection[str] = (CONTROL,),
    projects: Collection[Project] | None = None,
    expires_at: datetime | None = None,
    parent: AdminToken | None = None,
    token: str | None = None,
) -> MintedAdminToken:
    """A new bearer for the control API, acting as `user` within the scopes and projects; None: all of theirs. `parent`:
    the token that it is made with, whose user it is. `token`: one minted elsewhere. Raises ValidationError."""
    token = tokens.mint_admin().token if token is None else token
    if tokens.parse_admin(token) is None:
        raise ValidationError("Not an admin token: one looks like ra_ and 50 letters and digits.")
    row = AdminToken(
        user=user,
        name=name,
        scopes=[scope for scope in SCOPES if scope in set(scopes)],
        project_ids=None if projects is None else sorted(project.pk for project in projects),
        expires_at=expires_at,
        parent=parent,
        token_hash=tokens.hash_token(token),
    )
    check_projects(user, projects)
    if parent is not None:
        # Held until the commit: whoever revokes the parent meanwhile finds this one too.
        found = AdminToken.objects.select_for_update().filter(pk=parent.pk).first()
        _within(row, found)
    row.full_clean()
    row.save(force_insert=True)
    return MintedAdminToken(row, token)


def admin_tokens_of(user: User, shown: AdminToken | None) -> QuerySet[AdminToken]:
    """Those that a person may see and revoke: their own, a superuser everybody's. With a token that is for less than
    its user (`shown`; None: a session) itself, and what was made with it."""
    rows = AdminToken.objects.select_related("user").order_by("-pk")
    if shown is not None and (CONTROL not in shown.scopes or shown.project_ids is not None):
        return rows.filter(Q(pk=shown.pk) | Q(parent=shown.pk))
    return rows if user.is_superuser else rows.filter(user=user)


def projects_of(token: AdminToken) -> list[Project] | None:
    """Those that it is for, and are still there; None: every one of its user's."""
    return None if token.project_ids is None else list(Project.objects.filter(pk__in=token.project_ids))


def project_slugs(rows: Iterable[AdminToken]) -> dict[int, str]:
    """Of the projects that tokens are for, by id; those that are gone have none."""
    ids = {project_id for row in rows for project_id in row.project_ids or ()}
    return dict(Project.objects.filter(pk__in=ids).values_list("pk", "slug")) if ids else {}


@transaction.atomic
def admin_token_revoke(*, admin_token: AdminToken) -> None:
    """Ends it at once, with all that was made with it."""
    AdminToken.objects.filter(pk=admin_token.pk).delete()


def check_projects(user: User, projects: Collection[Project] | None) -> None:
    """Raises ValidationError for one in which a token of this user could do nothing."""
    if projects is None or user.is_superuser:
        return
    roles = set(user.memberships.values_list("project_id", flat=True))
    if not {project.pk for project in projects} <= roles:
        raise ValidationError({"projects": NO_ROLE})


def _within(row: AdminToken, parent: AdminToken | None) -> None:
    """Raises ValidationError for one that is wider than its parent, or outlives it."""
    if parent is None or parent.user_id != row.user_id:
        raise ValidationError("The token that this was to be made with is gone.")
    beyond = [scope for scope in row.scopes if not covers(parent.scopes, scope)]
    if beyond:
        raise ValidationError({"scopes": f"The token that this is made with lacks {', '.join(beyond)}."})
    if parent.project_ids is not None and (
        row.project_ids is None or not set(row.project_ids) <= set(parent.project_ids)
    ):
        raise ValidationError({"projects": "The token that this is made with is not for all of them."})
    if parent.expires_at is not None and (row.expires_at is None or row.expires_at > parent.expires_at):
        raise ValidationError({"expires_at": "The token that this is made with ends before."})

"""Who is in a project, as what, and with which budget."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from relay_admin.access.models import Authorization, Invitation, Membership, RelayKey, User
from relay_admin.access.oauth.revocation import authorization_revoke
from relay_admin.access.roles import ACTS, GIVEN, Act, Role
from relay_admin.catalog.models import Project
from relay_contract.nouns import Payer

OWNER_STAYS = "A project keeps its owner. Make another member the owner first, in the portal; operators can too."


@transaction.atomic
def membership_add(*, project: Project, user: User, role: Role | str) -> Membership:
    """A member more, for operators: members invite. Raises ValidationError for somebody who is one."""
    row = Membership(project=project, user=user, role=str(Role(role)))
    row.full_clean()
    row.save(force_insert=True)
    return row


def customer_join(*, project: Project, user: User, referral: str = "") -> None:
    """Whoever uses an application of a project is its customer, unless they are more. With a user's `referral` code
    that user brought them, which is written down here and never again; nobody brings themselves, and owners nobody."""
    owners = Membership.objects.filter(project=project, role=str(Role.OWNER)).values("user")
    brought = User.objects.filter(referral_code=referral, is_active=True).exclude(pk=user.pk).exclude(pk__in=owners)
    Membership.objects.get_or_create(
        project=project, user=user, defaults={"role": str(Role.CUSTOMER), "referrer": brought.first()}
    )


@transaction.atomic
def membership_change(*, membership: Membership, role: Role | str, may_make_owner: bool = False) -> Membership:
    """Another role. `may_make_owner`: operators may; the owner before becomes an admin. Raises ValidationError."""
    row, wanted = _locked(membership), Role(role)
    if row.role == wanted:
        return row
    if wanted not in GIVEN and not may_make_owner:
        raise ValidationError({"role": f"Choose one of {', '.join(GIVEN)}."})
    if row.role == Role.OWNER:
        raise ValidationError(OWNER_STAYS)
    if wanted is Role.OWNER:
        Membership.objects.filter(project=row.project_id, role=Role.OWNER).update(role=str(Role.ADMIN))
    row.role = str(wanted)
    row.save(update_fields=["role"])
    if Act.MANAGE_MEMBERS not in ACTS[wanted]:
        _take_invitations_back(row)
    return row


@transaction.atomic
def membership_budget_set(*, membership: Membership, has_own_budget: bool, budget: dict[str, Any] | None) -> Membership:
    """What a member may spend in the project: without `has_own_budget` what it gives each user, else this, and None is
    no budget at all. Raises ValidationError."""
    row = _locked(membership)
    row.has_own_budget, row.budget = has_own_budget, budget
    row.clean()
    row.validate_constraints()
    row.save(update_fields=["has_own_budget", "budget"])
    return row


@transaction.atomic
def ownership_transfer(*, owner: Membership, to: Membership) -> None:
    """Make another member the owner; the one before becomes an admin. Raises ValidationError where either is not what
    they were any more."""
    if _locked(owner).role != Role.OWNER or to.project_id != owner.project_id:
        raise ValidationError("Only the owner of a project can hand it over, to a member of it.")
    membership_change(membership=to, role=Role.OWNER, may_make_owner=True)


@transaction.atomic
def membership_remove(*, membership: Membership) -> None:
    """Somebody leaves, or is made to; what they invited others to is void, keys that they pay for end, and so does what
    they allowed the project's applications. Raises ValidationError for the owner."""
    row = _locked(membership)
    if row.role == Role.OWNER:
        raise ValidationError(OWNER_STAYS)
    _take_invitations_back(row)
    _end_own_keys(row)
    for allowed in Authorization.objects.filter(user=row.user_id, application__project=row.project_id, revoked_at=None):
        authorization_revoke(allowed)
    row.delete()


def _locked(membership: Membership) -> Membership:
    """With its project, so that two changes in one wait for each other."""
    Project.objects.select_for_update(no_key=True).get(pk=membership.project_id)
    found = Membership.objects.select_related("project", "user").filter(pk=membership.pk).first()
    if found is None:
        raise ValidationError("They are no member any more.")
    return found


def _end_own_keys(membership: Membership) -> None:
    """Nobody would be left who may end them and whose money they spend."""
    own = RelayKey.objects.filter(project=membership.project_id, user=membership.user_id, pays=Payer.USER)
    own.filter(revoked_at=None).update(revoked_at=timezone.now())


def _take_invitations_back(membership: Membership) -> None:
    invited = Invitation.objects.filter(project=membership.project_id, invited_by=membership.user_id)
    invited.filter(accepted_at=None).delete()

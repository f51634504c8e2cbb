"""Invitations: a link to a project, or to sign up. Its token leaves here once; only its hash is stored."""

from dataclasses import dataclass, field
from datetime import timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from relay_admin.access.mail_texts import PATHS
from relay_admin.access.mails import mail_queue
from relay_admin.access.models import Invitation, MailKind, Membership, User
from relay_admin.access.roles import ACTS, GIVEN, Act, Role
from relay_admin.catalog.models import Project
from relay_contract import tokens

LIFE = timedelta(days=7)
MOST_OPEN = 100
"""Of a project at once."""
_OPERATORS = "access.add_invitation"


@dataclass(frozen=True, slots=True)
class MintedInvitation:
    """A new invitation and its token, which nobody can read again."""

    invitation: Invitation
    token: str = field(repr=False)

    @property
    def link(self) -> str:
        """What the invited open in a browser."""
        return settings.CONTROL_URL + PATHS[MailKind.INVITATION].format(token=self.token)


@transaction.atomic
def invitation_create(
    *, email: str, project: Project | None = None, role: Role | str = "", by: User | None = None
) -> MintedInvitation:
    """An invitation of that address, in the place of one that was open. Without a project it is to sign up alone, and
    has no role. Where there is a mail server it is sent the link. Raises ValidationError."""
    minted, now = tokens.mint_invitation(), timezone.now()
    row = Invitation(
        project=project, email=email, role=str(role), token_hash=minted.hash, expires_at=now + LIFE, invited_by=by
    )
    row.full_clean()
    if project is not None:
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    invitation_check(email, project, role)
    Invitation.objects.filter(project=project, accepted_at=None, email__iexact=email).delete()
    row.save(force_insert=True)
    mail_queue(kind=MailKind.INVITATION, address=email, token=minted.token)
    return MintedInvitation(row, minted.token)


def invitation_check(email: str, project: Project | None, role: Role | str) -> None:
    """Whether it may be made. Raises ValidationError."""
    if project is None:
        if role:
            raise ValidationError({"role": "Without a project there is no role."})
        return
    if role not in GIVEN:
        raise ValidationError({"role": f"Choose one of {', '.join(GIVEN)}."})
    others = Invitation.objects.filter(project=project, accepted_at=None, expires_at__gt=timezone.now())
    if others.exclude(email__iexact=email).count() >= MOST_OPEN:
        raise ValidationError(f"A project has at most {MOST_OPEN} open invitations.")


def invitation_of(token: str) -> Invitation | None:
    """The one that this token opens. None: there is none, it was accepted or taken back, or its time is over."""
    found = Invitation.objects.select_related("project").filter(token_hash=tokens.hash_token(token)).first()
    is_open = found is not None and found.is_open(timezone.now()) and _may_still_invite(found)
    return found if is_open else None


@transaction.atomic
def invitation_accept(*, invitation: Invitation, user: User) -> Membership | None:
    """Use it up. The membership, of somebody who is a member the one they have, though a customer becomes more; None
    where it is to sign up alone.

    Raises ValidationError for one that is over, and for a user with another e-mail address than was invited.
    """
    if invitation.project_id is not None:  # so that a change of the inviter's role waits, or is seen
        Project.objects.select_for_update(no_key=True).get(pk=invitation.project_id)
    row = Invitation.objects.select_for_update(of=("self",)).filter(pk=invitation.pk).first()
    now = timezone.now()
    if row is None or not row.is_open(now) or not _may_still_invite(row):
        raise ValidationError("This invitation is not open any more. Ask for another.")
    if row.email.lower() != user.email.lower():
        raise ValidationError("This invitation is for another e-mail address. Sign in as who was invited.")
    row.accepted_at = now
    row.save(update_fields=["accepted_at"])
    if row.project_id is None:
        return None
    member, _ = Membership.objects.get_or_create(project_id=row.project_id, user=user, defaults={"role": row.role})
    if member.role == Role.CUSTOMER:
        member.role = row.role
        member.save(update_fields=["role"])
    return member


def _may_still_invite(row: Invitation) -> bool:
    """Whether whoever invited would be let to now. One that was made while its maker lost the role is void too."""
    inviter = row.invited_by
    if inviter is None:
        return True
    if not inviter.is_active:
        return False
    if row.project_id is None or inviter.has_perm(_OPERATORS):
        return True
    role = inviter.memberships.filter(project=row.project_id).values_list("role", flat=True).first()
    return role is not None and Act.MANAGE_MEMBERS in ACTS[Role(role)]

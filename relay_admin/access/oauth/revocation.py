"""The end of tokens. Refresh tokens and codes end here; access tokens, which nobody looks up, by a row that edges hear.

A user's end with their password or account by a trigger of the database (migration 0014), whoever changes it.
"""

from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from relay_admin.access.oauth.models import (
    AccessToken,
    Authorization,
    Grant,
    OAuthApplication,
    RefreshToken,
    Revocation,
)
from relay_contract.access_tokens import LIFE_SECONDS, SKEW_SECONDS
from relay_contract.nouns import RevocationKind

REFRESH_LIFE = timedelta(days=30)
REMEMBERED = timedelta(seconds=LIFE_SECONDS + SKEW_SECONDS)


def revoke_jti(jti: str) -> None:
    """One access token."""
    _remember(RevocationKind.JTI, jti)


@transaction.atomic
def revoke_grant(authorization_id: int) -> None:
    """Everything that came of what a user allowed an application. What they allow stays."""
    _end(RefreshToken.objects.filter(authorization_id=authorization_id))
    Grant.objects.filter(authorization_id=authorization_id).delete()
    _remember(RevocationKind.GRANT, str(authorization_id))


def revoke_access(authorization_id: int) -> None:
    """The access tokens of what a user allowed an application, for others to be issued by other rules."""
    _remember(RevocationKind.GRANT, str(authorization_id))


@transaction.atomic
def revoke_user(user_id: int) -> None:
    """Every token of a user, at every application."""
    _end(RefreshToken.objects.filter(user_id=user_id))
    Grant.objects.filter(user_id=user_id).delete()
    _remember(RevocationKind.USER, str(user_id))


@transaction.atomic
def revoke_application(application: OAuthApplication) -> None:
    """Every token of an application, of all its users."""
    _end(RefreshToken.objects.filter(application=application))
    Grant.objects.filter(application=application).delete()
    _remember(RevocationKind.APPLICATION, str(application.pk))


@transaction.atomic
def revoke_family(family: UUID, authorization_id: int) -> bool:
    """What came of one code: somebody has used it, or a refresh token of it, twice, and one of them had stolen it.

    Which access tokens that were is not known for sure. So those of the user at this application end, and other
    sessions of the two get new ones by their refresh tokens. False: no refresh token was alive, nothing was done.
    """
    if not _end(RefreshToken.objects.filter(token_family=family)):
        return False
    revoke_access(authorization_id)
    return True


@transaction.atomic
def authorization_revoke(authorization: Authorization) -> bool:
    """Take back what a user allowed. False: it was taken back before."""
    now = timezone.now()
    is_first = Authorization.objects.filter(pk=authorization.pk, revoked_at=None).update(revoked_at=now) == 1
    if is_first:
        revoke_grant(authorization.pk)
    authorization.refresh_from_db(fields=["revoked_at"])
    return is_first


def tokens_forget() -> int:
    """Delete what can mean nothing any more; how many rows that were. Run by the schedule each hour."""
    now = timezone.now()
    # Used codes and rotated tokens stay for as long as a second use of them could come.
    over = (
        Revocation.objects.filter(expires_at__lt=now),
        AccessToken.objects.filter(expires__lt=now - timedelta(days=1)),
        Grant.objects.filter(expires__lt=now - REMEMBERED),
        RefreshToken.objects.filter(created__lt=now - REFRESH_LIFE - timedelta(days=1)),
    )
    return sum(rows.delete()[0] for rows in over)


def _end(tokens: QuerySet[RefreshToken]) -> int:
    """How many there were."""
    return tokens.filter(revoked=None).update(revoked=timezone.now())


def _remember(kind: RevocationKind, value: str) -> None:
    now = timezone.now()
    Revocation.objects.create(kind=kind, value=value, issued_before=now, expires_at=now + REMEMBERED)

"""The end of tokens. Refresh tokens and codes end here; access tokens, which nobody looks up, by a row that edges hear.

A user's end with their password or account by a trigger of the database (migration 0014), whoever changes it.

Who ends tokens and who issues them hold the same rows (`hold`): else a refresh that is under way would leave a token
that whoever ends them does not see yet, and a stolen one that is refreshed without a pause would outlive them all.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from relay_admin.access.models import User
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
BATCH = 2_000
REMEMBERED = timedelta(seconds=LIFE_SECONDS + SKEW_SECONDS)


class ConsentOver(Exception):
    """Whoever says yes is another by now than when they were recognised, or took back what they allowed."""


def hold(*, authorization_id: int, user_id: int, application_id: int) -> None:
    """For who issues tokens, before the code or token is looked at: until the transaction ends, whoever ends tokens of
    these waits, and then sees what was issued. Of one authorization only one request issues at a time."""
    _hold_authorization(authorization_id)
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM access_user WHERE id = %s FOR SHARE", [user_id])
        cursor.execute("SELECT FROM access_oauthapplication WHERE id = %s FOR SHARE", [application_id])


def hold_consent(authorization: Authorization, user: User) -> None:
    """For who writes a code on the word of this user, as they were recognised: whoever changes the password,
    deactivates them or takes back what they allow has done so by now, or waits until the code is there to be ended.
    Raises ConsentOver for a user whose password is another, or who is deactivated."""
    hold(authorization_id=authorization.pk, user_id=user.pk, application_id=authorization.application_id)
    now = User.objects.filter(pk=user.pk).values_list("password", "is_active").first()
    if now != (user.password, True):
        raise ConsentOver


def _hold_authorization(authorization_id: int) -> None:
    Authorization.objects.select_for_update(no_key=True).filter(pk=authorization_id).first()


def revoke_jti(jti: str) -> None:
    """One access token."""
    _remember(RevocationKind.JTI, jti)


@transaction.atomic
def revoke_grant(authorization_id: int) -> None:
    """Everything that came of what a user allowed an application. What they allow stays."""
    _hold_authorization(authorization_id)
    _end(RefreshToken.objects.filter(authorization_id=authorization_id))
    Grant.objects.filter(authorization_id=authorization_id).delete()
    _remember(RevocationKind.GRANT, str(authorization_id))


def revoke_access(authorization_id: int) -> None:
    """The access tokens of what a user allowed an application, for others to be issued by other rules."""
    _remember(RevocationKind.GRANT, str(authorization_id))


@transaction.atomic
def revoke_application(application: OAuthApplication) -> None:
    """Every token of an application, of all its users."""
    OAuthApplication.objects.select_for_update(no_key=True).get(pk=application.pk)
    _end(RefreshToken.objects.filter(application=application))
    Grant.objects.filter(application=application).delete()
    _remember(RevocationKind.APPLICATION, str(application.pk))


@transaction.atomic
def revoke_family(family: UUID, authorization_id: int) -> bool:
    """What came of one code: somebody has used it, or a refresh token of it, twice, and one of them had stolen it.

    Which access tokens that were is not known for sure. So those of the user at this application end, and other
    sessions of the two get new ones by their refresh tokens. False: no refresh token was alive, nothing was done.
    """
    _hold_authorization(authorization_id)
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
    over: tuple[QuerySet[Any], ...] = (
        Revocation.objects.filter(expires_at__lt=now),
        AccessToken.objects.filter(expires__lt=now),
        Grant.objects.filter(expires__lt=now - REMEMBERED),
        RefreshToken.objects.filter(created__lt=now - REFRESH_LIFE - timedelta(days=1)),
    )
    return sum(map(_forget, over))


def _forget(rows: QuerySet[Any]) -> int:
    total = 0
    while found := list(rows.values_list("pk", flat=True)[:BATCH]):
        total += rows.model._default_manager.filter(pk__in=found).delete()[0]
    return total


def issued_from(authorization: Authorization) -> int:
    """The first second, in Unix time, that no revocation of its tokens is about.

    Tokens tell the second they were issued in. One that is issued in the second of a revocation, after it, would be
    as dead as those of before.
    """
    about = (
        Q(kind=RevocationKind.GRANT, value=str(authorization.pk))
        | Q(kind=RevocationKind.USER, value=str(authorization.user_id))
        | Q(kind=RevocationKind.APPLICATION, value=str(authorization.application_id))
    )
    last = Revocation.objects.filter(about).aggregate(last=Max("issued_before"))["last"]
    return 0 if last is None else int(last.timestamp()) + 1


def is_user_revoked_since(user_id: int, since: datetime) -> bool:
    """Whether all of a user's tokens ended since then, which is at most REMEMBERED ago."""
    about = Revocation.objects.filter(kind=RevocationKind.USER, value=str(user_id))
    return about.filter(issued_before__gte=since).exists()


def _end(tokens: QuerySet[RefreshToken]) -> int:
    """How many there were."""
    return tokens.filter(revoked=None).update(revoked=timezone.now())


def _remember(kind: RevocationKind, value: str) -> None:
    now = timezone.now()
    Revocation.objects.create(kind=kind, value=value, issued_before=now, expires_at=now + REMEMBERED)

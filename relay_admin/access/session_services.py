"""Whose sessions there are, and their end: by hand, or by the schedule when they have expired."""

import logging

from django.contrib.admin.models import CHANGE, LogEntry
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from relay_admin.access.models import Session, User
from relay_contract.logs import log_fields

logger = logging.getLogger(__name__)

VIEW_PERMISSION = "access.view_session"
REVOKE_PERMISSION = "access.delete_session"
BATCH = 2_000
"""Rows deleted in one transaction: short locks, and a run that is cut off keeps what it did."""


def sessions_of(user: User) -> QuerySet[Session]:
    """This person's that have not expired, the last seen first."""
    return current_sessions().filter(user=user)


def current_sessions() -> QuerySet[Session]:
    """Everybody's who is signed in. Sessions of nobody are no sign-in, and are left out."""
    return Session.objects.filter(expires_at__gt=timezone.now(), user__isnull=False).select_related("user")


def sessions_revocable_by(user: User) -> QuerySet[Session]:
    """Their own; everybody's for who may."""
    return current_sessions() if user.has_perm(REVOKE_PERMISSION) else sessions_of(user)


@transaction.atomic
def sessions_revoke(sessions: QuerySet[Session], *, by: User) -> int:
    """End these: their next request is nobody's. How many there were.

    What somebody does to another person's is in that person's history.
    """
    ended = list(sessions.select_related(None).select_for_update().order_by("pk"))
    Session.objects.filter(pk__in=[session.pk for session in ended]).delete()
    whose = {session.user_id for session in ended if session.user_id is not None}
    others = User.objects.filter(pk__in=whose - {by.pk}).order_by("pk")
    if others:
        LogEntry.objects.log_actions(by.pk, others, CHANGE, "Sessions revoked.")
    if ended:
        logger.info("sessions_revoked", extra=log_fields(count=len(ended), by=by.pk))
    return len(ended)


def own_sessions_revoke(*, user: User, wanted: str, current: int) -> str:
    """End one of theirs by its id, or all `others` than the one that asks. What happened, as a sentence."""
    sessions = sessions_of(user)
    if wanted == "others":
        sessions = sessions.exclude(pk=current)
    else:
        sessions = sessions.filter(pk=int(wanted) if wanted.isdecimal() and len(wanted) < 19 else 0)
    match sessions_revoke(sessions, by=user):
        case 0:
            return "There was nothing to revoke: it had ended already."
        case 1:
            return "The session is revoked."
        case count:
            return f"{count} sessions are revoked. Their next request has to sign in again."


def sessions_forget() -> int:
    """Delete what has expired; how many rows that were. Run by the schedule each hour."""
    total = 0
    while True:
        deleted = _forget_batch()
        total += deleted
        if deleted < BATCH:
            break
    if total:
        logger.info("sessions_forgotten", extra=log_fields(count=total))
    return total


def _forget_batch() -> int:
    old = "SELECT id FROM access_session WHERE expires_at <= now() ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED"
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM access_session WHERE id = ANY(ARRAY({old}))", [BATCH])  # noqa: S608 (ours)
        return int(cursor.rowcount)

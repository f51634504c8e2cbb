"""Mails to people: queued in the transaction of what they are about, sent by a task of the workers each few seconds.

A row says what was asked and no more, so that queueing costs the same for an address that is known and one that is not.
Whose it is, is looked up by the worker, which makes the link as well: no link is stored or crosses Redis, but for an
invitation's, sealed. A mail that cannot be sent is tried again, and given up after MOST_TRIES.
"""

import logging
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models.functions import Lower
from django.utils import timezone

from relay_admin.access.mail_server import MailRefused, MailServer
from relay_admin.access.mail_texts import has_account_text, low_balance_text, text_of
from relay_admin.access.models import Mail, MailKind, Purpose, User
from relay_admin.access.tickets import ticket_issue
from relay_admin.catalog.services import sealer
from relay_admin.ledger.amounts import credits_text
from relay_admin.ledger.low_wallets import low_of
from relay_contract.logs import log_fields
from relay_contract.sealing import SealingError

logger = logging.getLogger(__name__)

MOST_SENT = 20
"""By one run of the task; others take the rest meanwhile."""
MOST_TRIES = 10
_FIRST_WAIT_SECONDS = 60  # doubled with each try: 17 hours in all

# Claimed before it is sent: a worker that dies in between leaves it to others when the wait is over.
_CLAIM = """
    UPDATE access_mail
    SET tries = tries + 1, next_attempt_at = clock_timestamp() + make_interval(secs => %s * power(2, tries))
    WHERE id = (
        SELECT id FROM access_mail WHERE next_attempt_at <= clock_timestamp() ORDER BY next_attempt_at LIMIT 1
        FOR UPDATE SKIP LOCKED
    ) RETURNING id
"""


def sends_mail() -> bool:
    """Whether there is a mail server."""
    return bool(settings.MAIL_URL)


def mail_queue(
    *, kind: MailKind, address: str, user: User | None = None, token: str = "", account_id: int | None = None
) -> None:
    """Have it sent, where there is a mail server. `token`: an invitation's. `account_id`: the wallet it is about."""
    if sends_mail():
        sealed = sealer().seal(token, _binding(address)) if token else None
        about = {"kind": kind, "address": address, "user": user, "account_id": account_id}
        Mail.objects.create(**about, sealed_token=sealed, next_attempt_at=timezone.now())


def mails_send() -> int:
    """Send what is due; how many were sent."""
    if not sends_mail():
        return 0
    server = MailServer.of(settings.MAIL_URL, settings.MAIL_FROM)
    sent = 0
    for _ in range(MOST_SENT):
        mail = _claim()
        if mail is None:
            break
        sent += _send(server, mail)
    return sent


def _claim() -> Mail | None:
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [_FIRST_WAIT_SECONDS])
        claimed = cursor.fetchone()
    return Mail.objects.select_related("user").filter(pk=claimed[0]).first() if claimed else None


def _send(server: MailServer, mail: Mail) -> bool:
    fields: dict[str, Any] = {"mail": mail.pk, "kind": mail.kind, "tries": mail.tries}
    try:
        written = _written(mail)
        if written is not None:
            to, (subject, text) = written
            server.send(to=to, subject=subject, text=text)
    except (MailRefused, SealingError) as refused:
        is_final = isinstance(refused, SealingError) or refused.is_final or mail.tries >= MOST_TRIES
        logger.warning("mail_given_up" if is_final else "mail_failed", extra=log_fields(**fields, reason=str(refused)))
        if is_final:
            mail.delete()
        return False
    mail.delete()
    if written is not None:
        logger.info("mail_sent", extra=log_fields(**fields))
    return written is not None


def _written(mail: Mail) -> tuple[str, tuple[str, str]] | None:
    """To whom, and what; None where nobody is to be told. To somebody known goes what their row says: an address that
    was typed may be another one that only looks alike to a database."""
    kind, owner = MailKind(mail.kind), _owner(mail.address)
    told = {"control": settings.CONTROL_URL}
    match kind:
        case MailKind.RESET:
            return _reset(owner)
        case MailKind.SIGN_UP | MailKind.VERIFY if owner is not None and owner != mail.user:
            return owner.email, has_account_text(address=owner.email, **told)
        case MailKind.SIGN_UP | MailKind.VERIFY:
            token = ticket_issue(purpose=Purpose(kind.value), address=mail.address, user=mail.user)
            return mail.address, text_of(kind, address=mail.address, token=token, **told)
        case MailKind.INVITATION:
            token = sealer().unseal(mail.sealed_token or b"", _binding(mail.address))
            return mail.address, text_of(kind, address=mail.address, token=token, **told)
        case MailKind.LOW_BALANCE:
            return _low_balance(mail)
        case _:
            return mail.address, text_of(kind, address=mail.address, **told)


def _reset(owner: User | None) -> tuple[str, tuple[str, str]] | None:
    if owner is None or not owner.is_active:
        return None
    token = ticket_issue(purpose=Purpose.RESET, address=owner.email, user=owner)
    return owner.email, text_of(MailKind.RESET, address=owner.email, token=token, control=settings.CONTROL_URL)


def _low_balance(mail: Mail) -> tuple[str, tuple[str, str]] | None:
    """None where it is low no more by now."""
    low = low_of(mail.account_id) if mail.account_id else None
    if mail.user is None or not mail.user.is_active or low is None:
        return None
    told = {"whose": low.whose, "left": credits_text(low.left), "limit": credits_text(low.limit), "path": low.path}
    return mail.user.email, low_balance_text(control=settings.CONTROL_URL, **told)


def _owner(address: str) -> User | None:
    return User.objects.annotate(lowered=Lower("email")).filter(lowered=address.lower()).first()


def _binding(address: str) -> str:
    return f"mail:{address}"

"""Links that are good once and not for long: what somebody was sent proves that the mailbox is theirs.

Of the token only the SHA-256 is stored. A trigger deletes a user's tickets when their password or address changes or
the account is deactivated, so an older link undoes nothing.
"""

import secrets
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from relay_admin.access.models import Purpose, Ticket, User
from relay_contract.tokens import hash_token

LIFE = {
    Purpose.SIGN_UP: timedelta(days=1),
    Purpose.RESET: timedelta(hours=1),
    Purpose.VERIFY: timedelta(days=1),
}
_PREFIX = "rt_"  # by which logs know it: Django logs the address of what it refuses
_TOKEN_BYTES = 32


@transaction.atomic
def ticket_issue(*, purpose: Purpose, address: str, user: User | None = None) -> str:
    """A new one's token; the last of the same purpose, address and user ends."""
    token = _PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    Ticket.objects.filter(purpose=purpose, address=address, user=user).delete()
    Ticket.objects.create(
        purpose=purpose,
        address=address,
        user=user,
        token_hash=hash_token(token),
        expires_at=timezone.now() + LIFE[purpose],
    )
    return token


def ticket_of(purpose: Purpose, token: str) -> Ticket | None:
    """What it stands for; None for what was never issued, is used or has expired."""
    live = Ticket.objects.filter(purpose=purpose, token_hash=hash_token(token), expires_at__gt=timezone.now())
    return live.select_related("user").first()


def ticket_use(ticket: Ticket) -> bool:
    """Take it away, in the transaction of what it is used for. False: somebody else just did."""
    return Ticket.objects.filter(pk=ticket.pk, expires_at__gt=timezone.now()).delete()[0] == 1


def tickets_forget() -> int:
    """Delete what has expired; how many rows that were. Run by the schedule each hour."""
    return Ticket.objects.filter(expires_at__lte=timezone.now()).delete()[0]

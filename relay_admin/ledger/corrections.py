"""What operators post: grants of credits, and adjustments of what went wrong. Nothing is ever changed or taken back; a
mistake is posted again the other way.
"""

from contextlib import suppress
from uuid import UUID

from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import ValidationError
from django.db import transaction

from relay_admin.access.models import User
from relay_admin.ledger import purses
from relay_admin.ledger.models import Account, Entry
from relay_admin.ledger.posting import post
from relay_admin.redis_link import RedisAwayError
from relay_contract.credits import MICRO
from relay_contract.ids import uuid7
from relay_contract.ledger import (
    MAX_AMOUNT,
    PAYMENTS,
    PROMOTIONS,
    REVENUE,
    SUSPENSE,
    AccountId,
    AccountKind,
    EntryKind,
    Leg,
    mode_of,
)

PERMISSION = "ledger.post_entry"
MAX_NOTE = 200
_TIME_ORDERED = 7
AGAINST = {
    AccountKind.PROMOTIONS: PROMOTIONS,
    AccountKind.PAYMENTS: PAYMENTS,
    AccountKind.REVENUE: REVENUE,
    AccountKind.SUSPENSE: SUSPENSE,
}
"""The relay's own accounts, of which one is the other side of an adjustment."""


class PostedOtherwiseError(Exception):
    """This source was posted with another amount or for another account."""


def credits_grant(
    *, account: Account, microcredits: int, note: str, by: User, source: UUID | None = None
) -> tuple[Entry, bool]:
    """Give an account of a project or user credits, from promotions. Returns the entry, and whether it is new: with a
    `source` that was posted before nothing is added. Raises ValidationError, PostedOtherwiseError."""
    if microcredits <= 0:
        raise ValidationError("A grant is above 0.")
    return _post(EntryKind.GRANT, AccountKind.PROMOTIONS, account, microcredits, note=note, by=by, source=source)


def account_adjust(
    *, account: Account, microcredits: int, against: AccountKind, note: str, by: User, source: UUID | None = None
) -> tuple[Entry, bool]:
    """Add to an account of a project or user or, below 0, take from it, also what it does not have. The rest as for a
    grant. What is taken from a prepaid account is gone from its purse at once, where that has it."""
    return _post(EntryKind.ADJUSTMENT, against, account, microcredits, note=note, by=by, source=source)


def _post(
    kind: EntryKind,
    against: AccountKind,
    account: Account,
    microcredits: int,
    *,
    note: str,
    by: User,
    source: UUID | None,
) -> tuple[Entry, bool]:
    if not account.is_owned:
        raise ValidationError("Only accounts of projects and users are given or taken from.")
    if against not in AGAINST:
        raise ValidationError("The other side is one of the relay's own accounts.")
    if not 0 < abs(microcredits) <= MAX_AMOUNT:
        raise ValidationError(f"The amount is not 0, and at most {MAX_AMOUNT} micro-credits.")
    if not note.strip() or len(note) > MAX_NOTE or "\x00" in note:
        raise ValidationError(f"Say why, in at most {MAX_NOTE} characters.")
    if source is not None and source.version != _TIME_ORDERED:
        raise ValidationError("The id is a UUID of version 7: entries are listed by it.")
    other = AGAINST[against][mode_of(account.pk)]
    mine = AccountId(account.pk)
    debit, credit = (other, mine) if microcredits > 0 else (mine, other)
    leg = Leg(kind, debit, credit, abs(microcredits))
    source = source or uuid7()
    generation, is_new = _take_from_purse(account.pk, -microcredits), False
    try:
        with transaction.atomic():
            is_new = post(leg, source=source, note=note, by_id=by.pk, generation=generation)
            entry = Entry.objects.get(source=source, kind=kind)
            if (entry.debit_id, entry.credit_id, entry.amount) != (leg.debit, leg.credit, leg.amount):
                raise PostedOtherwiseError
            if is_new:
                said = f"{kind.name.capitalize()} of {microcredits / MICRO:,.6f} credits against {against}: {note}"
                LogEntry.objects.log_actions(by.pk, [account], CHANGE, said, single_object=True)
    finally:
        if generation is not None and not is_new:
            with suppress(RedisAwayError):  # it comes back when the generation is closed
                purses.give_back(account.pk, -microcredits, generation)
    return entry, is_new


def _take_from_purse(account_id: int, amount: int) -> int | None:
    """None where nothing is taken, there is no purse, or not enough in it: the keeper tells it of the entry then, a
    moment later."""
    if amount <= 0 or not purses.is_purse(account_id):
        return None
    try:
        return purses.take(account_id, amount)
    except (purses.CannotPayError, purses.MoneyClosedError, RedisAwayError):
        return None


def account_limits_set(*, account: Account, overdraft: int, low_balance: int | None, by: User) -> Account:
    """How far below 0 prepaid calls may take it, and below which balance alerts are told. Raises ValidationError."""
    if not account.is_owned:
        raise ValidationError("Only accounts of projects and users have limits.")
    if not all(0 <= amount <= MAX_AMOUNT for amount in (overdraft, low_balance or 0)):
        raise ValidationError(f"Limits are from 0 to {MAX_AMOUNT} micro-credits.")
    account.overdraft_microcredits, account.low_balance_microcredits = overdraft, low_balance
    with transaction.atomic():
        account.save(update_fields=["overdraft_microcredits", "low_balance_microcredits"])
        low = "none" if low_balance is None else f"{low_balance / MICRO:,.6f}"
        said = f"Overdraft {overdraft / MICRO:,.6f} credits, low balance {low}."
        LogEntry.objects.log_actions(by.pk, [account], CHANGE, said, single_object=True)
    return account

"""What owners move between their accounts, and what earnings are paid out. Posted once by its source, and never more
than there is: what leaves an account in this way leaves it one by one, and where it has a purse, that is asked first.
"""

from contextlib import suppress
from uuid import UUID

from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import ValidationError
from django.db import transaction

from relay_admin.access.models import User
from relay_admin.ledger import purses
from relay_admin.ledger.accounts import balance_of
from relay_admin.ledger.corrections import MAX_NOTE, PostedOtherwiseError
from relay_admin.ledger.models import Account, Entry
from relay_admin.ledger.posting import post
from relay_admin.redis_link import RedisAwayError
from relay_contract.credits import MICRO
from relay_contract.ids import uuid7
from relay_contract.ledger import MAX_AMOUNT, PAYMENTS, AccountId, AccountKind, EntryKind, Leg
from relay_contract.nouns import KeyMode

TO = {
    AccountKind.EARNINGS: AccountKind.WALLET,
    AccountKind.WALLET: AccountKind.POOL,
    AccountKind.POOL: AccountKind.WALLET,
}
"""Where an owner may move the credits of an account. Users have no pool."""
_TIME_ORDERED = 7


class TooLittleError(Exception):
    """There is less on the account. `left`: micro-credits."""

    def __init__(self, left: int) -> None:
        super().__init__(f"{max(left, 0) / MICRO:,.6f} credits are there.")
        self.left = max(left, 0)


def transfer(*, account: Account, microcredits: int, by: User, source: UUID | None = None) -> tuple[Entry, bool]:
    """Move credits from an account to the one of its owner that TO says. Returns the entry, and whether it is new: with
    a `source` that was posted before nothing is moved. Raises ValidationError, TooLittleError, PostedOtherwiseError,
    and MoneyClosedError or RedisAwayError where nobody knows what a purse holds."""
    kind = TO.get(AccountKind(account.kind))
    credit = kind and Account.objects.filter(
        kind=kind, mode=account.mode, project_id=account.project_id, user_id=account.user_id
    )
    found = credit.first() if credit is not None and account.is_owned else None
    if found is None:
        raise ValidationError("From this account nothing is moved.")
    leg = Leg(EntryKind.TRANSFER, AccountId(account.pk), AccountId(found.pk), microcredits)
    return _move(account, leg, note=f"From {account.kind} to {found.kind}.", by=by, source=source)


def earnings_pay_out(
    *, account: Account, microcredits: int, note: str, by: User, source: UUID | None = None
) -> tuple[Entry, bool]:
    """Earnings that were paid to their owner outside of the relay. The rest as for a transfer."""
    if account.kind != AccountKind.EARNINGS or not account.is_owned or account.mode != KeyMode.LIVE:
        raise ValidationError("Live earnings are paid out, and nothing else.")
    if not note.strip() or len(note) > MAX_NOTE or "\x00" in note:
        raise ValidationError(f"Say how it was paid, in at most {MAX_NOTE} characters.")
    leg = Leg(EntryKind.PAYOUT, AccountId(account.pk), PAYMENTS[KeyMode.LIVE], microcredits)
    return _move(account, leg, note=note, by=by, source=source)


def _move(account: Account, leg: Leg, *, note: str, by: User, source: UUID | None) -> tuple[Entry, bool]:
    if not 0 < leg.amount <= MAX_AMOUNT:
        raise ValidationError(f"The amount is above 0, and at most {MAX_AMOUNT} micro-credits.")
    if source is not None and source.version != _TIME_ORDERED:
        raise ValidationError("The id is a UUID of version 7: entries are listed by it.")
    source, generation, is_new = source or uuid7(), None, False
    try:
        with transaction.atomic():
            Account.objects.select_for_update(no_key=True).get(pk=account.pk)  # whoever moves from it too waits
            entry = Entry.objects.filter(source=source, kind=leg.kind).first()
            if entry is None:
                generation = _taken(leg)
                is_new = post(leg, source=source, note=note, by_id=by.pk, generation=generation)
                entry = Entry.objects.get(source=source, kind=leg.kind)
            _check_same(entry, leg)
            if is_new:
                said = f"{leg.kind.name.capitalize()} of {leg.amount / MICRO:,.6f} credits: {note}"
                LogEntry.objects.log_actions(by.pk, [account], CHANGE, said, single_object=True)
    finally:
        if generation is not None and not is_new:
            with suppress(RedisAwayError):  # it comes back when the generation is closed
                purses.give_back(leg.debit, leg.amount, generation)
    return entry, is_new


def _check_same(entry: Entry, leg: Leg) -> None:
    if (entry.debit_id, entry.credit_id, entry.amount) != (leg.debit, leg.credit, leg.amount):
        raise PostedOtherwiseError


def _taken(leg: Leg) -> int | None:
    """The generation of the purse that gave it; None of an account that has none."""
    left = balance_of(leg.debit).available
    if left < leg.amount:
        raise TooLittleError(left)
    if not purses.is_purse(leg.debit):
        return None
    try:
        return purses.take(leg.debit, leg.amount)
    except purses.CannotPayError as error:  # calls in flight hold it
        raise TooLittleError(error.left) from error

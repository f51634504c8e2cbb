"""Credits that are paid for: begun here, paid with a provider or outside, credited once, and taken back with the money.

A provider's event is written down in the transaction that acts on it. Whatever fails takes both back, and the provider
sends the event again.
"""

import logging
from uuid import UUID

from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Sum
from django.urls import reverse
from django.utils import timezone

from relay_admin.access.models import User
from relay_admin.ledger.locks import Lock
from relay_admin.ledger.models import Account, PaymentEvent, Refund, RefundReason, TopUp, TopUpState
from relay_admin.ledger.packs import Pack
from relay_admin.ledger.posting import post
from relay_admin.ledger.providers.base import Event, EventKind, Order, Provider
from relay_contract.ids import uuid7
from relay_contract.ledger import MAX_AMOUNT, PAYMENTS, AccountId, AccountKind, EntryKind, Leg, mode_of
from relay_contract.logs import log_fields

logger = logging.getLogger(__name__)

OUTSIDE = "outside"
"""The provider of what was paid by bank transfer, in cash, or however else: an operator says so."""
MAX_PRICE_MINOR = 10**12
MAX_NOTE = 200
_TIME_ORDERED = 7

SEEN, CREDITED, COUNTED, EARLY, UNKNOWN, IGNORED = "seen", "credited", "counted", "early", "unknown", "ignored"
"""What became of an event."""
_REASONS = {
    EventKind.REFUNDED: RefundReason.REFUND,
    EventKind.DISPUTED: RefundReason.DISPUTE,
    EventKind.REINSTATED: RefundReason.DISPUTE_WON,
}


class BegunOtherwiseError(Exception):
    """This id or reference is that of another top-up."""


class EventMismatchError(Exception):
    """An event does not say what our top-up says. Nothing was credited; the text says what differs."""


def topup_begin(
    *, account: Account, pack: Pack, by: User, provider: Provider, return_url: str, source: UUID | None = None
) -> tuple[TopUp, str]:
    """A top-up, and the page on which it is paid. With a `source` that was begun before it is the same one again.

    Raises ValidationError, BegunOtherwiseError, and ProviderError with the top-up left pending: nobody was sent
    anywhere, so nobody can pay it.
    """
    _check_account(account)
    if account.mode != provider.mode:
        raise ValidationError(f"This relay takes payments for {provider.mode} wallets alone.")
    top_up = _begun(
        by,
        source,
        account_id=account.pk,
        microcredits=pack.microcredits,
        price_minor=pack.price_minor,
        currency=pack.currency,
        provider=provider.name,
    )
    if top_up.state != TopUpState.PENDING:
        raise ValidationError(f"This top-up is {top_up.state}.")
    name = f"{pack.credits:,} credits"
    checkout = provider.begin(Order(top_up.source, name, pack.price_minor, pack.currency, return_url))
    # Another one than before where the provider forgot the first, which cannot be paid any more.
    TopUp.objects.filter(pk=top_up.pk, state=TopUpState.PENDING).update(reference=checkout.reference)
    top_up.refresh_from_db()
    return top_up, checkout.url


def topup_record_outside(
    *,
    account: Account,
    microcredits: int,
    price_minor: int,
    currency: str,
    reference: str,
    by: User,
    source: UUID | None = None,
) -> tuple[TopUp, bool]:
    """Credits for what was paid in another way. Whether it is new: a reference is credited once.

    Raises ValidationError, BegunOtherwiseError.
    """
    _check_account(account)
    if not 0 < microcredits <= MAX_AMOUNT:
        raise ValidationError(f"The credits are above 0, and at most {MAX_AMOUNT} micro-credits.")
    if not 0 < price_minor <= MAX_PRICE_MINOR:
        raise ValidationError(f"The price is above 0, and at most {MAX_PRICE_MINOR}.")
    if not (len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.islower()):
        raise ValidationError("The currency is three letters, such as eur.")
    if not reference.strip() or len(reference) > MAX_NOTE or "\x00" in reference:
        raise ValidationError(f"Name the payment, such as the bank's reference, in at most {MAX_NOTE} characters.")
    wanted: dict[str, int | str] = {
        "account_id": account.pk,
        "microcredits": microcredits,
        "price_minor": price_minor,
        "currency": currency,
        "provider": OUTSIDE,
    }
    with transaction.atomic():
        _lock(OUTSIDE, reference)
        found = TopUp.objects.filter(provider=OUTSIDE, reference=reference).first()
        if found is not None:
            is_same = all(getattr(found, name) == value for name, value in wanted.items())
            if not is_same or source not in (None, found.source):
                raise BegunOtherwiseError
            return found, False
        top_up = _begun(by, source, **wanted)
        if top_up.reference:  # this source is another payment's
            raise BegunOtherwiseError
        top_up.reference = top_up.payment = reference
        _credit(top_up)
        _log(by, account, f"Paid outside: {reference}, {price_minor} {currency}.")
    return top_up, True


def topup_refund(*, top_up: TopUp, price_minor: int | None, by: User) -> Refund:
    """Take back the credits of what is refunded outside; None: of all that is left. Raises ValidationError."""
    if top_up.provider != OUTSIDE:
        raise ValidationError(f"Refund it with {top_up.provider}, which tells the relay.")
    with transaction.atomic():
        top_up = TopUp.objects.select_for_update().get(pk=top_up.pk)
        if top_up.state != TopUpState.PAID:
            raise ValidationError(f"This top-up is {top_up.state}.")
        left = top_up.price_minor - _returned(top_up)[0]
        asked = left if price_minor is None else price_minor
        if not 0 < asked <= left:
            raise ValidationError(f"Of this top-up 1 to {left} can be refunded.")
        refund = _take_back(top_up, RefundReason.REFUND, asked, by.pk)
        _log(by, top_up.account, f"Refund of {asked} {top_up.currency}, which was paid as {top_up.reference}.")
    return refund


def event_apply(event: Event) -> str:
    """Act on what a provider tells, once. Returns what became of it. Raises EventMismatchError."""
    with transaction.atomic():
        if event.payment:
            _lock(event.provider, event.payment)
        row, is_new = PaymentEvent.objects.get_or_create(
            provider=event.provider,
            event_id=event.event_id,
            defaults={
                "kind": event.kind,
                "payment": event.payment,
                "price_minor": event.price_minor,
                "currency": event.currency,
                "is_live": event.is_live,
            },
        )
        if not is_new:
            return SEEN
        row.top_up = _top_up_of(event)
        if row.top_up is None:
            row.outcome = _stray(event)
        elif event.kind is EventKind.PAID:
            row.outcome = _paid(row.top_up, event)
        elif event.kind is EventKind.FAILED:
            row.outcome = _failed(row.top_up)
        else:
            row.outcome = _returned_by(row.top_up, row)
        row.save(update_fields=["top_up", "outcome"])
    logger.info("payment_event", extra=log_fields(event_id=event.event_id, kind=event.kind, outcome=row.outcome))
    return row.outcome


def portal_url(account: Account, source: UUID) -> str:
    """Where a member who paid is led back to: a page that waits for what the provider tells."""
    return f"{settings.CONTROL_URL}{reverse('portal:wallet-top-up', args=[account.pk, source])}"


def return_url(account: Account) -> str:
    """Where an operator who paid is led back to: the account's page."""
    return f"{settings.CONTROL_URL}{reverse('admin:ledger_account_change', args=[account.pk])}"


def _check_account(account: Account) -> None:
    if account.kind != AccountKind.WALLET:
        raise ValidationError("Only wallets are topped up.")


def _begun(by: User, source: UUID | None, **wanted: int | str) -> TopUp:
    """The pending one of this source, made unless it is there. Raises ValidationError, BegunOtherwiseError."""
    if source is not None and source.version != _TIME_ORDERED:
        raise ValidationError("The id is a UUID of version 7: entries are listed by it.")
    top_up, _ = TopUp.objects.get_or_create(source=source or uuid7(), defaults={**wanted, "by_id": by.pk})
    if any(getattr(top_up, name) != value for name, value in wanted.items()):
        raise BegunOtherwiseError
    return top_up


def _log(by: User, account: Account, said: str) -> None:
    LogEntry.objects.log_actions(by.pk, [account], CHANGE, said, single_object=True)


def _lock(provider: str, payment: str) -> None:
    """Until the transaction ends: what is told of one payment is acted on one after the other."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [Lock.PAYMENTS, f"{provider}\n{payment}"])


def _top_up_of(event: Event) -> TopUp | None:
    rows = TopUp.objects.select_for_update().filter(provider=event.provider)
    found = rows.filter(source=event.top_up).first() if event.top_up else None
    if found is None and event.payment:
        found = rows.filter(payment=event.payment).first()
    return found


def _stray(event: Event) -> str:
    """Of a top-up that nobody knows. A dispute may be early, or of a payment that was never ours."""
    if event.kind is EventKind.PAID:
        # The checkout bears our mark, so a backup was restored, or the provider tells two relays.
        logger.error("payment_unknown", extra=log_fields(event_id=event.event_id, payment=event.payment))
        return UNKNOWN
    return IGNORED if event.kind is EventKind.FAILED else EARLY


def _paid(top_up: TopUp, event: Event) -> str:
    _compare(top_up, event.currency, event.is_live)
    for name, ours, told in (
        ("amount", top_up.price_minor, event.price_minor),
        ("checkout", top_up.reference or event.reference, event.reference),
        ("payment", top_up.payment or event.payment, event.payment),
    ):
        if ours != told:
            raise EventMismatchError(f"{name} of {event.event_id} is not that of top-up {top_up.pk}")
    if top_up.state in (TopUpState.PAID, TopUpState.REFUNDED):
        return IGNORED  # told in two ways
    top_up.reference, top_up.payment = event.reference, event.payment
    _credit(top_up)
    early = PaymentEvent.objects.filter(provider=event.provider, payment=event.payment, outcome=EARLY).order_by("pk")
    for row in early:
        row.top_up, row.outcome = top_up, _returned_by(top_up, row)
        row.save(update_fields=["top_up", "outcome"])
    return CREDITED


def _failed(top_up: TopUp) -> str:
    if top_up.state != TopUpState.PENDING:
        return IGNORED
    top_up.state = TopUpState.FAILED
    top_up.save(update_fields=["state"])
    return COUNTED


def _returned_by(top_up: TopUp, row: PaymentEvent) -> str:
    if top_up.state not in (TopUpState.PAID, TopUpState.REFUNDED):
        return EARLY
    _compare(top_up, row.currency, row.is_live)
    kind = EventKind(row.kind)
    change = row.price_minor
    if kind is EventKind.REFUNDED:  # all so far, so one that was overtaken by a later one adds nothing
        change -= _returned(top_up, RefundReason.REFUND)[0]
        if change <= 0:
            return IGNORED
    elif kind is EventKind.REINSTATED:
        change = -change
    _take_back(top_up, _REASONS[kind], change, None)
    return COUNTED


def _compare(top_up: TopUp, currency: str, is_live: bool) -> None:
    if currency != top_up.currency or is_live != (mode_of(top_up.account_id) == "live"):
        raise EventMismatchError(f"currency or mode is not that of top-up {top_up.pk}")


def _credit(top_up: TopUp) -> None:
    mode = mode_of(top_up.account_id)
    leg = Leg(EntryKind.TOPUP, PAYMENTS[mode], AccountId(top_up.account_id), top_up.microcredits)
    note = f"{top_up.price_minor} {top_up.currency}, {top_up.provider} {top_up.payment}"[:MAX_NOTE]
    post(leg, source=top_up.source, note=note, by_id=top_up.by_id)
    top_up.state, top_up.paid_at = TopUpState.PAID, timezone.now()
    top_up.save(update_fields=["reference", "payment", "state", "paid_at"])


def _returned(top_up: TopUp, *why: RefundReason) -> tuple[int, int]:
    """How much of its price and credits went back."""
    refunds = top_up.refunds.filter(why__in=why) if why else top_up.refunds.all()
    sums = refunds.aggregate(price=Sum("price_minor"), credits=Sum("microcredits"))
    return int(sums["price"] or 0), int(sums["credits"] or 0)


def _take_back(top_up: TopUp, why: RefundReason, price_change: int, by_id: int | None) -> Refund:
    """The credits' share of the price that is back by now, less what was taken already: no rounding adds up, and the
    order in which refunds and disputes are told does not matter."""
    price, taken = _returned(top_up)
    back = min(max(price + price_change, 0), top_up.price_minor)
    microcredits = top_up.microcredits * back // top_up.price_minor - taken
    refund = Refund.objects.create(
        source=uuid7(), top_up=top_up, why=why, price_minor=price_change, microcredits=microcredits, by_id=by_id
    )
    if microcredits:
        wallet, payments = AccountId(top_up.account_id), PAYMENTS[mode_of(top_up.account_id)]
        debit, credit = (wallet, payments) if microcredits > 0 else (payments, wallet)
        note = f"{why} of {abs(price_change)} {top_up.currency}, {top_up.provider} {top_up.payment}"[:MAX_NOTE]
        leg = Leg(EntryKind.REFUND_TOPUP, debit, credit, abs(microcredits))
        post(leg, source=refund.source, note=note, by_id=by_id)
    top_up.state = TopUpState.REFUNDED if back == top_up.price_minor else TopUpState.PAID
    top_up.save(update_fields=["state"])
    return refund

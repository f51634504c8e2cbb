"""The ledger as every process knows it: whose accounts there are, and what a row may be about. Pure.

A row moves one amount from one account (its debit) to another (its credit), so every row balances by itself, and so
does every set of them. What an account has is the sum of its credits less that of its debits. Amounts are whole
micro-credits, and one micro-credit is one nano-USD of list price: nothing is converted or rounded between prices,
limits and ledger.

Live and test money cannot meet: ids of live accounts are even, of test accounts odd, and a row's two ids are of one
parity. Postgres checks both.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from relay_contract.nouns import AccountId, KeyMode, TermsId

MILLION = 1_000_000
MAX_MARKUP_PPM = 10_000_000
"""Eleven times the price."""

REVENUE = {KeyMode.LIVE: AccountId(2), KeyMode.TEST: AccountId(3)}
"""What the relay earned."""
PAYMENTS = {KeyMode.LIVE: AccountId(4), KeyMode.TEST: AccountId(5)}
"""Where what was paid in comes from."""
PROMOTIONS = {KeyMode.LIVE: AccountId(6), KeyMode.TEST: AccountId(7)}
"""Where grants come from."""
SUSPENSE = {KeyMode.LIVE: AccountId(8), KeyMode.TEST: AccountId(9)}
"""What somebody has to look at."""

MAX_AMOUNT = 10**15
"""Micro-credits of one row, a billion credits: JSON carries it exactly, and no sum of rows leaves a bigint."""


class AccountKind(StrEnum):
    """What an account is for."""

    WALLET = "wallet"  # of a project or a user: what is left to spend
    POOL = "pool"  # of a project: what its owner sets aside for its users
    EARNINGS = "earnings"  # of a project's mark-up, or of a user's referrals
    REVENUE = "revenue"
    PAYMENTS = "payments"
    PROMOTIONS = "promotions"
    SUSPENSE = "suspense"


class EntryKind(IntEnum):
    """What a row is about. With its source it is the row's key, so one source has at most one of each kind. The numbers
    are stored and never given anew."""

    USAGE = 1  # a call's price
    MARKUP_OWNER = 2  # of its mark-up: the project's part,
    MARKUP_REFERRAL = 3  # the part of who brought the user,
    MARKUP_FEE = 4  # and the relay's
    TOPUP = 10  # what was paid for; its source is the top-up's
    GRANT = 11
    CODE = 12
    GIFT = 13  # to a new user; once, its source is made of the user
    TRANSFER = 14  # between accounts of one owner
    PAYOUT = 15  # of earnings
    ADJUSTMENT = 20
    DELIVERIES = 40  # in totals by day alone: the rows themselves are those of `ledger_charge`
    REFUND_TOPUP = 110  # taken back with the money, or given again when a dispute is won


CALL_KINDS = (EntryKind.USAGE, EntryKind.MARKUP_OWNER, EntryKind.MARKUP_REFERRAL, EntryKind.MARKUP_FEE)
"""Of entries whose source is a call."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a project's mark-up is shared: `owner_ppm` of it to the project, of which `referral_ppm` to who brought the
    user; the rest is the relay's. Rows of terms are never changed: what a call was charged under stays to be read."""

    id: TermsId
    markup_ppm: int
    owner_ppm: int
    referral_ppm: int


@dataclass(frozen=True, slots=True)
class Leg:
    """One row to be: `amount` micro-credits, above 0, from `debit` to `credit`."""

    kind: EntryKind
    debit: AccountId
    credit: AccountId
    amount: int


def mode_of(account_id: int) -> KeyMode:
    """Whose money it holds."""
    return KeyMode.TEST if account_id & 1 else KeyMode.LIVE


def charge_of(cost: int, markup_ppm: int) -> tuple[int, int]:
    """What a call of this cost is charged, and how much of that is mark-up. Halves are rounded up."""
    markup = (cost * markup_ppm + MILLION // 2) // MILLION
    return cost + markup, markup


def legs(
    payer: AccountId,
    cost: int,
    markup: int,
    *,
    terms: Terms | None,
    owner: AccountId,
    referrer: AccountId | None = None,
) -> tuple[Leg, ...]:
    """The rows of a call: together exactly `cost + markup`, whatever the shares. `owner`, `referrer`: the earnings
    accounts of the project and of who brought the user. Shares are rounded down, and what is left over is the relay's.
    """
    revenue = REVENUE[mode_of(payer)]
    owned = markup * terms.owner_ppm // MILLION if terms is not None else 0
    referred = owned * terms.referral_ppm // MILLION if terms is not None and referrer is not None else 0
    rows = [
        Leg(EntryKind.USAGE, payer, revenue, cost),
        Leg(EntryKind.MARKUP_OWNER, payer, owner, owned - referred),
        Leg(EntryKind.MARKUP_FEE, payer, revenue, markup - owned),
    ]
    if referrer is not None:
        rows.append(Leg(EntryKind.MARKUP_REFERRAL, payer, referrer, referred))
    return tuple(row for row in rows if row.amount)

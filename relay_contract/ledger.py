"""The ledger as every process knows it: whose accounts there are, and what a row may be about. Pure.

A row moves one amount from one account (its debit) to another (its credit), so every row balances by itself, and so
does every set of them. What an account has is the sum of its credits less that of its debits. Amounts are whole
micro-credits.

Live and test money cannot meet: ids of live accounts are even, of test accounts odd, and a row's two ids are of one
parity. Postgres checks both.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NewType

from relay_contract.nouns import KeyMode

AccountId = NewType("AccountId", int)

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

    WALLET = "wallet"  # of a project: what is left to spend
    POOL = "pool"  # of a project: what its owner sets aside for its users
    EARNINGS = "earnings"  # of a project
    REVENUE = "revenue"
    PAYMENTS = "payments"
    PROMOTIONS = "promotions"
    SUSPENSE = "suspense"


class EntryKind(IntEnum):
    """What a row is about. With its source it is the row's key, so one source has at most one of each kind. The numbers
    are stored and never given anew."""

    TOPUP = 10  # what was paid for; its source is the top-up's
    GRANT = 11
    CODE = 12
    ADJUSTMENT = 20
    DELIVERIES = 40  # in totals by day alone: the rows themselves are those of `ledger_charge`
    REFUND_TOPUP = 110  # taken back with the money, or given again when a dispute is won


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

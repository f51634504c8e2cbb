"""The numbers of the ledger's advisory locks, together so that no two are the same: who holds one for long would keep
the other out."""

from enum import IntEnum, unique


@unique
class Lock(IntEnum):
    """Any numbers that nobody else locks."""

    BALANCES = 0x1ED6E2  # of whoever changes a balance's version, to the end of its transaction
    USAGE = 0x1ED6E3  # of the fold of hours
    KEEPER = 0x1ED6E4  # of the session that keeps the purses, as long as it lives
    INVOICES = 0x1ED6E5  # of whoever takes the next number
    PAYMENTS = 0x1ED6E6  # with a payment's hash: what is told of it is acted on one after the other

"""Folds what the ledger's statements added into balances, days and hours: a step of the worker's round."""

from delivery.database import Connection
from relay_admin.ledger import folding


async def fold(connection: Connection) -> bool:
    """True when there may be more. Harmless when another worker does it too. Raises DatabaseAway."""
    await connection.rows(folding.OPEN_ACCOUNTS, ())
    [folded] = await connection.rows(folding.FOLD, ())
    [(hours,)] = await connection.rows(folding.FOLD_USAGE, ())
    return folding.MOST in (*folded, hours)

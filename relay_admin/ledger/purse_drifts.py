"""Whether Redis believes of money what Postgres has. Both change all the time, so only what stands still is compared:
generations that are not given any more and of which nothing is held, and grants of the very same version."""

from django.db import connection

from relay_admin.ledger import purse_sql
from relay_admin.ledger.drift_rows import with_rows
from relay_admin.ledger.drifts import MAX_SHOWN, Drift
from relay_admin.ledger.movements import UNFOLDED
from relay_admin.ledger.purses import Purse, purses

_TAKEN = f"""
SELECT account_id, generation, sum(taken)::bigint FROM (
    SELECT account_id, generation, taken FROM ledger_taken
    UNION ALL
    SELECT account_id, generation, taken FROM ({UNFOLDED}) AS movement WHERE generation IS NOT NULL
) AS side JOIN ledger_balance AS balance USING (account_id)
WHERE generation > balance.closed_generation AND balance.is_purse GROUP BY account_id, generation
"""  # noqa: S608 (constants)


def drifts() -> list[Drift]:
    """`spent_differs`: a row that is lost, or under way, or a settlement that never came to Redis; the close of the
    generation repairs it. `grant_differs`, `purse_is_newer`: purses of another database. Raises RedisAwayError."""
    before = _taken()
    generation, found = purses()
    after = _taken()
    if generation is None:
        return []
    by_account = {purse.account_id: purse for purse in found}
    compared = [place for place in before.keys() | after.keys() if before.get(place) == after.get(place)]
    compared += [
        (purse.account_id, number)
        for purse in found
        for number in purse.spent
        if (purse.account_id, number) not in before.keys() | after.keys()
    ]
    differing = [
        _spent_differs(by_account.get(account), account, number, after.get((account, number), 0))
        for account, number in sorted(compared)
        if number < generation
    ]
    found_drifts = [drift for drift in differing if drift is not None] + _grants(by_account)
    return with_rows(found_drifts[:MAX_SHOWN])


def _spent_differs(purse: Purse | None, account: int, number: int, taken: int) -> Drift | None:
    spent, held = (purse.spent.get(number, 0), purse.held.get(number, 0)) if purse is not None else (0, 0)
    if held or spent == taken:
        return None
    about = {"account": account, "generation": number}
    return Drift("spent_differs", f"account {account}, generation {number}", taken, spent, about)


def _grants(by_account: dict[int, Purse]) -> list[Drift]:
    found, account = [], 0
    while page := _rows(purse_sql.ALL.replace("%b", "%s"), account):
        for account, version, _, granted in page:
            purse = by_account.get(account)
            if purse is not None and purse.version > version:
                found.append(Drift("purse_is_newer", f"account {account}, version", version, purse.version))
            elif (
                purse is not None and (purse.version, purse.granted) != (version, granted) and purse.version == version
            ):
                found.append(Drift("grant_differs", f"account {account}", granted, purse.granted, {"account": account}))
    return found


def _taken() -> dict[tuple[int, int], int]:
    return {(account, number): taken for account, number, taken in _rows(_TAKEN)}


def _rows(statement: str, *parameters: int) -> list[tuple[int, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())

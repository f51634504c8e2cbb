"""One step of a replay here and now, as the workers' runner does it: what a prepaid project's deliveries cost is taken
from its purse first, and what came to nothing is given back. A process that dies between leaves it to the close of the
generation.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import InterfaceError, OperationalError, connection

from relay_admin.deliveries.replays import IS_PAID, NEEDS, NOTHING_TAKEN, STEP, Taken
from relay_admin.ledger import purses
from relay_admin.redis_link import RedisAwayError


class ReplaySteps:
    """Steps of one transaction, and what purses gave for them."""

    def __init__(self) -> None:
        self._taken: list[Taken] = []

    def step(self, batch_id: int) -> int:
        """How many deliveries it looked at. 0: the batch is over, or not due. Raises MoneyClosedError and
        RedisAwayError where a prepaid project is to pay and nobody knows what it has."""
        taken = self._take(batch_id)
        with connection.cursor() as cursor:
            cursor.execute(STEP, [taken.as_json() if taken is not None else NOTHING_TAKEN, batch_id])
            row = cursor.fetchone()
        if taken is not None:
            _give_back(taken.keep(json.loads(row[4]) if row else {}))  # Django leaves JSON as it is
        return row[1] if row else 0

    def take_back(self) -> None:
        """The transaction failed: nothing of it was made due."""
        for taken in self._taken:
            _give_back(taken.keep({}))

    def _take(self, batch_id: int) -> Taken | None:
        needs = _needs(batch_id)
        if not needs:
            return None
        taken = Taken(needs[0][0], needs[0][1], {})
        self._taken.append(taken)
        for _, _, account_id, prices in needs:
            if account_id is not None:
                taken.accounts[account_id] = purses.take_some(account_id, prices)
        return taken


def _needs(batch_id: int) -> list[tuple[int, str, int | None, list[int]]]:
    with connection.cursor() as cursor:
        cursor.execute(IS_PAID)
        [(is_paid,)] = cursor.fetchall()
        if not is_paid:
            return []
        cursor.execute(NEEDS, [batch_id])
        return list(cursor.fetchall())


@contextmanager
def replay_steps() -> Iterator[ReplaySteps]:
    """Around a transaction: what its steps took is given back when it fails. Where nobody knows whether it did, the
    close of the generation finds out."""
    steps = ReplaySteps()
    try:
        yield steps
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        steps.take_back()
        raise


def _give_back(parts: list[tuple[int, int, int]]) -> None:
    for account_id, amount, generation in parts:
        with suppress(RedisAwayError):
            purses.give_back(account_id, amount, generation)

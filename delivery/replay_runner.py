"""Runs replays: takes the next step of whichever batch is due, and has what became due drained.

A step is one statement (`relay_admin/deliveries/replays.py`) that holds its batch's row: any number of workers may run
this, a batch is stepped by one of them at a time, and one that dies leaves the batch to the others.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from redis.exceptions import RedisError

from delivery.database import Connection, DatabaseAway, Outage
from delivery.purse_writes import MoneyClosed, PurseWrites
from relay_admin.deliveries.replays import DUE_IN, IS_PAID, NEEDS, NOTHING_TAKEN, POSTPONE, STEP, Taken
from relay_contract import logs
from relay_contract.intake import MAX_SHARDS

logger = logging.getLogger(__name__)

IDLE_SECONDS = 1.0
"""How often to look for a batch that was started or resumed."""
SOONEST_SECONDS = 0.02
"""Between two looks at a batch that another worker has in hand."""
ANY_BATCH = 0


class ReplayRunner:
    """Steps batches through its own connection. `on_due` hears of each shard that has something to do."""

    def __init__(self, connection: Connection, purses: PurseWrites, on_due: Callable[[int], None]) -> None:
        self._connection = connection
        self._purses = purses
        self._on_due = on_due
        self._outage = Outage("replay")

    async def run(self) -> None:
        """Until cancelled. While Postgres is away replays wait."""
        while True:
            try:
                pause = await self.look()
            except DatabaseAway as away:  # the step may have been committed before it broke off: its cursor knows
                pause = self._outage.goes_on(away)
            else:
                self._outage.is_over()
            await asyncio.sleep(pause)

    async def look(self) -> float:
        """Step a batch if one is due; in how many seconds to look again. Raises DatabaseAway.

        Whether one is due is asked first: a step names every day of history, and planning it takes tens of
        milliseconds.
        """
        [(due_in,)] = await self._connection.rows(DUE_IN, ())
        if due_in is None or due_in > 0:
            return IDLE_SECONDS if due_in is None else min(due_in, IDLE_SECONDS)
        return 0.0 if await self.step() else SOONEST_SECONDS

    async def step(self) -> bool:
        """One step of the batch that has waited longest for it; whether there was one. Raises DatabaseAway.

        What prepaid projects pay for it is taken first. When it breaks off, whoever closes the generation finds out
        whether it was done."""
        [(is_paid,)] = await self._connection.rows(IS_PAID, ())
        if not is_paid:
            return await self._step(NOTHING_TAKEN, ANY_BATCH) is not None
        needs = await self._connection.rows(NEEDS, (ANY_BATCH,))
        if not needs:
            return False
        taken = Taken(needs[0][0], needs[0][1], {})
        try:
            for _, _, account, prices in needs:
                if account is not None:
                    taken.accounts[account] = await self._purses.take_some(account, prices)
        except (MoneyClosed, RedisError, OSError):
            await self._give_back(taken, {})
            await self._connection.rows(POSTPONE, (taken.batch_id,))
            return False
        spent = await self._step(taken.as_json(), taken.batch_id)
        await self._give_back(taken, spent or {})
        return spent is not None

    async def _step(self, taken: str, batch_id: int) -> dict[str, int] | None:
        """What was spent of the taken, by account; None where there was no step."""
        rows = await self._connection.rows(STEP, (taken, batch_id))
        for found_id, looked, replayed, shards, spent in rows:
            logger.debug("replay_step", extra=logs.log_fields(batch=found_id, looked=looked, replayed=replayed))
            for shard in shards:
                if shard < MAX_SHARDS:
                    self._on_due(shard)
            return dict(spent)
        return None

    async def _give_back(self, taken: Taken, spent: dict[str, int]) -> None:
        for account, amount, generation in taken.keep(spent):
            with suppress(RedisError, OSError):  # it comes back when the generation is closed
                await self._purses.give_back(account, amount, generation)

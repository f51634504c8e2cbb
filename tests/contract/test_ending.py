"""Background tasks end, also where Python forgets that they were cancelled."""

import asyncio
from contextlib import suppress

from relay_contract.ending import end


async def test_a_task_that_a_cancellation_passed_by_is_cancelled_again() -> None:
    """As `asyncio.wait_for` does before Python 3.12, when what it waits for is done in the same turn."""
    passed_by = 0

    async def work() -> None:
        nonlocal passed_by
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        passed_by += 1
        await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await end(task)
    assert (task.cancelled(), passed_by) == (True, 1)


async def test_what_a_task_raised_stays_in_it() -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("in ending")

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await end(task)
    assert isinstance(task.exception(), ValueError)

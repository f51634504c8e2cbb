"""What a worker does beside deliveries: short steps, one after the other each second, on a connection of their own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from delivery.database import Connection, DatabaseAway, Outage

ROUND_SECONDS = 1.0

Step = Callable[[Connection], Awaitable[bool]]
"""Does some of its work; True when there may be more at once. Raises DatabaseAway."""


@asynccontextmanager
async def rounds(connection: Connection, steps: Sequence[Step]) -> AsyncIterator[None]:
    """Makes rounds until the block ends. A mistake in a step ends the block as an ExceptionGroup."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_go_on(connection, steps))
        try:
            yield
        finally:
            task.cancel()


async def _go_on(connection: Connection, steps: Sequence[Step]) -> None:
    outage = Outage("rounds")
    while True:
        has_more = False
        try:
            for step in steps:
                has_more |= await step(connection)
        except DatabaseAway as away:
            await asyncio.sleep(outage.goes_on(away))
            continue
        outage.is_over()
        await asyncio.sleep(0 if has_more else ROUND_SECONDS)

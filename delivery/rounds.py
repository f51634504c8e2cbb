"""What a worker does beside deliveries: short steps, one after the other each second, on a connection of their own."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from delivery.database import Connection, DatabaseAway, Outage

ROUND_SECONDS = 1.0

Step = Callable[[Connection], Awaitable[bool]]
"""Does some of its work; True when there may be more at once. Raises DatabaseAway."""


async def make_rounds(connection: Connection, steps: Sequence[Step]) -> None:
    """Until it is cancelled. Raises what is a mistake in a step, and no outage."""
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

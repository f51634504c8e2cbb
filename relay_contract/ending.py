"""Ends background tasks, for certain.

One `cancel()` is not enough before Python 3.12: `asyncio.wait_for`, with which psycopg waits for its socket, returns
its result and forgets the cancellation when both come in one turn of the loop (cpython issue 86296).
"""

import asyncio
from typing import Any

ROUND_SECONDS = 0.2


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancels the tasks until each has ended. What one raised meanwhile is its own affair: it stays in the task."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=ROUND_SECONDS)

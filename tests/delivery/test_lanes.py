"""What runs in a worker process ends when it is asked to."""

import asyncio
from contextlib import suppress
from typing import cast

from delivery.resident import Lanes
from delivery.sync_lane import SyncLane


class Lane:
    """Runs until it is stopped."""

    def __init__(self) -> None:
        self._stopped = asyncio.Event()

    async def run(self, grace_seconds: float) -> None:
        await self._stopped.wait()

    def stop(self) -> None:
        self._stopped.set()


async def test_what_goes_on_beside_ends_with_the_lanes() -> None:
    """Also what a first cancellation passes by: on Python 3.11 one that comes as a statement is answered is lost."""
    began, is_passed_by = asyncio.Event(), False

    async def keep() -> None:
        nonlocal is_passed_by
        began.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        is_passed_by = True
        await asyncio.sleep(3600)

    lanes = Lanes(None, cast("SyncLane", Lane()), None, None, (keep,))
    running = asyncio.create_task(lanes.run(0))
    await began.wait()
    lanes.stop()
    await running
    assert is_passed_by

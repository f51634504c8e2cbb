"""The wheel: never early, once a sweep, quiet when nobody is on it."""

from __future__ import annotations

import asyncio
import time

from relay_edge.deadlines import TICK_SECONDS, DeadlineWheel
from tests.edge.conftest import until


class Bell:
    """Rings once, at its deadline or later."""

    def __init__(self, wheel: DeadlineWheel, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._wheel = wheel
        self.deadline = self._loop.time() + seconds
        self.rang_at: float | None = None
        wheel.add(self)

    def on_deadline(self) -> None:
        assert self.rang_at is None
        self.rang_at = self._loop.time()
        self._wheel.discard(self)


async def test_deadlines_fire_in_time_and_never_early() -> None:
    wheel = DeadlineWheel(asyncio.get_running_loop())
    bells = [Bell(wheel, seconds) for seconds in (0.0, 0.05, 0.15, 0.3)]
    never = Bell(wheel, 3600)
    await until(lambda: all(bell.rang_at is not None for bell in bells), "every bell")
    assert all(bell.rang_at >= bell.deadline for bell in bells if bell.rang_at is not None)
    assert never.rang_at is None
    assert len(wheel) == 1
    wheel.close()
    assert len(wheel) == 0


async def test_a_deadline_that_is_moved_along_does_not_fire() -> None:
    wheel = DeadlineWheel(asyncio.get_running_loop())
    moved, other = Bell(wheel, 0.1), Bell(wheel, 0.35)
    moved.deadline += 3600
    await until(lambda: other.rang_at, "the other bell")
    assert moved.rang_at is None
    wheel.close()


async def test_after_a_loop_that_stood_still_the_sockets_come_first() -> None:
    """What arrived in the meantime is read before anyone is blamed for silence."""
    wheel = DeadlineWheel(asyncio.get_running_loop())
    bell = Bell(wheel, 0.05)
    await asyncio.sleep(0)
    time.sleep(1.2)  # noqa: ASYNC251  # the loop stands still
    await asyncio.sleep(0.01)  # the late sweep
    assert bell.rang_at is None
    await until(lambda: bell.rang_at, "the bell")
    wheel.close()


async def test_the_wheel_rests_and_starts_again() -> None:
    wheel = DeadlineWheel(asyncio.get_running_loop())
    first = Bell(wheel, 0)
    await until(lambda: first.rang_at, "the bell")
    await asyncio.sleep(2.5 * TICK_SECONDS)
    resting_at = wheel.now
    second = Bell(wheel, 0)
    assert wheel.now > resting_at  # what it shows is fresh for whoever joins
    await until(lambda: second.rang_at, "the second bell")
    wheel.close()

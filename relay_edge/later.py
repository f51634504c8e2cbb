"""Work on calls that have ended, which no caller waits for: gathered for a moment, done a slice at a time.

Bounded: what comes while `most` items wait is dropped and counted. Per item: one append. No task; one timer a slice.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from relay_edge.metrics import Counter

GATHER_SECONDS = 0.05
SLICE = 32

Item = TypeVar("Item")


class Later(Generic[Item]):
    """A queue and what is done with its items."""

    __slots__ = ("_dropped", "_items", "_loop", "_most", "_slice", "_timer", "_work")

    def __init__(
        self, work: Callable[[list[Item]], None], *, most: int, dropped: Counter, slice_items: int = SLICE
    ) -> None:
        """`work` gets up to `slice_items` at once and must not raise."""
        self._loop = asyncio.get_running_loop()
        self._work = work
        self._most = most
        self._slice = slice_items
        self._dropped = dropped
        self._items: deque[Item] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: Item) -> None:
        """At the end, or dropped. Never waits, never raises."""
        if len(self._items) >= self._most:
            self._dropped.value += 1
            return
        self._items.append(item)
        if self._timer is None:
            self._timer = self._loop.call_later(GATHER_SECONDS, self._do_slice)

    def flush(self) -> None:
        """Does all that is left, now."""
        while self._items:
            self._do_slice()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _do_slice(self) -> None:
        items = self._items
        self._timer = None
        self._work([items.popleft() for _ in range(min(len(items), self._slice))])
        if items:  # other callbacks first
            self._timer = self._loop.call_later(0, self._do_slice)

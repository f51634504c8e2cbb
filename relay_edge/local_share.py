"""Limits while Redis is away: this process admits its share of each, `amount / processes`, rounded up.

The same sliding window and places in flight as `admit.lua`, in memory. Nothing is carried over to or from Redis, so at
each change of sides a caller may be served up to one window's amount more. Bounded by MAX_KEYS: beyond it the windows
are forgotten and count from 0.
"""

import math
from dataclasses import dataclass

from relay_contract.nouns import Meter
from relay_edge.charges import ChargedRule, ChargeSet

MAX_KEYS = 100_000


@dataclass(slots=True)
class _Window:
    bucket: int
    current: int
    previous: int


class LocalShare:
    """One process's share. Times in seconds of any clock that only grows."""

    __slots__ = ("_in_flight", "_processes", "_windows")

    def __init__(self, processes: int) -> None:
        self._processes = max(1, processes)
        self._windows: dict[str, _Window] = {}
        self._in_flight: dict[str, set[bytes]] = {}

    def admit(self, charges: ChargeSet, reservation_id: bytes, now: float) -> tuple[int, int] | None:
        """None when the call is counted; else the refusing rule (from 1) and the wait in ms, as `admit.lua` answers."""
        counted: list[tuple[ChargedRule, _Window | None]] = []
        for number, rule in enumerate(charges.rules, 1):
            share = math.ceil(rule.rule.amount / self._processes)
            if rule.rule.meter is Meter.CONCURRENCY:
                if len(self._in_flight.get(rule.key, ())) >= share:
                    return number, min(rule.rule.window_seconds * 1000, 1000)
                counted.append((rule, None))
                continue
            seconds = rule.rule.window_seconds
            window = self._window(rule.key, int(now // seconds))
            elapsed = now % seconds / seconds
            if window.previous * (1 - elapsed) + window.current + 1 > share:
                return number, max(1, math.ceil((1 - elapsed) * seconds * 1000))
            counted.append((rule, window))
        for rule, counting in counted:
            if counting is None:
                self._in_flight.setdefault(rule.key, set()).add(reservation_id)
            else:
                counting.current += 1
                self._windows[rule.key] = counting
        if len(self._windows) > MAX_KEYS:
            self._windows.clear()
        return None

    def settle(self, charges: ChargeSet, reservation_id: bytes) -> None:
        """Gives the places back."""
        for rule in charges.leases:
            holders = self._in_flight.get(rule.key)
            if holders is not None:
                holders.discard(reservation_id)
                if not holders:
                    del self._in_flight[rule.key]

    def _window(self, key: str, bucket: int) -> _Window:
        window = self._windows.get(key)
        if window is None or bucket > window.bucket + 1:
            return _Window(bucket, 0, 0)
        if bucket == window.bucket + 1:
            return _Window(bucket, 0, window.current)
        return window

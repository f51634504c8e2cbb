"""Limits while Redis is away: this process admits its share of each, `amount / processes`, rounded up.

The same rules as `admit.lua`, in memory. Nothing is carried over to or from Redis, so at each change of sides a caller
may be served up to one window's amount more. Bounded by MAX_KEYS: beyond it the counts are forgotten and begin at 0.
"""

import math
from dataclasses import dataclass

from relay_contract.nouns import Meter
from relay_edge.charges import ChargedRule, RuleSet
from relay_edge.reservation import Hold, Need

MAX_KEYS = 100_000
_LEASE_WAIT_MS = 1000


@dataclass(slots=True)
class _Window:
    bucket: int
    current: int
    previous: int


@dataclass(slots=True)
class _Owed:
    amount: float
    at: float


class LocalShare:
    """One process's share. Times in seconds of any clock that only grows."""

    __slots__ = ("_in_flight", "_owed", "_processes", "_windows")

    def __init__(self, processes: int) -> None:
        self._processes = max(1, processes)
        self._windows: dict[str, _Window] = {}
        self._owed: dict[str, _Owed] = {}
        self._in_flight: dict[str, set[bytes]] = {}

    @staticmethod
    def needed(rule: ChargedRule, need: Need) -> int:
        """What a rule counts of a call."""
        match rule.meter:
            case Meter.TOKENS:
                return need.tokens
            case Meter.COST:
                return need.cost_nanousd
            case _:
                return 1

    def admit(self, rules: RuleSet, need: Need, reservation_id: bytes, now: float) -> tuple[int, int] | None:
        """None when the call is counted; else the refusing rule (from 1) and the wait in ms, as `admit.lua` answers."""
        for number, rule in enumerate(rules.rules, 1):
            wait_ms = self._wait_ms(rule, self.needed(rule, need), now)
            if wait_ms:
                return number, wait_ms
        for rule in rules.rules:
            self._count(rule, self.needed(rule, need), reservation_id, now)
        if len(self._windows) + len(self._owed) > MAX_KEYS:
            self._windows.clear()
            self._owed.clear()
        return None

    def settle(self, hold: Hold, tokens: int, cost_nanousd: int, now: float) -> None:
        """Gives places back, and what was reserved and not used."""
        back = Need(tokens, cost_nanousd)
        for rule in hold.rules.rules:
            if rule.meter is Meter.CONCURRENCY:
                holders = self._in_flight.get(rule.key)
                if holders is not None:
                    holders.discard(hold.id)
                    if not holders:
                        del self._in_flight[rule.key]
            elif rule.meter is not Meter.REQUESTS:
                self._correct(rule, self.needed(rule, back), hold.renewed_at, now)

    def _share(self, amount: int) -> int:
        return math.ceil(amount / self._processes)

    def _wait_ms(self, rule: ChargedRule, needed: int, now: float) -> int:
        share = self._share(rule.amount)
        if rule.meter is Meter.CONCURRENCY:
            is_full = len(self._in_flight.get(rule.key, ())) >= share
            return min(rule.window_ms, _LEASE_WAIT_MS) if is_full else 0
        if not needed:
            return 0
        if rule.is_gcra:
            burst = self._share(rule.burst)
            over = self._owed_now(rule, now).amount + min(needed, burst) - burst
            if needed > share:
                return rule.window_ms
            return 0 if over <= 0 else math.ceil(over * rule.window_ms / share)
        seconds = rule.window_ms / 1000
        window = self._window(rule.key, int(now // seconds))
        left = 1 - now % seconds / seconds
        is_full = window.previous * left + window.current + needed > share
        return max(1, math.ceil(left * rule.window_ms)) if is_full else 0

    def _count(self, rule: ChargedRule, needed: int, reservation_id: bytes, now: float) -> None:
        if rule.meter is Meter.CONCURRENCY:
            self._in_flight.setdefault(rule.key, set()).add(reservation_id)
        elif rule.is_gcra:
            owed = self._owed[rule.key] = self._owed_now(rule, now)
            owed.amount += needed
        else:
            window = self._windows[rule.key] = self._window(rule.key, int(now // (rule.window_ms / 1000)))
            window.current += needed

    def _correct(self, rule: ChargedRule, back: int, reserved_at: float, now: float) -> None:
        if rule.is_gcra:
            owed = self._owed.get(rule.key)
            if owed is not None:
                drained = (now - reserved_at) * self._share(rule.amount) * 1000 / rule.window_ms
                owed.amount = max(0.0, owed.amount - (max(0.0, back - drained) if back > 0 else back))
            return
        window = self._windows.get(rule.key)
        age = None if window is None else window.bucket - int(reserved_at // (rule.window_ms / 1000))
        if window is not None and age == 0:
            window.current = max(0, window.current - back)
        elif window is not None and age == 1:
            window.previous = max(0, window.previous - back)

    def _owed_now(self, rule: ChargedRule, now: float) -> _Owed:
        owed = self._owed.get(rule.key)
        if owed is None:
            return _Owed(0.0, now)
        drained = (now - owed.at) * self._share(rule.amount) * 1000 / rule.window_ms
        return _Owed(max(0.0, owed.amount - drained), now)

    def _window(self, key: str, bucket: int) -> _Window:
        window = self._windows.get(key)
        if window is None or bucket > window.bucket + 1:
            return _Window(bucket, 0, 0)
        if bucket == window.bucket + 1:
            return _Window(bucket, 0, window.current)
        return window

"""Breakers while Redis is away: the same rules, known to this process only, forgotten when Redis is back. Pure.

Simpler than Redis' own: no slow start, and a process probes for itself. Bounded: at MAX_BREAKERS all are forgotten.
"""

from collections import deque
from dataclasses import dataclass, field

from relay_edge.breaker_rules import PROBE_MS, THRESHOLD_MS, FailureRule, is_enough

MAX_BREAKERS = 10_000
_MOST_KEPT = 64
"""Outcomes of calls kept for one breaker."""


@dataclass(slots=True)
class _Breaker:
    outcomes: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=_MOST_KEPT))
    until: float = 0.0  # 0: closed
    level: int = 0
    pauses: bool = False
    probe_until: float = 0.0


class LocalBreakers:
    """Times in seconds of any clock that only grows, answers in seconds."""

    __slots__ = ("_breakers",)

    def __init__(self) -> None:
        self._breakers: dict[str, _Breaker] = {}

    def clear(self) -> None:
        """Redis knows better."""
        self._breakers.clear()

    def wait(self, name: str, now: float) -> float:
        """0 when a call may pass, else how long it may not."""
        breaker = self._breakers.get(name)
        if breaker is None or not breaker.until:
            return 0.0
        if now < breaker.until:
            return breaker.until - now
        return min(1.0, breaker.probe_until - now) if now < breaker.probe_until else 0.0

    def pass_through(self, name: str, now: float) -> bool:
        """A call goes; True where it probes the breaker. Only after `wait` was 0."""
        breaker = self._breakers.get(name)
        if breaker is None or not breaker.until or breaker.pauses:
            return False
        breaker.probe_until = now + PROBE_MS / 1000
        return True

    def release(self, name: str) -> None:
        """A probe came to nothing: another call may."""
        breaker = self._breakers.get(name)
        if breaker is not None:
            breaker.probe_until = 0.0

    def succeeded(self, name: str, is_probe: bool, now: float) -> bool:
        """True when that closed it."""
        breaker = self._breakers.get(name)
        if breaker is None:
            return False
        breaker.outcomes.append((now, True))
        if not is_probe and not (breaker.pauses and now >= breaker.until):
            return False
        del self._breakers[name]
        return is_probe

    def failed(self, name: str, rule: FailureRule, named_ms: int, is_probe: bool, now: float) -> int:
        """For how many ms that opened it; 0 when it did not."""
        breaker = self._breakers.get(name)
        if breaker is None:
            if len(self._breakers) >= MAX_BREAKERS:
                self._breakers.clear()
            breaker = self._breakers[name] = _Breaker()
        if breaker.until and not is_probe and (now < breaker.until or not breaker.pauses):
            return 0  # sent before it opened
        breaker.outcomes.append((now, False))
        if rule.is_threshold and not is_probe and not self._is_enough(breaker, now):
            return 0
        if breaker.until:
            breaker.level += 1
        milliseconds = min(rule.first_ms << min(breaker.level, 30), rule.longest_ms)
        if named_ms:
            milliseconds = max(named_ms, milliseconds) if is_probe or rule.is_threshold else named_ms
        breaker.pauses = milliseconds <= rule.pause_ms and not is_probe
        breaker.until = now + milliseconds / 1000
        breaker.probe_until = 0.0
        breaker.outcomes.clear()
        return 0 if breaker.pauses else milliseconds

    def _is_enough(self, breaker: _Breaker, now: float) -> bool:
        recent = [well for at, well in breaker.outcomes if now - at < THRESHOLD_MS / 1000]
        return is_enough(recent.count(False), recent.count(True))

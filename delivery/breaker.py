"""When a target is left alone for a while: its breaker and its pauses, as values. Pure; times are the database's.

A target that times out, breaks connections or answers 5xx is not sent to for 10 s, then 20 s, up to 300 s; after each
pause a single delivery probes it, and one answer closes the breaker. A 4xx is an answer: the target is there. A
Retry-After on 429 and 503 pauses a target in the same way, without a probe after it. Deliveries that wait for this are
deferred, not attempted, and `expires_at` ends them: a breaker that opens for ever keeps nothing for ever.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from delivery.attempt import Fault

WINDOW: Final = timedelta(seconds=30)
MIN_IN_WINDOW = 10
MIN_FAILED_PERCENT = 70
MIN_CONSECUTIVE = 5
FIRST_PAUSE_SECONDS = 10
LONGEST_PAUSE_SECONDS = 300
"""Also the most that a Retry-After pauses a whole target: it may be about one delivery."""

_PAUSING_STATUSES = frozenset({429, 503})

SILENT_FAULTS = frozenset(
    {
        Fault.TIMEOUT,
        Fault.DNS_FAILURE,
        Fault.CONNECTION_REFUSED,
        Fault.CONNECTION_RESET,
        Fault.CONNECTION_CLOSED,
        Fault.CONNECT_FAILED,
        Fault.TLS_FAILURE,
        Fault.CERTIFICATE_REFUSED,
        Fault.INVALID_RESPONSE,
        Fault.RESPONSE_HEADER_TOO_LARGE,
        Fault.RESPONSE_BROKEN_OFF,
    }
)
"""Faults that speak against the target. The others are ours, or about one delivery."""


class BreakerState(StrEnum):
    """Where a target's breaker stands. Stored as open or closed only: an open one whose pause is over is half open."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class PauseReason(StrEnum):
    """Why a target is paused."""

    NONE = ""
    BREAKER = "breaker"
    RETRY_AFTER = "retry_after"


class Standing(StrEnum):
    """What one attempt says about the target."""

    DELIVERED = "delivered"
    ANSWERED = "answered"  # but did not take it: 3xx, 4xx
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TargetState:
    """A target's row of `deliveries_targetstate`, without its rate. The default is that of a target without a row."""

    breaker: BreakerState = BreakerState.CLOSED
    opens: int = 0  # how often it opened since it was last closed
    paused_until: datetime | None = None
    pause_reason: PauseReason = PauseReason.NONE
    window_at: datetime | None = None
    window_ok: int = 0
    window_failed: int = 0
    failing_since: datetime | None = None  # of the first attempt that did not deliver, since the last that did
    consecutive_failures: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """Results of one target that were recorded together. `asked_seconds`: the longest Retry-After of a 429 or 503."""

    delivered: int = 0
    answered: int = 0
    failed: int = 0
    asked_seconds: float = 0

    @property
    def count(self) -> int:
        """How many results speak of the target."""
        return self.delivered + self.answered + self.failed


def standing(status: int | None, fault: Fault | str | None) -> Standing | None:
    """What an attempt says about the target; None for nothing."""
    if fault is not None:
        return Standing.FAILED if str(fault) in SILENT_FAULTS else None
    if status is None:
        return None
    if 200 <= status <= 299:
        return Standing.DELIVERED
    return Standing.ANSWERED if 300 <= status <= 499 else Standing.FAILED


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What `tally` needs of an attempt."""

    started_at: datetime
    status: int | None
    fault: Fault | str | None
    asked_seconds: float = 0


def tally(state: TargetState, results: Iterable[AttemptResult]) -> Tally:
    """The results that count. Once a breaker has opened, attempts that began before its pause ended do not: they were
    under way when it opened, and a hanging target would reopen it with each of them."""
    delivered = answered = failed = 0
    asked_seconds = 0.0
    for result in results:
        if state.breaker is not BreakerState.CLOSED and state.paused_until and result.started_at < state.paused_until:
            continue
        match standing(result.status, result.fault):
            case Standing.DELIVERED:
                delivered += 1
            case Standing.ANSWERED:
                answered += 1
            case Standing.FAILED:
                failed += 1
            case None:
                continue
        if result.status in _PAUSING_STATUSES:
            asked_seconds = max(asked_seconds, result.asked_seconds)
    return Tally(delivered, answered, failed, asked_seconds)


def as_of(state: TargetState, now: datetime) -> BreakerState:
    """The breaker at a moment."""
    if state.breaker is BreakerState.CLOSED:
        return BreakerState.CLOSED
    return BreakerState.OPEN if _is_paused(state, now) else BreakerState.HALF_OPEN


def places(state: TargetState, sending: int, now: datetime) -> int | None:
    """How many more may be sent to the target now, `sending` being under way; None for no limit of the breaker's."""
    if _is_paused(state, now):
        return 0
    return None if state.breaker is BreakerState.CLOSED else max(0, 1 - sending)


def is_clean(state: TargetState) -> bool:
    """True where the state says nothing that a target without a row would not: then a success changes nothing."""
    return (
        state.breaker is BreakerState.CLOSED
        and state.paused_until is None
        and state.failing_since is None
        and not state.consecutive_failures
        and not state.window_failed
    )


def after(state: TargetState, results: Tally, now: datetime, *, has_breaker: bool = True) -> TargetState:
    """The state after results that were recorded at `now`; the same where they say nothing. Nothing shortens a pause of
    the breaker: a result that comes during one was on its way when it began. Without a breaker only a Retry-After
    pauses the target, and an open one of before counts no more."""
    if not has_breaker and state.breaker is not BreakerState.CLOSED:
        state = replace(state, breaker=BreakerState.CLOSED, opens=0, paused_until=None, pause_reason=PauseReason.NONE)
    if not results.count or as_of(state, now) is BreakerState.OPEN:
        return state
    counted = _counted(state, results, now)
    if state.breaker is not BreakerState.CLOSED:
        counted = _after_probe(counted, results, now)
    elif has_breaker and results.failed and _is_too_much(counted, now):
        counted = _opened(counted, now)
    return _paused(counted, results.asked_seconds, now)


def _counted(state: TargetState, results: Tally, now: datetime) -> TargetState:
    is_new_window = state.window_at is None or not timedelta(0) <= now - state.window_at < WINDOW
    answered = results.delivered + results.answered
    is_over = state.breaker is BreakerState.CLOSED and not _is_paused(state, now)
    return replace(
        state,
        paused_until=None if is_over else state.paused_until,
        pause_reason=PauseReason.NONE if is_over else state.pause_reason,
        window_at=now if is_new_window else state.window_at,
        window_ok=answered + (0 if is_new_window else state.window_ok),
        window_failed=results.failed + (0 if is_new_window else state.window_failed),
        failing_since=None if results.delivered else state.failing_since or now,
        consecutive_failures=0 if answered else state.consecutive_failures + results.failed,
    )


def _is_too_much(state: TargetState, now: datetime) -> bool:
    tried = state.window_ok + state.window_failed
    if tried >= MIN_IN_WINDOW and state.window_failed * 100 >= tried * MIN_FAILED_PERCENT:
        return True
    is_long = state.failing_since is not None and now - state.failing_since >= WINDOW
    return is_long and state.consecutive_failures >= MIN_CONSECUTIVE


def _after_probe(state: TargetState, results: Tally, now: datetime) -> TargetState:
    if not results.delivered and not results.answered:
        return _opened(state, now)
    return replace(
        state,
        breaker=BreakerState.CLOSED,
        opens=0,
        paused_until=None,
        pause_reason=PauseReason.NONE,
        window_at=now,
        window_ok=0,
        window_failed=0,
        consecutive_failures=0,
    )


def _opened(state: TargetState, now: datetime) -> TargetState:
    seconds = min(FIRST_PAUSE_SECONDS << min(state.opens, 16), LONGEST_PAUSE_SECONDS)
    return replace(
        state,
        breaker=BreakerState.OPEN,
        opens=state.opens + 1,
        paused_until=now + timedelta(seconds=seconds),
        pause_reason=PauseReason.BREAKER,
    )


def _paused(state: TargetState, asked_seconds: float, now: datetime) -> TargetState:
    """Whoever asks for less than is left of a pause does not shorten it."""
    until = now + timedelta(seconds=min(max(asked_seconds, 0), LONGEST_PAUSE_SECONDS))
    if until <= (state.paused_until or now):
        return state
    return replace(state, paused_until=until, pause_reason=PauseReason.RETRY_AFTER)


def _is_paused(state: TargetState, now: datetime) -> bool:
    return state.paused_until is not None and now < state.paused_until

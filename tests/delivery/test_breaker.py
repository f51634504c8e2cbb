"""A target's breaker: tables, and the laws that hold for any results at any times."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.attempt import Fault
from delivery.breaker import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    AttemptResult,
    BreakerState,
    PauseReason,
    Standing,
    Tally,
    TargetState,
    after,
    as_of,
    is_clean,
    places,
    standing,
    tally,
)

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
CLEAN = TargetState()


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def opened(times: int = 1, start: float = 0) -> tuple[TargetState, float]:
    """A target that failed ten times, and each probe after that; and when its pause ends."""
    state, moment = after(CLEAN, Tally(failed=10), at(start)), start
    for _ in range(times - 1):
        assert state.paused_until is not None
        moment = (state.paused_until - NOW).total_seconds()
        state = after(state, Tally(failed=1), at(moment))
    assert state.paused_until is not None
    return state, (state.paused_until - NOW).total_seconds()


@pytest.mark.parametrize(
    ("status", "fault", "says"),
    [
        (200, None, Standing.DELIVERED),
        (204, None, Standing.DELIVERED),
        (302, None, Standing.ANSWERED),
        (404, None, Standing.ANSWERED),
        (429, None, Standing.ANSWERED),
        (500, None, Standing.FAILED),
        (999, None, Standing.FAILED),
        (None, Fault.TIMEOUT, Standing.FAILED),
        (200, Fault.RESPONSE_BROKEN_OFF, Standing.FAILED),
        (None, Fault.ADDRESS_REFUSED, None),
        (None, Fault.WORKER_STOPPED, None),
        (None, "mapping_failed", None),
        (None, None, None),
    ],
)
def test_what_an_attempt_says(status: int | None, fault: Fault | str | None, says: Standing | None) -> None:
    assert standing(status, fault) is says


@pytest.mark.parametrize(
    ("tallies", "opens"),
    [
        ([(0, Tally(failed=9))], False),
        ([(0, Tally(failed=10))], True),
        ([(0, Tally(delivered=3, failed=7))], True),
        ([(0, Tally(delivered=4, failed=6))], False),
        ([(0, Tally(answered=4, failed=6))], False),
        ([(0, Tally(failed=5)), (29, Tally(failed=5))], True),
        ([(0, Tally(failed=9)), (30, Tally(failed=1))], True),  # long and in a row
        ([(0, Tally(failed=1)), (30, Tally(failed=4))], True),
        ([(0, Tally(failed=1)), (29, Tally(failed=4))], False),
        ([(0, Tally(failed=1)), (30, Tally(failed=3))], False),
        ([(0, Tally(failed=4)), (20, Tally(answered=1)), (31, Tally(failed=4))], False),
        ([(0, Tally(failed=9)), (20, Tally(delivered=1)), (31, Tally(failed=4))], False),
    ],
)
def test_when_it_opens(tallies: list[tuple[float, Tally]], opens: bool) -> None:
    state = CLEAN
    for seconds, results in tallies:
        assert state.breaker is BreakerState.CLOSED
        state = after(state, results, at(seconds))
    assert (state.breaker is BreakerState.OPEN) is opens


def test_pauses_double_up_to_the_longest() -> None:
    ends = [opened(times)[1] for times in range(1, 8)]
    pauses = [end - start for start, end in zip([0.0, *ends], ends, strict=False)]
    assert pauses == [10, 20, 40, 80, 160, 300, 300]
    assert (FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS) == (10, 300)


@pytest.mark.parametrize("answer", [Tally(delivered=1), Tally(answered=1), Tally(delivered=1, failed=3)])
def test_an_answer_to_the_probe_closes_it(answer: Tally) -> None:
    state, end = opened(3)
    closed = after(state, answer, at(end))
    assert (closed.breaker, closed.opens, closed.paused_until) == (BreakerState.CLOSED, 0, None)
    assert is_clean(closed) is bool(answer.delivered)
    assert after(closed, Tally(failed=4), at(end)).breaker is BreakerState.CLOSED


def test_a_target_that_only_answers_is_still_failing() -> None:
    state = after(CLEAN, Tally(answered=3), NOW)
    assert (state.failing_since, state.consecutive_failures) == (NOW, 0)
    assert after(state, Tally(answered=3), at(60)).failing_since == NOW
    assert after(state, Tally(delivered=1), at(60)).failing_since is None


def test_places() -> None:
    state, end = opened()
    assert places(CLEAN, 99, NOW) is None
    assert [places(state, sending, at(end - 0.001)) for sending in (0, 1)] == [0, 0]
    assert [places(state, sending, at(end)) for sending in (0, 1, 64)] == [1, 0, 0]
    assert [as_of(state, at(seconds)) for seconds in (end - 1, end)] == [BreakerState.OPEN, BreakerState.HALF_OPEN]
    assert as_of(CLEAN, NOW) is BreakerState.CLOSED


def test_attempts_that_were_under_way_when_it_opened_say_nothing() -> None:
    state, end = opened()
    old = AttemptResult(at(-20), None, Fault.TIMEOUT)
    assert tally(state, [old] * 64) == Tally()
    assert after(state, tally(state, [old]), at(end + 5)) is state
    assert tally(state, [old, AttemptResult(at(end), 200, None)]) == Tally(delivered=1)
    assert tally(CLEAN, [old]) == Tally(failed=1)


def test_retry_after_pauses_the_target() -> None:
    asked = tally(CLEAN, [AttemptResult(NOW, 429, None, 120), AttemptResult(NOW, 500, None, 900)])
    assert asked == Tally(answered=1, failed=1, asked_seconds=120)
    state = after(CLEAN, asked, NOW)
    assert (state.paused_until, state.pause_reason, state.breaker) == (
        at(120),
        PauseReason.RETRY_AFTER,
        BreakerState.CLOSED,
    )
    assert [places(state, 0, at(seconds)) for seconds in (119, 120)] == [0, None]
    assert after(state, Tally(answered=1, asked_seconds=5), at(1)).paused_until == at(120)
    assert after(CLEAN, Tally(answered=1, asked_seconds=1e300), NOW).paused_until == at(LONGEST_PAUSE_SECONDS)
    past = after(state, Tally(delivered=1), at(121))
    assert (past.paused_until, past.pause_reason, is_clean(past)) == (None, PauseReason.NONE, True)


def test_nothing_said_changes_nothing() -> None:
    state, _ = opened()
    assert after(state, Tally(), NOW) is state
    assert is_clean(CLEAN)


EVENTS = st.lists(
    st.tuples(
        st.floats(0, 60), st.integers(0, 2), st.integers(0, 2), st.integers(0, 12), st.sampled_from([0, 0, 5, 1000])
    ),
    max_size=60,
)


@given(EVENTS)
def test_it_never_cycles_faster_than_its_pauses(events: list[tuple[float, int, int, int, int]]) -> None:
    """Whatever comes, whenever: a pause is never cut, and each opening without a close between is twice as long."""
    state, seconds = CLEAN, 0.0
    for wait, delivered, answered, failed, asked in events:
        seconds += wait
        before, now = state, at(seconds)
        state = after(before, Tally(delivered, answered, failed, asked), now)
        if before.paused_until and now < before.paused_until and before.breaker is BreakerState.OPEN:
            assert state is before
        if state.opens > before.opens:
            assert before.breaker is BreakerState.CLOSED or as_of(before, now) is BreakerState.HALF_OPEN
            assert state.opens == before.opens + 1
            assert state.paused_until is not None
            assert (state.paused_until - now).total_seconds() >= min(10 * 2 ** (state.opens - 1), 300)
        if as_of(before, now) is BreakerState.HALF_OPEN and (delivered or answered):
            assert (state.breaker, state.opens) == (BreakerState.CLOSED, 0)
        assert (state.breaker is BreakerState.OPEN) is (state.opens > 0)
        assert state.window_failed >= 0


@given(st.lists(st.tuples(st.floats(0.1, 40), st.booleans()), max_size=60))
def test_only_one_probe_is_under_way(steps: list[tuple[float, bool]]) -> None:
    """A worker that sends what `places` allows, to a target that is down, never has two probes at once."""
    state, seconds = opened()
    sending = 0
    for wait, is_answered in steps:
        seconds += wait
        if sending and is_answered:
            sending -= 1
            state = after(state, tally(state, [AttemptResult(at(seconds), None, Fault.TIMEOUT)]), at(seconds))
        allowed = places(state, sending, at(seconds))
        assert allowed is not None
        sending += allowed
        assert sending <= 1

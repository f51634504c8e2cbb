"""Our own limits in the vendors' header lines."""

import pytest

from relay_contract.errors import LimitState
from relay_contract.nouns import Meter
from relay_edge.error_shapes import ErrorShape
from relay_edge.limit_headers import duration, lines, tightest


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0s"),
        (1, "1ms"),
        (999, "999ms"),
        (1000, "1s"),
        (1001, "2s"),
        (59_000, "59s"),
        (60_000, "1m0s"),
        (360_000, "6m0s"),
        (3_600_000, "1h0m0s"),
        (90_061_000, "25h1m1s"),
    ],
)
def test_durations_are_written_as_go_does(milliseconds: int, text: str) -> None:
    assert duration(milliseconds) == text


def test_the_tightest_rule_of_a_meter_is_told() -> None:
    shown = [(Meter.REQUESTS, 600), (Meter.COST, 5), (Meter.REQUESTS, 100), (Meter.TOKENS, 1000)]
    figures = [90, 60_000, 1, 1, 80, 3_600_000, 500, 500]
    states = tightest(shown, figures)
    assert states == (LimitState("requests", 100, 80, 3_600_000), LimitState("tokens", 1000, 500, 500))
    expected = (
        ("x-ratelimit-limit-requests", "100"),
        ("x-ratelimit-remaining-requests", "80"),
        ("x-ratelimit-reset-requests", "1h0m0s"),
        ("x-ratelimit-limit-tokens", "1000"),
        ("x-ratelimit-remaining-tokens", "500"),
        ("x-ratelimit-reset-tokens", "500ms"),
    )
    assert lines(states, ErrorShape.OPENAI, 0.0) == lines(states, ErrorShape.RELAY, 0.0) == expected
    assert lines(states[:1], ErrorShape.ANTHROPIC, 1_795_230_000.5) == (
        ("anthropic-ratelimit-requests-limit", "100"),
        ("anthropic-ratelimit-requests-remaining", "80"),
        ("anthropic-ratelimit-requests-reset", "2026-11-21T04:00:01Z"),
    )

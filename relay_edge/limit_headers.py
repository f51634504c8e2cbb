"""What our own limits leave to a caller, as header lines of the vendor whose shape the caller speaks. Pure; 2 us.

| shape | headers | reset |
|---|---|---|
| OPENAI, RELAY | `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` | `6m0s` |
| ANTHROPIC | `anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}` | RFC 3339 |

Sources (2026-11): platform.openai.com/docs/guides/rate-limits, docs.anthropic.com/en/api/rate-limits.
Of several rules on one meter the tightest is told: the one that leaves least. Reset is when all of it will be left.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from relay_contract.errors import LimitState
from relay_contract.nouns import Meter
from relay_edge.error_shapes import ErrorShape

_TOLD = (Meter.REQUESTS, Meter.TOKENS)


def tightest(shown: Sequence[tuple[Meter, int]], figures: Sequence[int]) -> tuple[LimitState, ...]:
    """`figures`: for each of `shown` what is left, and in how many ms all of it will be."""
    found: dict[Meter, LimitState] = {}
    for place, (meter, amount) in enumerate(shown):
        left = figures[place * 2]
        if meter in _TOLD and (meter not in found or left < found[meter].remaining):
            found[meter] = LimitState(meter, amount, left, figures[place * 2 + 1])
    return tuple(found.values())


def lines(states: Sequence[LimitState], shape: ErrorShape, now: float) -> tuple[tuple[str, str], ...]:
    """Names and values; `now` in Unix seconds."""
    if shape is ErrorShape.ANTHROPIC:
        return tuple(
            (f"anthropic-ratelimit-{state.meter}-{name}", value)
            for state in states
            for name, value in _values(state, _moment(now + state.reset_ms / 1000))
        )
    return tuple(
        (f"x-ratelimit-{name}-{state.meter}", value)
        for state in states
        for name, value in _values(state, duration(state.reset_ms))
    )


def _values(state: LimitState, reset: str) -> tuple[tuple[str, str], ...]:
    return ("limit", str(state.limit)), ("remaining", str(state.remaining)), ("reset", reset)


def _moment(unix_seconds: float) -> str:
    return datetime.fromtimestamp(int(unix_seconds) + 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(milliseconds: int) -> str:
    """As Go writes it, and OpenAI with it: `120ms`, `1s`, `6m0s`, `1h0m0s`. Whole seconds from one on, rounded up."""
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, seconds = divmod(-(-milliseconds // 1000), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"

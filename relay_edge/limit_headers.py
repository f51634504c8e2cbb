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

_OPENAI_NAMES = {
    meter: tuple(f"x-ratelimit-{name}-{meter}" for name in ("limit", "remaining", "reset"))
    for meter in (Meter.REQUESTS, Meter.TOKENS)
}
_ANTHROPIC_NAMES = {
    meter: tuple(f"anthropic-ratelimit-{meter}-{name}" for name in ("limit", "remaining", "reset"))
    for meter in (Meter.REQUESTS, Meter.TOKENS)
}


def tightest(shown: Sequence[tuple[Meter, int]], figures: Sequence[int]) -> tuple[LimitState, ...]:
    """`figures`: for each of `shown` what is left, and in how many ms all of it will be."""
    return tuple(
        [
            LimitState(meter, shown[place][1], figures[place * 2], figures[place * 2 + 1])
            for meter, place in _places(shown, figures).items()
        ]
    )


def _places(shown: Sequence[tuple[Meter, int]], figures: Sequence[int]) -> dict[Meter, int]:
    """Which rule of each meter is the tightest."""
    found: dict[Meter, int] = {}
    place = 0
    for meter, _ in shown:
        if meter in _OPENAI_NAMES and (meter not in found or figures[place * 2] < figures[found[meter] * 2]):
            found[meter] = place
        place += 1  # noqa: SIM113 - enumerate costs more on the hot path
    return found


def lines(states: Sequence[LimitState], shape: ErrorShape, now: float) -> tuple[tuple[str, str], ...]:
    """Names and values; `now` in Unix seconds."""
    is_anthropic = shape is ErrorShape.ANTHROPIC
    names = _ANTHROPIC_NAMES if is_anthropic else _OPENAI_NAMES
    told: list[tuple[str, str]] = []
    for state in states:
        limit, remaining, reset = names[Meter(state.meter)]
        told.append((limit, str(state.limit)))
        told.append((remaining, str(state.remaining)))
        told.append((reset, _moment(now + state.reset_ms / 1000) if is_anthropic else duration(state.reset_ms)))
    return tuple(told)


_LINES = {
    is_anthropic: {
        meter: b"".join(
            b"%b: %b\r\n" % (name.encode(), written)
            for name, written in zip(names[meter], (b"%d", b"%d", b"%b"), strict=True)
        )
        for meter in names
    }
    for is_anthropic, names in ((False, _OPENAI_NAMES), (True, _ANTHROPIC_NAMES))
}


def rendered(shown: Sequence[tuple[Meter, int]], figures: Sequence[int], shape: ErrorShape, now: float) -> bytes:
    """The tightest of each meter as whole header lines; arguments as in `tightest` and `lines`."""
    is_anthropic = shape is ErrorShape.ANTHROPIC
    lines_of = _LINES[is_anthropic]
    told = b""
    for meter, place in _places(shown, figures).items():
        reset_ms = figures[place * 2 + 1]
        reset = _moment(now + reset_ms / 1000) if is_anthropic else duration(reset_ms)
        told += lines_of[meter] % (shown[place][1], figures[place * 2], reset.encode())
    return told


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

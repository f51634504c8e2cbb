"""Prices as integers: nano-USD (10^-9 USD) for a million units of a meter, so that 0.0375 USD a million is exact.

A price row is a tuple of rates. A meter without a rate costs what the meter it refines costs (a cache read without a
rate of its own is input), since a vendor that does not name it charges it so. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from relay_contract.usage import Usage

UNITS = 1_000_000
NANOUSD = 1_000_000_000
"""Nano-USD in a USD."""


class PriceMeter(StrEnum):
    """What a rate is for."""

    INPUT = "input"
    CACHE_READ = "cache_read"
    CACHE_WRITE_5M = "cache_write_5m"
    CACHE_WRITE_1H = "cache_write_1h"
    INPUT_AUDIO = "input_audio"
    INPUT_IMAGE = "input_image"
    OUTPUT = "output"
    OUTPUT_AUDIO = "output_audio"
    OUTPUT_IMAGE = "output_image"
    SERVER_TOOL = "server_tool"  # a unit is one call of a tool that the host ran
    CALL = "call"  # a unit is one call, e.g. an image or a search
    INPUT_AUDIO_SECOND = "input_audio_second"  # a unit is one second of sound that was read


_FALLS_BACK_TO = {
    PriceMeter.CACHE_READ: PriceMeter.INPUT,
    PriceMeter.CACHE_WRITE_5M: PriceMeter.INPUT,
    PriceMeter.CACHE_WRITE_1H: PriceMeter.CACHE_WRITE_5M,
    PriceMeter.INPUT_AUDIO: PriceMeter.INPUT,
    PriceMeter.INPUT_IMAGE: PriceMeter.INPUT,
    PriceMeter.OUTPUT_AUDIO: PriceMeter.OUTPUT,
    PriceMeter.OUTPUT_IMAGE: PriceMeter.OUTPUT,
}

_UNITS_OF = {
    PriceMeter.INPUT: "input_tokens",
    PriceMeter.CACHE_READ: "cache_read_tokens",
    PriceMeter.CACHE_WRITE_5M: "cache_write_5m_tokens",
    PriceMeter.CACHE_WRITE_1H: "cache_write_1h_tokens",
    PriceMeter.INPUT_AUDIO: "input_audio_tokens",
    PriceMeter.INPUT_IMAGE: "input_image_tokens",
    PriceMeter.OUTPUT: "output_tokens",
    PriceMeter.OUTPUT_AUDIO: "output_audio_tokens",
    PriceMeter.OUTPUT_IMAGE: "output_image_tokens",
    PriceMeter.SERVER_TOOL: "server_tool_calls",
    PriceMeter.INPUT_AUDIO_SECOND: "input_audio_seconds",
}
"""The fields of `Usage`."""

_ORDER = (PriceMeter.CALL, *_UNITS_OF)
"""In which `cost_nanousd` adds them up."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What a meter costs for prompts of more than `above_tokens`; 0 is the first tier, for every prompt. A larger
    prompt takes a later tier for *all* its tokens, as vendors charge it."""

    meter: PriceMeter
    nanousd_per_million: int
    above_tokens: int = 0

    def __post_init__(self) -> None:
        if self.nanousd_per_million < 0 or self.above_tokens < 0:
            raise ValueError("a rate is below 0")


def usd_text(nanousd: int) -> str:
    """Exact: 1_350_000 -> `0.00135`. Never by way of a float."""
    whole, rest = divmod(abs(nanousd), NANOUSD)
    text = f"{whole}.{rest:09}".rstrip("0").rstrip(".")
    return f"-{text}" if nanousd < 0 else text


def rates_from_json(document: list[dict[str, Any]]) -> tuple[Rate, ...]:
    """`Pricing.rates` as stored. Raises KeyError or ValueError where a row was written past the model."""
    return tuple(
        Rate(PriceMeter(rate["meter"]), rate["nanousd_per_million"], rate.get("above_tokens", 0)) for rate in document
    )


def rate_of(rates: Sequence[Rate], meter: PriceMeter, prompt_tokens: int) -> int:
    """Nano-USD for a million units. 0 for a meter that neither it nor what it refines has a rate for."""
    found: Rate | None = None
    for rate in rates:
        is_later = found is None or rate.above_tokens > found.above_tokens
        applies = rate.above_tokens == 0 or prompt_tokens > rate.above_tokens
        if rate.meter is meter and is_later and applies:
            found = rate
    if found is not None:
        return found.nanousd_per_million
    refined = _FALLS_BACK_TO.get(meter)
    return 0 if refined is None else rate_of(rates, refined, prompt_tokens)


class _Table:
    """Rates looked up once for each tier: the edge prices each call twice."""

    __slots__ = ("_tiers", "rates")

    def __init__(self, rates: Sequence[Rate]) -> None:
        self.rates = rates
        starts = sorted({0, *(rate.above_tokens for rate in rates)})
        self._tiers = [
            (start, tuple(rate_of(rates, meter, start + 1 if start else 0) for meter in _ORDER)) for start in starts
        ]

    def of(self, prompt_tokens: int) -> tuple[int, ...]:
        """Nano-USD for a million of each meter in `_ORDER`."""
        found = self._tiers[0][1]
        for start, per_million in self._tiers[1:]:
            if prompt_tokens > start:
                found = per_million
        return found


_MAX_TABLES = 10_000
_tables: dict[int, _Table] = {}
"""By identity: a catalog's rates live as long as its snapshot, and hashing them would cost more than the sum."""


def _table(rates: Sequence[Rate]) -> _Table:
    table = _tables.get(id(rates))
    if table is None or table.rates is not rates:
        if len(_tables) >= _MAX_TABLES:
            _tables.clear()
        table = _tables[id(rates)] = _Table(rates)
    return table


@dataclass(frozen=True, slots=True)
class PriceLine:
    """What one meter adds to a call's cost. Its cost is rounded; that of the call is rounded once, over all lines."""

    meter: PriceMeter
    units: int
    nanousd_per_million: int

    @property
    def nanousd(self) -> int:
        """Of this line alone."""
        return (self.units * self.nanousd_per_million + UNITS // 2) // UNITS


def price_lines(rates: Sequence[Rate], usage: Usage) -> tuple[PriceLine, ...]:
    """Each meter that was used, with the rate that its tier has, and the price of the call itself where it has one."""
    prompt_tokens = usage.prompt_tokens
    counted = [(meter, getattr(usage, name)) for meter, name in _UNITS_OF.items()]
    lines = [PriceLine(meter, units, rate_of(rates, meter, prompt_tokens)) for meter, units in counted if units]
    by_call = rate_of(rates, PriceMeter.CALL, prompt_tokens)
    return (*lines, *([PriceLine(PriceMeter.CALL, 1, by_call)] if by_call else []))


def cost_nanousd(rates: Sequence[Rate], usage: Usage) -> int:
    """What a call costs, rounded half up once, over the whole call. `rates` are not changed afterwards."""
    per_million = _table(rates).of(usage.prompt_tokens)
    total = (
        per_million[0]
        + per_million[1] * usage.input_tokens
        + per_million[2] * usage.cache_read_tokens
        + per_million[3] * usage.cache_write_5m_tokens
        + per_million[4] * usage.cache_write_1h_tokens
        + per_million[5] * usage.input_audio_tokens
        + per_million[6] * usage.input_image_tokens
        + per_million[7] * usage.output_tokens
        + per_million[8] * usage.output_audio_tokens
        + per_million[9] * usage.output_image_tokens
        + per_million[10] * usage.server_tool_calls
        + per_million[11] * usage.input_audio_seconds
    )
    return (total + UNITS // 2) // UNITS

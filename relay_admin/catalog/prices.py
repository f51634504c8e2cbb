"""Prices as people read them: USD for a million tokens, or for a thousand calls or seconds. Stored: nano-USD for a
million units.

Exact both ways, by Decimal. Pure.
"""

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

from relay_contract.pricing import NANOUSD, UNITS, PriceMeter

THOUSAND = 1_000
USD_FIELDS = ("usd_per_million", "usd_per_thousand")
"""What catalog documents call a price of tokens, and one of calls or seconds."""

_MOST_DIGITS = 20

METER_NAMES: dict[PriceMeter, str] = {
    PriceMeter.INPUT: "input",
    PriceMeter.CACHE_READ: "cached input",
    PriceMeter.CACHE_WRITE_5M: "cache write, 5 minutes",
    PriceMeter.CACHE_WRITE_1H: "cache write, 1 hour",
    PriceMeter.INPUT_AUDIO: "audio input",
    PriceMeter.INPUT_IMAGE: "image input",
    PriceMeter.OUTPUT: "output",
    PriceMeter.OUTPUT_AUDIO: "audio output",
    PriceMeter.OUTPUT_IMAGE: "image output",
    PriceMeter.SERVER_TOOL: "tool run by the host (per 1,000)",
    PriceMeter.CALL: "call (per 1,000)",
    PriceMeter.INPUT_AUDIO_SECOND: "audio input by length (per 1,000 seconds)",
}


def is_per_thousand(meter: str) -> bool:
    """Whether the meter's price is read for a thousand calls or seconds, and not for a million tokens."""
    return meter in (PriceMeter.SERVER_TOOL, PriceMeter.CALL, PriceMeter.INPUT_AUDIO_SECOND)


def usd_field(meter: str) -> str:
    """What a document calls this meter's price."""
    return USD_FIELDS[is_per_thousand(meter)]


def as_written(rate: dict[str, Any]) -> dict[str, Any]:
    """A stored rate as documents write it, e.g. `{meter: input, usd_per_million: 1.25}`."""
    meter = rate["meter"]
    written: dict[str, Any] = {"meter": meter, usd_field(meter): usd(meter, rate["nanousd_per_million"])}
    return written | ({"above_tokens": rate["above_tokens"]} if rate["above_tokens"] else {})


def _nanousd_of_one_usd(meter: str) -> int:
    return NANOUSD * (UNITS // THOUSAND if is_per_thousand(meter) else 1)


def nanousd_per_million(meter: str, usd: Decimal | str) -> int:
    """What is stored for a price as people write it. ValueError for what is no price, or too fine to be stored."""
    try:
        price = Decimal(usd)
    except InvalidOperation:
        raise ValueError("write a price such as 1.25") from None
    is_number = price.is_finite() and price >= 0 and price.adjusted() <= _MOST_DIGITS
    if not is_number or len(price.as_tuple().digits) > _MOST_DIGITS:
        raise ValueError("write a price such as 1.25")
    scaled = price * _nanousd_of_one_usd(meter)
    if scaled != scaled.to_integral_value():
        raise ValueError("a price is stored to the billionth of a USD, and this one is finer")
    return int(scaled)


def usd(meter: str, nanousd: int) -> Decimal:
    """A stored price as people read it, without zeros at its end."""
    price = (Decimal(nanousd) / _nanousd_of_one_usd(meter)).normalize()
    return price.quantize(Decimal(1)) if price == price.to_integral_value() else price


def usd_text(meter: str, nanousd: int) -> str:
    """The same as text, never in scientific notation."""
    return f"{usd(meter, nanousd):f}"


def summary(rates: Iterable[dict[str, Any]]) -> str:
    """The first tier's input and output, e.g. `1.25 in, 10 out`; what a call costs where that is all there is."""
    first = {rate["meter"]: rate["nanousd_per_million"] for rate in rates if not rate.get("above_tokens")}
    words = ((PriceMeter.INPUT, "in"), (PriceMeter.OUTPUT, "out"), (PriceMeter.CALL, "per 1,000 calls"))
    return ", ".join(f"{usd_text(meter, first[meter])} {word}" for meter, word in words if meter in first) or "none"


def in_words(rates: Iterable[dict[str, Any]]) -> str:
    """All of them, e.g. `input 1.25, input above 200000 2.5`."""
    words = []
    for rate in rates:
        tier = f" above {rate['above_tokens']}" if rate.get("above_tokens") else ""
        words.append(f"{rate['meter']}{tier} {usd_text(rate['meter'], rate['nanousd_per_million'])}")
    return ", ".join(words) or "none"


def in_order(rates: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rates in one spelling: by meter and tier, each with its `above_tokens`."""
    order = [str(meter) for meter in PriceMeter]
    whole = [{**rate, "meter": str(rate["meter"]), "above_tokens": rate.get("above_tokens", 0)} for rate in rates]
    return sorted(whole, key=lambda rate: (order.index(rate["meter"]), rate["above_tokens"]))

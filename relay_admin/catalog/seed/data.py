"""What vendors offer, as rows: the data of `genai-prices` in the catalog's words. Pure, but for reading the package.

The only module that knows that package. Everything is computed over all its vendors, whichever are asked for, so that a
row is the same whoever else is seeded.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_EVEN, Decimal
from importlib.metadata import version
from typing import Any, TypeAlias

from genai_prices import data as _data
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from relay_admin.catalog import prices
from relay_admin.catalog.sections import Path
from relay_admin.catalog.seed.vendors import VENDORS
from relay_contract.nouns import MODEL_NAME_PATTERN
from relay_contract.pricing import NANOUSD, PriceMeter

Wanted: TypeAlias = dict[str, dict[Path, dict[str, Any]]]
"""Section -> path -> fields that the seed fills, as documents write them. The sections are in the order of writing."""

SECTIONS = ("prices", "hosts", "models", "bindings")

_METERS: dict[str, PriceMeter] = {
    "input_mtok": PriceMeter.INPUT,
    "cache_read_mtok": PriceMeter.CACHE_READ,
    "cache_write_mtok": PriceMeter.CACHE_WRITE_5M,  # an hour's costs the same where it has no price of its own
    "cache_write_1h_mtok": PriceMeter.CACHE_WRITE_1H,
    "input_audio_mtok": PriceMeter.INPUT_AUDIO,
    "input_image_mtok": PriceMeter.INPUT_IMAGE,
    "output_mtok": PriceMeter.OUTPUT,
    "output_audio_mtok": PriceMeter.OUTPUT_AUDIO,
    "output_image_mtok": PriceMeter.OUTPUT_IMAGE,
    "web_searches_kcount": PriceMeter.SERVER_TOOL,
    "requests_kcount": PriceMeter.CALL,
}
_UNIT = re.compile(r"_(?:mtok|kcount|hours|mchars|kpages)$")
_CALLS_OF_KCOUNT = 1_000  # a price for a thousand calls, stored for a million


@dataclass(frozen=True, slots=True)
class Data:
    """The rows, and what is said of them."""

    version: str
    rows: Wanted
    unnamed: tuple[str, ...]  # models whose names nobody could write in `model`


def known() -> tuple[str, ...]:
    """Every vendor of the data, by name."""
    return tuple(sorted(provider.id for provider in _data.providers))


def read(vendors: Collection[str], today: date, providers: Sequence[Provider] = _data.providers) -> Data:
    """The rows of these vendors, with the prices of `today`. KeyError for a vendor that is not in the data."""
    missing = set(vendors) - {provider.id for provider in providers}
    if missing:
        raise KeyError(", ".join(sorted(missing)))
    wanted: Wanted = {section: {} for section in SECTIONS}
    unnamed = []
    order = list(VENDORS)
    ranked = sorted(providers, key=lambda one: (order.index(one.id) if one.id in VENDORS else len(order), one.id))
    models: dict[Path, dict[str, Any]] = {}
    for provider in ranked:
        is_asked = provider.id in vendors
        for model in provider.models:
            slug = f"{provider.id}/{model.id}"
            if not re.fullmatch(MODEL_NAME_PATTERN, slug):
                unnamed += [slug] if is_asked else []
                continue
            rates, left_out = _rates(_price_on(model, today))
            if rates and is_asked:
                wanted["prices"][slug,] = {"rates": rates, "description": _not_carried(left_out)}
            for shape, upstream_name in _ways(provider, model):
                row = models.setdefault((model.id,), _model(provider, model))
                if is_asked:
                    wanted["models"][model.id,] = row
                    wanted["bindings"][model.id, provider.id, shape] = {
                        "upstream_name": upstream_name,
                        "pricing": slug if rates else None,
                    }
        if is_asked and provider.id in VENDORS:
            vendor = VENDORS[provider.id]
            wanted["hosts"][vendor.id,] = {"base_url": vendor.base_url, "description": provider.name}
    return Data(version("genai-prices"), wanted, tuple(unnamed))


def _ways(provider: Provider, model: ModelInfo) -> Iterator[tuple[str, str]]:
    """Shapes and upstream names in which the vendor serves the model."""
    vendor = VENDORS.get(provider.id)
    is_name = re.fullmatch(MODEL_NAME_PATTERN, model.id) is not None
    if vendor is not None and is_name and vendor.serves(model.id) and _writes_text(model):
        for shape in vendor.shapes_of(model.id):
            yield str(shape), vendor.upstream_prefix + model.id


def _writes_text(model: ModelInfo) -> bool:
    """Embeddings, transcriptions and the like have no price for output tokens."""
    listed = model.prices if isinstance(model.prices, list) else [ConditionalPrice(prices=model.prices)]
    return any(each.prices.output_mtok is not None for each in listed)


def _model(provider: Provider, model: ModelInfo) -> dict[str, Any]:
    name = model.name or ""
    return {
        "owned_by": provider.id,
        "description": f"{name} (deprecated by its vendor)".strip() if model.deprecated else name,
        "capabilities": {"context_tokens": model.context_window} if model.context_window else {},
    }


def _not_carried(keys: Sequence[str]) -> str:
    words = [_UNIT.sub("", key).replace("_", " ") for key in keys]
    return f"Not counted here: {', '.join(words)}." if words else ""


def _price_on(model: ModelInfo, today: date) -> ModelPrice:
    """The list price of that day. Where it changes with the hour the dearest counts: a budget must hold at any hour."""
    if not isinstance(model.prices, list):
        return model.prices
    noon = datetime.combine(today, time(12), UTC)
    hourly: list[ModelPrice] = []
    for each in reversed(model.prices):  # the last that applies counts
        match each.constraint:
            case TimeOfDateConstraint():
                hourly.append(each.prices)
            case StartDateConstraint() as constraint if not constraint.active(noon):
                continue
            case _:
                return max((each.prices, *hourly), key=_weight)
    return model.prices[0].prices


def _weight(price: ModelPrice) -> Decimal:
    return sum((_base(price, key) for key in ("input_mtok", "output_mtok")), Decimal(0))


def _base(price: ModelPrice, key: str) -> Decimal:
    value = getattr(price, key)
    return Decimal(0) if value is None else value.base if isinstance(value, TieredPrices) else value


def _rates(price: ModelPrice) -> tuple[list[dict[str, Any]], list[str]]:
    """Rates as they are stored, and the prices that no meter of ours stands for."""
    rates, left_out = [], []
    for key, value in sorted(vars(price).items()):
        if value is None:
            continue
        if key not in _METERS:
            left_out.append(key)
            continue
        tiers = (
            [(0, value)]
            if isinstance(value, Decimal)
            else [(0, value.base), *((t.start, t.price) for t in value.tiers)]
        )
        rates += [
            {"meter": str(_METERS[key]), "nanousd_per_million": _nanousd(key, usd), "above_tokens": above}
            for above, usd in dict(tiers).items()
        ]
    return prices.in_order(rates), left_out


def _nanousd(key: str, usd: Decimal) -> int:
    """Some of the data was computed in binary, such as 0.18000000000000002: rounded to the nano-USD."""
    scaled = usd * NANOUSD * (_CALLS_OF_KCOUNT if key.endswith("_kcount") else 1)
    return int(scaled.to_integral_value(ROUND_HALF_EVEN))

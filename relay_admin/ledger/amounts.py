"""Amounts as people read them. Pure."""

from decimal import Decimal

from relay_contract.credits import MICRO

_WHOLE = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"]
)
_THOUSANDTHS = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])
"""Currencies without hundredths: docs.stripe.com/currencies, read 2026-11."""


def credits_text(microcredits: int) -> str:
    """Such as `1,234.5`: exact, without the zeros at its end."""
    return f"{Decimal(microcredits) / MICRO:,.6f}".rstrip("0").rstrip(".")


def price_text(price_minor: int, currency: str) -> str:
    """Such as `5.00 EUR`."""
    places = 0 if currency in _WHOLE else 3 if currency in _THOUSANDTHS else 2
    return f"{Decimal(price_minor).scaleb(-places):,.{places}f} {currency.upper()}"

"""Figures and prices on the portal's pages."""

from django import template

from relay_admin.ledger.amounts import price_text
from relay_admin.ledger.models import TopUp

register = template.Library()


@register.filter
def grouped(number: int) -> str:
    """Such as `1,234`."""
    return f"{number:,}"


@register.filter
def words(text: str) -> list[str]:
    """Apart."""
    return text.split()


@register.simple_tag
def price(top_up: TopUp) -> str:
    """Such as `5.00 EUR`."""
    return price_text(top_up.price_minor, top_up.currency)

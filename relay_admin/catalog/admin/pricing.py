"""Pages of prices."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from unfold.decorators import display

from relay_admin.catalog import prices
from relay_admin.catalog.admin.base import DATES, OriginFilter
from relay_admin.catalog.admin.seeded import SeededAdmin
from relay_admin.catalog.models import Pricing
from relay_admin.catalog.row_fields import RatesField


class UsedFilter(admin.SimpleListFilter):
    """Whether a binding names it."""

    title = "used"
    parameter_name = "used"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "by a binding"), ("no", "by none")]

    def queryset(self, _request: HttpRequest, queryset: models.QuerySet[Pricing]) -> models.QuerySet[Pricing]:
        match self.value():
            case "yes":
                return queryset.filter(bindings_count__gt=0)
            case "no":
                return queryset.filter(bindings_count=0)
            case _:
                return queryset


class PricingForm(forms.ModelForm):
    """Rates as rows, in USD."""

    rates = RatesField(
        label="Rates in USD per million tokens",
        help_text="For a thousand calls where the meter says so. A meter without a rate"
        " costs what it refines: cached input costs input. A prompt above a tier's tokens takes that tier for all its"
        " tokens.",
    )


@admin.register(Pricing)
class PricingAdmin(SeededAdmin):
    """What a host asks for a model."""

    form = PricingForm
    list_display = ("slug", "summary", "tiers", "binding_count", "description")
    list_filter = (OriginFilter, UsedFilter)
    search_fields = ("slug", "description")
    empty_text = "A price says what a host asks for a model. `manage.py catalog seed` brings those of known vendors."
    fieldsets = ((None, {"fields": ("slug", "rates")}),)
    readonly_fields = DATES
    shown_instead = {"rates": "rates_text"}

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Pricing]:
        """With the number of bindings."""
        return super().get_queryset(request).annotate(bindings_count=models.Count("hostbinding"))

    @display(description="USD per million")
    def summary(self, pricing: Pricing) -> str:
        """Input and output."""
        return prices.summary(pricing.rates)

    @display(description="tiers above (tokens)")
    def tiers(self, pricing: Pricing) -> str:
        """Where the tiers begin."""
        limits = sorted({rate.get("above_tokens", 0) for rate in pricing.rates} - {0})
        return ", ".join(f"{limit:,}" for limit in limits)

    @display(description="rates in USD")
    def rates_text(self, pricing: Pricing) -> str:
        """All of them."""
        return prices.in_words(pricing.rates)

    @display(description="bindings", ordering="bindings_count")
    def binding_count(self, pricing: Pricing) -> int:
        """How many take it."""
        return int(getattr(pricing, "bindings_count", 0))

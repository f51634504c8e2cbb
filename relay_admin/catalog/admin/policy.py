"""Pages of policies and rate limits: what a key reaches, and how often."""

from django import forms
from django.contrib import admin
from unfold.decorators import display

from relay_admin.catalog.admin.base import CatalogAdmin
from relay_admin.catalog.fields import LinesField, RulesField
from relay_admin.catalog.models import Policy, RateLimit


class RateLimitForm(forms.ModelForm):
    """Rules as rows."""

    rules = RulesField(
        required=False,
        help_text="Every rule must have room for a call. requests: calls in a sliding window. concurrency: calls in"
        " flight; the window is how long a lost caller holds its place. Save to get more rows, up to 8.",
    )


@admin.register(RateLimit)
class RateLimitAdmin(CatalogAdmin):
    """Named rules; whoever carries them counts for itself."""

    form = RateLimitForm
    list_display = ("slug", "rules_text", "description", "updated_at")
    empty_text = "A rate limit is a named set of rules for keys, policies, projects and endpoints."
    search_fields = ("slug", "description")
    fieldsets = ((None, {"fields": ("slug", "rules")}),)

    @display(description="rules")
    def rules_text(self, limit: RateLimit) -> str:
        """600 requests in 60 s."""
        return ", ".join(f"{r['amount']} {r['meter']} in {r['window_seconds']} s" for r in limit.rules) or "none"


class PolicyForm(forms.ModelForm):
    """Models one a line."""

    models = LinesField(
        forms.CharField(max_length=130),
        help_text="One model name a line. * at the end stands for any ending, * alone for every model; a leading"
        " - denies, and wins over the rest.",
    )


@admin.register(Policy)
class PolicyAdmin(CatalogAdmin):
    """Which models a key reaches."""

    form = PolicyForm
    list_display = ("slug", "models_text", "rate_limit", "description")
    list_filter = ("rate_limit",)
    empty_text = "A policy says which models a relay key reaches. A key without one reaches none."
    search_fields = ("slug", "description", "models")
    autocomplete_fields = ("rate_limit",)
    fieldsets = ((None, {"fields": ("slug", "models", "rate_limit")}),)

    @display(description="models")
    def models_text(self, policy: Policy) -> str:
        """The first few."""
        names = ", ".join(policy.models[:5])
        return f"{names}, …" if len(policy.models) > 5 else names or "none"

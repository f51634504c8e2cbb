"""Pages of policies and rate limits: what a key reaches, and how often."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from unfold.decorators import display

from relay_admin.catalog.admin.base import CatalogAdmin
from relay_admin.catalog.fields import LinesField
from relay_admin.catalog.models import Policy, RateLimit
from relay_admin.catalog.row_fields import FallbacksField, RulesField
from relay_contract.nouns import Algorithm, Meter

MICROUSD = 1_000_000


class RateLimitForm(forms.ModelForm):
    """Rules as rows."""

    rules = RulesField(
        help_text="A call needs room under every rule. Tokens and cost are reserved as an estimate and corrected after"
        " the call; 1,000,000 micro-USD are one USD. Of calls in flight the window is how long a lost caller holds its"
        " place. Spread evenly is for requests: so many at once, the rest at the rule's pace.",
    )


@admin.register(RateLimit)
class RateLimitAdmin(CatalogAdmin):
    """Named rules; whoever carries them counts for itself."""

    form = RateLimitForm
    list_display = ("slug", "rules_text", "description", "updated_at")
    empty_text = "A rate limit is a named set of rules for keys, policies, projects and endpoints."
    search_fields = ("slug", "description")
    fieldsets = ((None, {"fields": ("slug", "rules")}),)
    shown_instead = {"rules": "rules_text"}

    @display(description="rules")
    def rules_text(self, limit: RateLimit) -> str:
        """600 requests in 60 s."""
        return ", ".join(map(rule_in_words, limit.rules)) or "none"


def rule_in_words(rule: dict[str, Any]) -> str:
    """A stored rule, e.g. `10 USD in 86400 s`."""
    what = f"{rule['amount']:,} {rule['meter']}"
    if rule["meter"] == Meter.COST:
        what = f"{Decimal(rule['amount']) / MICROUSD:f} USD"
    at_once = f" ({rule.get('burst', 1)} at once)" if rule.get("algorithm") == Algorithm.GCRA else ""
    return f"{what} in {rule['window_seconds']} s{at_once}"


class PolicyForm(forms.ModelForm):
    """Models one a line."""

    models = LinesField(
        forms.CharField(max_length=130),
        help_text="One grant a line: a model (gpt-5), a beginning (gpt-*), a provider (openai/*), * for every model;"
        " with @host behind it on that host only. A leading - denies, and wins over the rest.",
    )
    fallbacks = FallbacksField(
        help_text="Names and patterns of models, with commas between them. The first row that fits counts; what it"
        " tries must be granted above too.",
    )


@admin.register(Policy)
class PolicyAdmin(CatalogAdmin):
    """Which models a key reaches."""

    form = PolicyForm
    list_display = (
        "slug",
        "models_text",
        "selection",
        "fallbacks_text",
        "rate_limit",
        "user_rate_limit",
        "description",
    )
    list_filter = ("selection", "unpriced", "captures_payloads", "is_strict", "rate_limit")
    empty_text = "A policy says which models a relay key reaches. A key without one reaches none."
    search_fields = ("slug", "description", "models")
    autocomplete_fields = ("rate_limit", "user_rate_limit", "estimate_pricing")
    list_select_related = ("rate_limit", "user_rate_limit")
    shown_instead = {"fallbacks": "fallbacks_text"}
    fieldsets = (
        (None, {"fields": ("slug", "models")}),
        ("How much", {"fields": ("rate_limit", "user_rate_limit", "unpriced", "estimate_pricing")}),
        (
            "Which host, and what when it fails",
            {"fields": ("selection", "keeps_affinity", "fallbacks", "hold_seconds")},
        ),
        ("Requests and answers", {"fields": ("is_strict", "captures_payloads")}),
    )

    @display(description="models")
    def models_text(self, policy: Policy) -> str:
        """The first few."""
        names = ", ".join(policy.models[:5])
        return f"{names}, …" if len(policy.models) > 5 else names or "none"

    @display(description="fallbacks")
    def fallbacks_text(self, policy: Policy) -> str:
        """Which model stands behind which."""
        return "; ".join(f"{', '.join(one['models'])} → {', '.join(one['then'])}" for one in policy.fallbacks)

"""Pages of models, with their aliases and their bindings to hosts."""

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from unfold.admin import StackedInline, TabularInline
from unfold.decorators import display

from relay_admin.catalog import prices
from relay_admin.catalog.admin.base import DATES, OriginFilter
from relay_admin.catalog.admin.seeded import SeededAdmin
from relay_admin.catalog.capability_form import FIELDS, ModelForm, in_words
from relay_admin.catalog.models import HostBinding, Model, ModelAlias
from relay_admin.guard import EditableColumnsFormSet

BINDING_FIELDS = ("wire_shape", "upstream_name", "pricing", ("priority", "weight"), "is_enabled")
DEADLINES = (
    "Deadlines",
    {
        "fields": (("first_byte_timeout_ms", "first_token_timeout_ms"), ("idle_timeout_ms", "total_timeout_ms")),
        "classes": ("collapse",),
    },
)


class ModelAliasInline(TabularInline):
    """Other names of a model."""

    model = ModelAlias
    formset = EditableColumnsFormSet
    fields = ("name",)
    extra = 0
    verbose_name_plural = "aliases"
    hide_title = True


class HostBindingInline(StackedInline):
    """Hosts of a model."""

    model = HostBinding
    formset = EditableColumnsFormSet
    fieldsets = ((None, {"fields": ("host", *BINDING_FIELDS)}), DEADLINES)
    autocomplete_fields = ("host", "pricing")
    extra = 0
    collapsible = True
    show_change_link = True
    verbose_name_plural = "hosts that serve it"


@admin.register(Model)
class ModelAdmin(SeededAdmin):
    """What callers write in `model`."""

    form = ModelForm
    list_display = ("name", "owned_by", "is_enabled", "binding_count", "context", "abilities", "description")
    list_filter = ("is_enabled", OriginFilter, "owned_by")
    search_fields = ("name", "aliases__name", "owned_by", "description")
    search_help_text = "Name, alias, owner or description."
    empty_text = "A model is a name that callers ask for. It needs a binding to a host that has a key."
    fieldsets = (
        (None, {"fields": ("name", "owned_by", "is_enabled")}),
        ("Capabilities", {"fields": FIELDS, "description": "What is not said here is read from the model's name."}),
    )
    readonly_fields = DATES
    shown_instead = {name: "abilities" for row in FIELDS for name in row}
    inlines = [ModelAliasInline, HostBindingInline]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Model]:
        """With the number of bindings."""
        return super().get_queryset(request).annotate(bindings_count=models.Count("bindings__host", distinct=True))

    @display(description="hosts", ordering="bindings_count")
    def binding_count(self, model: Model) -> int:
        """How many hosts serve it."""
        return int(getattr(model, "bindings_count", 0))

    @display(description="context (tokens)")
    def context(self, model: Model) -> str:
        """In tokens."""
        tokens = model.capabilities.get("context_tokens")
        return f"{tokens:,}" if isinstance(tokens, int) else ""

    @display(description="capabilities")
    def abilities(self, model: Model) -> str:
        """What is known beside the context."""
        return in_words(model.capabilities)


@admin.register(HostBinding)
class HostBindingAdmin(SeededAdmin):
    """A model on a host."""

    list_display = ("__str__", "upstream_name", "price", "priority", "weight", "is_enabled")
    list_filter = ("is_enabled", "wire_shape", "host", OriginFilter)
    empty_text = "A binding says which host serves a model, in which wire shape and under which name."
    search_fields = ("model__name", "host__slug", "upstream_name", "description")
    autocomplete_fields = ("model", "host", "pricing")
    list_select_related = ("model", "host", "pricing")
    fieldsets = ((None, {"fields": ("model", "host", *BINDING_FIELDS)}), DEADLINES)
    readonly_fields = DATES

    @display(description="USD per million", ordering="pricing__slug")
    def price(self, binding: HostBinding) -> str:
        """Input and output, as the price says."""
        return prices.summary(binding.pricing.rates) if binding.pricing else "not known"

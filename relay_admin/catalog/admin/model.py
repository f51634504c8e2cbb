"""Pages of models and of their bindings to hosts."""

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display

from relay_admin.catalog.admin.base import CatalogAdmin
from relay_admin.catalog.models import HostBinding, Model


class HostBindingInline(TabularInline):
    """Hosts of a model."""

    model = HostBinding
    fields = ("host", "wire_shape", "upstream_name", "priority", "is_enabled")
    autocomplete_fields = ("host",)
    extra = 0


@admin.register(Model)
class ModelAdmin(CatalogAdmin):
    """What callers write in `model`."""

    list_display = ("name", "owned_by", "is_enabled", "binding_count", "description")
    list_filter = ("is_enabled", "owned_by")
    search_fields = ("name", "owned_by", "description")
    empty_text = "A model is a name that callers ask for. It needs a binding to a host that has a key."
    fieldsets = ((None, {"fields": ("name", "owned_by", "is_enabled")}),)
    inlines = [HostBindingInline]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Model]:
        """With the number of bindings."""
        return super().get_queryset(request).annotate(bindings_count=models.Count("bindings"))

    @display(description="hosts", ordering="bindings_count")
    def binding_count(self, model: Model) -> int:
        """How many hosts serve it."""
        return int(getattr(model, "bindings_count", 0))


@admin.register(HostBinding)
class HostBindingAdmin(CatalogAdmin):
    """A model on a host."""

    list_display = ("__str__", "wire_shape", "upstream_name", "priority", "is_enabled")
    list_filter = ("is_enabled", "wire_shape", "host")
    empty_text = "A binding says which host serves a model, in which wire shape and under which name."
    search_fields = ("model__name", "host__slug", "upstream_name", "description")
    autocomplete_fields = ("model", "host")
    list_select_related = ("model", "host")
    fieldsets = ((None, {"fields": ("model", "host", "wire_shape", "upstream_name", "priority", "is_enabled")}),)

"""Pages of lines."""

from django.contrib import admin
from unfold.admin import TabularInline

from relay_admin.catalog.admin.base import CatalogAdmin, KeepsRevisions
from relay_admin.catalog.models import Endpoint, Line


class EndpointInline(TabularInline):
    """Endpoints of a line."""

    model = Endpoint
    fields = ("slug", "is_enabled", "max_body_bytes")
    extra = 0
    show_change_link = True


@admin.register(Line)
class LineAdmin(KeepsRevisions, CatalogAdmin):
    """A version of a project's API."""

    list_display = ("__str__", "project", "is_enabled", "updated_at")
    list_filter = ("is_enabled", "project")
    empty_text = "A line is a version of a project's API, such as v1. Endpoints are below it."
    search_fields = ("slug", "project__slug", "description")
    autocomplete_fields = ("project",)
    list_select_related = ("project",)
    fieldsets = ((None, {"fields": ("project", "slug", "is_enabled")}),)
    inlines = [EndpointInline]

"""Pages of lines."""

from django.contrib import admin
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.decorators import display

from relay_admin.catalog.admin import draft_pages
from relay_admin.catalog.admin.base import DATES, CatalogAdmin, KeepsRevisions
from relay_admin.catalog.lines import drafts
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
    readonly_fields = ("configuration", *DATES)
    fieldsets = ((None, {"fields": ("project", "slug", "is_enabled", "configuration")}),)
    links = {"configuration": draft_pages.VIEWING}
    inlines = [EndpointInline]

    @display(description="configuration")
    def configuration(self, line: Line) -> str | SafeString:
        """A link to its draft and revisions."""
        if line._state.adding:
            return "recorded when the line is saved"
        url = reverse("admin:catalog_line_configuration", args=[line.pk])
        link = '<a class="text-primary-600 dark:text-primary-500" href="{}">Revision {}: draft, publish, go back…</a>'
        shown = format_html(link, url, line.revision)
        draft = drafts.draft_of(line)
        if draft is None or not draft.publish_error:
            return shown
        failed = (
            '{}<p><span class="relay-dot relay-dot-danger"></span>The draft could not be published on {} UTC: {}</p>'
        )
        return format_html(failed, shown, f"{draft.publish_at:%Y-%m-%d %H:%M}", draft.publish_error)

    def get_urls(self) -> list[URLPattern]:
        """And the pages of its configuration."""
        return [*draft_pages.urls(self), *super().get_urls()]

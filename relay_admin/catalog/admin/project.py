"""Pages of projects."""

from django.contrib import admin
from unfold.admin import TabularInline

from relay_admin.access.people_admin import MembershipInline
from relay_admin.catalog.admin.base import CatalogAdmin
from relay_admin.catalog.models import Line, Project
from relay_admin.catalog.offered import offered, offered_fieldsets


class LineInline(TabularInline):
    """Lines of a project."""

    model = Line
    fields = ("slug", "is_enabled")
    extra = 0
    show_change_link = True


@admin.register(Project)
class ProjectAdmin(CatalogAdmin):
    """A tenant."""

    list_display = ("slug", "name", "is_archived", "rate_limit", "updated_at")
    list_filter = ("is_archived", "rate_limit")
    empty_text = "A project is an app or a tenant. Lines, endpoints and relay keys belong to one."
    search_fields = ("slug", "name", "description")
    autocomplete_fields = offered(Project, ("rate_limit", "test_rate_limit"))
    fieldsets = offered_fieldsets(
        Project,
        (
            (None, ("slug", "name", "is_archived", "rate_limit", "test_rate_limit")),
            ("Relay keys", ("key_life_days", "longest_key_life_days", "endless_keys")),
            ("Money", ("billing", "budget", "pool_cap_microcredits")),
        ),
    )
    inlines = [LineInline, MembershipInline]

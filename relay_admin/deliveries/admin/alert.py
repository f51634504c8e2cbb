"""Pages of alerts: the rules that operators write, and what was told by them."""

import json
from collections.abc import Sequence

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from relay_admin import pages
from relay_admin.deliveries.admin.base import TimeRangeFilter
from relay_admin.deliveries.models import AlertEvent, AlertRule


@admin.register(AlertRule)
class AlertRuleAdmin(pages.RelayAdmin):
    """When which endpoint is told of what."""

    list_display = (
        "__str__",
        "kind",
        "endpoint",
        "project",
        "target_id",
        "threshold",
        "window_seconds",
        "remind_seconds",
        "is_enabled",
    )
    list_filter = ("kind", "is_enabled")
    list_select_related = ("endpoint__line__project", "project")
    autocomplete_fields = ("endpoint", "project")
    fields = (
        "kind",
        "endpoint",
        "project",
        "target_id",
        "threshold",
        "window_seconds",
        "remind_seconds",
        "is_enabled",
    )
    empty_text = "A rule sends an alert to one of your endpoints: make one with a target that reaches your operators."
    ordering = ("id",)


@admin.register(AlertEvent)
class AlertEventAdmin(pages.ReadOnlyAdmin):
    """What was wrong, since when, and whether it is over."""

    list_display = ("subject", "rule", "opened_at", "last_seen_at", "reminder_count", "closed_at")
    list_filter = (("opened_at", TimeRangeFilter), "rule__kind")
    list_filter_submit = True
    list_select_related = ("rule__endpoint__line__project",)
    empty_text = "When a rule finds something wrong, it is kept here from its opening to its end."
    ordering = ("-opened_at", "-id")
    sortable_by: Sequence[str] = ()
    paginator = pages.InfinitePaginator
    readonly_fields = (
        "rule",
        "subject",
        "opened_at",
        "last_seen_at",
        "told_at",
        "reminder_count",
        "closed_at",
        "request_id",
        "found",
    )
    fieldsets = ((None, {"fields": readonly_fields}),)

    @display(description="details")
    def found(self, event: AlertEvent) -> SafeString:
        """As they were sent."""
        return format_html('<pre class="relay-preview">{}</pre>', json.dumps(event.details, indent=2))

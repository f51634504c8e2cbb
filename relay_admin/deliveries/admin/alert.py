"""Pages of alerts: the rules that operators write, and what was told by them."""

import json
from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from relay_admin import pages
from relay_admin.deliveries.admin.base import TimeRangeFilter, link
from relay_admin.deliveries.models import AlertEvent, AlertRule
from relay_admin.deliveries.templatetags.relay_pages import tone_badge

_HELP = {
    "project": "Empty: every project.",
    "target_id": "The number in the address of its page. Empty: any target.",
    "threshold": "Target failing: attempts in a row. Backlog age: seconds. Failure queue growth: deliveries. Signature"
    " misconfigured: calls. Of no account to the other kinds.",
    "window_seconds": "How long a target has to have failed, or over how long deliveries and calls are counted.",
}


@admin.register(AlertRule)
class AlertRuleAdmin(pages.RelayAdmin):
    """When which endpoint is told of what."""

    list_display = (
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

    def get_form(self, request: HttpRequest, obj: AlertRule | None = None, change: bool = False, **kwargs: Any) -> Any:
        """With what the numbers mean, which differs by kind."""
        return super().get_form(request, obj, change, help_texts=_HELP, **kwargs)


@admin.register(AlertEvent)
class AlertEventAdmin(pages.ReadOnlyAdmin):
    """What was wrong, since when, and whether it is over."""

    list_display = ("about", "state", "rule", "opened_at", "closed_at", "reminder_count")
    list_filter = (("opened_at", TimeRangeFilter), "rule__kind")
    list_filter_submit = True
    list_select_related = ("rule__endpoint__line__project",)
    empty_text = "When a rule finds something wrong, it is kept here from its opening to its end."
    ordering = ("-opened_at", "-id")
    sortable_by: Sequence[str] = ()
    paginator = pages.InfinitePaginator
    readonly_fields = (
        "state",
        "about",
        "rule",
        "opened_at",
        "last_seen_at",
        "closed_at",
        "told_at",
        "reminder_count",
        "first_told",
        "found",
    )
    fieldsets = ((None, {"fields": readonly_fields}),)

    @display(description="about")
    def about(self, event: AlertEvent) -> str:
        """What is wrong by its name, as it was called then; its id where it has none."""
        named = [str(event.details[name]) for name in ("project", "line", "endpoint") if event.details.get(name)]
        target = event.details.get("target")
        return f"{'/'.join(named)}{f':{target}' if target else ''}" or event.subject

    @display(description="state")
    def state(self, event: AlertEvent) -> SafeString:
        """Open, or over."""
        return tone_badge("open", "danger") if event.closed_at is None else tone_badge("resolved", "success")

    @display(description="first told in")
    def first_told(self, event: AlertEvent) -> SafeString:
        """The request that told of its opening."""
        return link("admin:deliveries_request_change", event.request_id, event.request_id)

    @display(description="details")
    def found(self, event: AlertEvent) -> SafeString:
        """As they were sent."""
        return format_html('<pre class="relay-preview">{}</pre>', json.dumps(event.details, indent=2))

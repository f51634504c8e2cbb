"""The audit log's pages: a list that does not count, and what one change was."""

import json
from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import TextFilter
from unfold.decorators import display

from relay_admin import pages
from relay_admin.access.audit import SUBJECTS, events_named
from relay_admin.access.models import AuditEvent
from relay_admin.deliveries.admin.base import ProjectFilter, TimeRangeFilter, as_row_id
from relay_admin.deliveries.admin.keyset import BeforeFilter, KeysetPaginator
from relay_admin.deliveries.templatetags.relay_pages import tone_badge

TONES = {"insert": "success", "update": "info", "delete": "danger", "truncate": "danger"}


class ActorFilter(TextFilter):
    """By the whole name of a user."""

    title = "user"
    parameter_name = "who"

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(actor_name=self.value()) if self.value() else queryset


class SubjectFilter(admin.SimpleListFilter):
    """By what was changed."""

    title = "what"
    parameter_name = "what"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(label, label) for label in SUBJECTS]

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(subject=self.value()) if self.value() else queryset


class SubjectIdFilter(TextFilter):
    """By its id."""

    title = "id"
    parameter_name = "id_is"

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if not self.value():
            return queryset
        wanted = as_row_id(self.value())
        return queryset.none() if wanted is None else queryset.filter(subject_id=wanted)


class OlderFilter(BeforeFilter):
    """By the event's number."""

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        last = as_row_id(self.value())
        return queryset.filter(pk__lt=last) if last is not None else queryset


class AuditEventAdmin(pages.ReadOnlyAdmin):
    """Who changed what."""

    list_display = ("at", "who", "via_shown", "action_shown", "subject_shown", "columns", "project_shown")
    list_filter = (
        ActorFilter,
        SubjectFilter,
        SubjectIdFilter,
        ProjectFilter,
        "via",
        "action",
        ("at", TimeRangeFilter),
        OlderFilter,
    )
    list_filter_submit = True
    empty_text = "Each change of the catalog, of keys, users and groups appears here, whoever makes it and however."
    ordering = ("-id",)
    sortable_by: Sequence[str] = ()
    paginator = KeysetPaginator
    change_form_outer_after_template = "relay/audit_changes.html"
    readonly_fields = (
        "at",
        "who",
        "via_shown",
        "address",
        "action_shown",
        "subject_shown",
        "subject_link",
        "project_shown",
    )
    fieldsets = ((None, {"fields": readonly_fields}),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEvent]:
        """With the project's name: it may be gone."""
        return events_named(super().get_queryset(request))

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        """With the columns that changed."""
        context["changes"] = changes_of(kwargs["obj"])
        return super().render_change_form(request, context, **kwargs)

    @display(description="who")
    def who(self, event: AuditEvent) -> str:
        """The user, or what acted without one."""
        return event.actor_name or event.tool or "(nobody signed in)"

    @display(description="via")
    def via_shown(self, event: AuditEvent) -> str:
        """With the name of the token, command or task."""
        return f"{event.via}: {event.tool}" if event.tool else event.via

    @display(description="action")
    def action_shown(self, event: AuditEvent) -> SafeString:
        """In its colour."""
        return tone_badge(event.action, TONES.get(event.action, "info"))

    @display(description="what")
    def subject_shown(self, event: AuditEvent) -> SafeString:
        """Its name then, and its id."""
        name = event.subject_name or event.subject_id or ""
        return format_html('{} <strong>{}</strong><br><span class="relay-quiet">id {}</span>', event.subject, name,
                           event.subject_id or "-")  # fmt: skip

    @display(description="page")
    def subject_link(self, event: AuditEvent) -> str | SafeString:
        """Its page, which says so itself where it is gone."""
        try:
            url = reverse(f"admin:{event.subject.replace('.', '_')}_change", args=[event.subject_id])
        except NoReverseMatch:
            return "-"
        return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">Open</a>', url)

    @display(description="columns")
    def columns(self, event: AuditEvent) -> str:
        """Those that an update changed."""
        return ", ".join(sorted({**(event.before or {}), **(event.after or {})})) if event.action == "update" else "-"

    @display(description="project")
    def project_shown(self, event: AuditEvent) -> str:
        """Its slug."""
        if event.project_id is None:
            return "-"
        return getattr(event, "project_slug", None) or f"(deleted, {event.project_id})"


def changes_of(event: AuditEvent) -> list[tuple[str, str, str]]:
    """Column, before and after, as text; empty where there was or is nothing."""
    before, after = event.before or {}, event.after or {}
    return [(name, _text(before.get(name)), _text(after.get(name))) for name in sorted({**before, **after})]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)

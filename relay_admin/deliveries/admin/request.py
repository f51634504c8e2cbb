"""The request log."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import formats, timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from relay_admin import pages
from relay_admin.deliveries import request_view, selectors
from relay_admin.deliveries.admin.base import VIEW_PAYLOAD, ProjectFilter, RelayKeyFilter
from relay_admin.deliveries.admin.keyset import BeforeFilter, KeysetPaginator
from relay_admin.deliveries.admin.request_list import (
    EndpointFilter,
    EventTypeFilter,
    IdTimeRangeFilter,
    OutcomeFilter,
    PathFilter,
    RequestChangeList,
    StatusClassFilter,
)
from relay_admin.deliveries.models import Delivery, Request, RequestEnd
from relay_admin.deliveries.redaction_view import shown_content
from relay_admin.deliveries.request_filters import narrowed
from relay_admin.deliveries.templatetags.relay_pages import STATE_COLOURS, tone_badge
from relay_admin.traffic.trace_view import time_text
from relay_contract.redaction import Redaction

_LEFT_OUT_WHEN_EMPTY = frozenset({"caller_request_id"})


@admin.register(Request)
class RequestAdmin(pages.ReadOnlyAdmin):
    """The request log."""

    list_display = (
        "received_shown",
        "status_shown",
        "endpoint_above_type",
        "caller_shown",
        "outcome_shown",
        "size",
    )
    list_display_links = ("received_shown",)
    list_filter = (
        ("received_at", IdTimeRangeFilter),
        ProjectFilter,
        EndpointFilter,
        RelayKeyFilter,
        StatusClassFilter,
        OutcomeFilter,
        PathFilter,
        EventTypeFilter,
        "mode",
        BeforeFilter,
    )
    list_filter_submit = True
    empty_text = (
        "Calls to relay endpoints appear here as soon as they are accepted, or refused after their caller was known."
        " Calls to models have a list of their own."
    )
    search_fields = ("id",)
    search_help_text = (
        "A request id, a delivery id, the x-request-id that the caller sent, or its Idempotency-Key. Whole ids only."
    )
    ordering = ("-id",)
    sortable_by: Sequence[str] = ()
    paginator = KeysetPaginator
    change_form_outer_before_template = "relay/request.html"
    readonly_fields = (
        "request_id",
        "received_at",
        "project_shown",
        "mode",
        "origin",
        "address",
        "caller_request_id",
        "client_ip",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Request]:
        """Named by subqueries: what a request refers to may be gone."""
        return selectors.name_requests(super().get_queryset(request))

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[Request], search_term: str
    ) -> tuple[QuerySet[Request], bool]:
        """Whole ids: they are indexed, parts of them are not."""
        return (narrowed(queryset, {"search": search_term}) if search_term else queryset), False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[RequestChangeList]:  # noqa: ARG002
        """With what became of each."""
        return RequestChangeList

    def get_fieldsets(self, request: HttpRequest, obj: Request | None = None) -> Any:  # noqa: ARG002
        """What the page has not said before, as far as there is something to say."""
        names = [name for name in self.readonly_fields if name not in _LEFT_OUT_WHEN_EMPTY or getattr(obj, name, "")]
        return (("Call", {"fields": names}),)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        """With everything that became of it, for who may see it."""
        row = kwargs["obj"]
        deliveries: Sequence[Delivery] = ()
        end = RequestEnd.objects.filter(pk=row.pk).first()
        may_see_deliveries = request.user.has_perms(["deliveries.view_delivery", "deliveries.view_attempt"])
        if may_see_deliveries:
            deliveries = list(selectors.deliveries_of(row.pk))
            request_view.add_charges(deliveries, selectors.charges_of(row.pk, deliveries))
        may_see_content = request.user.has_perm(VIEW_PAYLOAD)
        context |= {
            "facts": self._facts(row, deliveries),
            "timeline": request_view.timeline(row, deliveries, end),
            "end": end,
            "end_facts": _end_facts(end) if end else [],
            "deliveries": deliveries,
            "may_see_deliveries": may_see_deliveries,
            "may_replay": request.user.has_perm("deliveries.replay_delivery"),
            "shows_bodies": may_see_content,
            "content": shown_content(row) if may_see_content else None,
        }
        return super().render_change_form(request, context, **kwargs)

    def _facts(self, row: Request, deliveries: Sequence[Delivery]) -> list[tuple[str, str | SafeString]]:
        left_out = f", {row.filtered_count} left out" if row.filtered_count else ""
        shown: list[tuple[str, str | SafeString]] = [
            ("status", self.status_shown(row)),
            ("endpoint", self.endpoint_shown(row)),
            ("relay key", self.relay_key_shown(row)),
            ("event type", row.event_type),
            ("deliveries", f"{row.target_count}{left_out}"),
            ("accepted in", time_text(row.accept_us) if row.accept_us else ""),
            ("body", self.size(row)),
            ("revision", str(row.revision)),
            ("idempotency key", row.idempotency_key),
        ]
        attempts = sum(len(delivery.attempts.all()) for delivery in deliveries)
        if attempts:
            shown.insert(5, ("attempts", str(attempts)))
        return [(name, value) for name, value in shown if value]

    @display(description="request id")
    def request_id(self, row: Request) -> SafeString:
        """As the caller was told."""
        return format_html('<span class="relay-mono">{}</span>', row.pk)

    @display(description="received at")
    def received_shown(self, row: Request) -> SafeString:
        """And the id that the caller was told."""
        received_at = formats.localize(timezone.localtime(row.received_at))
        return format_html('{}<br><span class="relay-mono relay-quiet">{}</span>', received_at, row.pk)

    @display(description="endpoint, event type")
    def endpoint_above_type(self, row: Request) -> SafeString:
        """Its path."""
        return _above(self.endpoint_shown(row), row.event_type)

    @display(description="caller")
    def caller_shown(self, row: Request) -> SafeString:
        """Project and relay key."""
        return _above(self.project_shown(row), self.relay_key_shown(row))

    @display(description="deliveries")
    def outcome_shown(self, row: Request) -> SafeString:
        """How many are in which state."""
        outcomes: dict[str, int] = getattr(row, "outcomes", {})
        if not outcomes:
            return format_html('<span class="relay-quiet">{}</span>', "none")
        badges = ((tone_badge(f"{count} {state}", STATE_COLOURS[state])) for state, count in sorted(outcomes.items()))
        return format_html_join(" ", "{}", ((badge,) for badge in badges))

    @display(description="project")
    def project_shown(self, row: Request) -> str:
        """Its slug."""
        return getattr(row, "project_slug", None) or f"(deleted, {row.project_id})"

    @display(description="endpoint")
    def endpoint_shown(self, row: Request) -> str:
        """Its path."""
        return getattr(row, "endpoint_path", None) or (f"(deleted, {row.endpoint_id})" if row.endpoint_id else "-")

    @display(description="relay key")
    def relay_key_shown(self, row: Request) -> str:
        """Its name."""
        return getattr(row, "relay_key_name", None) or (f"(deleted, {row.relay_key_id})" if row.relay_key_id else "-")

    @display(description="body")
    def size(self, row: Request) -> str:
        """In bytes."""
        return f"{row.body_bytes:,} bytes"

    @display(description="status")
    def status_shown(self, row: Request) -> SafeString:
        """What the caller was answered, with the error's code. Of a sync or stream call its end tells."""
        if not row.status:
            return tone_badge("answered later", "info")
        badge = tone_badge(str(row.status), "success" if row.status < 400 else "danger")
        return format_html('{} <span class="relay-quiet">{}</span>', badge, row.error) if row.error else badge

    @display(description="address")
    def address(self, row: Request) -> SafeString:
        """Method, path and query, as they were called."""
        query = f"?{Redaction().query(row.query)}" if row.query else ""
        return format_html('<span class="relay-mono">{} {}{}</span>', row.method, row.path, query)


def _above(text: str, below: str) -> SafeString:
    return format_html('{}<br><span class="relay-quiet">{}</span>', text, below) if below else format_html("{}", text)


def _end_facts(end: RequestEnd) -> list[tuple[str, str]]:
    """Of a sync or stream call."""
    shown = [
        ("status", str(end.status or "not known")),
        ("target's status", str(end.target_status or "")),
        ("error", end.error),
        ("close reason", end.close_reason.replace("_", " ")),
        ("first byte after", time_text(end.first_byte_us) if end.first_byte_us is not None else ""),
        ("ended after", time_text(end.total_us)),
        ("bytes out", f"{end.bytes_out:,}"),
        ("heartbeats", str(end.heartbeats or "")),
        ("target", end.url.partition("?")[0]),
    ]
    return [(name, value) for name, value in shown if value]

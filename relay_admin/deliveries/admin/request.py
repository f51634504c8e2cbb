"""The request log."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import BinaryField, F, Func, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from relay_admin import pages
from relay_admin.deliveries import selectors
from relay_admin.deliveries.admin.base import VIEW_PAYLOAD, PartitionedTimeRangeFilter, ProjectFilter, as_uuid
from relay_admin.deliveries.models import Delivery, Payload, Request
from relay_admin.deliveries.preview import PREVIEW_BYTES
from relay_admin.deliveries.templatetags.relay_pages import bytes_preview


@admin.register(Request)
class RequestAdmin(pages.ReadOnlyAdmin):
    """The request log."""

    list_display = (
        "request_id",
        "received_at",
        "project_shown",
        "endpoint_shown",
        "relay_key_shown",
        "mode",
        "size",
        "targets",
    )
    list_display_links = ("request_id",)
    list_filter = (("received_at", PartitionedTimeRangeFilter), ProjectFilter, "mode")
    list_filter_submit = True
    empty_text = (
        "Calls to relay endpoints appear here as soon as they are accepted. Calls to models have a list of their own."
    )
    search_fields = ("id",)
    search_help_text = "A request id, or the x-request-id that the caller sent. Whole ids only."
    ordering = ("-id",)
    sortable_by: Sequence[str] = ()
    paginator = pages.InfinitePaginator
    change_form_outer_after_template = "relay/attempts.html"
    accepted = (
        "request_id",
        "received_at",
        "project_shown",
        "endpoint_shown",
        "relay_key_shown",
        "mode",
        "caller_request_id",
        "client_ip",
    )
    content = ("content_type", "size", "headers_text", "body")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Request]:
        """Named by subqueries: what a request refers to may be gone."""
        return selectors.name_requests(super().get_queryset(request))

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[Request], search_term: str
    ) -> tuple[QuerySet[Request], bool]:
        """Whole ids: both are indexed, parts of them are not."""
        if not search_term:
            return queryset, False
        wanted = Q(caller_request_id=search_term)
        if request_id := as_uuid(search_term):
            wanted |= Q(pk=request_id)
        return queryset.filter(wanted), False

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:  # noqa: ARG002
        """Who may not read bodies is not shown headers either."""
        shown = self.content if request.user.has_perm(VIEW_PAYLOAD) else self.content[:2]
        return (("Accepted", {"fields": self.accepted}), ("Content", {"fields": shown}))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:  # noqa: ARG002
        """All of them."""
        return (*self.accepted, *self.content)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With the deliveries and their attempts, for who may see those."""
        deliveries: Sequence[Delivery] = ()
        key = as_uuid(object_id)
        if key and request.user.has_perms(["deliveries.view_delivery", "deliveries.view_attempt"]):
            deliveries = list(selectors.deliveries_of(key))
        extra = {"deliveries": deliveries, "shows_bodies": request.user.has_perm(VIEW_PAYLOAD)}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})

    @display(description="request id")
    def request_id(self, row: Request) -> SafeString:
        """As the caller was told."""
        return format_html('<span class="relay-mono">{}</span>', row.pk)

    @display(description="targets")
    def targets(self, row: Request) -> int:
        """0: no enabled target at that moment."""
        return row.target_count

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

    @display(description="headers")
    def headers_text(self, row: Request) -> SafeString:
        """Those that travel on."""
        text = "\n".join(f"{name}: {value}" for name, value in row.headers.items())
        return format_html('<pre class="relay-preview">{}</pre>', text or "none")

    @display(description="body, its start")
    def body(self, row: Request) -> SafeString:
        """The first 16 KB, escaped; the rest is not read."""
        start = Func(F("body"), 1, PREVIEW_BYTES, function="SUBSTRING", output_field=BinaryField())
        found = Payload.objects.filter(request_id=row.pk).values_list(start, flat=True).first()
        if found is None:
            return format_html("{}", "Past its retention: the body is deleted.")
        return bytes_preview(found, is_cut=row.body_bytes > PREVIEW_BYTES)

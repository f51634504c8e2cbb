"""Pages of calls to models: a list that does not count, and a page that says everything of one call."""

import json
from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from relay_admin import pages
from relay_admin.access.models import User
from relay_admin.catalog import prices
from relay_admin.catalog.models import Host, HostBinding, HostKey, Model, Pricing
from relay_admin.deliveries.admin.base import ProjectFilter, RelayKeyFilter, TimeRangeFilter, as_uuid, link
from relay_admin.deliveries.templatetags.relay_pages import tone_badge
from relay_admin.traffic import selectors
from relay_admin.traffic.admin.filters import ErrorFilter, HostFilter, ModelFilter, PriceFilter, StatusFilter
from relay_admin.traffic.models import Call, Capture, Trace
from relay_admin.traffic.trace_view import time_text, trace_view
from relay_contract.pricing import usd_text
from relay_contract.usage import METERS, Usage

VIEW_TRACE = "traffic.view_trace"
VIEW_CAPTURE = "traffic.view_capture"
_WAS_NONE = "-"
_LEFT_OUT_WHEN_EMPTY = {
    **{meter: meter for meter in METERS},
    "error": "error",
    "error_source": "error_source",
    "finish": "finish",
    "relay_key_shown": "relay_key_id",
    "application_shown": "application_id",
    "user_shown": "user_id",
    "tags_shown": "tags",
    "rates_shown": "rates",
}
"""Field of the page -> column of the row."""


@admin.register(Call)
class CallAdmin(pages.ReadOnlyAdmin):
    """Every call to a model."""

    list_display = (
        "received_shown",
        "caller_shown",
        "model_shown",
        "status_shown",
        "tokens",
        "cost",
        "time_shown",
    )
    list_filter = (
        ("received_at", TimeRangeFilter),
        ProjectFilter,
        RelayKeyFilter,
        ModelFilter,
        HostFilter,
        StatusFilter,
        ErrorFilter,
        PriceFilter,
        "mode",
    )
    list_filter_submit = True
    empty_text = "Each call to a model appears here a moment after it ended, also those that were refused."
    search_fields = ("request_id",)
    search_help_text = "The x-request-id that the caller sent or was told, or the id of a call. Whole ids only."
    ordering = ("-received_at", "-id")
    sortable_by: Sequence[str] = ()
    paginator = pages.InfinitePaginator
    change_form_outer_before_template = "relay/trace.html"
    change_form_outer_after_template = "relay/capture.html"
    shown: tuple[tuple[str, tuple[str, ...]], ...] = (
        (
            "Caller",
            (
                "id",
                "request_id",
                "received_at",
                "project_shown",
                "relay_key_shown",
                "application_shown",
                "user_shown",
                "mode",
                "surface",
                "tags_shown",
            ),
        ),
        (
            "Answer",
            (
                "status",
                "error",
                "error_source",
                "finish",
                "streamed",
                "attempts",
                "requested_model",
                "model_link",
                "host_link",
                "host_key_link",
                "binding_link",
            ),
        ),
        ("Usage and cost", ("cost", "pricing_link", "rates_shown", "usage_source", *METERS)),
        ("Time and size", ("duration", "upstream", "relay", "first_token", "size_in", "size_out")),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Call]:
        """Named by subqueries: what a call refers to may be gone."""
        return selectors.name_calls(super().get_queryset(request))

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[Call], search_term: str
    ) -> tuple[QuerySet[Call], bool]:
        """Whole ids: both are indexed, parts of them are not."""
        if not search_term:
            return queryset, False
        wanted = Q(request_id=search_term)
        if call_id := as_uuid(search_term):
            wanted |= Q(pk=call_id)
        return queryset.filter(wanted), False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With the way to the answer and with what was captured, each for who may see it."""
        key = as_uuid(object_id)
        extra: dict[str, Any] = {
            "may_see_trace": request.user.has_perm(VIEW_TRACE),
            "may_see_capture": request.user.has_perm(VIEW_CAPTURE),
        }
        if key and extra["may_see_trace"]:
            found = Trace.objects.filter(pk=key).values_list("trace", flat=True).first()
            if found is not None:
                written = json.dumps(found, indent=2, ensure_ascii=False)
                extra |= {"trace": trace_view(found), "trace_written": written}
        if key and extra["may_see_capture"]:
            extra["capture"] = Capture.objects.filter(pk=key).first()
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        """With the facts that the page begins with."""
        if (call := kwargs.get("obj")) is not None:
            context["facts"] = self._facts(call)
        return super().render_change_form(request, context, **kwargs)

    def _facts(self, call: Call) -> list[tuple[str, str | SafeString]]:
        model = f"{self._model(call)} on {call.host}" if call.host else self._model(call)
        return [
            ("status", self.status_shown(call)),
            ("caller", self.caller_shown(call)),
            ("model", model),
            ("attempts", str(call.attempts)),
            ("duration", self.duration(call)),
            ("first content after", self.first_token(call)),
            ("tokens in / out", self.tokens(call)),
            ("cost", self.cost(call)),
        ]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:  # noqa: ARG002
        """In groups, without what there is nothing to say of."""
        empty = {name for name, column in _LEFT_OUT_WHEN_EMPTY.items() if not getattr(obj, column, None)}
        return [(title, {"fields": [each for each in fields if each not in empty]}) for title, fields in self.shown]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:  # noqa: ARG002
        """All of them."""
        return tuple(field for _, fields in self.shown for field in fields)

    @display(description="received at")
    def received_shown(self, row: Call) -> SafeString:
        """And the id by which the caller knows it."""
        received_at = formats.localize(timezone.localtime(row.received_at))
        return format_html('{}<br><span class="relay-mono relay-quiet">{}</span>', received_at, row.request_id)

    @display(description="caller")
    def caller_shown(self, row: Call) -> SafeString:
        """Project, and the relay key or application."""
        shown = self.relay_key_shown(row) if row.application_id is None else self.application_shown(row)
        return _above(self.project_shown(row), shown)

    @display(description="project")
    def project_shown(self, row: Call) -> str:
        """Its slug."""
        return getattr(row, "project_slug", None) or f"(deleted, {row.project_id})"

    @display(description="relay key")
    def relay_key_shown(self, row: Call) -> str:
        """Its name."""
        return getattr(row, "relay_key_name", None) or f"(deleted, {row.relay_key_id})"

    @display(description="application")
    def application_shown(self, row: Call) -> str:
        """Its name, where the call came with an access token."""
        return getattr(row, "application_name", None) or f"(deleted, {row.application_id})"

    @display(description="model, host")
    def model_shown(self, row: Call) -> SafeString:
        """That answered, or were tried last; what was asked for where nothing was tried."""
        return _above(self._model(row), row.host or "no host")

    def _model(self, row: Call) -> str:
        return row.model or row.requested_model or _WAS_NONE

    @display(description="status")
    def status_shown(self, row: Call) -> SafeString:
        """With the error's code."""
        return _above(tone_badge(str(row.status), _tone(row.status)), row.error)

    @display(description="tokens in / out")
    def tokens(self, row: Call) -> str:
        """All that was read, caches included, and all that was written."""
        usage = Usage(*(getattr(row, meter) for meter in METERS))
        return f"{usage.prompt_tokens:,} / {usage.all_output_tokens:,}"

    @display(description="cost")
    def cost(self, row: Call) -> str:
        """In USD, to the last digit."""
        if row.cost_nanousd is None:
            return "not priced"
        return f"{usd_text(row.cost_nanousd)} USD{' (estimated)' if row.estimated_price else ''}"

    @display(description="duration")
    def time_shown(self, row: Call) -> SafeString:
        """And how many tries it took, where that was not one."""
        return _above(self.duration(row), f"{row.attempts} attempts" if row.attempts > 1 else "")

    @display(description="duration")
    def duration(self, row: Call) -> str:
        """From the request's head to the answer's end."""
        return time_text(row.total_us)

    @display(description="part of it: hosts")
    def upstream(self, row: Call) -> str:
        """From the first byte to a host to the end of its answer."""
        return time_text(row.upstream_us)

    @display(description="part of it: the relay")
    def relay(self, row: Call) -> str:
        """The rest: reading the call, admission, looking for a host."""
        return time_text(row.total_us - row.upstream_us)

    @display(description="time to the first content")
    def first_token(self, row: Call) -> str:
        """From the request's head."""
        return _WAS_NONE if row.first_token_us is None else time_text(row.first_token_us)

    @display(description="model")
    def model_link(self, row: Call) -> str | SafeString:
        """To its page, while there is one."""
        return _linked(Model, row.model_row_id, row.model)

    @display(description="host")
    def host_link(self, row: Call) -> str | SafeString:
        """To its page, while there is one."""
        return _linked(Host, row.host_row_id, row.host)

    @display(description="host key")
    def host_key_link(self, row: Call) -> str | SafeString:
        """To its page, while there is one."""
        return _linked(HostKey, row.host_key_id)

    @display(description="binding")
    def binding_link(self, row: Call) -> str | SafeString:
        """To its page, while there is one."""
        return _linked(HostBinding, row.binding_id)

    @display(description="price")
    def pricing_link(self, row: Call) -> str:
        """The row that it was priced by, as it is named now, and the version of its rates."""
        if row.pricing_id is None:
            return _WAS_NONE
        slug = Pricing.objects.filter(pk=row.pricing_id).values_list("slug", flat=True).first()
        version = f", version {row.pricing_version}" if row.pricing_version else ""
        whose = ", the policy's estimate" if row.estimated_price else ""
        return f"{slug or f'(deleted, {row.pricing_id})'}{version}{whose}"

    @display(description="rates in USD")
    def rates_shown(self, row: Call) -> str:
        """Of that very version."""
        return prices.in_words(getattr(row, "rates", None) or [])

    @display(description="user")
    def user_shown(self, row: Call) -> str:
        """Whose key or access token it was."""
        name = User.objects.filter(pk=row.user_id).values_list("username", flat=True).first()
        return name or f"(deleted, {row.user_id})"

    @display(description="streamed")
    def streamed(self, row: Call) -> str:
        """Whether the caller asked for a stream."""
        return "yes" if row.is_stream else "no"

    @display(description="request body")
    def size_in(self, row: Call) -> str:
        """In bytes."""
        return f"{row.bytes_in:,} bytes"

    @display(description="answer body")
    def size_out(self, row: Call) -> str:
        """In bytes."""
        return f"{row.bytes_out:,} bytes"

    @display(description="tags")
    def tags_shown(self, row: Call) -> str:
        """The caller's own."""
        return ", ".join(f"{name}={value}" for name, value in sorted(row.tags.items())) or _WAS_NONE


def _above(first: str | SafeString, second: str) -> SafeString:
    """One line above another, which says less."""
    if not second:
        return format_html("{}", first)
    return format_html('{}<br><span class="relay-quiet">{}</span>', first, second)


def _tone(status: int) -> str:
    return "success" if status < 400 else "warning" if status < 500 else "danger"


def _linked(model: type[Any], key: int | None, name: str = "") -> str | SafeString:
    if key is None:
        return name or _WAS_NONE
    found = model._default_manager.filter(pk=key).first()
    if found is None:
        return f"{name} (deleted, {key})".lstrip()
    return link(f"admin:{model._meta.label_lower.replace('.', '_')}_change", key, name or found)

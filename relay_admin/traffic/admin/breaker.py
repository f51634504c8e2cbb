"""Breakers: those that are not closed, with a button that closes one, above the events of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode
from unfold.decorators import display

from relay_admin import pages
from relay_admin.catalog.models import HostBinding, HostKey
from relay_admin.deliveries.admin.base import TimeRangeFilter
from relay_admin.traffic.breakers import RedisAwayError, breaker_reset, breakers_list
from relay_admin.traffic.models import BreakerEvent
from relay_contract.redis.breakers import Entry
from relay_contract.traffic import BreakerKind

MAX_SHOWN = 100
RESET = "traffic.reset_breaker"
LIST = "admin:traffic_breakerevent_changelist"


@dataclass(frozen=True)
class Row:
    """A breaker as the page shows it."""

    entry: Entry
    guarded: str
    since: datetime
    until: datetime
    reset_url: str


@admin.register(BreakerEvent)
class BreakerEventAdmin(pages.ReadOnlyAdmin):
    """What opened and closed."""

    list_display = ("at", "guarded", "from_state", "to_state", "reason", "open_seconds")
    list_filter = ("kind", "to_state", ("at", TimeRangeFilter))
    list_filter_submit = True
    list_before_template = "relay/breakers.html"
    ordering = ("-at",)
    sortable_by: Sequence[str] = ()
    paginator = pages.InfinitePaginator
    empty_title = "No breaker has changed yet"
    empty_text = "A host key or a binding that keeps failing is left alone for a while. Each change is listed here."
    readonly_fields = ("at", "kind", "guarded", "from_state", "to_state", "reason", "open_seconds")
    fieldsets = ((None, {"fields": readonly_fields}),)

    def has_reset_permission(self, request: HttpRequest) -> bool:
        """Whether this person may close a breaker by hand."""
        return self.has_view_permission(request) and request.user.has_perm(RESET)

    def get_urls(self) -> list[URLPattern]:
        """With the reset's address."""
        own = path("reset/", self.admin_site.admin_view(self.reset), name="traffic_breaker_reset")
        return [own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """With what is not closed now."""
        shown: dict[str, Any] = {"may_reset": self.has_reset_permission(request)}
        if self.has_view_permission(request):
            try:
                entries = breakers_list()
                shown |= {"breakers": _rows(entries[:MAX_SHOWN]), "more": max(0, len(entries) - MAX_SHOWN)}
            except RedisAwayError as problem:
                shown["problem"] = str(problem)
        return super().changelist_view(request, {**(extra_context or {}), **shown})

    def reset(self, request: HttpRequest) -> HttpResponse:
        """Asks, then closes the breaker that `field` names."""
        if not self.has_reset_permission(request):
            raise PermissionDenied
        field = request.GET.get("field", "")
        if request.method != "POST":
            return pages.confirm(
                request,
                self,
                title="Reset breaker",
                text="Close this breaker now? Calls go to it again at once, all of them, without a probe.",
                button="Reset",
                rows=[field],
            )
        try:
            event = breaker_reset(field=field)
        except RedisAwayError as problem:
            self.message_user(request, f"Nothing was changed: {problem}", messages.ERROR)
            return redirect(LIST)
        if event is None:
            self.message_user(request, "It was closed already.", messages.WARNING)
            return redirect(LIST)
        self.log_change(request, event, f"Reset {field}.")
        self.message_user(request, "The breaker is closed: calls go to it again.", messages.SUCCESS)
        return redirect(LIST)

    @display(description="host key or binding")
    def guarded(self, event: BreakerEvent) -> str:
        """By name where the row is still there."""
        is_key = event.kind == BreakerKind.HOST_KEY
        row_id = event.host_key_id if is_key else event.binding_id
        return _guarded(event.host, is_key, row_id, _names(is_key, [row_id]))

    @display(description="open for")
    def open_seconds(self, event: BreakerEvent) -> str:
        """Where it opened."""
        return f"{event.open_ms / 1000:g} s" if event.open_ms else "-"


def _rows(entries: Sequence[Entry]) -> list[Row]:
    names = {
        kind: _names(kind is BreakerKind.HOST_KEY, [entry.row_id for entry in entries if entry.kind is kind])
        for kind in BreakerKind
    }
    return [
        Row(
            entry=entry,
            guarded=_guarded(entry.host, entry.kind is BreakerKind.HOST_KEY, entry.row_id, names[entry.kind]),
            since=datetime.fromtimestamp(entry.since_ms / 1000, UTC),
            until=datetime.fromtimestamp(entry.until_ms / 1000, UTC),
            reset_url=f"{reverse('admin:traffic_breaker_reset')}?{urlencode({'field': entry.field})}",
        )
        for entry in entries
    ]


def _names(is_key: bool, row_ids: Sequence[int | None]) -> dict[int, str]:
    if is_key:
        return dict(HostKey.objects.filter(pk__in=row_ids).values_list("pk", "name"))
    return dict(HostBinding.objects.filter(pk__in=row_ids).values_list("pk", "model__name"))


def _guarded(host: str, is_key: bool, row_id: int | None, names: dict[int, str]) -> str:
    name = names.get(row_id or 0, f"(deleted, {row_id})")
    return f"{host}: key {name}" if is_key else f"{host}: {name}"

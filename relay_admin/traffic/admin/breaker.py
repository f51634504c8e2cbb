"""Breakers: those that are not closed, with a button that closes one, above the events of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.decorators import display

from relay_admin import pages
from relay_admin.catalog.models import HostBinding, HostKey
from relay_admin.deliveries.admin.base import TimeRangeFilter
from relay_admin.deliveries.templatetags.relay_pages import tone_badge
from relay_admin.redis_link import RedisAwayError
from relay_admin.traffic.admin.filters import HostFilter
from relay_admin.traffic.breakers import breaker_reset, breakers_list
from relay_admin.traffic.models import BreakerEvent
from relay_contract.redis.breakers import Entry
from relay_contract.traffic import BreakerKind, BreakerState, FailureClass

MAX_SHOWN = 100
RESET = "traffic.reset_breaker"
LIST = "admin:traffic_breakerevent_changelist"


REASONS = {
    FailureClass.AUTH: "the host refuses the key",
    FailureClass.QUOTA: "the key's account is used up",
    FailureClass.RATE_LIMIT: "the host takes no more calls of this key for now",
    FailureClass.OVERLOADED: "the host says that it is overloaded",
    FailureClass.SERVER: "the host failed",
    FailureClass.TIMEOUT: "the host did not answer in time",
    FailureClass.NETWORK: "no connection to the host",
    "recovered": "calls went well",
    "reset": "closed by hand",
}
TONES = {BreakerState.OPEN: "danger", BreakerState.HALF_OPEN: "warning", BreakerState.SLOW_START: "info",
         BreakerState.CLOSED: "success"}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A breaker as the page shows it."""

    guarded: str
    url: str
    state: str
    tone: str
    reason: str
    since: datetime
    until: datetime
    is_over: bool
    reset_url: str


@admin.register(BreakerEvent)
class BreakerEventAdmin(pages.ReadOnlyAdmin):
    """What opened and closed."""

    list_display = ("at", "guarded", "before", "after", "why", "open_for")
    list_filter = (HostFilter, "kind", "to_state", ("at", TimeRangeFilter))
    list_filter_submit = True
    list_before_template = "relay/breakers.html"
    ordering = ("-at",)
    sortable_by: Sequence[str] = ()
    paginator = pages.InfinitePaginator
    empty_title = "No breaker has changed yet"
    empty_text = "A host key or a binding that keeps failing is left alone for a while. Each change is listed here."
    readonly_fields = ("at", "kind", "guarded", "before", "after", "why", "open_for")
    fieldsets = ((None, {"fields": readonly_fields}),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[BreakerEvent]:
        """Named by subqueries: what opened may be gone."""
        key = HostKey.objects.filter(pk=OuterRef("host_key_id")).order_by().values("name")[:1]
        model = HostBinding.objects.filter(pk=OuterRef("binding_id")).order_by().values("model__name")[:1]
        return super().get_queryset(request).annotate(key_name=Subquery(key), model_name=Subquery(model))

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
                shown |= {"breakers": _rows(request, entries[:MAX_SHOWN]), "more": max(0, len(entries) - MAX_SHOWN)}
            except RedisAwayError as problem:
                shown["problem"] = str(problem)
        return super().changelist_view(request, {**(extra_context or {}), **shown})

    def reset(self, request: HttpRequest) -> HttpResponse:
        """Asks, then closes the breaker that `field` names."""
        if not self.has_reset_permission(request):
            raise PermissionDenied
        field = request.GET.get("field", "")
        is_asked = request.method != "POST"
        try:
            found = [entry for entry in breakers_list() if entry.field == field] if is_asked else []
            event = None if is_asked else breaker_reset(field=field)
        except RedisAwayError as problem:
            self.message_user(request, f"Nothing was changed: {problem}", messages.ERROR)
            return redirect(LIST)
        if found:
            return pages.confirm(
                request,
                self,
                title="Reset breaker",
                text="Close this breaker now? Calls go to it again at once, all of them, without a probe.",
                button="Reset",
                rows=[f"{row.guarded}, {row.state}: {row.reason}" for row in _rows(request, found)],
            )
        if event is None:
            self.message_user(request, "It was closed already.", messages.WARNING)
            return redirect(LIST)
        self.log_change(request, event, f"Reset {field}.")
        self.message_user(request, "The breaker is closed: calls go to it again.", messages.SUCCESS)
        return redirect(LIST)

    @display(description="host key or binding")
    def guarded(self, event: BreakerEvent) -> str:
        """By name where the row is still there."""
        if event.kind == BreakerKind.HOST_KEY:
            key = _guarded(event.host, BreakerKind.HOST_KEY, event.host_key_id, getattr(event, "key_name", None))
            return f"{key} for {getattr(event, 'model_name', None) or 'a model'}" if event.binding_id else key
        return _guarded(event.host, BreakerKind.BINDING, event.binding_id, getattr(event, "model_name", None))

    @display(description="from")
    def before(self, event: BreakerEvent) -> str:
        """The state that it left."""
        return _plain(event.from_state)

    @display(description="to")
    def after(self, event: BreakerEvent) -> SafeString:
        """The state that it came into."""
        return tone_badge(_plain(event.to_state), TONES.get(event.to_state, "info"))

    @display(description="reason")
    def why(self, event: BreakerEvent) -> str:
        """In words."""
        return _reason(event.reason)

    @display(description="open for")
    def open_for(self, event: BreakerEvent) -> str:
        """Where it opened."""
        return _duration(event.open_ms // 1000) if event.open_ms else "-"


def _rows(request: HttpRequest, entries: Sequence[Entry]) -> list[Row]:
    names = _names(entries)
    return [_row(request, entry, names[entry.kind].get(entry.row_id)) for entry in entries]


def _row(request: HttpRequest, entry: Entry, name: str | None) -> Row:
    until = datetime.fromtimestamp(entry.until_ms / 1000, UTC)
    page = "hostkey" if entry.kind is BreakerKind.HOST_KEY else "hostbinding"
    may_open = name is not None and request.user.has_perm(f"catalog.view_{page}")
    return Row(
        guarded=_guarded(entry.host, entry.kind, entry.row_id, name, entry.upstream_name),
        url=reverse(f"admin:catalog_{page}_change", args=[entry.row_id]) if may_open else "",
        state=_plain(entry.state),
        tone=TONES.get(entry.state, "warning"),
        reason=_reason(entry.reason),
        since=datetime.fromtimestamp(entry.since_ms / 1000, UTC),
        until=until,
        is_over=until <= timezone.now(),
        reset_url=f"{reverse('admin:traffic_breaker_reset')}?{urlencode({'field': entry.field})}",
    )


def _names(entries: Sequence[Entry]) -> dict[BreakerKind, dict[int, str]]:
    """Of host keys, and of the bindings' models, by the row's id."""
    keys = [entry.row_id for entry in entries if entry.kind is BreakerKind.HOST_KEY]
    bindings = [entry.row_id for entry in entries if entry.kind is BreakerKind.BINDING]
    return {
        BreakerKind.HOST_KEY: dict(HostKey.objects.filter(pk__in=keys).values_list("pk", "name")),
        BreakerKind.BINDING: dict(HostBinding.objects.filter(pk__in=bindings).values_list("pk", "model__name")),
    }


def _guarded(host: str, kind: BreakerKind, row_id: int | None, name: str | None, upstream_name: str = "") -> str:
    shown = name or f"(deleted, {row_id})"
    if kind is BreakerKind.BINDING:
        return f"{host}: {shown}"
    return f"{host}: key {shown}" + (f" for {upstream_name}" if upstream_name else "")


def _plain(state: str) -> str:
    return state.replace("_", " ")


def _reason(reason: str) -> str:
    words = REASONS.get(reason)
    return f"{_plain(reason)}: {words}" if words else _plain(reason)


def _duration(seconds: int) -> str:
    """Such as `45 s`, `5 min`, `2.5 h`."""
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"

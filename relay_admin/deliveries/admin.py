"""Admin pages of the traffic: request log, deliveries, failure queue, replays. Read-only, but for the replay action."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.core.exceptions import ValidationError
from django.db.models import BinaryField, F, Func, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from unfold.contrib.filters.admin import RangeDateTimeFilter
from unfold.decorators import action, display

from relay_admin import pages
from relay_admin.access.models import User
from relay_admin.catalog.models import Project, Target
from relay_admin.deliveries import selectors, services
from relay_admin.deliveries.models import (
    Attempt,
    DeadDelivery,
    DeadReason,
    Delivery,
    Payload,
    ReplayBatch,
    Request,
)
from relay_admin.deliveries.preview import PREVIEW_BYTES
from relay_admin.deliveries.templatetags.relay_pages import OUTCOME_COLOURS, STATE_COLOURS, bytes_preview
from relay_contract.intake import DeliveryState

VIEW_PAYLOAD = "deliveries.view_payload"
_MAX_CHOICES = 200
_LISTED = 20


def as_uuid(text: str) -> UUID | None:
    """The id in a search box, or None for other text."""
    try:
        return UUID(text.strip())
    except ValueError:
        return None


def _link(url_name: str, key: object, text: object) -> SafeString:
    return format_html(
        '<a class="relay-mono text-primary-600 dark:text-primary-500" href="{}">{}</a>',
        reverse(url_name, args=[key]),
        text,
    )


class ProjectFilter(admin.SimpleListFilter):
    """By project, deleted ones aside."""

    title = "project"
    parameter_name = "project"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(str(pk), slug) for pk, slug in Project.objects.values_list("pk", "slug")[:_MAX_CHOICES]]

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        chosen = self.value()
        return queryset.filter(project_id=int(chosen)) if chosen and chosen.isdecimal() else queryset


class TargetFilter(admin.SimpleListFilter):
    """By target, among those that have something in the failure queue."""

    title = "target"
    parameter_name = "target"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        dead = Delivery.objects.filter(state=DeliveryState.DEAD).order_by().values("target_id").distinct()
        targets = Target.objects.filter(pk__in=dead).select_related("endpoint__line__project")[:_MAX_CHOICES]
        return [(str(target.pk), str(target)) for target in targets]

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        chosen = self.value()
        return queryset.filter(target_id=int(chosen)) if chosen and chosen.isdecimal() else queryset


class StateFilter(admin.SimpleListFilter):
    """By state."""

    title = "state"
    parameter_name = "state"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(str(state), str(state)) for state in DeliveryState]

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(state=self.value()) if self.value() else queryset


class ReasonFilter(admin.SimpleListFilter):
    """By why it failed."""

    title = "reason"
    parameter_name = "reason"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(str(value), str(label)) for value, label in DeadReason.choices]

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(dead_reason=self.value()) if self.value() else queryset


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
    list_filter = (("received_at", RangeDateTimeFilter), ProjectFilter, "mode")
    list_filter_submit = True
    search_fields = ("id",)
    search_help_text = "A request id, or the x-request-id that the caller sent. Whole ids only."
    ordering = ("-received_at",)
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
            deliveries = list(selectors.deliveries_with_attempts().filter(request_id=key).order_by("id"))
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
        return getattr(row, "endpoint_path", None) or f"(deleted, {row.endpoint_id})"

    @display(description="relay key")
    def relay_key_shown(self, row: Request) -> str:
        """Its name."""
        return getattr(row, "relay_key_name", None) or f"(deleted, {row.relay_key_id})"

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


class DeliveryPages(pages.ReadOnlyAdmin):
    """What the list of deliveries and the failure queue share."""

    list_disable_select_all = True  # a replay names its deliveries; "all" would be a moving target

    search_fields = ("id",)
    search_help_text = "A delivery id or request id. Whole ids only."
    sortable_by: Sequence[str] = ()
    actions = ["replay"]
    actions_detail = ["replay_one"]
    change_form_outer_after_template = "relay/delivery_attempts.html"
    where = (
        "state_badge",
        "request_link",
        "project_shown",
        "target_shown",
        "created_at",
        "next_attempt_at",
        "finished_at",
    )
    how = ("attempt_count", "replay_count", "dead_reason", "last_status", "last_error")
    fieldsets = (("Delivery", {"fields": where}), ("Attempts", {"fields": how}))
    readonly_fields = (*where, *how)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """One right for both pages."""
        return request.user.has_perm("deliveries.view_delivery")

    def has_module_permission(self, request: HttpRequest) -> bool:
        """As above."""
        return self.has_view_permission(request)

    def has_replay_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """What the actions ask for. On a delivery's own page the action is for those that are in the failure queue."""
        may = self.has_view_permission(request) and request.user.has_perm("deliveries.replay_delivery")
        if not may or object_id is None:
            return may
        key = as_uuid(str(object_id))
        return key is not None and Delivery.objects.filter(pk=key, state=DeliveryState.DEAD).exists()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        """Named by subqueries: a target may be gone."""
        return selectors.name_deliveries(super().get_queryset(request))

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[Delivery], search_term: str
    ) -> tuple[QuerySet[Delivery], bool]:
        """Whole ids."""
        if not search_term:
            return queryset, False
        wanted = as_uuid(search_term)
        return (queryset.filter(Q(pk=wanted) | Q(request_id=wanted)) if wanted else queryset.none()), False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With the attempts."""
        attempts: Sequence[Attempt] = ()
        key = as_uuid(object_id)
        if key and request.user.has_perm("deliveries.view_attempt"):
            attempts = list(Attempt.objects.filter(delivery_id=key).order_by("replay", "number"))
        extra = {"attempts": attempts, "shows_bodies": request.user.has_perm(VIEW_PAYLOAD)}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})

    @display(description="state", label=STATE_COLOURS)
    def state_badge(self, row: Delivery) -> str:
        """In its colour."""
        return row.state

    @display(description="request")
    def request_link(self, row: Delivery) -> SafeString:
        """To the request log."""
        return _link("admin:deliveries_request_change", row.request_id, row.request_id)

    @display(description="project")
    def project_shown(self, row: Delivery) -> str:
        """Its slug."""
        return getattr(row, "project_slug", None) or f"(deleted, {row.project_id})"

    @display(description="target")
    def target_shown(self, row: Delivery) -> str:
        """Its name."""
        return getattr(row, "target_name", None) or f"(deleted, {row.target_id})"

    # Names of their own: a method named like the model's reference would lose to it, and the list would join its table.
    @display(description="attempts")
    def attempts_made(self, row: Delivery) -> int:
        """Since it was accepted or last replayed."""
        return row.attempt_count

    @display(description="replays")
    def replays_made(self, row: Delivery) -> int:
        """How often."""
        return row.replay_count

    @display(description="last answer")
    def last_answer(self, row: Delivery) -> str:
        """A status, or why there was none."""
        return f"HTTP {row.last_status}" if row.last_status else row.last_error or "-"

    @admin.action(description="Replay selected deliveries", permissions=["replay"])
    def replay(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponse | None:
        """Asks with the count, then makes those that are dead due again."""
        chosen = list(queryset.order_by().values_list("pk", flat=True)[: services.MAX_REPLAY + 1])
        return self._ask_or_replay(request, chosen)

    @action(description="Replay", url_path="replay", icon="replay", permissions=["replay"])
    def replay_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The same from a delivery's own page."""
        asked = self._ask_or_replay(request, [UUID(object_id)])
        return asked or redirect("admin:deliveries_delivery_change", object_id)

    def _ask_or_replay(self, request: HttpRequest, chosen: list[UUID]) -> HttpResponse | None:
        if request.POST.get("confirmed") != "yes":
            return self._ask(request, chosen)
        assert isinstance(request.user, User)
        try:
            batch = services.delivery_replay(delivery_ids=chosen, by=request.user)
        except ValidationError as error:
            self.message_user(request, " ".join(error.messages), messages.ERROR)
            return None
        self.log_addition_of(request, batch)
        level = messages.SUCCESS if batch.replayed_count == batch.requested_count else messages.WARNING
        self.message_user(request, _result(request, batch), level)
        return None

    def _ask(self, request: HttpRequest, chosen: list[UUID]) -> HttpResponse | None:
        if len(chosen) > services.MAX_REPLAY:
            text = f"One replay takes at most {services.MAX_REPLAY} deliveries. Filter the queue and replay in parts."
            self.message_user(request, text, messages.ERROR)
            return None
        shown = selectors.deliveries_with_names().filter(pk__in=chosen[:_LISTED])
        count = len(chosen)
        return pages.confirm(
            request,
            self,
            title="Replay deliveries",
            text=f"Send {'this delivery' if count == 1 else f'these {count} deliveries'} again? Each that is in the"
            " failure queue becomes due now, with all its attempts. A receiver may see a request twice, always under"
            " the same webhook-id.",
            button="Replay",
            rows=[f"{self.project_shown(row)} → {self.target_shown(row)}, request {row.request_id}" for row in shown],
            more=max(0, count - _LISTED),
            hidden=[
                ("action", "replay"),
                ("confirmed", "yes"),
                *((helpers.ACTION_CHECKBOX_NAME, str(key)) for key in chosen),
            ],
        )

    def log_addition_of(self, request: HttpRequest, batch: ReplayBatch) -> None:
        """In the batch's own history."""
        text = f"Replayed {batch.replayed_count} of {batch.requested_count} deliveries."
        admin.site.get_model_admin(ReplayBatch).log_addition(request, batch, text)


def _result(request: HttpRequest, batch: ReplayBatch) -> SafeString:
    one = batch.replayed_count == 1
    refused = len(batch.refused)
    said = f"{batch.replayed_count} deliver{'y is' if one else 'ies are'} due again."
    if refused:
        said += f" {refused} stayed as {'it was' if refused == 1 else 'they were'}: the batch says why."
    if not request.user.has_perm("deliveries.view_replaybatch"):
        return format_html("{}", said)
    return format_html(
        '{} <a href="{}">Open the batch</a>', said, reverse("admin:deliveries_replaybatch_change", args=[batch.pk])
    )


@admin.register(Delivery)
class DeliveryAdmin(DeliveryPages):
    """Every delivery."""

    list_display = (
        "created_at",
        "state_badge",
        "request_link",
        "project_shown",
        "target_shown",
        "attempts_made",
        "last_answer",
    )
    list_display_links = ("created_at",)
    list_filter = (StateFilter, ProjectFilter, ("created_at", RangeDateTimeFilter))
    list_filter_submit = True
    ordering = ("-created_at",)
    paginator = pages.InfinitePaginator


@admin.register(DeadDelivery)
class FailureQueueAdmin(DeliveryPages):
    """What went wrong and waits for somebody."""

    list_display = (
        "failed",
        "request_link",
        "project_shown",
        "target_shown",
        "reason",
        "last_answer",
        "attempts_made",
        "replays_made",
    )
    list_display_links = ("failed",)
    list_filter = (ReasonFilter, ProjectFilter, TargetFilter)
    ordering = ("-finished_at",)
    paginator = pages.CappedPaginator

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        """Those in state dead. A page of one that was replayed meanwhile is gone, as the queue's entry is."""
        return super().get_queryset(request).filter(state=DeliveryState.DEAD)

    @display(description="failed")
    def failed(self, row: Delivery) -> str:
        """How long ago."""
        return f"{timesince(row.finished_at, depth=1)} ago" if row.finished_at else "-"

    @display(description="reason")
    def reason(self, row: Delivery) -> str:
        """Why, in words."""
        return row.get_dead_reason_display()


@admin.register(Attempt)
class AttemptAdmin(pages.ReadOnlyAdmin):
    """One try."""

    list_display = (
        "started_at",
        "outcome_badge",
        "delivery_link",
        "number",
        "replay",
        "status",
        "error",
        "duration_ms",
    )
    search_fields = ("id",)
    search_help_text = "A delivery id. Whole ids only."
    list_filter = ("outcome",)
    ordering = ("-id",)
    sortable_by: Sequence[str] = ()
    paginator = pages.InfinitePaginator
    shown = (
        "delivery_link",
        "number",
        "replay",
        "outcome_badge",
        "started_at",
        "duration_ms",
        "url",
        "status",
        "error",
    )
    readonly_fields = (*shown, "answer")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:  # noqa: ARG002
        """Answers are content."""
        return ((None, {"fields": (*self.shown, "answer") if request.user.has_perm(VIEW_PAYLOAD) else self.shown}),)

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[Attempt], search_term: str
    ) -> tuple[QuerySet[Attempt], bool]:
        """By delivery."""
        if not search_term:
            return queryset, False
        wanted = as_uuid(search_term)
        return (queryset.filter(delivery_id=wanted) if wanted else queryset.none()), False

    @display(description="outcome", label=OUTCOME_COLOURS)
    def outcome_badge(self, attempt: Attempt) -> str:
        """In its colour."""
        return attempt.outcome

    @display(description="delivery")
    def delivery_link(self, attempt: Attempt) -> SafeString:
        """To its page."""
        return _link("admin:deliveries_delivery_change", attempt.delivery_id, attempt.delivery_id)

    @display(description="answer, its start")
    def answer(self, attempt: Attempt) -> SafeString:
        """Escaped."""
        return bytes_preview(attempt.response_body, attempt.is_response_cut)


@admin.register(ReplayBatch)
class ReplayBatchAdmin(pages.ReadOnlyAdmin):
    """Who replayed what."""

    list_display = ("__str__", "created_at", "created_by", "requested_count", "replayed_count")
    list_filter = (("created_at", RangeDateTimeFilter),)
    list_filter_submit = True
    list_select_related = ("created_by",)
    ordering = ("-created_at",)
    sortable_by: Sequence[str] = ()
    paginator = pages.InfinitePaginator
    readonly_fields = ("created_at", "created_by", "requested_count", "replayed_count", "replayed", "refusals")
    fieldsets = ((None, {"fields": readonly_fields}),)

    @display(description="replayed deliveries")
    def replayed(self, batch: ReplayBatch) -> SafeString:
        """Each id."""
        return format_html('<pre class="relay-preview">{}</pre>', "\n".join(batch.delivery_ids) or "none")

    @display(description="refused deliveries")
    def refusals(self, batch: ReplayBatch) -> SafeString:
        """Each with its reason."""
        lines = [f"{key}: {services.REFUSALS.get(code, code)}" for key, code in batch.refused.items()]
        return format_html('<pre class="relay-preview">{}</pre>', "\n".join(lines) or "none")

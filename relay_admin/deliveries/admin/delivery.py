"""Pages of deliveries and of the failure queue, which are those in state dead, and the replay action."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from unfold.decorators import action, display

from relay_admin import pages
from relay_admin.access.models import User
from relay_admin.catalog.models import Target
from relay_admin.deliveries import discards, selectors, services
from relay_admin.deliveries.admin import replay_pages
from relay_admin.deliveries.admin.base import (
    MAX_CHOICES,
    VIEW_PAYLOAD,
    PartitionedTimeRangeFilter,
    ProjectFilter,
    TimeRangeFilter,
    as_row_id,
    as_uuid,
    link,
    project_choices,
)
from relay_admin.deliveries.admin.keyset import BeforeFilter, FailedBeforeFilter, KeysetPaginator
from relay_admin.deliveries.models import DEAD_REASONS, Attempt, DeadDelivery, Delivery, ReplayBatch
from relay_admin.deliveries.templatetags.relay_pages import state_badge
from relay_contract.intake import DeliveryState

_LISTED = 20
_MEANING = (
    "Each that is in the failure queue becomes due, with all its attempts. A receiver may see a request twice, always"
    " under the same webhook-id."
)


def failing_targets() -> list[tuple[str, str]]:
    """Those that have something in the failure queue, as choices."""
    failing = selectors.failing_target_ids(MAX_CHOICES)
    targets = Target.objects.filter(pk__in=failing).select_related("endpoint__line__project")
    return [(str(target.pk), str(target)) for target in targets]


class TargetFilter(admin.SimpleListFilter):
    """By target, among those that have something in the failure queue."""

    title = "target"
    parameter_name = "target"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return failing_targets()

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        chosen = as_row_id(self.value())
        return queryset.filter(target_id=chosen) if chosen is not None else queryset


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
        return [(str(value), label) for value, label in DEAD_REASONS.items()]

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(dead_reason=self.value()) if self.value() else queryset


class DeliveryPages(pages.ReadOnlyAdmin):
    """What the list of deliveries and the failure queue share."""

    list_disable_select_all = True  # a replay names its deliveries; "all" would be a moving target

    search_fields = ("id",)
    search_help_text = "A delivery id or request id. Whole ids only."
    sortable_by: Sequence[str] = ()
    actions = ["replay", "discard"]
    actions_detail = ["replay_one"]
    change_form_outer_after_template = "relay/delivery_attempts.html"
    readonly_fields = (
        "state_shown",
        "reason",
        "last_answer",
        "request_link",
        "project_shown",
        "target_shown",
        "target_link",
        "created_at",
        "next_attempt_at",
        "finished_at",
        "attempts_made",
        "replays_made",
    )

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

    def get_fieldsets(self, request: HttpRequest, obj: Delivery | None = None) -> Any:
        """What its state leaves to say: no reason before it failed, no next attempt after it ended."""
        is_dead = obj is not None and obj.state == DeliveryState.DEAD
        is_over = obj is not None and obj.finished_at is not None
        fields = (
            "state_shown",
            *(("reason",) if is_dead else ()),
            "last_answer",
            "target_link" if request.user.has_perm("catalog.view_target") else "target_shown",
            "project_shown",
            "request_link",
            "created_at",
            "finished_at" if is_over else "next_attempt_at",
            "attempts_made",
            "replays_made",
        )
        return ((None, {"fields": fields}),)

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

    @display(description="state")
    def state_shown(self, row: Delivery) -> SafeString:
        """In its colour."""
        return state_badge(row.state)

    @display(description="reason")
    def reason(self, row: Delivery) -> str:
        """Why it is in the failure queue, in words."""
        return row.get_dead_reason_display()

    @display(description="request")
    def request_link(self, row: Delivery) -> SafeString:
        """To the request log."""
        return link("admin:deliveries_request_change", row.request_id, row.request_id)

    @display(description="project")
    def project_shown(self, row: Delivery) -> str:
        """Its slug."""
        return getattr(row, "project_slug", None) or f"(deleted, {row.project_id})"

    @display(description="target")
    def target_shown(self, row: Delivery) -> str:
        """Its name."""
        return getattr(row, "target_name", None) or f"(deleted, {row.target_id})"

    @display(description="target")
    def target_link(self, row: Delivery) -> str | SafeString:
        """To its page, while there is one."""
        name = getattr(row, "target_name", None)
        return link("admin:catalog_target_change", row.target_id, name) if name else self.target_shown(row)

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

    @admin.action(description="Discard selected deliveries…", permissions=["replay"])
    def discard(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponse | None:
        """Asks first, then takes those that are dead out of the failure queue."""
        chosen = list(queryset.order_by().values_list("pk", flat=True)[: services.MAX_REPLAY])
        if request.POST.get("confirmed") == "yes":
            assert isinstance(request.user, User)
            count = len(discards.delivery_discard(delivery_ids=chosen, by=request.user))
            self.message_user(request, f"{count} of {len(chosen)} selected deliveries were discarded.")
            return None
        hidden = [("action", "discard"), ("confirmed", "yes")]
        return pages.confirm(
            request,
            self,
            title="Discard",
            text=f"Take {len(chosen)} selected deliveries out of the failure queue for good? They cannot be replayed.",
            button="Discard",
            rows=selectors.deliveries_with_names().filter(pk__in=chosen[:_LISTED]),
            more=max(0, len(chosen) - _LISTED),
            hidden=hidden + [(helpers.ACTION_CHECKBOX_NAME, str(key)) for key in chosen],
            variant="danger",
        )

    def _ask_or_replay(self, request: HttpRequest, chosen: list[UUID]) -> HttpResponse | None:
        pace_form = replay_pages.PaceForm(request.POST)
        if request.POST.get("confirmed") != "yes" or not pace_form.is_valid():
            return self._ask(request, chosen, pace_form if "confirmed" in request.POST else None)
        assert isinstance(request.user, User)
        pace, note = pace_form.cleaned_data["pace"], pace_form.cleaned_data["note"]
        try:
            if pace is not None:
                batch = services.replay_start({"ids": chosen}, pace=pace, by=request.user, note=note)
                return redirect("admin:deliveries_replaybatch_change", batch.pk)
            batch = services.delivery_replay(delivery_ids=chosen, by=request.user, note=note)
        except ValidationError as error:
            self.message_user(request, " ".join(error.messages), messages.ERROR)
            return None
        level = messages.SUCCESS if batch.replayed_count == batch.matched_count else messages.WARNING
        self.message_user(request, _result(request, batch), level)
        return None

    def _ask(
        self, request: HttpRequest, chosen: list[UUID], pace_form: replay_pages.PaceForm | None
    ) -> HttpResponse | None:
        if len(chosen) > services.MAX_REPLAY:
            text = f"One replay names at most {services.MAX_REPLAY} deliveries. Replay all that match a filter instead."
            self.message_user(request, text, messages.ERROR)
            return None
        shown = selectors.deliveries_with_names().filter(pk__in=chosen[:_LISTED])
        count = len(chosen)
        return replay_pages.ask(
            request,
            self,
            wanted={"ids": chosen},
            text=f"Send {'this delivery' if count == 1 else f'these {count} deliveries'} again? {_MEANING}",
            rows=[f"{self.project_shown(row)} → {self.target_shown(row)}, request {row.request_id}" for row in shown],
            more=max(0, count - _LISTED),
            hidden=[("action", "replay"), *((helpers.ACTION_CHECKBOX_NAME, str(key)) for key in chosen)],
            pace_form=pace_form,
        )


def _result(request: HttpRequest, batch: ReplayBatch) -> SafeString:
    one = batch.replayed_count == 1
    refused = batch.refused_count
    said = f"{batch.replayed_count} deliver{'y is' if one else 'ies are'} due again."
    if refused:
        said += f" {refused} stayed as {'it was' if refused == 1 else 'they were'}: the batch says why."
    if not request.user.has_perm("deliveries.view_replaybatch"):
        return format_html("{}", said)
    return format_html(
        '{} <a class="underline" href="{}">Open the batch</a>',
        said,
        reverse("admin:deliveries_replaybatch_change", args=[batch.pk]),
    )


@admin.register(Delivery)
class DeliveryAdmin(DeliveryPages):
    """Every delivery."""

    list_display = (
        "created_at",
        "state_shown",
        "request_link",
        "project_shown",
        "target_shown",
        "attempts_made",
        "last_answer",
    )
    list_display_links = ("created_at",)
    list_filter = (StateFilter, ProjectFilter, ("created_at", PartitionedTimeRangeFilter), BeforeFilter)
    empty_text = (
        "A call to an endpoint makes one delivery for each of its targets. They appear here as they are accepted."
    )
    list_filter_submit = True
    ordering = ("-id",)
    paginator = KeysetPaginator


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
    list_before_template = "relay/failure_queue.html"
    list_filter = (ReasonFilter, ProjectFilter, TargetFilter, ("finished_at", TimeRangeFilter), FailedBeforeFilter)
    list_filter_submit = True
    empty_title = "The failure queue is empty"
    empty_text = (
        "Deliveries that are out of attempts, or that a target refused for good, wait here until somebody replays them."
        " None does now."
    )
    ordering = ("-finished_at", "-id")
    paginator = KeysetPaginator

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        """Those in state dead. A page of one that was replayed meanwhile is gone, as the queue's entry is."""
        return super().get_queryset(request).filter(state=DeliveryState.DEAD)

    def get_urls(self) -> list[Any]:
        """With the page of "replay all"."""
        return [
            path("replay-all/", self.admin_site.admin_view(self.replay_all), name="deliveries_replay_all"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """With the way to a replay of everything that the list's filter lets through."""
        kept = {name: request.GET[name] for name in ("project", "target", "reason") if request.GET.get(name)}
        for name, end in (("since", "from"), ("until", "to")):
            day, hour = (request.GET.get(f"finished_at_{end}_{part}") for part in "01")
            if day and hour:
                kept[name] = f"{day} {hour}"
        extra = {
            "may_replay": self.has_replay_permission(request),
            "replay_url": f"{reverse('admin:deliveries_replay_all')}?{urlencode(kept)}",
        }
        return super().changelist_view(request, {**(extra_context or {}), **extra})

    def replay_all(self, request: HttpRequest) -> HttpResponse:
        """What of the failure queue matches, and a replay of it in the background."""
        if not self.has_replay_permission(request):
            raise PermissionDenied
        form = replay_pages.FilterForm(request.GET, projects=project_choices(), targets=failing_targets())
        is_right = form.is_valid()
        pace_form = replay_pages.PaceForm(request.POST) if request.method == "POST" else None
        if pace_form is not None and is_right and pace_form.is_valid():
            assert isinstance(request.user, User)
            pace, note = pace_form.cleaned_data["pace"], pace_form.cleaned_data["note"]
            batch = services.replay_start(form.wanted, pace=pace, by=request.user, note=note)
            return redirect("admin:deliveries_replaybatch_change", batch.pk)
        wanted = form.wanted if is_right else None
        return replay_pages.ask(
            request, self, wanted=wanted, text=f"Send these again? {_MEANING}", filter_form=form, pace_form=pace_form
        )

    @display(description="failed")
    def failed(self, row: Delivery) -> str | SafeString:
        """How long ago, and when under the pointer."""
        if row.finished_at is None:
            return "-"
        is_new = timezone.now() - row.finished_at < timedelta(minutes=1)
        ago = "just now" if is_new else f"{timesince(row.finished_at, depth=1)} ago"
        return format_html('<span title="{}">{}</span>', localize(row.finished_at), ago)

"""Pages of replays: who replayed what, how far it is, what was refused; and the buttons that pause and stop one."""

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from relay_admin import pages
from relay_admin.access.models import User
from relay_admin.deliveries import services
from relay_admin.deliveries.admin import replay_pages
from relay_admin.deliveries.admin.base import TimeRangeFilter
from relay_admin.deliveries.models import ReplayBatch
from relay_admin.deliveries.replays import ReplayState
from relay_admin.deliveries.selectors import replay_progress
from relay_admin.deliveries.templatetags.relay_pages import tone_badge

REFRESH_SECONDS = 2
_TONES = {
    ReplayState.RUNNING: "info",
    ReplayState.PAUSED: "warning",
    ReplayState.CANCELLED: "danger",
    ReplayState.DONE: "success",
}
_TURNS: dict[str, tuple[Callable[..., ReplayBatch], str, str, frozenset[str]]] = {
    "pause": (services.replay_pause, "Pause", "default", frozenset({ReplayState.RUNNING})),
    "resume": (services.replay_resume, "Resume", "primary", frozenset({ReplayState.PAUSED})),
    "cancel": (services.replay_cancel, "Cancel", "danger", frozenset({ReplayState.RUNNING, ReplayState.PAUSED})),
}
"""Word in the address -> what it does, its button, and the states that have one."""


@admin.register(ReplayBatch)
class ReplayBatchAdmin(pages.ReadOnlyAdmin):
    """Who replayed what."""

    list_display = ("__str__", "state_shown", "created_at", "created_by", "matched_count", "replayed_count", "note")
    list_filter = ("state", ("created_at", TimeRangeFilter))
    list_filter_submit = True
    has_history = True
    empty_text = "When somebody replays deliveries, who it was and what became of it is kept here."
    list_select_related = ("created_by",)
    ordering = ("-created_at",)
    sortable_by: Sequence[str] = ()
    paginator = pages.InfinitePaginator
    change_form_outer_before_template = "relay/replay_progress.html"
    readonly_fields = (
        "created_at",
        "created_by",
        "asked_for",
        "note",
        "ended_at",
        "replayed_count",
        "refused_count",
        "charge_shown",
        "refusals",
        "replayed",
    )
    fieldsets = ((None, {"fields": readonly_fields}),)

    def get_urls(self) -> list[Any]:
        """With what the buttons post to."""
        turn = self.admin_site.admin_view(self.turn)
        return [
            path("<int:batch_id>/turn/<slug:word>/", turn, name="deliveries_replaybatch_turn"),
            *super().get_urls(),
        ]

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Who may replay may stop it."""
        return request.user.has_perms(["deliveries.view_delivery", "deliveries.replay_delivery"])

    def turn(self, request: HttpRequest, batch_id: int, word: str) -> HttpResponse:
        """Pause, resume or cancel."""
        batch = ReplayBatch.objects.filter(pk=batch_id).first()
        if word not in _TURNS or batch is None:
            raise Http404
        if not self.has_replay_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        assert isinstance(request.user, User)
        try:
            _TURNS[word][0](batch, by=request.user)
        except ValidationError as error:
            self.message_user(request, " ".join(error.messages), messages.ERROR)
        return redirect("admin:deliveries_replaybatch_change", batch.pk)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        """With its progress. While it goes on the page is loaded again by itself."""
        batch = kwargs["obj"]
        progress = replay_progress(batch)
        context |= {"progress": progress, "tone": _TONES.get(batch.state, "info"), "turns": self._turns(request, batch)}
        response = super().render_change_form(request, context, **kwargs)
        if progress.goes_on:
            response["Refresh"] = str(REFRESH_SECONDS)
        return response

    def _turns(self, request: HttpRequest, batch: ReplayBatch) -> list[dict[str, str]]:
        if not self.has_replay_permission(request):
            return []
        return [
            {
                "label": label,
                "variant": variant,
                "url": reverse("admin:deliveries_replaybatch_turn", args=[batch.pk, word]),
            }
            for word, (_, label, variant, states) in _TURNS.items()
            if batch.state in states
        ]

    @display(description="state")
    def state_shown(self, batch: ReplayBatch) -> SafeString:
        """In its colour."""
        return tone_badge(batch.state, _TONES.get(ReplayState(batch.state), "info"))

    @display(description="asked for")
    def asked_for(self, batch: ReplayBatch) -> str:
        """The filter in words."""
        return ", ".join(f"{name}: {value}" for name, value in replay_pages.filter_texts(batch))

    @display(description="credits held")
    def charge_shown(self, batch: ReplayBatch) -> str:
        """And what was said before."""
        held, said = replay_pages.credits_text(batch.credits), replay_pages.credits_text(batch.credits_estimate)
        return f"{held} of {said} estimated ({batch.get_charge_display().replace('_', ' ')})"

    @display(description="replayed deliveries")
    def replayed(self, batch: ReplayBatch) -> str | SafeString:
        """Each id, where they were named."""
        if "ids" not in batch.filter:
            return "Those that matched: each names this replay."
        return format_html('<pre class="relay-preview">{}</pre>', "\n".join(batch.delivery_ids) or "none")

    @display(description="refused deliveries")
    def refusals(self, batch: ReplayBatch) -> SafeString:
        """Each with its reason."""
        lines = [f"{key}: {services.REFUSALS.get(code, code)}" for key, code in batch.refused.items()]
        if batch.refused_count > len(lines):
            lines.append(f"… and {batch.refused_count - len(lines):,} more")
        return format_html('<pre class="relay-preview">{}</pre>', "\n".join(lines) or "none")

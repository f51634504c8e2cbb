"""Pages of attempts."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from relay_admin import pages
from relay_admin.deliveries.admin.base import VIEW_PAYLOAD, as_uuid, link
from relay_admin.deliveries.models import Attempt
from relay_admin.deliveries.templatetags.relay_pages import answer_preview, outcome_badge


@admin.register(Attempt)
class AttemptAdmin(pages.ReadOnlyAdmin):
    """One try."""

    list_display = (
        "started_at",
        "outcome_shown",
        "delivery_link",
        "number",
        "replay",
        "status",
        "error",
        "duration_ms",
    )
    empty_text = "Each try to deliver appears here."
    search_fields = ("id",)
    search_help_text = "A delivery id. Whole ids only."
    list_filter = ("outcome",)
    ordering = ("-delivery_id", "-id")  # as they are stored
    sortable_by: Sequence[str] = ()
    paginator = pages.InfinitePaginator
    shown = (
        "delivery_link",
        "number",
        "replay",
        "outcome_shown",
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

    @display(description="outcome")
    def outcome_shown(self, attempt: Attempt) -> SafeString:
        """In its colour."""
        return outcome_badge(attempt)

    @display(description="delivery")
    def delivery_link(self, attempt: Attempt) -> SafeString:
        """To its page."""
        return link("admin:deliveries_delivery_change", attempt.delivery_id, attempt.delivery_id)

    @display(description="answer, its start")
    def answer(self, attempt: Attempt) -> SafeString:
        """Escaped."""
        return answer_preview(attempt)

"""Pages of replays: who replayed what, and what was refused."""

from collections.abc import Sequence

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from relay_admin import pages
from relay_admin.deliveries import services
from relay_admin.deliveries.admin.base import TimeRangeFilter
from relay_admin.deliveries.models import ReplayBatch


@admin.register(ReplayBatch)
class ReplayBatchAdmin(pages.ReadOnlyAdmin):
    """Who replayed what."""

    list_display = ("__str__", "created_at", "created_by", "matched_count", "replayed_count")
    list_filter = (("created_at", TimeRangeFilter),)
    list_filter_submit = True
    has_history = True
    empty_text = "When somebody replays deliveries, who it was and what became of it is kept here."
    list_select_related = ("created_by",)
    ordering = ("-created_at",)
    sortable_by: Sequence[str] = ()
    paginator = pages.InfinitePaginator
    readonly_fields = ("created_at", "created_by", "matched_count", "replayed_count", "replayed", "refusals")
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

"""Filters and rows of the request log's list. What filters offer is read from the catalog, never from the log."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import TextFilter
from unfold.views import ChangeList

from relay_admin.catalog.models import Endpoint
from relay_admin.deliveries import selectors
from relay_admin.deliveries.admin.base import MAX_CHOICES, TimeRangeFilter, as_row_id, as_uuid
from relay_admin.deliveries.admin.keyset import BEFORE
from relay_admin.deliveries.request_filters import OUTCOMES, STATUS_CLASSES, id_at, narrowed


class RequestChangeList(ChangeList):
    """A page of the list, with what became of its rows: two queries for all of them."""

    def get_results(self, request: HttpRequest) -> None:
        """As Django does, the outcomes, and the ends of calls that a target answered."""
        super().get_results(request)
        self.result_list = selectors.with_ends(selectors.with_outcomes(list(self.result_list)))


class IdTimeRangeFilter(TimeRangeFilter):
    """By the time in the id, which is the call's: days outside are not read."""

    def bounded(self, queryset: QuerySet, comparison: str, moment: datetime) -> QuerySet:
        """Those on one side (gte, lte) of a moment."""
        return queryset.filter(**{f"pk__{comparison}": id_at(moment)})


class EndpointFilter(admin.SimpleListFilter):
    """By endpoint, deleted ones aside."""

    title = "endpoint"
    parameter_name = "endpoint"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        endpoints = Endpoint.objects.select_related("line__project").order_by(
            "line__project__slug", "line__slug", "slug"
        )
        return [(str(each.pk), str(each)) for each in endpoints[:MAX_CHOICES]]

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        chosen = as_row_id(self.value())
        return narrowed(queryset, {"endpoint": chosen}) if chosen is not None else queryset


class StatusClassFilter(admin.SimpleListFilter):
    """By the first digit of what the caller was answered."""

    title = "status"
    parameter_name = "answered"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(one, one) for one in STATUS_CLASSES]

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        chosen = self.value()
        return narrowed(queryset, {"status": chosen}) if chosen in STATUS_CLASSES else queryset


class OutcomeFilter(admin.SimpleListFilter):
    """By what became of at least one delivery."""

    title = "a delivery is"
    parameter_name = "outcome"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(one, "not made" if one == "none" else one) for one in OUTCOMES]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        chosen = self.value()
        if chosen not in OUTCOMES:
            return queryset
        place = as_uuid(request.GET.get(BEFORE, ""))
        return narrowed(queryset, {"outcome": chosen, **({"after": place} if place else {})})


class PathFilter(TextFilter):
    """By the start of the path."""

    title = "start of the path"
    parameter_name = "starts"

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return narrowed(queryset, {"path": self.value()}) if self.value() else queryset


class EventTypeFilter(TextFilter):
    """By the whole event type."""

    title = "event type"
    parameter_name = "event"

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return narrowed(queryset, {"event_type": self.value()}) if self.value() else queryset

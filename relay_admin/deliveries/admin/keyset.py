"""Lists that are read from one place to the next: a page deep in history costs what the first one does, and rows that
come meanwhile move nothing."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.paginator import InfinitePaginator

from relay_admin.deliveries.admin.base import as_row_id, as_uuid
from relay_admin.deliveries.models import EPOCH

BEFORE = "before"
_LAST = 253_402_300_799_999_999
"""Microseconds to the end of the year 9999, where datetimes end."""


class KeysetPaginator(InfinitePaginator):
    """One page, and a way to what is older."""

    template_name = "relay/older.html"


class BeforeFilter(admin.SimpleListFilter):
    """What comes after a place in the list, by id unless a subclass says otherwise. It shows nothing among the filters.

    A row's place is its `place`, or its primary key.
    """

    title = "place"
    parameter_name = BEFORE
    template = "relay/no_filter.html"

    def has_output(self) -> bool:
        """Else Django would not apply it."""
        return True

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> tuple[()]:
        return ()

    def choices(self, changelist: Any) -> Any:  # noqa: ARG002
        return ()

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        """By the primary key. Text that is no place is the first page."""
        last = as_uuid(self.value() or "")
        return queryset.filter(pk__lt=last) if last else queryset


class FailedBeforeFilter(BeforeFilter):
    """In the failure queue."""

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        """As below."""
        return failed_before(queryset, self.value() or "")


def failed_before(rows: QuerySet, place: str) -> QuerySet:
    """What comes after a `DeadDelivery.place` in the failure queue: by when deliveries failed, then by id. Text that is
    no place is the first page. The first bound is the index's; the second tells apart what failed in one moment."""
    moment, _, key = place.partition(".")
    last, microseconds = as_uuid(key), as_row_id(moment)
    if last is None or microseconds is None or microseconds > _LAST:
        return rows
    failed_at = EPOCH + timedelta(microseconds=microseconds)
    return rows.filter(Q(finished_at__lt=failed_at) | Q(pk__lt=last), finished_at__lte=failed_at)

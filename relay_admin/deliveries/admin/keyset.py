"""Lists that are read from one id to the next: a page deep in history costs what the first one does, and rows that come
meanwhile move nothing."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.paginator import InfinitePaginator

from relay_admin.deliveries.admin.base import as_uuid

BEFORE = "before"


class KeysetPaginator(InfinitePaginator):
    """One page, and a way to what is older."""

    template_name = "relay/older.html"


class BeforeFilter(admin.SimpleListFilter):
    """The place in the list: what has a lower id. It shows nothing among the filters."""

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
        """By the primary key. Text that is no id is the first page."""
        last = as_uuid(self.value() or "")
        return queryset.filter(pk__lt=last) if last else queryset

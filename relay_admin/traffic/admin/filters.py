"""Filters of the list of calls. What they offer is read from the catalog and the error tree, never from the calls."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from relay_admin.catalog.models import Host, Model
from relay_admin.deliveries.admin.base import MAX_CHOICES
from relay_admin.traffic.models import UNPRICED
from relay_admin.traffic.selectors import STATUS_CLASSES, in_status_class
from relay_contract import errors

ANY_ERROR = "any"


class ModelFilter(admin.SimpleListFilter):
    """By the model that answered, or was tried last."""

    title = "model"
    parameter_name = "model"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in Model.objects.values_list("name", flat=True)[:MAX_CHOICES]]

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(model=self.value()) if self.value() else queryset


class HostFilter(admin.SimpleListFilter):
    """By the host that answered, or was tried last."""

    title = "host"
    parameter_name = "host"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(slug, slug) for slug in Host.objects.values_list("slug", flat=True)[:MAX_CHOICES]]

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(host=self.value()) if self.value() else queryset


class StatusFilter(admin.SimpleListFilter):
    """By the first digit of what the caller saw, and callers who left."""

    title = "status"
    parameter_name = "status"
    LEFT = "499"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [*((one, one) for one in STATUS_CLASSES), (self.LEFT, "499, the caller left")]

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        chosen = self.value()
        if chosen == self.LEFT:
            return queryset.filter(status=int(self.LEFT))
        return queryset.filter(in_status_class(chosen)) if chosen in STATUS_CLASSES else queryset


class ErrorFilter(admin.SimpleListFilter):
    """By the code of the error."""

    title = "error"
    parameter_name = "error"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(ANY_ERROR, "any error"), *((code, code) for code in sorted(set(_codes(errors.RelayError))))]

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        chosen = self.value()
        if chosen == ANY_ERROR:
            return queryset.exclude(error="")
        return queryset.filter(error=chosen) if chosen else queryset


class PriceFilter(admin.SimpleListFilter):
    """By whether what was used has a price."""

    title = "price"
    parameter_name = "price"
    UNKNOWN, ESTIMATED = "unknown", "estimated"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(self.UNKNOWN, "nobody knows it"), (self.ESTIMATED, "estimated")]

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        match self.value():
            case self.UNKNOWN:
                return queryset.filter(UNPRICED)
            case self.ESTIMATED:
                return queryset.filter(estimated_price=True)
            case _:
                return queryset


def _codes(error: type[errors.RelayError]) -> Iterator[str]:
    for below in error.__subclasses__():
        if hasattr(below, "code"):
            yield below.code
        yield from _codes(below)

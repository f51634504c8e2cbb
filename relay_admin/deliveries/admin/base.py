"""What the traffic's pages share: ids in search boxes, links, and filters that read the catalog and not the traffic."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RangeDateTimeFilter
from unfold.utils import parse_datetime_str

from relay_admin.access.models import RelayKey
from relay_admin.access.stand_ins import stand_ins
from relay_admin.catalog.models import Project
from relay_contract.ids import uuid7_bound

VIEW_PAYLOAD = "deliveries.view_payload"
MAX_CHOICES = 200
CALL_SLACK = timedelta(hours=1)
_MAX_DIGITS = 20  # of a bigint; Python itself refuses to read thousands


def as_uuid(text: str) -> UUID | None:
    """The id in a search box, or None for other text."""
    try:
        return UUID(text.strip())
    except ValueError:
        return None


def as_row_id(text: str | None) -> int | None:
    """The id in a filter's parameter, or None for other text."""
    return int(text) if text and text.isdecimal() and len(text) < _MAX_DIGITS else None


def link(url_name: str, key: object, text: object) -> SafeString:
    """To a page of the admin."""
    return format_html(
        '<a class="relay-mono text-primary-600 dark:text-primary-500" href="{}">{}</a>',
        reverse(url_name, args=[key]),
        text,
    )


class TimeRangeFilter(RangeDateTimeFilter):
    """From one time to another, in UTC. Unfold's own times have no zone, of which Django warns at each use."""

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        """Ends that are no time do not count."""
        for end, comparison in (("from", "gte"), ("to", "lte")):
            day, hour = (self.used_parameters.get(f"{self.parameter_name}_{end}_{part}") for part in "01")
            moment = parse_datetime_str(f"{day} {hour}") if day and hour else None
            if moment is not None:
                queryset = self.bounded(queryset, comparison, moment.replace(tzinfo=UTC))
        return queryset

    def bounded(self, queryset: QuerySet, comparison: str, moment: datetime) -> QuerySet:
        """Those on one side (gte, lte) of a moment."""
        return queryset.filter(**{f"{self.parameter_name}__{comparison}": moment})


class PartitionedTimeRangeFilter(TimeRangeFilter):
    """The same for what is partitioned by an id of about that time: says so, so that only those days are read."""

    def bounded(self, queryset: QuerySet, comparison: str, moment: datetime) -> QuerySet:
        """As above."""
        slack = -CALL_SLACK if comparison == "gte" else CALL_SLACK
        ms = max(0, int((moment + slack).timestamp() * 1000))
        return super().bounded(queryset, comparison, moment).filter(**{f"id__{comparison}": uuid7_bound(ms)})


def project_choices() -> list[tuple[str, str]]:
    """Projects, deleted ones aside."""
    return [(str(pk), slug) for pk, slug in Project.objects.values_list("pk", "slug")[:MAX_CHOICES]]


class ProjectFilter(admin.SimpleListFilter):
    """By project, deleted ones aside."""

    title = "project"
    parameter_name = "project"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return project_choices()

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        chosen = as_row_id(self.value())
        return queryset.filter(project_id=chosen) if chosen is not None else queryset


class RelayKeyFilter(admin.SimpleListFilter):
    """By key, deleted ones and the test console's aside."""

    title = "relay key"
    parameter_name = "relay_key"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        listed = RelayKey.objects.exclude(stand_ins()).order_by("project__slug", "name")
        keys = listed.values_list("pk", "project__slug", "name")
        return [(str(pk), f"{project} / {name}") for pk, project, name in keys[:MAX_CHOICES]]

    def queryset(self, _request: HttpRequest, queryset: QuerySet) -> QuerySet:
        chosen = as_row_id(self.value())
        return queryset.filter(relay_key_id=chosen) if chosen is not None else queryset

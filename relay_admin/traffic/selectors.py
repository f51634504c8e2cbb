"""Reads of calls. Projects and keys may be deleted while their history stays, so names come from subqueries."""

from django.db.models import OuterRef, Q, QuerySet, Subquery

from relay_admin.access.models import RelayKey
from relay_admin.catalog.models import Project
from relay_admin.traffic.models import Call

STATUS_CLASSES = ("2xx", "3xx", "4xx", "5xx")

_PROJECT = Subquery(Project.objects.filter(pk=OuterRef("project_id")).order_by().values("slug")[:1])
_RELAY_KEY = Subquery(RelayKey.objects.filter(pk=OuterRef("relay_key_id")).order_by().values("name")[:1])


def name_calls(rows: QuerySet[Call]) -> QuerySet[Call]:
    """Adds `project_slug` and `relay_key_name`, each None when gone."""
    return rows.annotate(project_slug=_PROJECT, relay_key_name=_RELAY_KEY)


def calls_with_names() -> QuerySet[Call]:
    """Every call, named."""
    return name_calls(Call.objects.all())


def in_status_class(status_class: str) -> Q:
    """Of STATUS_CLASSES."""
    first = int(status_class[0]) * 100
    return Q(status__gte=first, status__lt=first + 100)


def calls_before(rows: QuerySet[Call], last: Call) -> QuerySet[Call]:
    """Those that come after `last` in a list that shows the newest first."""
    # The first condition says nothing more and is what the indexes on `received_at` can start from.
    return rows.filter(received_at__lte=last.received_at).filter(
        Q(received_at__lt=last.received_at) | Q(received_at=last.received_at, pk__lt=last.pk)
    )

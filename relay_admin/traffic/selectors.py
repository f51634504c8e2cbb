"""Reads of calls. Projects and keys may be deleted while their history stays, so names come from subqueries."""

from collections import Counter
from datetime import datetime

from django.db.models import OuterRef, Q, QuerySet, Subquery

from relay_admin.access.models import OAuthApplication, RelayKey
from relay_admin.catalog.models import PriceVersion, Project
from relay_admin.traffic.models import UNPRICED, Call

STATUS_CLASSES = ("2xx", "3xx", "4xx", "5xx")

_PROJECT = Subquery(Project.objects.filter(pk=OuterRef("project_id")).order_by().values("slug")[:1])
_RELAY_KEY = Subquery(RelayKey.objects.filter(pk=OuterRef("relay_key_id")).order_by().values("name")[:1])
_APPLICATION = Subquery(OAuthApplication.objects.filter(pk=OuterRef("application_id")).order_by().values("name")[:1])
_RATES = Subquery(
    PriceVersion.objects.filter(pricing_id=OuterRef("pricing_id"), version=OuterRef("pricing_version")).values("rates")
)

MOST_UNPRICED = 1_000
"""Calls without a known cost are counted up to here."""


def name_calls(rows: QuerySet[Call]) -> QuerySet[Call]:
    """Adds `project_slug`, `relay_key_name` and `application_name`, each None when gone, and `rates`: those of the
    version that the call was priced by, None where it had none."""
    return rows.annotate(project_slug=_PROJECT, relay_key_name=_RELAY_KEY, application_name=_APPLICATION, rates=_RATES)


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


def unpriced_models(since: datetime) -> list[tuple[str, int]]:
    """Models of which calls since then used something nobody knows a price of, the most called first, and how many of
    the newest MOST_UNPRICED those are."""
    newest = Call.objects.filter(UNPRICED, received_at__gte=since).order_by("-received_at")
    named = newest.values_list("model", "requested_model")[:MOST_UNPRICED]
    return Counter(model or requested for model, requested in named).most_common()

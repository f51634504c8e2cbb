"""Reads of the traffic tables. Targets, endpoints and keys may be deleted while their history stays, so names come from
subqueries, which give null for what is gone; an inner join would hide those rows.
"""

from datetime import datetime
from uuid import UUID

from django.db.models import OuterRef, Prefetch, QuerySet, Subquery, Value
from django.db.models.functions import Concat

from relay_admin.access.models import RelayKey
from relay_admin.catalog.models import Endpoint, Project, Target
from relay_admin.deliveries.models import Attempt, Delivery, LiveDelivery, Request
from relay_contract.intake import DUE_STATES, SHARDS, last_delivery_id

_PROJECT = Subquery(Project.objects.filter(pk=OuterRef("project_id")).values("slug")[:1])
_TARGET = Subquery(Target.objects.filter(pk=OuterRef("target_id")).order_by().values("name")[:1])
_ENDPOINT = Subquery(
    Endpoint.objects.filter(pk=OuterRef("endpoint_id"))
    .order_by()
    .values(path=Concat("line__project__slug", Value("/"), "line__slug", Value("/"), "slug"))[:1]
)
_RELAY_KEY = Subquery(RelayKey.objects.filter(pk=OuterRef("relay_key_id")).order_by().values("name")[:1])


def name_deliveries(rows: QuerySet[Delivery]) -> QuerySet[Delivery]:
    """Adds `project_slug` and `target_name`, each None when gone."""
    return rows.annotate(project_slug=_PROJECT, target_name=_TARGET)


def name_requests(rows: QuerySet[Request]) -> QuerySet[Request]:
    """Adds `project_slug`, `endpoint_path` and `relay_key_name`, each None when gone."""
    return rows.annotate(project_slug=_PROJECT, endpoint_path=_ENDPOINT, relay_key_name=_RELAY_KEY)


def deliveries_with_names() -> QuerySet[Delivery]:
    """Every delivery, named."""
    return name_deliveries(Delivery.objects.all())


def deliveries_of(request_id: UUID) -> QuerySet[Delivery]:
    """Those of a request with their attempts, in the order they were made: out of one or two days' partitions."""
    bounds = {"id__gte": request_id, "id__lt": last_delivery_id(request_id)}
    attempts = Attempt.objects.filter(delivery_id__gte=bounds["id__gte"], delivery_id__lt=bounds["id__lt"])
    rows = deliveries_with_names().filter(request_id=request_id, **bounds).order_by("id")
    return rows.prefetch_related(Prefetch("attempts", attempts))


def request_with_names(request_id: UUID) -> QuerySet[Request]:
    """One request or none, named, with its deliveries and their attempts."""
    rows = name_requests(Request.objects.filter(pk=request_id))
    return rows.prefetch_related(Prefetch("deliveries", deliveries_of(request_id)))


def oldest_due_at() -> datetime | None:
    """When the delivery that comes next should have been tried, or will be; None when nothing is to be delivered.

    One probe of the index per shard: a backlog of any length costs the same.
    """
    live = LiveDelivery.objects.filter(state__in=DUE_STATES).order_by("next_attempt_at").values_list("next_attempt_at")
    first, *others = (live.filter(shard=shard)[:1] for shard in range(SHARDS))
    return min((due_at for (due_at,) in first.union(*others, all=True)), default=None)

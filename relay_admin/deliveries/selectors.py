"""Reads of the traffic tables. Targets, endpoints and keys may be deleted while their history stays, so names come from
subqueries, which give null for what is gone; an inner join would hide those rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import Count, OuterRef, Prefetch, QuerySet, Subquery, Value
from django.db.models.functions import Concat
from django.utils import timezone

from relay_admin.access.models import RelayKey
from relay_admin.catalog.models import Endpoint, Project, Target
from relay_admin.deliveries.models import (
    Attempt,
    Delivery,
    FinishedDelivery,
    LiveDelivery,
    ReplayBatch,
    Request,
    RequestEnd,
)
from relay_admin.deliveries.replays import MAX_COUNTED, ReplayState
from relay_admin.ledger.models import Charge
from relay_contract.intake import DUE_STATES, SHARDS, DeliveryState, last_delivery_id

SomeDelivery = TypeVar("SomeDelivery", bound=Delivery)
WATCHED = timedelta(minutes=2)
"""So long after a replay's end its figures are worth looking at again."""

_PROJECT = Subquery(Project.objects.filter(pk=OuterRef("project_id")).values("slug")[:1])
_TARGET = Subquery(Target.objects.filter(pk=OuterRef("target_id")).order_by().values("name")[:1])
_ENDPOINT = Subquery(
    Endpoint.objects.filter(pk=OuterRef("endpoint_id"))
    .order_by()
    .values(path=Concat("line__project__slug", Value("/"), "line__slug", Value("/"), "slug"))[:1]
)
_RELAY_KEY = Subquery(RelayKey.objects.filter(pk=OuterRef("relay_key_id")).order_by().values("name")[:1])


def name_deliveries(rows: QuerySet[SomeDelivery]) -> QuerySet[SomeDelivery]:
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


def charges_of(request_id: UUID, deliveries: Iterable[Delivery]) -> QuerySet[Charge]:
    """What these deliveries of a request held and how it was closed, in that order."""
    bounds = {"delivery_id__gte": request_id, "delivery_id__lt": last_delivery_id(request_id)}
    ids = [delivery.pk for delivery in deliveries]
    return Charge.objects.filter(delivery_id__in=ids, **bounds).order_by("delivery_id", "replay", "phase")


# From target to target in the index, and not over their deliveries: of those there may be millions.
_FAILING = f"""
WITH RECURSIVE walk(target_id, place) AS (
    (SELECT target_id, 1 FROM deliveries_finished WHERE state = '{DeliveryState.DEAD}' ORDER BY target_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT f.target_id FROM deliveries_finished AS f
        WHERE f.state = '{DeliveryState.DEAD}' AND f.target_id > walk.target_id ORDER BY f.target_id LIMIT 1
    ), place + 1 FROM walk WHERE walk.target_id IS NOT NULL AND place < %s
)
SELECT target_id FROM walk WHERE target_id IS NOT NULL
"""  # noqa: S608 (a constant)


def failing_target_ids(most: int) -> list[int]:
    """Targets that have something in the failure queue, deleted ones included; the first so many."""
    with connection.cursor() as cursor:
        cursor.execute(_FAILING, [most])
        return [target_id for (target_id,) in cursor.fetchall()]


def with_outcomes(requests: list[Request]) -> list[Request]:
    """Gives each of a page's requests `outcomes`: state -> how many of its deliveries. One query for all of them."""
    if not requests:
        return requests
    ids = [request.pk for request in requests]
    rows = (
        Delivery.objects.filter(request_id__in=ids, id__gte=min(ids), id__lt=last_delivery_id(max(ids)))
        .order_by()
        .values_list("request_id", "state")
        .annotate(Count("id"))
    )
    found: dict[UUID, dict[str, int]] = {}
    for request_id, state, count in rows:
        found.setdefault(request_id, {})[state] = count
    for request in requests:
        request.outcomes = found.get(request.pk, {})  # type: ignore[attr-defined]
    return requests


def with_ends(requests: list[Request]) -> list[Request]:
    """Gives those of a page that were answered by a target, and are over, the status and error of their end."""
    waited = [request.pk for request in requests if not request.status]
    ends = RequestEnd.objects.filter(pk__in=waited).only("status", "error").in_bulk() if waited else {}
    for request in requests:
        if end := ends.get(request.pk):
            request.status, request.error = end.status, end.error
    return requests


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


def due_count(most: int) -> int:
    """How many deliveries could be taken now, counted up to `most`."""
    due = LiveDelivery.objects.filter(
        state=DeliveryState.PENDING, shard__in=range(SHARDS), next_attempt_at__lte=timezone.now()
    )
    return due[:most].count()


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a progress bar. `width` in percent."""

    label: str
    tone: str
    width: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is, and what became of what it made due."""

    looked: int
    is_more: bool  # it matched more than were counted
    percent: int
    delivered: int
    failed: int  # in the failure queue again
    under_way: int
    parts: tuple[Part, ...]
    left: str  # how long it has to go, in words
    goes_on: bool  # its figures may change


def replay_progress(batch: ReplayBatch) -> Progress:
    """Counts what a batch made due by the index of its deliveries."""
    ended = FinishedDelivery.objects.filter(replay_batch_id=batch.pk).order_by().values_list("state")
    counts = dict(ended.annotate(Count("id")))
    failed = counts.get(str(DeliveryState.DEAD), 0)
    delivered = counts.get(str(DeliveryState.DELIVERED), 0)
    # What another replay took up since counts for that one.
    under_way = max(0, batch.replayed_count - sum(counts.values()))
    looked = batch.replayed_count + batch.refused_count
    whole = max(looked, batch.matched_count, 1)
    shares = (
        (f"{delivered:,} delivered", "success", delivered),
        (f"{under_way:,} under way", "info", under_way),
        (f"{failed:,} failed again", "danger", failed),
        (f"{batch.refused_count:,} stayed", "quiet", batch.refused_count),
    )
    is_over = batch.is_over
    seconds = (whole - looked) / float(batch.pace_per_second) if batch.pace_per_second and not is_over else 0
    return Progress(
        looked=looked,
        is_more=batch.matched_count >= MAX_COUNTED,
        percent=100 if is_over and looked >= batch.matched_count else 100 * looked // whole,
        delivered=delivered,
        failed=failed,
        under_way=under_way,
        parts=tuple(Part(label, tone, 100 * count / whole) for label, tone, count in shares if count),
        left=_duration(seconds) if seconds >= 1 else "",
        goes_on=batch.state == ReplayState.RUNNING or (under_way > 0 and not _is_old(batch)),
    )


def _is_old(batch: ReplayBatch) -> bool:
    """What is still under way then waits for a retry, or was taken up by another replay."""
    return batch.ended_at is None or timezone.now() - batch.ended_at > WATCHED


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

"""Which requests somebody looks for: the same filters for the page and the control API.

Times are bounds of ids: a request's id carries the moment of its call, and days that are not asked for are not read.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from relay_admin.deliveries.models import FinishedDelivery, Idempotency, LiveDelivery, Request, RequestEnd
from relay_contract.ids import uuid7_bound
from relay_contract.intake import FINISHED_STATES, LIVE_STATES

STATUS_CLASSES = ("2xx", "3xx", "4xx", "5xx")
OUTCOMES = (*(str(state) for state in (*LIVE_STATES, *FINISHED_STATES)), "none")
"""Of at least one delivery; "none": the request has no delivery."""
MOST_FOUND = 50

_COLUMNS = {
    "project": "project_id",
    "endpoint": "endpoint_id",
    "key": "relay_key_id",
    "mode": "mode",
    "event_type": "event_type",
    "path": "path__startswith",
    "after": "pk__lt",
}


def narrowed(rows: QuerySet[Request], wanted: Mapping[str, Any]) -> QuerySet[Request]:
    """By members of `_COLUMNS`, and: status (a number or one of STATUS_CLASSES), error (a code), outcome (of OUTCOMES),
    search (an id), since and until (moments)."""
    rows = rows.filter(**{lookup: wanted[name] for name, lookup in _COLUMNS.items() if name in wanted})
    if "status" in wanted:
        rows = rows.filter(_of_end(_has_status(str(wanted["status"]))))
    if "error" in wanted:
        rows = rows.filter(_of_end(Q(error=wanted["error"])))
    if "outcome" in wanted:
        rows = rows.filter(_of_outcome(wanted["outcome"], wanted.get("after")))
    if "search" in wanted:
        rows = rows.filter(_found(wanted["search"]))
    if "since" in wanted:
        rows = rows.filter(pk__gte=id_at(wanted["since"]))
    if "until" in wanted:
        rows = rows.filter(pk__lt=id_at(wanted["until"]))
    return rows


def id_at(moment: datetime) -> UUID:
    """The lowest id of a request of that millisecond."""
    return uuid7_bound(max(0, int(moment.timestamp() * 1000)))


def _has_status(status: str) -> Q:
    if status not in STATUS_CLASSES:
        return Q(status=int(status))
    first = int(status[0]) * 100
    return Q(status__gte=first, status__lt=first + 100)


def _of_end(wanted: Q) -> Q:
    """Of a sync or stream call, whose answer was not known yet, its end tells."""
    return wanted | Q(status=0) & Q(Exists(RequestEnd.objects.filter(wanted, pk=OuterRef("pk"))))


def _of_outcome(outcome: str, before: UUID | None) -> Q:
    """No delivery is older than its request: so partitions before the request's day are not read. Deep in the log the
    deliveries of newer requests are not either: Postgres joins both from the newest on, and has to be told."""
    if outcome == "none":
        return Q(target_count=0)
    model = LiveDelivery if outcome in LIVE_STATES else FinishedDelivery
    theirs = model.objects.filter(request_id=OuterRef("pk"), pk__gte=OuterRef("pk"), state=outcome)
    return Q(target_count__gt=0) & Q(Exists(theirs.filter(request_id__lt=before) if before else theirs))


def _found(text: str) -> Q:
    """Whole ids: of the request, of a delivery, the caller's own, or its Idempotency-Key while that is remembered."""
    ids = list(Idempotency.objects.filter(key=text).values_list("request_id", flat=True)[:MOST_FOUND])
    try:
        wanted = UUID(text.strip())
    except ValueError:
        pass
    else:
        ids.append(wanted)
        for model in (LiveDelivery, FinishedDelivery):
            ids += model.objects.filter(pk=wanted).values_list("request_id", flat=True)
    return Q(caller_request_id=text) | Q(pk__in=ids)

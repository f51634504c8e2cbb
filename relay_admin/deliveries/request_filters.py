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
from relay_contract.intake import FINISHED_STATES, LIVE_STATES, DeliveryState

STATUS_CLASSES = ("2xx", "3xx", "4xx", "5xx")
OUTCOMES = (*(str(state) for state in (*LIVE_STATES, *FINISHED_STATES)), "none")
"""Of at least one delivery; "none": the request has no delivery."""
MOST_FOUND = 50
MOST_RARE = 20_000
"""Rows of a status or error; more are looked for from the newest on."""

_COLUMNS = {
    "project": "project_id",
    "endpoint": "endpoint_id",
    "key": "relay_key_id",
    "mode": "mode",
    "event_type": "event_type",
    "path": "path__startswith",
}


def narrowed(rows: QuerySet[Request], wanted: Mapping[str, Any]) -> QuerySet[Request]:
    """By members of `_COLUMNS`, and: status (a number or one of STATUS_CLASSES), error (a code), outcome (of OUTCOMES),
    search (an id), since and until (moments), after (an id: what is older)."""
    rows = rows.filter(**{lookup: wanted[name] for name, lookup in _COLUMNS.items() if name in wanted})
    if "status" in wanted:
        status = str(wanted["status"])
        rows = rows.filter(_of_end(_has_status(status), wanted, is_indexed=status >= "3"))
    if "error" in wanted:
        rows = rows.filter(_of_end(Q(error=wanted["error"]), wanted))
    if "outcome" in wanted:
        rows = rows.filter(_of_outcome(wanted["outcome"], wanted))
    if "search" in wanted:
        rows = rows.filter(_found(wanted["search"]))
    return rows.filter(**_bounds("pk", wanted))


def id_at(moment: datetime) -> UUID:
    """The lowest id of a request of that millisecond."""
    return uuid7_bound(max(0, int(moment.timestamp() * 1000)))


def _has_status(status: str) -> Q:
    if status not in STATUS_CLASSES:
        return Q(status=int(status))
    first = int(status[0]) * 100
    return Q(status__gte=first, status__lt=first + 100)


def _bounds(name: str, wanted: Mapping[str, Any]) -> dict[str, UUID]:
    """Of a request's id, said again of whatever is joined to it: Postgres reads no other day's partitions then."""
    bounds = {}
    if "since" in wanted:
        bounds[f"{name}__gte"] = id_at(wanted["since"])
    ends = [*([id_at(wanted["until"])] if "until" in wanted else []), *([wanted["after"]] if "after" in wanted else [])]
    return bounds | ({f"{name}__lt": min(ends)} if ends else {})


def _of_end(condition: Q, wanted: Mapping[str, Any], *, is_indexed: bool = True) -> Q:
    """Of a sync or stream call, whose answer was not known yet, its end tells. What is rare is found by the indexes of
    what did not go well, which a condition joined by OR cannot use; of what is not, the newest are met soon."""
    own = Request.objects.filter(condition, **_bounds("pk", wanted)).order_by().values("pk")
    if "project" in wanted:
        own = own.filter(project_id=wanted["project"])
    ends = RequestEnd.objects.filter(condition, **_bounds("pk", wanted)).order_by().values("pk")
    if is_indexed and all(rows[:MOST_RARE].count() < MOST_RARE for rows in (own, ends)):
        return Q(pk__in=own.union(ends, all=True))
    return condition | Q(status=0) & Q(Exists(RequestEnd.objects.filter(condition, pk=OuterRef("pk"))))


def _of_outcome(outcome: str, wanted: Mapping[str, Any]) -> Q:
    """No delivery is older than its request: so partitions before the request's day are not read. Deep in the log the
    deliveries of newer requests are not either: Postgres joins both from the newest on, and has to be told."""
    if outcome == "none":
        return Q(target_count=0)
    model = LiveDelivery if outcome in LIVE_STATES else FinishedDelivery
    theirs = model.objects.filter(state=outcome, **_bounds("request_id", wanted))
    if "since" in wanted:
        theirs = theirs.filter(pk__gte=id_at(wanted["since"]))
    if outcome == DeliveryState.DELIVERED or outcome in LIVE_STATES:
        return Q(target_count__gt=0) & Q(Exists(theirs.filter(request_id=OuterRef("pk"), pk__gte=OuterRef("pk"))))
    return Q(pk__in=theirs.order_by().values("request_id"))


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

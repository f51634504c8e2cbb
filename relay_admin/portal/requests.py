"""Relay requests in the portal: a project's log, and one request with everything that became of it.

Its content is read only for who may see it, redacted by the endpoint's rules as everywhere.
"""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of, rows_of
from relay_admin.catalog.models import Endpoint
from relay_admin.deliveries import request_view
from relay_admin.deliveries.models import Request, RequestEnd
from relay_admin.deliveries.preview import preview
from relay_admin.deliveries.redaction_view import shown_content
from relay_admin.deliveries.request_filters import narrowed
from relay_admin.deliveries.selectors import charges_of, name_requests, request_with_names, with_ends, with_outcomes
from relay_admin.portal.lists import after_of, older_address
from relay_admin.portal.page import Place, portal_page, project_of, shown
from relay_admin.portal.traffic_forms import RequestFilter
from relay_admin.traffic.trace_view import time_text
from relay_contract.intake import DeliveryState
from relay_contract.redaction import Redaction

PAGE = 50
MOST_ENDPOINTS = 500


@require_safe
@portal_page
def project_requests(request: HttpRequest, project: str) -> HttpResponse:
    """Newest first."""
    place = project_of(request, project, Act.SEE_TRAFFIC)
    form = RequestFilter(request.GET)
    form.offer(endpoint=_endpoints(place))
    found: list[Request] = []
    if form.is_valid():
        after = after_of(request)
        wanted = {**form.wanted, **({"after": after} if after else {}), "project": place.project.pk}
        rows = name_requests(rows_of(Request, place.actor, Act.SEE_TRAFFIC).order_by("-pk"))
        found = list(narrowed(rows, wanted)[: PAGE + 1])
    older = older_address(request, found[PAGE - 1].pk) if len(found) > PAGE else ""
    return shown(request, "requests", place, form=form, rows=with_ends(with_outcomes(found[:PAGE])), older=older)


@require_safe
@portal_page
def project_request(request: HttpRequest, project: str, request_id: UUID) -> HttpResponse:
    """One, with its deliveries, their attempts and what they cost."""
    place = project_of(request, project, Act.SEE_TRAFFIC)
    one_of(Request, place.actor, Act.SEE_TRAFFIC, pk=request_id, project=place.project)
    row = request_with_names(request_id).get()
    with_ends([row])
    deliveries = list(row.deliveries.all())
    request_view.add_charges(deliveries, charges_of(row.pk, deliveries))
    end = RequestEnd.objects.filter(pk=row.pk).first()
    return shown(
        request,
        "request",
        place,
        row=row,
        facts=_facts(row, end),
        deliveries=deliveries,
        dead=str(DeliveryState.DEAD),
        may_replay=place.may(Act.REPLAY),
        content=_content(row) if place.may(Act.SEE_PAYLOAD) else None,
    )


def _endpoints(place: Place) -> list[tuple[int, str]]:
    rows = rows_of(Endpoint, place.actor, Act.SEE_TRAFFIC).filter(line__project=place.project)
    named = rows.order_by("line__slug", "slug").values_list("pk", "line__slug", "slug")[:MOST_ENDPOINTS]
    return [(endpoint_id, f"{line}/{slug}") for endpoint_id, line, slug in named]


def _facts(row: Request, end: RequestEnd | None) -> list[tuple[str, Any]]:
    named: Any = row
    query = Redaction().query(row.query)
    facts = [
        ("Received", row.received_at),
        ("Endpoint", named.endpoint_path or "deleted"),
        ("Call", f"{row.method} {row.path}{'?' if query else ''}{query}"),
        ("Event type", row.event_type),
        ("Key", named.relay_key_name or ""),
        ("Mode", row.mode),
        ("Caller's id", row.caller_request_id),
        ("Idempotency-Key", row.idempotency_key),
        ("Body", f"{row.body_bytes:,} bytes {row.content_type}".strip()),
        ("Answered", row.status or ""),
        ("Error", row.error),
        ("Answered after", time_text(end.total_us) if end else time_text(row.accept_us)),
    ]
    return [(name, value) for name, value in facts if value]


def _content(row: Request) -> dict[str, Any]:
    content = shown_content(row)
    body = None if content.body is None else preview(content.body)
    return {
        "headers": "\n".join(f"{name}: {value}" for name, value in content.headers.items()),
        "body": body,
        "note": content.body_note or "Past its retention: the body is deleted.",
        "curl": content.curl,
    }

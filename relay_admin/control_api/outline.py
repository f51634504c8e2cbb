"""`/api/v1/outline/...`: what there is of the relay plane, by name and id, endpoints with their targets. No static
headers and no credentials: the line's document has the former (`lines.py`)."""

from typing import Any, TypedDict

from django.db.models import Prefetch
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.roles import Act
from relay_admin.access.scoping import rows_of
from relay_admin.catalog.models import Endpoint, Line, Target
from relay_admin.control_api.answers import Page, answers
from relay_admin.control_api.paging import MAX_ID, MAX_PAGE, Query, page_of
from relay_admin.control_api.permissions import actor_in, requires
from relay_admin.control_api.wire import read


class LinesQuery(Query):
    """`after` is the `next` of the page before."""

    project = serializers.CharField(max_length=63, required=False)
    after = serializers.IntegerField(min_value=1, max_value=MAX_ID, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)


class EndpointsQuery(LinesQuery):
    """The same, of one line."""

    line = serializers.CharField(max_length=63, required=False)


class OutlinedLineJson(TypedDict):
    """A line by name."""

    id: int
    project: str
    line: str
    isEnabled: bool
    revision: int


class OutlinedTargetJson(TypedDict):
    """A target without what it is shown. `disabledReason`: why the relay disabled it itself, or empty."""

    id: int
    name: str
    role: str
    deliveryMode: str
    targetUrl: str
    isEnabled: bool
    disabledReason: str


class OutlinedEndpointJson(TypedDict):
    """An endpoint with its targets. `path`: where the edge takes its calls."""

    id: int
    project: str
    line: str
    endpoint: str
    path: str
    isEnabled: bool
    targets: list[OutlinedTargetJson]


class LinesView(APIView):
    """GET lines, by id."""

    permission_classes = [requires("catalog.view_line", act=Act.MANAGE_ENDPOINTS)]

    @answers(Page(OutlinedLineJson), name="outlineLines")
    def get(self, call: Request) -> Response:
        """`{"results": [...], "next": id or null}`."""
        wanted = read(LinesQuery, call.query_params)
        rows = rows_of(Line, actor_in(call), Act.MANAGE_ENDPOINTS).select_related("project").order_by("pk")
        page, more = page_of(rows.filter(**_narrowed(wanted, {"project": "project__slug"})), wanted["limit"])
        return Response({"results": [_line_json(line) for line in page], "next": page[-1].pk if more else None})


class EndpointsView(APIView):
    """GET endpoints with their targets, by id."""

    permission_classes = [requires("catalog.view_endpoint", "catalog.view_target", act=Act.MANAGE_ENDPOINTS)]

    @answers(Page(OutlinedEndpointJson), name="outlineEndpoints")
    def get(self, call: Request) -> Response:
        """`{"results": [...], "next": id or null}`."""
        wanted = read(EndpointsQuery, call.query_params)
        actor, act = actor_in(call), Act.MANAGE_ENDPOINTS
        rows = rows_of(Endpoint, actor, act).select_related("line__project").order_by("pk")
        rows = rows.prefetch_related(Prefetch("targets", rows_of(Target, actor, act).order_by("pk")))
        lookups = {"project": "line__project__slug", "line": "line__slug"}
        page, more = page_of(rows.filter(**_narrowed(wanted, lookups)), wanted["limit"])
        return Response({"results": [_endpoint_json(one) for one in page], "next": page[-1].pk if more else None})


def _narrowed(wanted: dict[str, Any], lookups: dict[str, str]) -> dict[str, Any]:
    return {lookup: wanted[name] for name, lookup in ({"after": "pk__gt"} | lookups).items() if name in wanted}


def _line_json(line: Line) -> OutlinedLineJson:
    return {
        "id": line.pk,
        "project": line.project.slug,
        "line": line.slug,
        "isEnabled": line.is_enabled,
        "revision": line.revision,
    }


def _endpoint_json(endpoint: Endpoint) -> OutlinedEndpointJson:
    return {
        "id": endpoint.pk,
        "project": endpoint.line.project.slug,
        "line": endpoint.line.slug,
        "endpoint": endpoint.slug,
        "path": f"/r/{endpoint}",
        "isEnabled": endpoint.is_enabled,
        "targets": [
            {
                "id": target.pk,
                "name": target.name,
                "role": target.role,
                "deliveryMode": target.delivery_mode,
                "targetUrl": target.url,
                "isEnabled": target.is_enabled,
                "disabledReason": target.disabled_reason,
            }
            for target in endpoint.targets.all()
        ],
    }

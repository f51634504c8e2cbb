"""`/api/v1/shadows/{target}/report`: how a shadow's answers compare with its sibling's."""

from datetime import datetime
from typing import TypedDict

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of
from relay_admin.catalog.models import Target
from relay_admin.control_api.answers import answers
from relay_admin.control_api.permissions import actor_in, requires
from relay_admin.control_api.wire import CamelCaseSerializer, Strict, read
from relay_admin.deliveries.models import Comparison
from relay_admin.deliveries.shadow_report import Times, report, since_of
from relay_contract.nouns import TargetRole


class ComparisonJson(CamelCaseSerializer):
    """One pair of answers."""

    class Meta:
        model = Comparison
        fields = [
            "delivery_id",
            "request_id",
            "at",
            "revision",
            "verdict",
            "status",
            "baseline_status",
            "duration_ms",
            "baseline_duration_ms",
            "differences",
        ]


class ShadowJson(TypedDict):
    """Who is compared with whom."""

    id: int
    name: str
    comparesWith: str


class StatusesJson(TypedDict):
    """How often the two sides answered with these; null: no answer."""

    baseline: int | None
    shadow: int | None
    count: int


class TimesJson(TypedDict):
    """Milliseconds of one side."""

    p50: int
    p95: int


class BothTimesJson(TypedDict):
    """Null where there is no pair in which both answered."""

    baseline: TimesJson | None
    shadow: TimesJson | None


class PathJson(TypedDict):
    """Where bodies differ, and how often."""

    path: str
    count: int


class ReportJson(TypedDict):
    """What a window holds. `isPartial`: more was compared than is counted."""

    target: ShadowJson
    since: datetime
    compared: int
    isPartial: bool
    verdicts: dict[str, int]
    statuses: list[StatusesJson]
    durationMs: BothTimesJson
    paths: list[PathJson]
    newest: list[ComparisonJson]


class Window(Strict):
    """Query of a report."""

    since = serializers.DateTimeField(required=False)


class ShadowReportView(APIView):
    """GET the report of one shadow target."""

    permission_classes = [requires("deliveries.view_delivery", act=Act.SEE_TRAFFIC)]

    @answers(ReportJson)
    def get(self, request: Request, target_id: int) -> Response:
        """Counts and times of the window, what differs most, and the newest pairs that are not the same."""
        query = read(Window, request.query_params)
        target = one_of(Target, actor_in(request), Act.SEE_TRAFFIC, pk=target_id, role=TargetRole.SHADOW)
        found = report(target.pk, since_of(query.get("since")))
        return Response(
            {
                "target": {"id": target.pk, "name": target.name, "comparesWith": target.compares_with},
                "since": found.since,
                "compared": found.compared,
                "isPartial": found.is_partial,
                "verdicts": found.verdicts,
                "statuses": [
                    {"baseline": each.baseline, "shadow": each.shadow, "count": each.count} for each in found.statuses
                ],
                "durationMs": {"baseline": _times(found.baseline_times), "shadow": _times(found.shadow_times)},
                "paths": [{"path": path, "count": count} for path, count in found.paths],
                "newest": ComparisonJson(found.newest, many=True).data,
            }
        )


def _times(times: Times | None) -> TimesJson | None:
    return None if times is None else {"p50": times.p50, "p95": times.p95}

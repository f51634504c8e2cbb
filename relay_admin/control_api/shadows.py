"""`/api/v1/shadows/{target}/report`: how a shadow's answers compare with its sibling's."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of
from relay_admin.catalog.models import Target
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


class Window(Strict):
    """Query of a report."""

    since = serializers.DateTimeField(required=False)


class ShadowReportView(APIView):
    """GET the report of one shadow target."""

    permission_classes = [requires("deliveries.view_delivery", act=Act.SEE_TRAFFIC)]

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


def _times(times: Times | None) -> dict[str, Any] | None:
    return None if times is None else {"p50": times.p50, "p95": times.p95}

"""`/api/v1/audit`: who changed what."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.acting import Via
from relay_admin.access.audit import SUBJECTS, events_named
from relay_admin.access.models import AUDITED_ACTIONS, AuditEvent
from relay_admin.access.roles import Act
from relay_admin.access.scoping import Actor, rows_of
from relay_admin.catalog.models import Project
from relay_admin.control_api.answers import Page, answers
from relay_admin.control_api.paging import Query, page_of
from relay_admin.control_api.permissions import actor_in, requires
from relay_admin.control_api.wire import CamelCaseSerializer, ChoiceField, read

MAX_PAGE = 200
MAX_ID = 2**63 - 1


class AuditEventJson(CamelCaseSerializer):
    """An event. `project` is null where there is none, or it was deleted; columns are named as in the database."""

    project = serializers.CharField(source="project_slug", allow_null=True)

    class Meta:
        model = AuditEvent
        fields = [
            "id",
            "at",
            "via",
            "actor_id",
            "actor_name",
            "tool",
            "address",
            "project_id",
            "project",
            "action",
            "subject",
            "subject_id",
            "subject_name",
            "before",
            "after",
        ]


class AuditQuery(Query):
    """Query of a list. `after` is the `next` of the page before."""

    who = serializers.CharField(max_length=150, required=False)
    via = ChoiceField([str(via) for via in Via], required=False)
    project = serializers.CharField(max_length=63, required=False)
    subject = ChoiceField(SUBJECTS, required=False)
    subjectId = serializers.IntegerField(min_value=1, max_value=MAX_ID, required=False)  # noqa: N815 - as on the wire
    action = ChoiceField(AUDITED_ACTIONS, required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    after = serializers.IntegerField(min_value=1, max_value=MAX_ID, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)


_LOOKUPS = {
    "who": "actor_name",
    "via": "via",
    "subject": "subject",
    "subjectId": "subject_id",
    "action": "action",
    "since": "at__gte",
    "until": "at__lt",
    "after": "pk__lt",
}


class AuditView(APIView):
    """GET events, newest first."""

    permission_classes = [requires("access.view_auditevent", act=Act.SEE_AUDIT)]

    @answers(Page(AuditEventJson), name="listAuditEvents")
    def get(self, request: Request) -> Response:
        """`{"results": [...], "next": id or null}`."""
        wanted = read(AuditQuery, request.query_params)
        page, more = page_of(_narrowed(actor_in(request), wanted), wanted["limit"])
        return Response({"results": AuditEventJson(page, many=True).data, "next": page[-1].pk if more else None})


def _narrowed(actor: Actor, wanted: dict[str, Any]) -> QuerySet[AuditEvent]:
    lookups = {lookup: wanted[name] for name, lookup in _LOOKUPS.items() if name in wanted}
    if "project" in wanted:
        named = rows_of(Project, actor, Act.SEE_AUDIT).filter(slug=wanted["project"])
        lookups["project_id__in"] = named.order_by().values("pk")
    return events_named(rows_of(AuditEvent, actor, Act.SEE_AUDIT).order_by("-id")).filter(**lookups)

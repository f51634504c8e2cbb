"""`/api/v1/requests`: the request log, and one request with everything that became of it."""

from typing import Any, NotRequired, TypedDict
from uuid import UUID

from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request as Call
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.roles import Act
from relay_admin.access.scoping import Actor, one_of, rows_of
from relay_admin.catalog.models import Endpoint
from relay_admin.control_api.answers import Also, Page, answers
from relay_admin.control_api.deliveries import DeliveryWithAttemptsJson
from relay_admin.control_api.paging import Query, page_of
from relay_admin.control_api.permissions import actor_in, requires
from relay_admin.control_api.project_field import ProjectField
from relay_admin.control_api.wire import CamelCaseSerializer, ChoiceField, read
from relay_admin.deliveries import request_view
from relay_admin.deliveries.models import Request, RequestEnd
from relay_admin.deliveries.preview import preview
from relay_admin.deliveries.redaction_view import ShownContent, shown_content
from relay_admin.deliveries.request_filters import OUTCOMES, STATUS_CLASSES, narrowed
from relay_admin.deliveries.selectors import charges_of, name_requests, request_with_names, with_ends, with_outcomes
from relay_contract.nouns import KeyMode
from relay_contract.redaction import Redaction

VIEW_PAYLOAD = "deliveries.view_payload"
MAX_PAGE = 200
_MAX_ID = 2**63 - 1


class RequestJson(CamelCaseSerializer):
    """A call, without its body and headers. Names are null when what they name was deleted."""

    project = serializers.CharField(source="project_slug", allow_null=True)
    endpoint = serializers.CharField(source="endpoint_path", allow_null=True)
    query = serializers.SerializerMethodField()

    class Meta:
        model = Request
        fields = [
            "id",
            "project",
            "endpoint",
            "relay_key_id",
            "mode",
            "origin",
            "received_at",
            "revision",
            "method",
            "path",
            "query",
            "event_type",
            "caller_request_id",
            "idempotency_key",
            "client_ip",
            "content_type",
            "body_bytes",
            "status",
            "error",
            "accept_us",
            "target_count",
            "filtered_count",
        ]

    def get_query(self, request: Request) -> str:
        """Without what looks like a secret."""
        return Redaction().query(request.query)


class RequestInListJson(RequestJson):
    """And how many of its deliveries are in which state."""

    outcomes = serializers.DictField(child=serializers.IntegerField())

    class Meta(RequestJson.Meta):
        fields = [*RequestJson.Meta.fields, "outcomes"]


class DeliveryOnScreenJson(DeliveryWithAttemptsJson):
    """And what it held, and how that was closed."""

    credits = serializers.CharField(source="charges_text")

    class Meta(DeliveryWithAttemptsJson.Meta):
        fields = [*DeliveryWithAttemptsJson.Meta.fields, "credits"]


class RequestOnScreenJson(RequestJson):
    """And everything that became of it."""

    deliveries = DeliveryOnScreenJson(many=True)

    class Meta(RequestJson.Meta):
        fields = [*RequestJson.Meta.fields, "deliveries"]


class RequestEndJson(CamelCaseSerializer):
    """What the caller of a sync or stream target got."""

    class Meta:
        model = RequestEnd
        fields = [
            "status",
            "error",
            "target_status",
            "first_byte_us",
            "total_us",
            "bytes_out",
            "heartbeats",
            "close_reason",
            "is_stream",
        ]


class ShownBodyJson(TypedDict):
    """The beginning of a body, as text."""

    text: str
    kind: str
    shownBytes: int


class ContentJson(TypedDict):
    """What a call held, without secrets. `note`: why there is no body."""

    headers: dict[str, str]
    body: ShownBodyJson | None
    note: str
    curl: str | None


class RequestsQuery(Query):
    """Query of the list. `after` is the `next` of the page before; `search` is a whole id."""

    project = ProjectField(Act.SEE_TRAFFIC, required=False)
    endpoint = serializers.RegexField(r"^[^/]+/[^/]+/[^/]+\Z", max_length=200, required=False)
    key = serializers.IntegerField(min_value=1, max_value=_MAX_ID, required=False)
    mode = ChoiceField([str(mode) for mode in KeyMode], required=False)
    status = serializers.RegexField(rf"^(?:[1-5][0-9]{{2}}|{'|'.join(STATUS_CLASSES)})\Z", required=False)
    error = serializers.CharField(max_length=40, required=False)
    path = serializers.CharField(max_length=512, required=False)
    eventType = serializers.CharField(max_length=128, required=False)  # noqa: N815 (on the wire)
    outcome = ChoiceField(OUTCOMES, required=False)
    search = serializers.CharField(max_length=255, required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    after = serializers.UUIDField(required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """As `request_filters.narrowed` takes it."""
        wanted = super().to_internal_value(data)
        if "project" in wanted:
            wanted["project"] = wanted["project"].pk
        if "eventType" in wanted:
            wanted["event_type"] = wanted.pop("eventType")
        if "endpoint" in wanted:
            wanted["endpoint"] = _endpoint_id(self.context["actor"], wanted["endpoint"])
        return wanted


class RequestQuery(Query):
    """Query of one request."""

    content = serializers.BooleanField(default=False)


class RequestsView(APIView):
    """GET requests, newest first."""

    permission_classes = [requires("deliveries.view_request", "deliveries.view_delivery", act=Act.SEE_TRAFFIC)]

    @answers(Page(RequestInListJson, next=str))
    def get(self, call: Call) -> Response:
        """`{"results": [...], "next": id or null}`."""
        wanted = read(RequestsQuery, call.query_params, actor=actor_in(call))
        seen = rows_of(Request, actor_in(call), Act.SEE_TRAFFIC)
        rows = narrowed(name_requests(seen.order_by("-pk")), wanted)
        page, more = page_of(rows, wanted["limit"])
        page = with_ends(with_outcomes(page))
        return Response(
            {"results": RequestInListJson(page, many=True).data, "next": str(page[-1].pk) if more else None}
        )


class RequestView(APIView):
    """GET one request with its deliveries and their attempts; with `?content=true` also its content, redacted."""

    permission_classes = [
        requires(*(f"deliveries.view_{noun}" for noun in ("request", "delivery", "attempt")), act=Act.SEE_TRAFFIC)
    ]

    @answers(
        Also("RequestWithEnd", RequestOnScreenJson, {"end": RequestEndJson | None, "content": NotRequired[ContentJson]})
    )
    def get(self, call: Call, request_id: UUID) -> Response:
        """404 for an id that is not known, or whose retention is over."""
        wants_content = read(RequestQuery, call.query_params)["content"]
        one_of(Request, actor_in(call), Act.SEE_TRAFFIC, pk=request_id)
        row = request_with_names(request_id).get()
        with_ends([row])
        deliveries = list(row.deliveries.all())
        request_view.add_charges(deliveries, charges_of(row.pk, deliveries))
        body: dict[str, Any] = RequestOnScreenJson(row).data
        end = RequestEnd.objects.filter(pk=row.pk).first()
        body["end"] = None if end is None else RequestEndJson(end).data
        if wants_content:
            _refuse_content(call, row)
            body["content"] = _content_json(shown_content(row))
        return Response(body)


def _refuse_content(call: Call, row: Request) -> None:
    """Raises PermissionDenied for who may see the request alone."""
    actor = actor_in(call)
    if not actor.is_operator:
        one_of(Request, actor, Act.SEE_PAYLOAD, pk=row.pk)
    elif not call.user.has_perm(VIEW_PAYLOAD):
        raise PermissionDenied(f"Content needs the permission {VIEW_PAYLOAD}.")


def _content_json(content: ShownContent) -> ContentJson:
    shown = None if content.body is None else preview(content.body)
    return {
        "headers": content.headers,
        "body": None if shown is None else {"text": shown.text, "kind": shown.kind, "shownBytes": shown.shown_bytes},
        "note": content.body_note,
        "curl": None if content.curl is None else content.curl.command,
    }


def _endpoint_id(actor: Actor, path: str) -> int:
    project, line, slug = path.split("/")
    seen = rows_of(Endpoint, actor, Act.SEE_TRAFFIC)
    found = seen.filter(line__project__slug=project, line__slug=line, slug=slug).first()
    if found is None:
        raise serializers.ValidationError({"endpoint": ["There is no such endpoint."]})
    return found.pk

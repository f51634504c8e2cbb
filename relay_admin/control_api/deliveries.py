"""`/api/v1/deliveries`: what became of accepted calls, and replaying what failed."""

from typing import Any, TypedDict
from uuid import UUID

from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request as Call
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of, rows_of
from relay_admin.control_api.answers import Page, answers
from relay_admin.control_api.paging import Query, page_of
from relay_admin.control_api.permissions import actor_in, requires, user_of
from relay_admin.control_api.wire import CamelCaseSerializer, ChoiceField, Strict, read
from relay_admin.deliveries import discards, services
from relay_admin.deliveries.models import DEAD_REASONS, Attempt, Delivery, ReplayBatch
from relay_admin.deliveries.request_filters import id_at
from relay_admin.deliveries.selectors import name_deliveries
from relay_contract.intake import DeliveryState

MAX_PAGE = 200


class AttemptJson(CamelCaseSerializer):
    """One try. The answer's bytes are not part of it: they need another permission, and have a page in the admin."""

    class Meta:
        model = Attempt
        fields = ["number", "replay", "outcome", "started_at", "duration_ms", "url", "status", "error", "revision"]


class TargetNameJson(TypedDict):
    """A target; `name` is null when it was deleted."""

    id: int
    name: str | None


class RefusalJson(TypedDict):
    """Why a delivery stayed in the failure queue."""

    code: str
    message: str


class DeliveryJson(CamelCaseSerializer):
    """A delivery. `target.name` is null when the target was deleted."""

    project = serializers.CharField(source="project_slug", allow_null=True)
    target = serializers.SerializerMethodField()
    dead_reason = serializers.SerializerMethodField()

    class Meta:
        model = Delivery
        fields = [
            "id",
            "request_id",
            "project",
            "target",
            "mode",
            "is_shadow",
            "state",
            "revision",
            "created_at",
            "next_attempt_at",
            "attempt_count",
            "replay_count",
            "finished_at",
            "dead_reason",
            "last_status",
            "last_error",
            "replay_batch_id",
        ]

    def get_target(self, delivery: Delivery) -> TargetNameJson:
        """Named by the queryset, see `selectors`."""
        return {"id": delivery.target_id, "name": getattr(delivery, "target_name", None)}

    def get_dead_reason(self, delivery: Delivery) -> str | None:
        """Null outside the failure queue."""
        return delivery.dead_reason or None


class DeliveryWithAttemptsJson(DeliveryJson):
    """A delivery with each try."""

    attempts = AttemptJson(many=True)

    class Meta(DeliveryJson.Meta):
        fields = [*DeliveryJson.Meta.fields, "attempts"]


class ReplayBatchJson(CamelCaseSerializer):
    """What a replay did. `refused` maps delivery ids to `{code, message}`."""

    requested_count = serializers.IntegerField(source="matched_count")
    delivery_ids = serializers.ListField(child=serializers.UUIDField())
    refused = serializers.SerializerMethodField()

    class Meta:
        model = ReplayBatch
        fields = ["id", "created_at", "requested_count", "replayed_count", "delivery_ids", "refused"]

    def get_refused(self, batch: ReplayBatch) -> dict[str, RefusalJson]:
        """Why each stayed in the failure queue."""
        return {id_: {"code": code, "message": services.REFUSALS[code]} for id_, code in batch.refused.items()}


class DiscardedJson(TypedDict):
    """Those that were."""

    discarded: list[UUID]


class DeliveriesQuery(Query):
    """Query of a list. `after` is the `next` of the page before, times are those of acceptance."""

    state = ChoiceField([str(state) for state in DeliveryState], required=False)
    project = serializers.CharField(max_length=63, required=False)
    target = serializers.IntegerField(min_value=1, max_value=2**63 - 1, required=False)
    request = serializers.UUIDField(required=False)
    reason = ChoiceField([str(reason) for reason in DEAD_REASONS], required=False)
    replay = serializers.IntegerField(min_value=1, max_value=2**63 - 1, required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    after = serializers.UUIDField(required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)


class DeliveriesView(APIView):
    """GET deliveries, newest first."""

    permission_classes = [requires("deliveries.view_delivery", act=Act.SEE_TRAFFIC)]

    @answers(Page(DeliveryJson, next=str))
    def get(self, call: Call) -> Response:
        """`{"results": [...], "next": id or null}`. Ids grow with time, so a page starts where the last one ended."""
        wanted = read(DeliveriesQuery, call.query_params)
        rows = name_deliveries(rows_of(Delivery, actor_in(call), Act.SEE_TRAFFIC)).order_by("-id")
        for name, lookup in (
            ("state", "state"),
            ("target", "target_id"),
            ("request", "request_id"),
            ("reason", "dead_reason"),
            ("replay", "replay_batch_id"),
            ("after", "id__lt"),
        ):
            if name in wanted:
                rows = rows.filter(**{lookup: wanted[name]})
        for name, lookup in (("since", "id__gte"), ("until", "id__lt")):
            if name in wanted:
                rows = rows.filter(**{lookup: id_at(wanted[name])})
        if "project" in wanted:
            rows = rows.filter(project__slug=wanted["project"])
        page, more = page_of(rows, wanted["limit"])
        return Response({"results": DeliveryJson(page, many=True).data, "next": str(page[-1].id) if more else None})


class DeliveryView(APIView):
    """GET one delivery with its attempts."""

    permission_classes = [requires("deliveries.view_delivery", "deliveries.view_attempt", act=Act.SEE_TRAFFIC)]

    @answers(DeliveryWithAttemptsJson)
    def get(self, call: Call, delivery_id: UUID) -> Response:
        """404 for an id that is not known, or whose retention is over."""
        actor = actor_in(call)
        one_of(Delivery, actor, Act.SEE_TRAFFIC, pk=delivery_id)
        rows = name_deliveries(rows_of(Delivery, actor, Act.SEE_TRAFFIC))
        return Response(DeliveryWithAttemptsJson(get_object_or_404(rows, pk=delivery_id)).data)


class DeliveriesBody(Strict):
    """Body of a replay, and of a discarding."""

    ids = serializers.ListField(child=serializers.UUIDField(), min_length=1, max_length=services.MAX_REPLAY)


class ReplayView(APIView):
    """POST makes dead deliveries due again."""

    permission_classes = [requires("deliveries.view_delivery", "deliveries.replay_delivery", act=Act.REPLAY)]

    @answers(ReplayBatchJson, name="replayDeliveries")
    def post(self, call: Call) -> Response:
        """200 with the batch, also where some or all were refused: `refused` says why."""
        ids = read(DeliveriesBody, call.data)["ids"]
        batch = services.delivery_replay(delivery_ids=ids, project_id=project_of(call, ids), by=user_of(call))
        result: dict[str, Any] = ReplayBatchJson(batch).data
        return Response(result)


class DiscardView(APIView):
    """POST takes dead deliveries out of the failure queue for good."""

    permission_classes = [requires("deliveries.view_delivery", "deliveries.replay_delivery", act=Act.REPLAY)]

    @answers(DiscardedJson, name="discardDeliveries")
    def post(self, call: Call) -> Response:
        """200 with those that were discarded; the others were not in the failure queue."""
        ids = read(DeliveriesBody, call.data)["ids"]
        if not actor_in(call).is_operator:
            ids = list(_theirs(call, ids))
        return Response({"discarded": discards.delivery_discard(delivery_ids=ids, by=user_of(call)) if ids else []})


def project_of(call: Call, ids: list[UUID]) -> int | None:
    """The project whose deliveries these are, as a member has to name them; None for an operator, who may name any.

    Raises ValidationError where the member has not all of them, in one project.
    """
    if actor_in(call).is_operator:
        return None
    found = _theirs(call, ids)
    if set(found) != set(ids):
        raise serializers.ValidationError({"ids": ["Not all of these deliveries exist."]})
    if len(projects := set(found.values())) > 1:
        raise serializers.ValidationError({"ids": ["Name deliveries of one project."]})
    return projects.pop()


def _theirs(call: Call, ids: list[UUID]) -> dict[UUID, int]:
    """Of these deliveries those that the caller may replay, each with its project."""
    rows = rows_of(Delivery, actor_in(call), Act.REPLAY).filter(pk__in=ids)
    return dict(rows.order_by().values_list("pk", "project_id"))

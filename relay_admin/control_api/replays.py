"""`/api/v1/replays`: replays of the failure queue that the workers run, and their brakes."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypedDict

from django.core.exceptions import ValidationError as DjangoValidationError
from rest_framework import serializers, status
from rest_framework.request import Request as Call
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.roles import Act
from relay_admin.access.scoping import Actor, one_of, rows_of
from relay_admin.control_api.answers import Page, answers
from relay_admin.control_api.deliveries import RefusalJson, project_of
from relay_admin.control_api.paging import Query, page_of
from relay_admin.control_api.permissions import actor_in, requires, user_of
from relay_admin.control_api.project_field import ProjectField
from relay_admin.control_api.wire import CamelCaseSerializer, ChoiceField, Strict, camel_case, read
from relay_admin.deliveries import services
from relay_admin.deliveries.models import DEAD_REASONS, ReplayBatch
from relay_admin.deliveries.replays import Preview
from relay_admin.deliveries.selectors import replay_progress

MAX_PAGE = 200
_MAX_ID = 2**63 - 1


class ReplayInListJson(CamelCaseSerializer):
    """A replay. Credits are micro-credits."""

    created_by = serializers.CharField(source="created_by.username", allow_null=True, default=None)
    filter = serializers.SerializerMethodField()

    class Meta:
        model = ReplayBatch
        fields = [
            "id",
            "state",
            "created_at",
            "created_by",
            "ended_at",
            "filter",
            "note",
            "pace_per_second",
            "matched_count",
            "replayed_count",
            "refused_count",
            "charge",
            "credits_estimate",
            "credits",
        ]

    def get_filter(self, batch: ReplayBatch) -> dict[str, Any]:
        """As it was sent; the id of a project that is gone stays one."""
        written = {camel_case(name): value for name, value in batch.filter.items()}
        return written | ({"project": batch.project.slug} if batch.project else {})


class ReplayJson(ReplayInListJson):
    """And what became of it. `refused` maps ids to `{code, message}`, the first thousand of them."""

    refused = serializers.SerializerMethodField()
    under_way_count = serializers.IntegerField(source="progress.under_way")
    delivered_count = serializers.IntegerField(source="progress.delivered")
    failed_count = serializers.IntegerField(source="progress.failed")

    class Meta(ReplayInListJson.Meta):
        fields = [*ReplayInListJson.Meta.fields, "refused", "under_way_count", "delivered_count", "failed_count"]

    def to_representation(self, instance: ReplayBatch) -> dict[str, Any]:
        """With counts of what it made due: not over yet, delivered since, in the failure queue again."""
        instance.progress = replay_progress(instance)  # type: ignore[attr-defined]  # of the fields above
        return super().to_representation(instance)

    def get_refused(self, batch: ReplayBatch) -> dict[str, RefusalJson]:
        """Why each stayed in the failure queue."""
        return {id_: {"code": code, "message": services.REFUSALS[code]} for id_, code in batch.refused.items()}


class PreviewJson(TypedDict):
    """What a replay would do. `isMore`: there are more than were counted."""

    matchedCount: int
    isMore: bool
    replayableCount: int
    creditsEstimate: int
    byReason: dict[str, int]
    byRefusal: dict[str, int]
    oldestFailedAt: datetime | None
    newestFailedAt: datetime | None


class FilterBody(Query):
    """Which of the failure queue; nothing means all of it."""

    project = ProjectField(Act.REPLAY, required=False)
    line = serializers.IntegerField(min_value=1, max_value=_MAX_ID, required=False)
    endpoint = serializers.IntegerField(min_value=1, max_value=_MAX_ID, required=False)
    target = serializers.IntegerField(min_value=1, max_value=_MAX_ID, required=False)
    reason = ChoiceField([str(reason) for reason in DEAD_REASONS], required=False)
    status = serializers.IntegerField(min_value=100, max_value=599, required=False)
    error = serializers.CharField(max_length=64, required=False)
    eventType = serializers.CharField(max_length=128, required=False)  # noqa: N815 (on the wire)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """As a batch keeps it."""
        wanted = super().to_internal_value(data)
        if "eventType" in wanted:
            wanted["event_type"] = wanted.pop("eventType")
        if "project" in wanted:
            wanted["project"] = wanted["project"].pk
        return wanted


class ReplayBody(Strict):
    """Body of a start: `ids` or `filter`, one of them."""

    ids = serializers.ListField(
        child=serializers.UUIDField(), min_length=1, max_length=services.MAX_REPLAY, required=False
    )
    filter = FilterBody(required=False)
    pace = serializers.DecimalField(
        max_digits=8,
        decimal_places=2,
        min_value=services.MIN_PACE,
        max_value=services.MAX_PACE,
        allow_null=True,
        default=services.DEFAULT_PACE,
    )
    note = serializers.CharField(max_length=200, allow_blank=True, default="")
    dryRun = serializers.BooleanField(default=False)  # noqa: N815 (on the wire)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """What is to be replayed has to be said."""
        if ("ids" in attrs) == ("filter" in attrs):
            raise serializers.ValidationError("Send `ids` or a `filter`, one of them; an empty filter matches all.")
        return attrs


class ReplaysQuery(Query):
    """Query of the list. `after` is the `next` of the page before."""

    after = serializers.IntegerField(min_value=1, max_value=_MAX_ID, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)


class ReplaysView(APIView):
    """GET replays, newest first. POST starts one, or says with `dryRun` what it would do."""

    def get_permissions(self) -> list[Any]:
        """Who may see replays may not start them."""
        if self.request.method == "POST":
            return [requires("deliveries.view_delivery", "deliveries.replay_delivery", act=Act.REPLAY)()]
        return [requires("deliveries.view_replaybatch", act=Act.SEE_TRAFFIC)()]

    @answers(Page(ReplayInListJson))
    def get(self, call: Call) -> Response:
        """`{"results": [...], "next": id or null}`."""
        wanted = read(ReplaysQuery, call.query_params)
        seen = rows_of(ReplayBatch, actor_in(call), Act.SEE_TRAFFIC)
        rows = seen.select_related("created_by", "project").defer("refused", "cursor").order_by("-id")
        if "after" in wanted:
            rows = rows.filter(pk__lt=wanted["after"])
        page, more = page_of(rows, wanted["limit"])
        return Response({"results": ReplayInListJson(page, many=True).data, "next": page[-1].pk if more else None})

    @answers({200: PreviewJson, 202: ReplayJson}, name="startReplay")
    def post(self, call: Call) -> Response:
        """202 with the replay, 200 with the preview of a dry run."""
        asked = read(ReplayBody, call.data, actor=actor_in(call))
        project_id = None
        if "ids" in asked:
            wanted, project_id = {"ids": asked["ids"]}, project_of(call, asked["ids"])
        else:
            wanted = _narrowed(actor_in(call), asked["filter"])
        if asked["dryRun"]:
            return Response(_preview_json(services.replay_preview(wanted)))
        batch = services.replay_start(
            wanted, pace=asked["pace"], by=user_of(call), note=asked["note"], project_id=project_id
        )
        return Response(ReplayJson(batch).data, status=status.HTTP_202_ACCEPTED)


class ReplayView(APIView):
    """GET one replay."""

    permission_classes = [requires("deliveries.view_replaybatch", act=Act.SEE_TRAFFIC)]

    @answers(ReplayJson)
    def get(self, call: Call, batch_id: int) -> Response:
        """404 for none."""
        return Response(ReplayJson(one_of(ReplayBatch, actor_in(call), Act.SEE_TRAFFIC, pk=batch_id)).data)


_TURNS: dict[str, Callable[..., ReplayBatch]] = {
    "pause": services.replay_pause,
    "resume": services.replay_resume,
    "cancel": services.replay_cancel,
}


class ReplayTurnView(APIView):
    """POST pauses, resumes or cancels."""

    permission_classes = [requires("deliveries.view_delivery", "deliveries.replay_delivery", act=Act.REPLAY)]

    @answers(ReplayJson, refuses=(400,), name="turnReplay", path={"word": tuple(_TURNS)})
    def post(self, call: Call, batch_id: int, word: str) -> Response:
        """400 where its state does not allow it."""
        if word not in _TURNS:
            raise serializers.ValidationError({"word": ["pause, resume or cancel."]})
        batch = one_of(ReplayBatch, actor_in(call), Act.REPLAY, pk=batch_id)
        try:
            return Response(ReplayJson(_TURNS[word](batch, by=user_of(call))).data)
        except DjangoValidationError as error:
            raise serializers.ValidationError({"state": error.messages}) from None


def _narrowed(actor: Actor, wanted: dict[str, Any]) -> dict[str, Any]:
    """A member's filter is of one project. Raises ValidationError where it is not said which."""
    if actor.is_operator or "project" in wanted:
        return wanted
    projects = actor.projects(Act.REPLAY)
    if len(projects) > 1:
        raise serializers.ValidationError({"filter": {"project": ["Say which: you are in several."]}})
    return wanted | {"project": projects[0]}


def _preview_json(found: Preview) -> PreviewJson:
    return {
        "matchedCount": found.matched,
        "isMore": found.is_more,
        "replayableCount": found.replayable,
        "creditsEstimate": found.credits,
        "byReason": found.by_reason,
        "byRefusal": found.by_refusal,
        "oldestFailedAt": found.oldest,
        "newestFailedAt": found.newest,
    }

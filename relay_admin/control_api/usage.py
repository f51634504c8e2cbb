"""`/api/v1/usage/...`: what was used, from sums by the hour. Amounts are micro-credits."""

from datetime import datetime, timedelta
from typing import Any, NotRequired, TypedDict

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request as Call
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.roles import Act
from relay_admin.control_api.answers import Page, answers
from relay_admin.control_api.paging import Query
from relay_admin.control_api.permissions import actor_in, requires
from relay_admin.control_api.project_field import ProjectField
from relay_admin.control_api.wire import ChoiceField, camel_case, read
from relay_admin.ledger import usage
from relay_contract.nouns import KeyMode

MAX_PAGE = 200
MAX_DAYS = 400
DEFAULT_DAYS = 30

VIEW_USAGE = requires("ledger.view_account", "traffic.view_call", act=Act.SEE_TRAFFIC, own=True)


class SumsJson(TypedDict):
    """Sums of calls or of deliveries. Whoever sees only their own calls is not told what a charge is made of."""

    calls: int
    charge: int
    cost: NotRequired[int]
    markup: NotRequired[int]
    inputTokens: int
    outputTokens: int
    cacheReadTokens: int


class SumsByJson(SumsJson):
    """With what they are of, under the word that was asked for: null for what has none."""

    model: NotRequired[str | None]
    key: NotRequired[int | None]
    app: NotRequired[int | None]
    user: NotRequired[int | None]
    endpoint: NotRequired[int | None]
    target: NotRequired[int | None]


class SumsAtJson(SumsJson):
    """Of the time from this moment on."""

    at: datetime
    what: str


class _Moments(Query):
    """`from` and `to` begin hours, UTC: others are cut to theirs. `to` is not in it, and now where it is left out.
    Operators may ask for all, others for a project of theirs or, with `mine`, for the calls that they made."""

    to = serializers.DateTimeField(required=False)
    project = ProjectField(Act.SEE_TRAFFIC, required=False)
    mine = serializers.BooleanField(default=False)
    mode = ChoiceField([str(mode) for mode in KeyMode], required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)

    def get_fields(self) -> dict[str, Any]:
        """`from` is no name in Python."""
        return {**super().get_fields(), "from": serializers.DateTimeField(required=False, source="since")}

    def validate(self, asked: dict[str, Any]) -> dict[str, Any]:
        """With the range that is asked for."""
        until = _hour(asked["to"]) if "to" in asked else _hour(timezone.now()) + timedelta(hours=1)
        since = _hour(asked["since"]) if "since" in asked else until - timedelta(days=DEFAULT_DAYS)
        if not timedelta(0) < until - since <= timedelta(days=MAX_DAYS):
            raise serializers.ValidationError({"from": [f"It is before `to`, at most {MAX_DAYS} days."]})
        actor, project = self.context["actor"], asked.get("project")
        if not (actor.is_operator or project or (asked["mine"] and actor.user)):
            raise serializers.ValidationError({"project": ["Say which, or send mine=true for your own calls."]})
        user_id = actor.user.pk if asked["mine"] and actor.user else None
        wanted = usage.Range(since, until, project.pk if project else None, asked.get("mode"), user_id)
        return {**asked, "range": wanted, "hides": not (actor.is_operator or project)}


class SummaryQuery(_Moments):
    """`after` is the `next` of the page before."""

    by = ChoiceField([str(each) for each in usage.By])
    after = serializers.CharField(max_length=128, required=False)

    def validate(self, asked: dict[str, Any]) -> dict[str, Any]:
        """All but models are named by their ids."""
        after, by = asked.get("after"), usage.By(asked["by"])
        if after is not None and by is not usage.By.MODEL:
            if not (after.isascii() and after.isdigit() and int(after) < 2**63):
                raise serializers.ValidationError({"after": ["Send the `next` of the page before."]})
            after = int(after)
        return {**super().validate(asked), "by": by, "after": after}


class SeriesQuery(_Moments):
    """`after` is the `next` of the page before."""

    step = ChoiceField([str(each) for each in usage.Step], default=str(usage.Step.DAY))
    after = serializers.DateTimeField(required=False)


class SummaryView(APIView):
    """GET sums of calls by model, key, app or user, or of deliveries by endpoint or target."""

    permission_classes = [VIEW_USAGE]

    @answers(Page(SumsByJson, next=str))
    def get(self, call: Call) -> Response:
        """`{"results": [...], "next": key or null}`; the key of what has none is null."""
        wanted = read(SummaryQuery, call.query_params, actor=actor_in(call))
        by, limit = wanted["by"], wanted["limit"]
        found = usage.summary(wanted["range"], by, wanted["after"], limit + 1)
        page = found[:limit]
        results = [{str(by): value or None, **_json(total, wanted["hides"])} for value, total in page]
        return Response({"results": results, "next": str(page[-1][0]) if len(found) > limit else None})


class SeriesView(APIView):
    """GET sums of calls and of deliveries by the hour or the day, oldest first."""

    permission_classes = [VIEW_USAGE]

    @answers(Page(SumsAtJson, next=datetime))
    def get(self, call: Call) -> Response:
        """`{"results": [{"at", "what", ...}], "next": moment or null}`. `limit` counts moments."""
        wanted = read(SeriesQuery, call.query_params, actor=actor_in(call))
        limit = wanted["limit"]
        found = usage.series(wanted["range"], usage.Step(wanted["step"]), wanted.get("after"), limit + 1)
        moments = sorted({moment for moment, _, _ in found})
        last = moments[limit - 1] if len(moments) > limit else None
        results = [
            {"at": moment, "what": what, **_json(total, wanted["hides"])}
            for moment, what, total in found
            if last is None or moment <= last
        ]
        return Response({"results": results, "next": last})


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _json(total: usage.Total, hides: bool) -> dict[str, int]:
    """`hides`: what a charge is made of, which is the project's affair."""
    shown = {name: value for name, value in total.as_dict().items() if not (hides and name in ("cost", "markup"))}
    return {camel_case(name): value for name, value in shown.items()}

"""`/api/v1/breakers`: every breaker that is not closed, and closing one by hand. Those of one host key or binding are
at its `health`."""

from datetime import UTC, datetime
from typing import Any, Literal, TypedDict

from django.contrib.admin.models import CHANGE
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.control_api.answers import Rows, answers
from relay_admin.control_api.history import note
from relay_admin.control_api.nouns.host_keys import RedisAway
from relay_admin.control_api.paging import Query
from relay_admin.control_api.permissions import requires
from relay_admin.control_api.wire import ChoiceField, Strict, read
from relay_admin.redis_link import RedisAwayError
from relay_admin.traffic.breakers import breaker_reset, breakers_list
from relay_contract.redis.breakers import PAUSED, Entry
from relay_contract.traffic import BreakerKind, BreakerState, FailureClass

VIEW, RESET = "traffic.view_breakerevent", "traffic.reset_breaker"
STATES = [PAUSED, *(str(state) for state in BreakerState if state is not BreakerState.CLOSED)]


class StandingBreakerJson(TypedDict):
    """A breaker that is not closed. `breaker`: what a reset names. `since`: when it came into this state; `until`: when
    it is tried again. `upstreamName`: of the only model that it guards a key for."""

    breaker: str
    kind: Literal["host_key", "binding"]
    host: str
    hostKeyId: int | None
    bindingId: int | None
    upstreamName: str | None
    state: str
    reason: str
    since: datetime
    until: datetime


class ResetJson(TypedDict):
    """False: it was closed already."""

    isReset: bool


class BreakersQuery(Query):
    """Query of the list. `host`: its slug."""

    state = ChoiceField(STATES, required=False)
    reason = ChoiceField([str(reason) for reason in FailureClass], required=False)
    kind = ChoiceField([str(kind) for kind in BreakerKind], required=False)
    host = serializers.CharField(max_length=63, required=False)


class BreakerBody(Strict):
    """Body of a reset: `breaker`, as the list tells it."""

    breaker = serializers.CharField(max_length=400)


class BreakersView(APIView):
    """GET every breaker that is not closed, the one that changed last first."""

    permission_classes = [requires(VIEW)]

    @answers(Rows(StandingBreakerJson), refuses=(503,))
    def get(self, call: Request) -> Response:
        """`{"results": [...]}`, none where all is well. 503 while Redis is away."""
        wanted = read(BreakersQuery, call.query_params)
        try:
            entries = breakers_list()
        except RedisAwayError as problem:
            raise RedisAway(str(problem)) from None
        fitting = [entry for entry in entries if all(getattr(entry, name) == one for name, one in wanted.items())]
        return Response({"results": [_json(entry) for entry in fitting]})


class BreakerResetView(APIView):
    """POST closes one: calls go there again at once, without a probe."""

    permission_classes = [requires(VIEW, RESET)]

    @answers(ResetJson, refuses=(503,), name="resetBreaker")
    def post(self, call: Request) -> Response:
        """`{"isReset": ...}`."""
        named = read(BreakerBody, call.data)["breaker"]
        try:
            event = breaker_reset(field=named)
        except RedisAwayError as problem:
            raise RedisAway(str(problem)) from None
        if event is not None:
            note(call, event, CHANGE, "Reset.")
        return Response({"isReset": event is not None})


def _json(entry: Entry) -> dict[str, Any]:
    is_key = entry.kind is BreakerKind.HOST_KEY
    return {
        "breaker": entry.field,
        "kind": str(entry.kind),
        "host": entry.host,
        "hostKeyId": entry.row_id if is_key else None,
        "bindingId": None if is_key else entry.row_id,
        "upstreamName": entry.upstream_name or None,
        "state": entry.state,
        "reason": entry.reason,
        "since": datetime.fromtimestamp(entry.since_ms / 1000, UTC),
        "until": datetime.fromtimestamp(entry.until_ms / 1000, UTC),
    }

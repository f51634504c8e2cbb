"""What host keys and bindings have besides their rows: `/api/v1/host-keys/{id}/rotate`, and `health` and `reset` of the
breakers that guard them."""

from datetime import UTC, datetime
from typing import Any, TypedDict

from django.contrib.admin.models import CHANGE
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.http import Http404
from rest_framework import serializers
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from relay_admin.catalog import services
from relay_admin.catalog.row_services import row_held
from relay_admin.control_api.answers import Also, answers
from relay_admin.control_api.history import note
from relay_admin.control_api.nouns import etags
from relay_admin.control_api.nouns.fields import on_the_wire
from relay_admin.control_api.nouns.kinds import BY_LABEL
from relay_admin.control_api.nouns.views import KindView
from relay_admin.control_api.permissions import requires, user_of
from relay_admin.control_api.wire import Strict, read
from relay_admin.redis_link import RedisAwayError
from relay_admin.traffic.breakers import breaker_reset, breakers_of
from relay_contract.redis.breakers import Entry
from relay_contract.traffic import BreakerState

HOST_KEYS, BINDINGS = BY_LABEL["catalog.hostkey"], BY_LABEL["catalog.hostbinding"]


class RedisAway(APIException):
    """Breakers live in Redis."""

    status_code = 503
    default_code = "redis_away"
    action = "Try again once Redis answers; calls go on meanwhile as the edges can."


class RotateBody(Strict):
    """Body of a rotation: the new credential, as the vendor issued it."""

    value = serializers.CharField(max_length=8192, trim_whitespace=False)


class RotateView(KindView):
    """POST replaces a host key's value."""

    kind = HOST_KEYS

    def get_permissions(self) -> list[Any]:
        """As a change of the key."""
        return [self.kind.permission("change")]

    @answers(lambda view: view.kind.json, refuses=(412,))
    def post(self, call: Request, host_key_id: int) -> Response:
        """The key; edges send the new value within a second, and its breakers start afresh. If-Match is honoured."""
        found = self.row(call, "change", {"host_key_id": host_key_id})
        value = read(RotateBody, call.data)["value"]
        try:
            with row_held(row=found, by=user_of(call)) as row:
                etags.check(call, row)
                services.host_key_set_value(host_key=row, value=value)
                note(call, row, CHANGE, "Rotated.")
        except ObjectDoesNotExist:
            raise Http404 from None
        except ValidationError as refused:
            raise serializers.ValidationError({"value": on_the_wire(refused).detail[""]}) from None
        return self.told(call, found)


class BreakerJson(TypedDict):
    """`upstreamName`: of the only model that it guards a key for; null where it guards the whole."""

    state: str
    reason: str
    since: datetime
    until: datetime
    upstreamName: str | None


class HealthJson(TypedDict):
    """The breakers that guard a row."""

    isHealthy: bool
    breakers: list[BreakerJson]


class HealthView(KindView):
    """GET the breakers that guard a row."""

    def get_permissions(self) -> list[Any]:
        """As on the page of breakers."""
        return [requires(self.kind.permission_name("view"), "traffic.view_breakerevent")()]

    @answers(HealthJson, refuses=(503,))
    def get(self, call: Request, row_id: int) -> Response:
        """`{"isHealthy": ..., "breakers": [...]}`, none where all is well. 503 while Redis is away."""
        return Response(_health(self.row(call, "view", {"row_id": row_id})))


class ResetView(KindView):
    """POST closes the breakers that guard a row."""

    def get_permissions(self) -> list[Any]:
        """As the button on the page of breakers."""
        needed = ("traffic.view_breakerevent", "traffic.reset_breaker")
        return [requires(self.kind.permission_name("view"), *needed)()]

    @answers(Also("ResetHealth", HealthJson, {"reset": int}), refuses=(503,))
    def post(self, call: Request, row_id: int) -> Response:
        """The health afterwards, with `reset`: how many were closed. Calls go there again at once, without a probe."""
        read(Strict, call.data)
        row = self.row(call, "view", {"row_id": row_id})
        try:
            events = [breaker_reset(field=entry.field) for entry in breakers_of(row)]
        except RedisAwayError as problem:
            raise RedisAway(str(problem)) from None
        closed = [event for event in events if event is not None]
        for event in closed:
            note(call, event, CHANGE, f"Reset, of {row}.")
        return Response({**_health(row), "reset": len(closed)})


def _health(row: Any) -> dict[str, Any]:
    try:
        entries = breakers_of(row)
    except RedisAwayError as problem:
        raise RedisAway(str(problem)) from None
    return {
        "isHealthy": all(entry.state == BreakerState.SLOW_START for entry in entries),
        "breakers": [_breaker_json(entry) for entry in entries],
    }


def _breaker_json(entry: Entry) -> dict[str, Any]:
    """`upstreamName`: of the only model that it guards a key for; null where it guards the whole."""
    return {
        "state": entry.state,
        "reason": entry.reason,
        "since": datetime.fromtimestamp(entry.since_ms / 1000, UTC),
        "until": datetime.fromtimestamp(entry.until_ms / 1000, UTC),
        "upstreamName": entry.upstream_name or None,
    }


class HostKeyHealthView(HealthView):
    """GET the breakers of a host key."""

    kind = HOST_KEYS


class HostKeyResetView(ResetView):
    """POST closes those of a host key."""

    kind = HOST_KEYS


class BindingHealthView(HealthView):
    """GET the breaker of a binding."""

    kind = BINDINGS


class BindingResetView(ResetView):
    """POST closes that of a binding."""

    kind = BINDINGS

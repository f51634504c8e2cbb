"""`/api/v1/targets/{id}/enable` and `/disable`: what becomes of a target, and of the deliveries kept back for it."""

from typing import Any, TypedDict

from django.contrib.admin.models import CHANGE
from django.core.exceptions import ValidationError
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of
from relay_admin.catalog.models import Target
from relay_admin.control_api.answers import answers
from relay_admin.control_api.history import note
from relay_admin.control_api.permissions import actor_in, requires, user_of
from relay_admin.control_api.wire import ChoiceField, Strict, read
from relay_admin.deliveries import target_services

PERMISSION = requires("catalog.change_target", act=Act.MANAGE_ENDPOINTS)


class EnableBody(Strict):
    """Body of an enabling: what becomes of the deliveries kept back has to be said."""

    held = ChoiceField(target_services.HELD)


class EnabledJson(TypedDict):
    """What became of a target, and of the deliveries kept back for it."""

    id: int
    isEnabled: bool
    released: int
    discarded: int


class DisabledJson(TypedDict):
    """What became of a target. `held`: how many deliveries are kept back for it."""

    id: int
    isEnabled: bool
    held: int


class EnableTargetView(APIView):
    """POST `{"held": "release" | "discard"}` sends to the target again."""

    permission_classes = [PERMISSION]

    @answers(EnabledJson)
    def post(self, call: Request, target_id: int) -> Response:
        """200 with how many deliveries were released and discarded; 404 for an unknown target."""
        body = read(EnableBody, call.data)
        target = one_of(Target, actor_in(call), Act.MANAGE_ENDPOINTS, pk=target_id)
        try:
            done = target_services.target_enable(target=target, held=body["held"], by=user_of(call))
        except ValidationError as error:
            raise serializers.ValidationError({"target": error.messages}) from None
        note(call, target, CHANGE, f"Enabled; released {done.released}, discarded {done.discarded} deliveries.")
        return Response({**_state(target), "released": done.released, "discarded": done.discarded})


class DisableTargetView(APIView):
    """POST stops sending to the target; its deliveries are held."""

    permission_classes = [PERMISSION]

    @answers(DisabledJson)
    def post(self, call: Request, target_id: int) -> Response:
        """200 with how many deliveries are held by now; 404 for an unknown target."""
        target = one_of(Target, actor_in(call), Act.MANAGE_ENDPOINTS, pk=target_id)
        target_services.target_disable(target=target, by=user_of(call))
        note(call, target, CHANGE, "Disabled.")
        return Response({**_state(target), "held": target_services.held_count(target=target)})


def _state(target: Target) -> dict[str, Any]:
    return {"id": target.pk, "isEnabled": target.is_enabled}

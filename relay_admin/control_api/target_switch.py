"""`/api/v1/targets/{id}/enable` and `/disable`: what becomes of a target, and of the deliveries kept back for it."""

from typing import Any, cast

from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import ValidationError
from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.models import User
from relay_admin.catalog.models import Target
from relay_admin.control_api.permissions import requires
from relay_admin.control_api.wire import Strict, read
from relay_admin.deliveries import target_services

PERMISSIONS = ("catalog.change_target",)


class EnableBody(Strict):
    """Body of an enabling: what becomes of the deliveries kept back has to be said."""

    held = serializers.ChoiceField(target_services.HELD)


class EnableTargetView(APIView):
    """POST `{"held": "release" | "discard"}` sends to the target again."""

    permission_classes = [requires(*PERMISSIONS)]

    def post(self, call: Request, target_id: int) -> Response:
        """200 with how many deliveries were released and discarded; 404 for an unknown target."""
        body = read(EnableBody, call.data)
        target = get_object_or_404(Target, pk=target_id)
        try:
            done = target_services.target_enable(target=target, held=body["held"], by=cast("User", call.user))
        except ValidationError as error:
            raise serializers.ValidationError({"target": error.messages}) from None
        _log(call, target, f"Enabled; released {done.released}, discarded {done.discarded} deliveries.")
        return Response({**_state(target), "released": done.released, "discarded": done.discarded})


class DisableTargetView(APIView):
    """POST stops sending to the target; its deliveries are held."""

    permission_classes = [requires(*PERMISSIONS)]

    def post(self, call: Request, target_id: int) -> Response:
        """200 with how many deliveries are held by now; 404 for an unknown target."""
        target = get_object_or_404(Target, pk=target_id)
        target_services.target_disable(target=target, by=cast("User", call.user))
        _log(call, target, "Disabled.")
        return Response({**_state(target), "held": target_services.held_count(target=target)})


def _state(target: Target) -> dict[str, Any]:
    return {"id": target.pk, "isEnabled": target.is_enabled}


def _log(call: Request, target: Target, said: str) -> None:
    """In the history that the target's page shows."""
    assert isinstance(call.user, User)
    LogEntry.objects.log_actions(call.user.pk, [target], CHANGE, change_message=said, single_object=True)

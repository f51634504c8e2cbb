"""`/api/v1/targets/{id}/secrets`: a target's signing secrets, rotated while deliveries go on."""

from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.http import Http404
from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.models import User
from relay_admin.catalog import target_secrets
from relay_admin.catalog.models import Target, TargetSecret
from relay_admin.control_api.permissions import requires
from relay_admin.control_api.wire import CamelCaseSerializer, Strict, read
from relay_contract.nouns import SecretKind

PERMISSION = requires("catalog.view_target", "catalog.reveal_signing_secret")


class SecretJson(CamelCaseSerializer):
    """A secret without its value."""

    class Meta:
        model = TargetSecret
        fields = ["id", "kind", "created_at", "expires_at"]


class NewSecretBody(Strict):
    """Body of a POST. `overlapSeconds` null: nothing expires, the new one comes beside the others. `secret`: one that
    was made elsewhere."""

    kind = serializers.ChoiceField([str(kind) for kind in SecretKind], default=str(SecretKind.V1))
    overlapSeconds = serializers.IntegerField(  # noqa: N815  # as on the wire
        min_value=0,
        max_value=target_secrets.MAX_OVERLAP_SECONDS,
        default=target_secrets.DEFAULT_OVERLAP_SECONDS,
        allow_null=True,
    )
    secret = serializers.CharField(max_length=200, required=False, trim_whitespace=True)


class SecretsView(APIView):
    """GET those that are listed, newest first; POST makes another."""

    permission_classes = [PERMISSION]

    def get(self, _call: Request, target_id: int) -> Response:
        """`{"results": [...]}`, expired ones of the last days included. Values are not told again."""
        target = get_object_or_404(Target, pk=target_id)
        return Response({"results": SecretJson(target.secrets.order_by("-pk"), many=True).data})

    def post(self, call: Request, target_id: int) -> Response:
        """201 with the value, this once; for a key pair with its public half too. Those of the same kind expire after
        the overlap."""
        target = get_object_or_404(Target, pk=target_id)
        wanted = read(NewSecretBody, call.data)
        kind, value, overlap_seconds = SecretKind(wanted["kind"]), wanted.get("secret"), wanted["overlapSeconds"]
        if overlap_seconds is None:
            made = target_secrets.target_secret_add(target=target, kind=kind, value=value)
        else:
            made = target_secrets.target_secret_rotate(
                target=target, kind=kind, overlap_seconds=overlap_seconds, value=value
            )
        _log(call, target, f"Made {kind} signing secret {made.row.pk}.")
        answer: dict[str, Any] = {**SecretJson(made.row).data, "secret": made.value}
        if public := target_secrets.public_key(made.value):
            answer["publicKey"] = public
        return Response(answer, status=201, headers={"Cache-Control": "no-store"})


class SecretView(APIView):
    """DELETE lets one sign no more."""

    permission_classes = [PERMISSION]

    def delete(self, call: Request, target_id: int, secret_id: int) -> Response:
        """204, also for one that had expired. 400 for the last one that signs."""
        secret = TargetSecret.objects.filter(pk=secret_id, target=target_id).select_related("target").first()
        if secret is None:
            raise Http404
        target_secrets.target_secret_expire(secret=secret)
        _log(call, secret.target, f"Signing secret {secret.pk} signs no more.")
        return Response(status=204)


def _log(call: Request, target: Target, said: str) -> None:
    """The same history as the admin's."""
    assert isinstance(call.user, User)
    LogEntry.objects.log_actions(call.user.pk, [target], CHANGE, change_message=said, single_object=True)

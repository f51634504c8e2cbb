"""`/api/v1/targets/{id}/secrets`: a target's signing secrets, rotated while deliveries go on."""

from typing import Any, NotRequired

from django.contrib.admin.models import CHANGE
from django.http import Http404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of
from relay_admin.catalog import target_secrets
from relay_admin.catalog.models import Target, TargetSecret
from relay_admin.control_api.answers import Also, Rows, answers
from relay_admin.control_api.history import note
from relay_admin.control_api.permissions import actor_in, requires
from relay_admin.control_api.wire import CamelCaseSerializer, ChoiceField, Strict, read
from relay_contract.nouns import SecretKind

PERMISSION = requires("catalog.view_target", "catalog.reveal_signing_secret", act=Act.MANAGE_ENDPOINTS)


class TargetSecretJson(CamelCaseSerializer):
    """A secret without its value."""

    class Meta:
        model = TargetSecret
        fields = ["id", "kind", "created_at", "expires_at"]


class NewTargetSecretBody(Strict):
    """Body of a POST. `overlapSeconds` null: nothing expires, the new one comes beside the others. `secret`: one that
    was made elsewhere."""

    kind = ChoiceField([str(kind) for kind in SecretKind], default=str(SecretKind.V1))
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

    @answers(Rows(TargetSecretJson))
    def get(self, call: Request, target_id: int) -> Response:
        """`{"results": [...]}`, expired ones of the last days included. Values are not told again."""
        target = _target(call, target_id)
        return Response({"results": TargetSecretJson(target.secrets.order_by("-pk"), many=True).data})

    @answers({201: Also("MadeTargetSecret", TargetSecretJson, {"secret": str, "publicKey": NotRequired[str]})})
    def post(self, call: Request, target_id: int) -> Response:
        """201 with the value, this once; for a key pair with its public half too. Those of the same kind expire after
        the overlap."""
        target = _target(call, target_id)
        wanted = read(NewTargetSecretBody, call.data)
        kind, value, overlap_seconds = SecretKind(wanted["kind"]), wanted.get("secret"), wanted["overlapSeconds"]
        if overlap_seconds is None:
            made = target_secrets.target_secret_add(target=target, kind=kind, value=value)
        else:
            made = target_secrets.target_secret_rotate(
                target=target, kind=kind, overlap_seconds=overlap_seconds, value=value
            )
        note(call, target, CHANGE, f"Made {kind} signing secret {made.row.pk}.")
        answer: dict[str, Any] = {**TargetSecretJson(made.row).data, "secret": made.value}
        if public := target_secrets.public_key(made.value):
            answer["publicKey"] = public
        return Response(answer, status=201, headers={"Cache-Control": "no-store"})


class SecretView(APIView):
    """DELETE lets one sign no more."""

    permission_classes = [PERMISSION]

    @answers(refuses=(400,))
    def delete(self, call: Request, target_id: int, secret_id: int) -> Response:
        """204, also for one that had expired. 400 for the last one that signs."""
        secret = _target(call, target_id).secrets.select_related("target").filter(pk=secret_id).first()
        if secret is None:
            raise Http404
        target_secrets.target_secret_expire(secret=secret)
        note(call, secret.target, CHANGE, f"Signing secret {secret.pk} signs no more.")
        return Response(status=204)


def _target(call: Request, target_id: int) -> Target:
    return one_of(Target, actor_in(call), Act.MANAGE_ENDPOINTS, pk=target_id)

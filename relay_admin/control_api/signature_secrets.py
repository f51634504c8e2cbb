"""`/api/v1/endpoints/{project}/{line}/{endpoint}/signature-secret`: setting what callers sign with.
No answer holds it."""

from datetime import datetime
from typing import TypedDict

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of
from relay_admin.catalog import services
from relay_admin.catalog.models import Endpoint
from relay_admin.control_api.answers import answers
from relay_admin.control_api.permissions import actor_in, requires
from relay_admin.control_api.wire import Strict, read


class SignatureSecretBody(Strict):
    """Body of a PUT. `overlapSeconds`: how long the secret before counts too; 0: not at all."""

    secret = serializers.CharField(max_length=4096)
    overlapSeconds = serializers.IntegerField(  # noqa: N815 (the wire's name)
        min_value=0, max_value=services.MAX_OVERLAP_SECONDS, default=services.OVERLAP_SECONDS
    )


class SignatureStateJson(TypedDict):
    """What callers sign with, without it. `previousUntil`: how long the secret before counts too."""

    preset: str
    isUsable: bool
    previousUntil: datetime | None


class SignatureSecretView(APIView):
    """GET its state; PUT a new one; DELETE ends an overlap."""

    permission_classes = [requires("catalog.change_endpoint", act=Act.MANAGE_ENDPOINTS)]

    @answers(SignatureStateJson)
    def get(self, call: Request, project: str, line: str, endpoint: str) -> Response:
        """`{"preset", "isUsable", "previousUntil"}`; 404 where there is no such endpoint."""
        return Response(_state(_endpoint(call, project, line, endpoint)))

    @answers(SignatureStateJson)
    def put(self, call: Request, project: str, line: str, endpoint: str) -> Response:
        """400 for a secret that the endpoint's preset could not use."""
        body = read(SignatureSecretBody, call.data)
        row, seconds = _endpoint(call, project, line, endpoint), body["overlapSeconds"]
        secret = body["secret"]
        if seconds:
            services.endpoint_signature_secret_rotate(endpoint=row, secret=secret, overlap_seconds=seconds)
        else:
            services.endpoint_signature_secret_set(endpoint=row, secret=secret)
        return Response(_state(_endpoint(call, project, line, endpoint)))

    @answers(SignatureStateJson, name="endSignatureSecretOverlap")
    def delete(self, call: Request, project: str, line: str, endpoint: str) -> Response:
        """The secret before the current one stops counting."""
        row = _endpoint(call, project, line, endpoint)
        return Response(_state(services.endpoint_signature_overlap_end(endpoint=row)))


def _endpoint(call: Request, project: str, line: str, endpoint: str) -> Endpoint:
    named = {"line__project__slug": project, "line__slug": line, "slug": endpoint}
    return one_of(Endpoint, actor_in(call), Act.MANAGE_ENDPOINTS, **named)


def _state(endpoint: Endpoint) -> SignatureStateJson:
    return {
        "preset": endpoint.signature_preset,
        "isUsable": services.endpoint_can_check_signatures(endpoint=endpoint),
        "previousUntil": endpoint.previous_signature_until,
    }

"""`POST /api/v1/endpoints/{project}/{line}/{endpoint}/dry-run`: what would become of a call. Nothing happens."""

import base64
import json
from dataclasses import asdict
from typing import Any, TypedDict

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of
from relay_admin.catalog.lines import dry_run
from relay_admin.catalog.lines.dry_run import Run, Sample, SampleAnswer, Step, TargetRun
from relay_admin.catalog.models import Endpoint
from relay_admin.control_api.answers import answers
from relay_admin.control_api.lines import line_of
from relay_admin.control_api.permissions import actor_in, requires
from relay_admin.control_api.wire import ChoiceField, Strict, camel_case, read
from relay_contract.nouns import ENDPOINT_METHODS

MAX_BODY_BYTES = 262_144
MAX_HEADERS = 100
NEEDED = ("catalog.view_endpoint", "catalog.view_target", "catalog.change_target")


class _Body(Strict):
    """A body: JSON as it is, or bytes in base64."""

    headers = serializers.DictField(child=serializers.CharField(max_length=8192, allow_blank=True), default=dict)
    body = serializers.JSONField(required=False)
    bodyText = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)  # noqa: N815  # as on the wire
    bodyBase64 = serializers.CharField(required=False, allow_blank=True)  # noqa: N815

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        """One body, as bytes, and names in lower case."""
        if len({"body", "bodyText", "bodyBase64"} & set(given)) > 1:
            raise serializers.ValidationError({"body": ["Write the body once."]})
        if len(given["headers"]) > MAX_HEADERS:
            raise serializers.ValidationError({"headers": [f"At most {MAX_HEADERS} headers."]})
        body = b""
        try:
            if "body" in given:
                body = json.dumps(given["body"], ensure_ascii=False, separators=(",", ":")).encode()
            elif "bodyText" in given:
                body = given["bodyText"].encode()
            elif "bodyBase64" in given:
                body = base64.b64decode(given["bodyBase64"], validate=True)
        except ValueError:  # of the encoding, and of base64
            raise serializers.ValidationError({"body": ["It is neither Unicode nor base64."]}) from None
        if len(body) > MAX_BODY_BYTES:
            raise serializers.ValidationError({"body": [f"A dry run takes at most {MAX_BODY_BYTES} bytes."]})
        return given | {"headers": {name.lower(): text for name, text in given["headers"].items()}, "bytes": body}


class AnswerBody(_Body):
    """What a sync target might answer."""

    status = serializers.IntegerField(min_value=100, max_value=599, default=200)


class SampleBody(_Body):
    """The call. `draft`: as the line's draft has the endpoint."""

    method = ChoiceField(list(ENDPOINT_METHODS), default="POST")
    address = serializers.IPAddressField(required=False)
    answer = AnswerBody(required=False)
    draft = serializers.BooleanField(default=False)


class RunJson(TypedDict):
    """What would become of the call; `targets` is empty where a step refuses it. Credits are micro-credits."""

    isAccepted: bool
    steps: list[Step]
    eventType: str
    targets: list[TargetRun]
    credits: int


class DryRunView(APIView):
    """POST a sample."""

    permission_classes = [requires(*NEEDED, act=Act.MANAGE_ENDPOINTS)]

    @answers(RunJson, refuses=(409, 422))
    def post(self, request: Request, project: str, line: str, endpoint: str) -> Response:
        """200 with the verdict of each step, also of a call that would be refused."""
        given = read(SampleBody, request.data)
        sample = sample_of(given)
        found = line_of(request, project, line)
        if given["draft"]:
            return Response(run_json(dry_run.run_draft(found, endpoint, sample)))
        related, asked = "line__project", {"line": found, "slug": endpoint}
        row = one_of(Endpoint, actor_in(request), Act.MANAGE_ENDPOINTS, related, **asked)
        return Response(run_json(dry_run.run_now(row, sample)))


def sample_of(given: dict[str, Any]) -> Sample:
    """What a checked body asks."""
    answer = given.get("answer")
    return Sample(
        given["method"],
        _with_type(given),
        given["bytes"],
        given.get("address"),
        None if answer is None else SampleAnswer(answer["status"], _with_type(answer), answer["bytes"]),
    )


def _with_type(given: dict[str, Any]) -> dict[str, str]:
    """JSON is sent as JSON unless something else is said."""
    return ({"content-type": "application/json"} if "body" in given else {}) | given["headers"]


def run_json(run: Run) -> dict[str, Any]:
    """The run under its wire names."""
    return {
        "isAccepted": run.is_accepted,
        "steps": [_renamed(asdict(step)) for step in run.steps],
        "eventType": run.event_type,
        "targets": [_renamed(asdict(target)) for target in run.targets],
        "credits": run.credits,
    }


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    return {camel_case(name): value for name, value in fields.items()}

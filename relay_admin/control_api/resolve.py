"""`POST /api/v1/resolve`: where a call of a relay key would go, and why. The edge answers; see `edge_client`."""

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin import edge_client
from relay_admin.access.models import RelayKey
from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of
from relay_admin.control_api.answers import answers
from relay_admin.control_api.permissions import actor_in, requires
from relay_admin.control_api.wire import ChoiceField, Strict, read


class EdgeUnavailable(APIException):
    """The edge could not be asked. The control plane itself is well."""

    status_code = 503
    default_code = "edge_unavailable"


class ResolveBody(Strict):
    """Body of a question. `relayKey` is a row's id, as `GET /api/v1/requests/...` tells it."""

    relayKey = serializers.IntegerField(min_value=1, max_value=2**63 - 1)  # noqa: N815  # as on the wire
    model = serializers.CharField(max_length=128)
    surface = ChoiceField(list(edge_client.SURFACES), default="chat_completions")


class ResolveView(APIView):
    """POST a question; nothing is changed by it."""

    permission_classes = [requires("access.view_relaykey")]

    @answers(dict[str, Any], refuses=(404, 503))
    def post(self, call: Request) -> Response:
        """200 with the edge's explanation, also of a call that would be refused."""
        asked = read(ResolveBody, call.data)
        relay_key = one_of(RelayKey, actor_in(call), Act.SEE_KEYS, pk=asked["relayKey"])
        try:
            return Response(edge_client.resolve(relay_key=relay_key, model=asked["model"], surface=asked["surface"]))
        except edge_client.EdgeError as error:
            raise EdgeUnavailable(str(error)) from error

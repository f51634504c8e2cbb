"""`/api/v1/calls`: what calls to models used, what they cost, and how they went."""

from typing import Any, TypedDict
from uuid import UUID

from django.db.models import Q, QuerySet
from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of, rows_of
from relay_admin.control_api.answers import Page, answers
from relay_admin.control_api.paging import Query, page_of
from relay_admin.control_api.permissions import actor_in, requires
from relay_admin.control_api.wire import CamelCaseSerializer, ChoiceField, camel_case, read
from relay_admin.traffic.models import Call
from relay_admin.traffic.selectors import STATUS_CLASSES, calls_before, in_status_class, name_calls
from relay_contract.nouns import KeyMode
from relay_contract.pricing import usd_text
from relay_contract.usage import METERS

MAX_PAGE = 200


class NamedJson(TypedDict):
    """A row; `name` is null when it was deleted."""

    id: int
    name: str | None


class CostJson(TypedDict):
    """What a call cost, as an integer for sums and as text for people."""

    nanousd: int
    usd: str
    pricingId: int | None
    pricingVersion: int | None
    estimatedPrice: bool
    rates: list[dict[str, Any]] | None


_OF_THE_PROJECT = frozenset({"relayKey", "tags", "host", "hostKeyId", "bindingId", "attempts", "cost", "upstreamUs"})


class CallJson(CamelCaseSerializer):
    """A call. Names are null when what they name was deleted; `cost` is null when nobody knew a price. Its `rates` are
    those of the version that it was priced by, null for a call of a time before versions. A call came with a relay key
    or with an application's access token: the other is null. Whoever sees it only because they made it is told what
    they are charged, and not how the relay came to serve it or at what cost (`_OF_THE_PROJECT`)."""

    may_lack = _OF_THE_PROJECT
    project = serializers.CharField(source="project_slug", allow_null=True)
    relay_key = serializers.SerializerMethodField()
    application = serializers.SerializerMethodField()
    usage = serializers.SerializerMethodField()
    cost = serializers.SerializerMethodField()

    class Meta:
        model = Call
        fields = [
            "id",
            "request_id",
            "received_at",
            "project",
            "relay_key",
            "application",
            "user_id",
            "mode",
            "surface",
            "tags",
            "requested_model",
            "model",
            "host",
            "host_key_id",
            "binding_id",
            "status",
            "error",
            "error_source",
            "finish",
            "is_stream",
            "attempts",
            "usage_source",
            "usage",
            "cost",
            "charge_microcredits",
            "total_us",
            "upstream_us",
            "first_token_us",
            "bytes_in",
            "bytes_out",
        ]

    def to_representation(self, instance: Call) -> dict[str, Any]:
        """With the context's `actor`: who asks."""
        shown = super().to_representation(instance)
        actor = self.context["actor"]
        if actor.is_operator or instance.project_id in actor.projects(Act.SEE_TRAFFIC):
            return shown
        return {name: value for name, value in shown.items() if name not in _OF_THE_PROJECT}

    def get_relay_key(self, call: Call) -> NamedJson | None:
        """Named by the queryset, see `selectors`. None of a call with an access token."""
        if call.relay_key_id is None:
            return None
        return {"id": call.relay_key_id, "name": getattr(call, "relay_key_name", None)}

    def get_application(self, call: Call) -> NamedJson | None:
        """The same of the token's application."""
        if call.application_id is None:
            return None
        return {"id": call.application_id, "name": getattr(call, "application_name", None)}

    def get_usage(self, call: Call) -> dict[str, int]:
        """Each meter."""
        return {camel_case(meter): getattr(call, meter) for meter in METERS}

    def get_cost(self, call: Call) -> CostJson | None:
        """As an integer for sums, and as text for people."""
        if call.cost_nanousd is None:
            return None
        rates = getattr(call, "rates", None)
        return {
            "nanousd": call.cost_nanousd,
            "usd": usd_text(call.cost_nanousd),
            "pricingId": call.pricing_id,
            "pricingVersion": call.pricing_version or None,
            "estimatedPrice": call.estimated_price,
            "rates": None if rates is None else [{camel_case(name): of for name, of in one.items()} for one in rates],
        }


class CallsQuery(Query):
    """Query of a list. `status` is one status or a class of them; `after` is the `next` of the page before."""

    project = serializers.CharField(max_length=63, required=False)
    key = serializers.IntegerField(min_value=1, max_value=2**63 - 1, required=False)
    model = serializers.CharField(max_length=128, required=False)
    host = serializers.CharField(max_length=63, required=False)
    status = serializers.RegexField(rf"^(?:[1-5][0-9]{{2}}|{'|'.join(STATUS_CLASSES)})\Z", required=False)
    error = serializers.CharField(max_length=64, required=False)
    mode = ChoiceField([str(mode) for mode in KeyMode], required=False)
    request = serializers.CharField(max_length=128, required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    after = serializers.UUIDField(required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)


_LOOKUPS = {
    "project": "project__slug",
    "key": "relay_key_id",
    "model": "model",
    "host": "host",
    "error": "error",
    "mode": "mode",
    "request": "request_id",
    "since": "received_at__gte",
    "until": "received_at__lt",
}


class CallsView(APIView):
    """GET calls, newest first."""

    permission_classes = [requires("traffic.view_call", act=Act.SEE_TRAFFIC, own=True)]

    @answers(Page(CallJson, next=str))
    def get(self, request: Request) -> Response:
        """`{"results": [...], "next": id or null}`."""
        wanted = read(CallsQuery, request.query_params)
        rows = _narrowed(name_calls(_seen(request)).order_by("-received_at", "-id"), wanted)
        page, more = page_of(rows, wanted["limit"])
        return Response(
            {
                "results": CallJson(page, many=True, context={"actor": actor_in(request)}).data,
                "next": str(page[-1].id) if more else None,
            }
        )


class CallView(APIView):
    """GET one call."""

    permission_classes = [requires("traffic.view_call", act=Act.SEE_TRAFFIC, own=True)]

    @answers(CallJson)
    def get(self, request: Request, call_id: UUID) -> Response:
        """404 for an id that is not known, or whose retention is over."""
        one_of(Call, actor_in(request), Act.SEE_TRAFFIC, pk=call_id)
        call = get_object_or_404(name_calls(_seen(request)), pk=call_id)
        return Response(CallJson(call, context={"actor": actor_in(request)}).data)


def _seen(request: Request) -> QuerySet[Call]:
    return rows_of(Call, actor_in(request), Act.SEE_TRAFFIC)


def _narrowed(rows: QuerySet[Call], wanted: dict[str, Any]) -> QuerySet[Call]:
    """Raises ValidationError for an `after` that is gone."""
    seen = rows
    rows = rows.filter(**{lookup: wanted[name] for name, lookup in _LOOKUPS.items() if name in wanted})
    if status := wanted.get("status"):
        rows = rows.filter(in_status_class(status) if status in STATUS_CLASSES else Q(status=int(status)))
    if "after" in wanted:
        last = seen.filter(pk=wanted["after"]).first()
        if last is None:
            raise serializers.ValidationError({"after": ["That call is not kept any more. Start with the first page."]})
        rows = calls_before(rows, last)
    return rows

"""`/api/v1/relay-keys`: minting, changing, rotating and revoking the bearers of apps. A token is told once."""

from datetime import timedelta
from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.db import transaction
from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access import services
from relay_admin.access.models import RelayKey, User
from relay_admin.catalog.models import Policy, Project, RateLimit
from relay_admin.control_api.paging import Query, page_of
from relay_admin.control_api.permissions import requires
from relay_admin.control_api.wire import CamelCaseSerializer, Strict, read
from relay_contract.ledger import MAX_AMOUNT
from relay_contract.nouns import KeyMode, Payer, Scope
from relay_contract.periods import Period

MAX_PAGE = 200
_SECONDS = 86_400
_NO_STORE = {"Cache-Control": "no-store"}
_SEES, _ADDS, _CHANGES = "access.view_relaykey", "access.add_relaykey", "access.change_relaykey"


class RelayKeyJson(CamelCaseSerializer):
    """A key without its token."""

    project = serializers.SlugRelatedField("slug", read_only=True)
    policy = serializers.SlugRelatedField("slug", read_only=True)
    rate_limit = serializers.SlugRelatedField("slug", read_only=True)
    ends_at = serializers.DateTimeField()

    class Meta:
        model = RelayKey
        fields = [
            *("id", "project", "name", "mode", "key_id", "scopes", "policy", "rate_limit", "user_id"),
            *("pays", "budget"),
            *("captures_payloads", "allowed_networks", "expires_at", "ends_at", "successor_id", "revoked_at"),
            "created_at",
        ]


class BudgetBody(Strict):
    """What may be spent in a calendar period, UTC."""

    microcredits = serializers.IntegerField(min_value=0, max_value=MAX_AMOUNT)
    period = serializers.ChoiceField([str(period) for period in Period])


class KeyBody(Strict):
    """What a PATCH may change; of a POST the optional half."""

    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(child=serializers.ChoiceField([str(scope) for scope in Scope]), allow_empty=False)
    policy = serializers.SlugRelatedField("slug", queryset=Policy.objects.all(), allow_null=True, required=False)
    rateLimit = serializers.SlugRelatedField(  # noqa: N815  # as on the wire
        "slug", queryset=RateLimit.objects.all(), allow_null=True, required=False, source="rate_limit"
    )
    capturesPayloads = serializers.BooleanField(required=False, source="captures_payloads")  # noqa: N815
    allowedNetworks = serializers.ListField(  # noqa: N815
        child=serializers.CharField(max_length=43), required=False, source="allowed_networks"
    )
    userId = serializers.PrimaryKeyRelatedField(  # noqa: N815
        queryset=User.objects.all(), allow_null=True, required=False, source="user"
    )
    pays = serializers.ChoiceField([str(payer) for payer in Payer], required=False)
    budget = BudgetBody(allow_null=True, required=False)
    expiresAt = serializers.DateTimeField(allow_null=True, required=False, source="expires_at")  # noqa: N815


class NewKeyBody(KeyBody):
    """Body of a POST."""

    project = serializers.SlugRelatedField("slug", queryset=Project.objects.all())
    mode = serializers.ChoiceField([str(mode) for mode in KeyMode], default=str(KeyMode.LIVE))


class RotateBody(Strict):
    """`overlapSeconds`: how long the key works beside its successor."""

    overlapSeconds = serializers.IntegerField(  # noqa: N815
        min_value=0,
        max_value=services.MAX_OVERLAP.days * _SECONDS,
        default=services.OVERLAP.days * _SECONDS,
    )


class Page(Query):
    """Query of a list. `after` is the `next` of the page before."""

    project = serializers.CharField(max_length=63, required=False)
    after = serializers.IntegerField(min_value=1, max_value=2**63 - 1, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)


class RelayKeysView(APIView):
    """GET keys, newest first; POST mints one."""

    def get_permissions(self) -> list[Any]:
        """Seeing is one right, minting another."""
        return [requires(_ADDS if self.request.method == "POST" else _SEES)()]

    def get(self, call: Request) -> Response:
        """`{"results": [...], "next": id or null}`."""
        wanted = read(Page, call.query_params)
        rows = _keys().order_by("-pk")
        if "project" in wanted:
            rows = rows.filter(project__slug=wanted["project"])
        if "after" in wanted:
            rows = rows.filter(pk__lt=wanted["after"])
        page, more = page_of(rows, wanted["limit"])
        return Response({"results": RelayKeyJson(page, many=True).data, "next": page[-1].pk if more else None})

    def post(self, call: Request) -> Response:
        """201 with the token, this once."""
        body = read(NewKeyBody, call.data)
        assert isinstance(call.user, User)
        minted = services.relay_key_mint(**body, created_by=call.user)
        _log(call, minted.relay_key, ADDITION, "Minted.")
        return _shown_once(minted)


class RelayKeyView(APIView):
    """GET a key; PATCH what is its owner's to change."""

    def get_permissions(self) -> list[Any]:
        """As in the admin."""
        return [requires(_CHANGES if self.request.method == "PATCH" else _SEES)()]

    def get(self, _call: Request, key_number: int) -> Response:
        """404 for an id that is not known."""
        return Response(RelayKeyJson(_key(key_number)).data)

    def patch(self, call: Request, key_number: int) -> Response:
        """The fields that were sent."""
        body = read(KeyBody, call.data, partial=True)
        with transaction.atomic():
            key = get_object_or_404(_keys().select_for_update(of=("self",)), pk=key_number)
            for name, value in body.items():
                setattr(key, name, value)
            key.full_clean()
            key.save(update_fields=[*body, "wallet_id"])
            _log(call, key, CHANGE, f"Changed {', '.join(sorted(body)) or 'nothing'}.")
        return Response(RelayKeyJson(key).data)


class RotateView(APIView):
    """POST mints a successor."""

    permission_classes = [requires(_ADDS, _CHANGES)]

    def post(self, call: Request, key_number: int) -> Response:
        """201 with the successor and its token, this once. 400 for a key that has ended or has a successor."""
        body = read(RotateBody, call.data)
        assert isinstance(call.user, User)
        key, overlap = _key(key_number), timedelta(seconds=body["overlapSeconds"])
        minted = services.relay_key_rotate(relay_key=key, overlap=overlap, created_by=call.user)
        _log(call, key, CHANGE, f"Rotated: {minted.relay_key} takes its place.")
        _log(call, minted.relay_key, ADDITION, f"Takes the place of {key}.")
        return _shown_once(minted)


class RevokeView(APIView):
    """POST ends a key at once."""

    permission_classes = [requires(_CHANGES)]

    def post(self, call: Request, key_number: int) -> Response:
        """The key, also where it was revoked before."""
        key = _key(key_number)
        if services.relay_key_revoke(relay_key=key):
            _log(call, key, CHANGE, "Revoked.")
        return Response(RelayKeyJson(key).data)


def _keys() -> Any:
    return RelayKey.objects.select_related("project", "policy", "rate_limit")


def _key(key_number: int) -> RelayKey:
    found: RelayKey = get_object_or_404(_keys(), pk=key_number)
    return found


def _shown_once(minted: services.MintedRelayKey) -> Response:
    return Response({**RelayKeyJson(minted.relay_key).data, "token": minted.token}, status=201, headers=_NO_STORE)


def _log(call: Request, key: RelayKey, action: int, said: str) -> None:
    """The same history as the admin's."""
    assert isinstance(call.user, User)
    LogEntry.objects.log_actions(call.user.pk, [key], action, change_message=said, single_object=True)

"""`/api/v1/top-ups`: credits that are paid for. Amounts in micro-credits, prices in a currency's smallest unit."""

from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

from django.http import Http404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.models import User
from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of, rows_of
from relay_admin.control_api.answers import Also, Page, Rows, answers
from relay_admin.control_api.errors import shape
from relay_admin.control_api.paging import MAX_ID, WalletRows, wallet_page
from relay_admin.control_api.permissions import actor_in, requires
from relay_admin.control_api.wallets import wallet_of
from relay_admin.control_api.wire import ChoiceField, Strict, read
from relay_admin.ledger import topups
from relay_admin.ledger.models import TopUp, TopUpState
from relay_admin.ledger.providers.base import ProviderError
from relay_admin.ledger.providers.stripe import packs, provider
from relay_contract.ids import uuid7
from relay_contract.ledger import MAX_AMOUNT

VIEW, ADD, REFUND = "ledger.view_topup", "ledger.add_topup", "ledger.refund_topup"
SEE = requires(VIEW, act=Act.SEE_MONEY, own=True)


class RefundJson(TypedDict):
    """What was taken back of a top-up."""

    source: UUID
    why: str
    priceMinor: int
    microcredits: int
    at: datetime


class TopUpJson(TypedDict):
    """A top-up. `id` is its number; `source` that of its entry."""

    id: int
    source: UUID
    wallet: int
    microcredits: int
    priceMinor: int
    currency: str
    provider: str
    reference: str | None
    state: str
    byUserId: int | None
    createdAt: datetime
    paidAt: datetime | None
    refunds: list[RefundJson]


class PackJson(TypedDict):
    """What credits are sold in. `pack` is what a top-up names."""

    pack: str
    microcredits: int
    priceMinor: int
    currency: str


def top_up_json(top_up: TopUp) -> TopUpJson:
    """Of its row."""
    return {
        "id": top_up.pk,
        "source": top_up.source,
        "wallet": top_up.account_id,
        "microcredits": top_up.microcredits,
        "priceMinor": top_up.price_minor,
        "currency": top_up.currency,
        "provider": top_up.provider,
        "reference": top_up.reference or None,
        "state": top_up.state,
        "byUserId": top_up.by_id,
        "createdAt": top_up.created_at,
        "paidAt": top_up.paid_at,
        "refunds": [
            {
                "source": refund.source,
                "why": refund.why,
                "priceMinor": refund.price_minor,
                "microcredits": refund.microcredits,
                "at": refund.at,
            }
            for refund in top_up.refunds.all()
        ],
    }


class TopUpsQuery(WalletRows):
    """And by state."""

    state = ChoiceField(TopUpState.values, required=False)


class TopUpBody(Strict):
    """One of the packs, for a wallet. With an `id` of the caller's it may be sent again: it is one top-up."""

    wallet = serializers.IntegerField(min_value=1, max_value=MAX_ID)
    pack = serializers.CharField(max_length=32)
    id = serializers.UUIDField(required=False)


class OutsideBody(Strict):
    """What was paid in another way. `reference` names the payment, which is credited once."""

    wallet = serializers.IntegerField(min_value=1, max_value=MAX_ID)
    microcredits = serializers.IntegerField(min_value=1, max_value=MAX_AMOUNT)
    priceMinor = serializers.IntegerField(  # noqa: N815  # as on the wire
        min_value=1, max_value=topups.MAX_PRICE_MINOR, source="price_minor"
    )
    currency = serializers.RegexField(r"^[a-z]{3}\Z")
    reference = serializers.CharField(max_length=topups.MAX_NOTE)
    id = serializers.UUIDField(required=False)


class RefundBody(Strict):
    """Without `priceMinor` all that is left."""

    priceMinor = serializers.IntegerField(  # noqa: N815
        min_value=1, max_value=topups.MAX_PRICE_MINOR, source="price_minor", required=False
    )


class PacksView(APIView):
    """GET what credits are sold in; none where payments are off."""

    permission_classes = [SEE]

    @answers(Rows(PackJson))
    def get(self, _call: Request) -> Response:
        """`pack` is what a top-up names."""
        found: list[PackJson] = [
            {
                "pack": str(pack),
                "microcredits": pack.microcredits,
                "priceMinor": pack.price_minor,
                "currency": pack.currency,
            }
            for pack in packs()
        ]
        return Response({"results": found})


class TopUpsView(APIView):
    """GET top-ups, newest first; POST begins one."""

    def get_permissions(self) -> list[Any]:
        """Seeing is one right, paying another."""
        pays = self.request.method == "POST"
        return [(requires(VIEW, ADD, act=Act.MANAGE_MONEY, own=True) if pays else SEE)()]

    @answers(Page(TopUpJson))
    def get(self, call: Request) -> Response:
        """`{"results": [...], "next": id or null}`."""
        wanted = read(TopUpsQuery, call.query_params)
        rows = rows_of(TopUp, actor_in(call), Act.SEE_MONEY).prefetch_related("refunds")
        if "state" in wanted:
            rows = rows.filter(state=wanted["state"])
        return Response(wallet_page(rows, wanted, top_up_json))

    @answers({201: Also("BegunTopUp", TopUpJson, {"checkoutUrl": str})}, refuses=(404, 409, 502))
    def post(self, call: Request) -> Response:
        """201 with `checkoutUrl`, where it is paid. 404 where payments are off, 502 where the provider is away."""
        stripe = provider()
        if stripe is None:
            raise Http404
        body = read(TopUpBody, call.data)
        pack = next((pack for pack in packs() if str(pack) == body["pack"]), None)
        if pack is None:
            raise serializers.ValidationError({"pack": ["There is no such pack: GET /api/v1/credit-packs."]})
        account = wallet_of(call, body["wallet"], Act.MANAGE_MONEY)
        assert isinstance(call.user, User)
        source = body.get("id") or uuid7()
        is_operator = actor_in(call).is_operator
        try:
            top_up, url = topups.topup_begin(
                account=account,
                pack=pack,
                by=call.user,
                provider=stripe,
                return_url=topups.return_url(account) if is_operator else topups.portal_url(account, source),
                source=source,
            )
        except topups.BegunOtherwiseError:
            return _conflict()
        except ProviderError as error:
            return Response(shape("provider_failed", str(error), "Send it again with the same `id`."), status=502)
        return Response({**top_up_json(top_up), "checkoutUrl": url}, status=201)


class OutsideView(APIView):
    """POST credits what was paid in another way."""

    permission_classes = [requires(VIEW, ADD)]

    @answers({200: TopUpJson, 201: TopUpJson}, refuses=(404, 409), name="recordOutsideTopUp")
    def post(self, call: Request) -> Response:
        """201; 200 where this payment was credited before; 409 where it was with something else."""
        asked = read(OutsideBody, call.data)
        account = wallet_of(call, asked.pop("wallet"))
        source = asked.pop("id", None)
        try:
            top_up, is_new = topups.topup_record_outside(account=account, by=call.user, source=source, **asked)
        except topups.BegunOtherwiseError:
            return _conflict()
        return Response(top_up_json(top_up), status=201 if is_new else 200)


class TopUpView(APIView):
    """GET one."""

    permission_classes = [SEE]

    @answers(TopUpJson)
    def get(self, call: Request, top_up_id: int) -> Response:
        """With its refunds."""
        return Response(top_up_json(_top_up(call, top_up_id)))


class RefundView(APIView):
    """POST takes back what was paid outside and is paid back outside."""

    permission_classes = [requires(VIEW, REFUND)]

    @answers({201: TopUpJson})
    def post(self, call: Request, top_up_id: int) -> Response:
        """201 with the top-up."""
        body = read(RefundBody, call.data)
        assert isinstance(call.user, User)
        topups.topup_refund(top_up=_top_up(call, top_up_id), price_minor=body.get("price_minor"), by=call.user)
        return Response(top_up_json(_top_up(call, top_up_id)), status=201)


def _top_up(call: Request, top_up_id: int) -> TopUp:
    return one_of(TopUp, actor_in(call), Act.SEE_MONEY, pk=min(top_up_id, MAX_ID))


def _conflict() -> Response:
    said = shape(
        "begun_otherwise",
        "This id or reference is that of another top-up.",
        "Read it at /api/v1/top-ups, and send an id and a reference of its own for another one.",
    )
    return Response(said, status=409)

"""`/api/v1/credit-codes`: made, told once, listed, ended, redeemed."""

from typing import Any, TypedDict
from uuid import UUID

from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.models import User
from relay_admin.access.roles import Act
from relay_admin.control_api.answers import Also, Page, answers
from relay_admin.control_api.errors import shape
from relay_admin.control_api.paging import MAX_ID, MAX_PAGE, Query, page_of
from relay_admin.control_api.permissions import requires
from relay_admin.control_api.wallets import wallet_of
from relay_admin.control_api.wire import CamelCaseSerializer, ChoiceField, Strict, read
from relay_admin.ledger import codes
from relay_admin.ledger.models import CreditCode
from relay_contract.ledger import MAX_AMOUNT
from relay_contract.nouns import KeyMode

VIEW, ADD, CHANGE, REDEEM = (f"ledger.{word}_creditcode" for word in ("view", "add", "change", "redeem"))


class CreditCodeJson(CamelCaseSerializer):
    """A code without its letters; `hint` has the last of them."""

    class Meta:
        model = CreditCode
        fields = [
            *("id", "hint", "mode", "microcredits", "most_uses", "uses", "expires_at", "is_enabled", "note", "by_id"),
            "created_at",
        ]


class RedemptionJson(TypedDict):
    """What a code gave."""

    id: UUID
    wallet: int
    microcredits: int


class CodesQuery(Query):
    """`after` is the `next` of the page before."""

    after = serializers.IntegerField(min_value=1, max_value=MAX_ID, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)


class NewCreditCodeBody(Strict):
    """A code."""

    microcredits = serializers.IntegerField(min_value=1, max_value=MAX_AMOUNT)
    mode = ChoiceField([str(mode) for mode in KeyMode], default=str(KeyMode.LIVE))
    mostUses = serializers.IntegerField(  # noqa: N815  # as on the wire
        min_value=1, max_value=codes.MAX_USES, default=1, source="most_uses"
    )
    expiresAt = serializers.DateTimeField(allow_null=True, default=None, source="expires_at")  # noqa: N815
    note = serializers.CharField(max_length=codes.MAX_NOTE)


class RedeemBody(Strict):
    """A code as somebody has it, and the wallet that gets its credits."""

    code = serializers.CharField(max_length=64)
    wallet = serializers.IntegerField(min_value=1, max_value=MAX_ID)


class CreditCodesView(APIView):
    """GET codes, newest first; POST makes one."""

    def get_permissions(self) -> list[Any]:
        """Seeing is one right, making another."""
        return [requires(VIEW, ADD)() if self.request.method == "POST" else requires(VIEW)()]

    @answers(Page(CreditCodeJson))
    def get(self, call: Request) -> Response:
        """`{"results": [...], "next": id or null}`."""
        wanted = read(CodesQuery, call.query_params)
        rows = CreditCode.objects.order_by("-pk")
        if "after" in wanted:
            rows = rows.filter(pk__lt=wanted["after"])
        page, more = page_of(rows, wanted["limit"])
        return Response({"results": CreditCodeJson(page, many=True).data, "next": page[-1].pk if more else None})

    @answers({201: Also("MadeCreditCode", CreditCodeJson, {"code": str})})
    def post(self, call: Request) -> Response:
        """201 with `code`, this once."""
        body = read(NewCreditCodeBody, call.data)
        made = codes.code_make(**{**body, "mode": KeyMode(body["mode"])}, by=call.user)
        answer = {**CreditCodeJson(made.row).data, "code": made.text}
        return Response(answer, status=201, headers={"Cache-Control": "no-store"})


class DisableView(APIView):
    """POST ends a code."""

    permission_classes = [requires(VIEW, CHANGE)]

    @answers(CreditCodeJson)
    def post(self, _call: Request, code_id: int) -> Response:
        """200 with the code; what was redeemed stays."""
        code = get_object_or_404(CreditCode, pk=min(code_id, MAX_ID))
        codes.code_disable(code=code)
        code.refresh_from_db()
        return Response(CreditCodeJson(code).data)


class RedeemView(APIView):
    """POST redeems a code for a wallet, once a user."""

    permission_classes = [requires("ledger.view_account", REDEEM, act=Act.MANAGE_MONEY, own=True)]

    @answers({201: RedemptionJson}, refuses=(404, 409, 429))
    def post(self, call: Request) -> Response:
        """201 with the credits; 409 with why not; 429 for who tried too often."""
        body = read(RedeemBody, call.data)
        wallet = wallet_of(call, body["wallet"], Act.MANAGE_MONEY)
        assert isinstance(call.user, User)
        try:
            redemption = codes.code_redeem(
                text=body["code"], account=wallet, by=call.user, address=call.META.get("REMOTE_ADDR", "")
            )
        except codes.CodeRefusedError as refused:
            return Response(shape(f"code_{refused.code}", str(refused), "Use another code."), status=409)
        credits_: RedemptionJson = {
            "id": redemption.source,
            "wallet": wallet.pk,
            "microcredits": redemption.code.microcredits,
        }
        return Response(credits_, status=201)

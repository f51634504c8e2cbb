"""`/api/v1/invoices`: what moved on a wallet in a month. Read only: they are issued by the schedule."""

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of, rows_of
from relay_admin.control_api.answers import Page, answers
from relay_admin.control_api.paging import MAX_ID, WalletRows, wallet_page
from relay_admin.control_api.permissions import actor_in, requires
from relay_admin.control_api.wire import CamelCaseSerializer, read
from relay_admin.ledger.models import Invoice

SEE = requires("ledger.view_invoice", act=Act.SEE_MONEY, own=True)


class InvoiceJson(CamelCaseSerializer):
    """An invoice, in micro-credits; prices of payments in their currency's smallest unit."""

    number = serializers.CharField(source="__str__")
    wallet = serializers.IntegerField(source="account_id")

    class Meta:
        model = Invoice
        fields = [
            *("id", "number", "wallet", "owner", "period_start", "period_end", "opening_microcredits"),
            *("closing_microcredits", "lines", "payments", "issued_at"),
        ]


class InvoicesView(APIView):
    """GET invoices, newest first."""

    permission_classes = [SEE]

    @answers(Page(InvoiceJson))
    def get(self, call: Request) -> Response:
        """`{"results": [...], "next": id or null}`."""
        wanted = read(WalletRows, call.query_params)
        rows = rows_of(Invoice, actor_in(call), Act.SEE_MONEY)
        return Response(wallet_page(rows, wanted, lambda row: dict(InvoiceJson(row).data)))


class InvoiceView(APIView):
    """GET one."""

    permission_classes = [SEE]

    @answers(InvoiceJson)
    def get(self, call: Request, invoice_id: int) -> Response:
        """404 for an id that is not known."""
        return Response(InvoiceJson(one_of(Invoice, actor_in(call), Act.SEE_MONEY, pk=min(invoice_id, MAX_ID))).data)

"""`/api/v1/exports/{kind}.csv`: entries of a wallet, top-ups, invoices; streamed."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.http import Http404, StreamingHttpResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.views import APIView

from relay_admin.access.roles import Act
from relay_admin.access.scoping import Actor, rows_of
from relay_admin.control_api.answers import Text, answers
from relay_admin.control_api.paging import MAX_ID, Query
from relay_admin.control_api.permissions import actor_in, requires
from relay_admin.control_api.wallets import wallet_of
from relay_admin.control_api.wire import AsIs, read
from relay_admin.ledger import exports
from relay_admin.ledger.models import Invoice, TopUp

_NEEDS: Mapping[str, tuple[str, ...]] = {
    "entries": ("ledger.view_account", "ledger.view_entry"),
    "top-ups": ("ledger.view_topup",),
    "invoices": ("ledger.view_invoice",),
}


class ExportQuery(Query):
    """Of one wallet, or of all; entries of one alone."""

    wallet = serializers.IntegerField(min_value=1, max_value=MAX_ID, required=False)


class ExportView(APIView):
    """GET rows as CSV."""

    content_negotiation_class = AsIs

    def get_permissions(self) -> list[Any]:
        """Those of the rows."""
        needs = _NEEDS.get(self.kwargs.get("kind", "entries"))  # the API's document asks without one
        if needs is None:
            raise Http404
        return [requires(*needs, act=Act.SEE_MONEY, own=True)()]

    @answers(Text({"text/csv": str}), name="exportRows", path={"kind": tuple(_NEEDS)})
    def get(self, call: Request, kind: str) -> StreamingHttpResponse:
        """404 for a wallet that is none."""
        wallet = read(ExportQuery, call.query_params).get("wallet")
        if wallet is not None:
            wallet_of(call, wallet)
        response = StreamingHttpResponse(
            exports.streamed(_chunks(actor_in(call), kind, wallet)), content_type="text/csv; charset=utf-8"
        )
        response["Content-Disposition"] = f'attachment; filename="{kind}{f"-{wallet}" if wallet else ""}.csv"'
        response["Cache-Control"] = "no-store"
        return response


def _chunks(actor: Actor, kind: str, wallet: int | None) -> Iterator[str]:
    of_wallet = {} if wallet is None else {"account_id": wallet}
    match kind:
        case "entries":
            if wallet is None:
                raise serializers.ValidationError({"wallet": ["Entries are exported of one wallet."]})
            return exports.entries_csv(wallet)
        case "top-ups":
            return exports.top_ups_csv(rows_of(TopUp, actor, Act.SEE_MONEY).filter(**of_wallet))
        case _:
            return exports.invoices_csv(rows_of(Invoice, actor, Act.SEE_MONEY).filter(**of_wallet))

"""Invoices of a wallet: as they are printed, and as CSV."""

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from relay_admin.access.roles import Act
from relay_admin.access.scoping import actor_of, one_of
from relay_admin.ledger.invoice_view import invoice_context
from relay_admin.ledger.invoices import invoice_csv
from relay_admin.ledger.models import Invoice
from relay_admin.portal.page import portal_page
from relay_admin.portal.wallets import wallet_of


@require_safe
@portal_page
def page(request: HttpRequest, wallet_id: int, invoice_id: int) -> HttpResponse:
    """As the admin prints it."""
    invoice = _invoice(request, wallet_id, invoice_id)
    back = reverse("portal:wallet-one", args=[wallet_id])
    csv = reverse("portal:wallet-invoice-csv", args=[wallet_id, invoice_id])
    return TemplateResponse(request, "relay/invoice.html", {**invoice_context(invoice), "back": back, "csv": csv})


@require_safe
@portal_page
def as_csv(request: HttpRequest, wallet_id: int, invoice_id: int) -> HttpResponse:
    """A file."""
    invoice = _invoice(request, wallet_id, invoice_id)
    response = HttpResponse(invoice_csv(invoice), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="invoice-{invoice}.csv"'
    return response


def _invoice(request: HttpRequest, wallet_id: int, invoice_id: int) -> Invoice:
    account, _ = wallet_of(request, wallet_id, Act.SEE_MONEY)
    number = min(invoice_id, 2**63 - 1)
    return one_of(Invoice, actor_of(request), Act.SEE_MONEY, "account", account=account, pk=number)

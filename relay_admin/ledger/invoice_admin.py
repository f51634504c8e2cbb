"""Admin pages of invoices: a list, one as it is printed, and its CSV."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.decorators import display

from relay_admin import pages
from relay_admin.deliveries.admin.base import as_row_id
from relay_admin.ledger.amounts import credits_text
from relay_admin.ledger.invoice_view import invoice_context
from relay_admin.ledger.invoices import invoice_csv
from relay_admin.ledger.models import Invoice


class InvoiceAdmin(pages.ReadOnlyAdmin):
    """What moved on a wallet in a month."""

    list_display = ("__str__", "owner", "month", "closing", "issued_at")
    list_filter = ("year",)
    search_fields = ("owner",)
    search_help_text = "A project or user, as it was called then."
    empty_title = "No invoice yet"
    empty_text = "Those of a month are issued in the night after it."

    def get_urls(self) -> list[URLPattern]:
        """With the CSV."""
        own = path("<int:invoice_id>/csv/", self.admin_site.admin_view(self.csv_view), name="ledger_invoice_csv")
        return [own, *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",  # noqa: ARG002 (Django's signature)
        extra_context: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> HttpResponse:
        """As it is printed."""
        invoice = self._invoice(request, as_row_id(object_id) or 0)
        back, csv = reverse("admin:ledger_invoice_changelist"), reverse("admin:ledger_invoice_csv", args=[invoice.pk])
        return TemplateResponse(request, "relay/invoice.html", {**invoice_context(invoice), "back": back, "csv": csv})

    def csv_view(self, request: HttpRequest, invoice_id: int) -> HttpResponse:
        """A file."""
        invoice = self._invoice(request, invoice_id)
        response = HttpResponse(invoice_csv(invoice), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="invoice-{invoice}.csv"'
        return response

    @display(description="month")
    def month(self, invoice: Invoice) -> str:
        """Such as 2026-10."""
        return f"{invoice.period_start:%Y-%m}"

    @display(description="balance after")
    def closing(self, invoice: Invoice) -> str:
        """In credits."""
        return credits_text(invoice.closing_microcredits)

    def _invoice(self, request: HttpRequest, invoice_id: int) -> Invoice:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return get_object_or_404(Invoice.objects.select_related("account"), pk=min(invoice_id, 2**63 - 1))

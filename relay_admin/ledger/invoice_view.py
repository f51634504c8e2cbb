"""An invoice as its page prints it, in the admin and in the portal. Pure."""

from datetime import datetime, timedelta
from typing import Any

from relay_admin.ledger.amounts import credits_text, price_text
from relay_admin.ledger.models import Invoice


def invoice_context(invoice: Invoice) -> dict[str, Any]:
    """For `relay/invoice.html`, which needs `back` and `csv` too: addresses of all invoices and of the file."""
    lines = [
        {**line, "debit": credits_text(line["debit"]), "credit": credits_text(line["credit"])} for line in invoice.lines
    ]
    payments = [
        {
            "at": datetime.fromisoformat(paid["at"]).date(),
            "kind": paid["kind"],
            "reference": paid["reference"],
            "credits": credits_text(paid["microcredits"]),
            "price": price_text(paid["price_minor"], paid["currency"]),
        }
        for paid in invoice.payments
    ]
    return {
        "invoice": invoice,
        "last_day": invoice.period_end - timedelta(days=1),
        "opening": credits_text(invoice.opening_microcredits),
        "closing": credits_text(invoice.closing_microcredits),
        "lines": lines,
        "payments": payments,
    }

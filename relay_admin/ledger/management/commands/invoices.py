"""`manage.py invoices issue`: those of a month that are not there yet."""

from datetime import UTC, date, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from relay_admin.ledger.invoices import invoices_issue, month_before


class Command(BaseCommand):
    """May be run again: an invoice is issued once."""

    help = "Issue the invoices of a month: one for each wallet that had movement."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["issue"])
        parser.add_argument("--month", help="such as 2026-10; default: the last one")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Raises CommandError for a month that is none, or not over."""
        try:
            month = _month(options["month"]) if options["month"] else month_before(datetime.now(UTC).date())
            issued = invoices_issue(month)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(f"invoices: {len(issued)} issued for {month:%Y-%m}")


def _month(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        raise ValidationError("A month is written as 2026-10.") from None

"""`manage.py rotate_master_key`: seal every secret under RELAY_MASTER_KEY, so that the previous keys can go.

Safe while the product runs, safe to stop and to run again. `docs/secrets.md` has the steps before and after it.
"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from relay_admin.catalog.resealing import secrets_reseal

_LISTED = 20


class Command(BaseCommand):
    """Seals anew what a previous key has sealed."""

    help = "Seal every secret anew under RELAY_MASTER_KEY; previous keys are in RELAY_PREVIOUS_MASTER_KEYS."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would be sealed anew")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Raises CommandError when a secret does not open with any of the keys."""
        is_dry = bool(options["dry_run"])
        unopened = 0
        for column in secrets_reseal(dry_run=is_dry):
            done = "to seal anew" if is_dry else "sealed anew"
            self.stdout.write(
                f"{column.name}: {column.resealed} {done}, {column.current} under the first key already,"
                f" {len(column.unopened)} cannot be opened"
            )
            for row_id, why in column.unopened[:_LISTED]:
                self.stdout.write(f"  {row_id}: {why}")
            unopened += len(column.unopened)
        if unopened:
            raise CommandError(
                "Some secrets were left as they are. Add the key that sealed them to RELAY_PREVIOUS_MASTER_KEYS and run"
                " this again, or enter them anew."
            )
        if not is_dry:
            self.stdout.write("No secret needs a previous key any more: RELAY_PREVIOUS_MASTER_KEYS can be emptied.")

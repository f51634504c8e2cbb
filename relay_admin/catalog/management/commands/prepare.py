"""`manage.py prepare`: from any database, also an empty one, to one that the product can run on.

In one process, since each start of Django costs a second. Each step runs only where something is missing, so a warm
start costs a few queries. Safe to repeat; safe while the product runs.
"""

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from relay_admin.access.oauth.keys import signing_keys_turn
from relay_admin.catalog.lines.revisions import revisions_begin
from relay_admin.catalog.models import Host, Model, Policy, Project, RateLimit
from relay_admin.deliveries import storage


class Command(BaseCommand):
    """Migrations where there are any, partitions, the edge's role, the first admin, a document for an empty catalog."""

    help = "Migrate when needed, then edge_role and bootstrap; with --catalog FILE fill an empty catalog."
    requires_system_checks = ()  # `migrate` runs those of the database; the others cost a second here

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--catalog", metavar="FILE", help="a document to apply when the catalog is empty")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Raises what the commands raise."""
        if self._is_behind():
            call_command("migrate", interactive=False, verbosity=1, stdout=self.stdout)
        made = storage.partitions_ensure()
        if made:
            self.stdout.write(f"partitions: {made} made")
        if settings.EDGE_DATABASE_URL:
            call_command("edge_role", stdout=self.stdout)
        else:
            self.stdout.write("edge role: left as it is, RELAY_EDGE_DATABASE_URL is not set")
        if settings.BOOTSTRAP_ADMIN_PASSWORD or settings.BOOTSTRAP_ADMIN_TOKEN:
            call_command("bootstrap", stdout=self.stdout)
        revisions_begin()
        signing_keys_turn()  # published before the first token, so that no edge hears of it later than of the token
        if options["catalog"]:
            self._fill(str(options["catalog"]))
        elif not self._has_rows():
            self.stdout.write(
                "catalog: empty; `manage.py catalog seed` adds known vendors with their models and prices"
            )

    def _fill(self, file: str) -> None:
        if self._has_rows():
            self.stdout.write("catalog: left as it is, it has rows")
        else:
            call_command("catalog", "apply", file, "--yes", stdout=self.stdout)

    def _has_rows(self) -> bool:
        return any(noun._default_manager.exists() for noun in (Project, Host, Model, Policy, RateLimit))

    def _is_behind(self) -> bool:
        loader = MigrationLoader(connection, ignore_no_migrations=True)
        return bool(set(loader.disk_migrations) - set(loader.applied_migrations))

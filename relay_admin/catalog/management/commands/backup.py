"""`manage.py backup FILE`: every row of the database, of one moment, in one file. `docs/backup.md`."""

from pathlib import Path
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError, CommandParser

from relay_admin.backup.archive import BackupError
from relay_admin.backup.dump import backup
from relay_admin.own_connection import own_connection

CONNECT_TIMEOUT_SECONDS = 10


class Command(BaseCommand):
    """Safe while the product runs."""

    help = "Write the whole database, of one moment, into a file that `restore` reads. Master keys are not in it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Raises CommandError when nothing was written."""
        path: Path = options["file"]
        try:
            with own_connection(CONNECT_TIMEOUT_SECONDS) as database:
                manifest = backup(database, path)
        except (BackupError, OSError, psycopg.Error) as error:
            raise CommandError(str(error)) from error
        rows = sum(each.rows for each in manifest.sums.values())
        self.stdout.write(f"{path}: {rows} rows of {len(manifest.sums)} tables, {path.stat().st_size} bytes")
        self.stdout.write("Not in it: RELAY_MASTER_KEY, without which no secret in it opens. Keep that elsewhere.")

"""`manage.py restore FILE`: fills an empty database from a back-up, and proves that all of it is there."""

from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from relay_admin.backup.archive import Archive, BackupError
from relay_admin.backup.load import load, refuse_unfit
from relay_admin.backup.tables import Database
from relay_admin.deliveries import storage
from relay_admin.doctor.examination import of_content
from relay_admin.doctor.finding import State
from relay_admin.own_connection import own_connection
from relay_admin.redis_link import RedisAwayError, open_redis
from relay_contract.redis import keys

CONNECT_TIMEOUT_SECONDS = 10


class Command(BaseCommand):
    """Run it while nothing else uses the database."""

    help = "Fill an empty database from a file that `backup` wrote, compare every row, and check the ledger."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Raises CommandError when it was not restored, or what was restored is broken."""
        try:
            with closing(Archive(options["file"])) as archive, own_connection(CONNECT_TIMEOUT_SECONDS) as database:
                refuse_unfit(database, archive.manifest)
                self._fill(database, archive)
        except (BackupError, OSError, psycopg.Error) as error:
            raise CommandError(str(error)) from error
        storage.partitions_ensure()
        if settings.EDGE_DATABASE_URL:
            call_command("edge_role", stdout=self.stdout)
        call_command("credits", "check", stdout=self.stdout, stderr=self.stderr)
        self._examine()
        self._look_at_redis()

    def _fill(self, database: Database, archive: Archive) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        try:
            load(database, archive)
        except (BackupError, psycopg.Error) as error:
            raise BackupError(f"{error} Nothing was loaded. Drop this database, which has empty tables.") from error
        made_at, sums = archive.manifest.made_at, archive.manifest.sums.values()
        self.stdout.write(f"restored: {sum(each.rows for each in sums)} rows of {len(sums)} tables, as of {made_at}")

    def _examine(self) -> None:
        with own_connection(CONNECT_TIMEOUT_SECONDS) as database:
            wrong = [finding for finding in of_content(database) if finding.state is State.BROKEN]
        for finding in wrong:
            self.stderr.write(f"{finding.check}: {finding.found} -> {finding.action}")
        if wrong:
            raise CommandError("The rows are there, and the deployment is not as it should be.")
        self.stdout.write("doctor: the database is as it should be")

    def _look_at_redis(self) -> None:
        try:
            with open_redis() as client:
                is_used = bool(client.exists(keys.MONEY))
        except RedisAwayError:
            return  # it is empty, or will be looked at by `doctor`
        if is_used:
            self.stderr.write("Redis holds what another database said of money: empty it (FLUSHDB) before you start.")

"""`manage.py credits check`: whether each delivery is held and closed once, and accounts are what their details say.
`manage.py credits reconcile`: the same and the purses in Redis, kept as a run that the admin shows."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from relay_admin.ledger import proofs, reconcile, runs
from relay_admin.ledger.drifts import MAX_SHOWN, one_moment
from relay_contract.credits import MICRO
from relay_contract.ids import uuid7_bound

DAY_MS = 86_400_000


class Command(BaseCommand):
    """Compares the ledger with the deliveries, and its totals with its rows."""

    help = "Compare the ledger with the deliveries and its totals with its rows; fails where they disagree."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["check", "reconcile"])
        parser.add_argument("--days", type=int, default=30, help="deliveries made in the last so many days")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Raises CommandError with the deliveries that are not accounted for, and the sums that are wrong."""
        if options["action"] == "reconcile":
            self._reconcile(options["days"])
            return
        since = uuid7_bound(max(0, time.time_ns() // 1_000_000 - options["days"] * DAY_MS))
        with one_moment():
            found = reconcile.problems(since)
            sums = reconcile.totals(since)
            drifts = proofs.drifts((datetime.now(UTC) - timedelta(days=options["days"])).date())
        self.stdout.write(
            f"credits: {sums.held / MICRO:,.6f} held, {sums.settled / MICRO:,.6f} settled,"
            f" {sums.released / MICRO:,.6f} released, {sums.open / MICRO:,.6f} open"
        )
        for problem in found:
            self.stderr.write(f"{problem.delivery_id} replay {problem.replay}: {problem.code}")
        for drift in drifts:
            for line in drift.lines():
                self.stderr.write(line)
        wrong = [
            f"{len(rows)}{' or more' if len(rows) >= most else ''} {what}"
            for rows, most, what in (
                (found, MAX_SHOWN, "deliveries are not accounted for."),
                (drifts, MAX_SHOWN, "sums are not those of their details."),
            )
            if rows
        ]
        if wrong:
            raise CommandError(" ".join(wrong))
        self.stdout.write("credits: every delivery is accounted for")
        self.stdout.write("credits: every account is what its details say")

    def _reconcile(self, days: int) -> None:
        run = runs.reconcile_run(days=days)
        for drift in runs.drifts_of(run):
            for line in drift.lines():
                self.stderr.write(line)
        for name, drifts in run.checks.items():
            said = "not checked: Redis does not answer" if drifts == runs.NOT_CHECKED else f"{drifts} drifts"
            self.stdout.write(f"{name}: {said}")
        if any(run.checks.values()):
            raise CommandError(f"Run {run.pk} found what does not add up, or could not check everything.")

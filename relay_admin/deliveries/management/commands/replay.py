"""`manage.py replay`: what of the failure queue matches, and a replay of it that the workers run."""

from argparse import ArgumentTypeError
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from relay_admin.access.models import User
from relay_admin.catalog.models import Project
from relay_admin.deliveries import services
from relay_admin.deliveries.models import DEAD_REASONS
from relay_admin.deliveries.replays import FILTERS, Preview
from relay_contract.credits import MICRO


def _moment(text: str) -> datetime:
    moment = parse_datetime(text)
    if moment is None:
        raise ArgumentTypeError(f"{text!r} is no time such as 2026-01-31T12:00:00Z")
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def _pace(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ArgumentTypeError(f"{text!r} is no number") from None


class Command(BaseCommand):
    """Previews, and starts unless it is a dry run."""

    help = "Replay deliveries of the failure queue, by a filter or by their ids."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ids", nargs="*", type=UUID, help="deliveries; without them the filters choose")
        parser.add_argument("--all", action="store_true", help="the whole failure queue, where no filter is given")
        parser.add_argument("--project", help="its slug")
        for name in ("line", "endpoint", "target"):
            parser.add_argument(f"--{name}", type=int, help="its id")
        parser.add_argument("--reason", choices=[str(reason) for reason in DEAD_REASONS])
        parser.add_argument("--status", type=int, help="the target's last HTTP status")
        parser.add_argument("--error", help="why there was no status, for example connect_timeout")
        parser.add_argument("--event-type")
        parser.add_argument("--since", type=_moment, help="failed at this time or later")
        parser.add_argument("--until", type=_moment, help="failed before this time")
        parser.add_argument(
            "--pace", type=_pace, default=services.DEFAULT_PACE, help="deliveries a second; 0: no limit"
        )
        parser.add_argument("--note", default="", help="kept with the replay")
        parser.add_argument("--by", help="username of who is to stand in its history")
        parser.add_argument("--dry-run", action="store_true", help="say what it would do, and do nothing")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Raises CommandError for a filter that is none."""
        wanted = self._wanted(options)
        by = User.objects.filter(username=options["by"]).first() if options["by"] else None
        if options["by"] and by is None:
            raise CommandError(f"There is no user {options['by']}.")
        try:
            if options["dry_run"]:
                self._say(services.replay_preview(wanted))
                return
            batch = services.replay_start(wanted, pace=options["pace"] or None, by=by, note=options["note"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stdout.write(
            f"replay {batch.pk}: {batch.matched_count:,} deliveries, {batch.credits_estimate / MICRO:,.6f} credits;"
            " the workers run it"
        )

    def _wanted(self, options: dict[str, Any]) -> dict[str, Any]:
        if options["ids"]:
            return {"ids": options["ids"]}
        wanted = {name: options[name] for name in FILTERS if options[name] is not None}
        if not wanted and not options["all"]:
            raise CommandError("Name deliveries or a filter, or say --all.")
        if "project" in wanted:
            project = Project.objects.filter(slug=wanted["project"]).first()
            if project is None:
                raise CommandError(f"There is no project {wanted['project']}.")
            wanted["project"] = project.pk
        return wanted

    def _say(self, found: Preview) -> None:
        more = " and more" if found.is_more else ""
        self.stdout.write(f"{found.replayable:,}{more} deliveries, {found.credits / MICRO:,.6f} credits")
        for reason, count in found.by_reason.items():
            self.stdout.write(f"  {count:,} {reason}")
        for code, count in found.by_refusal.items():
            self.stdout.write(f"  {count:,} would stay: {services.REFUSALS[code]}")

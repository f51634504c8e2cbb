"""`manage.py doctor`: looks at a deployment and says, a line for each check, what is wrong and what clears it."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from relay_admin.doctor.examination import examine
from relay_admin.doctor.finding import Finding, State


class Command(BaseCommand):
    """Changes nothing. Exit status 1 where something is broken."""

    help = "Check this deployment, and say what to do. Exit status 1 when something is broken."
    requires_system_checks = ()  # it says itself what is wrong

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON document instead of lines")
        parser.add_argument("--folder", action="append", type=Path, default=[], help="that must have room (repeatable)")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Raises SystemExit(1) when a check finds something broken."""
        found = []
        for finding in examine(options["folder"]):
            found.append(finding)
            if not options["json"]:
                self._line(finding)  # at once: some of what is to come may wait for a timeout
        states = Counter(finding.state for finding in found)
        if options["json"]:
            document = {"findings": [asdict(finding) for finding in found], "counts": states}
            self.stdout.write(json.dumps(document, indent=2))
        else:
            self.stdout.write(", ".join(f"{states[state]} {state}" for state in State))
        if states[State.BROKEN]:
            raise SystemExit(1)

    def _line(self, finding: Finding) -> None:
        action = f" -> {finding.action}" if finding.action else ""
        self.stdout.write(f"{finding.state:<8} {finding.check:<22} {finding.found}{action}")

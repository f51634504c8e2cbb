"""`manage.py catalog apply FILE | diff FILE | validate FILE | export | seed`: the catalog as one YAML document, and
known vendors.

`diff` ends with 0 where the catalog is as the document says and with 2 where it is not, also for what people changed;
an error ends with 1 and has changed nothing. `validate` needs no database.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from relay_admin.catalog import document, export, plan

DIFFERS = 2


class Command(BaseCommand):
    """Thin: reads the file, shows the plan, asks."""

    help = "Show, compare or apply the catalog as a YAML document. docs/catalog-yaml.md describes the format."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("export", help="print the catalog")
        checked = actions.add_parser("validate", help="check a document by itself, without database and secrets")
        checked.add_argument("file", help="the document; - reads standard input")
        for name, text in (("diff", "show what apply would change"), ("apply", "show it, ask, and change it")):
            action = actions.add_parser(name, help=text)
            action.add_argument("file", help="the document; - reads standard input")
            action.add_argument("--prune", action="store_true", help="delete what the document's parts do not name")
            action.add_argument(
                "--overwrite", action="store_true", help="undo what people changed since it was applied"
            )
            if name == "apply":
                action.add_argument("--yes", action="store_true", help="do not ask")
        _seed_arguments(
            actions.add_parser("seed", help="add known vendors' hosts, models and prices; see docs/pricing.md")
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Raises CommandError with every problem of the document, each with its line."""
        if options["action"] == "export":
            self.stdout.write(export.as_yaml(export.export()), ending="")
            return
        if options["action"] == "seed":
            self._seed(options)
            return
        try:
            if options["action"] == "validate":
                plan.validate(document.read(self._text(options["file"])))
                self.stdout.write("The document is valid.")
            else:
                self._plan(options)
        except document.DocumentError as error:
            raise CommandError(f"{options['file']} is refused, nothing was changed:\n{error}") from error

    def _plan(self, options: dict[str, Any]) -> None:
        how = {"prune": options["prune"], "overwrite": options["overwrite"]}
        wanted = document.read(self._text(options["file"]))
        changes = plan.make(wanted, settings.ENVIRONMENT, **how)
        self.stdout.write(str(changes))
        if options["action"] == "diff":
            if changes or changes.drift:
                sys.exit(DIFFERS)
            return
        if changes and not options["yes"]:
            self._ask(options["file"])
        minted = plan.apply(wanted, settings.ENVIRONMENT, changes, **how)
        if changes:
            self.stdout.write("Applied.")
        for key in minted:
            self.stdout.write(f"relay key {'/'.join(key.path)}, shown this once: {key.token}")

    def _seed(self, options: dict[str, Any]) -> None:
        # Here and not above: the data takes half a second to load, and the other actions have no use for it.
        from relay_admin.catalog.seed import data, report, seeding, vendors  # noqa: PLC0415

        asked = data.known() if options["all"] else options["provider"] or vendors.USUAL
        try:
            wanted = data.read(asked, timezone.now().date())
        except KeyError as error:
            known = ", ".join(data.known())
            raise CommandError(f"There is no provider {error.args[0]} in the data. It has: {known}.") from error
        if options["dry_run"]:
            done = seeding.make(wanted.rows, restore=options["restore"])
        else:
            done = seeding.apply(wanted.rows, is_enabled=options["enable"], restore=options["restore"])
        self.stdout.write(report.text(wanted, done, is_dry=options["dry_run"]))

    def _text(self, name: str) -> bytes:
        try:
            if name == "-":
                return sys.stdin.buffer.read(document.MAX_BYTES + 1)
            with Path(name).open("rb") as file:
                return file.read(document.MAX_BYTES + 1)
        except OSError as error:
            raise CommandError(f"{name} cannot be read: {error.strerror}.") from error

    def _ask(self, name: str) -> None:
        if name == "-" or not sys.stdin.isatty():
            raise CommandError("Nothing was changed: there is no terminal to ask on. Add --yes to apply the plan.")
        if input("Apply these changes? [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was changed.")


def _seed_arguments(action: CommandParser) -> None:
    action.add_argument("--provider", action="append", metavar="NAME", help="this vendor; may be given again")
    action.add_argument("--all", action="store_true", help="every vendor of the data")
    action.add_argument("--dry-run", action="store_true", help="show what would change")
    action.add_argument(
        "--enable",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether new models are enabled; without a host key none of them can be reached",
    )
    action.add_argument("--restore", action="store_true", help="make rows again that were seeded once and deleted")

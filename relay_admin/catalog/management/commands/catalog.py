"""`manage.py catalog apply FILE | diff FILE | export`: the catalog as one YAML document.

`diff` ends with 0 when there is nothing to change and 2 when there is; an error ends with 1 and has changed nothing.
"""

import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from relay_admin.catalog import document, export, plan

DIFFERS = 2


class Command(BaseCommand):
    """Thin: reads the file, shows the plan, asks."""

    help = "Show, compare or apply the catalog as a YAML document. docs/catalog-yaml.md describes the format."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("export", help="print the catalog")
        for name, text in (("diff", "show what apply would change"), ("apply", "show it, ask, and change it")):
            action = actions.add_parser(name, help=text)
            action.add_argument("file", help="the document; - reads standard input")
            action.add_argument("--prune", action="store_true", help="delete what the document's parts do not name")
            if name == "apply":
                action.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Raises CommandError with every problem of the document, each with its line."""
        if options["action"] == "export":
            self.stdout.write(export.as_yaml(export.export()), ending="")
            return
        try:
            self._plan(options)
        except document.DocumentError as error:
            raise CommandError(f"{options['file']} is refused, nothing was changed:\n{error}") from error

    def _plan(self, options: dict[str, Any]) -> None:
        prune = options["prune"]
        wanted = document.read(self._text(options["file"]))
        changes = plan.make(wanted, settings.ENVIRONMENT, prune=prune)
        self.stdout.write(str(changes))
        if not changes:
            return
        if options["action"] == "diff":
            sys.exit(DIFFERS)
        if not options["yes"]:
            self._ask(options["file"])
        minted = plan.apply(wanted, settings.ENVIRONMENT, changes, prune=prune)
        self.stdout.write("Applied.")
        for key in minted:
            self.stdout.write(f"relay key {'/'.join(key.path)}, shown this once: {key.token}")

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

"""`manage.py target show | disable | enable PROJECT/LINE/ENDPOINT:TARGET`: what it is sent, and what is held for it."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from relay_admin.access.models import User
from relay_admin.catalog.models import Target
from relay_admin.deliveries import target_services

PARTS = 3
"""Of an endpoint's name."""


class Command(BaseCommand):
    """The same as the list of targets and the control API do."""

    help = "Disable a target, so that what is due to it is held, or enable it and say what becomes of that."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        for name, text in (
            ("show", "say whether it is enabled, and how many deliveries are held for it"),
            ("disable", "send it nothing more, and hold what is due to it"),
            ("enable", "send to it again"),
        ):
            action = actions.add_parser(name, help=text)
            action.add_argument("target", help="project/line/endpoint:target")
            if name == "enable":
                action.add_argument("--held", choices=target_services.HELD, required=True, help="what was held")
            if name != "show":
                action.add_argument("--by", help="username of who is to stand in the line's revisions")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Raises CommandError where there is no such target, or it may not be enabled."""
        target = _target(options["target"])
        match options["action"]:
            case "disable":
                target_services.target_disable(target=target, by=_user(options["by"]))
            case "enable":
                try:
                    done = target_services.target_enable(target=target, held=options["held"], by=_user(options["by"]))
                except ValidationError as error:
                    raise CommandError(" ".join(error.messages)) from None
                self.stdout.write(f"released {done.released:,}, discarded {done.discarded:,} deliveries")
        state = "enabled" if target.is_enabled else f"disabled ({target.disabled_reason or 'by an operator'})"
        self.stdout.write(f"{target} is {state}; {target_services.held_count(target=target):,} deliveries are held")


def _target(path: str) -> Target:
    """As the admin writes it."""
    endpoint, _, name = path.partition(":")
    slugs = endpoint.split("/")
    wanted = dict(zip(("endpoint__line__project__slug", "endpoint__line__slug", "endpoint__slug"), slugs, strict=False))
    found = Target.objects.filter(name=name, **wanted).first() if len(slugs) == len(wanted) == PARTS else None
    if found is None:
        raise CommandError(f"There is no target {path}; write project/line/endpoint:target.")
    return found


def _user(name: str | None) -> User | None:
    found = User.objects.filter(username=name).first() if name else None
    if name and found is None:
        raise CommandError(f"There is no user {name}.")
    return found

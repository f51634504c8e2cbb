"""Commands of `manage.py` that are ours, with their arguments, and targets of `make`."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from django.core.management import get_commands, load_command_class
from django.core.management.base import DjangoHelpFormatter

MAKEFILE = Path(__file__).parents[2] / "Makefile"
OURS = "relay_admin."


def of_manage() -> str:
    """A section a command: what it does, how it is called, what each argument says."""
    ours = sorted(name for name, app in get_commands().items() if str(app).startswith(OURS))
    return "\n".join(_section(name) for name in ours)


def _section(name: str) -> str:
    command = load_command_class(get_commands()[name], name)
    parser = command.create_parser("manage.py", name)
    lines = "".join(f"| {call} | {said} |\n" for call, said in _arguments(parser, name))
    table = f"\n| argument | |\n|---|---|\n{lines}" if lines else ""
    return f"### `{name}`\n\n{command.help}\n{table}"


def _arguments(parser: argparse.ArgumentParser, called: str) -> Iterator[tuple[str, str]]:
    """Those that are not Django's own; of a command with actions, each under its action."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            said = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, below in action.choices.items():
                yield f"**`{called} {name}`**", said.get(name, "")
                yield from _arguments(below, f"{called} {name}")
        elif not _is_djangos(action):
            yield f"`{_call(action)}`", _said(action)


def _is_djangos(action: argparse.Action) -> bool:
    last = set(action.option_strings) & DjangoHelpFormatter.show_last
    return bool(last) or action.dest in ("help", "settings", "pythonpath", "skip_checks")


def _call(action: argparse.Action) -> str:
    value = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
    if not action.option_strings:
        return f"[{action.dest} ...]" if action.nargs == "*" else action.dest
    return " ".join(filter(None, (" / ".join(action.option_strings), str(value))))


def _said(action: argparse.Action) -> str:
    choices = ", ".join(f"`{choice}`" for choice in action.choices or ())
    default = action.default if action.option_strings and action.nargs != 0 else None
    given = f"default `{default}`" if default not in (None, "", [], argparse.SUPPRESS) else ""
    needed = "required" if action.required and action.option_strings else ""
    return "; ".join(filter(None, (action.help or "", choices, given, needed))).replace("|", "\\|")


def of_make() -> str:
    """A row a target."""
    targets = re.findall(r"^([a-z]+):.*## (.+)$", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE)
    rows = "".join(f"| `make {name}` | {said} |\n" for name, said in targets)
    return f"| | |\n|---|---|\n{rows}"

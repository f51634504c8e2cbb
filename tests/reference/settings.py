"""The variables of `.env.example`, and what the modules that read them say of each: form, bounds, default."""

import ast
import html
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
READERS = {
    "relay_edge.settings": "edge",
    "relay_admin.settings": "control",
    "delivery.settings": "worker",
    "standalone.product": "standalone",
    "relay_contract.env": "",  # for whoever asks it
}
"""Modules that read variables, and what `.env.example` calls them."""
FROM_FILES = ("url", "secret", "key32", "keys32")
"""Readers of `env.Env` that take `NAME_FILE` too."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One place that reads a variable. `arguments`: what it gives `env.Env` beside the name, where that can be told."""

    name: str
    reader: str  # a method of `env.Env`
    by: str  # a value of READERS
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Described:
    """Variables of `.env.example` that one comment is about."""

    section: str
    names: tuple[str, ...]
    defaults: tuple[str, ...]
    text: str
    readers: tuple[str, ...]


_PARAMETERS = {
    "integer": ("default", "minimum", "maximum"),
    "seconds": ("default", "minimum", "maximum"),
    "share": ("default",),
    "boolean": ("default",),
    "text": ("default", "choices"),
    "texts": ("default", "choices"),
    "url": ("schemes", "default"),
    "secret": ("default",),
    "networks": ("default",),
    "mailbox": ("default",),
    "key32": (),
    "keys32": (),
    "parsed": ("default",),
}


@cache
def readings() -> tuple[Reading, ...]:
    """Every call of a reader that names its variable."""
    return tuple(one for name, by in READERS.items() for one in _readings_of(importlib.import_module(name), by))


def _readings_of(module: ModuleType, by: str) -> Iterator[Reading]:
    assert module.__file__ is not None
    for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _PARAMETERS:
            name, *rest = [*node.args, ast.Constant(None)]
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value.isupper():
                named = dict(zip(_PARAMETERS[node.func.attr], rest[:-1], strict=False))
                named |= {word.arg: word.value for word in node.keywords if word.arg}
                yield Reading(name.value, node.func.attr, by, dict(_known(named, module)))


def _known(arguments: dict[str, ast.expr], module: ModuleType) -> Iterator[tuple[str, Any]]:
    for name, node in arguments.items():
        try:
            yield name, eval(compile(ast.Expression(node), "<setting>", "eval"), vars(module))
        except NameError:  # made of what only the running process knows
            continue


def described() -> tuple[Described, ...]:
    """All of `.env.example`, in its order."""
    return tuple(_described((ROOT / ".env.example").read_text(encoding="utf-8")))


def _described(text: str) -> Iterator[Described]:
    section, comment, found = "", [], []
    for line in [*text.splitlines(), ""]:
        if found and not re.match(r"[A-Z]", line):
            yield _of_comment(section, " ".join(comment), found)
            comment, found = [], []
        if title := re.fullmatch(r"# --- (.+?) -+", line):
            section, comment = title[1], []
        elif line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
        elif line:
            found.append(tuple(line.split("=", 1)))


def _of_comment(section: str, comment: str, found: list[tuple[str, ...]]) -> Described:
    text, _, readers = comment.removesuffix("]").rpartition(" [")
    return Described(
        section, tuple(name for name, _ in found), tuple(value for _, value in found), text, tuple(readers.split(", "))
    )


def tables() -> str:
    """One for each section of `.env.example`."""
    forms = {one.name: one for one in readings()}
    return "\n".join(
        f"## {title}\n\n| variable | form | default | read by | |\n|---|---|---|---|---|\n"
        + "".join(_row(one, forms) for one in group)
        for title, group in groupby(described(), lambda one: one.section)
    )


def _row(one: Described, forms: dict[str, Reading]) -> str:
    names = "<br>".join(f"`{name}`" for name in one.names)
    shown = _in_lines([_form(forms[name]) if name in forms else "" for name in one.names])
    defaults = _in_lines([f"`{value}`" if value else "" for value in one.defaults])
    return f"| {names} | {shown} | {defaults} | {', '.join(one.readers)} | {_in_html(one.text)} |\n"


def from_files() -> str:
    """A list of the variables that `NAME_FILE` may stand for."""
    names = sorted({one.name for one in readings() if one.reader in FROM_FILES})
    return "".join(f"- `{name}_FILE`\n" for name in names)


def _in_lines(cells: list[str]) -> str:
    """One for each variable; once where all say the same."""
    return cells[0] if len(set(cells)) == 1 else "<br>".join(cells)


def _form(one: Reading) -> str:  # noqa: PLR0911 (a table)
    bounds = "{minimum:g} to {maximum:g}".format_map(one.arguments) if "minimum" in one.arguments else ""
    choices = ", ".join(f"`{choice}`" for choice in one.arguments.get("choices") or ())
    match one.reader:
        case "integer":
            return f"whole number, {_spelled(bounds, one)}"
        case "seconds":
            return f"seconds, {bounds}"
        case "share":
            return "0 to 1"
        case "boolean":
            return "true or false"
        case "url":
            return "URL: " + ", ".join(f"`{scheme}`" for scheme in one.arguments.get("schemes") or ("postgresql",))
        case "key32" | "keys32":
            return "32 bytes in base64"
        case "networks":
            return "networks: `10.0.0.0/8`"
        case "mailbox":
            return "e-mail address"
        case "secret" | "parsed":
            return "text"
        case _:
            return choices or "text"


def _spelled(bounds: str, one: Reading) -> str:
    """Whole numbers as they are, however large."""
    return "{minimum} to {maximum}".format_map(one.arguments) if bounds else ""


def _in_html(text: str) -> str:
    """With links to pages, and nothing that reads as a tag."""
    linked = re.sub(r"docs/([a-z-]+\.md)", r"[\1](../\1)", html.escape(text, quote=False))
    return linked.replace("|", "\\|")

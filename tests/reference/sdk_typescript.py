"""What the TypeScript packages export: declarations and their `/** */`, read from the sources as they are formatted.

A small reader, no parser: a declaration begins in the first column, a member in the third, and a body's brace
ends its line. What it cannot read it refuses (ValueError).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

WORKSPACE = Path(__file__).parents[2] / "sdk" / "typescript"
PACKAGES = ("core", "react", "next")

_FROM = re.compile(r"^export \{([^}]+)\} from \"\./([\w]+)\.js\";", re.MULTILINE)
_OWN = re.compile(r"^export (?:async )?(?:function\*?|class|interface|type|const) (\w+)", re.MULTILINE)
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_DOC = re.compile(r"/\*\*((?:(?!\*/).)*)\*/\n[ ]*$", re.DOTALL)
_MEMBER = re.compile(r"^  (?:declare )?(?!private |(?:readonly |async |\*)*#)(?=[\w\[])", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Source:
    """A file. `masked` has the same length, and spaces for comments: brackets in them do not count."""

    text: str
    masked: str


@dataclass(frozen=True, slots=True)
class Export:
    """A name, the entry point that it is imported from, and where it is declared."""

    name: str
    entry: str
    path: Path


def page() -> str:
    """A section an entry point."""
    found = list(exports())
    entries = dict.fromkeys(one.entry for one in found)
    return "\n".join(
        f"## `{entry}`\n\n" + "\n".join(_entry(one) for one in found if one.entry == entry) for entry in entries
    )


def exports() -> Iterator[Export]:
    """Everything that the packages' entry points export, in their order."""
    for package in PACKAGES:
        document = json.loads((WORKSPACE / package / "package.json").read_text(encoding="utf-8"))
        for point, where in document["exports"].items():
            source = WORKSPACE / package / where["default"].replace("dist", "src").replace(".js", ".ts")
            for name, path in _names(source):
                yield Export(name, document["name"] + point.removeprefix("."), path)


def _names(path: Path) -> Iterator[tuple[str, Path]]:
    text = path.read_text(encoding="utf-8")
    for listed, module in _FROM.findall(text):
        for name in listed.split(","):
            if name.strip():
                yield name.strip().removeprefix("type "), _file(path.parent / module)
    for name in _OWN.findall(text):
        yield name, path


def _file(stem: Path) -> Path:
    return next(one for one in (stem.with_suffix(".ts"), stem.with_suffix(".tsx")) if one.exists())


@cache
def _source(path: Path) -> Source:
    text = path.read_text(encoding="utf-8")
    return Source(text, _COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text))


def _entry(one: Export) -> str:
    source = _source(one.path)
    began = re.search(
        rf"^export (?:async )?(function\*?|class|interface|type|const) {one.name}\b", source.masked, re.MULTILINE
    )
    if began is None:
        raise ValueError(f"{one.path.name} declares no {one.name}")
    end = _end(source, began.start(), has_body=began[1] != "type")
    head = _flat(source.masked[began.start() : end]).removeprefix("export ").removeprefix("async ")
    said = _doc(source, began.start())
    parts = [f"### `{one.name}`", f"```text\n{head.removesuffix(';')}\n```", *([said] if said else [])]
    if began[1] in ("class", "interface") and source.text[end : end + 2] == "{\n":
        members = [f"- {text}" for text in _members(source, end)]
        parts += ["\n".join(members)] if members else []
    return "\n\n".join(parts) + "\n"


def _members(source: Source, begin: int) -> Iterator[str]:
    close = source.masked.index("\n}", begin)
    for found in _MEMBER.finditer(source.masked, begin, close):
        end = _end(source, found.end())
        head = _flat(source.masked[found.end() : end]).removesuffix(";").removeprefix("async ")
        said = " ".join(_doc(source, found.start()).split())
        yield f"`{head}`" + (f": {said}" if said else "")


def _end(source: Source, begin: int, *, has_body: bool = True) -> int:
    """Where a declaration's head ends: before its body's brace, or after its semicolon. Raises ValueError."""
    depth = 0
    for place in range(begin, len(source.masked)):
        letter = source.masked[place]
        is_body = has_body and letter == "{" and source.masked.startswith(("\n", "}\n"), place + 1)
        if depth == 0 and (letter == ";" or is_body):
            return place
        depth += (letter in "([{") - (letter in ")]}")
    raise ValueError(f"no end of {source.masked[begin : begin + 60]!r}")


def _flat(head: str) -> str:
    flat = re.sub(r"\s+", " ", head).strip()
    return (
        re.sub(r",? ([)}>])", r" \1", flat).replace("( ", "(").replace(" )", ")").replace("< ", "<").replace(" >", ">")
    )


def _doc(source: Source, place: int) -> str:
    """Of the comment right above; empty where there is none."""
    found = _DOC.search(source.text, 0, place)
    if found is None:
        return ""
    return "\n".join(re.sub(r"^\s*\* ?", "", line).rstrip() for line in found[1].splitlines()).strip()

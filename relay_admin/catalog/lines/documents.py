"""A line as a document: the `lines` entry of a catalog document (`docs/catalog-yaml.md`), as JSON.

It holds no secret. Where a static header of a target is a credential by its name or its look, KEPT stands for its
value: written back, it keeps what the target has at that moment.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from django.db.models import QuerySet

from relay_admin.catalog import document, export
from relay_admin.catalog.document import Document, DocumentError, Entry, Problem
from relay_admin.catalog.models import Endpoint, Line, Target
from relay_admin.catalog.sections import SECTIONS, Path, Rows, children, load_rows, path_of
from relay_contract.redaction import Redaction

KEPT = "…"
"""Instead of a credential. No header can hold this character, so it is never a value."""

LINES, ENDPOINTS, TARGETS = (SECTIONS[name] for name in ("lines", "endpoints", "targets"))
_REDACTION = Redaction()
_CREDENTIAL = re.compile("auth|cookie|credential|jwt|key|pass|secret|session|signature|token", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with a document, and where: `endpoints[0].targets[1].url`, "" for the whole."""

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.place else self.text


class LineRefused(Exception):
    """A document of a line cannot be used. Nothing was changed."""

    def __init__(self, complaints: list[Complaint]) -> None:
        self.complaints = complaints
        super().__init__("\n".join(map(str, complaints)))


def rows_of(line: Line) -> Rows:
    """What the plan of a line compares with: its own rows, and what they may refer to."""
    own: dict[str, QuerySet] = {
        "lines": Line.objects.filter(pk=line.pk).select_related("project"),
        "endpoints": Endpoint.objects.filter(line=line).select_related("line__project", "rate_limit"),
        "targets": Target.objects.filter(endpoint__line=line).select_related("endpoint__line__project"),
    }
    found: Rows = {name: {} for name in SECTIONS} | load_rows(("rate_limits",))
    for name, rows in own.items():
        found[name] = dict(sorted((path_of(SECTIONS[name], row), row) for row in rows))
    return found


def document_of(rows: Rows) -> dict[str, Any]:
    """The document of the line whose rows these are."""
    [path] = rows["lines"]
    written = export.part(LINES, path, rows)
    for endpoint in written.get("endpoints", ()):
        for target in endpoint.get("targets", ()):
            _hide(target)
    return written


def read(given: Mapping[str, Any], rows: Rows) -> Document:
    """A document of this line, with the credentials that its targets have. Raises LineRefused.

    It is read as the whole line: an endpoint or target that it does not name is to be deleted.
    """
    [path] = rows["lines"]
    text = _text({**given, "slug": path[-1]})
    try:
        found = document.read_entry(LINES, text, path[:-1])
    except DocumentError as error:
        raise LineRefused(located(text, error.problems)) from error
    problems = [*found.problems]
    for entry in entries(found):
        for child in children(entry.section):
            entry.children.setdefault(child.name, [])
        if entry.section is TARGETS:
            problems += _restore(entry, rows["targets"].get(entry.path))
    if problems:
        raise LineRefused(located(text, problems))
    return found


def entries(found: Document) -> Iterator[Entry]:
    """The line, its endpoints and their targets, from outside inwards."""
    waiting = [entry for part in found.parts.values() for entry in part]
    while waiting:
        entry = waiting.pop(0)
        yield entry
        waiting += [nested for part in entry.children.values() for nested in part]


def written(found: Document) -> dict[str, Any]:
    """A document in the one spelling that two equal ones share, without credentials."""
    [entry] = found.parts["lines"]
    return _written(entry)


def located(text: str, problems: list[Problem]) -> list[Complaint]:
    """Problems of a document that has no lines for whoever sent it, by their places in it."""
    places: dict[int, str] = {}
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        root = None
    if root is not None:
        _place(root, "", places)
    return [Complaint(places.get(problem.line, ""), problem.text) for problem in sorted(set(problems))]


def complaints_of(given: Mapping[str, Any], error: DocumentError) -> list[Complaint]:
    """Those of a plan, by the places of the document that it was made from."""
    return located(_text(given), error.problems)


def _text(given: Mapping[str, Any]) -> str:
    for place, name in _variables(given):
        refused = "Secrets are no part of a line's document: set them on the page of the endpoint or target."
        raise LineRefused([Complaint(f"{place}{name}", refused)])
    try:
        return export.as_yaml({"slug": given["slug"], **given})
    except RecursionError:
        raise LineRefused([Complaint("", "The document is nested too deep.")]) from None


def _variables(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Fields that name the environment variable of a secret."""
    for number, endpoint in _objects(given.get("endpoints")):
        for name in endpoint:
            if name.endswith("_env"):
                yield f"endpoints[{number}].", name
        for at, target in _objects(endpoint.get("targets")):
            for name in target:
                if name.endswith("_env"):
                    yield f"endpoints[{number}].targets[{at}].", name


def _objects(value: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    if isinstance(value, list):
        yield from ((number, one) for number, one in enumerate(value) if isinstance(one, dict))


def _written(entry: Entry) -> dict[str, Any]:
    own = export.fields(entry.section, entry.values)
    if entry.section is TARGETS:
        _hide(own)
    nested = {name: [_written(one) for one in sorted(part, key=_path)] for name, part in entry.children.items()}
    return own | {name: part for name, part in nested.items() if part}


def _path(entry: Entry) -> Path:
    return entry.path


def _hide(target: dict[str, Any]) -> None:
    if headers := target.get("headers"):
        hidden = _credentials(headers)
        target["headers"] = {name: KEPT if name in hidden else value for name, value in headers.items()}


def _credentials(headers: dict[str, str]) -> set[str]:
    """Names of the headers whose value is one, by their names or by how the values look."""
    shown = _REDACTION.headers(headers)
    return {name for name, value in headers.items() if _CREDENTIAL.search(name) or shown[name] != value}


def _restore(entry: Entry, row: Any) -> Iterator[Problem]:
    """Credentials that the document leaves as they are."""
    headers = entry.values["headers"]
    if "headers" in entry.unreadable or not isinstance(headers, dict):
        return
    had = {name.lower(): value for name, value in row.headers.items()} if row is not None else {}
    credentials = _credentials({name: value for name, value in headers.items() if value != KEPT})
    line = entry.line_of("headers")
    for name, value in headers.items():
        if value != KEPT:
            if name in credentials:
                yield Problem(line, f"The header {name} is a credential: give it to the target itself, never a draft.")
        elif name.lower() in had:
            headers[name] = had[name.lower()]
        else:
            yield Problem(line, f"The target has no header {name} whose value could be kept.")


def _place(node: yaml.Node, place: str, places: dict[int, str]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{place}.{key.value}" if place else str(key.value)
            places.setdefault(key.start_mark.line + 1, name)
            _place(value, name, places)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            places.setdefault(item.start_mark.line + 1, f"{place}[{number}]")
            _place(item, f"{place}[{number}]", places)

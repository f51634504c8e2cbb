"""Reading a catalog document: YAML text -> entries with line numbers. `docs/catalog-yaml.md` describes the format.

A document comes from outside, so nothing of it is constructed: the text is cut into events, checked for what this
format has no use for (tags, anchors, aliases, depth, size), and the nodes are read one by one by what `sections`
expects. Every problem is kept with its line. No I/O, no database.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import yaml

from relay_admin.catalog import prices
from relay_admin.catalog.sections import (
    ROOTS,
    Kind,
    Path,
    Section,
    children,
    default,
    in_one_spelling,
    is_required,
    kind,
)
from relay_contract.nouns import CAPABILITIES, CAPABILITY_WORDS
from relay_contract.pricing import PriceMeter

VERSION = 1
MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 400_000
MAX_DEPTH = 48  # a target is nested ten deep, and a JSON document in it by at most 32
MAX_PROBLEMS = 50
RULE_FIELDS = ("meter", "amount", "window_seconds")
RULE_EXTRAS = ("algorithm", "burst")
FALLBACK_FIELDS = ("models", "when", "then")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml reads ten times faster where it is built in
_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?[0-9][0-9_]*")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Why a document is refused. Line 0: no line of it in particular."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


class DocumentError(Exception):
    """The document is refused as a whole; nothing was changed. `problems` are in the order of their lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))
        shown = [str(problem) for problem in self.problems[:MAX_PROBLEMS]]
        if len(self.problems) > MAX_PROBLEMS:
            shown.append(f"... and {len(self.problems) - MAX_PROBLEMS} more")
        super().__init__("\n".join(shown))


@dataclass(slots=True)
class Entry:
    """One row as written. `values` holds every field of its section; `lines` those that were given."""

    section: Section
    path: Path
    line: int
    values: dict[str, Any]
    lines: dict[str, int]
    secret_envs: dict[str, str] = field(default_factory=dict)  # those that were given: field -> variable
    children: dict[str, list["Entry"]] = field(default_factory=dict)  # only parts that were given, also empty ones
    unreadable: set[str] = field(default_factory=set)  # fields that were complained about already

    def line_of(self, name: str) -> int:
        """The line to complain about when this field is wrong."""
        return self.lines.get(name, self.line)


@dataclass(slots=True)
class Document:
    """What was written. `parts` holds the parts that were given, also empty ones.

    `problems`: what could not be read. `plan.make` looks at the rest and raises them with its own, all in one.
    `incomplete`: parts with entries that are missing for that reason, so that nobody complains of the consequences.
    """

    parts: dict[str, list[Entry]]
    problems: list[Problem] = field(default_factory=list)
    incomplete: set[str] = field(default_factory=set)


def read(text: str | bytes) -> Document:
    """The document as far as it can be read. Raises DocumentError for what is not YAML of our kind."""
    reader = _Reader()
    document = reader.document(_composed(text))
    document.problems, document.incomplete = reader.problems, reader.incomplete
    return document


def read_entry(section: Section, text: str | bytes, parent: Path) -> Document:
    """One entry of a part and what is nested in it, as a document of that part alone. Raises DocumentError."""
    root = _composed(text)
    if root is None:
        raise DocumentError([Problem(1, f"There is no {section.noun} here.")])
    reader = _Reader()
    entry = reader.entry(section, root, parent)
    return Document({section.name: [entry] if entry else []}, reader.problems, reader.incomplete)


def _composed(text: str | bytes) -> yaml.Node | None:
    decoded = _decoded(text)
    _check_events(decoded)
    return yaml.compose(decoded, Loader=_Loader)


def _decoded(text: str | bytes) -> str:
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise DocumentError([Problem(0, f"The document is larger than {MAX_BYTES} bytes. Write it in parts.")])
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise DocumentError([Problem(line, "This is not UTF-8 text.")]) from None


def _check_events(text: str) -> None:
    """Refuses what the composer could be hurt with. Runs in constant memory, before any node is built."""
    depth = nodes = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            assert event.start_mark is not None
            line = event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise DocumentError([Problem(line, "Anchors and aliases (& and *) are not used here: write it out.")])
            if isinstance(event, yaml.NodeEvent) and getattr(event, "tag", None):
                raise DocumentError([Problem(line, "Tags (!) are not used here: write plain values.")])
            if isinstance(event, yaml.DocumentStartEvent):
                nodes += 1_000_000 if nodes else 1  # a second document in one file
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            nodes += isinstance(event, yaml.NodeEvent)
            if depth > MAX_DEPTH:
                raise DocumentError([Problem(line, f"Nested deeper than {MAX_DEPTH}.")])
            if nodes > 1_000_000:
                raise DocumentError([Problem(line, "A second document starts here: write one document a file.")])
            if nodes > MAX_NODES:
                raise DocumentError([Problem(line, f"More than {MAX_NODES} values. Write it in parts.")])
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
        line = mark.line + 1 if mark else text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise DocumentError([Problem(line, f"This is not YAML: {reason}.")]) from None


class _Reader:
    """Walks the nodes and collects problems instead of raising, so that all are reported together."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.incomplete: set[str] = set()

    def refuse(self, node: yaml.Node, text: str) -> None:
        self.problems.append(Problem(node.start_mark.line + 1, text))

    def document(self, root: yaml.Node | None) -> Document:
        if root is None:
            self.problems.append(Problem(1, f"The document is empty. Start it with `version: {VERSION}`."))
            return Document({})
        names = {section.name: section for section in ROOTS}
        given = self.mapping(root, ("version", *names), "a catalog document")
        if given is None:
            return Document({})
        version = given.pop("version", None)
        if version is None or self.integer(version) != VERSION:
            self.refuse(version or root, f"Write `version: {VERSION}`: it is the version of this format.")
        return Document({name: self.entries(names[name], node, ()) for name, node in given.items()})

    def entries(self, section: Section, node: yaml.Node, parent: Path) -> list[Entry]:
        items = self.sequence(node, f"{section.name} is a list of entries, each starting with `- `.")
        entries: list[Entry] = []
        first_line: dict[Path, int] = {}
        for item in items:
            entry = self.entry(section, item, parent)
            if entry is None:
                self.incomplete.add(section.name)
                continue
            entries.append(entry)
            name = "/".join(entry.path[len(parent) :])
            if entry.path in first_line:
                self.refuse(item, f"{section.noun} {name!r} is here twice; first on line {first_line[entry.path]}.")
            first_line.setdefault(entry.path, entry.line)
        return entries

    def entry(self, section: Section, node: yaml.Node, parent: Path) -> Entry | None:
        if section.is_short and isinstance(node, yaml.ScalarNode):
            return self.short_entry(section, node, parent)
        nested = {child.name: child for child in children(section)}
        given = self.mapping(node, (*section.fields, *section.secret_envs, *nested), f"a {section.noun}")
        if given is None:
            return None
        found = len(self.problems)
        values, unreadable = {}, set()
        for name in section.fields:
            before = len(self.problems)
            values[name] = self.field(section, name, given.get(name), node)
            if len(self.problems) > before:
                unreadable.add(name)
        if any(not values[name] for name in section.key):
            if len(self.problems) == found:
                self.refuse(node, f"A {section.noun} needs {' and '.join(section.key)}.")
            return None
        path = (*parent, *(str(values[name]) for name in section.key))
        entry = Entry(
            section=section,
            path=path,
            line=node.start_mark.line + 1,
            values=values,
            lines={name: value.start_mark.line + 1 for name, value in given.items()},
            unreadable=unreadable,
        )
        for name in section.secret_envs:
            if name in given:
                variable = self.env_name(given[name])
                if variable is None:
                    entry.unreadable.add(name)
                else:
                    entry.secret_envs[name] = variable
        entry.children = {
            name: self.entries(child, given[name], path) for name, child in nested.items() if name in given
        }
        return entry

    def short_entry(self, section: Section, node: yaml.Node, parent: Path) -> Entry | None:
        """An entry that is its name."""
        name = self.text(node)
        if not name:
            return None
        values = {one: default(section, one) for one in section.fields} | {section.key[0]: name}
        line = node.start_mark.line + 1
        return Entry(section, (*parent, name), line, values, {section.key[0]: line})

    def field(self, section: Section, name: str, node: yaml.Node | None, entry: yaml.Node) -> Any:
        if node is None or self.is_null(node):
            if is_required(section, name):
                self.refuse(node or entry, f"A {section.noun} needs `{name}`.")
                return None
            return default(section, name)
        return self.value(kind(section, name), node)

    def value(self, wanted: Kind, node: yaml.Node) -> Any:
        read_as: dict[Kind, Callable[[yaml.Node], Any]] = {
            Kind.TEXT: self.text,
            Kind.REFERENCE: self.text,
            Kind.USER: self.text,
            Kind.INTEGER: self.integer,
            Kind.BOOLEAN: self.boolean,
            Kind.TIME: self.time,
            Kind.TEXTS: self.texts,
            Kind.INTEGERS: lambda node: self.items(node, self.integer, "whole numbers"),
            Kind.RULES: lambda node: self.items(node, self.rule, "rules"),
            Kind.RATES: lambda node: self.items(node, self.rate, "rates"),
            Kind.FALLBACKS: lambda node: self.items(node, self.fallback, "fallbacks"),
            Kind.CAPABILITIES: self.capabilities,
            Kind.HEADERS: self.headers,
            Kind.JSON: self.json,
        }
        found = len(self.problems)
        value = read_as[wanted](node)
        return value if len(self.problems) > found else in_one_spelling(wanted, value)

    def items(self, node: yaml.Node, read_as: Callable[[yaml.Node], Any], what: str) -> list[Any]:
        return [read_as(item) for item in self.sequence(node, f"Write a list of {what}.")]

    def texts(self, node: yaml.Node) -> list[str | None]:
        return self.items(node, self.text, "texts")

    def record(self, node: yaml.Node, needed: Path, extras: Path, what: str) -> dict[str, yaml.Node] | None:
        """A small mapping inside a list; None when something of it is missing."""
        given = self.mapping(node, (*needed, *extras), what)
        missing = [name for name in needed if given is not None and name not in given]
        for name in missing:
            self.refuse(node, f"{what[0].upper()}{what[1:]} needs `{name}`.")
        return None if missing else given

    def rule(self, node: yaml.Node) -> dict[str, Any]:
        given = self.record(node, RULE_FIELDS, RULE_EXTRAS, "a rule") or {}
        read_as = {name: self.text if name in ("meter", "algorithm") else self.integer for name in given}
        return {name: read_as[name](given[name]) for name in (*RULE_FIELDS, *RULE_EXTRAS) if name in given}

    def rate(self, node: yaml.Node) -> dict[str, Any] | None:
        """A rate as it is stored; None when it cannot be read."""
        given = self.record(node, ("meter",), (*prices.USD_FIELDS, "above_tokens"), "a rate")
        if given is None or (meter := self.text(given["meter"])) is None:
            return None
        if meter not in list(PriceMeter):
            self.refuse(given["meter"], f"A meter is one of {', '.join(PriceMeter)}.")
            return None
        wanted = prices.usd_field(meter)
        if set(given) & set(prices.USD_FIELDS) != {wanted}:
            self.refuse(node, f"A rate for {meter} has its price in `{wanted}`, and in nothing else.")
            return None
        price = self.usd(meter, given[wanted])
        above = self.integer(given["above_tokens"]) if "above_tokens" in given else 0
        if price is None or above is None:
            return None
        return {"meter": meter, "nanousd_per_million": price, "above_tokens": above}

    def usd(self, meter: str, node: yaml.Node) -> int | None:
        read_as = self.scalar(node, ("int", "float", "str"), "Write a price in USD, such as 1.25.")
        if read_as is None:
            return None
        try:
            return prices.nanousd_per_million(meter, read_as)
        except ValueError as error:
            self.refuse(node, f"This cannot be a price in USD: {error}.")
            return None

    def fallback(self, node: yaml.Node) -> dict[str, Any]:
        given = self.record(node, FALLBACK_FIELDS, (), "a fallback") or {}
        return {name: self.texts(given[name]) for name in FALLBACK_FIELDS if name in given}

    def capabilities(self, node: yaml.Node) -> dict[str, Any]:
        given = self.mapping(node, CAPABILITIES, "capabilities") or {}
        return {name: self.capability(name, value) for name, value in given.items() if not self.is_null(value)}

    def capability(self, name: str, node: yaml.Node) -> Any:
        if name.endswith("_tokens"):
            return self.integer(node)
        if name not in CAPABILITY_WORDS:
            return self.boolean(node)
        return self.text(node) if name == "sampling_limits" else self.texts(node)

    def headers(self, node: yaml.Node) -> dict[str, str | None]:
        given = self.mapping(node, None, "headers")
        return {name: self.text(value) for name, value in (given or {}).items()}

    def json(self, node: yaml.Node) -> Any:
        """Any JSON. `MAX_DEPTH` bounds the recursion."""
        if isinstance(node, yaml.MappingNode):
            return {name: self.json(value) for name, value in (self.mapping(node, None, "an object") or {}).items()}
        if isinstance(node, yaml.SequenceNode):
            return [self.json(item) for item in node.value]
        read_as: dict[str, Callable[[yaml.Node], Any]] = {
            "null": lambda _: None,
            "bool": self.boolean,
            "int": self.integer,
            "float": self.number,
        }
        return read_as.get(node.tag.removeprefix(_TAG), self.text)(node)

    def number(self, node: yaml.Node) -> float | None:
        """A number with a fraction or an exponent."""
        read_as = self.scalar(node, ("float",), "Write a number.") or ""
        try:
            number = float(read_as)
        except ValueError:  # .inf, .nan, 1_0.5, 1:30.5
            number = math.inf
        if not math.isfinite(number):
            self.refuse(node, "Write a number in decimal, such as 0.25.")
            return None
        return number

    def mapping(self, node: yaml.Node, allowed: Path | None, what: str) -> dict[str, yaml.Node] | None:
        """None when it is no mapping. `allowed` None takes any name."""
        if not isinstance(node, yaml.MappingNode):
            self.refuse(node, f"Write {what} as `name: value` lines.")
            return None
        given: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self.text(key)
            if name is None:
                continue
            if allowed is not None and name not in allowed:
                self.refuse(key, f"{what} has no field `{name[:64]}`.{_suggestion(name, allowed)}")
            elif name in given:
                self.refuse(key, f"`{name[:64]}` is here twice; first on line {given[name].start_mark.line + 1}.")
            else:
                given[name] = value
        return given

    def sequence(self, node: yaml.Node, advice: str) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            self.refuse(node, advice)
            return []
        items: list[yaml.Node] = node.value
        return items

    def is_null(self, node: yaml.Node) -> bool:
        return isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}null"

    def scalar(self, node: yaml.Node, tags: tuple[str, ...], advice: str) -> str | None:
        if not isinstance(node, yaml.ScalarNode) or node.tag.removeprefix(_TAG) not in tags:
            self.refuse(node, advice)
            return None
        return str(node.value)

    def text(self, node: yaml.Node) -> str | None:
        read_as = self.scalar(node, ("str",), "Write text here; put it in quotes if YAML would read it otherwise.")
        if read_as is not None and ("\0" in read_as or (not read_as.isascii() and _has_surrogate(read_as))):
            self.refuse(node, "The text holds a character that cannot be stored.")
            return None
        return read_as

    def integer(self, node: yaml.Node) -> int | None:
        advice = "Write a whole number."
        read_as = self.scalar(node, ("int",), advice)
        if read_as is None:
            return None
        if not _INTEGER.fullmatch(read_as) or len(read_as) > 20:
            self.refuse(node, f"{advice} In decimal, please.")
            return None
        return int(read_as)

    def boolean(self, node: yaml.Node) -> bool | None:
        read_as = self.scalar(node, ("bool",), "Write true or false.")
        return None if read_as is None else read_as.lower() in ("true", "yes", "on")

    def time(self, node: yaml.Node) -> datetime | None:
        advice = "Write a time with its zone, such as 2027-01-31T12:00:00Z."
        read_as = self.scalar(node, ("str", "timestamp"), advice)
        if read_as is None:
            return None
        try:
            moment = datetime.fromisoformat(read_as)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            self.refuse(node, advice)
            return None
        try:
            # As it is stored. In UTC its year may be 0 or 10000, which Postgres takes and no process could read again.
            return moment.astimezone(UTC)
        except OverflowError:
            self.refuse(node, advice)
            return None

    def env_name(self, node: yaml.Node) -> str | None:
        read_as = self.text(node)
        if read_as is not None and not _ENV_NAME.fullmatch(read_as):
            # Not repeated: it may be the secret itself.
            self.refuse(node, "Write the name of an environment variable here, never the secret itself.")
            return None
        return read_as


def _suggestion(name: str, allowed: Path) -> str:
    close = difflib.get_close_matches(name, allowed, 1)
    return f" Did you mean `{close[0]}`?" if close else f" It has: {', '.join(allowed)}."


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)

"""Paths into JSON (`order.lines[0].sku`, `["a.b"].c`, `lines[*].sku`) and references to everything else. Pure.

A path leads through members of objects and items of lists, nothing more: no filters, no search, no index from the end.
`[*]`, every item of a list, is taken only where many values make sense: in `each`, ignored paths and redactions.
A reference is a path (of the value at hand), or `body:a.b` (of the whole body), `header:x-shop`, `request:method`,
`answer:status`. A name with a colon, a dot, a bracket, a brace or space in it is quoted: `["a:b"]`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from relay_contract.shaping.facts import MISSING, NOT_JSON, Facts

MAX_PATH_LENGTH = 512
MAX_STEPS = 16
_MAX_INDEX_DIGITS = 6
_NOT_IN_NAMES = frozenset('.[]{}:"')


class Every(Enum):
    """The step `[*]`."""

    ITEM = "[*]"


Step: TypeAlias = str | int | Every
Steps: TypeAlias = tuple[Step, ...]
Read: TypeAlias = Callable[[Facts, object], object]
"""Gives what a reference leads to, from a request and the value at hand; MISSING where it leads nowhere."""


class PathError(ValueError):
    """A path or reference that cannot be read. The text says what to write instead."""


def parse(text: str, *, with_every: bool = False) -> Steps:
    """The steps of a path; "" is the value itself. PathError for what is none."""
    if len(text) > MAX_PATH_LENGTH:
        raise PathError(f"a path is at most {MAX_PATH_LENGTH} characters long")
    steps: list[Step] = []
    place = 0
    while place < len(text):
        if text[place] == "[":
            step, place = _bracketed(text, place + 1)
        else:
            if steps and text[place] == ".":
                place += 1
            elif steps:
                raise PathError(f"`.` or `[` has to follow {text[:place]!r}")
            step, place = _name(text, place)
        steps.append(step)
    if len(steps) > MAX_STEPS:
        raise PathError(f"a path has at most {MAX_STEPS} steps")
    if Every.ITEM in steps and not with_every:
        raise PathError("`[*]` stands for many values and is taken only by `each`, ignored paths and redactions")
    return tuple(steps)


def _name(text: str, place: int) -> tuple[str, int]:
    end = place
    while end < len(text) and text[end] not in _NOT_IN_NAMES and not text[end].isspace():
        end += 1
    if end == place:
        raise PathError(f'a name has to stand at character {place + 1} of {text!r}; write odd names as ["a b"]')
    return text[place:end], end


def _bracketed(text: str, place: int) -> tuple[Step, int]:
    step: Step
    if text.startswith('"', place):
        try:
            step, end = json.JSONDecoder().raw_decode(text, place)
        except ValueError:
            raise PathError(f"the quoted name at character {place + 1} of {text!r} is not a JSON string") from None
    else:
        end = max(text.find("]", place), place)
        inner = text[place:end]
        if inner == "*":
            step = Every.ITEM
        elif inner.isascii() and inner.isdigit() and len(inner) <= _MAX_INDEX_DIGITS:
            step = int(inner)
        else:
            raise PathError(
                f'in brackets stands a number from 0, `*` or a quoted name: [0], [*], ["a.b"]; not in {text!r}'
            )
    if not text.startswith("]", end):
        raise PathError(f"the bracket at character {place} of {text!r} is not closed")
    return step, end + 1


def shown(steps: Iterable[Step]) -> str:
    """The path as people write it; `parse` reads it back."""
    text = ""
    for step in steps:
        if isinstance(step, Every):
            text += step.value
        elif isinstance(step, int):
            text += f"[{step}]"
        elif step and not _NOT_IN_NAMES.intersection(step) and not any(letter.isspace() for letter in step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step)}]"
    return text


def follow(value: object, steps: Steps) -> object:
    """Where the steps lead from a value; MISSING where there is nothing. Without `[*]`."""
    for step in steps:
        if type(value) is dict and type(step) is str:
            value = value.get(step, MISSING)
        elif type(value) is list and type(step) is int and step < len(value):
            value = value[step]
        else:
            return MISSING
    return value


def follow_every(value: object, steps: Steps, spend: Callable[[int], None]) -> Iterator[object]:
    """Every value that the steps lead to, in order of the document; `[*]` of what is no list leads nowhere.

    `spend` is called with the number of items before a list is walked, and may raise.
    """
    if Every.ITEM not in steps:
        found = follow(value, steps)
        if found is not MISSING:
            yield found
        return
    place = steps.index(Every.ITEM)
    items = follow(value, steps[:place])
    if type(items) is list:
        spend(len(items))
        for item in items:
            yield from follow_every(item, steps[place + 1 :], spend)


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference, ready to be followed. `source`: here, body, header, request or answer."""

    source: str
    name: str  # of a header, or of a field of the request
    steps: Steps
    read: Read = field(repr=False, compare=False)

    @property
    def is_body(self) -> bool:
        """True where following it needs the decoded body."""
        return self.source in ("here", "body")


_REQUEST_FIELDS: Final[dict[str, Read]] = {
    "method": lambda facts, _: facts.method,
    "path": lambda facts, _: facts.path,
    "event_type": lambda facts, _: facts.event_type,
    "id": lambda facts, _: facts.request_id,
    "received_at": lambda facts, _: facts.received_at,
}


def parse_reference(text: str, *, with_every: bool = False) -> Reference:
    """A reference, read. PathError for what is none."""
    source, colon, name = text.partition(":")
    if not colon or not source.isalpha():
        steps = parse(text, with_every=with_every)
        return Reference("here", "", steps, _from_here(steps))
    match source:
        case "body":
            steps = parse(name, with_every=with_every)
            return Reference("body", "", steps, lambda facts, _: follow(_json(facts), steps))
        case "header" if name and len(name) <= MAX_PATH_LENGTH:
            lowered = name.lower()
            return Reference("header", lowered, (), lambda facts, _: facts.headers.get(lowered, MISSING))
        case "request" if name in _REQUEST_FIELDS:
            return Reference("request", name, (), _REQUEST_FIELDS[name])
        case "answer" if name == "status":
            return Reference("answer", name, (), lambda facts, _: MISSING if facts.status is None else facts.status)
    raise PathError(
        f"{text!r} is not known: write a path, body:a.b, header:name, answer:status or request:"
        f'{"|".join(_REQUEST_FIELDS)}; a name with a colon is written ["a:b"]'
    )


def _json(facts: Facts) -> object:
    document = facts.document()
    return MISSING if document is NOT_JSON else document


def _from_here(steps: Steps) -> Read:
    if len(steps) == 1 and isinstance(steps[0], str):  # the common one, in half the time
        name = steps[0]
        return lambda _, here: here.get(name, MISSING) if type(here) is dict else MISSING
    return lambda _, here: follow(here, steps)


class PathTree:
    """Many paths as one tree, so that a walk over a document asks once a step whether one of them ends here.

    A place in the walk is the tuple of branches that are still open (`start`, then `after` each step): at most one for
    each path.
    """

    __slots__ = ("_every", "_is_end", "_items", "_members")

    def __init__(self, paths: Sequence[Steps] = ()) -> None:
        self._members: dict[str, PathTree] = {}
        self._items: dict[int, PathTree] = {}
        self._every: PathTree | None = None
        self._is_end = False
        for path in paths:
            self._add(path)

    def _add(self, path: Steps) -> None:
        branch = self
        for step in path:
            if isinstance(step, Every):
                branch._every = branch._every or PathTree()
                branch = branch._every
            elif isinstance(step, int):
                branch = branch._items.setdefault(step, PathTree())
            else:
                branch = branch._members.setdefault(step, PathTree())
        branch._is_end = True

    def start(self) -> "Branches":
        """The branches at the document itself."""
        return (self,) if self._members or self._items or self._every or self._is_end else ()

    @staticmethod
    def after(branches: "Branches", step: str | int) -> "Branches":
        """The branches one step further."""
        if not branches:
            return ()
        if isinstance(step, str):
            return tuple(next_ for branch in branches if (next_ := branch._members.get(step)))
        found = [next_ for branch in branches if (next_ := branch._items.get(step))]
        return (*found, *(branch._every for branch in branches if branch._every))

    @staticmethod
    def is_end(branches: "Branches") -> bool:
        """True where one of the paths ends here."""
        return any(branch._is_end for branch in branches)


Branches: TypeAlias = tuple[PathTree, ...]

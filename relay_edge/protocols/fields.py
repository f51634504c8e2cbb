"""A JSON document read field by field: wrong types are refused with their path, unknown fields are noted.

Decoding keeps the text of numbers (a float becomes a Decimal, an integer has any size), so that a schema or a tool's
arguments leave as they came.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from relay_contract.errors import BadField, MalformedJson
from relay_edge.protocols.notes import Notes

E = TypeVar("E")

_decode = msgspec.json.Decoder(float_hook=Decimal).decode
MAX_NUMBER = 10**9

encode = msgspec.json.Encoder(decimal_format="number").encode


MAX_COUNT = 10**12
"""Of tokens in one call; what says more says nothing."""


def count_in(values: Any, name: str) -> int | None:
    """A host's figure; None for what is absent, negative, no whole number or out of all bounds. Never raises."""
    value = values.get(name) if isinstance(values, dict) else None
    return value if type(value) is int and 0 <= value <= MAX_COUNT else None


def decode_object(document: bytes) -> dict[str, Any]:
    """A JSON object. Raises MalformedJson."""
    try:
        value = _decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise MalformedJson from error
    except RecursionError as error:
        raise MalformedJson("The body is nested too deeply.") from error
    if not isinstance(value, dict):
        raise MalformedJson
    return value


def object_text(text: str) -> str | None:
    """The text of a JSON object, compact, with each number as it was written; None when it is none."""
    try:
        if not isinstance(_decode(text), dict):
            return None
        return msgspec.json.format(text, indent=-1)
    except (msgspec.DecodeError, UnicodeError, ValueError, RecursionError):
        return None


class Fields:
    """One JSON object. Null is the same as absent: both vendors treat it so.

    Reading marks a field as known; `done` notes the others.
    """

    __slots__ = ("_known", "_notes", "_values", "place")

    def __init__(self, values: Mapping[str, Any], place: str, notes: Notes) -> None:
        self._values = values
        self._notes = notes
        self._known: set[str] = set()
        self.place = place

    def at(self, name: str) -> str:
        """The path of one of its fields."""
        return f"{self.place}.{name}" if self.place else name

    def refuse(self, name: str, text: str) -> BadField:
        """The error for one of its fields, to be raised."""
        return BadField(self.at(name), text)

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._values.get(name) is not None

    def value(self, name: str) -> Any:
        """The value as decoded, None when absent."""
        self._known.add(name)
        return self._values.get(name)

    def text(self, name: str) -> str | None:
        """A string."""
        return self._typed(name, str, "a string")

    def required_text(self, name: str) -> str:
        """A string that has to be there."""
        value = self._typed(name, str, "a string")
        if value is None:
            raise self.refuse(name, "is missing.")
        return value

    def flag(self, name: str) -> bool | None:
        """A boolean."""
        return self._typed(name, bool, "true or false")

    def count(self, name: str, least: int = 0) -> int | None:
        """A whole number."""
        value = self._typed(name, int, "a whole number")
        if value is not None and value < least:
            raise self.refuse(name, f"is below {least}.")
        return value

    def number(self, name: str, least: float = -MAX_NUMBER) -> float | None:
        """A finite number."""
        self._known.add(name)
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise self.refuse(name, "has to be a number.")
        if not -MAX_NUMBER <= value <= MAX_NUMBER:
            raise self.refuse(name, "is out of range.")
        if value < least:
            raise self.refuse(name, f"is below {least:g}.")
        return float(value)

    def object_text(self, name: str) -> str:
        """The text of a JSON object inside a string, compact; `{}` when there is none. For a tool's arguments."""
        text = self.text(name) or ""
        if not text.strip():
            return "{}"
        compact = object_text(text)
        if compact is None:
            raise self.refuse(name, "is not the text of a JSON object.")
        return compact

    def mapping(self, name: str) -> dict[str, Any] | None:
        """A JSON object, as decoded."""
        value: dict[str, Any] | None = self._typed(name, dict, "an object")
        return value

    def inner(self, name: str) -> "Fields | None":
        """A JSON object, to be read in turn."""
        value = self.mapping(name)
        return None if value is None else Fields(value, self.at(name), self._notes)

    def required_object(self, name: str) -> "Fields":
        """A JSON object that has to be there."""
        value = self.inner(name)
        if value is None:
            raise self.refuse(name, "is missing.")
        return value

    def array(self, name: str) -> list[Any] | None:
        """An array, as decoded."""
        value: list[Any] | None = self._typed(name, list, "an array")
        return value

    def objects(self, name: str) -> Iterator["Fields"]:
        """The objects of an array; none when it is absent."""
        for place, value in enumerate(self.array(name) or ()):
            path = f"{self.at(name)}[{place}]"
            if not isinstance(value, dict):
                raise BadField(path, "has to be an object.")
            yield Fields(value, path, self._notes)

    def texts(self, name: str) -> tuple[str, ...]:
        """The strings of an array; none when it is absent."""
        values = self.array(name) or ()
        for place, value in enumerate(values):
            if not isinstance(value, str):
                raise BadField(f"{self.at(name)}[{place}]", "has to be a string.")
        return tuple(values)

    def one_of(self, name: str, choices: Mapping[str, E]) -> E | None:
        """A string with a fixed set of values."""
        value = self.text(name)
        if value is None:
            return None
        if value not in choices:
            raise self.refuse(name, f"has to be one of {', '.join(choices)}.")
        return choices[value]

    def drop(self, *names: str) -> None:
        """Fields that have no counterpart in any other shape: known, noted when they are there, not carried."""
        self._known.update(names)
        for name in names:
            if self.has(name):
                self._notes.dropped(_without_places(self.at(name)), self.at(name))

    def ignore(self, *names: str) -> None:
        """Fields whose absence changes nothing."""
        self._known.update(names)

    def done(self) -> None:
        """Notes the fields that nobody asked for."""
        if len(self._known) < len(self._values) or not self._values.keys() <= self._known:
            for name, value in self._values.items():
                if name not in self._known and value is not None:
                    self._notes.unknown(_without_places(self.at(name)), self.at(name))

    def _typed(self, name: str, kind: type[E], what: str) -> E | None:
        self._known.add(name)
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.refuse(name, f"has to be {what}.")
        return value


def _without_places(path: str) -> str:
    """`messages[3].content[0].x` -> `messages.content.x`: one note for all."""
    if "[" not in path:
        return path
    return ".".join(part.partition("[")[0] for part in path.split("."))

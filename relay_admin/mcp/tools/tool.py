"""A tool: a route of the control API under a name, with what an agent is told of it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from rest_framework import serializers

from relay_admin.mcp import schemas
from relay_admin.mcp.inside import Asked
from relay_admin.mcp.schemas import OBJECT, Schema

_IN_QUERY = ("GET", "DELETE")
_PART = re.compile(r"[^/\0]{1,200}")
_PARTS_OF_ROW = 3

NOTES = {
    "after": "The `next` of the page before; leave it out for the first page.",
    "limit": "How many rows a page has.",
    "project": "The slug of a project, as list_projects tells it.",
    "line": "The slug of a line, as list_lines tells it.",
    "endpoint": "The slug of an endpoint, as list_endpoints tells it.",
    "since": "From this moment on, ISO 8601.",
    "until": "Before this moment, ISO 8601.",
    "mode": "Of live or of test keys.",
}
"""What an argument of this name means, unless the tool says otherwise."""


class UnusableArgument(Exception):
    """An argument that leads to no route. `name` and the text say which and why."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Tool:
    """`route` has the arguments of `path` in braces; the others are the query of a GET or DELETE, else the body, as
    `form` takes them; those inside of the argument `spread` as if they stood beside it. `finds`: the tool that lists
    what an id or a name could have been."""

    name: str
    description: str
    method: str
    route: str
    answer: Schema = field(default_factory=lambda: OBJECT)
    form: type[serializers.Serializer] | None = None
    path: Mapping[str, Schema] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)  # of the body, and no argument
    spread: str = ""
    finds: str = ""
    only_reads: bool = False  # of a POST that changes nothing
    destroys: bool = False
    repeats: bool = False  # twice is as once

    @property
    def is_read_only(self) -> bool:
        """Whether nothing is changed by it."""
        return self.method == "GET" or self.only_reads

    @property
    def input_schema(self) -> Schema:
        """Every argument, with its bounds."""
        properties, required = ({}, []) if self.form is None else schemas.form(self.form)
        if self.method == "PATCH":  # what is not sent stays as it is
            properties = {name: {**one} for name, one in properties.items()}
            required = [name for name in required if name == self.spread]
            for one in properties.values():
                one.pop("default", None)
        properties = {name: one for name, one in properties.items() if name not in self.fixed}
        return {
            "type": "object",
            "properties": schemas.described({**self.path, **properties}, {**NOTES, **self.notes}),
            "required": [*self.path, *required],
            "additionalProperties": False,
        }

    def call(self, arguments: Mapping[str, Any]) -> Asked:
        """The route as it is to be called. Raises UnusableArgument."""
        known = None if self.form is not None else set(self.path)
        unknown = sorted(set(arguments) & set(self.fixed) if known is None else set(arguments) - known)
        if unknown:
            raise UnusableArgument(unknown[0], "There is no such argument.")
        parts = {name: _part(name, arguments.get(name), self.path[name]) for name in self.path}
        rest = self._spread({name: value for name, value in arguments.items() if name not in self.path})
        path = self.route.format(**parts)
        if self.method in _IN_QUERY:
            query = urlencode({name: _word(value) for name, value in rest.items() if value is not None})
            return Asked(self.method, path, query)
        return Asked(self.method, path, body={**rest, **self.fixed})

    def _spread(self, rest: dict[str, Any]) -> dict[str, Any]:
        if not self.spread or self.form is None:
            return rest
        for name in rest:
            if name not in self.form().fields:
                raise UnusableArgument(name, "There is no such argument.")
        inner = rest.pop(self.spread, {})
        if not isinstance(inner, dict):
            raise UnusableArgument(self.spread, "Send an object.")
        return {**inner, **rest}

    @property
    def sample(self) -> str:
        """An address of the route."""
        parts = {name: _sample(schema) for name, schema in self.path.items()}
        return self.route.format(**parts)


def _sample(schema: Schema) -> str:
    if schema.get("format") == "uuid":
        return "00000000-0000-0000-0000-000000000000"
    given = schema.get("enum") or schema.get("examples") or ["1" if schema["type"] == "integer" else "x"]
    return str(given[0])


def _part(name: str, value: Any, schema: Schema) -> str:
    """A word of the address, or of a row's up to three."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    parts = text.split("/") if schema is schemas.ROW else [text]
    if len(parts) > _PARTS_OF_ROW or not all(_PART.fullmatch(one) and one not in (".", "..") for one in parts):
        raise UnusableArgument(name, "This is required, and no more than a name or a number.")
    if text not in schema.get("enum", [text]):
        raise UnusableArgument(name, f"One of {', '.join(schema['enum'])}.")
    return text


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

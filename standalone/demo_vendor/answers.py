"""What the vendor says: its words, a tool it calls, or a document that fits a schema. Always the same for one call."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from standalone.demo_vendor.calls import Json

LONGEST_ECHO_TOKENS = 400
MAX_SCHEMA_DEPTH = 16

_TOKEN = re.compile(r"\s*(?:\w+|[^\w\s])")


@dataclass(slots=True, frozen=True)
class Tool:
    """A tool on offer."""

    name: str
    schema: Json


@dataclass(slots=True, frozen=True)
class Asked:
    """A call, in no vendor's words."""

    prompt: str  # the user's last turn
    input_tokens: int
    tool_result: str | None = None  # the last turn is a tool's answer
    tools: tuple[Tool, ...] = ()
    must_call: str | None = None  # "" any tool, else its name
    may_call: bool = True
    schema: Json | None = None  # the answer's text must be a document of this schema
    max_tokens: int | None = None


@dataclass(slots=True, frozen=True)
class Answer:
    """What is said back: its text in pieces of one token each, and the counts a bill would be made from."""

    pieces: tuple[str, ...]
    input_tokens: int
    is_cut: bool  # the caller's token limit ended it
    called: Tool | None = None
    arguments: str = ""  # of the tool, a JSON object
    call_id: str = ""

    @property
    def text(self) -> str:
        """The whole of it."""
        return "".join(self.pieces)

    @property
    def output_tokens(self) -> int:
        """Of the text, or of the call."""
        return len(self.pieces) + len(tokens(self.arguments))


def tokens(text: str) -> list[str]:
    """Words and marks, each with the space before it: a stand-in for a tokenizer. Joining them gives the text again."""
    return _TOKEN.findall(text)


def compose(asked: Asked) -> Answer:
    """The answer to a call."""
    called = _tool_to_call(asked)
    if called is not None:
        arguments = json.dumps(sample(called.schema))
        return Answer((), asked.input_tokens, False, called, arguments, f"call_{secrets.token_hex(8)}")
    full = tokens(_words(asked))
    pieces = tuple(full[: asked.max_tokens])
    return Answer(pieces, asked.input_tokens, is_cut=len(pieces) < len(full))


def _words(asked: Asked) -> str:
    if asked.schema is not None:
        return json.dumps(sample(asked.schema))
    if asked.tool_result is not None:
        return f'The tool answered: "{_echo(asked.tool_result)}"'
    return f'This is the demo vendor; no model is behind it. You wrote: "{_echo(asked.prompt)}"'


def _echo(text: str) -> str:
    return "".join(tokens(text.strip())[:LONGEST_ECHO_TOKENS])


def _tool_to_call(asked: Asked) -> Tool | None:
    """The forced one; else the first that the question names, unless it was answered already."""
    if not asked.tools or not asked.may_call:
        return None
    if asked.must_call is not None:
        return next((tool for tool in asked.tools if tool.name == asked.must_call), asked.tools[0])
    if asked.tool_result is not None:
        return None
    return next((tool for tool in asked.tools if tool.name in asked.prompt), None)


def sample(schema: Json, root: Json | None = None, depth: int = 0) -> object:
    """A value that fits a JSON schema of the kind that tools and structured outputs use."""
    root = schema if root is None else root
    if depth > MAX_SCHEMA_DEPTH:
        return None
    if "$ref" in schema:
        return sample(_referred(str(schema["$ref"]), root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            return sample(schema[word][0], root, depth + 1)
    return _of_type(schema, root, depth)


_OF_TYPE: Json = {"integer": 1, "number": 1.5, "boolean": True, "null": None}


def _of_type(schema: Json, root: Json, depth: int) -> object:
    named = schema.get("type", "object" if "properties" in schema else "string")
    kind = named[0] if isinstance(named, list) else named
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: sample(properties[name], root, depth + 1) for name in properties}
    if kind == "array":
        return [sample(schema.get("items", {"type": "string"}), root, depth + 1)]
    return schema.get("minimum", _OF_TYPE.get(kind, "demo"))


def _referred(reference: str, root: Json) -> Json:
    found: object = root
    for part in filter(None, reference.removeprefix("#").split("/")):
        found = found.get(part, {}) if isinstance(found, dict) else {}
    return found if isinstance(found, dict) else {}


def offered(tools: Sequence[tuple[object, object]]) -> tuple[Tool, ...]:
    """Pairs of name and schema as tools; what has no name is no tool of ours."""
    return tuple(
        Tool(name, schema if isinstance(schema, dict) else {"type": "object"})
        for name, schema in tools
        if isinstance(name, str)
    )

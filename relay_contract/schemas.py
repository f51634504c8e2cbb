"""JSON Schema (draft 2020-12) of what callers send, with every cost bounded.

A schema is written by whoever runs a project and meets whatever a stranger sends, on a process that serves everybody:

- patterns are linear in time (Rust's `regex`): look-around and back-references are refused when the schema is saved.
- references stay inside the document (`#/...`); nothing is ever fetched.
- a document is at most 64 KiB and 32 deep, and stands for at most 20,000 subschemas once its references are followed:
  forty lines of `anyOf` that each name the next one twice would otherwise cost 2 ** 40 steps.
- a schema that tries much on each value (alternatives, patterns for names, lists to choose from) meets only as many
  values as MAX_EVALUATIONS allows; one that tries little is not counted.
- a value is first only told valid or not, which is linear: a recursive schema remembers what it has seen. Finding the
  words for a refusal is not (a value 18 deep against two recursive alternatives took 67 s in jsonschema-rs 0.60.3), so
  words come where they are cheap, and otherwise the refusal speaks of the value as a whole.

Formats (`email`, `date-time`, ...) are checked; unknown ones are not.

Pure. Compiling costs about 0.2 ms and is done once per catalog snapshot; a check 1 us for a document of 700 bytes,
4 us where it is refused.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeAlias
from urllib.parse import unquote

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

MAX_SCHEMA_BYTES = 65_536
MAX_SCHEMA_DEPTH = 32
MAX_SUBSCHEMAS = 20_000
MAX_EVALUATIONS = 5_000_000
"""What a schema tries on one value, times the values: 30 to 130 ns each."""

_REGEX_BYTES = 1 << 20
_NARROW = 32
_MAX_CONTEXTS = 100_000
_MAX_TEXT = 200
_DIALECT = "https://json-schema.org/draft/2020-12/schema"

_Json: TypeAlias = Any  # as the JSON decoder gave it; nothing is known of it yet
_Document: TypeAlias = dict[str, Any] | bool

_CHOICES = ("anyOf", "oneOf")
_SAME_VALUE_ONE = ("not", "if", "then", "else")
_SAME_VALUE_MANY = ("allOf", *_CHOICES)
_INSIDE_ONE = ("items", "contains", "additionalProperties", "unevaluatedItems", "unevaluatedProperties",
               "propertyNames")  # fmt: skip
_INSIDE_NAMED = ("properties", "patternProperties")
_NOT_OFFERED = ("$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor")

_SAYINGS: Final[Mapping[str, str]] = {  # of keywords whose own value may be shown: it is the schema's
    "required": "lacks the property {}",
    "pattern": "does not match the pattern {}",
    "format": "is not in the format {}",
    "minimum": "is less than {}",
    "maximum": "is more than {}",
    "exclusiveMinimum": "is not more than {}",
    "exclusiveMaximum": "is not less than {}",
    "multipleOf": "is no multiple of {}",
    "minLength": "has fewer characters than {}",
    "maxLength": "has more characters than {}",
    "minItems": "has fewer items than {}",
    "maxItems": "has more items than {}",
    "minProperties": "has fewer properties than {}",
    "maxProperties": "has more properties than {}",
}
_PLAIN_SAYINGS: Final[Mapping[str, str]] = {
    "additionalProperties": "has a property that is not in the schema",
    "unevaluatedProperties": "has a property that is not in the schema",
    "unevaluatedItems": "has an item that is not in the schema",
    "falseSchema": "is not allowed here",
    "uniqueItems": "has an item twice",
    "enum": "is none of the values that are allowed",
    "const": "is not the value that is allowed",
    "anyOf": "matches none of the alternatives",
    "oneOf": "does not match exactly one of the alternatives",
}


class SchemaError(ValueError):
    """A document is no schema that the relay checks by. The text is one sentence for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Why a value was refused. None of it is the value's own content but the names on the way to the place."""

    path: str  # JSON pointer into the value, cut to 200 characters; "" is the value as a whole
    keyword: str  # of the schema
    message: str  # a phrase that follows the place: "is not of type string"


class SchemaValidator:
    """A compiled schema. Build it with `compile_schema`; it may be shared by threads."""

    __slots__ = ("_shape", "_validator")

    def __init__(self, validator: Draft202012Validator, shape: "_Shape") -> None:
        self._validator = validator
        self._shape = shape

    def check(self, value: _Json) -> Violation | None:
        """None where the value is right. It comes from a JSON decoder with a limit on nesting, as msgspec's is."""
        width = self._shape.width
        if width > _NARROW and _counted(value, MAX_EVALUATIONS // width) is None:
            return Violation("", "size", "holds more values than its schema can be checked for")
        try:
            if self._validator.is_valid(value):
                return None
            return self._explained(value)
        except ValueError:  # a lone surrogate, which JSON's grammar lets through and UTF-8 cannot hold
            return Violation("", "encoding", "holds text that is not Unicode")

    def _explained(self, value: _Json) -> Violation:
        if not self._is_cheap_to_explain(value):
            return Violation("", "schema", "does not match the schema")
        try:
            self._validator.validate(value)
        except ValidationError as error:
            return Violation(_pointer(error.instance_path), error.kind.name, _saying(error))
        return Violation("", "schema", "does not match the schema")

    def _is_cheap_to_explain(self, value: _Json) -> bool:
        """Each alternative that fails keeps all of its own failures, and theirs."""
        if not self._shape.has_choices:
            return True
        return not self._shape.is_recursive and _counted(value, _MAX_CONTEXTS // self._shape.subschemas) is not None


def compile_schema(document: _Json) -> SchemaValidator:
    """Make a validator of a schema document as JSON. SchemaError says what to change in it."""
    if not isinstance(document, dict | bool):
        raise SchemaError("A schema is a JSON object, or true or false.")
    _check_size(document)
    shape = _measured(document)
    try:
        validator = Draft202012Validator(
            document,
            validate_formats=True,
            retriever=_refuse,
            pattern_options=RegexOptions(size_limit=_REGEX_BYTES, dfa_size_limit=_REGEX_BYTES),
        )
    except ValidationError as error:
        raise SchemaError(_complaint(error)) from None
    except ValueError:
        raise SchemaError("The schema cannot be read: it holds text that is not Unicode.") from None
    return SchemaValidator(validator, shape)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a schema costs, read from its document."""

    subschemas: int  # with every reference followed, but those back to where one came from
    width: int  # how many of them are laid on one and the same value, with what they try on it one after the other
    is_recursive: bool
    has_choices: bool


def _measured(root: _Document) -> _Shape:
    """Walks the document from below: each subschema once, after those it is made of."""
    below: dict[int, int] = {}
    widths: dict[int, int] = {}
    open_: set[int] = set()
    is_recursive = has_choices = False
    stack: list[tuple[_Document, bool]] = [(root, False)]
    while stack:
        schema, is_left = stack.pop()
        key = id(schema)
        if isinstance(schema, bool) or (key in below and not is_left):
            continue
        same, inside = list(_same_value(schema, root)), list(_inside(schema))
        if not is_left:
            has_choices = has_choices or any(choice in schema for choice in _CHOICES)
            if key in open_:
                is_recursive = True
                continue
            open_.add(key)
            stack.append((schema, True))
            stack.extend((part, False) for part in (*same, *inside))
            continue
        open_.discard(key)
        below[key] = 1 + sum(below.get(id(part), 1) for part in (*same, *inside))
        widths[key] = 1 + _tried_in_turn(schema) + sum(widths.get(id(part), 1) for part in same)
        if below[key] > MAX_SUBSCHEMAS:
            raise SchemaError(
                f"The schema stands for more than {MAX_SUBSCHEMAS} subschemas once its references are followed;"
                " let fewer parts of it name each other."
            )
    return _Shape(below.get(id(root), 1), max(widths.values(), default=1), is_recursive, has_choices)


def _same_value(schema: dict[str, Any], root: _Document) -> Iterator[_Document]:
    """The subschemas that look at the same value as this one."""
    for keyword in _NOT_OFFERED:
        if keyword in schema:
            raise SchemaError(f"{keyword} is not supported; name a place in the schema with $ref.")
    if schema is not root and "$id" in schema:
        raise SchemaError("$id is only supported at the top of a schema; name a place in it with $ref and #/....")
    if "$ref" in schema:
        yield _referred(schema["$ref"], root)
    yield from _schemas(schema.get(keyword) for keyword in _SAME_VALUE_ONE)
    for keyword in _SAME_VALUE_MANY:
        yield from _schemas(_listed(schema.get(keyword)))
    yield from _schemas(_named(schema.get("dependentSchemas")))


def _tried_in_turn(schema: dict[str, Any]) -> int:
    """Steps of a subschema that grow with its own text. Options that are all text or all whole numbers are looked up
    at once; 5,000 lists on 2,000 values took 1.3 s, 1,500 patterns on 100,000 names 4 s."""
    options = _listed(schema.get("enum"))
    is_looked_up = any(all(type(option) is kind for option in options) for kind in (str, int))
    patterns, dependencies = _named(schema.get("patternProperties")), _named(schema.get("dependentRequired"))
    return len(patterns) + len(dependencies) + (0 if is_looked_up else len(options))


def _inside(schema: dict[str, Any]) -> Iterator[_Document]:
    """The subschemas that look at parts of the value."""
    yield from _schemas(schema.get(keyword) for keyword in _INSIDE_ONE)
    yield from _schemas(_listed(schema.get("prefixItems")))
    for keyword in _INSIDE_NAMED:
        yield from _schemas(_named(schema.get(keyword)))


def _schemas(found: Iterator[Any] | Sequence[Any]) -> Iterator[_Document]:
    return (part for part in found if isinstance(part, dict))  # what else stands there is refused with the document


def _listed(found: _Json) -> Sequence[Any]:
    return found if isinstance(found, list) else ()


def _named(found: _Json) -> Sequence[Any]:
    return tuple(found.values()) if isinstance(found, dict) else ()


def _referred(reference: _Json, root: _Document) -> _Document:
    """What a `$ref` names. RFC 6901, section 6: a pointer in a fragment is percent-encoded."""
    if not isinstance(reference, str) or (reference != "#" and not reference.startswith("#/")):
        raise SchemaError(
            f"The reference {str(reference)[:_MAX_TEXT]!a} leads out of the schema; only #/... inside it is followed."
        )
    place: Any = root
    for step in unquote(reference[1:]).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(place, list) and name.isdecimal() and len(name) < 6 and int(name) < len(place):
            place = place[int(name)]
        elif isinstance(place, dict) and name in place:
            place = place[name]
        else:
            raise SchemaError(f"The reference {reference[:_MAX_TEXT]!a} leads to no place in the schema.")
    if not isinstance(place, dict | bool):
        raise SchemaError(f"The reference {reference[:_MAX_TEXT]!a} leads to something that is no schema.")
    return place


def _check_size(document: _Document) -> None:
    """Depth first, by hand: encoding a document that is too deep would overflow Python's own stack."""
    level: list[Any] = [document]
    for _ in range(MAX_SCHEMA_DEPTH):
        level = [part for node in level for part in _parts(node)]
        if not level:
            break
    else:
        raise SchemaError(f"The schema is nested deeper than {MAX_SCHEMA_DEPTH} levels; use $defs and $ref.")
    try:
        size = len(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())
    except (UnicodeEncodeError, TypeError):
        raise SchemaError("The schema cannot be read: it holds text that is not Unicode.") from None
    if size > MAX_SCHEMA_BYTES:
        raise SchemaError(f"The schema takes {size} bytes; at most {MAX_SCHEMA_BYTES} are kept.")
    dialect = document.get("$schema", _DIALECT) if isinstance(document, dict) else _DIALECT
    if not isinstance(dialect, str) or dialect.rstrip("#") != _DIALECT:
        raise SchemaError(f"The schema is not of draft 2020-12; write $schema as {_DIALECT} or leave it out.")


def _parts(node: _Json) -> Sequence[Any]:
    if isinstance(node, dict):
        return tuple(node.values())
    return node if isinstance(node, list) else ()


def _counted(value: _Json, most: int) -> int | None:
    """How many values this one is made of, or None for more than `most`. 50 ns each."""
    count = 1
    waiting: list[Any] = [value]
    while waiting:
        parts = _parts(waiting.pop())
        count += len(parts)
        if count > most:
            return None
        waiting.extend(part for part in parts if isinstance(part, dict | list))
    return count


def _refuse(_uri: str, /) -> NoReturn:
    raise ValueError("nothing is fetched")


def _complaint(error: ValidationError) -> str:
    """The compiler's error for the schema's author, whose own text it may repeat."""
    place = _pointer(error.instance_path) or "the top"
    if error.kind.name == "format" and any(step in {"pattern", "patternProperties"} for step in error.instance_path):
        return (
            f"The pattern at {place} cannot be used: it is no regular expression, is too large, or looks around or back"
            " ((?=...), (?!...), \\1), which cannot be matched in linear time."
        )
    return f"The schema is not valid at {place}: {error.message[:_MAX_TEXT]}."


def _saying(error: ValidationError) -> str:
    name = error.kind.name
    if name == "type":
        return f"is not of type {' or '.join(error.kind.value)}"[:_MAX_TEXT]
    if name in _SAYINGS:
        return _SAYINGS[name].format(json.dumps(error.kind.value, ensure_ascii=False))[:_MAX_TEXT]
    return _PLAIN_SAYINGS.get(name, f"is refused by {name}")


def _pointer(path: Sequence[str | int]) -> str:
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)[:_MAX_TEXT]

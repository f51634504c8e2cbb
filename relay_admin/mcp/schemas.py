"""JSON Schemas (2020-12) of what the control API takes and gives, made of its own forms, so that a tool takes exactly
what its route takes. Pure."""

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from rest_framework import serializers

from relay_admin.control_api.wire import CamelCaseSerializer, camel_case

Schema: TypeAlias = dict[str, Any]

INTEGER: Schema = {"type": "integer"}
ID: Schema = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
UUID: Schema = {"type": "string", "format": "uuid"}
SLUG: Schema = {"type": "string", "pattern": r"^[^/]+$", "maxLength": 200}
ROW: Schema = {"type": "string", "pattern": r"^[^/]+(/[^/]+){0,2}$", "maxLength": 400, "examples": ["1"]}
"""An id, or up to three names."""
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
OBJECT: Schema = {"type": "object"}
ANY: Schema = {}


def or_null(schema: Schema) -> Schema:
    """The same, or null."""
    if "type" not in schema:
        return schema
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    found = {**schema, "type": [*kinds, "null"]}
    return {**found, "enum": [*schema["enum"], None]} if "enum" in schema else found


def record(**properties: Schema) -> Schema:
    """An object that has at least these."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def listed(item: Schema) -> Schema:
    """A list of them."""
    return {"type": "array", "items": item}


def page(item: Schema) -> Schema:
    """A page of a list. `next`, where there is more, is the `after` of the next one."""
    return record(results=listed(item), next={"type": ["string", "integer", "null"]})


def form(one: type[serializers.Serializer]) -> tuple[dict[str, Schema], list[str]]:
    """What a form takes: each field's schema, and the names of those that have to be sent."""
    fields = one().fields
    return (
        {name: _taken(field) for name, field in fields.items()},
        [name for name, field in fields.items() if field.required],
    )


def answer(one: type[serializers.Serializer]) -> Schema:
    """What a serializer writes. All but ids may be null: what a name named may be gone."""
    made = one()
    is_camel = isinstance(made, CamelCaseSerializer)
    shown = {
        camel_case(name) if is_camel else name: (_base(field) if name == "id" else or_null(_base(field)))
        for name, field in made.fields.items()
    }
    return record(**shown)


def _taken(field: serializers.Field) -> Schema:
    schema = {**_base(field), **_bounds(field)}
    default = field.default
    if default not in (serializers.empty, None) and not callable(default):
        schema["default"] = default if isinstance(default, int | str) else str(default)
    return or_null(schema) if field.allow_null else schema


_KINDS: tuple[tuple[type[serializers.Field], Schema], ...] = (
    (serializers.BooleanField, FLAG),
    (serializers.IntegerField, INTEGER),
    (serializers.FloatField, {"type": "number"}),
    (serializers.UUIDField, UUID),
    (serializers.DateTimeField, TIME),
    (serializers.DateField, {"type": "string", "format": "date"}),
    (serializers.PrimaryKeyRelatedField, ID),
    (serializers.DictField, OBJECT),
    (serializers.CharField, TEXT),
    (serializers.RelatedField, TEXT),  # by slug
)
"""The first that a field is an instance of counts; what is none of them may be anything."""


def _base(field: serializers.Field) -> Schema:
    match field:
        case serializers.ListSerializer():
            found = listed(_nested(field.child))
        case serializers.Serializer():
            found = _nested(field)
        case serializers.ListField():
            found = listed(_taken(field.child))
        case serializers.ManyRelatedField():
            found = listed(_base(field.child_relation))
        case serializers.ChoiceField():
            found = {"type": "string", "enum": [str(choice) for choice in field.choices]}
        case serializers.DecimalField():
            found = {"type": "number"}
        case _:
            found = next((schema for kind, schema in _KINDS if isinstance(field, kind)), ANY)
    return dict(found)


def _nested(one: serializers.Serializer) -> Schema:
    if one.read_only or isinstance(one, CamelCaseSerializer):
        return answer(type(one))
    properties, required = form(type(one))
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_BOUNDS: Mapping[str, str] = {
    "min_value": "minimum", "max_value": "maximum", "max_length": "maxLength", "min_length": "minLength",
}  # fmt: skip
_OF_LISTS = {"max_length": "maxItems", "min_length": "minItems"}


def _bounds(field: serializers.Field) -> Schema:
    names = {**_BOUNDS, **(_OF_LISTS if isinstance(field, serializers.ListField) else {})}
    found: Schema = {
        name: _number(value) for asked, name in names.items() if (value := getattr(field, asked, None)) is not None
    }
    if isinstance(field, serializers.DecimalField):
        found.pop("maxLength", None)
    if isinstance(field, serializers.RegexField):
        # JSON Schema has ECMA's dialect, which knows no \Z.
        found["pattern"] = _pattern(field).replace(r"\Z", "$")
    return found


def _number(value: Any) -> Any:
    return value if isinstance(value, int) else float(value)


def _pattern(field: serializers.RegexField) -> str:
    [found] = [one.regex for one in field.validators if isinstance(getattr(one, "regex", None), re.Pattern)]
    return str(found.pattern)


def described(properties: Mapping[str, Schema], notes: Mapping[str, str]) -> dict[str, Schema]:
    """With a description of each that has one."""
    return {
        name: {**schema, "description": notes[name]} if name in notes else schema for name, schema in properties.items()
    }

"""JSON Schemas of what `answers` is told: serializers, TypedDicts and plain types of Python."""

import inspect
from collections.abc import Mapping
from dataclasses import is_dataclass
from datetime import date, datetime
from enum import Enum
from types import FunctionType, NoneType, UnionType
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict
from uuid import UUID

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from rest_framework.serializers import BaseSerializer

from relay_admin.control_api.answers import Also, Page, Rows, Shape
from relay_admin.control_api.wire import camel_case

Schema = dict[str, Any]

_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    UUID: {"type": "string", "format": "uuid"},
    Any: {},
}


def schema_of(shape: Shape, of: AutoSchema) -> Schema:
    """The schema; what has a name becomes a component of the document and is referred to. Raises TypeError."""
    match shape:
        case Page():
            return _object({"results": _list(shape.of, of), "next": schema_of(shape.next | None, of)})
        case Rows():
            return _object({shape.name: _list(shape.of, of)})
        case Also():
            return _named(shape.name, shape, _with_more(shape, of), of)
        case FunctionType():
            return schema_of(shape(type(of.view)), of)
        case _:
            return _of_type(shape, of)


def _of_type(shape: Shape, of: AutoSchema) -> Schema:
    if shape in _PLAIN:
        return dict(_PLAIN[shape])
    match shape:
        case type() if issubclass(shape, BaseSerializer):
            return dict(of.resolve_serializer(shape, "response").ref)
        case type() if issubclass(shape, Enum):
            return {"type": "string", "enum": [str(each.value) for each in shape]}
        case type() if is_typeddict(shape):
            return _named(component_name(shape), shape, _typed(shape, of), of)
        case type() if is_dataclass(shape):
            return _named(component_name(shape), shape, _fields(shape, of), of)
        case _:
            return _generic(shape, of)


def _generic(shape: Shape, of: AutoSchema) -> Schema:
    origin, inner = get_origin(shape), get_args(shape)
    if origin in (list, tuple):
        return _list(inner[0], of)
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": schema_of(inner[1], of)}
    if origin is Literal:
        return {"type": "string", "enum": list(inner)}
    if origin is NotRequired:
        return schema_of(inner[0], of)
    if origin in (Union, UnionType):
        return _either([schema_of(each, of) for each in inner])
    raise TypeError(f"{shape!r} is no shape of an answer.")


def _either(choices: list[Schema]) -> Schema:
    """`{"type": ["string", "null"]}` where that says all."""
    types = [each["type"] for each in choices if isinstance(each.get("type"), str)]
    rest = [each for each in choices if each != {"type": "null"}]
    if len(rest) == 1 and len(types) == len(choices) and "enum" not in rest[0]:
        return {**rest[0], "type": types}
    return {"anyOf": choices}


def _list(of_each: Shape, of: AutoSchema) -> Schema:
    return {"type": "array", "items": schema_of(of_each, of)}


def _object(properties: dict[str, Schema], required: list[str] | None = None, description: str = "") -> Schema:
    names = list(properties) if required is None else required
    said = {"description": description} if description else {}
    return {"type": "object", **said, "properties": properties, "required": names}


def _typed(shape: Any, of: AutoSchema) -> Schema:
    hints = get_type_hints(shape, include_extras=False)
    properties = {name: schema_of(hint, of) for name, hint in hints.items()}
    required = [name for name in hints if name in shape.__required_keys__]
    return _object(properties, required, _said(shape))


def _fields(shape: Any, of: AutoSchema) -> Schema:
    hints = get_type_hints(shape).items()
    return _object({camel_case(name): schema_of(hint, of) for name, hint in hints}, None, _said(shape))


def _said(shape: Any) -> str:
    return inspect.cleandoc(shape.__doc__ or "")


def _with_more(shape: Also, of: AutoSchema) -> Schema:
    """Written out, so that generated clients get one type."""
    name = schema_of(shape.of, of)["$ref"].rpartition("/")[2]
    base = of.registry[name, ResolvedComponent.SCHEMA].schema
    more = {name: schema_of(each, of) for name, each in shape.fields.items()}
    always = [name for name, each in shape.fields.items() if get_origin(each) is not NotRequired]
    required = [*base.get("required", ()), *always]
    return {**base, "properties": {**base["properties"], **more}, "required": required}


def component_name(shape: Any) -> str:
    """What generated clients call it: `RelayKeyJson` is a `RelayKey`."""
    return str(shape.__name__).removesuffix("Json")


def _named(name: str, shape: Shape, schema: Schema, of: AutoSchema) -> Schema:
    component = ResolvedComponent(name, ResolvedComponent.SCHEMA, schema, shape)
    of.registry.register_on_missing(component)
    return dict(component.ref)

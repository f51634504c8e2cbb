"""Which forms a handler reads, found in its source: `read(Form, call.data)`, `read(Form, call.query_params)` and
`Form(data=call.data)`, also where a function of the same module does it for the handler.

The call that reads is the only place that names the form, so the document cannot say something else.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from rest_framework.serializers import Serializer


class UnknownFormError(Exception):
    """A handler reads a form that its source does not name."""


@dataclass(frozen=True, slots=True)
class Forms:
    """What a handler reads; None: nothing. `is_partial`: of the body only what was sent."""

    body: type[Serializer[Any]] | None = None
    query: type[Serializer[Any]] | None = None
    is_partial: bool = False


def forms_of(handler: Callable[..., Any], view: type) -> Forms:
    """The forms of a view's handler. Raises UnknownFormError."""
    body = query = None
    is_partial = False
    for form, place, partial in _reads(inspect.unwrap(handler), {"self": view}, set()):
        if place == "query_params":
            query = form
        else:
            body, is_partial = form, partial
    return Forms(body, query, is_partial)


_Read = tuple[type[Serializer[Any]], str, bool]


def _reads(function: Any, known: Mapping[str, Any], seen: set[Any]) -> Iterator[_Read]:
    """`known`: what the function's parameters are, where that can be told."""
    if function in seen:
        return
    seen.add(function)
    names = {**function.__globals__, **known}
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if (found := _read_by(call, names, function)) is not None:
            yield found
        called = _value(call.func, names)
        if isinstance(called, FunctionType) and called.__module__ == function.__module__:
            yield from _reads(called, _bound(called, call, names), seen)


def _read_by(call: ast.Call, names: Mapping[str, Any], function: Any) -> _Read | None:
    given = next((word.value for word in call.keywords if word.arg == "data"), None)
    is_reader = isinstance(call.func, ast.Name) and call.func.id == "read"
    if is_reader and len(call.args) > 1:
        form, given = call.args[0], call.args[1]
    else:
        form = call.func
    if not isinstance(given, ast.Attribute) or given.attr not in ("data", "query_params"):
        return None
    found = _value(form, names)
    if not (isinstance(found, type) and issubclass(found, Serializer)):
        raise UnknownFormError(f"{function.__qualname__} reads {ast.unparse(form)}, and its source does not say which.")
    return found, given.attr, any(word.arg == "partial" for word in call.keywords)


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name(id=name):
            return names.get(name)
        case ast.Attribute(value=owner, attr=name):
            return getattr(_value(owner, names), name, None)
        case _:
            return None


def _bound(called: FunctionType, call: ast.Call, names: Mapping[str, Any]) -> dict[str, Any]:
    parameters = list(inspect.signature(called).parameters)
    by_place = dict(zip(parameters, call.args, strict=False))
    by_name = {word.arg: word.value for word in call.keywords if word.arg}
    return {name: _value(node, names) for name, node in {**by_place, **by_name}.items()}

"""Holds answers of the control API against its own document: the address, the method, the status, the media type and
the body. In answers nothing may stand that the document does not name."""

import re
from functools import cache
from typing import Any

import jsonschema_rs
from drf_spectacular.generators import SchemaGenerator

from relay_admin.access.request_actor import API_PREFIXES

UNDOCUMENTED = ("api/v1/docs",)
"""A page for people."""


@cache
def document() -> dict[str, Any]:
    """As it is served."""
    found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return found


def closed(part: Any) -> Any:
    """A part of the document in which objects have the properties that are named, and no others."""
    match part:
        case dict():
            shut = {name: closed(value) for name, value in part.items()}
            return {"additionalProperties": False, **shut} if "properties" in part and "type" in part else shut
        case list():
            return [closed(value) for value in part]
        case _:
            return part


@cache
def _components() -> Any:
    return {"schemas": closed(document()["components"]["schemas"])}


@cache
def validator(path: str, method: str, status: str, media_type: str) -> Any:
    """Of an answer's body."""
    content = document()["paths"][path][method]["responses"][status]["content"][media_type]
    schema = {**closed(content["schema"]), "components": _components()}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def check(response: Any) -> None:
    """Fails for an answer that the document does not foresee."""
    request = response.wsgi_request
    match = response.resolver_match
    if not request.path.startswith(API_PREFIXES) or match is None or match.route in UNDOCUMENTED:
        return
    path = "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", match.route)
    operations = document()["paths"].get(path)
    if operations is None:
        assert response.status_code == 404, f"{path} is not in the document"
        return
    operation = operations.get(request.method.lower())
    if operation is None:
        assert response.status_code in (200, 204, 401, 403, 404, 405), (request.method, path, response.status_code)
        return
    said = operation["responses"].get(str(response.status_code))
    assert said is not None, (
        f"{request.method} {path}: {response.status_code} is not in the document: {_body(response)}"
    )
    media_type = response.headers.get("Content-Type", "").partition(";")[0]
    if "content" not in said:
        assert not response.content, f"{request.method} {path}: {response.status_code} has a body"
        return
    assert media_type in said["content"], f"{request.method} {path}: {media_type} is not in the document"
    if media_type == "application/json":
        errors = validator(path, request.method.lower(), str(response.status_code), media_type)
        wrong = [f"{list(each.instance_path)}: {each.message}" for each in errors.iter_errors(response.json())]
        assert not wrong, f"{request.method} {path} {response.status_code}: {wrong[:5]}"


def _body(response: Any) -> str:
    return "" if response.streaming else response.content[:300].decode(errors="replace")

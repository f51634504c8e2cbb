"""How drf-spectacular reads this API's own kinds of serializers, fields and bearers. Importing it registers them."""

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.openapi import AutoSchema
from rest_framework import serializers

from relay_admin.control_api.wire import camel_case

Schema = dict[str, Any]


class StrictForm(OpenApiSerializerExtension):
    """What is sent: no name that is not known."""

    target_class = "relay_admin.control_api.wire.Strict"
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: str) -> Schema:
        """As drf-spectacular has it, closed."""
        found = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        properties = {name: _sent(schema) for name, schema in found.get("properties", {}).items()}
        return {**found, **({"properties": properties} if properties else {}), "additionalProperties": False}


class CamelCaseAnswer(OpenApiSerializerExtension):
    """What is answered: under wire names, and all of it but what `may_lack` names."""

    target_class = "relay_admin.control_api.wire.CamelCaseSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: str) -> Schema:
        """As drf-spectacular has it, renamed."""
        found = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        properties = {camel_case(name): _answered(schema) for name, schema in found["properties"].items()}
        required = [name for name in properties if name not in self.target.may_lack]
        return {**found, "properties": properties, "required": required}


def _sent(schema: Schema) -> Schema:
    """With the default of a number as one: drf-spectacular writes decimals as text."""
    is_text = isinstance(schema.get("default"), str) and "number" in schema.get("type", ())
    return {**schema, "default": float(schema["default"])} if is_text else schema


def _answered(schema: Schema) -> Schema:
    """Without what is about input alone: rows may hold what was allowed before."""
    about_input = (
        "readOnly",
        "writeOnly",
        "default",
        "title",
        "minLength",
        "maxLength",
        "pattern",
        "minimum",
        "maximum",
    )
    return {name: value for name, value in schema.items() if name not in about_input}


class SlugField(OpenApiSerializerFieldExtension):
    """A row, named by its slug."""

    target_class = "rest_framework.serializers.SlugRelatedField"
    match_subclasses = True

    def map_serializer_field(self, _auto_schema: AutoSchema, _direction: str) -> Schema:
        """Text."""
        return {"type": "string"}


class NumberField(OpenApiSerializerFieldExtension):
    """A decimal: read as a number or as text, answered as text."""

    target_class = "rest_framework.serializers.DecimalField"
    match_subclasses = True

    def map_serializer_field(self, _auto_schema: AutoSchema, direction: str) -> Schema:
        """Sent as a number, since its bounds can be said of one."""
        if direction == "response":
            return {"type": "string"}
        field: serializers.DecimalField = self.target
        bounds = {"minimum": field.min_value, "maximum": field.max_value}
        return {"type": "number", **{name: float(value) for name, value in bounds.items() if value is not None}}


class Bearer(OpenApiAuthenticationExtension):
    """An admin token, a relay key with the scope `control`, or an application's access token."""

    target_class = "relay_admin.control_api.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, _auto_schema: AutoSchema) -> Schema:
        """As OpenAPI has it."""
        said = (
            "An admin token (`ra_...`), which acts as its user. Also a relay key with the scope `control` (`rk_...`),"
            " which acts as a developer of its project, and for reading an application's access token."
        )
        return {"type": "http", "scheme": "bearer", "description": said}


class Holder(OpenApiAuthenticationExtension):
    """The relay key that a call is about."""

    target_class = "relay_admin.control_api.authentication.HolderAuthentication"
    name = "relayKey"

    def get_security_definition(self, _auto_schema: AutoSchema) -> Schema:
        """As OpenAPI has it."""
        return {"type": "http", "scheme": "bearer", "description": "The relay key (`rk_...`) that the call is about."}


class SignedIn(OpenApiAuthenticationExtension):
    """A session's cookie; what is not only read needs a CSRF token beside it."""

    target_class = "rest_framework.authentication.SessionAuthentication"
    name = ["session", "csrf"]  # type: ignore[assignment]  # the package's own types know of one name

    def get_security_definition(self, _auto_schema: AutoSchema) -> Any:
        """Both, as OpenAPI has them."""
        cookie = {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}
        csrf = {"type": "apiKey", "in": "header", "name": "X-CSRFToken"}
        return [
            {**cookie, "description": "A session, as `POST /auth/login` begins one."},
            {**csrf, "description": "Of `GET /auth/login`; with a session, for all that is not only read."},
        ]

    def get_security_requirement(self, auto_schema: AutoSchema) -> Any:
        """The header counts for unsafe methods."""
        return {"session": []} if auto_schema.method == "GET" else {"session": [], "csrf": []}

"""`GET /api/v1/catalog`: the catalog as a document, in JSON (camelCase) or, by `Accept: application/yaml`, in YAML."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.catalog import export
from relay_admin.control_api.permissions import requires
from relay_admin.control_api.wire import camel_case

NOUNS = ("ratelimit", "policy", "project", "line", "endpoint", "target", "host", "hostkey", "model", "modelalias",
         "pricing", "hostbinding")  # fmt: skip
# A target's static headers are part of the document and often a credential, so reading it takes a right to edit them.
PERMISSIONS = (*(f"catalog.view_{noun}" for noun in NOUNS), "access.view_relaykey", "catalog.change_target")

DATA = frozenset({"headers", "json_schema", "signature_config"})
"""Fields whose values an operator wrote as JSON of its own form."""


class YamlRenderer(BaseRenderer):
    """The document as `manage.py catalog apply` reads it."""

    media_type = "application/yaml"
    format = "yaml"
    charset = "utf-8"

    def render(self, data: Any, _type: str | None = None, _context: Mapping[str, Any] | None = None) -> str:
        return export.as_yaml(data)


class CatalogView(APIView):
    """GET the whole catalog. It holds no secret of a host, key or signature, only names of variables."""

    permission_classes = [requires(*PERMISSIONS)]
    renderer_classes = [JSONRenderer, YamlRenderer]

    def get(self, request: Request) -> Response:
        document = export.export()
        is_yaml = isinstance(request.accepted_renderer, YamlRenderer)
        return Response(document if is_yaml else renamed(document))


def renamed(value: Any) -> Any:
    """The document with its field names in camelCase, and prices as text: most readers of JSON make a number a float.
    Names inside DATA stay."""
    match value:
        case Decimal():
            return f"{value:f}"
        case dict():
            return {camel_case(name): one if name in DATA else renamed(one) for name, one in value.items()}
        case list():
            return [renamed(one) for one in value]
        case _:
            return value

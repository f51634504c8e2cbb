"""`/api/v1/openapi.json`, `/api/v1/openapi.yaml` and `/api/v1/docs`: the API's document, and a page to read and try it.

All that are signed in may have it, and every bearer: it is the same for everybody and tells nothing of this relay. It
takes seconds to make, so it is made once a process, and by nobody whom the relay does not know.
"""

from functools import cache
from threading import Lock
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.views import APIView

from relay_admin.control_api.answers import Text, answers
from relay_admin.control_api.wire import AsIs

JSON = "application/vnd.oai.openapi+json"
YAML = "application/vnd.oai.openapi"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Swagger UI writes styles into its elements; scripts come from files alone."""
_making = Lock()


@cache
def _document() -> tuple[bytes, bytes]:
    # Imported here: they are of no use to a process that nobody asks for the document.
    from drf_spectacular.generators import SchemaGenerator  # noqa: PLC0415
    from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer  # noqa: PLC0415

    schema = SchemaGenerator().get_schema(request=None, public=True)
    return OpenApiJsonRenderer().render(schema), OpenApiYamlRenderer().render(schema)


def document() -> tuple[bytes, bytes]:
    """As JSON and as YAML. Callers that come while it is made wait for it."""
    with _making:
        return _document()


class JsonView(APIView):
    """GET this document, OpenAPI 3.1."""

    content_negotiation_class = AsIs
    permission_classes = [IsAuthenticated]

    @answers(Text({JSON: dict[str, Any]}), name="getDocument")
    def get(self, _call: Request) -> HttpResponse:
        """As JSON."""
        return HttpResponse(document()[0], content_type=JSON)


class YamlView(APIView):
    """GET this document, OpenAPI 3.1."""

    content_negotiation_class = AsIs
    permission_classes = [IsAuthenticated]

    @answers(Text({YAML: str}), name="getDocumentAsYaml")
    def get(self, _call: Request) -> HttpResponse:
        """As YAML."""
        return HttpResponse(document()[1], content_type=YAML)


@require_safe
@ensure_csrf_cookie
@login_required
def page(request: HttpRequest) -> HttpResponse:
    """Swagger UI, which calls with the session of who reads it."""
    response = render(request, "control_api/docs.html")
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    return response

"""`/api/v1/tools`: which tools of the MCP server the caller may use. The server asks it for each list that it shows.
`/api/v1/row-kinds/{kind}`: what agents may write of a kind."""

import copy
from typing import Any, TypedDict

from django.http import Http404
from django.urls import resolve
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.control_api.answers import Rows, answers
from relay_admin.control_api.authentication import scope_lacking
from relay_admin.control_api.nouns.kinds import KINDS
from relay_admin.mcp import schemas


class RowKindJson(TypedDict):
    """What may be written of a kind of the catalog's rows: each field's JSON Schema, and which a new row has to have.
    `filters`: the same of its list's query. `row`: what names one in an address."""

    kind: str
    row: str
    fields: dict[str, Any]
    required: list[str]
    filters: dict[str, Any]


class RowKindView(APIView):
    """GET what may be written of a kind."""

    permission_classes = [IsAuthenticated]

    @answers(RowKindJson, name="getRowKind")
    def get(self, _call: Request, kind: str) -> Response:
        """404 for one that there is not. The same for everybody."""
        found = next((one for one in KINDS if one.path == kind), None)
        if found is None:
            raise Http404
        fields, required = schemas.form(found.new_body)
        shown: RowKindJson = {
            "kind": kind,
            "row": "/".join(name for name, _ in found.address) or "id",
            "fields": fields,
            "required": required,
            "filters": schemas.form(found.query)[0],
        }
        return Response(shown)


class ToolsView(APIView):
    """GET names of tools."""

    permission_classes = [IsAuthenticated]

    @answers(Rows(str))
    def get(self, call: Request) -> Response:
        """`{"results": [...]}`, in the order in which they are shown."""
        # Here and not above: the tools name views, and the addresses of views name this one.
        from relay_admin.mcp.tools import TOOLS  # noqa: PLC0415

        return Response({"results": [tool.name for tool in TOOLS if _may_use(call, tool)]})


def _may_use(call: Request, tool: Any) -> bool:
    """As the tool's route would say, before it looks at a row."""
    match = resolve(tool.sample)
    if scope_lacking(call.auth, tool.method, match.route) is not None:
        return False
    django_request = copy.copy(call._request)
    django_request.method = tool.method
    asked = Request(django_request)
    asked.user, asked.auth = call.user, call.auth
    view = match.func.view_class()
    view.request = asked
    return all(permission.has_permission(asked, view) for permission in view.get_permissions())

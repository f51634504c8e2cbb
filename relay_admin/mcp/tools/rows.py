"""Tools of the catalog's rows, of every kind by the same few: what an agent may write of each `describe_rows` tells."""

from rest_framework import serializers

from relay_admin.control_api.nouns.kinds import KINDS
from relay_admin.control_api.paging import MAX_PAGE, Query
from relay_admin.control_api.wire import Strict
from relay_admin.mcp.schemas import ID, OBJECT, ROW, TEXT, Schema, listed, page, record
from relay_admin.mcp.tools.tool import Tool

_FIRST = "targets"  # what most callers may see: whoever may use a tool for one kind is shown it
KIND: Schema = {"type": "string", "enum": [_FIRST, *(kind.path for kind in KINDS if kind.path != _FIRST)]}
_ROW = record(id=ID, createdAt=TEXT, updatedAt=TEXT)
_ONE = {"kind": KIND, "row": ROW}
_NOTES = {
    "kind": "What kind of row.",
    "row": "The id of a row, as list_rows tells it; of a line project/line, of an endpoint project/line/endpoint.",
    "values": "Fields with their values, as describe_rows tells them.",
    "filters": "Words of the list's query with their values, as describe_rows tells them.",
}


class RowsQuery(Query):
    """What every kind's list takes; `filters`: what each takes beside it."""

    search = serializers.CharField(max_length=200, required=False)
    filters = serializers.DictField(required=False)
    after = serializers.CharField(max_length=2000, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)


class RowBody(Strict):
    """What is written of a row."""

    values = serializers.DictField()


TOOLS = (
    Tool(
        "describe_rows",
        "Says what may be written of a kind of the catalog's rows, and what its list may be asked.",
        "GET",
        "/api/v1/row-kinds/{kind}",
        record(kind=TEXT, fields=OBJECT, required=listed(TEXT), filters=OBJECT),
        path={"kind": KIND},
        notes=_NOTES,
    ),
    Tool(
        "list_rows",
        "Lists the catalog's rows of a kind with their fields: hosts, keys, models, prices, policies, targets, others.",
        "GET",
        "/api/v1/{kind}",
        page(_ROW),
        RowsQuery,
        path={"kind": KIND},
        notes={**_NOTES, "search": "A part of a name or description."},
        spread="filters",
        finds="describe_rows",
    ),
    Tool(
        "read_row",
        "Reads one row of the catalog.",
        "GET",
        "/api/v1/{kind}/{row}",
        _ROW,
        path=_ONE,
        notes=_NOTES,
        finds="list_rows",
    ),
    Tool(
        "create_row",
        "Makes a row of the catalog, which runs at once; what is left out gets its default.",
        "POST",
        "/api/v1/{kind}",
        _ROW,
        RowBody,
        path={"kind": KIND},
        notes=_NOTES,
        spread="values",
        finds="describe_rows",
    ),
    Tool(
        "change_row",
        "Changes the fields of a row that are sent, and no others; it runs at once.",
        "PATCH",
        "/api/v1/{kind}/{row}",
        _ROW,
        RowBody,
        path=_ONE,
        notes=_NOTES,
        spread="values",
        finds="list_rows",
        destroys=True,
        repeats=True,
    ),
    Tool(
        "delete_row",
        "Deletes a row of the catalog; it is refused with `references` while anything refers to it.",
        "DELETE",
        "/api/v1/{kind}/{row}",
        OBJECT,
        path=_ONE,
        notes=_NOTES,
        finds="list_rows",
        destroys=True,
    ),
)

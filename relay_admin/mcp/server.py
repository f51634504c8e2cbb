"""The MCP server itself, by the official SDK: it lists tools and calls them. Imported when the first client comes: the
SDK takes 0.9 s to load.

Each request stands for itself: no session is kept, and an answer is one JSON document. A call of a tool costs what its
route costs.
"""

import json
import logging
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from relay_admin.body_limit import MAX_BODY_BYTES, Application
from relay_admin.mcp import advice
from relay_admin.mcp.inside import Asked, ask
from relay_admin.mcp.tools import BY_NAME
from relay_admin.mcp.tools.tool import Tool, UnusableArgument

INSTRUCTIONS = (
    "This is a relay's control plane. Callers send requests to endpoints at the edge; each is delivered to the targets"
    " of the endpoint, and what cannot be delivered is in the failure queue, to be replayed. Configuration changes by"
    " drafts: read_draft, save_draft, diff_draft, publish_draft. Lists are pages: send `next` as `after` for more. An"
    " error names the tool that helps. Amounts are micro-credits: 1,000,000 are one credit."
)
_Context = ServerRequestContext[Any, Any]

# It logs each connection, and says in words what the door's answers say.
logging.getLogger("mcp").setLevel(logging.ERROR)


def manager(django: Application) -> StreamableHTTPSessionManager:
    """To be run around what it serves. Calls of tools go to this application."""

    async def list_tools(context: _Context, _: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        said = await ask(django, context.request.scope, Asked("GET", "/api/v1/tools"))
        names = said.document["results"] if said.is_good else []
        return types.ListToolsResult(tools=[_shown(BY_NAME[name]) for name in names])

    async def call_tool(context: _Context, asked: types.CallToolRequestParams) -> types.CallToolResult:
        tool = BY_NAME.get(asked.name)
        if tool is None:
            return _refused(advice.unknown(asked.name))
        try:
            wanted = tool.call(asked.arguments or {})
        except UnusableArgument as refused:
            return _refused(advice.unusable(tool, refused))
        said = await ask(django, context.request.scope, wanted)
        return _done(said.document) if said.is_good else _refused(advice.error(tool, said.document))

    server: Server[Any] = Server(
        "relay", title="Relay", instructions=INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call_tool
    )
    return StreamableHTTPSessionManager(
        server, json_response=True, stateless=True, max_request_body_size=MAX_BODY_BYTES
    )


def _shown(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.input_schema,
        output_schema=tool.answer,
        annotations=types.ToolAnnotations(
            read_only_hint=tool.is_read_only,
            destructive_hint=tool.destroys,
            idempotent_hint=tool.repeats or tool.is_read_only,
            open_world_hint=False,
        ),
    )


def _done(document: dict[str, Any]) -> types.CallToolResult:
    return types.CallToolResult(content=[_text(document)], structured_content=document)


def _refused(document: dict[str, Any]) -> types.CallToolResult:
    return types.CallToolResult(content=[_text(document)], is_error=True)


def _text(document: dict[str, Any]) -> types.TextContent:
    return types.TextContent(type="text", text=json.dumps(document, ensure_ascii=False))

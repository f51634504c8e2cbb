"""The tools of the MCP server, in the order in which agents see them."""

from relay_admin.mcp.tools import TOOLS
from relay_admin.mcp.tools.tool import Tool


def table() -> str:
    """A row a tool."""
    return f"| tool | what it does | |\n|---|---|---|\n{''.join(_row(tool) for tool in TOOLS)}"


def _row(tool: Tool) -> str:
    kind = "reads" if tool.is_read_only else "**ends or replaces**" if tool.destroys else "writes"
    return f"| `{tool.name}` | {tool.description} | {kind} |\n"

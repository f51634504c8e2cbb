"""Every tool, in the order in which agents see them."""

from relay_admin.mcp.tools import configuration, keys, money, people, rows, traffic
from relay_admin.mcp.tools.tool import Tool

TOOLS: tuple[Tool, ...] = (
    *keys.WHO,
    *configuration.TOOLS,
    *rows.TOOLS,
    *keys.TOOLS,
    *people.TOOLS,
    *traffic.TOOLS,
    *money.TOOLS,
)
BY_NAME = {tool.name: tool for tool in TOOLS}

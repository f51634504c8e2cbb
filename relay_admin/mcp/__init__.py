"""The MCP server of the control plane, for agents: the routes of the control API as tools, at `/mcp`.

A tool holds no logic. It names a route of `control_api`, and is called as that route, inside the process: with the
caller's bearer, through the same authentication, permissions, forms, services and errors. docs/mcp.md.
"""

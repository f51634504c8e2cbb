"""What an agent does next after an error: the control API's error, with the tool that clears it. Pure."""

from typing import Any

from relay_admin.mcp.tools.tool import Tool, UnusableArgument

_ACTIONS: dict[str, tuple[str, str]] = {
    "forbidden": ("who_am_i", "{tool} says what this bearer may do; ask its owner for another role or scope."),
    "scope_missing": ("who_am_i", "{tool} says which scopes this bearer has; ask its owner for one with that scope."),
    "stale_draft": ("read_draft", "Read the draft with {tool}, and send the `draftRevision` it has now."),
    "stale_base": (
        "diff_draft",
        "{tool} shows the draft beside what runs; save_draft it again with `baseRevision`.",
    ),
    "no_draft": ("save_draft", "Begin one with {tool} and `draftRevision` 0."),
    "no_change": ("list_lines", "There is nothing to do; {tool} tells the revision that runs."),
    "line_refused": ("save_draft", "Correct what `problems` names, and save the draft with {tool}."),
    "edge_unavailable": ("resolve_model", "Try {tool} again later; the edge could not be asked."),
}
"""By code of the error. What is not here keeps the API's own words, which name no address."""
_UNKNOWN = "{tool} lists what there is."
_FIELDS = "Correct the arguments named in `fields`; tools/list has the schema of {name}."


def error(tool: Tool, document: dict[str, Any]) -> dict[str, Any]:
    """The error of this tool's call, as it is shown: `error`, `message`, `action`, and `tool` where one clears it."""
    code = document.get("error")
    if code in ("not_found", "invalid") and tool.finds:
        said = _FIELDS.format(name=tool.name) + " " if code == "invalid" else ""
        return {**document, "action": said + _UNKNOWN.format(tool=tool.finds), "tool": tool.finds}
    if code == "invalid":
        return {**document, "action": _FIELDS.format(name=tool.name)}
    if code in _ACTIONS:
        helper, text = _ACTIONS[code]
        return {**document, "action": text.format(tool=helper), "tool": helper}
    return document


def unusable(tool: Tool, refused: UnusableArgument) -> dict[str, Any]:
    """An argument that leads nowhere, in the shape of the API's own."""
    said = {
        "error": "invalid",
        "message": "The call holds values that cannot be used.",
        "action": "",
        "fields": {refused.name: [str(refused)]},
    }
    return error(tool, said)


def unknown(name: str) -> dict[str, Any]:
    """No tool of that name."""
    return {
        "error": "unknown_tool",
        "message": f"There is no tool {name[:80]}.",
        "action": "tools/list names those that this bearer may use.",
    }

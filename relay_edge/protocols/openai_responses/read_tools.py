"""The tools of a responses call -> canonical tools (platform.openai.com/docs/guides/function-calling, read 2026-11)."""

from relay_edge.protocols.canonical import Tool, ToolChoice, ToolMode
from relay_edge.protocols.fields import Fields
from relay_edge.protocols.notes import Notes
from relay_edge.protocols.openai_chat.read_tools import read_cache_mark, read_function

_MODES = {"auto": ToolMode.AUTO, "none": ToolMode.NONE, "required": ToolMode.ANY}


def read_tools(call: Fields) -> tuple[Tool, ...]:
    """Functions. OpenAI's own tools (`web_search`, `mcp`, ...) and those without a schema (`custom`) are refused."""
    tools = []
    for tool in call.objects("tools"):
        kind = tool.required_text("type")
        if kind != "function":
            raise tool.refuse("type", f"the tool {kind[:40]!r} has no counterpart at the host of this model.")
        tool.drop("allowed_callers", "async", "defer_loading", "output_schema")  # dropped: all about OpenAI's own tools
        tools.append(read_function(tool, read_cache_mark(tool)))
    return tuple(tools)


def read_tool_choice(call: Fields, tools: tuple[Tool, ...]) -> ToolChoice | None:
    """`tool_choice`."""
    value = call.value("tool_choice")
    if value is None:
        return None
    if isinstance(value, str):
        if value not in _MODES:
            raise call.refuse("tool_choice", f"has to be one of {', '.join(_MODES)}, or an object.")
        return ToolChoice(_MODES[value])
    if not isinstance(value, dict):
        raise call.refuse("tool_choice", "has to be a string or an object.")
    names = {tool.name for tool in tools}
    choice = Fields(value, "tool_choice", Notes())
    match choice.required_text("type"):
        case "function":
            name = choice.required_text("name")
            if name not in names:
                raise call.refuse("tool_choice", "names a function that is not among the tools.")
            return ToolChoice(ToolMode.NAMED, name)
        case "allowed_tools":
            mode = choice.one_of("mode", {"auto": ToolMode.AUTO, "required": ToolMode.ANY}) or ToolMode.AUTO
            allowed = tuple(tool.required_text("name") for tool in choice.objects("tools"))
            if not allowed or not names.issuperset(allowed):
                raise call.refuse("tool_choice", "allows no function, or one that is not among the tools.")
            return ToolChoice(mode, allowed=allowed)
        case other:
            raise call.refuse("tool_choice", f"the type {other[:40]!r} has no counterpart at the host of this model.")

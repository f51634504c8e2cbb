"""The tools of a chat completion call -> canonical tools (platform.openai.com/docs/guides/function-calling, read
2026-11)."""

from relay_edge.protocols.canonical import CacheMark, Tool, ToolChoice, ToolMode
from relay_edge.protocols.fields import Fields
from relay_edge.protocols.notes import Notes

_MODES = {"auto": ToolMode.AUTO, "none": ToolMode.NONE, "required": ToolMode.ANY}


def read_tools(call: Fields) -> tuple[Tool, ...]:
    """`tools`, and `functions` of the form before them."""
    tools = []
    for tool in call.objects("tools"):
        kind = tool.text("type") or "function"
        if kind != "function":
            raise tool.refuse("type", f"tools of type {kind[:40]!r} have no counterpart at the host of this model.")
        cache = read_cache_mark(tool)
        tools.append(read_function(tool.required_object("function"), cache))
        tool.done()
    tools += [read_function(function, None) for function in call.objects("functions")]  # the form before tools
    return tuple(tools)


def read_function(function: Fields, cache: CacheMark | None) -> Tool:
    """Name, description, parameters and `strict` of one function."""
    schema = function.mapping("parameters") or {"type": "object", "properties": {}}
    if schema.get("type", "object") != "object":
        raise function.refuse("parameters", "the type of a tool's parameters has to be object.")
    if "type" not in schema:
        schema = {"type": "object", **schema}
    name = function.required_text("name")
    if not name:
        raise function.refuse("name", "is empty.")
    tool = Tool(name, function.text("description"), schema, function.flag("strict"), cache)
    function.done()
    return tool


def read_tool_choice(call: Fields, tools: tuple[Tool, ...]) -> ToolChoice | None:
    """`tool_choice`, or `function_call` of the form before it."""
    older = call.value("function_call")
    value = call.value("tool_choice")
    if value is None and older is not None:
        value = older if isinstance(older, str) else {"type": "function", "function": older}
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
            name = choice.required_object("function").required_text("name")
            if name not in names:
                raise call.refuse("tool_choice", "names a function that is not among the tools.")
            return ToolChoice(ToolMode.NAMED, name)
        case "allowed_tools":
            inner = choice.inner("allowed_tools") or choice
            mode = inner.one_of("mode", {"auto": ToolMode.AUTO, "required": ToolMode.ANY}) or ToolMode.AUTO
            allowed = tuple(tool.required_object("function").required_text("name") for tool in inner.objects("tools"))
            if not allowed or not names.issuperset(allowed):
                raise call.refuse("tool_choice", "allows no function, or one that is not among the tools.")
            return ToolChoice(mode, allowed=allowed)
        case other:
            raise call.refuse("tool_choice", f"the type {other[:40]!r} has no counterpart at the host of this model.")


def read_cache_mark(part: Fields) -> CacheMark | None:
    """`cache_control` on a part: not OpenAI's, but what callers of gateways write."""
    mark = part.inner("cache_control")
    if mark is None:
        return None
    ttl = mark.text("ttl") or ""
    mark.ignore("type")
    if ttl not in ("", "5m", "1h"):
        raise mark.refuse("ttl", "has to be 5m or 1h.")
    return CacheMark(ttl)

"""A messages call -> canonical request (platform.claude.com/docs/en/api/messages, read 2026-11)."""

from relay_contract.errors import BadField
from relay_edge.protocols.canonical import (
    Block,
    CacheMark,
    Document,
    Effort,
    Image,
    Inline,
    Link,
    OutputSchema,
    Reasoning,
    RedactedThinking,
    Request,
    Role,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolMode,
    ToolResult,
    ToolUse,
    Turn,
)
from relay_edge.protocols.fields import Fields, decode_object, encode
from relay_edge.protocols.media import PDF, check_image_type
from relay_edge.protocols.notes import Notes

_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}
_EFFORTS = {effort.value: effort for effort in (Effort.LOW, Effort.MEDIUM, Effort.HIGH, Effort.XHIGH, Effort.MAX)}
_MODES = {"auto": ToolMode.AUTO, "any": ToolMode.ANY, "none": ToolMode.NONE, "tool": ToolMode.NAMED}


def read_request(body: bytes, notes: Notes) -> Request:
    """Raises MalformedJson, BadField."""
    call = Fields(decode_object(body), "", notes)
    for name in ("mcp_servers", "container", "context_management"):
        call.ignore(name)
        if call.has(name):
            raise call.refuse(name, "the host of this model has no counterpart for it.")
    # dropped: these choose among Anthropic's own ways of serving a call
    call.drop("speed", "inference_geo", "diagnostics", "user_profile_id", "workspace_id", "cache_control")
    turns = tuple(_turn(message) for message in call.objects("messages"))
    if not turns:
        raise call.refuse("messages", "there has to be at least one message.")
    system = _system(call)
    tools = tuple(_tool(tool) for tool in call.objects("tools"))
    choice, is_parallel = _tool_choice(call, tools)
    max_tokens = call.count("max_tokens", 1)
    if max_tokens is None:
        raise call.refuse("max_tokens", "is missing.")
    output_config = call.inner("output_config")
    metadata = call.inner("metadata")
    request = Request(
        model=call.required_text("model"),
        turns=((Turn(Role.SYSTEM, system, "system"), *turns) if system else turns),
        tools=tools,
        tool_choice=choice,
        parallel_tools=is_parallel,
        max_tokens=max_tokens,
        temperature=call.number("temperature", 0),
        top_p=call.number("top_p", 0),
        top_k=call.count("top_k"),
        stop=call.texts("stop_sequences"),
        reasoning=_reasoning(call, output_config),
        output=_output(call, output_config),
        user=metadata.text("user_id") if metadata else None,
        service_tier=call.text("service_tier"),
        is_stream=bool(call.flag("stream")),
    )
    for part in (output_config, metadata, call):
        if part is not None:
            part.done()
    return request


def _system(call: Fields) -> tuple[Block, ...]:
    system = call.value("system")
    if system is None:
        return ()
    if isinstance(system, str):
        return (Text(system),)
    return tuple(_text_only(block) for block in call.objects("system"))


def _text_only(block: Fields) -> Text:
    if block.required_text("type") != "text":
        raise block.refuse("type", "only text is possible here.")
    text = Text(block.required_text("text"), _cache_mark(block))
    block.drop("citations")
    block.done()
    return text


def _cache_mark(block: Fields) -> CacheMark | None:
    mark = block.inner("cache_control")
    if mark is None:
        return None
    mark.ignore("type")
    return CacheMark(mark.text("ttl") or "")


def _turn(message: Fields) -> Turn:
    role = message.one_of("role", _ROLES)
    if role is None:
        raise message.refuse("role", "is missing.")
    content = message.value("content")
    if isinstance(content, str):
        blocks: tuple[Block, ...] = (Text(content),)
    elif content is None:
        raise message.refuse("content", "is missing.")
    else:
        blocks = tuple(_block(block, role) for block in message.objects("content"))
    message.done()
    return Turn(role, blocks, message.place)


def _block(block: Fields, role: Role) -> Block:
    kind = block.required_text("type")
    if role is Role.SYSTEM and kind != "text":
        raise block.refuse("type", "only text is possible in a message of this role.")
    found: Block
    match kind, role:
        case "text", _:
            found = Text(block.required_text("text"), _cache_mark(block))
            block.drop("citations")
        case "image", Role.USER:
            found = _image(block)
        case "document", Role.USER:
            found = _document(block)
        case "tool_result", Role.USER:
            found = _tool_result(block)
        case "tool_use", Role.ASSISTANT:
            found = _tool_use(block)
        case "thinking", Role.ASSISTANT:
            found = Thinking(block.text("thinking") or "", block.text("signature") or "")
        case "redacted_thinking", Role.ASSISTANT:
            found = RedactedThinking(block.required_text("data"))
        case (("image" | "document" | "tool_result" | "tool_use" | "thinking" | "redacted_thinking"), _):
            raise block.refuse("type", f"{kind!r} is not possible in a message of this role.")
        case _:
            raise block.refuse("type", f"{kind[:40]!r} has no counterpart at the host of this model.")
    block.done()
    return found


def _image(block: Fields) -> Image:
    block.drop("transformations")
    source = _source(block)
    if isinstance(source, Inline):
        check_image_type(source, block.at("source.media_type"))
    return Image(source, _cache_mark(block))


def _source(block: Fields) -> Inline | Link:
    source = block.required_object("source")
    match source.required_text("type"):
        case "base64":
            found: Inline | Link = Inline(source.required_text("media_type").lower(), source.required_text("data"))
        case "url":
            found = Link(source.required_text("url"))
            if not found.url.lower().startswith(("http://", "https://")):
                raise source.refuse("url", "has to be an http(s) address.")
        case "file":
            raise source.refuse("type", "files stored with one vendor cannot be read by another; send the data.")
        case other:
            raise source.refuse("type", f"{other[:40]!r} is not known.")
    source.done()
    return found


def _document(block: Fields) -> Document:
    title, cache = block.text("title") or "", _cache_mark(block)
    block.drop("citations", "context")  # dropped: citations, context: the other vendor has neither
    source = block.required_object("source")
    match source.required_text("type"):
        case "text":
            source.ignore("media_type")
            return Document(Text(source.required_text("data")), title, cache)
        case "content":
            raise source.refuse("type", "documents made of blocks have no counterpart at the host of this model.")
        case _:
            found = _source(block)
    if isinstance(found, Inline) and found.media_type != PDF:
        raise source.refuse("media_type", "has to be application/pdf.")
    return Document(found, title, cache)


def _tool_use(block: Fields) -> ToolUse:
    arguments = block.mapping("input")
    block.ignore("caller")
    if arguments is None:
        raise block.refuse("input", "is missing.")
    return ToolUse(
        block.required_text("id"), block.required_text("name"), encode(arguments).decode(), _cache_mark(block)
    )


def _tool_result(block: Fields) -> ToolResult:
    content = block.value("content")
    parts: list[Text | Image | Document] = []
    if isinstance(content, str):
        parts.append(Text(content))
    elif content is not None:
        for part in block.objects("content"):
            found = _block(part, Role.USER)
            if not isinstance(found, Text | Image | Document):
                raise part.refuse("type", "is not possible in a tool's result.")
            parts.append(found)
    block.drop("toolset_name")
    return ToolResult(
        block.required_text("tool_use_id"), tuple(parts), bool(block.flag("is_error")), _cache_mark(block), block.place
    )


def _tool(tool: Fields) -> Tool:
    kind = tool.text("type") or "custom"
    if kind != "custom":
        raise tool.refuse("type", f"the server tool {kind[:40]!r} has no counterpart at the host of this model.")
    schema = tool.mapping("input_schema")
    if schema is None:
        raise tool.refuse("input_schema", "is missing.")
    if schema.get("type", "object") != "object":
        raise tool.refuse("input_schema", "the type of a tool's input has to be object.")
    name = tool.required_text("name")
    tool.ignore("eager_input_streaming")
    tool.drop("allowed_callers", "defer_loading", "input_examples")
    found = Tool(name, tool.text("description"), schema, tool.flag("strict"), _cache_mark(tool))
    tool.done()
    return found


def _tool_choice(call: Fields, tools: tuple[Tool, ...]) -> tuple[ToolChoice | None, bool | None]:
    choice = call.inner("tool_choice")
    if choice is None:
        return None, None
    mode = choice.one_of("type", _MODES)
    if mode is None:
        raise choice.refuse("type", "is missing.")
    is_single = choice.flag("disable_parallel_tool_use")
    name = ""
    if mode is ToolMode.NAMED:
        name = choice.required_text("name")
        if name not in {tool.name for tool in tools}:
            raise choice.refuse("name", "is not among the tools.")
    choice.done()
    return ToolChoice(mode, name), None if is_single is None else not is_single


def _reasoning(call: Fields, output_config: Fields | None) -> Reasoning | None:
    effort = output_config.one_of("effort", _EFFORTS) if output_config else None
    thinking = call.inner("thinking")
    if thinking is None:
        return None if effort is None else Reasoning(None, effort)
    display = thinking.text("display")
    is_shown = None if display is None else display != "omitted"
    match thinking.required_text("type"):
        case "enabled":
            budget = thinking.count("budget_tokens", 1)
            if budget is None:
                raise thinking.refuse("budget_tokens", "is missing.")
            found = Reasoning(True, effort, budget, is_shown)
        case "adaptive":
            found = Reasoning(True, effort, None, is_shown)
        case "disabled":
            found = Reasoning(False, effort)
        case other:
            raise thinking.refuse("type", f"{other[:40]!r} has no counterpart at the host of this model.")
    thinking.done()
    return found


def _output(call: Fields, output_config: Fields | None) -> OutputSchema | None:
    form = call.inner("output_format") or (output_config.inner("format") if output_config else None)
    if form is None:
        return None
    if form.required_text("type") != "json_schema":
        raise BadField(form.at("type"), "has to be json_schema.")
    schema = form.mapping("schema")
    if schema is None:
        raise form.refuse("schema", "is missing.")
    form.done()
    return OutputSchema(schema)

"""A canonical request -> a messages call (platform.claude.com/docs/en/api/messages, read 2026-11)."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from relay_contract.errors import BadField
from relay_edge.protocols.anthropic_messages.sampling import Sampled, sampled
from relay_edge.protocols.canonical import (
    Audio,
    Block,
    CacheMark,
    Document,
    Image,
    Inline,
    Link,
    RedactedThinking,
    Refusal,
    Request,
    Role,
    Text,
    Thinking,
    Tool,
    ToolMode,
    ToolResult,
    ToolUse,
    Turn,
)
from relay_edge.protocols.conversation import ToolNames, fitting_id, in_order
from relay_edge.protocols.fields import encode
from relay_edge.protocols.fitness import check_end, json_instruction
from relay_edge.protocols.model_traits import Traits
from relay_edge.protocols.notes import Notes
from relay_edge.protocols.written import Written

MAX_TOOL_NAME = 128
MAX_ID = 256
MAX_CACHE_MARKS = 4
OUTPUT_TOOL = "relay_json_answer"

_MODES = {ToolMode.AUTO: "auto", ToolMode.ANY: "any", ToolMode.NONE: "none", ToolMode.NAMED: "tool"}
_E_MAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def write_request(request: Request, upstream_name: str, traits: Traits, notes: Notes) -> Written:
    """Raises BadField for what Anthropic would refuse, by the caller's own places."""
    names = ToolNames(MAX_TOOL_NAME)
    system, others = _system(request.turns, traits, notes)
    turns = in_order(others, notes)
    if not turns:
        raise BadField(request.turns_place, "there has to be a message of the user that is not empty.")
    _check_ends(turns, traits)
    tools = [_tool(tool, names, traits, notes) for tool in request.allowed_tools]
    choice = _tool_choice(request, bool(tools), names)
    if not tools and (stubs := _stubs(turns, names)):
        tools, choice = stubs, {"type": "none"}
        notes.add("added", "tools")  # Anthropic refuses a history with tool calls when no tools are named
    settings = sampled(request, turns, choice, traits, notes)
    output_tool = None
    if request.output is not None:
        if request.output.schema is not None and traits.takes_output_schema:
            settings.output_config["format"] = {"type": "json_schema", "schema": request.output.schema}
        elif request.output.schema is not None and not tools and not settings.is_thinking:
            tools = [{"name": OUTPUT_TOOL, "description": "The answer.", "input_schema": request.output.schema}]
            choice, output_tool = {"type": "tool", "name": OUTPUT_TOOL}, OUTPUT_TOOL
        else:
            system.append(Text(json_instruction(request.output)))
            notes.add("approximated", "response_format")
    document = _document(request, upstream_name, settings, notes)
    if system:
        document["system"] = [_block(block, names) for block in system]
    document["messages"] = [
        {"role": turn.role.value, "content": [_block(block, names) for block in turn.blocks]}
        for turn in _sendable(turns, settings)
    ]
    if tools:
        document["tools"] = tools
        if choice is not None:
            document["tool_choice"] = choice
    _limit_cache_marks(document, notes)
    return Written(encode(document), names.back, output_tool)


def _document(request: Request, upstream_name: str, settings: Sampled, notes: Notes) -> dict[str, Any]:
    document: dict[str, Any] = {"model": upstream_name, "max_tokens": settings.max_tokens}
    if request.is_stream:
        document["stream"] = True
    for name in ("temperature", "top_p", "top_k", "thinking"):
        if (value := getattr(settings, name)) is not None:
            document[name] = value
    if settings.output_config:
        document["output_config"] = settings.output_config
    if stop := [sequence for sequence in request.stop if sequence.strip()]:
        document["stop_sequences"] = stop
    if len(stop) < len(request.stop):
        notes.dropped("stop")  # dropped: a stop sequence of blanks: Anthropic refuses it
    if request.user:
        document["metadata"] = {"user_id": _opaque(request.user, notes)}
    if request.service_tier == "auto":
        document["service_tier"] = "auto"
    elif request.service_tier not in (None, "default"):
        notes.dropped("service_tier")  # dropped: service_tier: the vendors' tiers are different things
    for name in ("seed", "frequency_penalty", "presence_penalty"):
        if getattr(request, name) is not None:
            notes.dropped(name)  # dropped: seed, penalties: Anthropic has no such parameters
    return document


def _system(turns: Sequence[Turn], traits: Traits, notes: Notes) -> tuple[list[Text], list[Turn]]:
    """What goes to the top, and the other turns. A later system message stays where it is if the model takes one there:
    right after a turn of the user's, with the model's after it or nothing at all."""
    texts: list[Text] = []
    others: list[Turn] = []
    for place, turn in enumerate(turns):
        if turn.role is not Role.SYSTEM:
            others.append(turn)
            continue
        is_late = bool(others)
        following = turns[place + 1].role if place + 1 < len(turns) else Role.ASSISTANT
        if is_late and traits.takes_late_system and turns[place - 1].role is Role.USER and following is Role.ASSISTANT:
            others.append(turn)
            continue
        if is_late:
            notes.add("moved", "messages.system")  # to the top: this model takes it nowhere else
        texts += [block for block in turn.blocks if isinstance(block, Text) and block.text.strip()]
    return texts, others


def _check_ends(turns: Sequence[Turn], traits: Traits) -> None:
    if turns[0].role is not Role.USER:
        raise BadField(turns[0].place, "the first message has to be the user's at the host of this model.")
    check_end(turns, traits)


def _sendable(turns: Sequence[Turn], settings: Sampled) -> Sequence[Turn]:
    last = turns[-1]
    if last.role is not Role.ASSISTANT:
        return turns
    if settings.is_thinking:
        raise BadField(last.place, "while thinking, a model takes no beginning of its own answer as the last message.")
    end = last.blocks[-1]
    if not isinstance(end, Text):
        return turns
    return [*turns[:-1], Turn(last.role, (*last.blocks[:-1], Text(end.text.rstrip(), end.cache)), last.place)]


def _tool(tool: Tool, names: ToolNames, traits: Traits, notes: Notes) -> dict[str, Any]:
    written: dict[str, Any] = {"name": names.sent(tool.name)}
    if tool.description is not None:
        written["description"] = tool.description
    written["input_schema"] = tool.schema
    if tool.strict:
        if traits.takes_strict_tools:
            written["strict"] = True
        else:
            notes.dropped("tools.strict")  # dropped: strict: this model cannot be held to a schema
    return _with_mark(written, tool.cache)


def _tool_choice(request: Request, has_tools: bool, names: ToolNames) -> dict[str, Any] | None:
    if not has_tools:
        return None
    choice = request.tool_choice
    if choice is None:
        return {"type": "auto", "disable_parallel_tool_use": True} if request.parallel_tools is False else None
    written: dict[str, Any] = {"type": _MODES[choice.mode]}
    if choice.mode is ToolMode.NAMED:
        written["name"] = names.sent(choice.name)
    if request.parallel_tools is False and choice.mode is not ToolMode.NONE:
        written["disable_parallel_tool_use"] = True
    return written


def _stubs(turns: Sequence[Turn], names: ToolNames) -> list[dict[str, Any]]:
    used = {block.name: None for turn in turns for block in turn.blocks if isinstance(block, ToolUse)}
    return [{"name": names.sent(name), "input_schema": {"type": "object", "properties": {}}} for name in used]


def _block(block: Block, names: ToolNames) -> dict[str, Any]:
    written: dict[str, Any]
    match block:
        case Text():
            return _with_mark({"type": "text", "text": block.text}, block.cache)
        case Refusal():
            return {"type": "text", "text": block.text}
        case Image():
            return _with_mark({"type": "image", "source": _image_source(block)}, block.cache)
        case Document():
            return _written_document(block)
        case Audio():
            raise BadField(
                block.place, "the host of this model takes no sound; leaving it out would change what is asked."
            )
        case Thinking():
            return {"type": "thinking", "thinking": block.text, "signature": block.signature}
        case RedactedThinking():
            return {"type": "redacted_thinking", "data": block.data}
        case ToolUse():
            written = {
                "type": "tool_use",
                "id": fitting_id(block.id, MAX_ID),
                "name": names.sent(block.name),
                "input": msgspec.Raw(block.arguments.encode()),
            }
            return _with_mark(written, block.cache)
        case ToolResult():
            written = {"type": "tool_result", "tool_use_id": fitting_id(block.tool_use_id, MAX_ID)}
            parts = [part for part in block.content if not isinstance(part, Text) or part.text.strip()]
            if parts:
                written["content"] = [_block(part, names) for part in parts]
            if block.is_error:
                written["is_error"] = True
            return _with_mark(written, block.cache)


def _image_source(image: Image) -> dict[str, str]:
    match image.source:
        case Link(url):
            return {"type": "url", "url": url}
        case Inline(media_type, data):
            return {"type": "base64", "media_type": media_type, "data": data}


def _written_document(document: Document) -> dict[str, Any]:
    match document.source:
        case Text(text):
            source = {"type": "text", "media_type": "text/plain", "data": text}
        case Link(url):
            source = {"type": "url", "url": url}
        case Inline(media_type, data):
            source = {"type": "base64", "media_type": media_type, "data": data}
    written: dict[str, Any] = {"type": "document", "source": source}
    if document.title:
        written["title"] = document.title
    return _with_mark(written, document.cache)


def _with_mark(written: dict[str, Any], cache: CacheMark | None) -> dict[str, Any]:
    if cache is not None:
        written["cache_control"] = {"type": "ephemeral", **({"ttl": cache.ttl} if cache.ttl else {})}
    return written


def _limit_cache_marks(document: dict[str, Any], notes: Notes) -> None:
    """Anthropic refuses more than four; the last ones cover the longest beginnings."""
    parts = [*document.get("tools", ()), *document.get("system", ())]
    parts += [block for message in document["messages"] for block in message["content"]]
    marked = [part for part in parts if "cache_control" in part]
    for part in marked[:-MAX_CACHE_MARKS]:
        del part["cache_control"]
        notes.dropped("cache_control")


def _opaque(user: str, notes: Notes) -> str:
    """Anthropic wants no names or addresses in `user_id`."""
    if not _E_MAIL.search(user):
        return user
    notes.add("hashed", "user")
    return hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()

"""A canonical request -> a responses call (platform.openai.com/docs/api-reference/responses/create, read 2026-11).

Nothing is to be stored at the host: the next call may go to another one. What the model thought comes encrypted.
"""

from typing import Any

from relay_contract.errors import BadField
from relay_edge.protocols.canonical import (
    Audio,
    Block,
    Document,
    Image,
    Inline,
    Link,
    OutputSchema,
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
from relay_edge.protocols.fitness import check_end, json_instruction, max_tokens_of, sampling_of
from relay_edge.protocols.media import write_data_uri
from relay_edge.protocols.model_traits import Traits
from relay_edge.protocols.notes import Notes
from relay_edge.protocols.openai_chat.write_request import effort_of, is_strict, note_marks
from relay_edge.protocols.openai_responses.reasoning import own_reasoning
from relay_edge.protocols.written import Written

MAX_TOOL_NAME = 64
MAX_ID = 64
LEAST_OUTPUT_TOKENS = 16

_MODES = {ToolMode.AUTO: "auto", ToolMode.ANY: "required", ToolMode.NONE: "none"}


def write_request(request: Request, upstream_name: str, traits: Traits, notes: Notes) -> Written:
    """Raises BadField for what no responses call can say, by the caller's own places."""
    names = ToolNames(MAX_TOOL_NAME)
    turns = in_order(request.turns, notes)
    if all(turn.role is Role.SYSTEM for turn in turns):
        raise BadField(request.turns_place, "there has to be a message that is not empty.")
    check_end(turns, traits)
    note_marks(request, notes)
    document: dict[str, Any] = {"model": upstream_name, "store": False}
    instructions = _words(turns.pop(0)) if turns[0].role is Role.SYSTEM else []
    if request.output is not None:
        if request.output.schema is not None and traits.refuses_output_schema:
            instructions.append(json_instruction(request.output))
            notes.add("approximated", "response_format")
        else:
            document["text"] = {"format": _format(request.output)}
    if instructions:
        document["instructions"] = "\n".join(instructions)
    document["input"] = [item for turn in turns for item in _items(turn, names, traits, notes)]
    if request.is_stream:
        document["stream"] = True
    if (max_tokens := max_tokens_of(request, traits, notes)) is not None:
        if max_tokens < LEAST_OUTPUT_TOKENS:
            notes.add("clamped", "max_tokens")
        document["max_output_tokens"] = max(max_tokens, LEAST_OUTPUT_TOKENS)
    _write_sampling(document, request, traits, notes)
    _write_reasoning(document, request, traits, notes)
    _write_tools(document, request, names)
    if request.user:
        document["user"] = request.user
    if request.service_tier == "auto":
        document["service_tier"] = "auto"
    elif request.service_tier is not None:
        notes.dropped("service_tier")  # dropped: service_tier: the vendors' tiers are different things
    return Written(encode(document), names.back, None)


def _items(turn: Turn, names: ToolNames, traits: Traits, notes: Notes) -> list[dict[str, Any]]:
    match turn.role:
        case Role.SYSTEM:
            return [{"role": "developer" if traits.is_reasoning else "system", "content": "\n".join(_words(turn))}]
        case Role.ASSISTANT:
            return _assistant(turn, names, notes)
        case Role.USER:
            return _user(turn, notes)


def _words(turn: Turn) -> list[str]:
    return [block.text for block in turn.blocks if isinstance(block, Text)]


def _user(turn: Turn, notes: Notes) -> list[dict[str, Any]]:
    """An item for each result of a tool, then the rest as the user's message."""
    items = [_output(block, turn, notes) for block in turn.blocks if isinstance(block, ToolResult)]
    parts = [_part(block, turn, notes) for block in turn.blocks if not isinstance(block, ToolResult)]
    return [*items, {"role": "user", "content": parts}] if parts else items


def _output(result: ToolResult, turn: Turn, notes: Notes) -> dict[str, Any]:
    parts = [_part(block, turn, notes) for block in result.content]
    if result.is_error:
        notes.add("rewritten", "tool_result.is_error")
        parts.insert(0, {"type": "input_text", "text": "Error: "})
    output: str | list[dict[str, Any]] = parts
    if all(part["type"] == "input_text" for part in parts):
        texts = [part["text"] for part in parts]
        output = "Error: " + "\n".join(texts[1:]) if result.is_error else "\n".join(texts)
    call_id = fitting_id(result.tool_use_id, MAX_ID)
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def _part(block: Block, turn: Turn, notes: Notes) -> dict[str, Any]:
    match block:
        case Text(text) | Refusal(text):
            return {"type": "input_text", "text": text}
        case Image(Link(url)):
            return {"type": "input_image", "image_url": url, "detail": "auto"}
        case Image(Inline() as inline):
            return {"type": "input_image", "image_url": write_data_uri(inline), "detail": "auto"}
        case Document(Inline() as inline, title):
            name = title or "document.pdf"
            return {"type": "input_file", "filename": name, "file_data": write_data_uri(inline)}
        case Document(Link(url)):
            return {"type": "input_file", "file_url": url}
        case Document(Text(text), title):
            notes.add("rewritten", "document")
            return {"type": "input_text", "text": f"{title}\n\n{text}" if title else text}
        case Audio(_, place):
            raise BadField(place, "the host of this model takes no sound; leaving it out would change what is asked.")
        case _:
            raise BadField(turn.place, "holds content that is not possible in a message of the user.")


def _assistant(turn: Turn, names: ToolNames, notes: Notes) -> list[dict[str, Any]]:
    """Items in the order of the blocks. Reasoning that nothing follows is left out: OpenAI refuses it."""
    items: list[dict[str, Any]] = []
    for block in turn.blocks:
        match block:
            case Text(text):
                _add_words(items, {"type": "output_text", "text": text})
            case Refusal(text):
                _add_words(items, {"type": "refusal", "refusal": text})
            case ToolUse(call_id, name, arguments):
                items.append({
                    "type": "function_call", "call_id": fitting_id(call_id, MAX_ID), "name": names.sent(name),
                    "arguments": arguments,
                })  # fmt: skip
            case Thinking() if (item := own_reasoning(block)) is not None:
                items.append(item)
            case Thinking() | RedactedThinking():
                notes.dropped("messages.thinking", turn.place)  # dropped: only OpenAI's own comes back encrypted
            case _:
                raise BadField(turn.place, "holds content that is not possible in a message of the assistant.")
    while items and items[-1].get("type") == "reasoning":
        notes.dropped("messages.thinking", turn.place)
        items.pop()
    return items


def _add_words(items: list[dict[str, Any]], part: dict[str, str]) -> None:
    if items and "content" in items[-1]:
        items[-1]["content"].append(part)
    else:
        items.append({"role": "assistant", "content": [part]})


def _write_sampling(document: dict[str, Any], request: Request, traits: Traits, notes: Notes) -> None:
    document.update(sampling_of(request, traits, notes))
    for name in ("top_k", "seed", "frequency_penalty", "presence_penalty"):
        if getattr(request, name) is not None:
            notes.dropped(name)  # dropped: top_k, seed, penalties: responses have no such parameters
    if request.stop:
        notes.dropped("stop")  # dropped: stop: responses have no stop sequences


def _write_reasoning(document: dict[str, Any], request: Request, traits: Traits, notes: Notes) -> None:
    wish = request.reasoning
    reasoning = {}
    if effort := effort_of(wish, traits, notes):
        reasoning["effort"] = effort
    if traits.is_reasoning:
        document["include"] = ["reasoning.encrypted_content"]  # other models refuse it
        if wish is not None and wish.is_shown:  # not unasked: OpenAI gives summaries to verified organizations only
            reasoning["summary"] = "auto"
    if reasoning:
        document["reasoning"] = reasoning


def _write_tools(document: dict[str, Any], request: Request, names: ToolNames) -> None:
    if not request.tools:
        return
    document["tools"] = [_function(tool, names) for tool in request.allowed_tools]
    choice = request.tool_choice
    if choice is not None:
        if choice.mode is ToolMode.NAMED:
            document["tool_choice"] = {"type": "function", "name": names.sent(choice.name)}
        else:
            document["tool_choice"] = _MODES[choice.mode]
    if request.parallel_tools is not None:
        document["parallel_tool_calls"] = request.parallel_tools


def _function(tool: Tool, names: ToolNames) -> dict[str, Any]:
    """`strict` is always said: where it is not, this API holds the model to a schema that it makes of the given one."""
    written: dict[str, Any] = {"type": "function", "name": names.sent(tool.name)}
    if tool.description is not None:
        written["description"] = tool.description
    return written | {"parameters": tool.schema, "strict": bool(tool.strict) and is_strict(tool.schema)}


def _format(output: OutputSchema) -> dict[str, Any]:
    if output.schema is None:
        return {"type": "json_object"}
    is_held = is_strict(output.schema) if output.strict is None else output.strict
    name = output.name or "answer"
    return {"type": "json_schema", "name": name, "schema": output.schema, "strict": is_held}

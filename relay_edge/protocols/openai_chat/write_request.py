"""A canonical request -> a chat completion call (platform.openai.com/docs/api-reference/chat/create, read 2026-11)."""

from typing import Any

from relay_contract.errors import BadField
from relay_edge.protocols.budgets import effort_of_budget
from relay_edge.protocols.canonical import (
    Audio,
    Block,
    Document,
    Effort,
    Image,
    Inline,
    JsonObject,
    Link,
    OutputSchema,
    Reasoning,
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
from relay_edge.protocols.written import Written

MAX_TOOL_NAME = 64
MAX_ID = 40
MAX_STOPS = 4

_MODES = {ToolMode.AUTO: "auto", ToolMode.ANY: "required", ToolMode.NONE: "none"}


def write_request(request: Request, upstream_name: str, traits: Traits, notes: Notes) -> Written:
    """Raises BadField for what no chat completion can say, by the caller's own places."""
    names = ToolNames(MAX_TOOL_NAME)
    turns = in_order(request.turns, notes)
    if all(turn.role is Role.SYSTEM for turn in turns):
        raise BadField(request.turns_place, "there has to be a message that is not empty.")
    check_end(turns, traits)
    document: dict[str, Any] = {"model": upstream_name}
    note_marks(request, notes)
    messages = [message for turn in turns for message in _messages(turn, names, traits, notes)]
    document["messages"] = messages
    if request.is_stream:
        document["stream"] = True
        document["stream_options"] = {"include_usage": True}  # asked always: what a call used has to be known
    if (max_tokens := max_tokens_of(request, traits, notes)) is not None:
        document["max_completion_tokens" if traits.is_reasoning else "max_tokens"] = max_tokens
    _write_sampling(document, request, traits, notes)
    if effort := effort_of(request.reasoning, traits, notes):
        document["reasoning_effort"] = effort
    _write_tools(document, request, names)
    if request.output is not None:
        if request.output.schema is not None and traits.refuses_output_schema:
            messages.insert(0, {"role": "system", "content": json_instruction(request.output)})
            notes.add("approximated", "response_format")
        else:
            document["response_format"] = _response_format(request.output)
    if request.user:
        document["user"] = request.user
    if request.service_tier == "auto":
        document["service_tier"] = "auto"
    elif request.service_tier is not None:
        notes.dropped("service_tier")  # dropped: service_tier: the vendors' tiers are different things
    return Written(encode(document), names.back, None)


def _messages(turn: Turn, names: ToolNames, traits: Traits, notes: Notes) -> list[dict[str, Any]]:
    match turn.role:
        case Role.SYSTEM:
            text = "\n".join(block.text for block in turn.blocks if isinstance(block, Text))
            return [{"role": "developer" if traits.is_reasoning else "system", "content": text}]
        case Role.ASSISTANT:
            return _assistant(turn, names, traits, notes)
        case Role.USER:
            return _user(turn, notes)


def note_marks(request: Request, notes: Notes) -> None:
    """Says that the caller's marks for a cache go nowhere."""
    marked = any(getattr(block, "cache", None) for turn in request.turns for block in turn.blocks)
    if marked or any(tool.cache for tool in request.tools):
        notes.dropped("cache_control")  # dropped: cache_control: these hosts decide themselves what they cache


def _user(turn: Turn, notes: Notes) -> list[dict[str, Any]]:
    """One `tool` message for each result, then the rest as the user's. Pictures in results move to the latter."""
    parts: list[dict[str, Any]] = []
    results = [block for block in turn.blocks if isinstance(block, ToolResult)]
    messages = [_tool_message(result, parts, turn, notes) for result in results]
    parts += [_part(block, turn, notes) for block in turn.blocks if not isinstance(block, ToolResult)]
    if len(parts) == 1 and parts[0]["type"] == "text":
        messages.append({"role": "user", "content": parts[0]["text"]})
    elif parts:
        messages.append({"role": "user", "content": parts})
    return messages


def _tool_message(result: ToolResult, moved: list[dict[str, Any]], turn: Turn, notes: Notes) -> dict[str, Any]:
    call_id = fitting_id(result.tool_use_id, MAX_ID)
    texts = []
    for block in result.content:
        if isinstance(block, Text):
            texts.append(block.text)
        else:
            notes.add("moved", "tool_result.content")
            texts.append(f"[see the attachment of {call_id} in the next message]")
            moved += [{"type": "text", "text": f"[attachment of {call_id}]"}, _part(block, turn, notes)]
    text = "\n".join(texts)
    if result.is_error:
        notes.add("rewritten", "tool_result.is_error")
        text = f"Error: {text}"
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def _part(block: Block, turn: Turn, notes: Notes) -> dict[str, Any]:
    match block:
        case Text(text) | Refusal(text):
            return {"type": "text", "text": text}
        case Image(Link(url)):
            return {"type": "image_url", "image_url": {"url": url}}
        case Image(Inline() as inline):
            return {"type": "image_url", "image_url": {"url": write_data_uri(inline)}}
        case Audio(Inline(media_type, data)):
            form = media_type.removeprefix("audio/")
            return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
        case Document(Inline() as inline, title):
            return {"type": "file", "file": {"filename": title or "document.pdf", "file_data": write_data_uri(inline)}}
        case Document(Text(text), title):
            notes.add("rewritten", "document")
            return {"type": "text", "text": f"{title}\n\n{text}" if title else text}
        case Document():
            raise BadField(turn.place, "the host of this model fetches no documents; send the document's data.")
        case _:
            raise BadField(turn.place, "holds content that is not possible in a message of the user.")


def _assistant(turn: Turn, names: ToolNames, traits: Traits, notes: Notes) -> list[dict[str, Any]]:
    text = "".join(block.text for block in turn.blocks if isinstance(block, Text))
    refusal = "".join(block.text for block in turn.blocks if isinstance(block, Refusal))
    thinking = "".join(block.text for block in turn.blocks if isinstance(block, Thinking))
    if not traits.keeps_reasoning and any(isinstance(b, Thinking | RedactedThinking) for b in turn.blocks):
        notes.dropped("messages.thinking", turn.place)  # dropped: thinking: most hosts of this shape refuse it
    calls = [
        {
            "id": fitting_id(block.id, MAX_ID),
            "type": "function",
            "function": {"name": names.sent(block.name), "arguments": block.arguments},
        }
        for block in turn.blocks
        if isinstance(block, ToolUse)
    ]
    if not (text or refusal or calls):
        return []
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if refusal:
        message["refusal"] = refusal
    if thinking and traits.keeps_reasoning:
        message["reasoning_content"] = thinking
    if calls:
        message["tool_calls"] = calls
    return [message]


def _write_sampling(document: dict[str, Any], request: Request, traits: Traits, notes: Notes) -> None:
    document.update(sampling_of(request, traits, notes))
    if request.seed is not None:
        document["seed"] = request.seed
    for name in ("frequency_penalty", "presence_penalty"):
        if (value := getattr(request, name)) is not None:
            if traits.is_reasoning:
                notes.dropped(name)  # dropped: penalties: reasoning models refuse them
            else:
                document[name] = value
    if request.top_k is not None:
        if traits.takes_top_k:
            document["top_k"] = request.top_k
        else:
            notes.dropped("top_k")  # dropped: top_k: OpenAI has no such parameter
    if request.stop:
        if traits.is_reasoning:
            notes.dropped("stop")  # dropped: stop: reasoning models refuse it
            return
        if len(request.stop) > MAX_STOPS:
            notes.add("clamped", "stop")
        document["stop"] = list(request.stop[:MAX_STOPS])


def effort_of(wish: Reasoning | None, traits: Traits, notes: Notes) -> str | None:
    """How hard one of OpenAI's models is told to think; None: nothing is said."""
    if wish is None:
        return None
    if not traits.takes_effort:
        if wish.is_on or wish.effort is not None:
            notes.dropped("reasoning")  # dropped: reasoning: this model does not think, or is not told how hard
        return None
    effort = wish.effort
    if effort is None and wish.budget_tokens is not None:
        effort = effort_of_budget(wish.budget_tokens)
        notes.add("approximated", "thinking.budget_tokens")
    if wish.is_on is False:
        effort = Effort.NONE
        if traits.efforts is None or Effort.NONE not in traits.efforts:
            notes.dropped("thinking")  # dropped: disabled thinking: this model cannot be told not to
            return None
    if effort is Effort.MAX and traits.efforts is None:
        effort = Effort.XHIGH
    return None if effort is None else _nearest(effort, traits, notes)


def _nearest(effort: Effort, traits: Traits, notes: Notes) -> str:
    nearest = traits.nearest_effort(effort)
    if nearest is not effort:
        notes.add("approximated", "reasoning_effort")
    return nearest.value


def _write_tools(document: dict[str, Any], request: Request, names: ToolNames) -> None:
    if not request.tools:
        return
    document["tools"] = [{"type": "function", "function": _function(tool, names)} for tool in request.allowed_tools]
    choice = request.tool_choice
    if choice is not None:
        if choice.mode is ToolMode.NAMED:
            document["tool_choice"] = {"type": "function", "function": {"name": names.sent(choice.name)}}
        else:
            document["tool_choice"] = _MODES[choice.mode]
    if request.parallel_tools is not None:
        document["parallel_tool_calls"] = request.parallel_tools


def _function(tool: Tool, names: ToolNames) -> dict[str, Any]:
    function: dict[str, Any] = {"name": names.sent(tool.name)}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = tool.schema
    if tool.strict and is_strict(tool.schema):
        function["strict"] = True
    return function


def _response_format(output: OutputSchema) -> dict[str, Any]:
    if output.schema is None:
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": output.name or "answer", "schema": output.schema}
    if output.strict or (output.strict is None and is_strict(output.schema)):
        schema["strict"] = True
    return {"type": "json_schema", "json_schema": schema}


def is_strict(schema: JsonObject) -> bool:
    """Whether OpenAI takes the schema as strict: each object closed, with all of its properties required."""
    properties = schema.get("properties")
    if schema.get("type") == "object" or properties is not None:
        if not isinstance(properties, dict) or schema.get("additionalProperties") is not False:
            return False
        required = schema.get("required")
        if not isinstance(required, list) or any(name not in required for name in properties):
            return False
    inner = [*(properties or {}).values(), schema.get("items")]
    for name in ("anyOf", "oneOf", "allOf"):
        several = schema.get(name)
        inner += several if isinstance(several, list) else ()
    for name in ("$defs", "definitions"):
        named = schema.get(name)
        inner += named.values() if isinstance(named, dict) else ()
    return all(is_strict(part) for part in inner if isinstance(part, dict))

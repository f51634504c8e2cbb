"""A canonical request -> a generateContent call (ai.google.dev/api/generate-content, read 2026-11).

The model and whether the answer is a stream stand in the path, not in the document.
"""

from collections.abc import Sequence
from typing import Any

from relay_contract.errors import BadField
from relay_edge.protocols.canonical import Request, Role, Text, Tool, ToolMode, Turn
from relay_edge.protocols.conversation import ToolNames, in_order
from relay_edge.protocols.fields import encode
from relay_edge.protocols.fitness import check_end, json_instruction
from relay_edge.protocols.gemini.contents import Contents
from relay_edge.protocols.gemini.generation import generation_config
from relay_edge.protocols.model_traits import Traits
from relay_edge.protocols.notes import Notes
from relay_edge.protocols.written import Written

MAX_TOOL_NAME = 64

_MODES = {ToolMode.AUTO: "AUTO", ToolMode.ANY: "ANY", ToolMode.NONE: "NONE", ToolMode.NAMED: "ANY"}


def write_request(request: Request, _upstream_name: str, traits: Traits, notes: Notes) -> Written:
    """Raises BadField for what Gemini would refuse, by the caller's own places."""
    names = ToolNames(MAX_TOOL_NAME, starts_with_letter=True)
    system, others = _system(request.turns, notes)
    turns = in_order(others, notes)
    if not turns:
        raise BadField(request.turns_place, "there has to be a message of the user that is not empty.")
    check_end(turns, traits)
    _note_unsayable(request, notes)
    tools = [_declaration(tool, names, notes) for tool in _allowed(request)]
    config = generation_config(request, traits, notes)
    if request.output is not None:
        is_native = traits.gemini >= (3, 0) or not tools  # older models take no tools beside a form of the answer
        if is_native and not (traits.refuses_output_schema and request.output.schema is not None):
            config["responseMimeType"] = "application/json"
            if request.output.schema is not None:
                config["responseJsonSchema"] = request.output.schema
        else:
            system.append(json_instruction(request.output))
            notes.add("approximated", "response_format")
    document: dict[str, Any] = {}
    if system:
        document["systemInstruction"] = {"parts": [{"text": text} for text in system]}
    document["contents"] = Contents(names, traits, notes).of(turns)
    if tools:
        document["tools"] = [{"functionDeclarations": tools}]
        if request.tool_choice is not None:
            document["toolConfig"] = {"functionCallingConfig": _calling_config(request, names)}
    if config:
        document["generationConfig"] = config
    return Written(encode(document), names.back, None)


def _system(turns: Sequence[Turn], notes: Notes) -> tuple[list[str], list[Turn]]:
    texts: list[str] = []
    others: list[Turn] = []
    for turn in turns:
        if turn.role is not Role.SYSTEM:
            others.append(turn)
            continue
        if others:
            notes.add("moved", "messages.system")  # to the top: Gemini has no other place for it
        texts += [block.text for block in turn.blocks if isinstance(block, Text) and block.text.strip()]
    return texts, others


def _note_unsayable(request: Request, notes: Notes) -> None:
    marked = any(getattr(block, "cache", None) for turn in request.turns for block in turn.blocks)
    if marked or any(tool.cache for tool in request.tools):
        notes.dropped("cache_control")  # dropped: cache_control: Gemini decides itself what it caches
    if request.parallel_tools is False and request.tools:
        notes.dropped("parallel_tool_calls")  # dropped: Gemini cannot be told to call one tool at a time
    if request.user:
        notes.dropped("user")  # dropped: user: Gemini has no field for it
    if request.service_tier not in (None, "auto", "default"):
        notes.dropped("service_tier")  # dropped: service_tier: the vendors' tiers are different things


def _allowed(request: Request) -> tuple[Tool, ...]:
    choice = request.tool_choice
    if choice is None or not choice.allowed or choice.mode is ToolMode.ANY:  # ANY names them itself
        return request.tools
    return tuple(tool for tool in request.tools if tool.name in choice.allowed)


def _declaration(tool: Tool, names: ToolNames, notes: Notes) -> dict[str, Any]:
    """`parametersJsonSchema` takes JSON schema as it is; `parameters` would refuse `$ref` and more."""
    if tool.strict:
        notes.dropped("tools.strict")  # dropped: strict: Gemini cannot be held to one tool's schema
    written: dict[str, Any] = {"name": names.sent(tool.name)}
    if tool.description is not None:
        written["description"] = tool.description
    written["parametersJsonSchema"] = tool.schema
    return written


def _calling_config(request: Request, names: ToolNames) -> dict[str, Any]:
    choice = request.tool_choice
    assert choice is not None
    written: dict[str, Any] = {"mode": _MODES[choice.mode]}
    if choice.mode is ToolMode.NAMED:
        written["allowedFunctionNames"] = [names.sent(choice.name)]
    elif choice.mode is ToolMode.ANY and choice.allowed:
        written["allowedFunctionNames"] = [names.sent(name) for name in choice.allowed]
    return written

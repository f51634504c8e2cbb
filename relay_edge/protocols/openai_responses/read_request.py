"""A responses call -> canonical request (platform.openai.com/docs/api-reference/responses/create, read 2026-11).

The relay keeps nothing between calls: what points at something stored is refused, since leaving it out would change
what is asked. Reasoning comes back through `encrypted_content`.
"""

from typing import Any

from relay_contract.errors import BadField
from relay_edge.protocols.canonical import (
    Block,
    CacheMark,
    Document,
    Effort,
    Image,
    Link,
    OutputSchema,
    Reasoning,
    RedactedThinking,
    Refusal,
    Request,
    Role,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
)
from relay_edge.protocols.fields import Fields, decode_object
from relay_edge.protocols.media import is_web_address, read_file, read_image, read_sound
from relay_edge.protocols.notes import Notes
from relay_edge.protocols.openai_chat.read_tools import read_cache_mark
from relay_edge.protocols.openai_responses.echo import echo_of
from relay_edge.protocols.openai_responses.read_tools import read_tool_choice, read_tools
from relay_edge.protocols.openai_responses.reasoning import read_reasoning

_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM, "developer": Role.SYSTEM}
_EFFORTS = {effort.value: effort for effort in Effort}
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "store": (False,),
    "truncation": ("disabled",),
    "top_logprobs": (0,),
    "max_tool_calls": (),
    "context_management": ([],),
    "moderation": (),
    "prompt_cache_key": (),
    "prompt_cache_options": (),
    "prompt_cache_retention": (),
}
"""Dropped: no other shape has them. The values that are no wish need no note."""

_STATELESS = "the relay keeps nothing between calls for the host of this model; send the whole conversation as input."


def read_request(body: bytes, notes: Notes) -> Request:
    """Raises MalformedJson, BadField."""
    document = decode_object(body)
    call = Fields(document, "", notes)
    _refuse_stateful(call)
    for name, neutral in _NEUTRAL.items():
        if call.value(name) is not None and call.value(name) not in neutral:
            call.drop(name)
    call.ignore("metadata")  # tags of the caller's own account; they say nothing to a model
    if any(wish != "reasoning.encrypted_content" for wish in call.texts("include")):
        call.drop("include")  # dropped: include: all others are about hosted tools, addresses and logprobs
    turns = _turns(call)
    tools = read_tools(call)
    if stream_options := call.inner("stream_options"):
        stream_options.ignore("include_obfuscation")  # padding against traffic analysis; other shapes have none
        stream_options.done()
    request = Request(
        model=call.required_text("model"),
        turns=turns,
        turns_place="input",
        tools=tools,
        tool_choice=read_tool_choice(call, tools),
        parallel_tools=call.flag("parallel_tool_calls"),
        max_tokens=call.count("max_output_tokens", 1),
        temperature=call.number("temperature", 0),
        top_p=call.number("top_p", 0),
        reasoning=_reasoning(call),
        output=_output(call),
        user=call.text("safety_identifier") or call.text("user"),
        service_tier=call.text("service_tier"),
        is_stream=bool(call.flag("stream")),
        wants_stream_usage=True,
        echo=echo_of(document),
    )
    call.ignore("user")
    call.done()
    return request


def _refuse_stateful(call: Fields) -> None:
    for name in ("previous_response_id", "conversation"):
        call.ignore(name)
        if call.has(name):
            raise call.refuse(name, _STATELESS)
    if call.flag("background"):
        raise call.refuse("background", "the relay keeps no answers to be fetched later; ask for a stream.")
    call.ignore("prompt")
    if call.has("prompt"):
        raise call.refuse("prompt", "templates stored with one vendor cannot be read by another; send their text.")


def _reasoning(call: Fields) -> Reasoning | None:
    wish = call.inner("reasoning")
    if wish is None:
        return None
    effort = wish.one_of("effort", _EFFORTS)
    summary = wish.text("summary") or wish.text("generate_summary")
    wish.ignore("generate_summary")
    wish.drop("context", "mode")  # dropped: context, mode: only OpenAI lets callers choose them
    wish.done()
    if effort is None and summary is None:
        return None
    is_on = None if effort is None else effort is not Effort.NONE
    return Reasoning(is_on=is_on, effort=effort, is_shown=True if summary else None)


def _output(call: Fields) -> OutputSchema | None:
    text = call.inner("text")
    if text is None:
        return None
    if text.text("verbosity") not in (None, "medium"):
        text.drop("verbosity")  # dropped: verbosity: only OpenAI has it
    form = text.inner("format")
    text.done()
    if form is None:
        return None
    match form.required_text("type"):
        case "text":
            return None
        case "json_object":
            return OutputSchema(None)
        case "json_schema":
            form.ignore("description")
            schema = form.mapping("schema")
            if schema is None:
                raise form.refuse("schema", "is missing.")
            found = OutputSchema(schema, form.text("name") or "", form.flag("strict"))
            form.done()
            return found
        case other:
            raise form.refuse("type", f"{other[:40]!r} has no counterpart at the host of this model.")


def _turns(call: Fields) -> tuple[Turn, ...]:
    instructions = call.text("instructions")
    turns = [Turn(Role.SYSTEM, (Text(instructions),), "instructions")] if instructions else []
    given = call.value("input")
    if isinstance(given, str):
        return (*turns, Turn(Role.USER, (Text(given),), "input"))
    items = [_item(item) for item in call.objects("input")]
    if not items:
        raise call.refuse("input", "there has to be at least one item.")
    return (*turns, *items)


def _item(item: Fields) -> Turn:
    kind = item.text("type") or "message"
    item.ignore("id", "status")
    match kind:
        case "message":
            turn = _message(item)
        case "function_call":
            item.drop("namespace")
            item.ignore("caller", "async")
            use = ToolUse(item.required_text("call_id"), item.required_text("name"), item.object_text("arguments"))
            turn = Turn(Role.ASSISTANT, (use,), item.place)
        case "function_call_output":
            item.ignore("caller", "name", "namespace")
            result = ToolResult(item.required_text("call_id"), _tool_output(item), place=item.place)
            turn = Turn(Role.USER, (result,), item.place)
        case "reasoning":
            turn = Turn(Role.ASSISTANT, _thinking(item), item.place)
        case "item_reference":
            raise item.refuse("type", _STATELESS)
        case other:
            raise item.refuse("type", f"{other[:40]!r} has no counterpart at the host of this model.")
    item.done()
    return turn


def _message(message: Fields) -> Turn:
    role = message.one_of("role", _ROLES)
    if role is None:
        raise message.refuse("role", "is missing.")
    message.ignore("phase")  # tells words on the way from the answer; the order of the items does so as well
    content = message.value("content")
    if content is None:
        raise message.refuse("content", "is missing.")
    if isinstance(content, str):
        return Turn(role, (Text(content),), message.place)
    return Turn(role, tuple(_part(part, role) for part in message.objects("content")), message.place)


def _part(part: Fields, role: Role) -> Block:
    kind = part.required_text("type")
    cache = read_cache_mark(part)
    part.drop("prompt_cache_breakpoint")  # dropped: prompt_cache_breakpoint: `cache_control` is what both can say
    found: Block
    match kind, role:
        case (("input_text" | "output_text" | "text"), _):
            found = Text(part.required_text("text"), cache)
            part.ignore("annotations", "logprobs")
        case "refusal", Role.ASSISTANT:
            found = Refusal(part.required_text("refusal"))
        case "input_image", Role.USER:
            part.ignore("file_id")
            if part.has("file_id"):
                raise part.refuse("file_id", "files stored with one vendor cannot be read by another; send image_url.")
            if part.text("detail") not in (None, "auto"):
                part.drop("detail")  # dropped: detail: only OpenAI lets callers choose it
            found = Image(read_image(part.required_text("image_url"), part.at("image_url")), cache)
        case "input_file", Role.USER:
            found = _file(part, cache)
        case "input_audio", Role.USER:
            found = read_sound(part)
        case (("refusal" | "input_image" | "input_file" | "input_audio"), _):
            raise part.refuse("type", f"{kind!r} is not possible in a message of this role.")
        case _:
            raise part.refuse("type", f"{kind[:40]!r} has no counterpart at the host of this model.")
    part.done()
    return found


def _file(part: Fields, cache: CacheMark | None) -> Document:
    part.ignore("file_id", "detail")
    if part.has("file_id"):
        raise part.refuse("file_id", "files stored with one vendor cannot be read by another; send file_data.")
    title, address = part.text("filename") or "", part.text("file_url")
    if address is None:
        return read_file(part.required_text("file_data"), title, cache, part.at("file_data"))
    if not is_web_address(address):
        raise part.refuse("file_url", "has to be an http(s) address.")
    return Document(Link(address), title, cache)


def _tool_output(item: Fields) -> tuple[Text | Image | Document, ...]:
    output = item.value("output")
    if output is None:
        raise item.refuse("output", "is missing.")
    if isinstance(output, str):
        return (Text(output),)
    parts: list[Text | Image | Document] = []
    for part in item.objects("output"):
        found = _part(part, Role.USER)
        if not isinstance(found, Text | Image | Document):
            raise BadField(part.at("type"), "is not possible in a tool's output.")
        parts.append(found)
    return tuple(parts)


def _thinking(item: Fields) -> tuple[Thinking | RedactedThinking, ...]:
    for name in ("summary", "content"):
        for part in item.objects(name):
            part.ignore("type")
            part.required_text("text")
            part.done()
    item.text("encrypted_content")
    block = read_reasoning({name: item.value(name) for name in ("id", "summary", "content", "encrypted_content")})
    return () if block is None else (block,)

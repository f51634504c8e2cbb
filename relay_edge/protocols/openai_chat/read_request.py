"""A chat completion call -> canonical request (platform.openai.com/docs/api-reference/chat/create, read 2026-11).

What only this shape knows and no other can be told is dropped with a note; what would change the meaning of the answer
without it is refused.
"""

from typing import Any

from relay_edge.protocols.canonical import (
    Block,
    CacheMark,
    Document,
    Effort,
    Image,
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
from relay_edge.protocols.media import read_file, read_image, read_sound
from relay_edge.protocols.notes import Notes
from relay_edge.protocols.openai_chat.read_tools import read_cache_mark, read_tool_choice, read_tools

_ROLES = {name: name for name in ("system", "developer", "user", "assistant", "tool", "function")}
_EFFORTS = {effort.value: effort for effort in Effort}
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "prediction": (),
    "store": (False,),
    "verbosity": ("medium",),
    "moderation": (),
    "prompt_cache_key": (),
    "prompt_cache_options": (),
    "prompt_cache_retention": (),
}
"""Dropped: no other shape has them. The values that are no wish need no note."""


def read_request(body: bytes, notes: Notes) -> Request:
    """Raises MalformedJson, BadField."""
    call = Fields(decode_object(body), "", notes)
    _refuse_unservable(call)
    for name, neutral in _NEUTRAL.items():
        if call.value(name) is not None and call.value(name) not in neutral:
            call.drop(name)
    call.ignore("metadata")  # tags of the caller's own account; they say nothing to a model
    turns = _Messages(notes).read(call)
    tools = read_tools(call)
    stream_options = call.inner("stream_options")
    request = Request(
        model=call.required_text("model"),
        turns=turns,
        tools=tools,
        tool_choice=read_tool_choice(call, tools),
        parallel_tools=call.flag("parallel_tool_calls"),
        max_tokens=_max_tokens(call),
        temperature=call.number("temperature", 0),
        top_p=call.number("top_p", 0),
        top_k=call.count("top_k"),
        stop=_stop(call),
        seed=_seed(call),
        frequency_penalty=call.number("frequency_penalty") or None,
        presence_penalty=call.number("presence_penalty") or None,
        reasoning=_reasoning(call),
        output=_output(call),
        user=_user(call),
        service_tier=call.text("service_tier"),
        is_stream=bool(call.flag("stream")),
        wants_stream_usage=bool(stream_options and stream_options.flag("include_usage")),
    )
    if stream_options:
        stream_options.ignore(
            "include_obfuscation"
        )  # padding against traffic analysis; hosts of other shapes have none
        stream_options.done()
    call.done()
    return request


def _refuse_unservable(call: Fields) -> None:
    if (call.count("n", 1) or 1) != 1:
        raise call.refuse("n", "only one answer can be asked for, since the host of this model gives one.")
    if call.has("modalities") and call.texts("modalities") not in ((), ("text",)):
        raise call.refuse("modalities", "the host of this model answers in text only.")
    call.ignore("modalities")
    for name in ("audio", "web_search_options"):
        call.ignore(name)
        if call.has(name):
            raise call.refuse(name, "the host of this model has no counterpart for it.")


def _max_tokens(call: Fields) -> int | None:
    completion, older = call.count("max_completion_tokens", 1), call.count("max_tokens", 1)
    return older if completion is None else completion


def _user(call: Fields) -> str | None:
    identifier, user = call.text("safety_identifier"), call.text("user")
    return identifier or user


def _stop(call: Fields) -> tuple[str, ...]:
    if isinstance(call.value("stop"), str):
        return (call.value("stop"),)
    return call.texts("stop")


def _seed(call: Fields) -> int | None:
    seed = call.count("seed", -(2**63))
    if seed is not None and seed >= 2**63:
        raise call.refuse("seed", "is out of range.")
    return seed


def _reasoning(call: Fields) -> Reasoning | None:
    effort = call.one_of("reasoning_effort", _EFFORTS)
    if effort is None:
        return None
    return Reasoning(is_on=effort is not Effort.NONE, effort=effort)


def _output(call: Fields) -> OutputSchema | None:
    form = call.inner("response_format")
    if form is None:
        return None
    match form.required_text("type"):
        case "text":
            return None
        case "json_object":
            return OutputSchema(None)
        case "json_schema":
            schema = form.required_object("json_schema")
            schema.ignore("description")
            given = schema.mapping("schema")
            if given is None:
                raise schema.refuse("schema", "is missing.")
            found = OutputSchema(given, schema.text("name") or "", schema.flag("strict"))
            schema.done()
            return found
        case other:
            raise form.refuse("type", f"{other[:40]!r} has no counterpart at the host of this model.")


class _Messages:
    """The messages, with what an older form leaves open from one to the next."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._pending_functions: dict[str, str] = {}  # name -> id given to its call

    def read(self, call: Fields) -> tuple[Turn, ...]:
        turns = tuple(self._turn(message) for message in call.objects("messages"))
        if not turns:
            raise call.refuse("messages", "there has to be at least one message.")
        return turns

    def _turn(self, message: Fields) -> Turn:
        role = message.one_of("role", _ROLES)
        cache = read_cache_mark(message)
        match role:
            case "system" | "developer":
                message.drop("name")
                turn = Turn(Role.SYSTEM, self._content(message, "text"), message.place)
            case "user":
                message.drop("name")
                turn = Turn(Role.USER, self._content(message), message.place)
            case "assistant":
                turn = Turn(Role.ASSISTANT, self._assistant(message), message.place)
            case "tool":
                message.ignore("name")
                result = self._result(message, message.required_text("tool_call_id"), cache)
                turn, cache = Turn(Role.USER, (result,), message.place), None
            case "function":
                name = message.required_text("name")
                call_id = self._pending_functions.pop(name, None)
                if call_id is None:
                    raise message.refuse("name", "answers no function call before it.")
                turn = Turn(Role.USER, (self._result(message, call_id, None),), message.place)
            case _:
                raise message.refuse("role", "is missing.")
        message.done()
        return turn if cache is None else _marked(turn, cache)

    def _result(self, message: Fields, call_id: str, cache: CacheMark | None) -> ToolResult:
        content = tuple(block for block in self._content(message, "text") if isinstance(block, Text))
        return ToolResult(call_id, content, cache=cache, place=message.place)

    def _content(self, message: Fields, *kinds: str) -> tuple[Block, ...]:
        """The parts; `kinds`: the only ones this role may have."""
        content = message.value("content")
        if content is None:
            return ()
        if isinstance(content, str):
            return (Text(content),)
        blocks = []
        for part in message.objects("content"):
            kind = part.required_text("type")
            if kinds and kind not in kinds:
                raise part.refuse("type", f"{kind[:40]!r} is not possible in a message of this role.")
            blocks.append(_part(part, kind))
            part.done()
        return tuple(blocks)

    def _assistant(self, message: Fields) -> tuple[Block, ...]:
        message.ignore("annotations")
        message.drop("name")
        if message.has("audio"):
            raise message.refuse("audio", "an earlier answer in sound cannot be carried to the host of this model.")
        message.ignore("audio")
        blocks: list[Block] = [*_thinking(message), *self._content(message, "text", "refusal")]
        if refusal := message.text("refusal"):
            blocks.append(Refusal(refusal))
        for tool_call in message.objects("tool_calls"):
            blocks.append(_tool_call(tool_call))
            tool_call.done()
        if older := message.inner("function_call"):
            name = older.required_text("name")
            call_id = f"call_{message.place.removeprefix('messages[').removesuffix(']')}"
            self._pending_functions[name] = call_id
            blocks.append(ToolUse(call_id, name, older.object_text("arguments")))
        return tuple(blocks)


def _thinking(message: Fields) -> list[Block]:
    """Reasoning that an answer of ours handed out: `thinking_blocks` with signatures, else plain text."""
    text = message.text("reasoning_content") or message.text("reasoning")
    message.ignore("reasoning", "reasoning_details")
    blocks: list[Block] = []
    for block in message.objects("thinking_blocks"):
        block.ignore("index")
        match block.required_text("type"):
            case "thinking":
                blocks.append(Thinking(block.text("thinking") or "", block.text("signature") or ""))
            case "redacted_thinking":
                blocks.append(RedactedThinking(block.required_text("data")))
            case other:
                raise block.refuse("type", f"{other[:40]!r} is not known.")
        block.done()
    return blocks or ([Thinking(text)] if text else [])


def _tool_call(call: Fields) -> ToolUse:
    kind = call.text("type") or "function"
    call.ignore("index")
    if kind != "function":
        raise call.refuse("type", f"calls of type {kind[:40]!r} have no counterpart at the host of this model.")
    function = call.required_object("function")
    found = ToolUse(call.required_text("id"), function.required_text("name"), function.object_text("arguments"))
    function.done()
    return found


def _part(part: Fields, kind: str) -> Block:
    cache = read_cache_mark(part)
    part.drop("prompt_cache_breakpoint")  # dropped: prompt_cache_breakpoint: `cache_control` is what both can say
    match kind:
        case "text":
            return Text(part.required_text("text"), cache)
        case "refusal":
            return Refusal(part.required_text("refusal"))
        case "image_url":
            image = part.required_object("image_url")
            if image.text("detail") not in (None, "auto"):
                image.drop("detail")  # dropped: detail: only OpenAI lets callers choose it
            source = read_image(image.required_text("url"), image.at("url"))
            image.done()
            return Image(source, cache)
        case "file":
            file = part.required_object("file")
            document = _file(file, cache)
            file.done()
            return document
        case "input_audio":
            return read_sound(part)
        case other:
            raise part.refuse("type", f"{other[:40]!r} has no counterpart at the host of this model.")


def _file(file: Fields, cache: CacheMark | None) -> Document:
    if file.has("file_id"):
        raise file.refuse("file_id", "files stored with one vendor cannot be read by another; send file_data.")
    return read_file(file.required_text("file_data"), file.text("filename") or "", cache, file.at("file_data"))


def _marked(turn: Turn, cache: CacheMark) -> Turn:
    """A mark on the message stands for one on its last part."""
    if turn.blocks and isinstance(last := turn.blocks[-1], Text):
        return Turn(turn.role, (*turn.blocks[:-1], Text(last.text, last.cache or cache)), turn.place)
    return turn

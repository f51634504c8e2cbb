"""A chat completion, whole or streamed -> canonical values (platform.openai.com/docs/api-reference/chat, read 2026-11).

Many hosts speak this shape nearly: tool calls without an index or an id, a whole call in one chunk, arguments as an
object, `stop` after tool calls, reasoning under three names. What can be understood is; what cannot is an error of the
host, never a guess.
"""

from collections.abc import Mapping
from typing import Any

from relay_contract.errors import MalformedJson, UpstreamProtocolError
from relay_edge.error_shapes import HostRefusal
from relay_edge.protocols.canonical import (
    Answer,
    Block,
    Ended,
    Event,
    Failed,
    Finished,
    RedactedThinking,
    RedactedThinkingSeen,
    Refusal,
    RefusalDelta,
    Started,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ThinkingEnded,
    ToolDelta,
    ToolStarted,
    ToolUse,
    Usage,
    UsageSeen,
)
from relay_edge.protocols.fields import decode_object, encode, object_text
from relay_edge.protocols.openai_chat.usage import read_usage
from relay_edge.protocols.sse import ServerSentEvent

_STOPS = {
    "stop": Stop.END,
    "length": Stop.LENGTH,
    "tool_calls": Stop.TOOL_USE,
    "function_call": Stop.TOOL_USE,
    "content_filter": Stop.REFUSAL,
}
_NO_ID = ("", "null", "None")
MAX_CALLS = 512
MAX_MALFORMED = 1
"""A garbled event is skipped once; a second one says that the stream cannot be trusted."""


def read_stop(reason: Any, has_calls: bool, has_refused: bool) -> Stop:
    """What was seen counts more than what is said: hosts say `stop` after tool calls, and the other way round."""
    stop = _STOPS.get(reason, Stop.UNKNOWN) if isinstance(reason, str) else Stop.UNKNOWN
    if has_calls and stop in (Stop.END, Stop.UNKNOWN):
        return Stop.TOOL_USE
    if stop is Stop.TOOL_USE and not has_calls:
        return Stop.END
    return Stop.REFUSAL if has_refused and stop is Stop.END else stop


def read_answer(body: bytes) -> Answer:
    """Raises UpstreamProtocolError for what is no chat completion."""
    try:
        document = decode_object(body)
    except MalformedJson as error:
        raise UpstreamProtocolError from error
    choices = document.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise UpstreamProtocolError("The upstream host's answer has no message in it.")
    blocks = _thinking_blocks(message)
    if text := _text(message.get("content")):
        blocks.append(Text(text))
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        blocks.append(Refusal(refusal))
    calls = _calls(message)
    blocks += calls
    stop = read_stop(choice.get("finish_reason"), bool(calls), bool(refusal))
    return Answer(_id(document), tuple(blocks), stop, None, read_usage(document.get("usage")))


def _id(document: Mapping[str, Any]) -> str:
    value = document.get("id")
    return value if isinstance(value, str) else ""


def _list(values: Mapping[str, Any], name: str) -> list[Any]:
    value = values.get(name)
    return value if isinstance(value, list) else []


def _text(content: Any) -> str:
    if isinstance(content, list):  # some hosts answer in parts
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def _thinking_text(message: Mapping[str, Any]) -> str:
    for name in ("reasoning_content", "reasoning"):
        if isinstance(text := message.get(name), str) and text:
            return text
    details = message.get("reasoning_details")
    if isinstance(details, list):
        return "".join(d["text"] for d in details if isinstance(d, dict) and isinstance(d.get("text"), str))
    return ""


def _thinking_blocks(message: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    for block in _list(message, "thinking_blocks"):
        if isinstance(block, dict) and isinstance(data := block.get("data"), str):
            blocks.append(RedactedThinking(data))
        elif isinstance(block, dict) and isinstance(text := block.get("thinking"), str):
            signature = block.get("signature")
            blocks.append(Thinking(text, signature if isinstance(signature, str) else ""))
    if not blocks and (text := _thinking_text(message)):
        blocks.append(Thinking(text))
    return blocks


def _calls(message: Mapping[str, Any]) -> list[Block]:
    calls: list[Block] = []
    given = [*_list(message, "tool_calls")]
    if isinstance(message.get("function_call"), dict):
        given.append({"function": message["function_call"]})
    for place, call in enumerate(given):
        function = call.get("function") if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str) or not name:
            raise UpstreamProtocolError("The upstream host's answer calls a tool without a name.")
        arguments = arguments_text(function.get("arguments"))
        compact = object_text(arguments) if arguments.strip() else "{}"
        if compact is None:
            raise UpstreamProtocolError(
                "The upstream host's answer calls a tool with arguments that are no JSON object."
            )
        call_id = call.get("id")
        known = isinstance(call_id, str) and call_id not in _NO_ID
        calls.append(ToolUse(call_id if known else made_up_id(_id(message), place), name, compact))
    return calls


def arguments_text(arguments: Any) -> str:
    """Arguments as text; some hosts send the object itself."""
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else encode(arguments).decode()


def made_up_id(answer_id: str, place: int) -> str:
    """An id for a call that came without one: different for each call of an answer."""
    return f"call_{''.join(c for c in answer_id[-24:] if c.isascii() and c.isalnum())}_{place}"


def read_error(status: int, body: bytes) -> HostRefusal:
    """A host's error, in whatever form it is written."""
    try:
        error = decode_object(body).get("error")
    except MalformedJson:
        error = None
    if isinstance(error, str):
        return HostRefusal(status, error)
    if not isinstance(error, Mapping):
        return HostRefusal(status, "")
    values = [error.get(name) for name in ("message", "code", "param")]
    message, code, param = (value if isinstance(value, str) else None for value in values)
    return HostRefusal(status, message or "", code, param)


class _Call:
    """One tool call on its way."""

    __slots__ = ("arguments", "id", "name", "number")

    def __init__(self) -> None:
        self.number = -1  # among the calls that have begun
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []  # until the name is known


class StreamReader:
    """Chunks -> events. `feed` raises UpstreamProtocolError for a stream that cannot be understood."""

    __slots__ = (
        "_by_index", "_calls", "_has_refused", "_id", "_is_started", "_is_thinking", "_last", "_malformed",
        "_reason", "has_ended",
    )  # fmt: skip

    def __init__(self) -> None:
        self._by_index: dict[int, _Call] = {}
        self._calls: list[_Call] = []
        self._last: _Call | None = None
        self._id = ""
        self._reason: str | None = None
        self._malformed = 0
        self._is_started = self._has_refused = self._is_thinking = False
        self.has_ended = False

    @property
    def has_finished(self) -> bool:
        """Whether the model said why it stopped: what comes after is not needed for a whole answer."""
        return self._reason is not None

    def feed(self, event: ServerSentEvent) -> list[Event]:
        """What one event says."""
        if self.has_ended:
            return []
        if event.data.strip() == b"[DONE]":
            if self._reason is None:
                raise UpstreamProtocolError("The upstream host's stream ended without a reason.")
            self.has_ended = True
            return [Ended()]
        try:
            chunk = decode_object(event.data)
        except MalformedJson as error:
            self._malformed += 1
            if self._malformed > MAX_MALFORMED:
                raise UpstreamProtocolError("The upstream host's stream is garbled.") from error
            return []
        if chunk.get("error") is not None:
            return [read_failure(chunk["error"])]
        return self._chunk(chunk)

    def end(self) -> list[Event]:
        """At the end of the bytes: an answer whose reason came is whole without `[DONE]`."""
        if self.has_ended or self._reason is None:
            return []
        self.has_ended = True
        return [Ended()]

    def _chunk(self, chunk: Mapping[str, Any]) -> list[Event]:
        events: list[Event] = []
        usage = read_usage(chunk["usage"]) if chunk.get("usage") is not None else None
        if not self._is_started:
            self._is_started = True
            self._id = _id(chunk)
            events.append(Started(self._id, usage or Usage()))
        for choice in _list(chunk, "choices"):
            if isinstance(choice, dict) and choice.get("index") in (0, None):
                self._choice(choice, events)
        if usage is not None:
            events.append(UsageSeen(usage))
        return events

    def _choice(self, choice: Mapping[str, Any], events: list[Event]) -> None:
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            delta = choice.get("message") if isinstance(choice.get("message"), dict) else {}
        assert isinstance(delta, dict)
        self._thinking(delta, events)
        if text := _text(delta.get("content")):
            self._end_thinking(events)
            events.append(TextDelta(text))
        refusal = delta.get("refusal")
        if isinstance(refusal, str) and refusal:
            self._end_thinking(events)
            self._has_refused = True
            events.append(RefusalDelta(refusal))
        for call in _list(delta, "tool_calls"):
            if isinstance(call, dict):
                self._call(call, call.get("index"), events)
        if isinstance(function := delta.get("function_call"), dict):
            self._call({"function": function}, 0, events)
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason and self._reason is None:
            self._finish(reason, events)

    def _thinking(self, delta: Mapping[str, Any], events: list[Event]) -> None:
        text = _thinking_text(delta)
        if text:
            self._is_thinking = True
            events.append(ThinkingDelta(text))
        for block in _list(delta, "thinking_blocks"):
            if isinstance(block, dict) and isinstance(data := block.get("data"), str):
                self._end_thinking(events)
                events.append(RedactedThinkingSeen(data))
            elif isinstance(block, dict) and isinstance(signature := block.get("signature"), str) and signature:
                self._is_thinking = False
                events.append(ThinkingEnded(signature))

    def _end_thinking(self, events: list[Event]) -> None:
        if self._is_thinking:
            self._is_thinking = False
            events.append(ThinkingEnded(""))

    def _call(self, delta: Mapping[str, Any], index: Any, events: list[Event]) -> None:
        given_id = delta.get("id")
        call_id = given_id if isinstance(given_id, str) and given_id not in _NO_ID else ""
        function = delta.get("function")
        function = function if isinstance(function, dict) else {}
        name = function.get("name")
        name = name if isinstance(name, str) else ""
        call = self._which(index, call_id, name)
        call.id = call.id or call_id
        call.name = call.name or name
        arguments = arguments_text(function.get("arguments"))
        if call.number < 0 and call.name:
            self._end_thinking(events)
            call.number = sum(other.number >= 0 for other in self._calls)
            call.id = call.id or made_up_id(self._id, call.number)
            events.append(ToolStarted(call.number, call.id, call.name))
            arguments = "".join((*call.arguments, arguments))
            call.arguments.clear()
        if arguments:
            if call.number < 0:
                call.arguments.append(arguments)
            else:
                events.append(ToolDelta(call.number, arguments))

    def _which(self, index: Any, call_id: str, name: str) -> _Call:
        """The call that a delta belongs to: by index, unless another id and name show that it is a new one; else by id;
        else the last one."""
        if isinstance(index, int) and not isinstance(index, bool):
            known = self._by_index.get(index)
            if known is None or (call_id and name and known.id and known.id != call_id):
                known = self._by_id(call_id) or self._new()
                self._by_index[index] = known
        else:
            known = self._by_id(call_id)
            if known is None:
                is_new = bool(name) and (self._last is None or bool(self._last.name))
                known = self._new() if is_new or self._last is None else self._last
        self._last = known
        return known

    def _by_id(self, call_id: str) -> _Call | None:
        return next((call for call in self._calls if call_id and call.id == call_id), None)

    def _new(self) -> _Call:
        if len(self._calls) >= MAX_CALLS:
            raise UpstreamProtocolError("The upstream host's answer calls too many tools.")
        call = _Call()
        self._calls.append(call)
        return call

    def _finish(self, reason: str, events: list[Event]) -> None:
        if any(call.number < 0 for call in self._calls):
            raise UpstreamProtocolError("The upstream host's answer calls a tool without a name.")
        self._end_thinking(events)
        self._reason = reason
        events.append(Finished(read_stop(reason, bool(self._calls), self._has_refused)))


def read_failure(error: Any) -> Failed:
    """The `error` of a chunk."""
    if not isinstance(error, Mapping):
        return Failed("", str(error)[:500])
    kind = error.get("code") or error.get("type")
    message = error.get("message")
    return Failed(str(kind or "")[:100], message if isinstance(message, str) else "")

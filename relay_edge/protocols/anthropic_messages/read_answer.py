"""A message, whole or streamed -> canonical values (platform.claude.com/docs/en/build-with-claude/streaming, read
2026-11)."""

from collections.abc import Mapping
from typing import Any

from relay_contract.errors import MalformedJson, UpstreamProtocolError
from relay_edge.error_shapes import HostRefusal
from relay_edge.protocols.anthropic_messages.usage import read_usage
from relay_edge.protocols.canonical import (
    Answer,
    Block,
    Ended,
    Event,
    Failed,
    Finished,
    Pinged,
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
from relay_edge.protocols.fields import decode_object, encode
from relay_edge.protocols.sse import ServerSentEvent

_STOPS = {
    "end_turn": Stop.END,
    "stop_sequence": Stop.SEQUENCE,
    "max_tokens": Stop.LENGTH,
    "model_context_window_exceeded": Stop.CONTEXT,
    "tool_use": Stop.TOOL_USE,
    "refusal": Stop.REFUSAL,
    "pause_turn": Stop.PAUSE,
}
MAX_MALFORMED = 1
_TOO_LONG = "prompt is too long"


def read_stop(reason: Any, has_calls: bool) -> Stop:
    """What was seen counts more than what is said."""
    stop = _STOPS.get(reason, Stop.UNKNOWN) if isinstance(reason, str) else Stop.UNKNOWN
    if has_calls and stop in (Stop.END, Stop.UNKNOWN):
        return Stop.TOOL_USE
    return Stop.END if stop is Stop.TOOL_USE and not has_calls else stop


def _string(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""


def read_answer(body: bytes) -> Answer:
    """Raises UpstreamProtocolError for what is no message."""
    try:
        document = decode_object(body)
    except MalformedJson as error:
        raise UpstreamProtocolError from error
    content = document.get("content")
    if not isinstance(content, list):
        raise UpstreamProtocolError("The upstream host's answer has no message in it.")
    blocks: list[Block] = []
    for block in content:
        if isinstance(block, dict) and (found := _block(block, _string(document, "id"), len(blocks))) is not None:
            blocks.append(found)
    has_calls = any(isinstance(block, ToolUse) for block in blocks)
    details = document.get("stop_details")
    if isinstance(details, Mapping) and (explanation := _string(details, "explanation")):
        blocks.append(Refusal(explanation))
    sequence = document.get("stop_sequence")
    return Answer(
        _string(document, "id"),
        tuple(blocks),
        read_stop(document.get("stop_reason"), has_calls),
        sequence if isinstance(sequence, str) else None,
        read_usage(document.get("usage")),
    )


def made_up_id(answer_id: str, place: int) -> str:
    """An id for a call that came without one: different for each call of an answer."""
    return f"toolu_{''.join(c for c in answer_id[-24:] if c.isascii() and c.isalnum())}_{place}"


def _block(block: Mapping[str, Any], answer_id: str, place: int) -> Block | None:
    match block.get("type"):
        case "text":
            return Text(_string(block, "text")) if _string(block, "text") else None
        case "thinking":
            return Thinking(_string(block, "thinking"), _string(block, "signature"))
        case "redacted_thinking":
            return RedactedThinking(_string(block, "data"))
        case "tool_use":
            arguments = block.get("input")
            if not _string(block, "name") or not isinstance(arguments, dict | None):
                raise UpstreamProtocolError("The upstream host's answer calls a tool in a way that cannot be read.")
            call_id = _string(block, "id") or made_up_id(answer_id, place)
            return ToolUse(call_id, _string(block, "name"), encode(arguments or {}).decode())
        case _:
            return None  # dropped: blocks of server tools: a request of another shape cannot have asked for them


def read_error(status: int, body: bytes) -> HostRefusal:
    """A host's error, with the codes by which OpenAI's clients know it."""
    try:
        error = decode_object(body).get("error")
    except MalformedJson:
        error = None
    if not isinstance(error, Mapping):
        return HostRefusal(status, "")
    message = _string(error, "message")
    if _TOO_LONG in message.lower():
        return HostRefusal(status, message, "context_length_exceeded")
    return HostRefusal(status, message, _string(error, "type") or None)


class StreamReader:
    """Events of a message -> canonical events. `feed` raises UpstreamProtocolError for what cannot be understood."""

    __slots__ = (
        "_calls", "_given", "_has_arguments", "_id", "_is_started", "_kinds", "_malformed", "_reason", "_signatures",
        "_usage", "has_ended", "has_finished",
    )  # fmt: skip

    def __init__(self) -> None:
        self._kinds: dict[int, str] = {}  # of open blocks, by index
        self._calls: dict[int, int] = {}  # block index -> ordinal among the tool calls
        self._has_arguments: set[int] = set()
        self._given: dict[int, str] = {}  # arguments that came whole with a block's start
        self._signatures: dict[int, str] = {}
        self._malformed = 0
        self._id = ""
        self._usage = Usage()  # as it was said at the start
        self._is_started = False
        self.has_ended = False
        self.has_finished = False

    def feed(self, event: ServerSentEvent) -> list[Event]:
        """What one event says."""
        if self.has_ended:
            return []
        try:
            data = decode_object(event.data)
        except MalformedJson as error:
            self._malformed += 1
            if self._malformed > MAX_MALFORMED:
                raise UpstreamProtocolError("The upstream host's stream is garbled.") from error
            return []
        match data.get("type") or event.name:
            case "content_block_delta":
                return self._delta(data)
            case "content_block_start":
                return self._block_start(data)
            case "content_block_stop":
                return self._block_stop(data)
            case "message_start":
                return self._start(data)
            case "message_delta":
                return self._message_delta(data)
            case "message_stop":
                if not self.has_finished:
                    raise UpstreamProtocolError("The upstream host's stream ended without a reason.")
                self.has_ended = True
                return [Ended()]
            case "ping":
                return [Pinged()]
            case "error":
                return [read_failure(data.get("error"))]
            case _:
                return []  # the vendor adds types of events; unknown ones are to be ignored

    def end(self) -> list[Event]:
        """At the end of the bytes: an answer whose reason came is whole without `message_stop`."""
        if self.has_ended or not self.has_finished:
            return []
        self.has_ended = True
        return [Ended()]

    def _start(self, data: Mapping[str, Any]) -> list[Event]:
        message = data.get("message")
        if self._is_started:
            return []
        self._is_started = True
        if not isinstance(message, Mapping):
            return [Started("", Usage())]
        self._id = _string(message, "id")
        self._usage = read_usage(message.get("usage"))
        return [Started(self._id, self._usage)]

    def _block_start(self, data: Mapping[str, Any]) -> list[Event]:
        index, block = _index(data), data.get("content_block")
        if not isinstance(block, Mapping):
            return []
        kind = _string(block, "type")
        self._kinds[index] = kind
        match kind:
            case "tool_use":
                if not _string(block, "name"):
                    raise UpstreamProtocolError("The upstream host's answer calls a tool without a name.")
                call = self._calls[index] = len(self._calls)
                given = block.get("input")
                if isinstance(given, dict) and given:
                    self._given[index] = encode(given).decode()
                call_id = _string(block, "id") or made_up_id(self._id, call)
                return [ToolStarted(call, call_id, _string(block, "name"))]
            case "text":
                return [TextDelta(_string(block, "text"))] if _string(block, "text") else []
            case "thinking":
                self._signatures[index] = _string(block, "signature")
                return [ThinkingDelta(_string(block, "thinking"))] if _string(block, "thinking") else []
            case "redacted_thinking":
                return [RedactedThinkingSeen(_string(block, "data"))]
            case _:
                return []

    def _delta(self, data: Mapping[str, Any]) -> list[Event]:
        delta, index = data.get("delta"), _index(data)
        if not isinstance(delta, Mapping):
            return []
        match delta.get("type"):
            case "text_delta":
                return [TextDelta(text)] if (text := _string(delta, "text")) else []
            case "input_json_delta":
                part, call = _string(delta, "partial_json"), self._calls.get(index)
                if not part or call is None:
                    return []
                self._has_arguments.add(index)
                return [ToolDelta(call, part)]
            case "thinking_delta":
                return [ThinkingDelta(text)] if (text := _string(delta, "thinking")) else []
            case "signature_delta":
                self._signatures[index] = self._signatures.get(index, "") + _string(delta, "signature")
                return []
            case _:
                return []  # dropped: citations: chat completions know them for web addresses only

    def _block_stop(self, data: Mapping[str, Any]) -> list[Event]:
        index = _index(data)
        match self._kinds.pop(index, ""):
            case "thinking":
                return [ThinkingEnded(self._signatures.pop(index, ""))]
            case "tool_use":
                return self._end_call(index)
            case _:
                return []

    def _end_call(self, index: int) -> list[Event]:
        """A call without a delta has the arguments of its start, or none at all: `{}`."""
        if index in self._has_arguments:
            return []
        return [ToolDelta(self._calls[index], self._given.pop(index, "{}"))]

    def _message_delta(self, data: Mapping[str, Any]) -> list[Event]:
        events: list[Event] = []
        if data.get("usage") is not None:
            events.append(UsageSeen(read_usage(data["usage"], self._usage)))
        delta = data.get("delta")
        if isinstance(delta, Mapping) and delta.get("stop_reason") is not None and not self.has_finished:
            for index in [index for index, kind in self._kinds.items() if kind == "tool_use"]:
                del self._kinds[index]
                events += self._end_call(index)
            self.has_finished = True
            details = delta.get("stop_details")
            if isinstance(details, Mapping) and (explanation := _string(details, "explanation")):
                events.append(RefusalDelta(explanation))
            sequence = delta.get("stop_sequence")
            stop = read_stop(delta["stop_reason"], bool(self._calls))
            events.append(Finished(stop, sequence if isinstance(sequence, str) else None))
        return events


def read_failure(error: Any) -> Failed:
    """The `error` of an error event."""
    values = error if isinstance(error, Mapping) else {}
    return Failed(_string(values, "type"), _string(values, "message"))


def _index(data: Mapping[str, Any]) -> int:
    index = data.get("index")
    return index if isinstance(index, int) else -1

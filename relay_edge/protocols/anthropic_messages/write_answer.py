"""Canonical answer or events -> a message, whole or streamed (platform.claude.com/docs/en/build-with-claude/streaming,
read 2026-11).

A message's blocks follow one another, while another vendor's tool calls may grow side by side. So one call is open at a
time; what comes for later ones waits, within a bound, until the open one's arguments are a whole JSON object.
"""

from typing import Any

import msgspec

from relay_contract.errors import UpstreamProtocolError
from relay_edge.protocols.anthropic_messages.surface import PING
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
    ReplyContext,
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
from relay_edge.protocols.conversation import bare_id
from relay_edge.protocols.fields import encode, object_text
from relay_edge.protocols.notes import Notes
from relay_edge.protocols.sse import named_event

_REASONS = {
    Stop.END: "end_turn",
    Stop.SEQUENCE: "stop_sequence",
    Stop.LENGTH: "max_tokens",
    Stop.CONTEXT: "model_context_window_exceeded",
    Stop.TOOL_USE: "tool_use",
    Stop.REFUSAL: "refusal",
    Stop.PAUSE: "pause_turn",
    Stop.UNKNOWN: "end_turn",
}
MAX_WAITING_BYTES = 4 * 1024 * 1024


def reason_of(stop: Stop, notes: Notes) -> str:
    """The `stop_reason`."""
    if stop is Stop.UNKNOWN:
        notes.add("approximated", "stop_reason.unknown")
    return _REASONS[stop]


def answer_id(own: str, context: ReplyContext) -> str:
    """An id in this shape's form, by which the host's own can still be found."""
    return own if own.startswith("msg_") else f"msg_{bare_id(own or context.id)}"


def usage_of(usage: Usage) -> dict[str, Any]:
    """Anthropic's `input_tokens` excludes what was cached."""
    written: dict[str, Any] = {"input_tokens": usage.input_uncached or 0, "output_tokens": usage.output or 0}
    if usage.cache_read is not None:
        written["cache_read_input_tokens"] = usage.cache_read
    five, hour = usage.cache_write_5m, usage.cache_write_1h
    if five is not None or hour is not None:
        written["cache_creation_input_tokens"] = (five or 0) + (hour or 0)
        written["cache_creation"] = {"ephemeral_5m_input_tokens": five or 0, "ephemeral_1h_input_tokens": hour or 0}
    if usage.reasoning is not None:
        written["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return written


def write_answer(answer: Answer, context: ReplyContext, notes: Notes) -> bytes:
    """The whole document."""
    return encode(
        {
            "id": answer_id(answer.id, context),
            "type": "message",
            "role": "assistant",
            "model": context.model,
            "content": [_block(block) for block in answer.blocks],
            "stop_reason": reason_of(answer.stop, notes),
            "stop_sequence": answer.stop_sequence,
            "usage": usage_of(answer.usage),
        }
    )


def _block(block: Block) -> dict[str, Any]:
    match block:
        case Text(text) | Refusal(text):
            return {"type": "text", "text": text}
        case Thinking(text, signature):
            return {"type": "thinking", "thinking": text, "signature": signature}
        case RedactedThinking(data):
            return {"type": "redacted_thinking", "data": data}
        case ToolUse(call_id, name, arguments):
            return {"type": "tool_use", "id": call_id, "name": name, "input": msgspec.Raw(arguments.encode())}
        case _:
            raise UpstreamProtocolError("The upstream host's answer holds something that no model says.")


class _Waiting:
    """What comes after the open tool call: another call, or text."""

    __slots__ = ("call", "parts")

    def __init__(self, call: ToolStarted | None) -> None:
        self.call = call
        self.parts: list[str] = []


class StreamWriter:
    """Events -> events of a message. `write` raises UpstreamProtocolError for an order that no message can have."""

    __slots__ = (
        "_arguments", "_call", "_closed_calls", "_context", "_finished", "_index", "_is_done", "_is_started", "_notes",
        "_open", "_usage", "_waiting", "_waiting_bytes",
    )  # fmt: skip

    def __init__(self, context: ReplyContext, notes: Notes) -> None:
        self._context = context
        self._notes = notes
        self._index = -1
        self._open = ""  # kind of the open block: text, thinking, tool_use, or "" for none
        self._call = -1  # ordinal of the open tool call
        self._arguments: list[str] = []  # of the open tool call
        self._closed_calls: set[int] = set()
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._usage = Usage()
        self._finished: Finished | None = None
        self._is_started = self._is_done = False

    def write(self, event: Event) -> bytes:
        """What the caller gets for one event."""
        match event:
            case TextDelta(text) | RefusalDelta(text):
                return self._text(text)
            case ToolDelta(call, arguments):
                return self._tool_delta(call, arguments)
            case ThinkingDelta(text):
                return self._thinking(text)
            case ToolStarted():
                return self._tool_started(event)
            case ThinkingEnded(signature):
                return self._thinking_ended(signature)
            case RedactedThinkingSeen(data):
                start = self._started() + self._close() + self._start_block({"type": "redacted_thinking", "data": data})
                self._open = "redacted_thinking"
                return start + self._close()
            case Started(own_id, usage):
                self._usage = usage
                return self._started(own_id)
            case UsageSeen(usage):
                self._usage = self._usage.updated(usage)
                return b"" if self._finished is None else self._end()
            case Finished():
                self._finished = event
                return self._started() + self._close() + self._flush(is_all=True)
            case Pinged():
                return PING if self._is_started else b""
            case Ended():
                return self._end()
            case Failed():
                return b""  # whoever relays the stream ends it with an error

    def _started(self, own_id: str = "") -> bytes:
        if self._is_started:
            return b""
        self._is_started = True
        usage = self._usage
        if usage.input is None:  # clients show it while they wait; `message_delta` says what it really was
            usage = Usage(input_uncached=self._context.estimated_input_tokens, output=usage.output)
        message: dict[str, Any] = {
            "id": answer_id(own_id, self._context),
            "type": "message",
            "role": "assistant",
            "model": self._context.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of(usage),
        }
        return named_event("message_start", encode({"type": "message_start", "message": message}))

    def _start_block(self, block: dict[str, Any]) -> bytes:
        self._index += 1
        document = {"type": "content_block_start", "index": self._index, "content_block": block}
        return named_event("content_block_start", encode(document))

    def _in_block(self, kind: str, delta: dict[str, Any]) -> bytes:
        """A delta, in a block of its kind that is opened where none is."""
        start = b""
        if self._open != kind:
            block = (
                {"type": "text", "text": ""}
                if kind == "text"
                else {"type": "thinking", "thinking": "", "signature": ""}
            )
            start = self._close() + self._start_block(block)
            self._open = kind
        return start + self._delta(delta)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        document = {"type": "content_block_delta", "index": self._index, "delta": delta}
        return named_event("content_block_delta", encode(document))

    def _close(self) -> bytes:
        if not self._open:
            return b""
        if self._open == "tool_use":
            self._closed_calls.add(self._call)
            self._arguments.clear()
            self._call = -1
        self._open = ""
        return named_event("content_block_stop", encode({"type": "content_block_stop", "index": self._index}))

    def _text(self, text: str) -> bytes:
        if self._open == "tool_use" or self._waiting:
            if self._is_call_whole() and not self._waiting:
                return self._in_block("text", {"type": "text_delta", "text": text})
            return self._wait(None, text) + self._flush()
        return self._started() + self._in_block("text", {"type": "text_delta", "text": text})

    def _thinking(self, text: str) -> bytes:
        if self._is_call_open():
            return b""  # dropped: reasoning that goes on after a call began: no block can take it
        return self._started() + self._in_block("thinking", {"type": "thinking_delta", "thinking": text})

    def _thinking_ended(self, signature: str) -> bytes:
        start = self._started()
        if signature:
            if self._is_call_open():
                return b""  # dropped: reasoning that is signed after a call began: no block can take it
            start += self._in_block("thinking", {"type": "signature_delta", "signature": signature})
        return start + (self._close() if self._open == "thinking" else b"")

    def _tool_started(self, call: ToolStarted) -> bytes:
        if self._waiting or (self._open == "tool_use" and not self._is_call_whole()):
            self._waiting.append(_Waiting(call))
            return self._flush()
        return self._started() + self._open_call(call)

    def _open_call(self, call: ToolStarted) -> bytes:
        end = self._close()
        start = self._start_block({"type": "tool_use", "id": call.id, "name": call.name, "input": {}})
        self._open, self._call = "tool_use", call.call
        return end + start

    def _tool_delta(self, call: int, arguments: str) -> bytes:
        if call == self._call:
            self._arguments.append(arguments)
            written = self._delta({"type": "input_json_delta", "partial_json": arguments})
            return written + self._flush() if self._waiting else written
        if call in self._closed_calls:
            if arguments.strip():
                raise UpstreamProtocolError("The upstream host's answer adds to a tool call that was whole.")
            return b""
        return self._wait(call, arguments)

    def _wait(self, call: int | None, part: str) -> bytes:
        self._waiting_bytes += len(part)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            raise UpstreamProtocolError("The upstream host's answer mixes tool calls that are too large to hold.")
        for waiting in reversed(self._waiting):
            if (None if waiting.call is None else waiting.call.call) == call:
                waiting.parts.append(part)
                return b""
        if call is None:
            self._waiting.append(_Waiting(None))
            self._waiting[-1].parts.append(part)
        return b""

    def _is_call_open(self) -> bool:
        return bool(self._waiting) or (self._open == "tool_use" and not self._is_call_whole())

    def _is_call_whole(self) -> bool:
        return bool(self._arguments) and object_text("".join(self._arguments)) is not None

    def _flush(self, *, is_all: bool = False) -> bytes:
        """Blocks that waited, as long as nothing before them is still open."""
        written = b""
        while self._waiting and (is_all or self._open != "tool_use" or self._is_call_whole()):
            waiting = self._waiting.pop(0)
            text = "".join(waiting.parts)
            self._waiting_bytes -= len(text)
            if waiting.call is None:
                written += self._in_block("text", {"type": "text_delta", "text": text})
                continue
            written += self._open_call(waiting.call)
            if text:
                self._arguments.append(text)
                written += self._delta({"type": "input_json_delta", "partial_json": text})
        return written + (self._close() if is_all else b"")

    def _end(self) -> bytes:
        if self._is_done or self._finished is None:
            return b""
        self._is_done = True
        delta = {
            "stop_reason": reason_of(self._finished.stop, self._notes),
            "stop_sequence": self._finished.stop_sequence,
        }
        document = {"type": "message_delta", "delta": delta, "usage": usage_of(self._usage)}
        return named_event("message_delta", encode(document)) + named_event("message_stop", b'{"type":"message_stop"}')

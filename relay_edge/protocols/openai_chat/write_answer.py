"""Canonical answer or events -> a chat completion, whole or in chunks (platform.openai.com/docs/api-reference/chat,
read 2026-11).

Reasoning goes into `reasoning_content`, which most clients of this shape know; blocks with their signatures also go,
whole, into `thinking_blocks`, so that a caller who sends the message back sends them back.
"""

from typing import Any

from relay_edge.protocols.canonical import (
    Answer,
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
from relay_edge.protocols.fields import encode
from relay_edge.protocols.notes import Notes
from relay_edge.protocols.sse import comment

_REASONS = {
    Stop.END: "stop",
    Stop.SEQUENCE: "stop",
    Stop.LENGTH: "length",
    Stop.CONTEXT: "length",
    Stop.TOOL_USE: "tool_calls",
    Stop.REFUSAL: "content_filter",
    Stop.PAUSE: "stop",
    Stop.UNKNOWN: "stop",
}
DONE = b"data: [DONE]\n\n"


def reason_of(stop: Stop, notes: Notes) -> str:
    """The `finish_reason`; noted where the caller learns less than the host said."""
    if stop in (Stop.PAUSE, Stop.UNKNOWN, Stop.CONTEXT):
        notes.add("approximated", f"finish_reason.{stop.value}")
    return _REASONS[stop]


def answer_id(own: str, context: ReplyContext) -> str:
    """An id in this shape's form, by which the host's own can still be found."""
    return own if own.startswith("chatcmpl-") else f"chatcmpl-{bare_id(own or context.id)}"


def usage_of(usage: Usage) -> dict[str, Any]:
    """OpenAI's `prompt_tokens` includes what was cached."""
    prompt, completion = usage.input or 0, usage.output or 0
    written: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    details: dict[str, Any] = {}
    if usage.cache_read is not None:
        details["cached_tokens"] = usage.cache_read
    if usage.cache_write_5m is not None or usage.cache_write_1h is not None:
        details["cache_write_tokens"] = (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0)
        if usage.cache_write_1h:  # priced apart; gateways of this shape say it like this
            details["cache_creation_token_details"] = {
                "ephemeral_5m_input_tokens": usage.cache_write_5m or 0,
                "ephemeral_1h_input_tokens": usage.cache_write_1h,
            }
    if usage.audio_input is not None:
        details["audio_tokens"] = usage.audio_input
    if details:
        written["prompt_tokens_details"] = details
    made = {"reasoning_tokens": usage.reasoning, "audio_tokens": usage.audio_output}
    if said := {name: count for name, count in made.items() if count is not None}:
        written["completion_tokens_details"] = said
    return written


def write_answer(answer: Answer, context: ReplyContext, notes: Notes) -> bytes:
    """The whole document."""
    text = "".join(block.text for block in answer.blocks if isinstance(block, Text))
    refusal = "".join(block.text for block in answer.blocks if isinstance(block, Refusal))
    calls = [
        {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": block.arguments}}
        for block in answer.blocks
        if isinstance(block, ToolUse)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls or refusal else "")}
    message["refusal"] = refusal or None
    if thinking := "".join(block.text for block in answer.blocks if isinstance(block, Thinking)):
        message["reasoning_content"] = thinking
    if blocks := [written for block in answer.blocks if (written := _thinking_block(block)) is not None]:
        message["thinking_blocks"] = blocks
    if calls:
        message["tool_calls"] = calls
    choice: dict[str, Any] = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": reason_of(answer.stop, notes),
    }
    if answer.stop_sequence is not None:
        choice["stop_sequence"] = answer.stop_sequence
    return encode(
        {
            "id": answer_id(answer.id, context),
            "object": "chat.completion",
            "created": context.created,
            "model": context.model,
            "choices": [choice],
            "usage": usage_of(answer.usage),
        }
    )


def _thinking_block(block: object) -> dict[str, str] | None:
    match block:
        case Thinking(text, signature) if signature:
            return {"type": "thinking", "thinking": text, "signature": signature}
        case RedactedThinking(data):
            return {"type": "redacted_thinking", "data": data}
        case _:
            return None


class StreamWriter:
    """Events -> chunks."""

    __slots__ = (
        "_context", "_head", "_is_done", "_is_started", "_notes", "_thinking", "_thinking_blocks", "_usage",
    )  # fmt: skip

    def __init__(self, context: ReplyContext, notes: Notes) -> None:
        self._context = context
        self._notes = notes
        self._head = b""
        self._usage = Usage()
        self._thinking: list[str] = []  # of the open block: its signature goes out with the whole of it
        self._thinking_blocks = 0
        self._is_started = self._is_done = False

    def write(self, event: Event) -> bytes:
        """What the caller gets for one event."""
        match event:
            case TextDelta(text):
                return self._chunk({"content": text})
            case ToolDelta(call, arguments):
                return self._chunk({"tool_calls": [{"index": call, "function": {"arguments": arguments}}]})
            case ThinkingDelta(text):
                self._thinking.append(text)
                return self._chunk({"reasoning_content": text})
            case ToolStarted(call, call_id, name):
                function = {"name": name, "arguments": ""}
                started = {"index": call, "id": call_id, "type": "function", "function": function}
                return self._chunk({"tool_calls": [started]})
            case RefusalDelta(text):
                return self._chunk({"refusal": text})
            case ThinkingEnded(signature):
                text = "".join(self._thinking)
                self._thinking.clear()
                if not signature:
                    return b""
                return self._thinking_block({"type": "thinking", "thinking": text, "signature": signature})
            case RedactedThinkingSeen(data):
                return self._thinking_block({"type": "redacted_thinking", "data": data})
            case Started(own_id, usage):
                self._usage = usage
                return self._start(own_id)
            case UsageSeen(usage):
                self._usage = self._usage.updated(usage)
                return b""
            case Finished(stop, sequence):
                return self._finish(stop, sequence)
            case Pinged():
                return comment("ping")
            case Ended():
                return self._end()
            case Failed():
                return b""  # whoever relays the stream ends it with an error

    def _start(self, own_id: str) -> bytes:
        if self._is_started:
            return b""
        self._is_started = True
        common = {
            "id": answer_id(own_id, self._context),
            "object": "chat.completion.chunk",
            "created": self._context.created,
            "model": self._context.model,
        }
        self._head = b"data: " + encode(common)[:-1]
        return self._choice({"role": "assistant", "content": ""}, None)

    def _thinking_block(self, block: dict[str, str]) -> bytes:
        """A whole block. OpenAI's SDKs want an `index` in each member of a list that grows."""
        self._thinking_blocks += 1
        return self._chunk({"thinking_blocks": [{"index": self._thinking_blocks - 1, **block}]})

    def _chunk(self, delta: dict[str, Any]) -> bytes:
        start = b"" if self._is_started else self._start("")
        return start + self._choice(delta, None)

    def _choice(self, delta: dict[str, Any], reason: str | None, **further: str) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, **further}
        return b'%b,"choices":[%b]}\n\n' % (self._head, encode(choice))

    def _finish(self, stop: Stop, sequence: str | None) -> bytes:
        start = b"" if self._is_started else self._start("")
        further = {} if sequence is None else {"stop_sequence": sequence}
        return start + self._choice({}, reason_of(stop, self._notes), **further)

    def _end(self) -> bytes:
        if self._is_done:
            return b""
        self._is_done = True
        if not self._context.wants_usage:
            return DONE
        return b'%b,"choices":[],"usage":%b}\n\n%b' % (self._head, encode(usage_of(self._usage)), DONE)

"""A stream of chat completion chunks, watched (platform.openai.com/docs/api-reference/chat-streaming, read 2026-11).

What fits the types below is read with them; anything else goes to the translation's reader, which knows the habits of
hosts that are nearly compatible.
"""

from typing import Any

import msgspec

from relay_edge.protocols.event_watch import EventWatch
from relay_edge.protocols.fields import decode_object
from relay_edge.protocols.openai_chat.read_answer import StreamReader, read_failure, read_stop
from relay_edge.protocols.openai_chat.usage import read_usage
from relay_edge.protocols.sse import ServerSentEvent, data_event

_MAX_CHOICES = 128
"""`n` is at most 128."""


class _Function(msgspec.Struct, gc=False):
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    function: _Function | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # another name of it; hosts that send both repeat themselves
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None
    reasoning_details: Any = None
    thinking_blocks: Any = None
    audio: Any = None
    images: Any = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class ChatWatch(EventWatch):
    """See StreamWatch."""

    __slots__ = ("_begun", "_ended", "_hides_usage")

    closing = data_event(b"[DONE]")
    _read_usage = staticmethod(read_usage)

    def __init__(self, hides_usage: bool) -> None:
        """`hides_usage`: the caller did not ask for the chunk that holds nothing but usage."""
        super().__init__()
        self._hides_usage = hides_usage
        self._begun = self._ended = 0  # choices, a bit each

    def _read(self, payload: bytes, name: bytes) -> bool:
        chunk = _decode(payload)
        choices = chunk.choices
        if choices:
            for choice in choices:
                self._choose(choice)
        if chunk.error is not None:
            self._fail(read_failure(chunk.error))
        elif chunk.usage is not None:
            self._note_usage(read_usage(chunk.usage))
            return bool(choices) or not self._hides_usage
        elif choices is None:
            self._read_other(payload, name)
        return True

    def _read_other(self, payload: bytes, name: bytes) -> None:
        """Hosts that write an error without `error` (vLLM before 0.10 in its streams)."""
        document = decode_object(payload)
        if name == b"error" or document.get("object") == "error":
            self._fail(read_failure(document))

    def _read_loosely(self, payload: bytes, name: bytes) -> bool:
        if payload.strip() == b"[DONE]":
            self._end_mark()
            return True
        document = decode_object(payload)
        self._see(StreamReader().feed(ServerSentEvent(name.decode("utf-8", "replace"), payload)))
        return not (self._hides_usage and document.get("choices") == [] and document.get("usage") is not None)

    def _choose(self, choice: _Choice) -> None:
        bit = 1 << (choice.index or 0) % _MAX_CHOICES
        if not self._begun & bit:
            self._begun |= bit
            self.has_finished = False
        message = choice.delta or choice.message
        if message is not None:
            if text := message.content:
                self._deliver(text)
            if (
                message.tool_calls
                or message.reasoning_content
                or message.reasoning
                or message.refusal
                or message.function_call
                or message.reasoning_details
                or message.thinking_blocks
                or message.audio
                or message.images
            ):
                self._read_rest(message)
        if choice.finish_reason:
            self._finish(read_stop(choice.finish_reason, self._has_calls, self._has_refused))
            self._ended |= bit
            self.has_finished = self._ended == self._begun

    def _read_rest(self, message: _Message) -> None:
        """What is not plain text."""
        self._deliver(message.reasoning_content or message.reasoning or "")
        if message.refusal:
            self._has_refused = True
            self._deliver(message.refusal)
        for call in message.tool_calls or ():
            self._has_calls = True
            self._deliver((call.function and call.function.arguments) or "")
        if message.function_call is not None:
            self._has_calls = True
            self._deliver(message.function_call.arguments or "")

"""A stream of a message's events, watched (platform.claude.com/docs/en/build-with-claude/streaming, read 2026-11)."""

from typing import Any

import msgspec

from relay_edge.protocols.anthropic_messages.read_answer import StreamReader, read_failure, read_stop
from relay_edge.protocols.anthropic_messages.usage import read_usage
from relay_edge.protocols.event_watch import EventWatch
from relay_edge.protocols.fields import decode_object
from relay_edge.protocols.sse import ServerSentEvent, named_event


class _Delta(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None
    stop_reason: str | None = None


class _Block(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None


class _Message(msgspec.Struct, gc=False):
    """As it starts in a stream, or whole."""

    usage: Any = None
    stop_reason: str | None = None
    content: list[_Block] | None = None


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Event).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_PLAIN_DELTAS = ("text_delta", "thinking_delta", "input_json_delta", "signature_delta")
_PLAIN_BLOCKS = ("text", "thinking")


class MessagesWatch(EventWatch):
    """See StreamWatch."""

    __slots__ = ()

    closing = named_event("message_stop", b'{"type":"message_stop"}')
    _read_usage = staticmethod(read_usage)

    def __init__(self, _hides_usage: bool = False) -> None:
        """A message always says what was used; nothing is hidden."""
        super().__init__()

    def _read(self, payload: bytes, name: bytes) -> bool:
        event = _decode(payload)
        kind = event.type or name.decode("utf-8", "replace")
        match kind:
            case "content_block_delta":
                if event.delta is not None:
                    self._read_delta(event.delta)
            case "content_block_start":
                if event.content_block is not None:
                    self._read_block(event.content_block)
            case "message_start":
                if event.message is not None:
                    self._said = read_usage(event.message.usage)
            case "message_delta":
                if event.usage is not None:
                    self._note_usage(read_usage(event.usage, self._said))
                if event.delta is not None and event.delta.stop_reason:
                    self._finish(read_stop(event.delta.stop_reason, self._has_calls))
            case "message_stop":
                self._end_mark()
            case _ if kind == "error" or event.error is not None:
                self._fail(read_failure(event.error))
            case _:
                pass  # a ping, or what the vendor has added since
        return True

    def _read_loosely(self, payload: bytes, name: bytes) -> bool:
        decode_object(payload)
        self._see(StreamReader().feed(ServerSentEvent(name.decode("utf-8", "replace"), payload)))
        return True

    def _read_delta(self, delta: _Delta) -> None:
        text = delta.text or delta.thinking or delta.partial_json
        if text:
            self._deliver(text)
        elif delta.signature or delta.type not in _PLAIN_DELTAS:
            self.has_content = True

    def _read_block(self, block: _Block) -> None:
        if block.type == "tool_use":
            self._has_calls = True
        if text := block.text or block.thinking:
            self._deliver(text)
        elif block.type not in _PLAIN_BLOCKS:
            self.has_content = True

    def _read_whole(self, body: bytes) -> None:
        message = _decode_message(body)
        self._said = read_usage(message.usage)
        for block in message.content or ():
            self._read_block(block)
        if message.stop_reason:
            self._finish(read_stop(message.stop_reason, self._has_calls))

"""A fast fake vendor: OpenAI's chat completions and Anthropic's messages. `python -m bench.vendor --port N`

    whole      632 bytes of JSON with `usage`
    streamed   40 chunks of 207 bytes, 50 a second from the first on; the last one holds `usage` and [DONE]
    brief      the first of them and the last one alone; for a model whose name ends in `brief`
    idle       one such chunk, then silence until the caller hangs up; for a model whose name ends in `idle`
    ticking    one such chunk a second until the caller hangs up; for a model whose name ends in `ticking`
    messages   the same answers in Anthropic's shape, below /v1/messages

The body is searched, not parsed: `"stream":true` and the model's name must be spelt as the bench spells them.
"""

import argparse
import asyncio
from dataclasses import dataclass

from bench.http_server import Exchange, rendered, serve

JSON_ANSWER_BYTES = 632
CHUNKS = 40
CHUNK_BYTES = 207
CHUNK_SECONDS = 0.020
BRIEF_MODEL = b'-brief"'
IDLE_MODEL = b'-idle"'
TICKING_MODEL = b'-ticking"'
TICK_SECONDS = 1.0

_USAGE = b'"usage":{"prompt_tokens":210,"completion_tokens":80,"total_tokens":290}'
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _filled(before: bytes, after: bytes, size: int) -> bytes:
    """Both with as much text between them as makes `size` bytes."""
    text = b"the quick brown fox jumps over the lazy dog "
    missing = size - len(before) - len(after)
    return before + (text * (missing // len(text) + 1))[:missing] + after


ANSWER = _filled(
    b'{"id":"chatcmpl-bench","object":"chat.completion","created":1790000000,"model":"bench-upstream","choices":'
    b'[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"',
    b'"}}],' + _USAGE + b"}",
    JSON_ANSWER_BYTES,
)
_CHUNK_START = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1790000000,"model":"bench-upstream",'
)
CHUNK = _filled(_CHUNK_START + b'"choices":[{"index":0,"delta":{"content":"', b'"}}]}\n\n', CHUNK_BYTES)
LAST_CHUNK = _CHUNK_START + b'"choices":[],' + _USAGE + b"}\n\ndata: [DONE]\n\n"


MESSAGE = _filled(
    b'{"id":"msg_bench","type":"message","role":"assistant","model":"bench-upstream","content":[{"type":"text","text":"',
    b'"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":210,"output_tokens":80}}',
    JSON_ANSWER_BYTES,
)


def _event(kind: bytes, fields: bytes) -> bytes:
    return b'event: %b\ndata: {"type":"%b",%b}\n\n' % (kind, kind, fields)


MESSAGE_START = _event(
    b"message_start",
    b'"message":{"id":"msg_bench","type":"message","role":"assistant","model":"bench-upstream","content":[],'
    b'"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":210,"output_tokens":1}}',
) + _event(b"content_block_start", b'"index":0,"content_block":{"type":"text","text":""}')
MESSAGE_CHUNK = _filled(
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"',
    b'"}}\n\n',
    CHUNK_BYTES,
)
MESSAGE_END = (
    _event(b"content_block_stop", b'"index":0')
    + _event(b"message_delta", b'"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":80}')
    + b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)


def _framed(chunk: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(chunk), chunk)


@dataclass(frozen=True, slots=True)
class Shape:
    """An answer as it goes out, whole and in chunks."""

    whole: bytes
    first: bytes
    next: bytes
    last: bytes


CHAT = Shape(
    rendered("200 OK", "application/json", ANSWER),
    _STREAM_HEAD + _framed(CHUNK),
    _framed(CHUNK),
    _framed(LAST_CHUNK) + b"0\r\n\r\n",
)
MESSAGES = Shape(
    rendered("200 OK", "application/json", MESSAGE),
    _STREAM_HEAD + _framed(MESSAGE_START + MESSAGE_CHUNK),
    _framed(MESSAGE_CHUNK),
    _framed(MESSAGE_CHUNK + MESSAGE_END) + b"0\r\n\r\n",
)


class Vendor(Exchange):
    """One caller's connection."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._shape = CHAT

    def answer(self) -> None:
        self._shape = MESSAGES if self.path.endswith(b"/messages") else CHAT
        if b'"stream":true' not in self.body:
            self.transport.write(self._shape.whole)
            return
        self.transport.write(self._shape.first)
        self._due = self._loop.time()
        if TICKING_MODEL in self.body:
            self._tick()
        elif IDLE_MODEL not in self.body:
            self._schedule(1 if BRIEF_MODEL in self.body else CHUNKS - 1)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        if self._due < self._loop.time():
            self.transport.write(self._shape.next)
        self._due += TICK_SECONDS
        self._timer = self._loop.call_at(self._due, self._tick)

    def _schedule(self, left: int) -> None:
        self._due += CHUNK_SECONDS  # by the clock, so that lateness does not add up
        self._timer = self._loop.call_at(self._due, self._send, left)

    def _send(self, left: int) -> None:
        self.transport.write(self._shape.next if left > 1 else self._shape.last)
        if left > 1:
            self._schedule(left - 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A fast fake vendor for the bench.")
    parser.add_argument("--port", type=int, required=True)
    serve(Vendor, parser.parse_args().port)

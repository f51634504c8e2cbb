"""A fast fake vendor: OpenAI's chat completions, whole or streamed. `python -m bench.vendor --port N`

    whole      632 bytes of JSON with `usage`
    streamed   40 chunks of 207 bytes, 50 a second from the first on; the last one holds `usage` and [DONE]
    idle       one such chunk, then silence until the caller hangs up; for a model whose name holds `idle`

The body is searched, not parsed: `"stream":true` and the model's name must be spelt as the bench spells them.
"""

import argparse
import asyncio

from bench.http_server import Exchange, rendered, serve

JSON_ANSWER_BYTES = 632
CHUNKS = 40
CHUNK_BYTES = 207
CHUNK_SECONDS = 0.020
IDLE_MODEL = b'-idle"'

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


def _framed(chunk: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(chunk), chunk)


_WHOLE = rendered("200 OK", "application/json", ANSWER)
_FIRST = _STREAM_HEAD + _framed(CHUNK)
_NEXT = _framed(CHUNK)
_LAST = _framed(LAST_CHUNK) + b"0\r\n\r\n"


class Vendor(Exchange):
    """One caller's connection."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def answer(self) -> None:
        if b'"stream":true' not in self.body:
            self.transport.write(_WHOLE)
            return
        self.transport.write(_FIRST)
        if IDLE_MODEL not in self.body:
            self._due = self._loop.time()
            self._schedule(CHUNKS - 1)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self, left: int) -> None:
        self._due += CHUNK_SECONDS  # by the clock, so that lateness does not add up
        self._timer = self._loop.call_at(self._due, self._send, left)

    def _send(self, left: int) -> None:
        self.transport.write(_NEXT if left > 1 else _LAST)
        if left > 1:
            self._schedule(left - 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A fast fake vendor for the bench.")
    parser.add_argument("--port", type=int, required=True)
    serve(Vendor, parser.parse_args().port)

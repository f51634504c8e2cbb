"""A vendor that misbehaves as it is told: the faults of FailoverBench's sixteen scenarios, on a real port.

A fault is an answer like any other (`tests/edge/vendor.py`); a script is a list of them, one for each call, the last
one repeated. Nothing here sleeps: what is slow or silent waits until the edge closes the connection.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from relay_contract.nouns import WireShape
from relay_edge.protocols.sse import EventReader
from tests.edge.vendor import Answer, Vendor, VendorCall, Wire

OPENAI, ANTHROPIC = WireShape.OPENAI_CHAT, WireShape.ANTHROPIC_MESSAGES
TEXT = "one two three"
SSE_HEAD = ("content-type: text/event-stream", "transfer-encoding: chunked")


@dataclass(frozen=True)
class Said:
    """An answer in a vendor's shape, in the pieces that faults fall between."""

    whole: bytes
    greeting: bytes  # no content in it
    words: tuple[bytes, bytes, bytes]
    finish: bytes
    usage: bytes  # what comes after the reason
    end: bytes

    @property
    def stream(self) -> bytes:
        return self.greeting + b"".join(self.words) + self.finish + self.usage + self.end


def data(document: Any, name: str = "") -> bytes:
    """An event."""
    return (f"event: {name}\n" if name else "").encode() + b"data: %b\n\n" % json.dumps(document).encode()


def chunk(*choices: Any, **fields: Any) -> bytes:
    """A chunk of a chat completion."""
    return data({"id": "c-1", "object": "chat.completion.chunk", "model": "gpt-x", "choices": [*choices], **fields})


def event(kind: str, **fields: Any) -> bytes:
    """An event of a message."""
    return data({"type": kind, **fields}, kind)


CHAT_USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
SAID = {
    OPENAI: Said(
        whole=json.dumps({
            "id": "c-1", "object": "chat.completion", "model": "gpt-x", "usage": CHAT_USAGE,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
        }).encode(),
        greeting=chunk({"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}),
        words=tuple(
            chunk({"index": 0, "delta": {"content": word}, "finish_reason": None}) for word in ("one ", "two ", "three")
        ),  # type: ignore[arg-type]  # three
        finish=chunk({"index": 0, "delta": {}, "finish_reason": "stop"}),
        usage=chunk(usage=CHAT_USAGE),
        end=b"data: [DONE]\n\n",
    ),
    ANTHROPIC: Said(
        whole=json.dumps({
            "id": "m-1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": TEXT}], "usage": {"input_tokens": 11, "output_tokens": 3},
        }).encode(),
        greeting=event("message_start", message={
            "id": "m-1", "type": "message", "role": "assistant", "model": "claude-x", "content": [],
            "stop_reason": None, "usage": {"input_tokens": 11, "output_tokens": 1},
        }) + event("content_block_start", index=0, content_block={"type": "text", "text": ""}) + event("ping"),
        words=tuple(
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
            for word in ("one ", "two ", "three")
        ),  # type: ignore[arg-type]  # three
        finish=event("content_block_stop", index=0)
        + event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3}),
        usage=b"",
        end=event("message_stop"),
    ),
}  # fmt: skip

REFUSALS: dict[str, dict[WireShape, tuple[int, str, str]]] = {
    "context": {
        OPENAI: (400, "context_length_exceeded", "maximum context length is 8192 tokens"),
        ANTHROPIC: (400, "invalid_request_error", "prompt is too long: 9000 tokens > 8192 maximum"),
    },
    "filter": {OPENAI: (400, "content_filter", "The prompt was filtered.")},
    "prefill": {
        OPENAI: (400, "invalid_request_error", "A trailing assistant turn is not supported."),
        ANTHROPIC: (400, "invalid_request_error", "This model does not support assistant message prefill."),
    },
    "quota": {
        OPENAI: (429, "insufficient_quota", "You exceeded your current quota."),
        ANTHROPIC: (402, "billing_error", "Your credit balance is too low."),
    },
}


def error_body(shape: WireShape, kind: str, message: str) -> bytes:
    """An error as the vendor writes it."""
    if shape is ANTHROPIC:
        error = {"type": kind, "message": message}
        return json.dumps({"type": "error", "error": error, "request_id": "req_1"}).encode()
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": kind}}).encode()


def text_of(shape: WireShape, stream: bytes) -> str:
    """The words of a stream or of a whole answer, as a caller of this shape reads them. An error in it fails."""
    if not stream.startswith((b"data:", b"event:")):
        document = json.loads(stream)
        if shape is ANTHROPIC:
            return "".join(block["text"] for block in document["content"])
        return str(document["choices"][0]["message"]["content"])
    reader = EventReader()
    words = []
    for found in (*reader.feed(stream), *reader.end()):
        if found.data == b"[DONE]":
            continue
        document = json.loads(found.data)
        assert "error" not in document, document
        if shape is ANTHROPIC:
            words.append(document.get("delta", {}).get("text", ""))
        else:
            words += [choice["delta"].get("content") or "" for choice in document["choices"]]
    return "".join(words)


Fault = Callable[[Said, WireShape, VendorCall, Wire], Awaitable[None]]


async def healthy(said: Said, _shape: WireShape, call: VendorCall, wire: Wire) -> None:
    """A whole answer, streamed when it was asked for."""
    if not call.json.get("stream"):
        await wire.answer(said.whole)
        return
    await wire.head(200, *SSE_HEAD)
    await wire.chunk(said.stream)
    await wire.send(b"0\r\n\r\n")


def status(number: int, *lines: str, kind: str = "some_error") -> Fault:
    """An error answer."""

    async def answer(_said: Said, shape: WireShape, _call: VendorCall, wire: Wire) -> None:
        await wire.answer(error_body(shape, kind, "no"), number, *lines)

    return answer


def refusal(name: str) -> Fault:
    """An error answer of REFUSALS."""

    async def answer(_said: Said, shape: WireShape, _call: VendorCall, wire: Wire) -> None:
        number, kind, message = REFUSALS[name][shape]
        await wire.answer(error_body(shape, kind, message), number)

    return answer


async def reset(_said: Said, _shape: WireShape, _call: VendorCall, wire: Wire) -> None:
    """The connection is reset before a byte of an answer."""
    wire.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.writer.transport.abort()


async def silent(_said: Said, _shape: WireShape, _call: VendorCall, wire: Wire) -> None:
    """Never answers."""
    assert await wire.closed_by_edge(20)


async def slow_to_speak(said: Said, _shape: WireShape, _call: VendorCall, wire: Wire) -> None:
    """Greets at once, and has nothing to say."""
    await wire.head(200, *SSE_HEAD)
    await wire.chunk(said.greeting)
    assert await wire.closed_by_edge(20)


def streaming(*pieces: str | bytes | asyncio.Event, then: str = "end") -> Fault:
    """These pieces of the answer (bytes as they are, an event is waited for), and then: the body's `end`, a `cut`
    connection, or a `stall`."""

    async def answer(said: Said, _shape: WireShape, _call: VendorCall, wire: Wire) -> None:
        await wire.head(200, *SSE_HEAD)
        for piece in pieces:
            if isinstance(piece, asyncio.Event):
                await piece.wait()
                continue
            found = getattr(said, piece) if isinstance(piece, str) else piece
            await wire.chunk(b"".join(found) if isinstance(found, tuple) else found)
        match then:
            case "end":
                await wire.send(b"0\r\n\r\n")
            case "cut":
                wire.close()
            case _:
                assert await wire.closed_by_edge(20)

    return answer


def failing(*pieces: str | asyncio.Event, kind: str = "overloaded_error") -> Fault:
    """A stream that reports an error after these pieces."""

    async def answer(said: Said, shape: WireShape, call: VendorCall, wire: Wire) -> None:
        body = error_body(shape, kind, "sk-vendor-1 is out of luck")
        last = b"event: error\ndata: %b\n\n" % body if shape is ANTHROPIC else b"data: %b\n\n" % body
        await streaming(*pieces, last)(said, shape, call, wire)

    return answer


async def cut_whole(said: Said, _shape: WireShape, _call: VendorCall, wire: Wire) -> None:
    """Half of a JSON body."""
    await wire.head(200, "content-type: application/json", f"content-length: {len(said.whole)}")
    await wire.send(said.whole[: len(said.whole) // 2])
    wire.close()


GARBLED = b'data: {"id": "c-1", "choices": [{"del\n\n'


def fault_vendor(shape: WireShape, *script: Fault, **fields: Any) -> Vendor:
    """A vendor whose calls come to these, one after the other; the last one is repeated."""
    left = list(script) or [healthy]

    async def answer(call: VendorCall, wire: Wire) -> None:
        fault = left.pop(0) if len(left) > 1 else left[0]
        await fault(SAID[shape], shape, call, wire)

    answering: Answer = answer
    return Vendor(shape, answer=answering, **fields)

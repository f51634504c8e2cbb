"""A vendor on a real port, for the edge to call. It answers as it is told, and a malformed call fails the test.

Each connection is served by hand, so that a test can cut, stall or garble an answer at any byte. `async with
Vendor(...)` raises at its end when any call was not what the wire shape asks for, or carried anything of the caller's
it must not see.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from relay_contract.nouns import WireShape

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-x",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 1},
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_763_000_000,
    "status": "completed",
    "model": "gpt-x",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "hello", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 1,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 4,
    },
}
CONTENT = {
    "candidates": [{"content": {"parts": [{"text": "hello"}], "role": "model"}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4},
    "modelVersion": "gemini-x",
    "responseId": "resp1",
}
ANSWERS = {
    WireShape.OPENAI_CHAT: CHAT,
    WireShape.OPENAI_RESPONSES: RESPONSE,
    WireShape.ANTHROPIC_MESSAGES: MESSAGE,
    WireShape.GEMINI: CONTENT,
}
CALLERS = (WireShape.OPENAI_CHAT, WireShape.OPENAI_RESPONSES, WireShape.ANTHROPIC_MESSAGES)  # shapes that callers speak
PATHS = {
    WireShape.OPENAI_CHAT: "/v1/chat/completions",
    WireShape.OPENAI_RESPONSES: "/v1/responses",
    WireShape.ANTHROPIC_MESSAGES: "/v1/messages",
}
GEMINI_PATHS = ("/v1/models/gpt-x:generateContent", "/v1/models/gpt-x:streamGenerateContent?alt=sse")
CREDENTIALS = {WireShape.ANTHROPIC_MESSAGES: "x-api-key", WireShape.GEMINI: "x-goog-api-key"}

FORBIDDEN = {"cookie", "connection", "transfer-encoding", "te", "upgrade", "expect", "proxy-authorization", "x-secret"}


@dataclass
class VendorCall:
    """One request as it came."""

    method: str
    path: str
    headers: list[tuple[str, str]]  # names in lower case
    body: bytes
    connection: int  # counts the vendor's connections from 1

    def header(self, name: str) -> str | None:
        """The one value of a header; more than one is malformed."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} was sent {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Wire:
    """The vendor's side of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Writes bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        """Writes one chunk."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def head(self, status: int = 200, *lines: str) -> None:
        """Writes a status line and header lines."""
        await self.send("\r\n".join((f"HTTP/1.1 {status} Whatever", *lines, "", "")).encode())

    async def answer(self, body: bytes, status: int = 200, *lines: str) -> None:
        """Writes a whole JSON answer."""
        await self.head(status, "content-type: application/json", f"content-length: {len(body)}", *lines)
        await self.send(body)

    def close(self) -> None:
        """Closes after what was written."""
        self.writer.close()

    async def closed_by_edge(self, seconds: float = 1.0) -> bool:
        """Whether the edge closes its side within the time."""
        try:
            async with asyncio.timeout(seconds):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False


Answer = Callable[[VendorCall, Wire], Awaitable[None]]


class Malformed(Exception):
    """What a real vendor would have refused, or must never be sent."""


@dataclass
class Vendor:
    """Serves until the `async with` ends. `keys`: the host keys it knows."""

    shape: WireShape = WireShape.OPENAI_CHAT
    keys: tuple[str, ...] = ("sk-vendor-1", "sk-vendor-2", "sk-vendor-3")
    answer: Answer | None = None
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    path: str = ""  # "": the one of its shape
    takes: str = "application/json"  # how the content type of a call begins
    calls: list[VendorCall] = field(default_factory=list)
    problems: list[BaseException] = field(default_factory=list)
    connections: int = 0
    closed_connections: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/v1"

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._connected, self.host, self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if kind is None:
            assert self.problems == []

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        wire = Wire(reader, writer)
        try:
            while (call := await self._read(reader, number)) is not None:
                self.calls.append(call)
                self._check(call)
                await (self.answer or self.standard)(call, wire)
                if writer.is_closing():
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass  # the edge went away, or the test is over
        except Exception as problem:  # noqa: BLE001  # whatever it is fails the test at its end
            self.problems.append(problem)
        finally:
            self.closed_connections += 1
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError, ssl.SSLError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader, number: int) -> VendorCall | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise Malformed("a cut head") from error
            return None
        request_line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        method, path, version = request_line.split(" ")
        if version != "HTTP/1.1":
            raise Malformed(request_line)
        headers = []
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip() or "\n" in line or "\r" in line:
                raise Malformed(repr(line))
            headers.append((name.lower(), value.strip()))
        lengths = [value for name, value in headers if name == "content-length"]
        if len(lengths) != 1 and (lengths or method == "POST"):
            raise Malformed(f"{len(lengths)} content lengths")
        body = await reader.readexactly(int(lengths[0])) if lengths else b""
        return VendorCall(method, path, headers, body, number)

    def _check(self, call: VendorCall) -> None:
        names = {name for name, _ in call.headers}
        expected = CREDENTIALS.get(self.shape, "authorization")
        key = (call.header(expected) or "").removeprefix("Bearer ")
        other = {"x-api-key", "x-goog-api-key", "authorization"} - {expected}
        is_gemini = self.shape is WireShape.GEMINI
        wrong = {
            "method": call.method != "POST",
            "path": call.path not in (GEMINI_PATHS if is_gemini else (self.path or PATHS[self.shape],)),
            "credential": key not in self.keys or bool(other & names),
            "host": call.header("host") != self.url.split("//")[1].removesuffix("/v1"),
            "content-type": not (call.header("content-type") or "").startswith(self.takes),
            "accept-encoding": call.header("accept-encoding") != "identity",
            "user-agent": not call.header("user-agent"),
            "version": self.shape is WireShape.ANTHROPIC_MESSAGES and not call.header("anthropic-version"),
            "forbidden header": bool(names & FORBIDDEN),
            "relay key": any("rk_" in value for _, value in call.headers),
            "body": self.takes == "application/json"
            and (not call.json.get("contents") if is_gemini else not isinstance(call.json.get("model"), str)),
        }
        if found := [what for what, is_wrong in wrong.items() if is_wrong]:
            raise Malformed(f"{found}: {call}")

    async def standard(self, call: VendorCall, wire: Wire) -> None:
        """What the vendor answers when nothing else was asked for."""
        if call.body and (call.json.get("stream") or call.path.endswith("alt=sse")):
            await wire.head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
            for event in STREAMS[self.shape]:
                await wire.chunk(event)
            await wire.send(b"0\r\n\r\n")
        else:
            await wire.answer(json.dumps(ANSWERS[self.shape]).encode())


STREAMS = {
    WireShape.OPENAI_CHAT: [
        b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"hel"}}]}\n\n',
        b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"lo"}}]}\n\n',
        b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        b"data: [DONE]\n\n",
    ],
    WireShape.OPENAI_RESPONSES: [
        (
            b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_1"}}\n\n'
            b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","item_id":"msg_1",'
            b'"output_index":0,"content_index":0,"delta":"hel"}\n\n'
        ),
        (
            b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","item_id":"msg_1",'
            b'"output_index":0,"content_index":0,"delta":"lo"}\n\n'
        ),
        (
            b"event: response.completed\n"
            b'data: {"type":"response.completed","response":%b}\n\n' % json.dumps(RESPONSE).encode()
        ),
    ],
    WireShape.ANTHROPIC_MESSAGES: [
        (
            b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message",'
            b'"role":"assistant","model":"claude-x","content":[],"stop_reason":null,"stop_sequence":null,'
            b'"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'
            b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
            b'"content_block":{"type":"text","text":""}}\n\n'
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
            b'"delta":{"type":"text_delta","text":"hel"}}\n\n'
        ),
        (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
            b'"delta":{"type":"text_delta","text":"lo"}}\n\n'
        ),
        (
            b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
            b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn",'
            b'"stop_sequence":null},"usage":{"output_tokens":1}}\n\n'
        ),
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ],
    WireShape.GEMINI: [
        b'data: {"candidates":[{"content":{"parts":[{"text":"hel"}],"role":"model"}}],"responseId":"r"}\r\n\r\n',
        (
            b'data: {"candidates":[{"content":{"parts":[{"text":"lo"}],"role":"model"},"finishReason":"STOP",'
            b'"index":0}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":1},"responseId":"r"}\r\n\r\n'
        ),
    ],
}
"""Each piece is one write of the vendor's; the first has the first content in it."""

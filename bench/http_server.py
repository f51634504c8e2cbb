"""The smallest HTTP/1.1 server that keeps connections alive, for the bench's own fake vendor and receiver.

`asyncio.Protocol` with httptools, no task and no object per call: about 6 us a request, so that what stands behind the
product is never what is measured. It trusts its caller, and bounds nothing: loopback only.
"""

import asyncio
import signal
from collections.abc import Callable
from typing import cast

import httptools
import uvloop


class Exchange(asyncio.Protocol):
    """One connection. A subclass answers in `answer`, and reads `path`, `headers` and `body`."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.path = b""
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self._parser = httptools.HttpRequestParser(self)

    def answer(self) -> None:
        """Write the whole answer to `transport`, now or later."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in shape only

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.headers = {}
        self.body = b""

    def on_url(self, url: bytes) -> None:
        self.path = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self.body = self.body + body if self.body else body

    def on_message_complete(self) -> None:
        self.answer()


def rendered(status: str, content_type: str, body: bytes) -> bytes:
    """A whole answer, e.g. `rendered("200 OK", "application/json", b"{}")`."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def serve(exchange: Callable[[], asyncio.Protocol], port: int) -> None:
    """Serve on loopback until SIGTERM or SIGINT."""

    async def until_told() -> None:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        server = await loop.create_server(exchange, "127.0.0.1", port, backlog=4096)
        await told.wait()
        server.close()

    uvloop.run(until_told())

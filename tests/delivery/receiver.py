"""A target on a real port, by hand on asyncio streams, so that it can also answer what no HTTP server would."""

import asyncio
import socket
import ssl
import struct
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Received:
    """One call as it arrived."""

    path: str
    lines: tuple[str, ...]  # header lines, as sent
    headers: Mapping[str, str]  # names in lower case
    body: bytes


def status(code: int, *headers: str, body: bytes = b"") -> Behaviour:
    """A plain answer."""
    lines = "".join(f"{line}\r\n" for line in (f"Content-Length: {len(body)}", *headers))
    return raw(f"HTTP/1.1 {code} Whatever\r\n{lines}\r\n".encode() + body)


def raw(answer: bytes) -> Behaviour:
    """These bytes, and the connection stays open."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return write


def then_close(answer: bytes) -> Behaviour:
    """These bytes, then the end."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    return write


async def reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of an answer."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def drip(writer: asyncio.StreamWriter) -> None:
    """200, then one byte after the other for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    while not writer.is_closing():
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.01)


async def flood(writer: asyncio.StreamWriter) -> None:
    """200, then as much as the other side takes."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x" * 65_536)
        await writer.drain()


class Receiver:
    """`plans[path]` are behaviours for the next calls, the last for all that follow; 200 without any.

    `held` paths do not answer before `release`.
    """

    def __init__(self) -> None:
        self.calls: list[Received] = []
        self.connections = 0
        self.plans: defaultdict[str, list[Behaviour]] = defaultdict(list)
        self._held: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    async def start(self, tls: ssl.SSLContext | None = None, greeting: bytes = b"") -> Self:
        """`greeting` is what a connection hears before it has said anything."""
        self._greeting = greeting
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls, limit=1 << 25)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        return self

    async def close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hold(self, path: str) -> None:
        self._held[path] = asyncio.Event()

    def release(self, path: str) -> None:
        self._held.pop(path).set()

    def at(self, path: str) -> list[Received]:
        """The calls to a path, oldest first."""
        return [call for call in self.calls if call.path == path]

    async def until(self, path: str, count: int) -> list[Received]:
        """Wait until a path was called so often."""
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: len(self.at(path)) >= count)
        return self.at(path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        writer.write(self._greeting)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                await self._answer(await self._read(reader), writer)
        writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Received:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("utf-8")
        start, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        method, path, _ = start.split(" ")
        assert method == "POST"
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        assert len(headers) == len(lines), f"a header came twice: {lines}"
        body = await reader.readexactly(int(headers["content-length"]))
        return Received(path, tuple(lines), headers, body)

    async def _answer(self, call: Received, writer: asyncio.StreamWriter) -> None:
        async with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
        held = self._held.get(call.path)
        if held is not None:
            await held.wait()
        plan = self.plans[call.path]
        behaviour = status(200) if not plan else plan.pop(0) if len(plan) > 1 else plan[0]
        await behaviour(writer)

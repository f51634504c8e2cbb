"""A TCP relay in front of a server that can be taken away and put back."""

import asyncio
from urllib.parse import urlsplit


class Proxy:
    """In front of the Postgres of a URL; `url` leads through it."""

    def __init__(self, url: str, target: tuple[str, int], port: int) -> None:
        self.url, self._target, self._port = url, target, port
        self._server: asyncio.Server | None = None
        self._passes = asyncio.Event()
        self._passes.set()
        self._writers: set[asyncio.StreamWriter] = set()

    @classmethod
    async def start(cls, database_url: str) -> "Proxy":
        parts = urlsplit(database_url)
        assert parts.hostname is not None
        assert parts.port is not None
        proxy = cls("", (parts.hostname, parts.port), 0)
        await proxy.open()
        proxy.url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy._port}").geturl()
        return proxy

    def freeze(self) -> None:
        """From now on nothing passes, and nobody is told: a server that hangs, a network that swallows packets."""
        self._passes.clear()

    def thaw(self) -> None:
        """New data passes again."""
        self._passes.set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, upstream_writer}
        try:
            await asyncio.gather(self._pump(reader, upstream_writer), self._pump(upstream_reader, writer))
        finally:
            self._writers -= {writer, upstream_writer}
            writer.close()
            upstream_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                await self._passes.wait()
                if writer.transport.is_closing():  # the other pump, or `close`, ended it meanwhile
                    break
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

"""One pipelined connection to Redis: commands go out packed, replies come back in order, nobody waits in a task.

By hand on hiredis' reader, because redis-py's connection object costs 6 to 8 us more a call and a reading task. Its URL
parser is used, so a URL means here what it means everywhere else. What this never does: retry, reconnect, or hold a
command; `admission.py` decides what a lost connection means.
"""

import asyncio
import select
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis
from redis.asyncio.connection import parse_url

from relay_edge.charges import command

CONNECT_SECONDS = 2.0

Reply = object
"""What hiredis makes of a reply: int, bytes, list, None, or a `hiredis.ReplyError` as a value."""

_NOTHING = object()


class RedisLost(ConnectionError):
    """The connection is gone, or could not be made. The text never holds the URL."""


class RedisLink(asyncio.Protocol):
    """An open connection. `on_read` is called after each portion of replies, `on_lost` once, `on_message` with what is
    published on a channel that the connection is subscribed to."""

    def __init__(
        self,
        on_read: Callable[[], None],
        on_lost: Callable[["RedisLink"], None],
        on_message: Callable[[bytes], None] | None = None,
    ) -> None:
        self._on_read = on_read
        self._on_message = on_message
        self._on_lost = on_lost
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._expected: deque[Callable[[Reply], None] | None] = deque()
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether commands may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def has_unread(self) -> bool:
        """Whether bytes have arrived that the loop had no time to read yet. A system call."""
        sock = None if self._transport is None else self._transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def send(self, packed: bytes, replies: Sequence[Callable[[Reply], None] | None]) -> None:
        """Writes packed commands; `replies` has one entry for each: who takes its reply, or None to drop it."""
        assert self._transport is not None
        self._expected.extend(replies)
        self._transport.write(packed)

    async def call(self, *arguments: bytes) -> Reply:
        """One command, for what is not hot. Raises RedisLost, or the server's own error."""
        if not self.is_open:
            raise RedisLost("not connected")
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def resolve(reply: Reply) -> None:
            if not answered.done():
                answered.set_result(reply)

        self.send(command(*arguments), [resolve])
        reply = await answered
        if isinstance(reply, Exception):
            raise reply
        return reply

    def close(self) -> None:
        """Closes at once; replies still expected are lost."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own classes have its methods

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _NOTHING:
                if self._on_message is not None and isinstance(reply, list) and reply[:1] == [b"message"]:
                    self._on_message(reply[2])
                    continue
                resolve = self._expected.popleft()
                if resolve is not None:
                    resolve(reply)
        except (hiredis.ProtocolError, IndexError):  # not Redis, or a reply that nobody asked for
            self.close()
            return
        self._on_read()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None
        lost = RedisLost("connection lost")
        while self._expected:
            resolve = self._expected.popleft()
            if resolve is not None:
                resolve(lost)
        self._on_lost(self)


async def connect(
    url: str,
    on_read: Callable[[], None],
    on_lost: Callable[[RedisLink], None],
    on_message: Callable[[bytes], None] | None = None,
) -> RedisLink:
    """Opens, authenticates and selects the database. Raises OSError (RedisLost included), TimeoutError, ReplyError."""
    options = cast("dict[str, Any]", parse_url(url))  # values of a URL's query are of any type
    async with asyncio.timeout(CONNECT_SECONDS):
        link = await _open(options, url, lambda: RedisLink(on_read, on_lost, on_message))
        try:
            await _greet(link, options)
        except BaseException:
            link.close()
            raise
    return link


async def _open(options: dict[str, Any], url: str, make: Callable[[], RedisLink]) -> RedisLink:
    loop = asyncio.get_running_loop()
    if "path" in options:
        _, link = await loop.create_unix_connection(make, str(options["path"]))
        return link
    tls = ssl.create_default_context(cafile=options.get("ssl_ca_certs")) if url.startswith("rediss:") else None
    transport, link = await loop.create_connection(
        make, str(options.get("host", "localhost")), int(options.get("port", 6379)), ssl=tls
    )
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


async def _greet(link: RedisLink, options: dict[str, Any]) -> None:
    password, username = options.get("password"), options.get("username")
    if password is not None:
        names = [] if username is None else [str(username).encode()]
        await link.call(b"AUTH", *names, str(password).encode())
    if options.get("db"):
        await link.call(b"SELECT", str(options["db"]).encode())

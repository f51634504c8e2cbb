"""What one turn of the loop writes leaves together and in order, and never on a connection that closed meanwhile."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from relay_edge.turn_writes import TurnWrites


class Peer:
    """A transport of the running loop, and the socket at the other end of its connection."""

    def __init__(self, transport: asyncio.Transport, end: socket.socket) -> None:
        self.transport = transport
        self.end = end

    async def read(self, length: int) -> bytes:
        """So many bytes, or fewer where the connection ends."""
        gathered = b""
        while len(gathered) < length:
            more = await asyncio.get_running_loop().sock_recv(self.end, length - len(gathered))
            if not more:
                break
            gathered += more
        return gathered


@asynccontextmanager
async def connected() -> AsyncIterator[Peer]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    with theirs:
        try:
            yield Peer(transport, theirs)
        finally:
            transport.abort()
            await asyncio.sleep(0)


async def test_writes_of_a_turn_leave_in_order_before_what_is_scheduled_later() -> None:
    loop = asyncio.get_running_loop()
    async with connected() as one, connected() as other:
        writes = TurnWrites(loop)
        writes.write(one.transport, b"first ")
        writes.write(other.transport, b"other")
        writes.write(one.transport, b"second ")
        loop.call_soon(one.transport.write, b"third")
        assert await one.read(18) == b"first second third"
        assert await other.read(5) == b"other"
        writes.write(one.transport, b"next turn")
        assert await one.read(9) == b"next turn"


async def test_a_connection_that_closed_meanwhile_takes_nothing_from_the_others() -> None:
    async with connected() as closed, connected() as living:
        writes = TurnWrites(asyncio.get_running_loop())
        writes.write(closed.transport, b"lost")
        closed.transport.abort()
        writes.write(living.transport, b"kept")
        assert await living.read(4) == b"kept"
        assert await closed.read(1) == b""

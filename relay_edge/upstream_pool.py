"""Kept connections to each upstream origin: one is taken, a fresh one is made, or the caller waits for its turn.
An origin that nobody uses is forgotten, and made anew when it is used again.

Bounded everywhere: connections of an origin, callers waiting for one, and the time either takes. A kept connection that
the host closed before it saw the request is replaced once, silently; nothing else is retried here (`attempts.py` does).
"""

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass, field

from relay_contract.client_certificates import client_context
from relay_contract.errors import AddressForbidden, UpstreamConnectError, UpstreamError, UpstreamTimeout
from relay_edge.deadlines import DeadlineWheel
from relay_edge.resolve import Resolver, is_literal
from relay_edge.turn_writes import TurnWrites
from relay_edge.upstream import Failure, Receiver, Timeouts, UpstreamConnection


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """PEM: a certificate with its chain, and its private key."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Per origin and process."""

    connections: int = 4_000
    waiting: int = 2_000
    answer_bytes: int = 1024 * 1024 * 1024
    idle_seconds: float = 50.0
    """Common load balancers close an idle connection after 60 s; closing first loses fewer requests."""
    unused_seconds: float = 600.0
    """After which an origin without a connection is forgotten."""


def client_tls(cadata: str | None = None, client: ClientCertificate | None = None) -> ssl.SSLContext:
    """Verifies certificate and name, TLS 1.2 or newer, HTTP/1.1 by ALPN. `cadata` (PEM) adds to the system's roots;
    `client` is shown to who asks for a certificate. Raises CertificateError where OpenSSL does not take that one."""
    context = ssl.create_default_context() if client is None else client_context(client.certificate, client.key)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if cadata is not None:
        context.load_verify_locations(cadata=cadata)
    return context


class Origin:
    """Connections to one scheme, host and port, with one side's certificates."""

    __slots__ = (
        "_idle", "_limits", "_loop", "_open", "_pool", "_waiting", "host", "is_forgotten", "port", "scheme", "tls",
        "used_at",
    )  # fmt: skip

    def __init__(
        self, pool: "UpstreamPool", scheme: str, host: str, port: int, tls: ssl.SSLContext | None = None
    ) -> None:
        """`tls`: None for the pool's own."""
        self.scheme, self.host, self.port, self.tls = scheme, host, port, tls
        self.used_at = pool.loop.time()
        self.is_forgotten = False
        self._pool = pool
        self._loop = pool.loop
        self._limits = pool.limits
        self._idle: dict[UpstreamConnection, None] = {}  # the last used one last
        self._waiting: deque[asyncio.Future[UpstreamConnection | None]] = deque()
        self._open = 0  # connections, and places of those being made

    async def exchange(self, request: bytes, receiver: Receiver, timeouts: Timeouts) -> Failure | None:
        """Sends a request and hands its answer to the receiver. None: a whole answer, or one that it refused.

        Never raises an UpstreamError: it comes as a Failure. Cancelled, it closes the connection at once.
        """
        if self.is_forgotten:  # whoever keeps it for long need not know
            origin = self._pool.origin(self.scheme, self.host, self.port, self.tls)
            return await origin.exchange(request, receiver, timeouts)
        self.used_at = self._loop.time()
        connection = self._take_idle()
        if connection is None:
            try:
                connection = await self._acquire(timeouts)
            except UpstreamError as error:
                return Failure(error)
        failure = await self._run(connection, request, receiver, timeouts)
        if failure is not None and failure.is_stale:
            try:
                connection = await self._acquire(timeouts)
            except UpstreamError as error:
                return Failure(error)
            failure = await self._run(connection, request, receiver, timeouts)
        return failure

    async def _run(
        self, connection: UpstreamConnection, request: bytes, receiver: Receiver, timeouts: Timeouts
    ) -> Failure | None:
        ended = connection.start(request, receiver, timeouts, self._loop)
        try:
            return await ended
        except asyncio.CancelledError:
            connection.cancel()
            raise

    def counts(self) -> tuple[int, int, int]:
        """Open connections, idle ones among them, callers waiting."""
        return self._open, len(self._idle), len(self._waiting)

    def _take_idle(self) -> UpstreamConnection | None:
        while self._idle:
            connection, _ = self._idle.popitem()  # the last used is the least likely to be closed by the host
            if connection.is_usable():
                return connection
        return None

    async def _acquire(self, timeouts: Timeouts) -> UpstreamConnection:
        """A fresh connection where there is room for one, else the first that comes free."""
        try:
            async with asyncio.timeout(timeouts.connect):
                while True:
                    if self._open < self._limits.connections:
                        self._open += 1
                        return await self._connect(timeouts.connect)
                    kept = self._take_idle() or await self._wait()
                    if kept is None:
                        return await self._connect(timeouts.connect)
                    if kept.is_usable():
                        return kept
        except TimeoutError:
            self._pool.resolver.forget(self.host)
            raise UpstreamTimeout("The upstream host could not be reached in time.") from None

    async def _wait(self) -> UpstreamConnection | None:
        """A connection that was given back, or None with a free place held for the caller."""
        if len(self._waiting) >= self._limits.waiting:
            raise UpstreamConnectError("Too many calls wait for a connection to the upstream host.")
        turn: asyncio.Future[UpstreamConnection | None] = self._loop.create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the turn came in the moment of leaving: pass it on
                self._pass_on(turn.result())
            else:
                self._waiting.remove(turn)
            raise

    def _pass_on(self, connection: UpstreamConnection | None) -> None:
        if connection is not None:
            if connection.is_usable():
                self._released(connection, True)
            return  # else its end frees the place
        self._free_place()

    async def _connect(self, connect_seconds: float) -> UpstreamConnection:
        """A new connection on a place that the caller holds; from here on the connection holds it, until it ends."""
        try:
            connection = await self._open_socket(connect_seconds)
        except BaseException:
            self._free_place()
            raise
        if not connection.is_usable():  # it was closed before we came back to it, and gave no place back
            self._free_place()
            raise UpstreamConnectError
        connection.holds_place = True
        return connection

    async def _open_socket(self, connect_seconds: float) -> UpstreamConnection:
        addresses = await self._pool.resolver.addresses(self.host)
        last = len(addresses) - 1
        for turn, address in enumerate(addresses):
            if not self._pool.resolver.allowed_address(address):
                raise AddressForbidden
            try:
                # An address that swallows packets must leave time for the next one.
                async with asyncio.timeout(None if turn == last else connect_seconds / (len(addresses) - turn + 1)):
                    return await self._connect_to(address)
            except (OSError, TimeoutError) as error:
                if turn == last:
                    self._pool.resolver.forget(self.host)
                    raise _connect_error(error) from error
        raise AssertionError("a resolver's answer is never empty")

    async def _connect_to(self, address: str) -> UpstreamConnection:
        is_tls = self.scheme == "https"
        _, connection = await self._loop.create_connection(
            self._new_connection,
            address,
            self.port,
            ssl=(self.tls or self._pool.tls) if is_tls else None,
            server_hostname=(self.host if not is_literal(self.host) else address) if is_tls else None,
        )
        return connection

    def _new_connection(self) -> UpstreamConnection:
        return UpstreamConnection(self._pool.wheel, self._pool.writes, self._released, self._limits.answer_bytes)

    def _released(self, connection: UpstreamConnection, is_reusable: bool) -> None:
        """From the connection: an exchange ended and left it usable, or it is closed."""
        if not is_reusable:
            self._idle.pop(connection, None)
            if connection.holds_place:
                self._free_place()
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        connection.keep_idle(self._limits.idle_seconds)
        self._idle[connection] = None

    def _free_place(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._open -= 1

    def close(self) -> None:
        """Closes idle connections; busy ones end with their callers."""
        while self._idle:
            self._idle.popitem()[0].close()


class UpstreamPool:
    """Every origin of the process."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wheel: DeadlineWheel,
        resolver: Resolver,
        tls: ssl.SSLContext,
        limits: PoolLimits | None = None,
    ) -> None:
        self.loop = loop
        self.wheel = wheel
        self.resolver = resolver
        self.tls = tls
        self.limits = limits or PoolLimits()
        self.writes = TurnWrites(loop)
        self._origins: dict[tuple[str, str, int, ssl.SSLContext | None], Origin] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def origin(self, scheme: str, host: str, port: int, tls: ssl.SSLContext | None = None) -> Origin:
        """The origin's connections; may be kept for as long as one likes. `tls`, where it is not the pool's own, has
        connections of its own: none is ever shared across certificates."""
        key = (scheme, host, port, tls)
        found = self._origins.get(key)
        if found is None:
            found = self._origins[key] = Origin(self, scheme, host, port, tls)
            self._sweep_later()
        return found

    def forget(self, unused_seconds: float) -> int:
        """Forgets origins that have no connection, nobody waiting for one, and were not used for so long; how many."""
        before = self.loop.time() - unused_seconds
        unused = [
            (key, origin)
            for key, origin in self._origins.items()
            if origin.used_at <= before and origin.counts() == (0, 0, 0)
        ]
        for key, origin in unused:
            origin.is_forgotten = True
            del self._origins[key]
        return len(unused)

    def _sweep_later(self) -> None:
        if self._sweep is None and self._origins:
            self._sweep = self.loop.call_later(self.limits.unused_seconds, self._sweep_now)

    def _sweep_now(self) -> None:
        self._sweep = None
        self.forget(self.limits.unused_seconds)
        self._sweep_later()

    def counts(self) -> tuple[int, int, int]:
        """Open connections, idle ones among them, and waiting callers, over all origins."""
        each = [origin.counts() for origin in self._origins.values()]
        return sum(c[0] for c in each), sum(c[1] for c in each), sum(c[2] for c in each)

    async def close(self) -> None:
        """Closes what is idle and stops asking for names."""
        if self._sweep is not None:
            self._sweep.cancel()
        for origin in self._origins.values():
            origin.close()
        await self.resolver.close()


def _connect_error(error: BaseException) -> UpstreamError:
    """Public words for why no connection came about; the cause stays attached for the log."""
    match error:
        case TimeoutError():
            return UpstreamTimeout("The upstream host could not be reached in time.")
        case ssl.SSLCertVerificationError():
            return UpstreamConnectError("The upstream host's certificate is not valid for its name.")
        case ssl.SSLError():
            return UpstreamConnectError("The upstream host could not agree on TLS.")
        case _:
            return UpstreamConnectError()

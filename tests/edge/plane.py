"""An inference plane on a real port, over a catalog made of nouns, and a caller that speaks HTTP by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any

from aiohttp import web

from relay_contract import nouns
from relay_contract.nouns import Noun
from relay_contract.sealing import Sealer
from relay_edge.admission import Admission
from relay_edge.auth import Authenticator
from relay_edge.call_record import CallRecord
from relay_edge.catalog.holder import Catalog
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.claims import Claims
from relay_edge.deadlines import DeadlineWheel
from relay_edge.door import Door
from relay_edge.idempotency import Idempotency
from relay_edge.inference import Inference
from relay_edge.metrics import Metrics
from relay_edge.protocols.anthropic_messages import AllowedBetas
from relay_edge.resolve import Resolver
from relay_edge.token_callers import TokenCallers
from relay_edge.upstream_pool import PoolLimits, UpstreamPool, client_tls
from relay_edge.vendor_routes import VendorRoutes
from tests.edge.conftest import default_tls
from tests.edge.nouns import (
    BINDING,
    HOST,
    HOST_KEY,
    MODEL,
    POLICY,
    PROJECT,
    RELAY_KEY,
    TOKEN,
)
from tests.edge.vendor import Vendor

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
SEALER = Sealer(b"\x07" * 32)
MAX_BODY_BYTES = 100_000
AUTHORIZED = f"Authorization: Bearer {TOKEN.token}"


def host_key(number: int, host_id: int = 1, value: str | None = None) -> nouns.HostKey:
    """A host's key, sealed; the vendor knows sk-vendor-1 to 3."""
    sealed = SEALER.seal(value or f"sk-vendor-{number}", nouns.host_key_binding(number))
    return replace(
        HOST_KEY, id=nouns.HostKeyId(number), host_id=nouns.HostId(host_id), name=f"key {number}", sealed_value=sealed
    )


def catalog_of(*vendors: Vendor, keys: int = 1, **host_changes: int) -> list[Noun]:
    """A catalog in which `demo-gpt` is bound to each of these vendors in turn, with `keys` keys each."""
    rows: list[Noun] = [POLICY, PROJECT, RELAY_KEY, MODEL]
    for place, vendor in enumerate(vendors):
        host_id = nouns.HostId(place + 1)
        rows.append(
            replace(HOST, id=host_id, slug=f"vendor-{host_id}", base_url=vendor.url, **host_changes)  # type: ignore[arg-type]  # timeouts
        )
        rows += [host_key(place * keys + number + 1, host_id) for number in range(keys)]
        rows.append(
            replace(
                BINDING,
                id=nouns.HostBindingId(host_id),
                host_id=host_id,
                wire_shape=vendor.shape,
                priority=place,
            )
        )
    return rows


@dataclass
class Plane:
    """What runs, for tests to look into."""

    port: int
    catalog: Catalog
    admission: Admission
    pool: UpstreamPool
    wheel: DeadlineWheel
    metrics: Metrics
    inference: Inference
    claims: Claims
    served: list[CallRecord] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)

    def swap(self, rows: list[Noun]) -> None:
        """Another catalog from now on."""
        self.catalog.swap(Snapshot.build(rows))

    async def caller(self) -> Caller:
        """A connection to the plane."""
        caller = Caller(*await asyncio.open_connection("127.0.0.1", self.port))
        self.callers.append(caller)
        return caller

    async def post(self, document: object, *lines: str, path: str = "/v1/chat/completions") -> Answer:
        """One call on a connection of its own, with the key."""
        caller = await self.caller()
        await caller.post(document, AUTHORIZED, *lines, path=path)
        answer = await caller.answer()
        await caller.close()
        return answer


@asynccontextmanager
async def running_plane(
    rows: list[Noun] | None,
    *,
    redis_url: str = "redis://127.0.0.1:1/0",
    body_seconds: float = 5.0,
    ping_seconds: float = 15.0,
    betas: str = "default",
    limits: PoolLimits | None = None,
    cadata: str | None = None,
    allowed: Any = LOOPBACK,
    before: Callable[[Metrics], None] | None = None,
    tokens: TokenCallers | None = None,
    **claiming: Any,
) -> AsyncIterator[Plane]:
    """A plane over these rows; None: no snapshot yet. At its end no call and no lease may be left. `claiming`: as in
    Claims."""
    loop = asyncio.get_running_loop()
    catalog = Catalog(SEALER)
    if rows is not None:
        catalog.swap(Snapshot.build(rows))
    wheel, metrics = DeadlineWheel(loop), Metrics()
    pool = UpstreamPool(loop, wheel, Resolver(allowed), default_tls() if cadata is None else client_tls(cadata), limits)
    admission = Admission(redis_url, wheel, metrics)
    await admission.start()
    served: list[CallRecord] = []
    authenticator = Authenticator(tokens=tokens)
    claims = Claims(admission.queue, SEALER, metrics, **claiming)
    inference = Inference(
        catalog, authenticator, admission, pool, metrics, idempotency=Idempotency(claims),
        max_body_bytes=MAX_BODY_BYTES, body_seconds=body_seconds, ping_seconds=ping_seconds,
        betas=AllowedBetas(betas), on_served=served.append,
    )  # fmt: skip

    routes = VendorRoutes(catalog, authenticator, inference, metrics)

    async def dispatch(request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        handler = routes.PATHS.get(path) or routes.below(path)
        assert handler is not None, path
        return await handler(request)

    door = Door(dispatch, metrics.surfaces["other"])
    listening = await loop.create_server(door, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    plane = Plane(port, catalog, admission, pool, wheel, metrics, inference, claims, served)
    try:
        yield plane
    finally:
        for caller in plane.callers:
            await caller.close()
        listening.close()
        await door.drain(1)
        await admission.close()
        await pool.close()
        wheel.close()
    assert admission.in_flight == 0
    assert metrics.surfaces["inference"].in_flight.value == 0


@dataclass
class Answer:
    """A response as a strict reader sees it. `is_whole`: its framing says that nothing is missing."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool
    closes: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Caller:
    """A caller that speaks HTTP by hand."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def post(
        self, document: object, *lines: str, path: str = "/v1/chat/completions", version: str = "1.1"
    ) -> None:
        """A call; `document` is JSON, or bytes as they are."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        head = (f"POST {path} HTTP/{version}", "Host: relay", f"Content-Length: {len(body)}", *lines, "", "")
        await self.send("\r\n".join(head).encode() + body)

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers; a header that comes twice fails."""
        status_line, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        version, status, _ = status_line.split(" ", 2)
        assert version == "HTTP/1.1"
        pairs = [tuple(line.split(": ", 1)) for line in lines]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs), lines
        return int(status), headers

    async def answer(self, method: str = "POST") -> Answer:
        """A whole response, read strictly."""
        async with asyncio.timeout(20):
            status, headers = await self.head()
            closes = headers.get("connection") == "close"
            if method == "HEAD" or status in (204, 304):
                return Answer(status, headers, b"", True, closes)
            if "transfer-encoding" in headers:
                assert headers["transfer-encoding"] == "chunked"
                assert "content-length" not in headers
                body, is_whole = await self.chunks()
            elif "content-length" in headers:
                wanted = int(headers["content-length"])
                try:
                    body, is_whole = await self.reader.readexactly(wanted), True
                except asyncio.IncompleteReadError as cut:
                    body, is_whole = cut.partial, False
            else:
                assert closes
                body, is_whole = await self.reader.read(), True
            return Answer(status, headers, body, is_whole, closes)

    async def chunks(self) -> tuple[bytes, bool]:
        """A chunked body, and whether it came to its end."""
        body = b""
        try:
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                body += await self.reader.readexactly(size)
                assert await self.reader.readexactly(2) == b"\r\n"
            assert await self.reader.readexactly(2) == b"\r\n"
        except asyncio.IncompleteReadError:
            return body, False
        return body, True

    async def is_closed(self) -> bool:
        """Whether the edge has closed, and sent nothing more before."""
        async with asyncio.timeout(5):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True

    async def close(self) -> None:
        """Closes."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

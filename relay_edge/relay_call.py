"""One call to a relay endpoint: filled step by step by whoever knows (`endpoints.py` has the order), read by all."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from aiohttp import web

from relay_contract.errors import EndpointNotFound, Unauthenticated
from relay_contract.nouns import KeyMode, Project, RelayKey
from relay_edge.addresses import EndpointAddress
from relay_edge.call_record import LEFT
from relay_edge.catalog.snapshot import EndpointRoute, Snapshot
from relay_edge.charges import ChargeSet
from relay_edge.prepared import Prepared
from relay_edge.purses import PurseSet

ASYNC: Final = "async"
"""The mode of a call that is answered as soon as it is committed. Others are the response target's (`fan_out.py`)."""

NOT_JSON: Final = object()
"""What `RelayCall.document` gives for a body that is no JSON, or too much of it."""
MOST_VALUES: Final = 250_000
"""In a body that is read as JSON. 16 MiB of `[],` are 5 million lists, which stop the process for a second and more."""

_SMALL_BYTES: Final = MOST_VALUES

_decode = msgspec.json.Decoder().decode
_UNREAD: Final = object()


@dataclass(slots=True)  # a frozen one costs 2 us more
class RelayCaller:
    """Who calls, as far as an endpoint cares."""

    project: Project
    key: RelayKey | None  # None: recognised by a signature
    mode: KeyMode
    charges: ChargeSet
    purses: PurseSet


class CallKey(NamedTuple):
    """What is to be done once: the caller's Idempotency-Key, and which call came with it."""

    key: str
    body_hash: bytes


class RelayEnd(NamedTuple):
    """What is told of a call when it is over. Nothing of it holds the body."""

    request_id: UUID
    received_at: datetime
    relay_key_id: int | None
    project: str  # slugs; "" where it is not known
    line: str
    endpoint: str
    mode: str  # "" for a call that was not accepted
    status: int
    error: str
    targets: int
    bytes_in: int
    bytes_out: int
    client_ip: str
    seconds: float


@dataclass(slots=True, eq=False, repr=False)
class RelayCall:
    """From its head on."""

    request_id: UUID
    request: web.BaseRequest
    snapshot: Snapshot
    address: EndpointAddress | None  # None: the path has no form that an endpoint's has
    found: EndpointRoute | None  # the endpoint of that address, whoever's it is
    client_ip: str
    started: float  # time.monotonic()
    received_at: datetime
    identified: RelayCaller | None = None  # None: nobody was recognised
    prepared: Prepared = field(init=False)  # once the caller may use the endpoint
    hops: int = 0  # relays that the call came through
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)  # that reach targets, names in lower case
    content_type: str = ""
    event_type: str = ""
    key: CallKey | None = None
    mode: str = ""
    is_accepted: bool = False  # its rows are committed
    target_count: int = 0
    generation: int | None = None  # of the purses that let it in
    charge: int = 0  # micro-credits of its committed deliveries
    status: int = LEFT  # as the caller saw it
    error: str = ""  # code of the error, or ""
    bytes_out: int = 0  # of an answer that a target gave
    ended: float = 0.0
    _document: object = field(default=_UNREAD, init=False)

    @property
    def route(self) -> EndpointRoute:
        """The endpoint. Raises EndpointNotFound where there is none."""
        if self.found is None:
            raise EndpointNotFound
        return self.found

    @property
    def caller(self) -> RelayCaller:
        """Who calls. Raises Unauthenticated while nobody was recognised."""
        if self.identified is None:
            raise Unauthenticated
        return self.identified

    def document(self) -> object:
        """The body's JSON, read once, or NOT_JSON. About 6 us for a kilobyte: only for who needs it."""
        if self._document is _UNREAD:
            try:
                self._document = _decode(self.body) if _has_bounded_values(self.body) else NOT_JSON
            except (ValueError, RecursionError):  # msgspec's own errors are ValueErrors
                self._document = NOT_JSON
        return self._document

    def end(self) -> RelayEnd:
        """What is told of it; `ended` is set by then."""
        found, identified = self.found, self.identified
        key = None if identified is None else identified.key
        return RelayEnd(
            self.request_id,
            self.received_at,
            None if key is None else key.id,
            "" if identified is None else identified.project.slug,
            "" if found is None else found.line.slug,
            "" if found is None else found.endpoint.slug,
            self.mode,
            self.status,
            self.error,
            self.target_count,
            len(self.body),
            self.bytes_out,
            self.client_ip,
            self.ended - self.started,
        )


def _has_bounded_values(body: bytes) -> bool:
    """Whether a body is cheap to read. Every value but the first follows one of three characters; those inside texts
    count too, which is the price of not reading it. 1 ms for 3 MB."""
    return len(body) <= _SMALL_BYTES or body.count(b",") + body.count(b"[") + body.count(b"{") <= MOST_VALUES

"""Relay endpoints: authenticates, reads the body, commits it for every target, answers 202.

The order of refusals tells a stranger nothing: first the key (401, 403), then whether the address exists (404) and is
the key's own project's (403), then the method (405), size and time of the body (413, 408), headers (400), limits (429).
A 202 was committed in Postgres before it was sent; whatever cannot be committed is a 503.

I/O per call: one coalesced Redis call where limits apply, one share in a group commit.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from aiohttp import web
from multidict import CIMultiDictProxy

from relay_contract import headers
from relay_contract.credits import MICRO, units
from relay_contract.errors import (
    BadHeader,
    BodyTimeout,
    BodyTooLarge,
    EndpointNotFound,
    InternalFault,
    MethodNotAllowed,
    RelayError,
    ShuttingDown,
    Unavailable,
    WrongProject,
)
from relay_contract.ids import uuid7
from relay_contract.intake import (
    EXPIRE_SECONDS,
    DeliveryRow,
    DeliveryState,
    Origin,
    PayloadRow,
    RequestRow,
    shard_of,
)
from relay_contract.logs import log_fields
from relay_contract.nouns import DeliveryMode, Scope
from relay_edge.addresses import EndpointAddress
from relay_edge.admission import Admission
from relay_edge.auth import Authenticator, Caller
from relay_edge.body import BODY_SECONDS, read_body
from relay_edge.catalog.holder import Catalog
from relay_edge.catalog.snapshot import EndpointRoute, Snapshot
from relay_edge.charges import Charge
from relay_edge.error_shapes import ErrorShape
from relay_edge.intake import Accepted, Intake
from relay_edge.metrics import Metrics
from relay_edge.reply import MAX_REQUEST_ID_LENGTH, send, send_error

logger = logging.getLogger(__name__)

MAX_CONTENT_TYPE_LENGTH = 255
CONTENT_TYPE = "content-type"
CALLER_LEFT = 499
"""What a caller who left before the answer counts as."""

_VALUE = re.compile(r"[\t\x20-\x7e]*")
"""RFC 9110 section 5.5 without obs-text: targets do not agree how to decode it, so it is refused and not altered."""

MAX_PATH_LENGTH = 512
MAX_QUERY_LENGTH = 2_048
_PENDING = DeliveryState.PENDING.value
_ASYNC = DeliveryMode.ASYNC.value


def stored_headers(sent: CIMultiDictProxy[str]) -> dict[str, str]:
    """The caller's headers that reach targets, names in lower case, repeated ones joined (RFC 9110 section 5.3).

    What `Connection` names ends here too (section 7.6.1); the content type has a column of its own. Raises BadHeader
    for a value that HTTP does not allow, too many headers, or too many bytes of them.
    """
    kept: dict[str, str] = {}
    size_bytes = 0
    withheld = {CONTENT_TYPE, *(name.strip().lower() for name in sent.get("connection", "").split(","))}
    for raw_name, value in sent.items():
        name = raw_name.lower()
        if name in withheld or not headers.reaches_targets(name):
            continue
        if not _VALUE.fullmatch(value):
            raise BadHeader(f"The header {name[:64]} holds characters that cannot be sent on. Use printable ASCII.")
        size_bytes += len(name) + len(value)
        kept[name] = f"{kept[name]}, {value}" if name in kept else value
    if len(kept) > headers.MAX_STORED_HEADERS or size_bytes > headers.MAX_STORED_HEADER_BYTES:
        raise BadHeader(
            f"At most {headers.MAX_STORED_HEADERS} headers of {headers.MAX_STORED_HEADER_BYTES} bytes in all travel on"
            " to the targets. Leave some out."
        )
    return kept


def content_type_of(sent: Mapping[str, str]) -> str:
    """The content type as sent, "" when there is none. Raises BadHeader."""
    value = sent.get(CONTENT_TYPE, "")
    if len(value) > MAX_CONTENT_TYPE_LENGTH or not _VALUE.fullmatch(value):
        raise BadHeader(
            f"The content type is longer than {MAX_CONTENT_TYPE_LENGTH} characters, or not printable ASCII."
        )
    return value


def caller_request_id_of(sent: Mapping[str, str]) -> str:
    """x-request-id where it is short and printable, else ""."""
    value = sent.get(headers.REQUEST_ID, "")
    return value if len(value) <= MAX_REQUEST_ID_LENGTH and value.isascii() and value.isprintable() else ""


def find_route(snapshot: Snapshot, address: EndpointAddress | None, caller: Caller) -> EndpointRoute:
    """The endpoint, for a caller who may use it. Raises EndpointNotFound or WrongProject."""
    if address is None:
        raise EndpointNotFound
    project = snapshot.project_by_slug(address.project)
    if project is None:
        raise EndpointNotFound
    if project.id != caller.project.id:
        raise WrongProject
    route = snapshot.endpoint(*address)
    if route is None:
        raise EndpointNotFound
    return route


def accepted_rows(
    request_id: UUID,
    caller: Caller,
    route: EndpointRoute,
    *,
    body: bytes,
    request: web.BaseRequest,
    client_ip: str,
    now: datetime,
    accept_us: int,
) -> Accepted:
    """What is stored of a call. Raises BadHeader."""
    sent = request.headers
    row = RequestRow(
        id=request_id,
        project_id=caller.project.id,
        line_id=route.line.id,
        endpoint_id=route.endpoint.id,
        relay_key_id=caller.key.id,
        mode=str(caller.key.mode),
        origin=Origin.CALLER.value,
        received_at=now,
        revision=0,
        method=request.method,
        path=request.rel_url.raw_path[:MAX_PATH_LENGTH],
        query=request.rel_url.raw_query_string[:MAX_QUERY_LENGTH],
        event_type="",
        caller_request_id=caller_request_id_of(sent),
        client_ip=client_ip,
        content_type=content_type_of(sent),
        headers=json.dumps(stored_headers(sent)),
        body_bytes=len(body),
        target_count=len(route.targets),
        filtered_count=0,
        status=202,
        error="",
        idempotency_key="",
        accept_us=accept_us,
    )
    size = units(len(body))
    deliveries = tuple(
        DeliveryRow(
            id=uuid7(),
            request_id=request_id,
            project_id=caller.project.id,
            target_id=target.id,
            shard=shard_of(target.id),
            mode=_ASYNC,
            is_shadow=False,
            is_compared=False,
            key_mode=row.mode,
            state=_PENDING,
            revision=row.revision,
            created_at=now,
            expire_seconds=EXPIRE_SECONDS,
            ordering_key=None,
            body_bytes=len(body),
            credits=size * MICRO,
            relay_key_id=caller.key.id,
            units=size,
        )
        for target in route.targets
    )
    return Accepted(row, PayloadRow(request_id, now, body), deliveries)


def _charges(snapshot: Snapshot, route: EndpointRoute) -> tuple[Charge, ...]:
    """The endpoint's own limit, beside those of the caller."""
    if route.endpoint.rate_limit_id is None:
        return ()
    limit = snapshot.rate_limit(route.endpoint.rate_limit_id)
    return () if limit is None or not limit.rules else (Charge("endpoint", route.endpoint.id, limit),)


class Endpoints:
    """The handler, for aiohttp's low-level server."""

    def __init__(
        self,
        catalog: Catalog,
        authenticator: Authenticator,
        admission: Admission,
        intake: Intake,
        metrics: Metrics,
        *,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._catalog = catalog
        self._authenticator = authenticator
        self._admission = admission
        self._intake = intake
        self._metrics = metrics.surfaces["relay"]
        self._body_seconds = body_seconds

    async def handle(self, request: web.BaseRequest, address: EndpointAddress | None) -> web.StreamResponse:
        """Answers a call to an endpoint; `address` None: the path has no form that an endpoint's has."""
        started = time.monotonic()
        request_id = uuid7()
        metrics = self._metrics
        metrics.in_flight.value += 1
        status = CALLER_LEFT
        try:
            await self._accept(request, address, request_id, started)
            status = 202
            text = str(request_id)
            return send(
                request,
                status,
                b'{"status":"queued","requestId":"%b"}' % text.encode(),
                lines=((headers.REQUEST_ID, text), (headers.DURABILITY, headers.DURABILITY_COMMITTED)),
            )
        except RelayError as error:
            status = error.status
            return self._refuse(request, error, request_id)
        except asyncio.CancelledError:
            metrics.disconnects.value += 1
            raise
        except Exception:
            logger.exception("relay_failed", extra=log_fields(request_id=str(request_id)))
            status = InternalFault.status
            return self._refuse(request, InternalFault(), request_id)
        finally:
            metrics.in_flight.value -= 1
            metrics.done(status, time.monotonic() - started)

    def _refuse(self, request: web.BaseRequest, error: RelayError, request_id: UUID) -> web.StreamResponse:
        has_unread_body = isinstance(error, BodyTooLarge | BodyTimeout)
        answer = send_error(request, error, ErrorShape.RELAY, str(request_id), allow="POST", close=has_unread_body)
        if isinstance(error, BodyTimeout) and request.transport is not None:
            request.transport.close()  # after the answer; who is this slow is not waited for again
        return answer

    async def _accept(
        self, request: web.BaseRequest, address: EndpointAddress | None, request_id: UUID, started: float
    ) -> None:
        snapshot = self._catalog.snapshot
        if snapshot is None:
            raise Unavailable(retry_after_seconds=1)
        caller = self._authenticator.authenticate(snapshot, request.headers, Scope.RELAY, time.time())
        route = find_route(snapshot, address, caller)
        if request.method != "POST":
            raise MethodNotAllowed
        if self._intake.is_closing:
            raise ShuttingDown(retry_after_seconds=1)
        body = await read_body(request, route.endpoint.max_body_bytes, self._body_seconds)
        client_ip = request.remote or "0.0.0.0"  # noqa: S104 - a caller who has gone; the answer reaches nobody
        rows = accepted_rows(
            request_id,
            caller,
            route,
            body=body,
            request=request,
            client_ip=client_ip,
            now=datetime.now(UTC),
            accept_us=int((time.monotonic() - started) * 1_000_000),
        )
        reservation = await self._admission.admit(caller.charges, _charges(snapshot, route))
        try:
            await self._intake.commit(rows)
        finally:
            self._admission.settle(reservation)

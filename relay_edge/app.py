"""One edge process, put together: the only file that knows every part.

Start: admission and listener begin to connect; the port is opened when the catalog is there, or after a few seconds
without it, so that a process that was started anew does not answer 503 beside others that serve.
End: the port is closed, requests in flight finish, intake and records commit what they took, limits are settled.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from relay_contract.ending import end
from relay_contract.errors import NotFound
from relay_contract.internal_token import InternalTokens
from relay_contract.logs import LogStream, log_fields
from relay_contract.nouns import DeliveryMode
from relay_contract.sealing import Sealer
from relay_edge import fan_out
from relay_edge.access_log import AccessLog
from relay_edge.addresses import PATH_PREFIX, by_host, by_path, project_by_host
from relay_edge.admission import Admission
from relay_edge.auth import Authenticator
from relay_edge.call_end import CallEnd, Told
from relay_edge.call_keys import CallKeys
from relay_edge.catalog.holder import Catalog
from relay_edge.catalog.listen import CatalogListener
from relay_edge.claims import Claims
from relay_edge.client_ip import ClientIps
from relay_edge.cors import Origins
from relay_edge.deadlines import DeadlineWheel
from relay_edge.door import Door
from relay_edge.endpoints import Endpoints
from relay_edge.error_shapes import ErrorShape
from relay_edge.explain_call import ExplainCall
from relay_edge.health import Health
from relay_edge.idempotency import Idempotency
from relay_edge.inference import Inference
from relay_edge.intake import Intake
from relay_edge.metrics import Metrics, SharedFiles, resident_bytes
from relay_edge.pings import Pings
from relay_edge.prepared import PreparedEndpoints
from relay_edge.protocols.anthropic_messages import AllowedBetas
from relay_edge.records import Records
from relay_edge.refused_calls import RefusedCalls
from relay_edge.relay_callers import RelayCallers
from relay_edge.replies import Replies
from relay_edge.reply import request_id_of, send_error
from relay_edge.resolve import Resolver
from relay_edge.resource_metadata import ResourceMetadata, metadata_url
from relay_edge.secret_sources import SecretSources
from relay_edge.settings import EdgeSettings
from relay_edge.shield import Shield
from relay_edge.spill import Spill
from relay_edge.stored import StoredCalls
from relay_edge.stream_call import StreamCalls
from relay_edge.sync_call import SyncCalls
from relay_edge.target_requests import TargetRequests
from relay_edge.target_tokens import target_tokens
from relay_edge.token_callers import TokenCallers
from relay_edge.traces import Sampling
from relay_edge.upstream_pool import UpstreamPool, client_tls
from relay_edge.vault import Vault
from relay_edge.vendor_routes import VendorRoutes
from relay_edge.wakes import Wakes

logger = logging.getLogger(__name__)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

FIRST_LOAD_SECONDS = 5.0
METRICS_SECONDS = 1.0
INTAKE_DRAIN_SECONDS = 6.0
RECORDS_DRAIN_SECONDS = 3.0
BACKLOG = 4_096


class Dispatch:
    """From a request to its handler. No I/O, no await."""

    def __init__(
        self,
        vendors: VendorRoutes,
        further: Mapping[str, Handler],
        endpoints: Endpoints,
        health: Health,
        metrics: Metrics,
        *,
        catalog: Catalog,
        domain: str,
    ) -> None:
        """`further`: by path."""
        self._domain = domain
        self._catalog = catalog
        self._origins = Origins()
        self._vendors = vendors
        self._endpoints = endpoints
        self._health_routes: dict[str, Handler] = dict(health.ROUTES)
        self._metrics = metrics.surfaces["other"]
        self._routes: dict[str, Handler] = {
            **vendors.PATHS,
            **further,
            **self._health_routes,
        }

    def __call__(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """Not a coroutine itself: that would cost each request one more."""
        if request.method == "OPTIONS":
            answer = self._origins.preflight(self._catalog.snapshot, request)
            if answer is not None:
                self._metrics.done(answer.status, 0.0)
                return _answered(answer)
        path = request.raw_path
        if "?" in path:
            path = path[: path.index("?")]
        if path[:1] != "/":
            path = request.rel_url.raw_path  # absolute form, RFC 9112 section 3.2.2
        if self._domain:
            hosts = request.headers.getall("Host", ())
            project = project_by_host(hosts[0], self._domain) if len(hosts) == 1 else None
            if project is not None and path not in self._health_routes:
                return self._endpoints.handle(request, by_host(project, path))
        handler = self._routes.get(path)
        if handler is not None:
            return handler(request)
        if path.startswith(PATH_PREFIX):
            return self._endpoints.handle(request, by_path(path))
        handler = self._vendors.below(path)
        if handler is not None:
            return handler(request)
        return self._not_found(request)

    async def _not_found(self, request: web.BaseRequest) -> web.StreamResponse:
        self._metrics.done(NotFound.status, 0.0)
        return send_error(request, NotFound(), ErrorShape.RELAY, request_id_of(request))


async def _answered(answer: web.StreamResponse) -> web.StreamResponse:
    return answer


class Edge:
    """Everything of one process. Made and run inside its event loop."""

    def __init__(self, settings: EdgeSettings, process_index: int, metrics_folder: Path, log: LogStream) -> None:
        self._settings = settings
        self._log = log
        loop = asyncio.get_running_loop()
        self.metrics = Metrics()
        self._files = SharedFiles(metrics_folder, process_index)
        self._wheel = DeadlineWheel(loop)
        self._pool = UpstreamPool(loop, self._wheel, Resolver(settings.egress_allow), client_tls())
        vault = Vault(self._pool, settings.vault_address, settings.vault_token)
        self._sources = SecretSources(settings.environment, settings.secrets(), vault, self.metrics)
        sealer = Sealer(*settings.master_keys)
        self._tokens = target_tokens(self._pool)
        self.catalog = Catalog(sealer, self._sources)
        self._listener = CatalogListener(self.catalog, settings.database_url, self.metrics)
        spill = Spill(settings.spill_folder, process_index, settings.spill_max_bytes)
        self.records = Records(settings.database_url, spill, self.metrics)
        self._admission = Admission(
            settings.redis_url,
            self._wheel,
            self.metrics,
            processes=settings.processes,
            on_event=self.records.breaker_event,
            top_up_url=settings.top_up_url,
            unwritten_seconds=self.records.age_seconds,
        )
        self._wakes = Wakes(settings.redis_url, self.metrics)
        self._intake = Intake(settings.database_url, self._wakes, self.metrics)
        self._replies = Replies(settings.redis_url, settings.database_url, self._wheel, self.metrics)
        self._stored = StoredCalls(settings.database_url)
        access_log = AccessLog(log, self.metrics) if settings.has_access_log else None
        self._call_end = CallEnd(
            self.records,
            Sampling(settings.trace_share, settings.trace_slow_seconds),
            self.metrics,
            further=tuple(self._told_of_calls(access_log)),
        )
        claims = Claims(
            self._admission.queue,
            sealer,
            self.metrics,
            keep_seconds=settings.idempotency_seconds,
            max_bytes=settings.idempotency_max_bytes,
            project_bytes=settings.idempotency_project_bytes,
        )
        client_ips = ClientIps(settings.trusted_proxies)
        tokens = TokenCallers(settings.control_url, settings.edge_url)
        authenticator = Authenticator(client_ips, tokens, metadata_url(settings.edge_url))
        inference = Inference(
            self.catalog,
            authenticator,
            self._admission,
            self._pool,
            self.metrics,
            idempotency=Idempotency(claims),
            max_body_bytes=settings.max_body_bytes,
            body_seconds=settings.body_timeout_seconds,
            ping_seconds=settings.ping_seconds,
            betas=AllowedBetas(settings.anthropic_betas),
            can_keep=lambda: self.records.can_keep,
            on_served=self._call_end,
            capture_bytes=settings.capture_bytes,
            reads_traceparent=bool(settings.otlp_endpoint),
        )
        explain_call = ExplainCall(
            self.catalog,
            authenticator,
            InternalTokens(*settings.master_keys),
            inference.load,
            self.metrics,
            breakers_of=inference.breakers_of,
            max_body_bytes=settings.max_body_bytes,
            body_seconds=settings.body_timeout_seconds,
        )
        endpoints = Endpoints(
            self.catalog,
            self._admission,
            self._intake,
            self.metrics,
            callers=RelayCallers(authenticator),
            shield=Shield(),
            plan=fan_out.plan,
            client_ips=client_ips,
            prepared=PreparedEndpoints(sealer),
            responders={
                DeliveryMode.SYNC.value: SyncCalls(self._replies, self._admission.queue, self.records.request_end),
                DeliveryMode.STREAM.value: StreamCalls(
                    TargetRequests(self._pool, sealer), self._tokens, Pings(self._wheel), self.records.request_end
                ),
            },
            idempotency=CallKeys(self._stored),
            on_refused=RefusedCalls(self.records),
            on_ended=access_log,
            body_seconds=settings.body_timeout_seconds,
        )
        self.health = Health(
            self.catalog,
            self._admission,
            self._intake,
            self.metrics,
            records=self.records,
            sources=self._sources,
            files=self._files,
            process_index=process_index,
            metrics_token=settings.metrics_token,
        )
        vendors = VendorRoutes(self.catalog, authenticator, inference, self.metrics)
        resource_metadata = ResourceMetadata(self.catalog, settings.control_url, settings.edge_url)
        dispatch = Dispatch(
            vendors,
            {**explain_call.ROUTES, **resource_metadata.ROUTES},
            endpoints,
            self.health,
            self.metrics,
            catalog=self.catalog,
            domain=settings.domain,
        )
        self._door = Door(dispatch, self.metrics.surfaces["other"])
        self._listening: asyncio.Server | None = None

    def _told_of_calls(self, access_log: AccessLog | None) -> Iterator[Told]:
        """Who is told of each call to a model because the settings ask for it."""
        settings = self._settings
        if access_log is not None:
            yield access_log
        if settings.otlp_endpoint:
            from relay_edge.spans import Spans  # noqa: PLC0415  # OpenTelemetry: memory that nobody else needs

            yield Spans(settings.otlp_endpoint, settings.otlp_headers, self.metrics)

    @property
    def is_listening(self) -> bool:
        """Whether the port is open."""
        return self._listening is not None and self._listening.is_serving()

    async def run(self, stop: asyncio.Event) -> None:
        """Serves until `stop` is set, then ends in good order. Raises what a background task failed of."""
        predecessor = await asyncio.to_thread(self._files.left_by_predecessor)
        if predecessor is not None:
            self.metrics.registry.carry_on(predecessor)
        await self._admission.start()
        work: list[Coroutine[Any, Any, None]] = [
            self._listener.run(),
            self._intake.run(),
            self._stored.run(),
            self.records.run(),
            self._sources.run(),
            self._wakes.run(),
            self._replies.run(),
            self._door.sweep(),
            self._publish_metrics(),
        ]
        tasks = [asyncio.create_task(each) for each in work]
        stopped = asyncio.create_task(stop.wait())
        try:
            await self._first_load(stopped)
            await self._open()
            done, _ = await asyncio.wait({stopped, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                await task  # none of them may end: a process without one of its parts must not go on
        finally:
            await self._close()
            await end(stopped, *tasks)
            await self._tokens.close()
            await self._pool.close()
            self._wheel.close()

    async def _first_load(self, stopped: asyncio.Task[Any]) -> None:
        loaded = asyncio.create_task(self.catalog.loaded.wait())
        await asyncio.wait({loaded, stopped}, timeout=FIRST_LOAD_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        loaded.cancel()
        reading = asyncio.create_task(self._sources.look())
        await asyncio.wait({reading, stopped}, timeout=FIRST_LOAD_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        await end(reading)

    async def _open(self) -> None:
        settings = self._settings
        # SO_REUSEPORT: each process has a queue of its own, the kernel deals connections out.
        self._listening = await asyncio.get_running_loop().create_server(
            self._door, settings.bind, settings.port, reuse_port=True, backlog=BACKLOG, family=socket.AF_UNSPEC
        )
        logger.info("listening", extra=log_fields(bind=settings.bind, port=settings.port))

    async def _close(self) -> None:
        self.health.is_draining = True
        if self._listening is not None:
            self._listening.close()
        await self._door.drain(self._settings.shutdown_seconds)
        await self._intake.drain(INTAKE_DRAIN_SECONDS)
        await self._call_end.flush()
        await self.records.drain(RECORDS_DRAIN_SECONDS)
        await self._wakes.flush()
        await self._admission.close()
        await self._call_end.close()
        await self._write_metrics()
        logger.info("stopped")

    async def _publish_metrics(self) -> None:
        while True:
            await self._write_metrics()
            await asyncio.sleep(METRICS_SECONDS)

    async def _write_metrics(self) -> None:
        self.metrics.dropped_log_lines.add(self._log.lost)
        self._log.lost = 0
        self.metrics.resident_bytes.value = await asyncio.to_thread(resident_bytes)
        await asyncio.to_thread(self._files.write, self.metrics.registry.dump())

"""`/healthz`, `/readyz` and `/metrics`: for load balancers, orchestrators and Prometheus.

The first two ask for no key, and tell no URL and no name out of the catalog; a proxy that faces the internet should
keep `/readyz` to itself all the same. Metrics name hosts and what calls cost together, so they are told to callers from
this machine, or, where a token is set, to who sends it.
"""

import asyncio
import hmac
import ipaddress
import json
import os
from typing import Any

from aiohttp import web

from relay_contract.errors import MethodNotAllowed, MetricsForbidden
from relay_edge.admission import Admission
from relay_edge.catalog.holder import Catalog
from relay_edge.error_shapes import ErrorShape
from relay_edge.intake import Intake
from relay_edge.metrics import CONTENT_TYPE, Metrics, SharedFiles
from relay_edge.records import Records
from relay_edge.reply import request_id_of, send, send_error
from relay_edge.secret_sources import SecretSources

METHODS = ("GET", "HEAD")


def may_read_metrics(token: str, authorization: str, peer: str | None) -> bool:
    """`authorization`: the header as sent. `peer`: the connection's other address; None: a Unix socket."""
    if token:
        return hmac.compare_digest(authorization.encode("utf-8", "replace"), f"Bearer {token}".encode())
    try:
        return peer is None or ipaddress.ip_address(peer.partition("%")[0]).is_loopback
    except ValueError:
        return False


class Health:
    """Three cheap handlers."""

    def __init__(
        self,
        catalog: Catalog,
        admission: Admission,
        intake: Intake,
        metrics: Metrics,
        *,
        records: Records,
        sources: SecretSources,
        files: SharedFiles,
        process_index: int,
        metrics_token: str = "",
    ) -> None:
        self._catalog = catalog
        self._admission = admission
        self._intake = intake
        self._records = records
        self._sources = sources
        self._metrics = metrics
        self._files = files
        self._process_index = process_index
        self._metrics_token = metrics_token
        self._requests = metrics.surfaces["health"]
        self.is_draining = False
        """Set when the process was told to end."""
        registry = metrics.registry
        registry.gauge(
            "relay_edge_catalog_age_seconds", "How old the catalog may be, at most.", "max", catalog.age_seconds
        )
        registry.gauge("relay_edge_catalog_version", "Snapshots since the process began.", "process", self._version)
        self.ROUTES = {"/healthz": self.healthz, "/readyz": self.readyz, "/metrics": self.metrics}

    def _version(self) -> float | None:
        return None if self._catalog.snapshot is None else self._catalog.snapshot.version

    async def healthz(self, request: web.BaseRequest) -> web.StreamResponse:
        """200 while the process runs its loop."""
        return self._answer(request, 200, {"status": "ok"})

    async def readyz(self, request: web.BaseRequest) -> web.StreamResponse:
        """200 while calls are served: a catalog is held, however old, and the process was not told to end.

        Postgres or Redis away are told and change nothing: calls to models go on without either, and an edge that the
        load balancer takes out serves nobody.
        """
        problems = self.problems()
        document = {
            "status": "unready" if problems else "ready",
            "problems": problems,
            "catalog": self._catalog_state(),
            "postgres": {"connected": self._intake.is_connected},
            "records": {
                "connected": self._records.is_connected,
                "spilled_bytes": self._records.spilled_bytes,
                "full": not self._records.can_keep,
            },
            "secrets": self._sources.counts(),
            "redis": {"connected": self._admission.problem is None, "problem": self._admission.problem},
            "process": {"index": self._process_index, "pid": os.getpid()},
        }
        return self._answer(request, 503 if problems else 200, document)

    def problems(self) -> list[str]:
        """Why no calls are served; empty when they are."""
        found = []
        if self._catalog.snapshot is None:
            found.append(f"no catalog yet: {self._catalog.problem}")
        if self.is_draining or self._intake.is_closing:
            found.append("shutting down")
        return found

    def _catalog_state(self) -> dict[str, Any]:
        age_seconds = self._catalog.age_seconds()
        return {
            "connected": self._catalog.is_connected,
            "problem": self._catalog.problem or None,
            "version": self._version(),
            "age_seconds": None if age_seconds is None else round(age_seconds, 3),
        }

    async def metrics(self, request: web.BaseRequest) -> web.StreamResponse:
        """All processes' values, in Prometheus' text format."""
        if request.method not in METHODS:
            return self._refuse_method(request)
        if not may_read_metrics(self._metrics_token, request.headers.get("Authorization", ""), request.remote):
            self._requests.done(MetricsForbidden.status, 0.0)
            return send_error(request, MetricsForbidden(), ErrorShape.RELAY, request_id_of(request))
        own = self._metrics.registry.dump()
        dumps = await asyncio.to_thread(self._files.gather, own)
        text = self._metrics.registry.exposition(dumps)
        self._requests.done(200, 0.0)
        return send(request, 200, text.encode(), content_type=CONTENT_TYPE)

    def _answer(self, request: web.BaseRequest, status: int, document: dict[str, Any]) -> web.StreamResponse:
        if request.method not in METHODS:
            return self._refuse_method(request)
        self._requests.done(status, 0.0)
        return send(request, status, json.dumps(document).encode(), lines=(("cache-control", "no-store"),))

    def _refuse_method(self, request: web.BaseRequest) -> web.StreamResponse:
        self._requests.done(MethodNotAllowed.status, 0.0)
        request_id = request_id_of(request)
        return send_error(request, MethodNotAllowed(), ErrorShape.RELAY, request_id, allow=", ".join(METHODS))

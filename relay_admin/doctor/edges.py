"""The edges: that they serve, how old their catalog is, what they lack, and that they hold our master key."""

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis

from relay_admin.access.models import RelayKey
from relay_admin.doctor.finding import Finding, broken, ok, some_of, warning
from relay_admin.edge_client import EdgeError, resolve
from relay_contract.redis import keys

ASKED = 12
"""Connections: the kernel or a balancer deals them out, so most processes are met."""
TIMEOUT_SECONDS = 3.0
MAX_ANSWER_BYTES = 65_536
OLD_SECONDS = 30.0
NO_EDGE = (OSError, http.client.HTTPException, ValueError, KeyError, TypeError)
"""What `ask` raises where nobody is there, or somebody else."""
SEE_LOG = "See the edge's log, and that it reaches what this names."


@dataclass(frozen=True, slots=True)
class Edge:
    """What a process says of itself at `/readyz`."""

    name: str
    problems: tuple[str, ...]  # why it takes no calls
    version: int | None  # snapshots since it began
    age_seconds: float | None  # how old its catalog may be
    lacks: tuple[str, ...]  # what it cannot reach
    spilled_bytes: int
    is_full: bool  # no row can be kept any more, so calls are refused

    @classmethod
    def read(cls, document: dict[str, Any]) -> "Edge":
        """Raises KeyError or TypeError for what is no edge's answer."""
        catalog, process = document["catalog"], document["process"]
        reached = {
            "Postgres (catalog)": catalog["connected"],
            "Postgres (deliveries)": document["postgres"]["connected"],
            "Postgres (calls)": document["records"]["connected"],
            "Redis": document["redis"]["connected"],
            "values of host keys": not document["secrets"]["without_value"],
        }
        return cls(
            name=f"process {process['index']} (pid {process['pid']})",
            problems=tuple(document["problems"]),
            version=catalog["version"],
            age_seconds=catalog["age_seconds"],
            lacks=tuple(what for what, is_there in reached.items() if not is_there),
            spilled_bytes=document["records"]["spilled_bytes"],
            is_full=document["records"]["full"],
        )


def examine(edge_url: str, alive_processes: int | None, key: RelayKey | None) -> Iterator[Finding]:
    """`edge_url`: where the control plane reaches the edge. `alive_processes`: None while Redis is away. `key`: which
    the edge is asked about; None where there is none."""
    try:
        edges = ask(edge_url)
    except NO_EDGE as error:
        yield unreachable(edge_url, error)
        return
    yield reached(edges, alive_processes)
    yield catalogs(edges)
    yield connected(edges)
    yield records(edges)
    if key is not None:
        yield _master_key(key)


def some_key() -> RelayKey | None:
    """One that edges know."""
    return RelayKey.objects.filter(revoked_at=None, project__is_archived=False).order_by("pk").first()


def alive(client: redis.Redis) -> int:
    """How many processes say in Redis that they live."""
    names = [name.decode() for name in client.smembers(keys.EDGES)]
    return int(client.exists(*map(keys.alive, names))) if names else 0


def ask(edge_url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> list[Edge]:
    """Each process that was met, once; `timeout_seconds` is of each connection. Raises one of NO_EDGE."""
    # Containers number their processes alike: who says something else is somebody else.
    met = {
        (edge.name, edge.version or 0, edge.problems, edge.lacks, edge.is_full): edge
        for edge in (Edge.read(_readyz(edge_url, timeout_seconds)) for _ in range(ASKED))
    }
    return [met[said] for said in sorted(met)]


def unreachable(edge_url: str, error: Exception) -> Finding:
    """`error`: one of NO_EDGE."""
    return broken(
        "edge.reachable",
        f"{_origin(edge_url)} does not answer as an edge ({type(error).__name__})",
        "Start the edge, or correct RELAY_EDGE_INTERNAL_URL (RELAY_EDGE_URL where that is empty).",
    )


def reached(edges: list[Edge], alive_processes: int | None) -> Finding:
    """`alive_processes`: those that said in Redis that they live; None: not known."""
    unready = [f"{edge.name}: {', '.join(edge.problems)}" for edge in edges if edge.problems]
    if unready:
        return broken("edge.reachable", some_of(unready), SEE_LOG)
    if alive_processes is not None and alive_processes < len(edges):
        return broken(
            "edge.reachable",
            f"{len(edges)} processes answer, and {alive_processes} are known in this Redis",
            "Let REDIS_URL be the same for edges, workers and the control plane.",
        )
    known = "" if alive_processes is None else f", {alive_processes} live"
    return ok("edge.reachable", f"{len(edges)} processes answered{known}")


def catalogs(edges: list[Edge]) -> Finding:
    """A catalog is as old as the last word of Postgres."""
    old = [edge.name for edge in edges if edge.age_seconds is None or edge.age_seconds > OLD_SECONDS]
    if old:
        return broken(
            "edge.catalog",
            f"older than {OLD_SECONDS:g} s in {some_of(old)}",
            "See the edge's log: it listens to nobody.",
        )
    oldest = max(edge.age_seconds or 0.0 for edge in edges)
    versions = ", ".join(str(edge.version) for edge in edges)
    return ok("edge.catalog", f"{oldest:.1f} s old at most; versions {versions}")


def connected(edges: list[Edge]) -> Finding:
    """Calls go on without some of it, under rules that are worse."""
    lacking = [f"{edge.name} lacks {', '.join(edge.lacks)}" for edge in edges if edge.lacks]
    if lacking:
        return broken("edge.connected", some_of(lacking), SEE_LOG)
    return ok("edge.connected", "Postgres, Redis and the values of host keys")


def records(edges: list[Edge]) -> Finding:
    """Rows that wait in files."""
    if any(edge.is_full for edge in edges):
        return broken(
            "edge.records",
            "the spill is full: new calls are refused",
            "Bring Postgres back, or raise RELAY_SPILL_MAX_BYTES.",
        )
    waiting = sum(edge.spilled_bytes for edge in edges)
    if waiting:
        return warning(
            "edge.records",
            f"{waiting} bytes of rows wait in files",
            "They are written by themselves once Postgres takes them.",
        )
    return ok("edge.records", "every row of a call is in Postgres")


def _master_key(key: RelayKey) -> Finding:
    """A question that is signed under the master key: an edge with another one refuses it, and opens no host key."""
    try:
        resolve(relay_key=key, model="doctor", surface="chat_completions")
    except EdgeError as error:
        return broken(
            "edge.master_key",
            str(error),
            "Give edges and control plane the same RELAY_MASTER_KEY (and previous ones), and the right time.",
        )
    return ok("edge.master_key", "the edge reads what the control plane signs")


def _readyz(edge_url: str, timeout_seconds: float) -> dict[str, Any]:
    parts = urlsplit(edge_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_seconds)
    try:
        connection.request("GET", f"{parts.path}/readyz", headers={"Connection": "close"})
        return dict(json.loads(connection.getresponse().read(MAX_ANSWER_BYTES)))
    finally:
        connection.close()


def _origin(url: str) -> str:
    return urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2]).geturl()

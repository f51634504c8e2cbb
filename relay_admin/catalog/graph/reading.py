"""The catalog as two graphs: from projects to targets, and from policies to host keys, with what is not well.

One query a column and one look at Redis, whatever the catalog holds; of each kind of row so many are read at the most.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Count, Model, QuerySet, Window
from django.urls import reverse

from relay_admin.catalog import models as catalog
from relay_admin.catalog.graph.nodes import Column, Edge, Graph, Key, Node
from relay_contract.grants import Grants
from relay_contract.redis.breakers import Entry
from relay_contract.traffic import BreakerKind

MOST_READ = 500


def endpoints_graph(project: catalog.Project | None) -> Graph:
    """Projects, lines, endpoints and targets; of one project where one is given."""
    projects = catalog.Project.objects.order_by("slug")
    lines = catalog.Line.objects.order_by("project__slug", "slug")
    endpoints = catalog.Endpoint.objects.order_by("line__project__slug", "line__slug", "slug")
    targets = catalog.Target.objects.order_by("endpoint__line__project__slug", "endpoint__line__slug", "pk")
    if project is not None:
        projects, lines = projects.filter(pk=project.pk), lines.filter(project=project)
        endpoints, targets = endpoints.filter(line__project=project), targets.filter(endpoint__line__project=project)
    columns = [
        _column("Projects", projects, "slug", off=lambda row: row.is_archived, word="archived"),
        _column("Lines", lines, "slug"),
        _column("Endpoints", endpoints, "slug", detail=lambda row: row.auth),
        _column("Targets", targets, "name", detail=lambda row: f"{row.role}, {row.delivery_mode}"),
    ]
    for row, node in columns[3]:
        if row.disabled_reason:
            node.mark("danger", f"by the relay: {row.disabled_reason.replace('_', ' ')}")
    edges = [
        *_parents(columns[1], "catalog.project", "project_id"),
        *_parents(columns[2], "catalog.line", "line_id"),
        *_parents(columns[3], "catalog.endpoint", "endpoint_id"),
    ]
    return _graph("Relay endpoints", columns, edges)


def models_graph(project: catalog.Project | None, breakers: Iterable[Entry]) -> tuple[Graph, list[Key]]:
    """Policies, models, bindings, hosts and host keys, and the policies of the project's keys where one is given."""
    policies = _column("Policies", catalog.Policy.objects.order_by("slug"), "slug")
    named = _column("Models", catalog.Model.objects.order_by("name"), "name", detail=lambda row: row.owned_by)
    bindings = _column(
        "Host bindings",
        catalog.HostBinding.objects.order_by("model__name", "priority", "pk"),
        "upstream_name",
        detail=lambda row: f"priority {row.priority}, {row.wire_shape}",
    )
    hosts = _column("Hosts", catalog.Host.objects.order_by("slug"), "slug")
    keys = _column("Host keys", catalog.HostKey.objects.order_by("host__slug", "name"), "name")
    edges: list[Edge] = [
        *_granted(policies, named),
        *_parents(bindings, "catalog.model", "model_id"),
        *((_key(row), ("catalog.host", row.host_id)) for row, _ in bindings),
        *_parents(keys, "catalog.host", "host_id"),
    ]
    _mark_breakers([*bindings, *keys], breakers)
    _mark_without(hosts, keys, "host_id", "no enabled key")
    _mark_without(named, bindings, "model_id", "no enabled binding")
    graph = _graph("Models", [policies, named, bindings, hosts, keys], edges)
    if project is None:
        return graph, []
    wanted = set(project.relay_keys.filter(revoked_at=None, policy__isnull=False).values_list("policy", flat=True))
    return graph, [_key(row) for row, _ in policies if row.pk in wanted]


class _Read(list[tuple[Any, Node]]):
    """Rows with their nodes."""

    def __init__(self, title: str, model: type[Model], found: Sequence[tuple[Any, Node]]) -> None:
        super().__init__(found)
        self.title, self.model = title, model


def _column(  # what differs between columns
    title: str, rows: QuerySet[Any], name: str, *, detail: Any = None, off: Any = None, word: str = "disabled"
) -> _Read:
    found = []
    for row in rows.annotate(there_are=Window(Count("pk")))[:MOST_READ]:
        address = f"admin:{row._meta.label_lower.replace('.', '_')}_change"
        node = Node(_key(row), getattr(row, name), reverse(address, args=[row.pk]), detail(row) if detail else "")
        is_off = off(row) if off else not getattr(row, "is_enabled", True)
        if is_off:
            node.mark("quiet", word)
        found.append((row, node))
    return _Read(title, rows.model, found)


def _graph(title: str, columns: Sequence[_Read], edges: Iterable[Edge]) -> Graph:
    shown = []
    for column in columns:
        url = reverse(f"admin:{column.model._meta.label_lower.replace('.', '_')}_changelist")
        more = column[0][0].there_are - len(column) if column else 0
        shown.append(Column(column.title, url, [node for _, node in column], more))
    there = {node.key for column in shown for node in column.nodes}
    return Graph(title, shown, [(start, end) for start, end in edges if start in there and end in there])


def _key(row: Model) -> Key:
    return row._meta.label_lower, row.pk


def _parents(column: _Read, label: str, name: str) -> Iterable[Edge]:
    return (((label, getattr(row, name)), node.key) for row, node in column)


def _granted(policies: _Read, named: _Read) -> Iterable[Edge]:
    """By the patterns, as the edge reads them."""
    for policy, node in policies:
        grants = Grants(policy.models)
        yield from ((node.key, model.key) for row, model in named if grants.of(row).is_open)


def _mark_breakers(found: Iterable[tuple[Any, Node]], breakers: Iterable[Entry]) -> None:
    nodes = {node.key: node for _, node in found}
    for entry in breakers:
        is_key = entry.kind is BreakerKind.HOST_KEY
        node = nodes.get(("catalog.hostkey" if is_key else "catalog.hostbinding", entry.row_id))
        if node is not None:
            of = f" for {entry.upstream_name}" if is_key and entry.upstream_name else ""
            node.mark("danger", f"breaker {entry.state.replace('_', ' ')}{of}: {entry.reason.replace('_', ' ')}")


def _mark_without(owners: _Read, parts: _Read, name: str, note: str) -> None:
    """Owners of which no part is enabled, unless there are parts that were not read."""
    if len(parts) >= MOST_READ:
        return
    able = {getattr(row, name) for row, _ in parts if row.is_enabled}
    for row, node in owners:
        if row.pk not in able and row.is_enabled:
            node.mark("warning", note)

"""Nodes in columns and what refers to what among them, narrowed to what somebody looks for. Pure."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

Key: TypeAlias = tuple[str, int]
"""A model's label, such as `catalog.host`, and a row's id."""
Edge: TypeAlias = tuple[Key, Key]
"""From what refers, or is outside, to what is referred to, or is inside."""


@dataclass(slots=True)
class Node:
    """A row. `tone`: a class of the stylesheet, "" while all is well; `note`: what is not, in words."""

    key: Key
    label: str
    url: str
    detail: str = ""
    tone: str = ""
    note: str = ""

    def mark(self, tone: str, note: str) -> None:
        """The worst is said first: `danger` before `quiet`."""
        is_worse = tone == "danger" and self.tone != "danger"
        self.tone = tone if is_worse or not self.tone else self.tone
        self.note = ", ".join(filter(None, [note, self.note] if is_worse else [self.note, note]))


@dataclass(slots=True)
class Column:
    """Rows of one kind, in their order. `more`: how many others there are; `url`: their list."""

    title: str
    url: str
    nodes: list[Node]
    more: int = 0


@dataclass(slots=True)
class Graph:
    """Columns from left to right; edges lead from one into the next."""

    title: str
    columns: list[Column]
    edges: list[Edge] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to show."""
        return not any(column.nodes for column in self.columns)


def narrowed(graph: Graph, seeds: Collection[Key]) -> Graph:
    """With these nodes, what leads to them, and where they lead."""
    inward, outward = _ways(graph.edges)
    kept = _reached(seeds, inward) | _reached(seeds, outward)
    return _with(graph, kept)


def matching(graph: Graph, text: str) -> list[Key]:
    """Nodes with the text in their name or detail, in whatever case."""
    wanted = text.casefold()
    return [
        node.key
        for column in graph.columns
        for node in column.nodes
        if wanted in f"{node.label} {node.detail}".casefold()
    ]


def cut(graph: Graph, most: int) -> Graph:
    """At most so many nodes in a column; the others are counted. Those stay that follow from what stays to their left,
    so that what is shown hangs together."""
    order: dict[Key, float] = {}
    inward, _ = _ways(graph.edges)
    kept: set[Key] = set()
    for column in graph.columns:
        placed = sorted(
            column.nodes,
            key=lambda node: min((order[one] for one in inward[node.key] if one in order), default=float(most)),
        )
        for place, node in enumerate(placed[:most]):
            order[node.key] = place
            kept.add(node.key)
        column.nodes = placed
    return _with(graph, kept, counts=True)


@dataclass(frozen=True, slots=True)
class Item:
    """A line of the tree. `is_again`: what is inside it was shown above."""

    depth: int
    node: Node
    is_again: bool


def tree(graph: Graph) -> list[Item]:
    """The graph as an indented list: each node is opened once, where it is met first."""
    inward, outward = _ways(graph.edges)
    by_key = {node.key: node for column in graph.columns for node in column.nodes}
    items: list[Item] = []
    opened: set[Key] = set()
    for column in graph.columns:
        for root in column.nodes:
            if any(one in by_key for one in inward[root.key]):
                continue
            waiting = [(0, root.key)]
            while waiting:
                depth, key = waiting.pop()
                is_again = key in opened and bool(outward[key])
                items.append(Item(depth, by_key[key], is_again))
                if key not in opened:
                    opened.add(key)
                    inside = [one for one in outward[key] if one in by_key]
                    waiting += [(depth + 1, one) for one in reversed(inside)]
    return items


def _ways(edges: Iterable[Edge]) -> tuple[dict[Key, list[Key]], dict[Key, list[Key]]]:
    inward: dict[Key, list[Key]] = defaultdict(list)
    outward: dict[Key, list[Key]] = defaultdict(list)
    for start, end in edges:
        inward[end].append(start)
        outward[start].append(end)
    return inward, outward


def _reached(seeds: Collection[Key], ways: dict[Key, list[Key]]) -> set[Key]:
    found, waiting = set(seeds), list(seeds)
    while waiting:
        for one in ways[waiting.pop()]:
            if one not in found:
                found.add(one)
                waiting.append(one)
    return found


def _with(graph: Graph, kept: Collection[Key], *, counts: bool = False) -> Graph:
    columns = []
    for column in graph.columns:
        nodes = [node for node in column.nodes if node.key in kept]
        more = column.more + len(column.nodes) - len(nodes) if counts else 0
        columns.append(Column(column.title, column.url, nodes, more))
    edges = [(start, end) for start, end in graph.edges if start in kept and end in kept]
    return Graph(graph.title, columns, edges)

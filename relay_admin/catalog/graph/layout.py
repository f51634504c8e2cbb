"""Where the nodes of a graph stand, in pixels, and the lines between them. Pure."""

from dataclasses import dataclass

from relay_admin.catalog.graph.nodes import Graph, Key, Node

WIDTH = 158
HEIGHT = 42
GAP = 34
STEP = 52
TOP = 30


@dataclass(frozen=True, slots=True)
class Box:
    """A node's upper left corner."""

    node: Node
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Head:
    """What stands above and below a column."""

    title: str
    url: str
    x: int
    more: int
    more_y: int


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that the template prints. `lines` are paths of SVG, each with the tone of where it ends."""

    width: int
    height: int
    heads: list[Head]
    boxes: list[Box]
    lines: list[tuple[str, str]]


def picture(graph: Graph) -> Picture:
    """Columns side by side, each node beside the middle of what leads to it as far as the order allows."""
    inward: dict[Key, list[Key]] = {}
    for start, end in graph.edges:
        inward.setdefault(end, []).append(start)
    heads, boxes, at = [], [], dict[Key, tuple[int, int]]()
    for number, column in enumerate(graph.columns):
        x = number * (WIDTH + GAP)
        for place, node in enumerate(sorted(column.nodes, key=lambda one: _middle(inward.get(one.key, ()), at))):
            y = TOP + place * STEP
            at[node.key] = x, y
            boxes.append(Box(node, x, y))
        heads.append(Head(column.title, column.url, x, column.more, TOP + len(column.nodes) * STEP))
    tones = {box.node.key: box.node.tone for box in boxes}
    lines = [(_curve(at[start], at[end]), tones[end] or tones[start]) for start, end in graph.edges]
    rows = max((len(column.nodes) + bool(column.more) for column in graph.columns), default=0)
    width = len(graph.columns) * (WIDTH + GAP) - GAP
    return Picture(width, TOP + rows * STEP, heads, boxes, lines)


def _middle(starts: "list[Key] | tuple[()]", at: dict[Key, tuple[int, int]]) -> float:
    ys = [at[one][1] for one in starts if one in at]
    return sum(ys) / len(ys) if ys else float("inf")


def _curve(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1 = start[0] + WIDTH, start[1] + HEIGHT // 2
    x2, y2 = end[0], end[1] + HEIGHT // 2
    bend = (x2 - x1) // 2
    return f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"

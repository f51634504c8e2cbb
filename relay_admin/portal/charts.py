"""Figures over time as bars of an inline SVG. Pure.

A chart is one path: its name says the least, the most and the sum, and the page has every figure in a table below it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import floor, log10

WIDTH, HEIGHT = 1_000, 100
"""Of the view box, which the page stretches to its width."""
_GAP = 0.15
"""Of a bar's place; a place too narrow for it has none."""
_LEAST_HEIGHT = 1
"""Of a bar that is not 0, so that it is seen beside a large one."""


@dataclass(frozen=True, slots=True)
class Chart:
    """`path`: the `d` of the bars. `top`: what the upper edge stands for."""

    title: str
    name: str
    path: str
    top: int
    total: int
    view_box: str = f"0 0 {WIDTH} {HEIGHT}"


def bar_chart(title: str, figures: Sequence[int]) -> Chart:
    """Of figures of at least 0, the oldest first, one a place."""
    total, top = sum(figures), scale_top(max(figures, default=0))
    name = f"{title}: {total:,} in all"
    if total:
        name += f", between {min(figures):,} and {max(figures):,}"
    return Chart(title, name, _path(figures, top), top, total)


def scale_top(most: int) -> int:
    """The least of 1, 2, 5, 10, 20 and so on that is not below it; 1 for 0."""
    if most <= 1:
        return 1
    power = 10 ** floor(log10(most))
    return next(top for top in (power // 10, power, 2 * power, 5 * power, 10 * power, 20 * power) if top >= most)


def moments(since: datetime, until: datetime, step: timedelta) -> list[datetime]:
    """Each place of a range, `until` not included."""
    return [since + number * step for number in range(-((since - until) // step))]


def _path(figures: Sequence[int], top: int) -> str:
    place = WIDTH / max(1, len(figures))
    gap = place * _GAP if place > 4 else 0
    return "".join(
        f"M{number * place + gap / 2:.1f} {HEIGHT}h{place - gap:.1f}v{-_height(figure, top):.1f}h{gap - place:.1f}z"
        for number, figure in enumerate(figures)
        if figure
    )


def _height(figure: int, top: int) -> float:
    return max(_LEAST_HEIGHT, HEIGHT * figure / top)

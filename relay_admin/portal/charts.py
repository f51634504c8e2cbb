"""Figures over time as bars of an inline SVG. Pure.

A chart is one path: its name says the least, the most and the sum, and the page has every figure in a table below it.
Where each bar leads somewhere, or is several figures on top of one another, it is a path for each (`stacks`).
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


def stacks(series: Sequence[Sequence[int]], top: int) -> list[tuple[str, ...]]:
    """By place the `d` of each figure's bar, the first at the bottom; "" for 0. All series are of the same places."""
    place = WIDTH / max(1, len(series[0]))
    return [_stack(number * place, place, figures, top) for number, figures in enumerate(zip(*series, strict=True))]


def whole_place(number: int, count: int) -> str:
    """The `d` of all of a place: what is pointed at."""
    place = WIDTH / count
    return f"M{number * place:.1f} {HEIGHT}h{place:.1f}v{-HEIGHT}h{-place:.1f}z"


def _path(figures: Sequence[int], top: int) -> str:
    return "".join(bar for (bar,) in stacks([figures], top))


def _stack(left: float, place: float, figures: Sequence[int], top: int) -> tuple[str, ...]:
    gap = place * _GAP if place > 4 else 0
    bars, base = [], 0.0
    for figure in figures:
        height = _height(figure, top) if figure else 0.0
        start = f"{HEIGHT - base:.1f}".removesuffix(".0")
        bars.append(
            f"M{left + gap / 2:.1f} {start}h{place - gap:.1f}v{-height:.1f}h{gap - place:.1f}z" if figure else ""
        )
        base += height
    return tuple(bars)


def _height(figure: int, top: int) -> float:
    return max(_LEAST_HEIGHT, HEIGHT * figure / top)

"""The charts of the home, for who may see what they count. Each bar, each figure and each title leads to its rows.

The bars are for eyes and pointers; the same links stand in a table below each chart, for everybody else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from relay_admin.access.models import User
from relay_admin.home import figures
from relay_admin.home.figures import MOST_FAILED
from relay_admin.home.ranges import HOUR, Grid, Span
from relay_admin.portal.charts import scale_top, stacks, whole_place
from relay_admin.traffic.trace_view import time_text
from relay_contract.pricing import usd_text

SEES_CALLS = "traffic.view_call"
SEES_DELIVERIES = "deliveries.view_delivery"
SEES_REQUESTS = "deliveries.view_request"


@dataclass(frozen=True, slots=True)
class Rows:
    """A list of the admin, its column of time, and what else it is filtered by."""

    page: str
    column: str
    only: tuple[tuple[str, str], ...] = ()

    def url(self, since: datetime, until: datetime) -> str:
        """Of the rows between, as the list's own filter writes it."""
        window = {
            f"{self.column}_{end}_{part}": f"{at.astimezone(UTC):{form}}"
            for end, at in (("from", since), ("to", until))
            for part, form in (("0", "%Y-%m-%d"), ("1", "%H:%M:%S"))
        }
        return f"{reverse(f'admin:{self.page}_changelist')}?{urlencode([*self.only, *window.items()])}"


ALL_CALLS = Rows("traffic_call", "received_at")
GOOD_CALLS = Rows("traffic_call", "received_at", (("status", "2xx"),))
FAILED_CALLS = Rows("traffic_call", "received_at", (("error", "any"),))
DELIVERIES = Rows("deliveries_delivery", "created_at")
REFUSED_REQUESTS = Rows("deliveries_request", "received_at", (("outcome", "none"),))
FAILED_DELIVERIES = Rows("deliveries_deaddelivery", "finished_at")


@dataclass(frozen=True, slots=True)
class Series:
    """What is counted, by place. `written`: a figure as people read it. `most`: where the count of a place ended."""

    name: str
    figures: list[int]
    rows: Rows
    written: Callable[[int], str]
    most: int | None = None

    def text(self, figure: int) -> str:
        """Of a place."""
        return self._or_more(self.written(figure), is_cut=self.most is not None and figure >= self.most)

    def sum_text(self) -> str:
        """Of all."""
        is_cut = self.most is not None and max(self.figures) >= self.most
        return self._or_more(self.written(sum(self.figures)), is_cut=is_cut)

    def _or_more(self, text: str, *, is_cut: bool) -> str:
        return f"{text} or more" if is_cut else text


@dataclass(frozen=True, slots=True)
class Bar:
    """Of one series in one place."""

    path: str
    tone: int
    url: str
    name: str


@dataclass(frozen=True, slots=True)
class Place:
    """A step of the range. `cells`: figure and address of its rows, a series each, of "" where there is nothing."""

    at: datetime
    whole: str
    bars: list[Bar]
    cells: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Words:
    """What a chart says: `sums` beside its title, `said` the whole of it in a sentence, `note` how it counts."""

    title: str
    sums: list[str]
    said: str
    note: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart and its table. `legend`: tone, name and sum of each series. `top`: what the upper edge stands for."""

    words: Words
    url: str
    legend: list[tuple[int, str, str]]
    top: str
    places: list[Place]
    is_empty: bool


def panels_of(user: User, span: Span) -> list[Panel]:
    """For who may see calls or deliveries; none for others."""
    sees_calls, sees_deliveries = user.has_perm(SEES_CALLS), user.has_perm(SEES_DELIVERIES)
    if not sees_calls and not sees_deliveries:
        return []
    grid = span.grid(timezone.now())
    passed = figures.passed(grid)
    most = figures.MOST_COUNTED if span is HOUR else None
    calls = Series("Model calls", passed.calls, ALL_CALLS, _grouped, most)
    deliveries = Series("Deliveries", passed.deliveries, DELIVERIES, _grouped, most)
    traffic = [*([calls] if sees_calls else []), *([deliveries] if sees_deliveries else [])]
    found = [
        _sums("Traffic", traffic, grid, "Calls to models that used something, and deliveries that ended."),
        _sums("Errors", _wrong(user, grid), grid, "A failed delivery counts while it is in the failure queue."),
    ]
    if sees_calls:
        note = f"What calls to models cost at list price{', of those that were counted' if most else ''}."
        spent = Series("Calls to models", passed.cost, ALL_CALLS, _usd)
        found += [_latency(grid), _sums("Spend", [spent], grid, note)]
    return found


def _wrong(user: User, grid: Grid) -> list[Series]:
    counts = (
        (SEES_CALLS, "Model calls failed", figures.FAILED_CALLS, FAILED_CALLS),
        (SEES_DELIVERIES, "Deliveries failed", figures.FAILED_DELIVERIES, FAILED_DELIVERIES),
        (SEES_REQUESTS, "Endpoint calls refused", figures.REFUSED_REQUESTS, REFUSED_REQUESTS),
    )
    return [
        Series(name, figures.failed(statement, grid), rows, _grouped, MOST_FAILED)
        for permission, name, statement, rows in counts
        if user.has_perm(permission)
    ]


def _sums(title: str, series: list[Series], grid: Grid, note: str) -> Panel:
    """With the sum of each series."""
    sums = [one.sum_text() for one in series]
    said = "; ".join(
        f"{one.name} {whole}, at most {one.text(max(one.figures))} in {grid.span.of_one}"
        for one, whole in zip(series, sums, strict=True)
    )
    words = Words(title, sums, f"{title} of {grid.span.title}: {said}.", note)
    return _panel(words, series, [one.figures for one in series], grid)


def _latency(grid: Grid) -> Panel:
    """The upper bar is what the slowest twentieth takes more than the middle does."""
    times = figures.times(grid)
    series = [Series("p50", times.p50, GOOD_CALLS, _time), Series("p95", times.p95, GOOD_CALLS, _time)]
    heights = [times.p50, [p95 - p50 for p50, p95 in zip(times.p50, times.p95, strict=True)]]
    sums = [_time(times.all_p50), _time(times.all_p95)]
    words = Words(
        "Latency",
        sums,
        f"Latency of {grid.span.title}: p50 {sums[0]}, p95 {sums[1]}.",
        f"Of a sample of {times.sampled:,} calls that went well: the newest {figures.SAMPLED} of each eighth of a bar.",
    )
    return _panel(words, series, heights, grid)


def _panel(words: Words, series: list[Series], heights: list[list[int]], grid: Grid) -> Panel:
    top = scale_top(max(map(sum, zip(*heights, strict=True))))
    return Panel(
        words=words,
        url=series[0].rows.url(grid.since, grid.until),
        legend=[(tone, one.name, words.sums[tone]) for tone, one in enumerate(series)],
        top=series[0].written(top),
        places=[_place(number, grid, paths, series) for number, paths in enumerate(stacks(heights, top))],
        is_empty=not any(any(one.figures) for one in series),
    )


def _place(number: int, grid: Grid, paths: tuple[str, ...], series: list[Series]) -> Place:
    at = grid.places[number]
    cells = [
        (one.text(one.figures[number]), one.rows.url(at, grid.end_of(at))) if one.figures[number] else ("", "")
        for one in series
    ]
    bars = [
        Bar(path, tone, cells[tone][1], f"{at:%m-%d %H:%M} UTC, {series[tone].name}: {cells[tone][0]}")
        for tone, path in enumerate(paths)
        if path
    ]
    return Place(at, whole_place(number, len(grid.places)), bars, cells)


def _grouped(figure: int) -> str:
    return f"{figure:,}"


def _usd(nanousd: int) -> str:
    """To the cent, and below it as far as it says something."""
    if nanousd >= 10_000_000:
        return f"{nanousd / 10**9:,.2f} USD"
    return f"{usd_text(nanousd)} USD"


def _time(microseconds: int) -> str:
    return time_text(microseconds) if microseconds else "none"

"""Bars of a chart: where each stands, how high, and what is said of all of them."""

from datetime import UTC, datetime, timedelta

import pytest

from relay_admin.portal.charts import Chart, bar_chart, moments, scale_top, stacks, whole_place


def test_a_chart() -> None:
    assert bar_chart("Calls", [0, 5, 20, 1]) == Chart(
        title="Calls",
        name="Calls: 26 in all, between 0 and 20",
        path="M268.8 100h212.5v-25.0h-212.5zM518.8 100h212.5v-100.0h-212.5zM768.8 100h212.5v-5.0h-212.5z",
        top=20,
        total=26,
    )


def test_what_is_small_beside_the_largest_is_seen() -> None:
    assert "v-1.0" in bar_chart("Calls", [1, 1_000_000]).path


@pytest.mark.parametrize("figures", [[], [0], [0, 0, 0]])
def test_a_chart_of_nothing(figures: list[int]) -> None:
    chart = bar_chart("Calls", figures)
    assert (chart.name, chart.path, chart.top) == ("Calls: 0 in all", "", 1)


@pytest.mark.parametrize(
    ("most", "top"),
    [(0, 1), (1, 1), (2, 2), (3, 5), (5, 5), (6, 10), (10, 10), (11, 20), (21, 50), (99, 100), (101, 200)],
)
def test_the_scale(most: int, top: int) -> None:
    assert scale_top(most) == top


@pytest.mark.parametrize("power", range(1, 19))
def test_the_scale_of_large_figures(power: int) -> None:
    """Where logarithms are not exact."""
    assert [scale_top(10**power + each) for each in (-1, 0, 1)] == [10**power, 10**power, 2 * 10**power]


def test_places_of_a_range() -> None:
    noon, hour = datetime(2026, 11, 20, 12, tzinfo=UTC), timedelta(hours=1)
    assert moments(noon, noon + 2 * hour, hour) == [noon, noon + hour]
    assert moments(noon, noon, hour) == []


def test_figures_on_top_of_one_another() -> None:
    assert stacks([[5, 0], [10, 20]], 20) == [
        ("M37.5 100h425.0v-25.0h-425.0z", "M37.5 75h425.0v-50.0h-425.0z"),
        ("", "M537.5 100h425.0v-100.0h-425.0z"),
    ]
    assert [whole_place(number, 2) for number in (0, 1)] == [
        "M0.0 100h500.0v-100h-500.0z",
        "M500.0 100h500.0v-100h-500.0z",
    ]

"""Calendar periods: their numbers grow by one, and each ends where the next begins."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from relay_contract.periods import DAY_MS, Period, end_ms, index

MOMENTS = st.integers(0, 4_102_444_800_000)  # to 2100
PERIODS = st.sampled_from(Period)


def ms(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1000  # type: ignore[misc]


@given(period=PERIODS, moment=MOMENTS)
def test_a_period_ends_where_the_next_begins(period: Period, moment: int) -> None:
    end = end_ms(period, moment)
    assert moment < end <= moment + 31 * DAY_MS
    assert index(period, end - 1) == index(period, moment)
    assert index(period, end) == index(period, moment) + 1


@given(moment=MOMENTS)
def test_periods_begin_as_the_calendar_has_it(moment: int) -> None:
    week, month = (datetime.fromtimestamp(end_ms(period, moment) / 1000, UTC) for period in (Period.WEEK, Period.MONTH))
    assert (week.weekday(), week - week.replace(hour=0, minute=0, second=0)) == (0, timedelta())
    assert (month.day, month - month.replace(hour=0, minute=0, second=0)) == (1, timedelta())


def test_a_leap_day_and_a_year_that_ends() -> None:
    assert end_ms(Period.MONTH, ms(2028, 2, 29, 23, 59)) == ms(2028, 3, 1)
    assert end_ms(Period.MONTH, ms(2026, 12, 31)) == ms(2027, 1, 1)
    assert end_ms(Period.WEEK, ms(2026, 11, 22, 12)) == ms(2026, 11, 23)
    assert end_ms(Period.DAY, ms(2026, 11, 22)) == ms(2026, 11, 23)

"""Calendar periods that budgets count in: days, weeks from Monday and months, all in UTC. Pure.

A period has a number that grows by one from each to the next, so that a budget's count in Redis is about one number.
The scripts in Redis reckon the same from its clock (`redis/admit.lua`); a test compares both.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

DAY_MS = 86_400_000
_MONDAY = 3  # 1970-01-01 was a Thursday: the third day after a Monday
_MONTHS = 12


class Period(StrEnum):
    """How long a budget lasts."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


def index(period: Period, unix_ms: int) -> int:
    """The number of the period that a moment is in."""
    days = unix_ms // DAY_MS
    match period:
        case Period.DAY:
            return days
        case Period.WEEK:
            return (days + _MONDAY) // 7
        case Period.MONTH:
            moment = _utc(unix_ms)
            return moment.year * _MONTHS + moment.month - 1


def end_ms(period: Period, unix_ms: int) -> int:
    """The first moment after that period, in Unix milliseconds."""
    days = unix_ms // DAY_MS
    match period:
        case Period.DAY:
            return (days + 1) * DAY_MS
        case Period.WEEK:
            return ((days + _MONDAY) // 7 * 7 + 7 - _MONDAY) * DAY_MS
        case Period.MONTH:
            year, month = divmod(index(Period.MONTH, unix_ms) + 1, _MONTHS)
            return int(datetime(year, month + 1, 1, tzinfo=UTC).timestamp()) * 1000


def _utc(unix_ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=unix_ms)

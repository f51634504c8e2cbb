"""When a failed delivery is tried again. Pure; the caller brings clock and chance."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MIN_JITTER = 0.8
MAX_JITTER = 1.2
"""Standard Webhooks advises to spread retries, so that a target that comes back is not met by all of them at once."""

MAX_RETRY_AFTER_SECONDS = 86_400
"""A target may ask for patience, but not move a delivery out of sight."""

_SECONDS = re.compile(r"0*([0-9]+)", re.ASCII)
_MAX_DIGITS = 9
"""What is longer is as good as for ever."""


def wait_seconds(number: int, schedule_seconds: Sequence[int], jitter: float, asked_seconds: float) -> float | None:
    """How long to wait after try `number` (from 1) failed; None when the schedule is used up.

    `jitter` is MIN_JITTER to MAX_JITTER. `asked_seconds` is what Retry-After said (0: nothing): it lengthens a wait,
    never shortens one, and counts up to MAX_RETRY_AFTER_SECONDS.
    """
    if number > len(schedule_seconds):
        return None
    return max(schedule_seconds[number - 1] * jitter, min(asked_seconds, MAX_RETRY_AFTER_SECONDS))


def retry_after_seconds(value: str | None, now: datetime) -> float:
    """Retry-After as seconds from `now`, at least 0: a number or an HTTP date (RFC 9110 section 10.2.3).

    0 for none and for what is neither, as a target's mistake must not stop the schedule.
    """
    if value is None:
        return 0
    value = value.strip()
    if number := _SECONDS.fullmatch(value):
        return int(number[1]) if len(number[1]) <= _MAX_DIGITS else 10**_MAX_DIGITS
    try:
        date = parsedate_to_datetime(value)
        return max(0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds())
    except (ValueError, OverflowError):
        return 0

"""When a call is made again. Pure.

A call may be repeated if it reads, or carries an Idempotency-Key, or was surely not done: its connection could not be
made, or it was refused before anything of it was kept (429 `rate_limited`, 503 `shutting_down`). Every other failure
leaves open whether it was done, and is the caller's to decide.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import httpx2

from relay_sdk.errors import ApiError, RelayError, Unreachable

_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_NOT_DONE = frozenset({"rate_limited", "shutting_down"})
_PASSING = frozenset(
    {
        "rate_limited",
        "shutting_down",
        "unavailable",
        "accept_unavailable",
        "idempotency_in_progress",
        "body_timeout",
        "internal_error",
        "throttled",
    }
)
"""Codes that another try may clear."""


@dataclass(frozen=True, slots=True)
class Retries:
    """`most`: further tries. `longest_wait_seconds`: who asks for more patience is not waited for; the error says how
    long it would have been."""

    most: int = 2
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 30.0

    def wait_before(self, attempt: int, error: RelayError, *, is_repeatable: bool) -> float | None:
        """Seconds until the next try, after `attempt` of them (from 1) failed; None: there is none."""
        if attempt > self.most or not _may_help(error, is_repeatable=is_repeatable):
            return None
        asked = error.retry_after_seconds if isinstance(error, ApiError) else None
        if asked is not None:
            return asked if asked <= self.longest_wait_seconds else None
        backoff = self.first_wait_seconds * 2 ** (attempt - 1)
        return float(min(backoff, self.longest_wait_seconds) * random.uniform(0.75, 1.25))  # noqa: S311 (spreads load)


def unreachable(error: httpx2.RequestError) -> Unreachable:
    """What became of a call that has no whole answer."""
    return Unreachable(f"{type(error).__name__}: {error}", was_sent=not isinstance(error, _NOT_SENT))


def _may_help(error: RelayError, *, is_repeatable: bool) -> bool:
    match error:
        case Unreachable():
            return is_repeatable or not error.was_sent
        case ApiError():
            return error.code in (_PASSING if is_repeatable else _NOT_DONE)
        case _:
            return False

"""Whether this machine, Postgres and Redis agree what time it is."""

import time
from collections.abc import Callable, Iterator

import redis

from relay_admin.doctor.finding import Finding, broken, ok, warning
from relay_admin.doctor.postgres import Database
from relay_contract.internal_token import VALID_SECONDS

NOTABLE_SECONDS = 1.0
ACTION = "Run a time service (chrony, systemd-timesyncd) on both machines."

Clock = Callable[[], float]
"""Seconds since 1970."""


def postgres_clock(database: Database) -> Clock:
    """Asks it each time."""

    def read() -> float:
        [(seconds,)] = database.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        return float(seconds)

    return read


def redis_clock(client: redis.Redis) -> Clock:
    """Asks it each time."""

    def read() -> float:
        seconds, microseconds = client.time()
        return float(seconds) + float(microseconds) / 1e6

    return read


def examine(theirs: dict[str, Clock], ours: Clock = time.time) -> Iterator[Finding]:
    """A finding for each of `theirs`, by name."""
    for name, clock in theirs.items():
        clock()  # the first answer may wait for a connection
        before = ours()
        told = clock()
        after = ours()
        yield agreement(f"clock.{name}", told - (before + after) / 2, (after - before) / 2)


def agreement(check: str, ahead_seconds: float, unsure_seconds: float) -> Finding:
    """`unsure_seconds`: half of the time that the answer took, by which `ahead_seconds` may be wrong."""
    surely = max(0.0, abs(ahead_seconds) - unsure_seconds)
    shown = f"{abs(ahead_seconds):.3f} s {'ahead of' if ahead_seconds > 0 else 'behind'} this machine"
    if surely >= VALID_SECONDS:
        return broken(check, shown, f"{ACTION} Tokens between processes live for {VALID_SECONDS} s.")
    if surely >= NOTABLE_SECONDS:
        return warning(check, shown, f"{ACTION} Expiries, windows of limits and leases are that far off.")
    return ok(check, shown)

"""How much of a busy CPU somebody else takes: other virtual machines on the same host, which no counter here shows.

One loop on every CPU at once that does nothing but read the clock. What it misses between two looks it was kept from.
A p99 cannot be lower than such pauses are frequent, whatever is measured.
"""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

SECONDS = 2.0
_NOTICED_SECONDS = 0.0005


@dataclass(frozen=True, slots=True)
class Pauses:
    """Of all CPUs together: the share of the time that was missed, and the longest pause."""

    share: float
    longest_ms: float


def measure(seconds: float = SECONDS) -> Pauses:
    """Keeps all CPUs that this process may use busy for so long."""
    cpus = sorted(os.sched_getaffinity(0))
    with ProcessPoolExecutor(len(cpus), mp_context=get_context("spawn")) as pool:
        missed = [each for found in pool.map(_watch, cpus, [seconds] * len(cpus)) for each in found]
    return Pauses(sum(missed) / (seconds * len(cpus)), max(missed, default=0.0) * 1000)


def _watch(cpu: int, seconds: float) -> list[float]:
    """The pauses of one CPU, in seconds."""
    os.sched_setaffinity(0, {cpu})
    pauses = []
    last = time.perf_counter()
    end = last + seconds
    while last < end:
        now = time.perf_counter()
        if now - last > _NOTICED_SECONDS:
            pauses.append(now - last)
        last = now
    return pauses

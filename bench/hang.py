"""A target that hangs with thousands of deliveries queued, and what the targets beside it notice of that."""

import time
from dataclasses import dataclass

from bench import fan_out
from bench.fan_out import Paced
from bench.measure import Sizes
from bench.parts import Load, fetch
from bench.product import HEALTHY_PATH, HEALTHY_TARGET_PATHS, HUNG_PATH, HUNG_TARGET_PATH
from bench.relayed import Relayed

_PER_SECOND = 50.0
"""Calls to the healthy endpoint: a load at which nothing queues by itself."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Rounds of the healthy endpoint, the hung target's queue empty and full. `released_seconds`: from the moment at
    which it answered again until its whole queue was delivered."""

    queued: int
    before: list[Paced]
    during: list[Paced]
    released_seconds: float


def hang(relayed: Relayed, sizes: Sizes, rounds: int) -> Hang:
    """The first round during it begins right after the last call was queued. BenchError when a delivery is missing."""
    fetch(f"{relayed.sink.url}/reset")

    def one_round(seconds: float) -> Paced:
        return fan_out.paced(relayed, _PER_SECOND, seconds, path=HEALTHY_PATH, targets=HEALTHY_TARGET_PATHS)

    one_round(sizes.paced_seconds / 5)
    before = [one_round(sizes.paced_seconds) for _ in range(rounds)]
    with Load(relayed.plan(HUNG_PATH, sizes.hung_deliveries, sizes.posts_in_flight)) as load:
        queued = load.run()
    during = [one_round(sizes.paced_seconds) for _ in range(rounds)]
    released = time.perf_counter()
    fetch(f"{relayed.sink.url}/release")
    relayed.recorded(released, also_waiting=True)
    taken = Hang(sizes.hung_deliveries, before, during, time.perf_counter() - released)
    relayed.check_ids([HUNG_TARGET_PATH], queued)
    return taken

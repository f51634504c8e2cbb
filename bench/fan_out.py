"""One endpoint with three targets: how much it delivers, and how soon at a fixed pace.

`deliveries` sends as fast as it is answered. `paced` sends at a rate whatever became of the calls before (open loop),
and compares three moments of each call by the machine's one monotonic clock: the caller wrote it, the caller has its
202, a target has it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import processes
from bench.load import Outcome, percentiles
from bench.measure import Sizes, cpu_by_role, cpu_since
from bench.parts import Load, fetch
from bench.product import ENDPOINT_PATH, TARGET_PATHS
from bench.relayed import Relayed

_PACED_CONNECTIONS = 256


@dataclass(frozen=True, slots=True)
class Deliveries:
    """One round of 3-way fan-out. `received_seconds`: from the first call to the last target's last receipt;
    `recorded_seconds`: until every delivery is recorded as delivered, which is also when CPU is read."""

    accepted: Outcome
    deliveries: int
    repeated: int  # calls beyond the first of an id at a target: allowed (at least once), but not free
    received_seconds: float
    recorded_seconds: float
    cpu_seconds: dict[str, float]  # by role, and the bench's own `load generator` and `sink`


def deliveries(relayed: Relayed, sizes: Sizes, rounds: int) -> list[Deliveries]:
    """BenchError when an accepted id is missing at a target."""
    _deliver(relayed, max(20, sizes.posts // 10), sizes.posts_in_flight)
    return [_deliver(relayed, sizes.posts, sizes.posts_in_flight) for _ in range(rounds)]


def _deliver(relayed: Relayed, count: int, in_flight: int) -> Deliveries:
    product, sink = relayed.product, relayed.sink
    fetch(f"{sink.url}/reset")
    with Load(relayed.plan(ENDPOINT_PATH, count, in_flight)) as load:
        load_before = processes.cpu_seconds([load.pid])
        before = cpu_by_role({**product.pids_by_role(), "sink": [sink.pid]})
        started = time.perf_counter()
        outcome = load.run()
        load_cpu = processes.cpu_seconds([load.pid]) - load_before
    received = relayed.received(TARGET_PATHS, count, started)
    recorded = relayed.recorded(started)
    spent = cpu_since(before, {**product.pids_by_role(), "sink": [sink.pid]})
    repeated = relayed.check_ids(TARGET_PATHS, outcome)
    outcome.forget_calls()
    return Deliveries(
        accepted=outcome,
        deliveries=count * len(TARGET_PATHS),
        repeated=repeated,
        received_seconds=received,
        recorded_seconds=recorded,
        cpu_seconds=spent | {"load generator": load_cpu},
    )


@dataclass(frozen=True, slots=True)
class Paced:
    """One round at a fixed pace. Starts are percentiles in milliseconds, each target's receipt of each call counted."""

    per_second: float
    accepted: Outcome
    start_ms: dict[str, float]  # since the caller wrote its call
    after_answer_ms: dict[str, float]  # since the caller had its 202; below 0 where the target was sooner
    slowest_target_ms: dict[str, float]  # as start_ms, of the target whose p95 is the longest


def paced(
    relayed: Relayed,
    per_second: float,
    seconds: float,
    *,
    path: str = ENDPOINT_PATH,
    targets: Sequence[str] = TARGET_PATHS,
) -> Paced:
    """Calls to an endpoint for so long. BenchError when an accepted id is missing at one of its targets."""
    fetch(f"{relayed.sink.url}/forget?{','.join(targets)}")
    count = max(1, int(per_second * seconds))
    with Load(relayed.plan(path, count, _PACED_CONNECTIONS, per_second=per_second)) as load:
        started = time.perf_counter()
        outcome = load.run()
    relayed.received(targets, count, started)
    relayed.check_ids(targets, outcome)
    received = fetch(f"{relayed.sink.url}/received")
    taken = Paced(
        per_second=per_second,
        accepted=outcome,
        start_ms=percentiles(_waits(outcome.sent_at, outcome, received, targets)),
        after_answer_ms=percentiles(_waits(outcome.answered_at, outcome, received, targets)),
        slowest_target_ms=max(
            (percentiles(_waits(outcome.sent_at, outcome, received, [target])) for target in targets),
            key=lambda found: found["p95"],
        ),
    )
    outcome.forget_calls()
    return taken


def paced_rounds(relayed: Relayed, sizes: Sizes, rounds: int, per_second: float) -> list[Paced]:
    """After a warm-up; the queue is empty when a round begins."""
    taken = []
    for seconds in (sizes.paced_seconds / 5, *[sizes.paced_seconds] * rounds):
        taken.append(paced(relayed, per_second, seconds))
        relayed.recorded(time.perf_counter())
    return taken[1:]


def _waits(
    since: Sequence[float], outcome: Outcome, received: Mapping[str, Mapping[str, float]], targets: Sequence[str]
) -> list[float]:
    """Seconds from each call's moment to its receipt at each of the targets."""
    moments = dict(zip(outcome.collected, since, strict=True))
    return [at - moments[webhook_id] for target in targets for webhook_id, at in received[target].items()]

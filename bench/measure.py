"""The measurements. Each returns plain numbers per round; `report.py` takes medians and says what they mean.

Contenders take turns within a round, in an order that turns with the round, each after a warm-up. CPU is read right
before the load and again `_SETTLE_SECONDS` after its end, so that what a contender does later is counted too.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from bench import processes
from bench.load import Outcome, Plan
from bench.parts import BenchError, Load, Part
from bench.product import (
    BRIEF_MODEL,
    CHAT_MODEL,
    CHAT_PATH,
    CROSS_MODEL,
    IDLE_MODEL,
    STREAM_PATH,
    TICKING_MODEL,
    Product,
)

BODY_BYTES = 1024
_SETTLE_SECONDS = 0.3
_FEW_IN_FLIGHT = 8
_HALT_AFTER_SECONDS = 0.5
_HALT_SECONDS = 1.0
_ENOUGH_FOR_A_HALT = 15_000
_SOAK_SAMPLE_SECONDS = 5.0

Roles = Mapping[str, list[int]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything. `streams` pairs how many at once with how many in all."""

    requests: int = 20_000
    requests_in_flight: int = 32
    requests_many_in_flight: int = 128
    paced_seconds: float = 5.0
    requests_one_at_a_time: int = 2_000
    streams: tuple[tuple[int, int], ...] = ((25, 250), (200, 1_000))
    posts: int = 3_000
    posts_in_flight: int = 64
    idle_streams: int = 2_000
    sync_calls: int = 1_000
    first_bytes: int = 200
    accepts_per_second: float = 500.0
    hung_deliveries: int = 5_000
    finished_deliveries: int = 1_000_000


QUICK = Sizes(2_000, 32, 128, 1.0, 300, ((25, 50), (200, 200)), 300, 64, 200, 200, 50, 500.0, 500, 100_000)


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody who answers chat completions. `roles` are its processes; the one named `edge` is pinned and compared."""

    name: str
    url: str
    headers: Mapping[str, str]
    roles: Callable[[], Roles]
    path: str = CHAT_PATH
    bearers: tuple[str, ...] = ()  # relay keys shown in turn


@dataclass(slots=True)
class Sample:
    """One contender in one round."""

    outcome: Outcome
    cpu_seconds: dict[str, float] = field(default_factory=dict)  # by role


def part_contender(part: Part) -> Contender:
    """The vendor itself (direct), or the bare proxy."""
    return Contender(part.name, part.url, {"authorization": "Bearer nobody-asks"}, lambda: {"edge": [part.pid]})


def product_contender(product: Product) -> Contender:
    return Contender("relay", product.edge_url, {"authorization": f"Bearer {product.relay_key}"}, product.pids_by_role)


class Placement:
    """Which CPU runs what, for everything below this process. Nothing is pinned where there is one CPU only."""

    def __init__(self) -> None:
        self._all = sorted(os.sched_getaffinity(0))

    @property
    def text(self) -> str:
        if len(self._all) < 2:
            return "nothing is pinned: this machine has one CPU"
        rest = ", ".join(map(str, self._all[:-1]))
        return (
            f"the edge (or bare proxy) alone on CPU {self._all[-1]}, everything else on CPU {rest}; deliveries unpinned"
        )

    def apart(self, edge_pids: Sequence[int]) -> None:
        """These on the last CPU, everything else of ours on the others."""
        if len(self._all) > 1:
            processes.pin(processes.tree(os.getpid()), self._all[:-1])
            processes.pin(edge_pids, self._all[-1:])

    def together(self) -> None:
        """Everything everywhere."""
        processes.pin(processes.tree(os.getpid()), self._all)


def chat_body(model: str, *, stream: bool = False) -> str:
    """A request body of BODY_BYTES, spelt as the vendor expects it."""
    streamed = '"stream":true,"stream_options":{"include_usage":true},' if stream else ""
    start = f'{{"model":"{model}",{streamed}"messages":[{{"role":"user","content":"'
    end = '"}],"max_tokens":200}'
    return start + ("words of a question " * 60)[: BODY_BYTES - len(start) - len(end)] + end


def _turns(contenders: Sequence[Contender], round_number: int) -> Iterator[Contender]:
    shift = round_number % len(contenders)
    yield from [*contenders[shift:], *contenders[:shift]]


def _once(contender: Contender, plan: Plan) -> Sample:
    with Load(plan) as load:
        before = cpu_by_role(contender.roles())
        load_before = processes.cpu_seconds([load.pid])
        outcome = load.run()
        load_after = processes.cpu_seconds([load.pid])
        time.sleep(_SETTLE_SECONDS)
        spent = cpu_since(before, contender.roles())
    return Sample(outcome, spent | {"load generator": load_after - load_before})


def cpu_by_role(roles: Roles) -> dict[str, float]:
    return {role: processes.cpu_seconds(pids) for role, pids in roles.items()}


def cpu_since(before: Mapping[str, float], roles: Roles) -> dict[str, float]:
    """CPU by role since `before`, of the processes there are now; one that ended is in its parent's figure."""
    return {role: spent - before.get(role, 0.0) for role, spent in cpu_by_role(roles).items()}


def chat_plan(
    contender: Contender, count: int, connections: int, *, stream: bool = False, model: str = CHAT_MODEL
) -> Plan:
    """`count` chat completions. Streams start spread over one stream's length, so that they do not tick together."""
    return Plan(
        url=contender.url + contender.path,
        headers={"content-type": "application/json", **contender.headers},
        body=chat_body(model, stream=stream),
        bearers=list(contender.bearers),
        connections=connections,
        count=count,
        ramp_seconds=0.8 if stream and connections > 1 else 0.0,
    )


def requests(contenders: Sequence[Contender], sizes: Sizes, rounds: int) -> dict[str, list[Sample]]:
    """Whole answers, many in flight, by contender's name."""
    return _rounds(contenders, rounds, sizes.requests, sizes.requests_in_flight, sizes.requests // 5)


def requests_many_in_flight(contenders: Sequence[Contender], sizes: Sizes, rounds: int) -> dict[str, list[Sample]]:
    """The same with more of them: a turn of the event loop serves several."""
    return _rounds(contenders, rounds, sizes.requests, sizes.requests_many_in_flight, sizes.requests // 5)


def requests_paced(
    contenders: Sequence[Contender], sizes: Sizes, rounds: int, per_second: float
) -> dict[str, list[Sample]]:
    """Whole answers, so many a second, sent whether or not those before were answered."""
    count = max(5, int(sizes.paced_seconds * per_second))
    return _rounds(contenders, rounds, count, sizes.requests_in_flight, count // 5, per_second=per_second)


def requests_one_at_a_time(contenders: Sequence[Contender], sizes: Sizes, rounds: int) -> dict[str, list[Sample]]:
    """Whole answers, one connection: what a call waits for when nobody else calls."""
    return _rounds(contenders, rounds, sizes.requests_one_at_a_time, 1, 200)


def streams(contenders: Sequence[Contender], at_once: int, count: int, rounds: int) -> dict[str, list[Sample]]:
    """Streamed answers, by contender's name."""
    return _rounds(contenders, rounds, count, at_once, at_once, stream=True)


def cross_shape(
    contender: Contender, sizes: Sizes, rounds: int
) -> tuple[dict[str, list[Sample]], dict[str, list[Sample]]]:
    """Chat completions from a host that speaks messages: whole answers, then streams."""
    at_once, count = sizes.streams[-1]
    whole = _rounds(
        [contender], rounds, sizes.requests // 2, sizes.requests_in_flight, sizes.requests // 10, model=CROSS_MODEL
    )
    return whole, _rounds([contender], rounds, count, at_once, at_once, stream=True, model=CROSS_MODEL)


def _rounds(
    contenders: Sequence[Contender],
    rounds: int,
    count: int,
    connections: int,
    warm_up: int,
    *,
    stream: bool = False,
    model: str = CHAT_MODEL,
    per_second: float = 0.0,
) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in _turns(contenders, number):
            with Load(chat_plan(contender, warm_up, min(connections, warm_up), stream=stream, model=model)) as load:
                load.run()
            plan = replace(chat_plan(contender, count, connections, stream=stream, model=model), per_second=per_second)
            samples[contender.name].append(_once(contender, plan))
    sizes = {tuple(sample.outcome.body_bytes) for taken in samples.values() for sample in taken}
    if len(sizes) != 1:
        raise BenchError(f"The contenders' answers differ in size: {sizes}. They do not do the same work.")
    return samples


def first_bytes(contenders: Sequence[Contender], sizes: Sizes, rounds: int) -> dict[str, list[Sample]]:
    """Short streams one at a time, of which the product's come from an endpoint with the vendor for its target."""
    streamed = [replace(one, path=STREAM_PATH) if one.name == "relay" else one for one in contenders]
    return _rounds(streamed, rounds, sizes.first_bytes, 1, sizes.first_bytes // 5, stream=True, model=BRIEF_MODEL)


def redis_stopped(product: Product, sizes: Sizes) -> Sample:
    """Whole answers while Redis is halted (SIGSTOP) for a second in their midst: how long the longest took. By a key
    without a limit of cost, which would be refused meanwhile."""
    (valkey, *_) = product.pids_by_role()["valkey"]
    contender = replace(product_contender(product), headers={"authorization": f"Bearer {product.rates_key}"})
    with Load(chat_plan(contender, max(sizes.requests, _ENOUGH_FOR_A_HALT), _FEW_IN_FLIGHT)) as load:
        halting = threading.Timer(_HALT_AFTER_SECONDS, _halt, [valkey])
        halting.start()
        outcome = load.run()
        halting.join()
    if outcome.seconds < _HALT_AFTER_SECONDS + _HALT_SECONDS:
        raise BenchError(f"The load took {outcome.seconds} s and was over before Redis went on; give it more requests.")
    return Sample(outcome)


def _halt(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(_HALT_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)


def ticking_streams(contender: Contender, sizes: Sizes, minutes: float) -> list[int]:
    """Resident bytes of the edge, every few seconds, while it holds streams that say a chunk a second."""
    plan = replace(
        chat_plan(contender, sizes.idle_streams, sizes.idle_streams, stream=True, model=TICKING_MODEL),
        ramp_seconds=2.0,
        hold=True,
    )
    taken: list[int] = []
    with Load(plan) as load:
        load.run()
        ends = time.monotonic() + minutes * 60
        while time.monotonic() < ends:
            time.sleep(_SOAK_SAMPLE_SECONDS)
            taken.append(largest(contender.roles()["edge"]).resident_bytes)
        cut = load.release()
    if cut:
        raise BenchError(f"{contender.name} cut {cut} of {sizes.idle_streams} ticking streams by itself.")
    return taken


@dataclass(frozen=True, slots=True)
class IdleStreams:
    """Memory of one edge process (the largest of its role) before and while it holds idle streams."""

    streams: int
    before: processes.Memory
    holding: processes.Memory
    cut: int  # how many the edge ended by itself: 0, or the figure means nothing


def idle_streams(contender: Contender, sizes: Sizes) -> IdleStreams:
    """Open streams that say one chunk and then nothing, and look at the edge while they are open."""
    plan = chat_plan(contender, sizes.idle_streams, sizes.idle_streams)
    held = Plan(
        url=plan.url,
        headers=plan.headers,
        body=chat_body(IDLE_MODEL, stream=True),
        connections=plan.connections,
        count=plan.count,
        ramp_seconds=1.0,
        hold=True,
    )
    with Load(chat_plan(contender, 200, 8)) as load:
        load.run()
    before = largest(contender.roles()["edge"])
    with Load(held) as load:
        load.run()
        time.sleep(_SETTLE_SECONDS)
        holding = largest(contender.roles()["edge"])
        cut = load.release()
    if cut:
        raise BenchError(f"{contender.name} cut {cut} of {sizes.idle_streams} idle streams by itself.")
    return IdleStreams(sizes.idle_streams, before, holding, cut)


def largest(pids: Sequence[int]) -> processes.Memory:
    """The memory of the process that holds most."""
    return max((processes.memory(pid) for pid in pids), key=lambda memory: memory.resident_bytes)


@contextmanager
def placed(placement: Placement, contenders: Sequence[Contender]) -> Iterator[None]:
    """Within the block the contenders' edges are alone on their CPU."""
    placement.apart(
        [pid for contender in contenders for pid in contender.roles()["edge"] if contender.name != "vendor"]
    )
    try:
        yield
    finally:
        placement.together()

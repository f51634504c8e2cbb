"""The relay plane's measurements as figures."""

from collections.abc import Callable, Sequence
from statistics import median

from bench.answered import SyncCalls
from bench.fan_out import Deliveries, Paced
from bench.hang import Hang
from bench.report import Aim, Figure

MOST_CHANGE = 1.2
"""What a figure may become of itself: by a long history, or by a target that hangs."""


def _median_of(name: str, unit: str, rounds: Sequence[float], aim: Aim | None = None) -> Figure:
    taken = tuple(round(value, 6) for value in rounds)
    return Figure(name, unit, median(taken), aim=aim, rounds=taken)


BENCH_ROLES = ("load generator", "sink")


def delivery_figures(rounds: Sequence[Deliveries]) -> list[Figure]:
    """3-way fan-out, end to end, and where the CPU went."""

    def over(value: Callable[[Deliveries], float]) -> list[float]:
        return [value(one) for one in rounds]

    def per_1000(*roles: str) -> list[float]:
        return over(lambda one: sum(one.cpu_seconds.get(role, 0.0) for role in roles) / one.deliveries * 1000)

    ours = sorted({role for one in rounds for role in one.cpu_seconds} - set(BENCH_ROLES))
    by_role = [
        _median_of(f"  {role}{' (of the bench, not counted)' if role in BENCH_ROLES else ''}", "s", per_1000(role))
        for role in (*ours, *BENCH_ROLES)
    ]
    return [
        _median_of(
            "deliveries a second, received by the targets",
            "1/s",
            over(lambda one: one.deliveries / one.received_seconds),
            Aim(2500, is_upper=False),
        ),
        _median_of(
            "deliveries a second, recorded as delivered", "1/s", over(lambda one: one.deliveries / one.recorded_seconds)
        ),
        _median_of(
            "posts accepted a second (202, committed)",
            "1/s",
            over(lambda one: one.accepted.completed / one.accepted.seconds),
        ),
        _median_of("p50 of a post's 202", "ms", over(lambda one: one.accepted.total_ms["p50"])),
        _median_of("CPU per 1,000 deliveries, the whole product", "s", per_1000(*ours), Aim(0.5, is_upper=True)),
        *sorted((one for one in by_role if (one.ours or 0) >= 0.001), key=lambda one: -(one.ours or 0)),
    ]


def sync_figures(rounds: Sequence[SyncCalls]) -> list[Figure]:
    """How much later than from the target itself its answer comes through the queue and a worker."""

    def added(at: str) -> list[float]:
        return [one.relayed.total_ms[at] - one.direct.total_ms[at] for one in rounds]

    return [
        _median_of("added p50, a sync target", "ms", added("p50"), Aim(15, is_upper=True)),
        _median_of("added p99, a sync target", "ms", added("p99")),
    ]


def accept_figures(rounds: Sequence[Paced]) -> list[Figure]:
    """How long callers wait for their 202."""
    how = f"of a post's 202 at {rounds[0].per_second:,.0f} a second"
    return [
        _median_of(f"p50 {how}", "ms", [one.accepted.total_ms["p50"] for one in rounds], Aim(6, is_upper=True)),
        _median_of(f"p99 {how}", "ms", [one.accepted.total_ms["p99"] for one in rounds], Aim(30, is_upper=True)),
    ]


def start_figures(rounds: Sequence[Paced]) -> list[Figure]:
    """How long a call takes to its targets."""
    how = f"at {rounds[0].per_second:,.0f} posts a second, half of capacity"
    return [
        _median_of(f"p50 from a call to its target, {how}", "ms", [one.start_ms["p50"] for one in rounds]),
        _median_of(
            f"p95 from a call to its target, {how}",
            "ms",
            [one.start_ms["p95"] for one in rounds],
            Aim(50, is_upper=True),
        ),
        _median_of("p95 from its 202 to its target", "ms", [one.after_answer_ms["p95"] for one in rounds]),
    ]


def hang_figures(taken: Hang) -> list[Figure]:
    """The healthy targets' p95, the slowest of them taken."""
    before, during = ([one.slowest_target_ms["p95"] for one in rounds] for rounds in (taken.before, taken.during))
    return [
        _median_of("p95 from a call to its target, all targets well", "ms", before),
        _median_of(f"the same while another hangs with {taken.queued:,} queued", "ms", during),
        _ratio("that p95 while another hangs, of what it was", before, during),
        Figure("until a queue that hung was delivered", "s", taken.released_seconds),
    ]


def history_figures(
    finished: int,
    deliveries: tuple[Sequence[Deliveries], Sequence[Deliveries]],
    accepts: tuple[Sequence[Paced], Sequence[Paced]],
    starts: tuple[Sequence[Paced], Sequence[Paced]],
) -> list[Figure]:
    """Each measured without history and with it."""
    how = f"with {finished:,} finished, of what it was"

    def cpu(one: Deliveries) -> float:
        return sum(spent for role, spent in one.cpu_seconds.items() if role not in BENCH_ROLES)

    rates = [[one.deliveries / one.received_seconds for one in rounds] for rounds in deliveries]
    spent = [[cpu(one) for one in rounds] for rounds in deliveries]
    return [
        Figure(
            f"deliveries a second {how}", "ratio", median(rates[1]) / median(rates[0]), aim=Aim(0.8, is_upper=False)
        ),
        _ratio(f"CPU per 1,000 deliveries {how}", *spent),
        *(
            _ratio(f"{at} of a post's 202 {how}", *([one.accepted.total_ms[at] for one in each] for each in accepts))
            for at in ("p50", "p99")
        ),
        _ratio(f"p95 to the target {how}", *([one.start_ms["p95"] for one in each] for each in starts)),
    ]


def _ratio(name: str, before: Sequence[float], after: Sequence[float]) -> Figure:
    return Figure(name, "ratio", median(after) / median(before), aim=Aim(MOST_CHANGE, is_upper=True))

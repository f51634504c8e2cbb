"""From samples to figures, a table for people, and a JSON file that can be compared with the next run's."""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import pauses
from bench.measure import Contender, IdleStreams, Sample, Sizes
from bench.processes import Memory

_PACKAGES = ("aiohttp", "uvloop", "httptools", "psycopg", "redis", "celery", "django")
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Aim:
    """A bound that the project set itself."""

    bound: float
    is_upper: bool

    def __str__(self) -> str:
        return f"{'<=' if self.is_upper else '>='} {self.bound:,g}"

    def is_met(self, value: float) -> bool:
        return value <= self.bound if self.is_upper else value >= self.bound


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `ours` is None when the product was not measured, else the median of `rounds`."""

    name: str
    unit: str
    ours: float | None
    bare: float | None = None
    aim: Aim | None = None
    rounds: tuple[float, ...] = ()

    @property
    def ratio(self) -> float | None:
        """Ours by the bare proxy's."""
        return self.ours / self.bare if self.ours is not None and self.bare else None

    @property
    def verdict(self) -> str:
        """Whether the aim is met; empty without an aim or a value."""
        if self.aim is None or self.ours is None:
            return ""
        return "met" if self.aim.is_met(self.ours) else "NOT MET"


@dataclass(slots=True)
class Report:
    """What a run found. `raw` keeps every round."""

    settings: dict[str, Any]
    machine: dict[str, Any] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)

    def shortfalls(self) -> list[str]:
        """A sentence for each aim that is not met."""
        return [
            f"{figure.name}: {_number(figure.ours)} {figure.unit}, the aim is {figure.aim}"
            for figure in self.figures
            if figure.verdict == "NOT MET"
        ]

    def table(self) -> str:
        """The figures as aligned text."""
        head = ("", "ours", "bare aiohttp", "ours/bare", "aim", "")
        rows = [head, *(_row(figure) for figure in self.figures)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = ["  ".join(_aligned(cell, widths[n], n) for n, cell in enumerate(row)).rstrip() for row in rows]
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])

    def write(self, folder: Path) -> Path:
        """Store the run as `<date>-<system>-<cpus>cpu.json`, numbered when there is one of that day; where it is."""
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{datetime.now(UTC):%Y-%m-%d}-{platform.system().lower()}-{os.cpu_count()}cpu"
        names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
        path = next(folder / f"{name}.json" for name in names if not (folder / f"{name}.json").exists())
        document = {
            "settings": self.settings,
            "machine": self.machine,
            "figures": [asdict(figure) | {"ratio": figure.ratio, "verdict": figure.verdict} for figure in self.figures],
            "shortfalls": self.shortfalls(),
            "notes": self.notes,
            "raw": self.raw,
        }
        path.write_text(json.dumps(document, indent=1, default=_plain) + "\n")
        return path


def _row(figure: Figure) -> tuple[str, ...]:
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    aim = "" if figure.aim is None else str(figure.aim)
    return f"{figure.name} ({figure.unit})", _number(figure.ours), _number(figure.bare), ratio, aim, figure.verdict


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column in (0, 5) else cell.rjust(width)


def _number(value: float | None) -> str:
    """Three or four digits that mean something."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _plain(value: Any) -> Any:
    return asdict(value)


def machine(folder: Path) -> dict[str, Any]:
    """What the figures were measured on, without its name. Writes and removes a small file in `folder`, and
    keeps the CPUs busy for two seconds."""
    cpus = [line.split(":", 1)[1].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    memory_kb = next(int(line.split()[1]) for line in _lines(Path("/proc/meminfo")) if line.startswith("MemTotal"))
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "system": f"{platform.system()} {platform.release()}",
        "cpu": cpus[0] if cpus else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory_kb / 1e6, 1),
        "python": sys.version.split()[0],
        "packages": {name: version(name) for name in _PACKAGES},
        "fdatasync_ms": _fdatasync_ms(folder),
        "load_average": os.getloadavg(),
        "pauses": asdict(pauses.measure()),
    }


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _fdatasync_ms(folder: Path) -> float:
    """The median of 50 waits for 8 KB to reach the disk: what a commit cannot be faster than."""
    path = folder / f"relay-bench-fdatasync-{os.getpid()}"
    waits = []
    with path.open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(b"\0" * 8192)
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            waits.append(time.perf_counter() - started)
    path.unlink()
    return round(statistics.median(waits) * 1000, 3)


Samples = Mapping[str, Sequence[Sample]]
OURS, BARE, DIRECT = "relay", "bare_proxy", "vendor"


def _of_each(samples: Samples, name: str, value: Callable[[Sample], float]) -> tuple[float, ...]:
    return tuple(round(value(sample), 6) for sample in samples.get(name, ()))


def _compared(
    name: str, unit: str, samples: Samples, value: Callable[[Sample], float], aim: Aim | None = None
) -> Figure:
    ours, bare = _of_each(samples, OURS, value), _of_each(samples, BARE, value)
    return Figure(name, unit, median(ours), median(bare), aim, ours)


def median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _edge_cpu_per_1000(sample: Sample) -> float:
    return sample.cpu_seconds["edge"] / sample.outcome.completed * 1000


def capacity_per_second(samples: Samples) -> float:
    """How many calls ours answered a second; of the bare proxy where ours was not measured."""
    answered = samples.get(OURS) or samples[BARE]
    return statistics.median(sample.outcome.completed / sample.outcome.seconds for sample in answered)


def request_figures(many: Samples, more: Samples, in_flight: tuple[int, int]) -> list[Figure]:
    """Whole answers: CPU and rate."""
    figures = [
        _compared("edge CPU per 1,000 chats", "s", many, _edge_cpu_per_1000, Aim(0.10, is_upper=True)),
        _compared(
            f"chats a second on one core, {in_flight[0]} in flight",
            "1/s",
            many,
            lambda sample: sample.outcome.completed / sample.outcome.seconds,
        ),
        _compared(
            "of which the edge was busy",
            "share",
            many,
            lambda sample: sample.cpu_seconds["edge"] / sample.outcome.seconds,
        ),
    ]
    if OURS in many:
        valkey = _of_each(many, OURS, lambda sample: sample.cpu_seconds["valkey"] / sample.outcome.completed * 1000)
        figures.append(Figure("Valkey CPU per 1,000 chats", "s", median(valkey), rounds=valkey))
    figures.append(_compared(f"edge CPU per 1,000 chats, {in_flight[1]} in flight", "s", more, _edge_cpu_per_1000))
    return figures


def latency_figures(samples: Samples, how: str) -> list[Figure]:
    """How much later than direct whole answers come."""
    figures: list[Figure] = []
    for at in ("p50", "p99"):
        direct = median(_of_each(samples, DIRECT, lambda sample, at=at: sample.outcome.total_ms[at])) or 0.0  # type: ignore[misc]
        figures.append(
            _compared(
                f"added {at}, {how}",
                "ms",
                samples,
                lambda sample, at=at, direct=direct: sample.outcome.total_ms[at] - direct,  # type: ignore[misc]
                Aim(0.6 if at == "p50" else 3.0, is_upper=True),
            )
        )
    return figures


def stream_figures(samples: Samples, at_once: int, aim: Aim | None) -> list[Figure]:
    """Streamed answers of 40 chunks, 50 a second."""
    direct = median(_of_each(samples, DIRECT, lambda sample: sample.outcome.first_byte_ms["p50"])) or 0.0
    return [
        _compared(f"edge CPU per 1,000 streams of 40 chunks, {at_once} at once", "s", samples, _edge_cpu_per_1000, aim),
        _compared(
            f"added p50 to the first chunk, {at_once} at once",
            "ms",
            samples,
            lambda sample: sample.outcome.first_byte_ms["p50"] - direct,
        ),
    ]


def first_byte_figures(samples: Samples) -> list[Figure]:
    """Streams one at a time: how much later than direct they begin."""

    def first(sample: Sample, at: str) -> float:
        return sample.outcome.first_byte_ms[at]

    direct = {at: median(_of_each(samples, DIRECT, lambda one, at=at: first(one, at))) or 0.0 for at in ("p50", "p99")}  # type: ignore[misc]
    return [
        _compared(
            f"added {at} to the first byte of an endpoint's stream",
            "ms",
            samples,
            lambda one, at=at: first(one, at) - direct[at],  # type: ignore[misc]
            Aim(2, is_upper=True) if at == "p50" else None,
        )
        for at in direct
    ]


def cross_shape_figures(whole: Samples, streamed: Samples, at_once: int) -> list[Figure]:
    """Chat completions out of messages."""
    return [
        _compared("edge CPU per 1,000 chats, translated", "s", whole, _edge_cpu_per_1000, Aim(0.25, is_upper=True)),
        _compared(
            f"edge CPU per 1,000 streams, translated, {at_once} at once",
            "s",
            streamed,
            _edge_cpu_per_1000,
            Aim(4.0, is_upper=True),
        ),
    ]


def outage_figures(sample: Sample) -> list[Figure]:
    """Redis halted in the midst of whole answers."""
    longest = sample.outcome.total_ms
    return [
        Figure("p50 of a chat in a run in which Redis halts", "ms", longest["p50"]),
        Figure("the longest chat of that run", "ms", longest["max"], aim=Aim(60, is_upper=True)),
    ]


def soak_figures(streams: int, minutes: float, resident: Sequence[int]) -> list[Figure]:
    """Memory of an edge that holds live streams for minutes; the start is left out, when buffers still grow."""
    third = len(resident) // 3
    early, late = statistics.mean(resident[third : 2 * third]), statistics.mean(resident[-third:])
    return [
        Figure(f"edge memory with {streams:,} live streams, {minutes:g} minutes", "MB", late / _MEGABYTE),
        Figure("growth from the second third to the last", "%", (late / early - 1) * 100, aim=Aim(1, is_upper=True)),
    ]


def process_figures(one: Samples, two: Samples) -> list[Figure]:
    """The same load on one edge process and on two: what a call costs must not rise, for throughput to double."""
    single, double = (median(_of_each(each, OURS, _edge_cpu_per_1000)) for each in (one, two))
    if not single or not double:
        return []
    share = single / double
    return [
        Figure("edge CPU per 1,000 chats, two processes", "s", double),
        Figure("throughput a second process adds, by CPU a call", "share", 2 * share - 1, aim=Aim(0.8, is_upper=False)),
    ]


def memory_figures(ours: IdleStreams | None, bare: IdleStreams, worker: Memory | None) -> list[Figure]:
    """Resident memory of single processes, in megabytes of 10^6 bytes."""

    def of(idle: IdleStreams | None, memory: Callable[[IdleStreams], int]) -> float | None:
        return None if idle is None else memory(idle) / _MEGABYTE

    figures = [
        Figure(
            "edge memory with no stream",
            "MB",
            of(ours, lambda idle: idle.before.resident_bytes),
            of(bare, lambda idle: idle.before.resident_bytes),
        ),
        Figure(
            f"edge memory with {bare.streams:,} idle streams",
            "MB",
            of(ours, lambda idle: idle.holding.resident_bytes),
            of(bare, lambda idle: idle.holding.resident_bytes),
        ),
        Figure(
            "edge memory of one idle stream",
            "KB",
            _per_stream(ours),
            _per_stream(bare),
            Aim(60, is_upper=True),
        ),
    ]
    if worker is not None:
        figures.append(Figure("worker memory, at most", "MB", worker.peak_bytes / _MEGABYTE))
    return figures


def _per_stream(idle: IdleStreams | None) -> float | None:
    if idle is None:
        return None
    return (idle.holding.resident_bytes - idle.before.resident_bytes) / idle.streams / 1000


def settings(contenders: Sequence[Contender], sizes: Sizes, rounds: int, placement: str) -> dict[str, Any]:
    """How the run was made."""
    return {
        "rounds": rounds,
        "sizes": asdict(sizes),
        "placement": placement,
        "contenders": [contender.name for contender in contenders],
    }

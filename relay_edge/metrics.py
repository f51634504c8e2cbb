"""Counters of one edge process, and their sum over all of them in Prometheus' text format 0.0.4.

On the hot path a metric is an attribute that was looked up at start: 0.1 us to count, 0.3 us to observe. Nothing is
locked: a process counts on its event loop only.

Each process writes its values to a file of its own once a second, in a thread; whichever process answers `/metrics`
adds up the files, with its own values fresh. The successor of a killed process starts from the file of its predecessor,
so that a sum never falls and Prometheus sees no false reset.

Label values are ours, never a caller's: no key, name or address makes a new series.
"""

import json
import math
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from relay_contract import errors

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SECONDS_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
OVERHEAD_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
BATCH_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)

STALE_SECONDS = 10.0
"""Gauges in an older file are not believed: its process is gone or hangs. Its counters still count."""

Merge = Literal["sum", "max", "process"]
"""How a gauge of several processes reads: added up, the largest, or one series for each process."""

Surface = Literal["inference", "models", "relay", "health", "other"]
SURFACES: tuple[Surface, ...] = ("inference", "models", "relay", "health", "other")
STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")


class Counter:
    """Only ever grows. The hot path may write `counter.value += 1`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def add(self, amount: float = 1) -> None:
        """Counts."""
        self.value += amount

    def dump(self) -> Any:
        """As JSON."""
        return self.value

    def carry_on(self, dumped: Any) -> None:
        """Starts from what a predecessor had dumped."""
        self.value += dumped


class Gauge:
    """A value that comes and goes; `read`, where given, is asked for it when it is shown (None: not shown)."""

    __slots__ = ("read", "value")

    def __init__(self, read: Callable[[], float | None] | None = None) -> None:
        self.read = read
        self.value: float = 0

    def dump(self) -> Any:
        """As JSON."""
        return self.read() if self.read is not None else self.value

    def carry_on(self, _dumped: Any) -> None:
        """A gauge speaks of its own process only."""


class Histogram:
    """Observations in buckets; `bounds` are upper limits, ascending; one more bucket takes what is above them all."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Counts one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def dump(self) -> Any:
        """As JSON."""
        return [*self.counts, self.total]

    def carry_on(self, dumped: Any) -> None:
        """Starts from what a predecessor had dumped. ValueError when its buckets were others."""
        *counts, total = dumped
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, counts, strict=True)]
        self.total += total


Child = TypeVar("Child", Counter, Gauge, Histogram)


class _Family:
    """All series of one name, by their labels as they are printed."""

    __slots__ = ("bounds", "children", "is_open", "kind", "merge", "name", "text")

    def __init__(self, name: str, kind: str, text: str, merge: Merge = "sum", bounds: tuple[float, ...] = ()) -> None:
        self.is_open = False  # series come with what is met; other processes may have more of them
        self.name, self.kind, self.text, self.merge, self.bounds = name, kind, text, merge, bounds
        self.children: dict[str, Counter | Gauge | Histogram] = {}

    def lines(self, values: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
        """The exposition of this family. `values`: process index -> labels -> dumped value."""
        yield f"# HELP {self.name} {self.text}"
        yield f"# TYPE {self.name} {self.kind}"
        if self.merge == "process":
            for process, children in values.items():
                for labels, value in children.items():
                    yield _line(self.name, _joined(labels, f'process="{process}"'), value)
            return
        gathered: dict[str, list[Any]] = {}
        for children in values.values():
            for labels, value in children.items():
                gathered.setdefault(labels, []).append(value)
        for labels, found in gathered.items():
            if self.kind == "histogram":
                yield from self._histogram(labels, [sum(column) for column in zip(*found, strict=True)])
            else:
                yield _line(self.name, labels, max(found) if self.merge == "max" else sum(found))

    def _histogram(self, labels: str, dumped: list[float]) -> Iterator[str]:
        *counts, total = dumped
        running = 0.0
        for bound, count in zip((*self.bounds, math.inf), counts, strict=True):
            running += count
            edge = "+Inf" if math.isinf(bound) else repr(bound)
            yield _line(f"{self.name}_bucket", _joined(labels, f'le="{edge}"'), running)
        yield _line(f"{self.name}_sum", labels, total)
        yield _line(f"{self.name}_count", labels, running)


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


def _joined(*labels: str) -> str:
    return ",".join(filter(None, labels))


def _line(name: str, labels: str, value: float) -> str:
    number = str(int(value)) if value == int(value) else repr(float(value))
    return f"{name}{{{labels}}} {number}" if labels else f"{name} {number}"


class Registry:
    """Every series of one process, in the order of their making."""

    def __init__(self) -> None:
        self._families: dict[str, _Family] = {}

    def counter(self, name: str, text: str, **labels: str) -> Counter:
        """A new counter series; `name` ends in `_total`."""
        return self._add(_Family(name, "counter", text), labels, Counter())

    def open_counter(self, name: str, text: str) -> Callable[..., Counter]:
        """A counter whose series are made as they are met: call it with labels. Whoever does bounds their number."""
        family = self._families.setdefault(name, _Family(name, "counter", text))
        family.is_open = True

        def series(**labels: str) -> Counter:
            held = family.children.setdefault(_labels(labels), Counter())
            assert isinstance(held, Counter)
            return held

        return series

    def gauge(
        self, name: str, text: str, merge: Merge, read: Callable[[], float | None] | None = None, **labels: str
    ) -> Gauge:
        """A new gauge series."""
        return self._add(_Family(name, "gauge", text, merge), labels, Gauge(read))

    def histogram(self, name: str, text: str, bounds: tuple[float, ...], **labels: str) -> Histogram:
        """A new histogram series."""
        return self._add(_Family(name, "histogram", text, bounds=bounds), labels, Histogram(bounds))

    def _add(self, family: _Family, labels: Mapping[str, str], child: Child) -> Child:
        held = self._families.setdefault(family.name, family)
        held.children[_labels(labels)] = child
        return child

    def dump(self) -> dict[str, Any]:
        """This process' values, as JSON."""
        families = {
            family.name: {labels: child.dump() for labels, child in family.children.items()}
            for family in self._families.values()
        }
        return {"written_at": time.time(), "families": families}

    def carry_on(self, dumped: Mapping[str, Any]) -> None:
        """Counts on from a predecessor's values. Series that it did not have start from 0."""
        for name, children in dumped["families"].items():
            family = self._families.get(name)
            if family is None:
                continue
            for labels, value in children.items():
                if family.is_open:
                    family.children.setdefault(labels, Counter()).carry_on(value)
                elif labels in family.children:
                    family.children[labels].carry_on(value)

    def exposition(self, dumps: Mapping[str, Mapping[str, Any]]) -> str:
        """Prometheus text of these processes together. `dumps`: process index -> what its `dump` gave."""
        lines: list[str] = []
        now = time.time()
        for family in self._families.values():
            values = {
                process: {
                    labels: value
                    for labels, value in dump["families"].get(family.name, {}).items()
                    if value is not None and (family.is_open or labels in family.children)
                }
                for process, dump in dumps.items()
                if family.kind != "gauge" or now - dump["written_at"] < STALE_SECONDS
            }
            lines += family.lines(values)
        return "\n".join(lines) + "\n"


class SharedFiles:
    """The folder in which the processes of one edge leave their values for each other. Blocking I/O."""

    def __init__(self, folder: Path, process_index: int) -> None:
        self._folder = folder
        self._own = folder / f"{process_index}.json"
        self._process = str(process_index)

    def left_by_predecessor(self) -> dict[str, Any] | None:
        """What the process that had this index before wrote last; None when there was none."""
        return self._read(self._own)

    def write(self, dumped: Mapping[str, Any]) -> None:
        """Replaces this process' file as a whole: readers see the old or the new one."""
        draft = self._own.with_suffix(".draft")
        draft.write_text(json.dumps(dumped), encoding="utf-8")
        draft.replace(self._own)

    def gather(self, own: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        """Every process' values by its index, this one's as given."""
        dumps: dict[str, Mapping[str, Any]] = {self._process: own}
        for path in self._folder.glob("*.json"):
            if path.stem != self._process and (found := self._read(path)) is not None:
                dumps[path.stem] = found
        return dict(sorted(dumps.items(), key=lambda item: int(item[0])))

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return document


class SurfaceMetrics:
    """What is counted of every request to one surface."""

    __slots__ = ("_by_class", "disconnects", "in_flight", "overhead_seconds", "seconds")

    def __init__(self, registry: Registry, surface: Surface) -> None:
        self._by_class = tuple(
            registry.counter("relay_edge_requests_total", "Requests answered.", surface=surface, status=status_class)
            for status_class in STATUS_CLASSES
        )
        self.seconds = registry.histogram(
            "relay_edge_request_seconds",
            "From the request's head to the answer's end.",
            SECONDS_BOUNDS,
            surface=surface,
        )
        self.overhead_seconds = registry.histogram(
            "relay_edge_overhead_seconds",
            "Part of a request's time that the relay itself took, waiting for admission included.",
            OVERHEAD_BOUNDS,
            surface=surface,
        )
        self.in_flight = registry.gauge("relay_edge_in_flight", "Requests being served.", "sum", surface=surface)
        self.disconnects = registry.counter(
            "relay_edge_caller_disconnects_total", "Callers that left before their answer ended.", surface=surface
        )

    def done(self, status: int, seconds: float) -> None:
        """Counts an answered request. A status above 599, which hosts may invent, is one of the last class."""
        self._by_class[min(status // 100, 5) - 1].value += 1
        self.seconds.observe(seconds)


def _leaves(error: type[errors.RelayError]) -> Iterator[type[errors.RelayError]]:
    for below in error.__subclasses__():
        yield below
        yield from _leaves(below)


class Metrics:
    """Every metric of the edge by attribute. Parts that hold a value themselves add a gauge to `registry`."""

    def __init__(self) -> None:
        self.registry = registry = Registry()
        self.surfaces: dict[Surface, SurfaceMetrics] = {
            surface: SurfaceMetrics(registry, surface) for surface in SURFACES
        }
        self.admission_seconds = registry.histogram(
            "relay_edge_admission_seconds", "Time of one admission call to Redis.", OVERHEAD_BOUNDS
        )
        self.admission_fallbacks = registry.counter(
            "relay_edge_admission_fallbacks_total", "Calls admitted or refused without Redis."
        )
        self.unrecordable = registry.counter(
            "relay_edge_unrecordable_calls_total", "Calls refused because what they use could not be written down."
        )
        self.upstream_attempts = registry.counter("relay_edge_upstream_attempts_total", "Calls sent to hosts.")
        self._upstream_failures = {
            kind: registry.counter("relay_edge_upstream_failures_total", "Calls to hosts that failed.", kind=kind)
            for kind in dict.fromkeys(error.code for error in _leaves(errors.UpstreamError))
        }
        self.intake_batch_rows = registry.histogram(
            "relay_edge_intake_batch_requests", "Accepted requests in one commit.", BATCH_BOUNDS
        )
        self.intake_commit_seconds = registry.histogram(
            "relay_edge_intake_commit_seconds", "Time of one commit of accepted requests.", SECONDS_BOUNDS
        )
        self.intake_requests = registry.counter("relay_edge_intake_requests_total", "Requests committed.")
        self.intake_deliveries = registry.counter("relay_edge_intake_deliveries_total", "Deliveries committed.")
        self.intake_failures = registry.counter(
            "relay_edge_intake_failures_total", "Requests answered 503 because no commit was seen.", reason="failed"
        )
        self.intake_refusals = registry.counter(
            "relay_edge_intake_failures_total", "Requests answered 503 because no commit was seen.", reason="full"
        )
        self.intake_bad_rows = registry.counter(
            "relay_edge_intake_bad_rows_total", "Requests whose rows Postgres refused for what they hold."
        )
        self.wakes = registry.counter("relay_edge_wakes_total", "Wake-ups put on the workers' queue.")
        self.wakes_failed = registry.counter(
            "relay_edge_wakes_failed_total", "Wake-ups that Redis did not take; the due-scan finds their rows."
        )
        self.catalog_loads = registry.counter("relay_edge_catalog_loads_total", "Full loads of the catalog.")
        self.catalog_changes = registry.counter("relay_edge_catalog_changes_total", "Catalog rows read again.")
        self.catalog_bad_rows = registry.counter(
            "relay_edge_catalog_bad_rows_total", "Catalog rows left out because this version cannot read them."
        )
        self.catalog_losses = registry.counter(
            "relay_edge_catalog_connection_losses_total", "Lost or refused connections for catalog changes."
        )
        self.dropped_log_lines = registry.counter(
            "relay_edge_dropped_log_lines_total", "Log lines dropped because their reader was too slow."
        )
        self.resident_bytes = registry.gauge("relay_edge_resident_bytes", "Resident memory of a process.", "process")

    def upstream_failure(self, error: errors.UpstreamError) -> None:
        """Counts a failed call to a host by the error's code."""
        self._upstream_failures[error.code].value += 1


_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell. Reads a file."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except OSError:
        return 0

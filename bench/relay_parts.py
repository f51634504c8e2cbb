"""The parts of a run that are about endpoints, each put into the report as it is measured."""

import statistics
from collections.abc import Sequence

from bench import answered, fan_out, hang, history, relay_report
from bench.fan_out import Deliveries, Paced
from bench.measure import Sizes
from bench.parts import Part, say
from bench.product import TARGET_PATHS, Product
from bench.relayed import Relayed, opened
from bench.report import Report

PARTS = ("deliveries", "sync", "accept", "starts", "hang", "history")
"""In this order: the last one leaves its rows behind."""


def measure(found: Report, product: Product, sink: Part, sizes: Sizes, *, rounds: int, wanted: Sequence[str]) -> None:
    """Those of PARTS that are wanted. BenchError when something cannot be measured or trusted."""
    if not set(wanted) & set(PARTS):
        return
    with opened(product, sink) as relayed:
        parts = RelayParts(found, relayed, sizes, rounds)
        for name in PARTS:
            if name in wanted:
                getattr(parts, name)()


class RelayParts:
    """What one part needs of another is measured once, whether the other is wanted or not."""

    def __init__(self, found: Report, relayed: Relayed, sizes: Sizes, rounds: int) -> None:
        self._found = found
        self._relayed = relayed
        self._sizes = sizes
        self._rounds = rounds
        self._deliveries: list[Deliveries] = []
        self._accepts: list[Paced] = []
        self._starts: list[Paced] = []

    def deliveries(self) -> None:
        """Three targets, as fast as it goes."""
        taken = self._measured_deliveries()
        self._found.figures += relay_report.delivery_figures(taken)
        repeated = sum(one.repeated for one in taken)
        self._found.notes.append(
            f"every accepted id was received by each of its targets; {repeated} calls were repeats"
        )
        self._found.raw["deliveries"] = taken

    def sync(self) -> None:
        """A target that answers the caller."""
        say(f"{self._sizes.sync_calls:,} calls that a sync target answers, one at a time, {self._rounds} rounds")
        taken = answered.sync_calls(self._relayed.product, self._relayed.sink, self._sizes, self._rounds)
        self._found.figures += relay_report.sync_figures(taken)
        self._found.raw["sync"] = taken

    def accept(self) -> None:
        """How long a 202 takes at a fixed pace."""
        taken = self._measured_accepts()
        self._found.figures += relay_report.accept_figures(taken)
        self._found.raw["accept"] = taken

    def starts(self) -> None:
        """How long a delivery takes to its target at half of capacity."""
        taken = self._measured_starts()
        self._found.figures += relay_report.start_figures(taken)
        self._found.raw["starts"] = taken

    def hang(self) -> None:
        """A target that answers nothing, and those beside it."""
        say(f"{self._sizes.hung_deliveries:,} deliveries to a target that hangs, {self._rounds} rounds beside it")
        taken = hang.hang(self._relayed, self._sizes, self._rounds)
        self._found.figures += relay_report.hang_figures(taken)
        self._found.raw["hang"] = taken

    def history(self) -> None:
        """The same as before with a long history behind it, at the same pace."""
        before = self._measured_deliveries(), self._measured_accepts(), self._measured_starts()
        say(f"{self._sizes.finished_deliveries:,} finished deliveries are written")
        finished = history.fill(self._relayed.database, self._sizes.finished_deliveries)
        sizes, rounds = self._sizes, self._rounds
        say(f"the same with {finished:,} finished deliveries, {rounds} rounds")
        deliveries = fan_out.deliveries(self._relayed, sizes, rounds)
        accepts = fan_out.paced_rounds(self._relayed, sizes, rounds, before[1][0].per_second)
        starts = fan_out.paced_rounds(self._relayed, sizes, rounds, before[2][0].per_second)
        self._found.figures += relay_report.history_figures(
            finished, (before[0], deliveries), (before[1], accepts), (before[2], starts)
        )
        names = ("deliveries", "accept", "starts")
        self._found.raw["history"] = {
            "finished": finished,
            "before": dict(zip(names, before, strict=True)),
            "after": dict(zip(names, (deliveries, accepts, starts), strict=True)),
        }

    def _measured_deliveries(self) -> list[Deliveries]:
        if not self._deliveries:
            say(f"{self._sizes.posts:,} posts to {len(TARGET_PATHS)} targets each, {self._rounds} rounds")
            self._deliveries = fan_out.deliveries(self._relayed, self._sizes, self._rounds)
        return self._deliveries

    def _measured_accepts(self) -> list[Paced]:
        if not self._accepts:
            per_second = self._sizes.accepts_per_second
            say(f"{per_second:,.0f} posts a second, {self._rounds} rounds")
            self._accepts = fan_out.paced_rounds(self._relayed, self._sizes, self._rounds, per_second)
        return self._accepts

    def _measured_starts(self) -> list[Paced]:
        if not self._starts:
            rates = [one.deliveries / one.received_seconds for one in self._measured_deliveries()]
            per_second = statistics.median(rates) / len(TARGET_PATHS) / 2
            say(f"{per_second:,.0f} posts a second, half of capacity, {self._rounds} rounds")
            self._starts = fan_out.paced_rounds(self._relayed, self._sizes, self._rounds, per_second)
        return self._starts

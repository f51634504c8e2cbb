"""What calls used and how their tries went, counted for Prometheus. 1 us a call.

Labels are ours: meters, classes of failures, slugs of hosts. The first MOST_HOSTS that a process meets have series of
their own, the others share one, so that a catalog of thousands makes no thousands of series.
"""

from operator import attrgetter

from relay_contract.pricing import NANOUSD
from relay_contract.usage import METERS
from relay_edge.call_record import CallRecord
from relay_edge.call_rows import bill_of
from relay_edge.metrics import SECONDS_BOUNDS, Counter, Metrics

MOST_HOSTS = 50
OTHER = "other"
"""The host of those that came later. A slug may be the same word: then they are counted together."""

ANSWERED = "answered"
LEFT = "caller_left"

_units_of = attrgetter(*METERS)


class CallMetrics:
    """One for each process."""

    def __init__(self, metrics: Metrics) -> None:
        registry = metrics.registry
        self._tokens = tuple(
            registry.counter(
                "relay_edge_usage_total",
                "What calls used, by meter: tokens, calls of tools that hosts ran, seconds of sound. reasoning_tokens"
                " are part of output_tokens.",
                meter=meter,
            )
            for meter in METERS
        )
        self._cost = registry.counter("relay_edge_cost_usd_total", "What calls cost, where a price is known.")
        self._unpriced = registry.counter(
            "relay_edge_unpriced_calls_total", "Calls that used something nobody knows a price of."
        )
        self._first_token = registry.histogram(
            "relay_edge_first_token_seconds",
            "Of streams: from the caller's request to the first content.",
            SECONDS_BOUNDS,
        )
        self._attempts = registry.open_counter(
            "relay_edge_attempts_total", "Tries at hosts, by host and how they ended: answered, or a failure's class."
        )
        self._hosts: set[str] = set()
        self._tries: dict[tuple[str, str], Counter] = {}

    def observe(self, record: CallRecord) -> None:
        """Counts a call that ended."""
        for attempt in record.attempts:
            host = self._host(attempt.candidate.host.slug)
            outcome = attempt.failure or (LEFT if attempt.has_left else ANSWERED)
            counter = self._tries.get((host, outcome))
            if counter is None:
                counter = self._tries[host, outcome] = self._attempts(host=host, outcome=outcome)
            counter.value += 1
        if record.first_token is not None and record.is_stream:
            self._first_token.observe(record.first_token - record.started)
        bill = bill_of(record)
        if not bill.is_used:
            return
        for counter, units in zip(self._tokens, _units_of(bill.usage), strict=True):
            if units:
                counter.value += units
        if bill.cost_nanousd is None:
            self._unpriced.value += 1
        else:
            self._cost.value += bill.cost_nanousd / NANOUSD

    def _host(self, slug: str) -> str:
        """The label's value."""
        if slug in self._hosts:
            return slug
        if len(self._hosts) < MOST_HOSTS:
            self._hosts.add(slug)
            return slug
        return OTHER

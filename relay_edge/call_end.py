"""What happens to a call that ended: its row and its figures at once, and where they are wanted its trace, its capture,
its spans and its line in the access log later (`later.py`).

Cost on the response path: 5 us for the row, 1 us for the figures, 0.5 us for the rest while a call leaves a trace.
"""

import asyncio
from typing import Protocol

from relay_edge.call_metrics import CallMetrics
from relay_edge.call_record import CallRecord
from relay_edge.later import Later
from relay_edge.metrics import Metrics
from relay_edge.records import Records
from relay_edge.traces import Sampling, encode_trace

MOST_TRACES = 2_000
"""Calls that wait for their traces to be made: a second of a busy process."""
MOST_CAPTURES = 64
"""At the default cap of 64 KB, 8 MB."""


class Told(Protocol):
    """Somebody else who is told of each call."""

    def __call__(self, record: CallRecord, /) -> None:
        """Neither waits nor raises."""

    def flush(self) -> None:
        """Begins with all that was put off."""

    def close(self) -> None:
        """Ends, with what is in hand. May block for seconds: not for the event loop."""


class CallEnd:
    """One for each process; called with each call that ended."""

    def __init__(
        self, records: Records, sampling: Sampling, metrics: Metrics, *, further: tuple[Told, ...] = ()
    ) -> None:
        """`further` are told of each call too, those of nobody included."""
        self._records = records
        self._sampling = sampling
        self._figures = CallMetrics(metrics)
        self._further = further
        self._traces = Later(self._make_traces, most=MOST_TRACES, dropped=records.dropped_traces)
        # One a turn: secrets are looked for in all of its text, which takes milliseconds.
        self._captures = Later(self._make_captures, most=MOST_CAPTURES, dropped=records.dropped_captures, slice_items=1)

    def __call__(self, record: CallRecord) -> None:
        """Never waits."""
        self._figures.observe(record)
        call_id = self._records.call(record)
        if call_id is not None:
            why = self._sampling.why(record)
            if why:
                self._traces.add((call_id, record, why))
            if record.capture is not None:
                self._captures.add((call_id, record))
        for told in self._further:
            told(record)

    def flush(self) -> None:
        """Makes what is left, so that `Records.drain` can write it."""
        self._traces.flush()
        self._captures.flush()

    async def close(self) -> None:
        """Ends those who are told."""
        for told in self._further:
            told.flush()
            await asyncio.to_thread(told.close)

    def _make_traces(self, ended: list[tuple[str, CallRecord, str]]) -> None:
        for call_id, record, why in ended:
            self._records.trace(encode_trace(call_id, record, why))

    def _make_captures(self, ended: list[tuple[str, CallRecord]]) -> None:
        for call_id, record in ended:
            capture = record.capture
            assert capture is not None
            self._records.capture(capture.row(call_id, record.received_at))

"""What happens to a call that ended: its row and its figures at once, and where they are wanted its trace, its capture,
its spans and its line in the access log later (`later.py`).

Cost on the response path: 5 us for the row, 1 us for the figures, 0.5 us for the rest while a call leaves a trace.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from relay_contract.traffic import CaptureRow
from relay_edge.call_metrics import CallMetrics
from relay_edge.call_record import CallRecord
from relay_edge.capture import Capture
from relay_edge.later import Later
from relay_edge.metrics import Metrics
from relay_edge.records import Records
from relay_edge.traces import Sampling, encode_trace

logger = logging.getLogger(__name__)

MOST_TRACES = 2_000
"""Calls that wait for their traces to be made: a second of a busy process."""
MOST_CAPTURES = 64
"""That wait for their secrets to be taken out: at the default cap of 64 KB, 8 MB. Others are dropped."""

FLUSH_SECONDS = 3.0
"""What captures in hand get at the end of the process."""


class Told(Protocol):
    """Somebody else who is told of each call."""

    def __call__(self, record: CallRecord, /) -> None:
        """Neither waits nor raises."""

    async def close(self) -> None:
        """Ends with what was put off, within seconds; what is left then is counted as dropped."""


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
        self._redactor = ThreadPoolExecutor(1, thread_name_prefix="captures")
        self._redacting: set[asyncio.Future[CaptureRow]] = set()

    def __call__(self, record: CallRecord) -> None:
        """Never waits."""
        capture, record.capture = record.capture, None  # whoever keeps the record a while keeps no bodies with it
        self._figures.observe(record)
        call_id = self._records.call(record)
        if call_id is not None:
            why = self._sampling.why(record)
            if why:
                self._traces.add((call_id, record, why))
            if capture is not None:
                self._capture(call_id, record, capture)
        for told in self._further:
            told(record)

    async def flush(self) -> None:
        """Makes what is left, so that `Records.drain` can write it."""
        self._traces.flush()
        if self._redacting:
            await asyncio.wait(self._redacting, timeout=FLUSH_SECONDS)

    async def close(self) -> None:
        """Ends those who are told."""
        self._redactor.shutdown(wait=False, cancel_futures=True)
        for told in self._further:
            await told.close()

    def _make_traces(self, ended: list[tuple[str, CallRecord, str]]) -> None:
        for call_id, record, why in ended:
            self._records.trace(encode_trace(call_id, record, why))

    def _capture(self, call_id: str, record: CallRecord, capture: Capture) -> None:
        """Secrets are looked for in all of its text, which takes a thread milliseconds."""
        if len(self._redacting) >= MOST_CAPTURES:
            self._records.dropped_captures.value += 1
            return
        loop = asyncio.get_running_loop()
        redacting = loop.run_in_executor(self._redactor, capture.row, call_id, record.received_at)
        self._redacting.add(redacting)
        redacting.add_done_callback(self._captured)

    def _captured(self, redacting: asyncio.Future[CaptureRow]) -> None:
        self._redacting.discard(redacting)
        if redacting.cancelled() or redacting.exception() is not None:
            self._records.dropped_captures.value += 1
            logger.error("capture_failed", exc_info=None if redacting.cancelled() else redacting.exception())
            return
        self._records.capture(redacting.result())

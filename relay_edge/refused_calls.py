"""Calls to relay endpoints that were refused after their caller was known, for the request log.

Strangers leave no row, and whoever is refused all the time leaves ROWS_PER_SECOND of them: the log is for people to see
what is wrong, not to count. What is beyond is dropped and counted, as by the queue behind (`records.py`). No I/O.
"""

import time

from relay_edge.records import Records
from relay_edge.relay_call import RelayCall
from relay_edge.request_rows import refused

ROWS_PER_SECOND = 50.0
BURST_ROWS = 500.0


class RefusedCalls:
    """One for each process: a token bucket in front of the records."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._room = BURST_ROWS
        self._looked_at = time.monotonic()

    def __call__(self, call: RelayCall) -> None:
        """Keeps the call, or drops it. Neither waits nor raises."""
        now = time.monotonic()
        self._room = min(BURST_ROWS, self._room + (now - self._looked_at) * ROWS_PER_SECOND)
        self._looked_at = now
        if self._room < 1:
            self._records.dropped_refusals.value += 1
            return
        self._room -= 1
        self._records.refused_request(refused(call))

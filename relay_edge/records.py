"""Writes down what passed: calls, traces, captures, breakers that changed, ends of sync and stream calls, calls to
relay endpoints that were refused. Off the response path.

A call waits in memory and is encoded with its batch (`call_rows.py`): not at all on an idle edge, for GATHER_SECONDS or
BATCH_ROWS on a busy one, plus the commit before it. Rows of calls, ends and breakers are never dropped: what Postgres
does not take goes to files (`spill.py`) within STATEMENT_SECONDS, at once while there is no connection, and comes back
from there, also after the process was killed. When the files are full as well, `can_keep` is False and calls are
refused before they begin. The others are dropped and counted instead.

So a kill loses the rows of the last GATHER_SECONDS and of one commit; while Postgres hangs, of STATEMENT_SECONDS.

Cost: about 5 us a call on the loop, and one statement a batch; nothing in Postgres or on the disk per call.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from msgspec import DecodeError
from msgspec.json import decode
from psycopg import AsyncConnection

from relay_contract.ending import end
from relay_contract.logs import log_fields
from relay_contract.traffic import (
    TRAFFIC_ROWS,
    BreakerEventRow,
    CallRow,
    CaptureRow,
    RefusedRequestRow,
    RequestEndRow,
    TraceRow,
    TrafficRow,
    insert_statement,
)
from relay_edge.call_record import CallRecord
from relay_edge.call_rows import CallToKeep, encode_row, is_kept, mended
from relay_edge.metrics import Counter, Metrics
from relay_edge.postgres import DATA_ERRORS, LOSSES, Link, log_loss
from relay_edge.spill import Spill, SpillFullError, TakenFile
from relay_edge.statement_deadline import statement_deadline

logger = logging.getLogger(__name__)

GATHER_SECONDS = 0.025
BATCH_ROWS = 256
BATCH_BYTES = 1_048_576
CALL_BYTES = 2_048
"""What a call counts for while it is not yet encoded; about what it holds in memory, and what its row comes to."""
STATEMENT_SECONDS = 2.0
"""What one insert gets. One that takes longer is as good as lost: its rows are spilled, and its connection is cut."""
QUEUED_BYTES = 16_777_216
"""Of rows that are never dropped; beyond it new calls are refused."""
DROPPABLE_BYTES = 4_194_304
"""Of traces, captures and refused calls, each; beyond it they are dropped."""
SPILL_RETRY_SECONDS = 0.25
RETURN_SECONDS = 2.0
"""How often a process looks for files to take back, its own and those of dead ones."""

_KEPT: frozenset[type[TrafficRow]] = frozenset({CallRow, BreakerEventRow, RequestEndRow})


class _Lane:
    """Rows of one table that wait, oldest first, each with the moment it came."""

    def __init__(self, row: type[TrafficRow], metrics: Metrics) -> None:
        self.table = row.table
        self.statement = insert_statement(row)
        self.is_kept = row in _KEPT
        self.rows: deque[tuple[float, bytes | CallToKeep]] = deque()
        self.size_bytes = 0
        kind = row.table.partition("_")[2]
        counter = metrics.registry.counter
        self.written = counter("relay_edge_records_written_total", "Rows of traffic committed.", kind=kind)
        self.dropped = counter("relay_edge_records_dropped_total", "Rows of traffic that are lost.", kind=kind)
        self.spilled = counter("relay_edge_records_spilled_total", "Rows of traffic put into files.", kind=kind)
        self.refused = counter(
            "relay_edge_records_refused_total", "Rows of traffic that Postgres takes in no form.", kind=kind
        )

    def add(self, row: bytes | CallToKeep) -> None:
        """At the end."""
        self.rows.append((time.monotonic(), row))
        self.size_bytes += _size(row)

    def take(self) -> list[tuple[float, bytes]]:
        """One batch from the front."""
        taken: list[tuple[float, bytes]] = []
        size_bytes = 0
        while self.rows and len(taken) < BATCH_ROWS and size_bytes < BATCH_BYTES:
            moment, row = self.rows.popleft()
            size_bytes += _size(row)
            taken.append((moment, row if isinstance(row, bytes) else row.encoded()))
        self.size_bytes -= size_bytes
        return taken

    def put_back(self, batch: list[tuple[float, bytes]]) -> None:
        """A batch that could not be settled, where it was."""
        self.rows.extendleft(reversed(batch))
        self.size_bytes += sum(len(row) for _, row in batch)


def _size(row: bytes | CallToKeep) -> int:
    return len(row) if isinstance(row, bytes) else CALL_BYTES


class Records:
    """The queues, their writer, and the way back from the files."""

    def __init__(self, database_url: str, spill: Spill, metrics: Metrics) -> None:
        self._spill = spill
        self._link = Link(database_url, "relay-edge-records", logger)
        self._lanes = {row: _Lane(row, metrics) for row in TRAFFIC_ROWS}
        self._calls = self._lanes[CallRow]
        self._by_table = {lane.table: lane for lane in self._lanes.values()}
        self._has_rows = asyncio.Event()
        self._settled = asyncio.Event()
        self._in_hand: tuple[_Lane, list[tuple[float, bytes]]] | None = None
        self._began = 0.0
        self._is_spill_full = False
        registry = metrics.registry
        self._returned = registry.counter("relay_edge_records_returned_total", "Rows of traffic taken back from files.")
        registry.gauge("relay_edge_records_queue", "Rows of traffic that wait for a commit.", "sum", self._queued)
        registry.gauge(
            "relay_edge_spilled_bytes", "In files, to be taken back.", "sum", lambda: float(spill.size_bytes)
        )
        registry.gauge(
            "relay_edge_unsettled_age_seconds", "Age of the oldest row not yet committed.", "max", self.age_seconds
        )

    @property
    def can_keep(self) -> bool:
        """Whether a call that begins now can be written down when it ends."""
        return not self._is_spill_full and self._calls.size_bytes <= QUEUED_BYTES

    @property
    def is_connected(self) -> bool:
        """Whether rows reach Postgres, as far as anybody knows."""
        return self._link.connection is not None

    @property
    def spilled_bytes(self) -> int:
        """In this process' files."""
        return self._spill.size_bytes

    @property
    def dropped_traces(self) -> Counter:
        """For whoever drops one before it came here."""
        return self._lanes[TraceRow].dropped

    @property
    def dropped_captures(self) -> Counter:
        """For whoever drops one before it came here."""
        return self._lanes[CaptureRow].dropped

    @property
    def dropped_refusals(self) -> Counter:
        """For whoever drops one before it came here."""
        return self._lanes[RefusedRequestRow].dropped

    def call(self, record: CallRecord) -> str | None:
        """Keeps a finished call; the id of its row, for its trace and capture. None for a call of nobody."""
        if not is_kept(record):
            return None
        call = CallToKeep(record)
        self._add(self._calls, call)
        return call.id

    def trace(self, row: bytes) -> None:
        """Keeps a trace (`traces.encode_trace`), or drops it."""
        self._add(self._lanes[TraceRow], row)

    def capture(self, row: CaptureRow) -> None:
        """Keeps a capture, or drops it."""
        self._add(self._lanes[CaptureRow], encode_row(row))

    def breaker_event(self, row: BreakerEventRow) -> None:
        """Keeps it."""
        self._add(self._lanes[BreakerEventRow], encode_row(row))

    def request_end(self, row: RequestEndRow) -> None:
        """Keeps what the caller of a sync or stream target got."""
        self._add(self._lanes[RequestEndRow], encode_row(row))

    def refused_request(self, row: RefusedRequestRow) -> None:
        """Keeps a call that was refused, or drops it."""
        self._add(self._lanes[RefusedRequestRow], encode_row(row))

    async def run(self) -> None:
        """For the life of the process; ends by cancellation, best after `drain`."""
        tasks = [
            asyncio.create_task(each) for each in (self._link.run(), self._settle_for_ever(), self._return_files())
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            await end(*tasks)

    async def drain(self, seconds: float) -> None:
        """Waits until what was taken is committed or in a file, for so long at most; the rest goes to files now."""
        try:
            async with asyncio.timeout(seconds):
                while self._in_hand or any(lane.rows for lane in self._lanes.values()):
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            logger.warning("records_not_drained", extra=log_fields(rows=self._queued()))
        if self._in_hand is not None:  # whatever becomes of it: a row that is written twice is written once
            lane, batch = self._in_hand
            lane.put_back(batch)
        for lane in self._lanes.values():
            while lane.rows:
                batch = lane.take()
                if not await self._to_file(lane, batch):
                    lane.dropped.add(len(batch))
        await asyncio.to_thread(self._spill.close)

    def _add(self, lane: _Lane, row: bytes | CallToKeep) -> None:
        if not lane.is_kept and lane.size_bytes + _size(row) > DROPPABLE_BYTES:
            lane.dropped.value += 1
            return
        lane.add(row)
        if not self._has_rows.is_set():
            self._has_rows.set()

    async def _settle_for_ever(self) -> None:
        while True:
            await self._has_rows.wait()
            await self._gather()
            self._began = time.monotonic()
            for lane in self._lanes.values():
                if lane.rows:
                    await self._settle(lane)
            if not any(lane.rows for lane in self._lanes.values()):
                self._has_rows.clear()
                self._settled.set()

    async def _gather(self) -> None:
        """Nothing for the first row in a while; the rest of GATHER_SECONDS after a batch, unless another is full."""
        left_seconds = self._began + GATHER_SECONDS - time.monotonic()
        if left_seconds > 0 and all(len(lane.rows) < BATCH_ROWS for lane in self._lanes.values()):
            await asyncio.sleep(left_seconds)

    async def _settle(self, lane: _Lane) -> None:
        batch = lane.take()
        self._in_hand = (lane, batch)
        is_settled = False
        try:
            is_settled = await self._insert(lane, [row for _, row in batch]) or await self._to_file(lane, batch)
        finally:
            self._in_hand = None
            if not is_settled:
                lane.put_back(batch)
        if not is_settled:
            await asyncio.sleep(SPILL_RETRY_SECONDS)

    async def _insert(self, lane: _Lane, rows: list[bytes]) -> bool:
        """Whether each row is committed, or was refused for good."""
        connection = self._link.connection
        if connection is None:
            return False
        try:
            await _execute(connection, lane.statement, rows)
        except DATA_ERRORS as error:
            return await self._find_bad(lane, rows, error)
        except LOSSES as error:
            log_loss(logger, "records_insert_failed", error, rows=len(rows))
            self._link.lose(connection)
            return False
        lane.written.add(len(rows))
        self._is_spill_full = False
        return True

    async def _find_bad(self, lane: _Lane, rows: list[bytes], error: Exception) -> bool:
        if len(rows) > 1:
            middle = len(rows) // 2
            return await self._insert(lane, rows[:middle]) and await self._insert(lane, rows[middle:])
        mendable = _mended(rows[0])
        if mendable is not None and mendable != rows[0]:
            return await self._insert(lane, [mendable])
        lane.refused.add()
        # The type alone: the message of a data error quotes the data.
        logger.error("record_refused", extra=log_fields(table=lane.table, error=type(error).__name__))
        if not lane.is_kept:
            return True
        try:
            await asyncio.to_thread(self._spill.refuse, lane.table, rows[0])
        except OSError as failure:
            logger.error("record_lost", extra=log_fields(table=lane.table, reason=type(failure).__name__))  # noqa: TRY400
            lane.dropped.add()
        return True

    async def _to_file(self, lane: _Lane, batch: list[tuple[float, bytes]]) -> bool:
        """Whether the batch is in a file, or was dropped where it may be."""
        if not lane.is_kept:
            lane.dropped.add(len(batch))
            return True
        try:
            await asyncio.to_thread(self._spill.append, lane.table, [row for _, row in batch])
        except (SpillFullError, OSError) as error:
            if not self._is_spill_full:
                self._is_spill_full = True
                logger.error("spill_full", extra=log_fields(reason=type(error).__name__))  # noqa: TRY400
            return False
        lane.spilled.add(len(batch))
        self._is_spill_full = False
        return True

    async def _return_files(self) -> None:
        while True:
            try:
                if await asyncio.to_thread(self._spill.look) and self.is_connected:
                    await self._return_all()
            except OSError as error:
                log_loss(logger, "spill_unreadable", error)
            await asyncio.sleep(RETURN_SECONDS)

    async def _return_all(self) -> None:
        files = self._spill.take()
        while (taken := await asyncio.to_thread(next, files, None)) is not None:
            try:
                lane = self._by_table.get(taken.table)
                if lane is None:
                    continue  # of another version of the relay, which will take it
                if not await self._return(lane, taken):
                    return
                await asyncio.to_thread(taken.delete)
            finally:
                taken.release()

    async def _return(self, lane: _Lane, taken: TakenFile) -> bool:
        rows = taken.rows()
        while batch := await asyncio.to_thread(_some, rows):
            if not await self._insert(lane, batch):
                return False
            self._returned.add(len(batch))
        return True

    def _queued(self) -> float:
        return sum(len(lane.rows) for lane in self._lanes.values())

    def age_seconds(self) -> float:
        """Of the oldest row not yet committed."""
        oldest_at = [lane.rows[0][0] for lane in self._lanes.values() if lane.rows]
        if self._in_hand is not None:
            oldest_at.append(self._in_hand[1][0][0])
        age_seconds = time.monotonic() - min(oldest_at) if oldest_at else 0.0
        spilled_at = self._spill.oldest_at
        return age_seconds if spilled_at is None else max(age_seconds, time.time() - spilled_at)


async def _execute(connection: AsyncConnection[Any], statement: str, rows: Sequence[bytes]) -> None:
    document = b"[%b]" % b",".join(rows)
    with statement_deadline(connection, STATEMENT_SECONDS):
        await connection.execute(statement, [document.decode()], prepare=True)


def _some(rows: Any) -> list[bytes]:
    return [row for _, row in zip(range(BATCH_ROWS), rows, strict=False)]


def _mended(row: bytes) -> bytes | None:
    """The row without what no column takes; None when it is no JSON."""
    try:
        return encode_row(mended(decode(row)))
    except DecodeError:
        return None

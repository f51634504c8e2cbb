"""What became of the first call with an Idempotency-Key, read from Postgres: many callers share a statement.

One connection and one statement at a time; whoever asks meanwhile is of the next batch. The edge's role may read these
columns and nothing else of traffic. Bounded by MAX_WAITING, each read by STATEMENT_SECONDS. Per read: a list entry and
a future; no task, no timer.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from relay_contract.ending import end
from relay_contract.errors import AcceptUnavailable
from relay_edge.postgres import LOSSES, Link, log_loss
from relay_edge.statement_deadline import statement_deadline

logger = logging.getLogger(__name__)

BATCH = 128
MAX_WAITING = 4_096
STATEMENT_SECONDS = 2.0
RETRY_AFTER_SECONDS = 1.0

# Look-ups by an id of their table's partitions each, one row a key: the bounds prune while it runs. The answer is that
# of the delivery which the end names; before there is an end, any answer of the request's (`StoredCall.end`).
_READ = """
SELECT w.place, i.request_id, i.body_hash, extract(epoch FROM now() - i.created_at)::float8, r.status,
    l.is_live IS NOT NULL, e.status, e.error, e.is_stream, a.status, a.headers, a.body, a.is_cut
FROM unnest(%b::bigint[], %b::bigint[], %b::text[]) AS w(place, endpoint_id, key)
JOIN deliveries_idempotency i ON i.endpoint_id = w.endpoint_id AND i.key = w.key
LEFT JOIN LATERAL (SELECT status FROM deliveries_request WHERE id = i.request_id) r ON true
LEFT JOIN LATERAL (
    SELECT true AS is_live FROM deliveries_live WHERE request_id = i.request_id AND mode <> 'async' AND r.status = 0
    LIMIT 1
) l ON true
LEFT JOIN LATERAL (
    SELECT delivery_id, status, error, is_stream FROM deliveries_requestend WHERE id = i.request_id
) e ON true
LEFT JOIN LATERAL (
    SELECT status, headers, body, is_cut FROM deliveries_answer
    WHERE request_id = i.request_id AND delivery_id >= i.request_id AND r.status = 0
        AND delivery_id = coalesce(e.delivery_id, delivery_id)
    ORDER BY delivery_id LIMIT 1
) a ON true
"""


class StoredEnd(NamedTuple):
    """What the first caller of a sync or stream target got."""

    status: int
    error: str  # code, or ""
    is_stream: bool


class StoredAnswer(NamedTuple):
    """The answer that a worker kept."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool  # it was larger than what is kept


@dataclass(frozen=True, slots=True)
class StoredCall:
    """The first call with a key."""

    request_id: UUID
    body_hash: bytes
    age_seconds: float  # by the database's clock
    status: int | None  # what its caller was answered at once; 0: a target was to answer; None: forgotten
    is_live: bool  # the delivery to that target is not over: there may still be an answer, also after the caller's end
    end: StoredEnd | None  # None: not known yet, and then `answer` may be that of another delivery of the request
    answer: StoredAnswer | None


class _Asked(NamedTuple):
    endpoint_id: int
    key: str
    found: "asyncio.Future[StoredCall | None]"


class StoredCalls:
    """One for each process. `run` before the first `read`."""

    def __init__(self, database_url: str) -> None:
        self._link = Link(database_url, "relay-edge-stored", logger)
        self._waiting: list[_Asked] = []
        self._has_waiting = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        """Whether Postgres can be asked, as far as anybody knows."""
        return self._link.connection is not None

    async def read(self, endpoint_id: int, key: str) -> StoredCall | None:
        """The first call with this key; None where its time is over. Raises AcceptUnavailable when it cannot be read:
        whether this call was made before is then unknown, and the caller has to come again."""
        if self._link.connection is None or len(self._waiting) >= MAX_WAITING:
            raise AcceptUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
        asked = _Asked(endpoint_id, key, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._has_waiting.set()
        return await asked.found

    async def run(self) -> None:
        """The reader, for the life of the process; ends by cancellation."""
        tasks = [asyncio.create_task(self._link.run()), asyncio.create_task(self._read_for_ever())]
        try:
            await asyncio.gather(*tasks)
        finally:
            await end(*tasks)
            _refuse(self._waiting)

    async def _read_for_ever(self) -> None:
        while True:
            await self._has_waiting.wait()
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            if not self._waiting:
                self._has_waiting.clear()
            try:
                await self._answer(batch)
            finally:
                _refuse(batch)  # whoever has no answer by now

    async def _answer(self, batch: Sequence[_Asked]) -> None:
        connection = self._link.connection
        if connection is None:
            return
        try:
            found = await _read(connection, batch)
        except LOSSES as error:
            log_loss(logger, "stored_read_failed", error, calls=len(batch))
            self._link.lose(connection)
            return
        for place, asked in enumerate(batch):
            if not asked.found.done():  # the caller may have left
                asked.found.set_result(found.get(place))


def _refuse(batch: Sequence[_Asked]) -> None:
    for asked in batch:
        if not asked.found.done():
            asked.found.set_exception(AcceptUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS))


async def _read(connection: AsyncConnection[Any], batch: Sequence[_Asked]) -> dict[int, StoredCall]:
    parameters = [list(range(len(batch))), [one.endpoint_id for one in batch], [one.key for one in batch]]
    with statement_deadline(connection, STATEMENT_SECONDS):
        cursor = await connection.execute(_READ, parameters, prepare=True, binary=True)
        rows = await cursor.fetchall()
    return {row[0]: _call(row[1:]) for row in rows}


def _call(row: Sequence[Any]) -> StoredCall:
    request_id, body_hash, age_seconds, status, is_live, *rest = row
    ended, answered = rest[:3], rest[3:]
    return StoredCall(
        request_id,
        bytes(body_hash),
        age_seconds,
        status,
        is_live,
        None if ended[0] is None else StoredEnd(*ended),
        None if answered[0] is None else StoredAnswer(answered[0], answered[1], bytes(answered[2]), answered[3]),
    )

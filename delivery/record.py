"""Writes what became of attempts: many results in one statement, each behind its fence.

The delivery changes only while it still carries the result's claim id. A worker that comes too late leaves its attempt
in the history and changes nothing else.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import assert_never

from delivery import retry
from delivery.attempt import Answer, Claim, Destination
from delivery.database import Connection, DatabaseAway, Outage
from delivery.outcome import Again, Dead, Delivered, Verdict
from relay_admin.deliveries.models import AttemptOutcome, DeadReason
from relay_contract import logs
from relay_contract.intake import DeliveryState
from relay_contract.nouns import DEFAULT_RETRY_SCHEDULE_SECONDS

logger = logging.getLogger(__name__)

MAX_BATCH = 128
LINGER_SECONDS = 0.004
"""How long the first result of a batch waits for others. While one statement runs the next batch gathers by itself."""

_FIELDS = (
    ("delivery_id", "uuid"),
    ("claim_id", "uuid"),
    ("number", "integer"),
    ("replay", "integer"),
    ("outcome", "text"),
    ("started_at", "timestamptz"),
    ("duration_ms", "integer"),
    ("url", "text"),
    ("status", "integer"),
    ("error", "text"),
    ("response_body", "bytea"),
    ("is_response_cut", "boolean"),
    ("state", "text"),
    ("wait_seconds", "double precision"),
    ("dead_reason", "text"),
)
_NAMES = ", ".join(name for name, _ in _FIELDS)
_ARRAYS = ", ".join(f"%b::{kind}[]" for _, kind in _FIELDS)

_ATTEMPT = (
    "delivery_id, number, replay, outcome, started_at, duration_ms, url, status, error, response_body, is_response_cut"
)

# Times to come are counted from the database's clock, which is the one that claims compare them with.
# A delivery that retention has forgotten meanwhile gets no attempt: nobody would ever forget that one.
# The last parameter is true when the statement may have happened before: then attempts that exist are left out.
RECORD = f"""
WITH result AS MATERIALIZED (SELECT * FROM unnest({_ARRAYS}) AS r({_NAMES})),
changed AS (
    UPDATE deliveries_delivery AS delivery
    SET state = result.state, claim_id = NULL, dead_reason = result.dead_reason,
        next_attempt_at = now() + make_interval(secs => result.wait_seconds),
        finished_at = CASE WHEN result.wait_seconds IS NULL THEN now() END,
        last_status = result.status, last_error = result.error
    FROM result WHERE delivery.id = result.delivery_id AND delivery.claim_id = result.claim_id
    RETURNING 1
),
kept AS (
    INSERT INTO deliveries_attempt ({_ATTEMPT})
    SELECT {_ATTEMPT} FROM result
    WHERE EXISTS (SELECT 1 FROM deliveries_delivery AS d WHERE d.id = result.delivery_id)
        AND (NOT %b OR NOT EXISTS (
            SELECT 1 FROM deliveries_attempt AS a
            WHERE a.delivery_id = result.delivery_id AND a.replay = result.replay AND a.number = result.number
                AND a.started_at = result.started_at
        ))
)
SELECT count(*) FROM changed
"""  # noqa: S608 (constants of this file)


@dataclass(frozen=True, slots=True)
class Result:
    """A finished attempt and what it does to its delivery: `wait_seconds` until it is due again, None for never."""

    claim: Claim
    answer: Answer
    outcome: AttemptOutcome
    state: DeliveryState
    wait_seconds: float | None
    dead_reason: DeadReason | None


def result_of(claim: Claim, answer: Answer, verdict: Verdict, jitter: float) -> Result:
    """Put a verdict into effect. `jitter` as for `retry.wait_seconds`. Pure."""
    match verdict:
        case Delivered():
            return Result(claim, answer, AttemptOutcome.DELIVERED, DeliveryState.DELIVERED, None, None)
        case Dead(reason):
            return Result(claim, answer, AttemptOutcome.DEAD, DeliveryState.DEAD, None, reason)
        case Again():
            schedule = _schedule(claim)
            asked = retry.retry_after_seconds(answer.retry_after, answer.started_at)
            wait = retry.wait_seconds(claim.number, schedule, jitter, asked)
            if wait is None:
                return result_of(claim, answer, Dead(DeadReason.ATTEMPTS_EXHAUSTED), jitter)
            return Result(claim, answer, AttemptOutcome.RETRY, DeliveryState.PENDING, wait, None)
        case _:
            assert_never(verdict)


def given_back(claim: Claim, answer: Answer) -> Result:
    """An attempt that we broke off ourselves: due again at once, and told as the cut that it was. Pure."""
    return Result(claim, answer, AttemptOutcome.LEASE_LOST, DeliveryState.PENDING, 0, None)


class Recorder:
    """Gathers results and writes them. What waits here is bounded by what the drainer lets be in flight."""

    def __init__(self, connection: Connection, on_recorded: Callable[[Sequence[Result]], None]) -> None:
        self._connection = connection
        self._on_recorded = on_recorded
        self._outage = Outage("record")
        self._waiting: list[Result] = []
        self._has_some = asyncio.Event()
        self._has_many = asyncio.Event()
        self.fences_lost = 0

    def put(self, result: Result) -> None:
        """Hand over a result; `on_recorded` hears of it once it is written."""
        self._waiting.append(result)
        self._has_some.set()
        if len(self._waiting) >= MAX_BATCH:
            self._has_many.set()

    async def run(self) -> None:
        """Write until cancelled. While Postgres is away results wait, and are written when it is back."""
        while True:
            await self._has_some.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    await self._has_many.wait()
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            if not self._waiting:
                self._has_some.clear()
            if len(self._waiting) < MAX_BATCH:
                self._has_many.clear()
            await self._write(batch)
            self._on_recorded(batch)

    async def _write(self, batch: Sequence[Result]) -> None:
        arrays = columns_of(batch)
        is_repeated = False
        while True:
            try:
                [(changed,)] = await self._connection.rows(RECORD, (*arrays, is_repeated))
            except DatabaseAway as away:
                is_repeated = True  # it may have been committed before it broke off
                await asyncio.sleep(self._outage.goes_on(away))
            else:
                self._outage.is_over()
                break
        if changed != len(batch):
            # Not a loss: after a break-off, or where a lease ended under a slow worker.
            self.fences_lost += len(batch) - changed
            logger.warning("fences_lost", extra=logs.log_fields(results=len(batch), lost=len(batch) - changed))


def columns_of(batch: Sequence[Result]) -> list[list[object]]:
    """One array for each of _FIELDS."""
    rows = [
        (
            result.claim.delivery_id,
            result.claim.claim_id,
            result.claim.number,
            result.claim.replay,
            str(result.outcome),
            result.answer.started_at,
            result.answer.duration_ms,
            result.claim.url,
            result.answer.status,
            result.answer.fault or "",
            result.answer.excerpt,
            result.answer.is_cut,
            str(result.state),
            result.wait_seconds,
            result.dead_reason or "",
        )
        for result in batch
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _schedule(claim: Claim) -> Sequence[int]:
    destination = claim.destination
    if isinstance(destination, Destination):
        return destination.retry_schedule_seconds
    return DEFAULT_RETRY_SCHEDULE_SECONDS

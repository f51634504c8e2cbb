"""Writes what became of attempts: many results in one statement, each behind its fence.

The delivery changes only while it still carries the result's claim id. A worker that comes too late leaves its attempt
in the history and changes nothing else. A delivery that is over moves from the queue to history in the same statement,
and what it holds is settled or released. What the results say about their targets is written in the same transaction
(`delivery/target_states.py`).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import assert_never

from delivery import charges, retry, target_states
from delivery.attempt import Answer, Claim, Destination
from delivery.breaker import AttemptResult
from delivery.database import Connection, DatabaseAway, Outage
from delivery.outcome import Again, Dead, Delivered, Verdict
from relay_admin.deliveries import endings
from relay_admin.deliveries.models import AttemptOutcome
from relay_contract import logs
from relay_contract.credits import UNITS_SQL
from relay_contract.ids import uuid7
from relay_contract.intake import DeadReason, DeliveryState
from relay_contract.nouns import DEFAULT_RETRY_SCHEDULE_SECONDS

logger = logging.getLogger(__name__)

MAX_BATCH = 128
LINGER_SECONDS = 0.004
"""How long the first result of a batch waits for others. While one statement runs the next batch gathers by itself."""

_FIELDS = (
    ("id", "uuid"),
    ("delivery_id", "uuid"),
    ("claim_id", "uuid"),
    ("number", "integer"),
    ("replay", "smallint"),
    ("outcome", "text"),
    ("started_at", "timestamptz"),
    ("duration_ms", "integer"),
    ("url", "text"),
    ("status", "integer"),
    ("error", "text"),
    ("revision", "integer"),
    ("target_version", "bigint"),
    ("response_body", "bytea"),
    ("is_response_cut", "boolean"),
    ("state", "text"),
    ("wait_seconds", "double precision"),
    ("dead_reason", "text"),
    ("is_contact", "boolean"),
    ("closes_as", "text"),
    ("kept", "bytea"),
    ("is_kept_cut", "boolean"),
)
_NAMES = ", ".join(name for name, _ in _FIELDS)
_ARRAYS = ", ".join(f"%b::{kind}[]" for _, kind in _FIELDS)

_MOVED = endings.MOVED
_LIVE = ", ".join(f"live.{name}" for name in _MOVED.split(", "))
_ATTEMPT = (
    "id, delivery_id, number, replay, outcome, started_at, duration_ms, url, status, error, revision, target_version,"
    " response_body, is_response_cut"
)

# Times to come are counted from the database's clock, which is the one that claims compare them with.
# 1. again: stays in the queue, and is met again when its time is over at the latest.
# 2. gone, finished, closed: leaves it, for history and for the ledger.
# 3. kept: each attempt once, also when the statement is repeated, since its id is ours. One whose fence was lost has
#    decided nothing and says so.
RECORD = f"""
WITH result AS MATERIALIZED (SELECT * FROM unnest({_ARRAYS}) AS r({_NAMES})),
again AS (
    UPDATE deliveries_live AS live
    SET state = result.state, claim_id = NULL, last_status = result.status, last_error = result.error,
        next_attempt_at = least(now() + make_interval(secs => result.wait_seconds), live.expires_at),
        was_contacted = live.was_contacted OR result.is_contact
    FROM result
    WHERE live.id = result.delivery_id AND live.claim_id = result.claim_id AND result.wait_seconds IS NOT NULL
    RETURNING live.id, result.claim_id
),
gone AS (
    DELETE FROM deliveries_live AS live USING result
    WHERE live.id = result.delivery_id AND live.claim_id = result.claim_id AND result.wait_seconds IS NULL
    RETURNING {_LIVE}, result.state, result.status AS last_status, result.error AS last_error, result.dead_reason,
        result.duration_ms, live.was_contacted OR result.is_contact AS was_contacted, result.closes_as,
        result.claim_id, result.kept, result.is_kept_cut
),
finished AS (
    INSERT INTO deliveries_finished ({_MOVED}, state, last_status, last_error, dead_reason, duration_ms, was_contacted,
        finished_at)
    SELECT {_MOVED}, state, last_status, last_error, dead_reason, duration_ms, was_contacted, now() FROM gone
),
closed AS (
    INSERT INTO ledger_charge
        (delivery_id, replay, phase, kind, request_id, project_id, target_id, key_mode, micro_credits, units)
    SELECT id, replay_count, 1,
        CASE WHEN closes_as <> '{charges.BY_CONTACT}' THEN closes_as WHEN was_contacted THEN '{charges.SETTLE}'
            ELSE '{charges.RELEASE}' END,
        request_id, project_id, target_id, key_mode, credits, {UNITS_SQL}
    FROM gone
    ON CONFLICT DO NOTHING
),
compared AS (
    INSERT INTO deliveries_comparedanswer
        (delivery_id, request_id, target_id, is_shadow, revision, status, body, is_cut, duration_ms, at)
    SELECT id, request_id, target_id, is_shadow, revision, last_status, kept, is_kept_cut, duration_ms, now()
    FROM gone WHERE is_compared
    ON CONFLICT DO NOTHING
),
kept AS (
    INSERT INTO deliveries_attempt ({_ATTEMPT})
    SELECT result.id, delivery_id, number, replay, CASE WHEN fenced.id IS NULL THEN '{AttemptOutcome.LATE}' ELSE outcome
        END, started_at, duration_ms, url, status, error, revision, target_version, response_body, is_response_cut
    FROM result LEFT JOIN (SELECT id, claim_id FROM again UNION ALL SELECT id, claim_id FROM gone) AS fenced
        ON fenced.id = result.delivery_id AND fenced.claim_id = result.claim_id
    ON CONFLICT DO NOTHING
)
SELECT (SELECT count(*) FROM again) + (SELECT count(*) FROM gone)
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

    def __init__(
        self,
        connection: Connection,
        on_recorded: Callable[[Sequence[Result]], None],
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._connection = connection
        self._on_recorded = on_recorded
        self._linger_seconds = linger_seconds
        self._outage = Outage("record")
        self._waiting: list[Result] = []
        self._has_some = asyncio.Event()
        self._has_many = asyncio.Event()
        self.fences_lost = 0
        self.targets = target_states.Figures()

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
            if self._linger_seconds:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._linger_seconds):
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
        noteworthy = target_states.noteworthy([_outcome(result) for result in batch])
        while True:
            try:
                changed = await self._write_once(arrays, noteworthy)
            except DatabaseAway as away:  # it may have been committed before it broke off: then fences are lost
                await asyncio.sleep(self._outage.goes_on(away))
            else:
                self._outage.is_over()
                break
        if changed != len(batch):
            # Not a loss: after a break-off, or where a lease ended under a slow worker.
            self.fences_lost += len(batch) - changed
            logger.warning("fences_lost", extra=logs.log_fields(results=len(batch), lost=len(batch) - changed))

    async def _write_once(
        self, arrays: list[list[object]], noteworthy: Mapping[int, Sequence[target_states.Outcome]]
    ) -> int:
        """How many deliveries changed."""
        if not noteworthy:
            [(changed,)] = await self._connection.rows(RECORD, arrays)
            return int(changed)
        async with self._connection.transaction():
            locked = await target_states.lock(self._connection, list(noteworthy))
            [(changed,)] = await self._connection.rows(RECORD, arrays)
            told = await target_states.tell(self._connection, noteworthy, locked)
        self.targets.add(told)
        return int(changed)


def _outcome(result: Result) -> target_states.Outcome:
    """What a result says about its target. Pure."""
    claim, answer = result.claim, result.answer
    asked = retry.retry_after_seconds(answer.retry_after, answer.started_at)
    attempt = AttemptResult(answer.started_at, answer.status, answer.fault, asked)
    return target_states.Outcome(
        claim.target_id, attempt, result.dead_reason is DeadReason.TARGET_GONE, claim.is_watched
    )


def columns_of(batch: Sequence[Result]) -> list[list[object]]:
    """One array for each of _FIELDS."""
    rows = [
        (
            uuid7(),
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
            result.claim.revision,
            result.claim.target_version,
            result.answer.excerpt,
            result.answer.is_cut,
            str(result.state),
            result.wait_seconds,
            result.dead_reason or "",
            charges.is_contact(result.answer),
            charges.closes_as(result.answer),
            result.answer.kept,
            result.answer.is_kept_cut,
        )
        for result in batch
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _schedule(claim: Claim) -> Sequence[int]:
    destination = claim.destination
    if isinstance(destination, Destination):
        return destination.retry_schedule_seconds
    return DEFAULT_RETRY_SCHEDULE_SECONDS

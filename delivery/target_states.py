"""What recorded results say about their targets, written beside them: breakers, pauses, and targets that are disabled.

Only targets with a failure among the results, or with something on record that a success would change, are looked at:
a healthy target costs nothing here. Their rows are locked in one order, so that two recorders wait and do not deadlock.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from delivery import breaker
from delivery.breaker import AttemptResult, BreakerState, PauseReason, Standing, TargetState
from delivery.database import Connection
from relay_contract import logs

logger = logging.getLogger(__name__)

_FIELDS = (
    ("breaker", "text"),
    ("opens", "smallint"),
    ("paused_until", "timestamptz"),
    ("pause_reason", "text"),
    ("window_at", "timestamptz"),
    ("window_ok", "integer"),
    ("window_failed", "integer"),
    ("failing_since", "timestamptz"),
    ("consecutive_failures", "integer"),
)
_NAMES = ", ".join(name for name, _ in _FIELDS)

# The row is made where there is none, and locked by the same statement: its conflict waits for who has it.
_LOCK = f"""
INSERT INTO deliveries_targetstate AS state (target_id)
SELECT id FROM catalog_target WHERE id = ANY(%b::bigint[]) ORDER BY id
ON CONFLICT (target_id) DO UPDATE SET target_id = excluded.target_id
RETURNING target_id, clock_timestamp(),
    (SELECT has_breaker FROM catalog_target WHERE id = target_id),
    (SELECT disable_after_hours FROM catalog_target WHERE id = target_id), {_NAMES}
"""  # noqa: S608 (constants of this file)
_SAVE = f"""
UPDATE deliveries_targetstate AS state SET ({_NAMES}) = ({", ".join(f"new.{name}" for name, _ in _FIELDS)})
FROM unnest(%b::bigint[], {", ".join(f"%b::{kind}[]" for _, kind in _FIELDS)}) AS new(target_id, {_NAMES})
WHERE state.target_id = new.target_id
"""  # noqa: S608 (constants of this file)
_DISABLE = """
UPDATE catalog_target AS target
SET is_enabled = false, disabled_reason = new.reason, updated_at = now(),
    gone_at = CASE new.reason WHEN 'gone' THEN now() ELSE target.gone_at END
FROM (SELECT * FROM unnest(%b::bigint[], %b::text[]) AS new(target_id, reason) ORDER BY target_id) AS new
WHERE target.id = new.target_id AND target.is_enabled
RETURNING target.id, target.disabled_reason
"""


class DisabledReason(StrEnum):
    """Why a target was disabled by the workers; an operator's own choice has none."""

    GONE = "gone"  # it answered 410
    FAILING = "failing"  # nothing was delivered for `disable_after_hours`


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt says about its target."""

    target_id: int
    attempt: AttemptResult
    is_gone: bool  # it answered 410
    is_watched: bool


@dataclass
class Figures:
    """What the metrics page shows, since the process began."""

    opened: int = 0  # breakers
    paused: int = 0  # by a Retry-After
    disabled: int = 0

    def add(self, other: "Figures") -> None:
        """Count these too."""
        self.opened += other.opened
        self.paused += other.paused
        self.disabled += other.disabled


@dataclass(frozen=True, slots=True)
class _Target:
    """A target whose row is locked."""

    now: datetime
    has_breaker: bool
    disable_after_hours: int | None
    state: TargetState


def noteworthy(outcomes: Sequence[Outcome]) -> dict[int, list[Outcome]]:
    """By target, those of targets that have to be looked at. Pure."""
    wanted = {each.target_id for each in outcomes if each.is_watched or _is_failure(each)}
    by_target: defaultdict[int, list[Outcome]] = defaultdict(list)
    for each in outcomes:
        if each.target_id in wanted:
            by_target[each.target_id].append(each)
    return by_target


async def tell(
    connection: Connection, outcomes: Mapping[int, Sequence[Outcome]], locked: Mapping[int, _Target]
) -> Figures:
    """Write what becomes of the targets that `lock` gave. Raises DatabaseAway."""
    figures = Figures()
    changed: dict[int, TargetState] = {}
    disabled: dict[int, str] = {}
    for target_id, target in locked.items():
        after = _after(target, [each.attempt for each in outcomes[target_id]])
        reason = _disabled(target, after, outcomes[target_id])
        if reason is not None:
            disabled[target_id] = str(reason)
            after = TargetState()  # who enables it again begins anew
        if after != target.state:
            changed[target_id] = after
            _count(figures, target.state, after)
    if changed:
        await connection.rows(_SAVE, [list(changed), *_columns(list(changed.values()))])
    if disabled:
        for target_id, why in await connection.rows(_DISABLE, (list(disabled), list(disabled.values()))):
            figures.disabled += 1
            logger.warning("target_disabled", extra=logs.log_fields(target_id=target_id, reason=why))
    return figures


async def lock(connection: Connection, target_ids: Sequence[int]) -> dict[int, _Target]:
    """These targets as they are, until the transaction ends; deleted ones are left out. Raises DatabaseAway."""
    rows = await connection.rows(_LOCK, (sorted(target_ids),))
    return {row[0]: _Target(row[1], row[2], row[3], _state(row[4:])) for row in rows}


def _state(row: Sequence[Any]) -> TargetState:  # Any: a row of _FIELDS
    values = dict(zip((name for name, _ in _FIELDS), row, strict=True))
    values["breaker"] = BreakerState(values["breaker"])
    values["pause_reason"] = PauseReason(values["pause_reason"])
    return TargetState(**values)


def _columns(states: Sequence[TargetState]) -> list[list[object]]:
    rows = [[str(value) if isinstance(value, StrEnum) else value for value in astuple(state)] for state in states]
    return [list(column) for column in zip(*rows, strict=True)]


def _after(target: _Target, attempts: Sequence[AttemptResult]) -> TargetState:
    return breaker.after(
        target.state, breaker.tally(target.state, attempts), target.now, has_breaker=target.has_breaker
    )


def _disabled(target: _Target, after: TargetState, outcomes: Sequence[Outcome]) -> DisabledReason | None:
    if any(each.is_gone for each in outcomes):
        return DisabledReason.GONE
    if target.disable_after_hours is None or after.failing_since is None:
        return None
    is_long = target.now - after.failing_since >= timedelta(hours=target.disable_after_hours)
    return DisabledReason.FAILING if is_long and any(_is_failure(each) for each in outcomes) else None


def _is_failure(outcome: Outcome) -> bool:
    return breaker.standing(outcome.attempt.status, outcome.attempt.fault) in (Standing.ANSWERED, Standing.FAILED)


def _count(figures: Figures, before: TargetState, after: TargetState) -> None:
    if after.opens > before.opens:
        figures.opened += 1
    elif after.pause_reason is PauseReason.RETRY_AFTER and after.paused_until != before.paused_until:
        figures.paused += 1

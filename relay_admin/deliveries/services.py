"""Replay: rows of the failure queue become due again. Everything else about a delivery is the workers' to write.

A batch is started here and run by the workers (`delivery/replay_runner.py`), step by step at its pace; a selection
without a pace is done at once, by the same steps.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models.functions import Now

from relay_admin.access.models import User
from relay_admin.deliveries import replays
from relay_admin.deliveries.models import ReplayBatch
from relay_admin.deliveries.replay_purses import replay_steps
from relay_admin.deliveries.replays import FILTERS, REFUSALS, Preview, ReplayState
from relay_admin.ledger.purses import MoneyClosedError
from relay_admin.redis_link import RedisAwayError
from relay_contract.credits import MICRO

__all__ = [
    "MAX_REPLAY",
    "REFUSALS",
    "delivery_replay",
    "replay_cancel",
    "replay_pause",
    "replay_preview",
    "replay_resume",
    "replay_start",
]

MAX_REPLAY = 10_000
"""Deliveries that a batch may name: its row holds each of their ids. A filter may match any number."""
DEFAULT_PACE = Decimal(50)
MAX_PACE = Decimal(10_000)
MIN_PACE = Decimal("0.01")


def replay_preview(wanted: Mapping[str, Any]) -> Preview:
    """What a replay of this would do and cost. `wanted`: some of FILTERS, or `ids`. Raises ValidationError."""
    return replays.preview(_checked(wanted), settings.REPLAY_CHARGE)


def replay_start(
    wanted: Mapping[str, Any],
    *,
    pace: Decimal | None,
    by: User | None,
    note: str = "",
    project_id: int | None = None,
) -> ReplayBatch:
    """Have the workers replay what matches, `pace` of them a second; None for as fast as they can. `project_id`: whose
    replay it is where a filter does not say so.

    Raises ValidationError for a filter that is none, or a pace out of its range.
    """
    checked = _checked(wanted)
    if pace is not None and not MIN_PACE <= pace <= MAX_PACE:
        raise ValidationError(f"A pace is between {MIN_PACE} and {MAX_PACE} deliveries a second.")
    found = replays.preview(checked, settings.REPLAY_CHARGE)
    with transaction.atomic():
        batch = ReplayBatch.objects.create(
            project_id=checked.get("project", project_id),
            created_by=by,
            state=str(ReplayState.RUNNING),
            filter=checked,
            pace_per_second=pace,
            matched_count=min(found.matched, replays.MAX_COUNTED),
            credits_estimate=found.credits,
            charge=settings.REPLAY_CHARGE,
            note=note[:200],
        )
        _log(batch, by, ADDITION, f"Started: {found.replayable} deliveries for {found.credits / MICRO:,.2f} credits.")
    return batch


def replay_pause(batch: ReplayBatch, *, by: User | None) -> ReplayBatch:
    """Make nothing more due until it is resumed. Raises ValidationError where it does not run."""
    return _turn(batch, by, (ReplayState.RUNNING,), ReplayState.PAUSED, "Paused")


def replay_resume(batch: ReplayBatch, *, by: User | None) -> ReplayBatch:
    """Go on where it was paused. Raises ValidationError where it is not."""
    return _turn(batch, by, (ReplayState.PAUSED,), ReplayState.RUNNING, "Resumed", next_at=Now())


def replay_cancel(batch: ReplayBatch, *, by: User | None) -> ReplayBatch:
    """Leave what was not made due yet in the failure queue. Raises ValidationError where it is over."""
    states = (ReplayState.RUNNING, ReplayState.PAUSED)
    return _turn(batch, by, states, ReplayState.CANCELLED, "Cancelled", ended_at=Now())


def delivery_replay(
    *, delivery_ids: Iterable[UUID], by: User | None, note: str = "", project_id: int | None = None
) -> ReplayBatch:
    """Make dead deliveries due now, with a fresh budget of attempts. Others are refused, each with a reason, unchanged.

    Returns the batch, done; `refused` maps delivery ids to keys of REFUSALS. ValidationError for none or above
    MAX_REPLAY, and while nobody knows what a prepaid project that is to pay has.
    """
    try:
        with replay_steps() as steps, transaction.atomic():
            batch = replay_start({"ids": delivery_ids}, pace=None, by=by, note=note, project_id=project_id)
            while steps.step(batch.pk) == replays.MAX_STEP:
                pass
            batch.refresh_from_db()
    except (MoneyClosedError, RedisAwayError) as error:
        raise ValidationError(
            "What a prepaid project has cannot be looked up at the moment. Nothing was replayed; try again in some"
            " seconds."
        ) from error
    return batch


def _checked(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The filter as a batch keeps it."""
    if "ids" in wanted:
        ids = sorted({str(delivery_id) for delivery_id in wanted["ids"]})
        if not ids:
            raise ValidationError("Choose at least one delivery.")
        if len(ids) > MAX_REPLAY:
            raise ValidationError(f"One replay names at most {MAX_REPLAY} deliveries. Replay by a filter instead.")
        return {"ids": ids}
    unknown = sorted(set(wanted) - set(FILTERS))
    if unknown:
        raise ValidationError(f"There is no filter {', '.join(unknown)}.")
    return {name: getattr(value, "isoformat", lambda kept=value: kept)() for name, value in wanted.items()}


@transaction.atomic
def _turn(
    batch: ReplayBatch, by: User | None, states: tuple[ReplayState, ...], to: ReplayState, said: str, **columns: Any
) -> ReplayBatch:
    """Waits for a step that is under way, so that what it says is so when it returns."""
    changed = ReplayBatch.objects.filter(pk=batch.pk, state__in=[str(state) for state in states])
    if not changed.update(state=str(to), **columns):
        batch.refresh_from_db()
        raise ValidationError(f"The replay is {batch.state}.")
    batch.refresh_from_db()
    _log(batch, by, CHANGE, f"{said} after {batch.replayed_count} deliveries.")
    return batch


def _log(batch: ReplayBatch, by: User | None, flag: int, text: str) -> None:
    """In the batch's own history; where nobody was signed in, its row says so."""
    if by is not None:
        LogEntry.objects.log_actions(by.pk, [batch], flag, text, single_object=True)

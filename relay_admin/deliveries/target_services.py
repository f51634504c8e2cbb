"""Disabling a target and enabling it again, with what becomes of the deliveries that were kept back meanwhile.

While a target is disabled its deliveries are held: nothing is sent, nothing is lost, and what each costs stays held
with it. Whoever enables the target decides: `release` sends them, `discard` ends them unsent.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from django.core.exceptions import ValidationError
from django.db import connection, transaction

from relay_admin.access.models import User
from relay_admin.catalog.lines import revisions
from relay_admin.catalog.models import Target
from relay_admin.deliveries import endings, holding
from relay_admin.deliveries.models import LiveDelivery, TargetState
from relay_contract.intake import DeadReason, DeliveryState

Held = Literal["release", "discard"]
HELD: tuple[Held, ...] = ("release", "discard")

BATCH = 1_000
"""Deliveries of one transaction: other writers of the queue wait for no more than that."""

_KEPT_BACK = f"state IN ('{DeliveryState.HELD}', '{DeliveryState.WAITING}')"
_CHOSEN = (
    f"SELECT ctid AS place FROM deliveries_live WHERE target_id = %s AND {_KEPT_BACK}"  # noqa: S608 (constants)
    f" LIMIT {BATCH} FOR UPDATE SKIP LOCKED"
)
_DISCARD = endings.end(_CHOSEN, DeliveryState.DISCARDED, DeadReason.DISCARDED_BY_OPERATOR, endings.RELEASE)
# The longest due first: what this has held goes to the end.
_HOLD = holding.hold(
    f"SELECT ctid AS place FROM deliveries_live WHERE target_id = %s AND state = '{DeliveryState.WAITING}'"  # noqa: S608
    f" ORDER BY next_attempt_at LIMIT {BATCH} FOR UPDATE SKIP LOCKED"
)
# Due at once, in the order of acceptance; the time for which it was held is given back.
_RELEASE = f"""
WITH chosen AS (
    SELECT ctid AS place FROM deliveries_live WHERE target_id = %s AND state = '{DeliveryState.HELD}'
    LIMIT {BATCH} FOR UPDATE SKIP LOCKED
), released AS (
    UPDATE deliveries_live AS live
    SET state = '{DeliveryState.PENDING}',
        expires_at = live.expires_at + greatest(now() - live.next_attempt_at, interval '0')
    FROM chosen WHERE live.ctid = chosen.place
    RETURNING live.id
)
SELECT count(*) FROM released
"""  # noqa: S608 (constants of the contract)


@dataclass(frozen=True, slots=True)
class Enabled:
    """What enabling did to the deliveries that were kept back."""

    released: int = 0
    discarded: int = 0


def target_disable(*, target: Target, by: User | None) -> None:
    """Send it nothing more. What is under way ends as it does; what waits is held, and what comes as it is due."""
    with _revised(target, by):
        Target.objects.filter(pk=target.pk).update(is_enabled=False, disabled_reason="")
    target.refresh_from_db()
    _repeat(_HOLD, target)


def target_enable(*, target: Target, held: Held, by: User | None) -> Enabled:
    """Send to it again, as to a target that never failed. `held`: what becomes of the deliveries kept back for it.

    Discarding comes first, while the target is still disabled: stopped in between, it is disabled and fewer are held,
    and it can be called again. ValidationError for a word that is neither, and where the endpoint has another target
    that answers its callers.
    """
    if held not in HELD:
        raise ValidationError({"held": "Write release or discard."})
    wanted = Target.objects.get(pk=target.pk)
    wanted.is_enabled = True
    wanted.validate_constraints()
    discarded = _repeat(_DISCARD, target) if held == "discard" else 0
    with _revised(target, by):
        # In the workers' order: states of targets first, then targets.
        TargetState.objects.filter(pk=target.pk).update(
            breaker="closed",
            opens=0,
            paused_until=None,
            pause_reason="",
            window_at=None,
            window_ok=0,
            window_failed=0,
            failing_since=None,
            consecutive_failures=0,
        )
        Target.objects.filter(pk=target.pk).update(is_enabled=True, gone_at=None, disabled_reason="")
    target.refresh_from_db()
    return Enabled(_repeat(_RELEASE, target), discarded)


@contextmanager
def _revised(target: Target, by: User | None) -> Iterator[None]:
    """One transaction, whose change of the target is a revision of its line."""
    line = target.endpoint.line
    with transaction.atomic():
        revisions.lock([line])
        yield
        revisions.revision_take(line=line, by=by, source="edit")


def held_count(*, target: Target) -> int:
    """How many deliveries are kept back for it."""
    states = (DeliveryState.HELD, DeliveryState.WAITING)
    return LiveDelivery.objects.filter(target_id=target.pk, state__in=[str(state) for state in states]).count()


def _repeat(statement: str, target: Target) -> int:
    """Batch after batch, until one finds less than a batch; how many deliveries that were."""
    total, found = 0, BATCH
    while found == BATCH:
        with connection.cursor() as cursor:
            cursor.execute(statement, [target.pk])
            (found,) = cursor.fetchone()
        total += found
    return total

"""What users may spend in a project, and keys: who is given what, and how much of it is used.

A user's default is the project's, and a membership with `has_own_budget` replaces it. Calls are held to it by the edge
(`relay_edge/purses.py`), which hears of both within a second.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from relay_admin.access.models import Membership, RelayKey
from relay_admin.catalog.models import Project
from relay_admin.ledger.purses import budget_used
from relay_contract.periods import Period, end_ms


@dataclass(frozen=True, slots=True)
class Spending:
    """A budget. Micro-credits."""

    microcredits: int
    period: Period
    used: int | None  # with what calls in flight hold, as the next call is held to it; None: not known at the moment
    reset_at: datetime


def spending_of(membership: Membership) -> Spending | None:
    """Of a user in a project; None for who has no budget. Asks Redis, and is None the wiser while it is away."""
    return _spending(membership.user_budget, f"user:{membership.project_id}.{membership.user_id}")


def key_spending_of(key: RelayKey) -> Spending | None:
    """Of a relay key, as `spending_of`."""
    return _spending(key.budget, f"key:{key.pk}")


def _spending(budget: dict[str, Any] | None, owner: str) -> Spending | None:
    if budget is None:
        return None
    period = Period(budget["period"])
    ends = end_ms(period, int(timezone.now().timestamp() * 1000))
    return Spending(
        budget["microcredits"],
        period,
        budget_used(owner, period),
        datetime.fromtimestamp(ends / 1000, UTC),
    )


@transaction.atomic
def user_budget_set(*, project: Project, budget: dict[str, Any] | None) -> Project:
    """What each user may spend who has no budget of their own; None: as much as there is. Raises ValidationError."""
    row = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    row.user_budget = budget
    row.clean()
    row.save(update_fields=["user_budget", "updated_at"])
    return row

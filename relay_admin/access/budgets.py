"""What users may spend in a project: who is given what, and how much of it is used.

The default is the project's, and a membership with `has_own_budget` replaces it. Calls are held to it by the edge
(`relay_edge/purses.py`), which hears of both within a second.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from relay_admin.access.models import Membership
from relay_admin.catalog.models import Project
from relay_admin.ledger.purses import budget_used
from relay_contract.periods import Period, end_ms


@dataclass(frozen=True, slots=True)
class Spending:
    """A user's budget in a project. Micro-credits."""

    microcredits: int
    period: Period
    used: int | None  # with what calls in flight hold, as the next call is held to it; None: not known at the moment
    reset_at: datetime


def spending_of(membership: Membership) -> Spending | None:
    """None for who has no budget. Asks Redis, and is None the wiser while it is away."""
    budget = membership.user_budget
    if budget is None:
        return None
    period = Period(budget["period"])
    ends = end_ms(period, int(timezone.now().timestamp() * 1000))
    return Spending(
        budget["microcredits"],
        period,
        budget_used(f"user:{membership.project_id}.{membership.user_id}", period),
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

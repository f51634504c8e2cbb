"""A budget as the API takes it."""

from datetime import datetime
from typing import TypedDict

from rest_framework import serializers

from relay_admin.access.budgets import Spending
from relay_admin.control_api.wire import ChoiceField, Strict
from relay_contract.ledger import MAX_AMOUNT
from relay_contract.periods import Period


class BudgetBody(Strict):
    """What may be spent in a calendar period, UTC."""

    microcredits = serializers.IntegerField(min_value=0, max_value=MAX_AMOUNT)
    period = ChoiceField([str(period) for period in Period])


class BudgetJson(TypedDict):
    """The same, as it is told."""

    microcredits: int
    period: Period


class OwnBudgetJson(BudgetJson):
    """What the caller may spend, and has. `used` null: not known at the moment."""

    used: int | None
    resetAt: datetime


def own_budget_json(spending: Spending | None) -> OwnBudgetJson | None:
    """None for who has no budget."""
    if spending is None:
        return None
    return {
        "microcredits": spending.microcredits,
        "period": spending.period,
        "used": spending.used,
        "resetAt": spending.reset_at,
    }

"""Budgets as portal forms ask for them: credits and a period, and who has one of their own."""

from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from relay_admin.access.models import Membership
from relay_admin.catalog.credit_fields import budget_in_words
from relay_contract.credits import MICRO
from relay_contract.ledger import MAX_AMOUNT
from relay_contract.periods import Period

_PERIODS = {Period.DAY: "a day", Period.WEEK: "a week", Period.MONTH: "a month"}


def credits_field(help_text: str, **options: Any) -> forms.DecimalField:
    """From 0, exact to a micro-credit; may be left empty."""
    most = Decimal(MAX_AMOUNT) / MICRO
    return forms.DecimalField(
        required=False, min_value=0, max_value=most, decimal_places=6, help_text=help_text, **options
    )


def period_field() -> forms.ChoiceField:
    """Begins with a month."""
    return forms.ChoiceField(
        label="The budget is for",
        choices=[(str(period), text) for period, text in _PERIODS.items()],
        initial=str(Period.MONTH),
    )


def budget_typed(data: dict[str, Any]) -> dict[str, Any] | None:
    """Takes both out of what a form has read: the budget as it is stored, None where no credits were typed."""
    credit, period = data.pop("budget_credits"), data.pop("budget_period")
    return None if credit is None else {"microcredits": int(credit * MICRO), "period": period}


def budget_initial(budget: dict[str, Any] | None) -> dict[str, Any]:
    """A stored budget as both fields begin with it."""
    found = budget or {}
    return {
        "budget_credits": f"{Decimal(found['microcredits']) / MICRO:f}" if found else None,
        "budget_period": found.get("period", str(Period.MONTH)),
    }


class UserBudgetForm(forms.Form):
    """What the project gives each of its users."""

    budget_credits = credits_field(
        "What each of them may spend here. Empty: no budget, but for members who have their own.",
        label="Budget for each user, in credits",
    )
    budget_period = period_field()

    def budget(self) -> dict[str, Any] | None:
        """As it is stored."""
        return budget_typed(dict(self.cleaned_data))


class MemberBudgetForm(forms.Form):
    """One member's."""

    PROJECT, OWN, NONE = "project", "own", "none"

    whose = forms.ChoiceField(label="Budget", widget=forms.RadioSelect)
    budget_credits = credits_field(
        "For a budget of their own. With 0 they make no call that costs anything.", label="Credits"
    )
    budget_period = period_field()

    def __init__(self, member: Membership, data: Any = None) -> None:
        whose = self.PROJECT if not member.has_own_budget else self.NONE if member.budget is None else self.OWN
        super().__init__(data, initial={"whose": whose, **budget_initial(member.budget)})
        field = self.fields["whose"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [
            (self.PROJECT, f"As every user here: {budget_in_words(member.project.user_budget)}"),
            (self.OWN, "A budget of their own"),
            (self.NONE, "No budget, whatever the others have"),
        ]

    def clean(self) -> dict[str, Any]:
        """Raises ValidationError for an own budget without an amount."""
        found = super().clean() or self.cleaned_data
        is_empty = "budget_credits" in found and found["budget_credits"] is None
        if found.get("whose") == self.OWN and is_empty:
            raise ValidationError({"budget_credits": "Say how much, or choose that they have no budget."})
        return found

    def columns(self) -> dict[str, Any]:
        """As `membership_budget_set` takes them."""
        found = dict(self.cleaned_data)
        whose, budget = found.pop("whose"), budget_typed(found)
        return {"has_own_budget": whose != self.PROJECT, "budget": budget if whose == self.OWN else None}

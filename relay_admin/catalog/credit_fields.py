"""Form fields of money: people write credits, rows hold micro-credits."""

from decimal import Decimal, InvalidOperation
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminTextInputWidget

from relay_admin.catalog.row_fields import Cell, Row, RowsField
from relay_contract.credits import MICRO
from relay_contract.ledger import MAX_AMOUNT
from relay_contract.periods import Period

_MOST = Decimal(MAX_AMOUNT) / MICRO


def credits_typed(microcredits: int) -> str:
    """As somebody would type it: exact, without zeros at its end."""
    text = f"{Decimal(microcredits) / MICRO:.6f}"
    return text.rstrip("0").rstrip(".")


def microcredits_of(text: str) -> int:
    """What somebody typed. Raises ValueError with what to write instead."""
    try:
        amount = Decimal(text.replace(",", "")) * MICRO
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount != amount.to_integral_value() or not 0 <= amount <= MAX_AMOUNT:
        raise ValueError(f"write credits from 0 to {_MOST:,.0f}, with at most six decimals")
    return int(amount)


def budget_in_words(budget: dict[str, Any] | None) -> str:
    """Such as `5 credits a month`."""
    return f"{credits_typed(budget['microcredits'])} credits a {budget['period']}" if budget else "none"


class CreditsField(forms.CharField):
    """An amount from 0."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"widget": UnfoldAdminTextInputWidget({"inputmode": "decimal"}), **options})

    def prepare_value(self, value: Any) -> Any:
        """Micro-credits as credits; what was typed as it is."""
        return credits_typed(value) if isinstance(value, int) else value

    def to_python(self, value: Any) -> Any:
        """Micro-credits; None for nothing."""
        text = super().to_python(value)
        if not text:
            return None
        try:
            return microcredits_of(text)
        except ValueError as error:
            raise ValidationError(f"{str(error).capitalize()}.") from None

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compares amounts."""
        return bool(super().has_changed(None if initial is None else credits_typed(initial), data))


class BudgetField(RowsField):
    """`{"microcredits": 5000000, "period": "month"}` as a row of its own, or None."""

    cells = (
        Cell("credits", "credits", after="credits", width="9rem"),
        Cell("period", "period", "choice", tuple((str(each), f"a {each}") for each in Period), width="8rem"),
    )
    most = 1
    noun = "budget"

    def typed(self, stored: dict[str, Any]) -> Row:
        return stored if "credits" in stored else {**stored, "credits": credits_typed(stored["microcredits"])}

    def stored(self, row: Row) -> dict[str, Any]:
        return {"microcredits": microcredits_of(row["credits"]), "period": row["period"]}

    def prepare_value(self, value: Any) -> Any:
        """A stored budget -> its row."""
        return super().prepare_value([value] if isinstance(value, dict) else value)

    def to_python(self, value: Any) -> Any:
        """A typed row -> the budget; none for an empty one."""
        return next(iter(super().to_python(value)), None)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compares what would be stored."""
        try:
            return bool(self.to_python(data) != initial)
        except ValidationError:
            return True

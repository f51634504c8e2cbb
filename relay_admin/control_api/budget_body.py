"""A budget as the API takes it."""

from rest_framework import serializers

from relay_admin.control_api.wire import Strict
from relay_contract.ledger import MAX_AMOUNT
from relay_contract.periods import Period


class BudgetBody(Strict):
    """What may be spent in a calendar period, UTC."""

    microcredits = serializers.IntegerField(min_value=0, max_value=MAX_AMOUNT)
    period = serializers.ChoiceField([str(period) for period in Period])

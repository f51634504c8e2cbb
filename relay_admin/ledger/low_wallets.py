"""Whether a wallet is low, and from when on its owner wants to be told."""

from dataclasses import dataclass

from django.core.exceptions import ValidationError

from relay_admin.access.models import User
from relay_admin.ledger.accounts import balances
from relay_admin.ledger.models import Account
from relay_contract.ledger import MAX_AMOUNT


@dataclass(frozen=True, slots=True)
class Low:
    """A wallet that is low: its balance and limit in micro-credits, in words whose it is, and the page of it."""

    whose: str
    left: int
    limit: int
    path: str


def low_of(account_id: int) -> Low | None:
    """None for a wallet that is not low, as of now."""
    found = balances([account_id]).get(account_id)
    if found is None or found.low_balance is None or found.available >= found.low_balance:
        return None
    if found.project_id is None:
        return Low(f"{found.mode} wallet of your own", found.available, found.low_balance, "/account/balance")
    path = f"/portal/projects/{found.project}/wallet?mode={found.mode}"
    return Low(f"{found.mode} wallet of the project {found.project}", found.available, found.low_balance, path)


def low_balance_set(*, user: User, microcredits: int | None) -> None:
    """Below which balance of their own live wallet a user wants to be told; None never. Raises ValidationError."""
    if microcredits is not None and not 0 <= microcredits <= MAX_AMOUNT:
        raise ValidationError(f"It is from 0 to {MAX_AMOUNT} micro-credits.")
    Account.objects.filter(pk=user.live_wallet_id, user_id=user.pk).update(low_balance_microcredits=microcredits)

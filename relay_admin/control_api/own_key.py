"""`/api/v1/relay-keys/self`: what a relay key is, to whoever holds it. Some rows are read, and Redis for a budget."""

from datetime import datetime
from typing import Any, TypedDict, cast

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.budgets import key_spending_of
from relay_admin.access.models import RelayKey
from relay_admin.control_api.answers import answers
from relay_admin.control_api.authentication import HolderAuthentication
from relay_admin.control_api.budget_body import OwnBudgetJson, own_budget_json
from relay_admin.control_api.permissions import IsHolder
from relay_admin.ledger import accounts
from relay_contract.nouns import Billing, KeyMode, Payer, Scope

SPENDS = frozenset({Scope.INFERENCE, Scope.RELAY})


class OwnWalletJson(TypedDict):
    """The wallet that a key's calls have to be paid from beforehand. Micro-credits."""

    id: int
    mode: str
    balance: int
    held: int
    available: int


class OwnRelayKeyJson(TypedDict):
    """A key, and what it may spend. `wallet` null: nobody is asked before its calls, or it makes none."""

    id: int
    project: str
    name: str
    mode: str
    keyId: str
    scopes: list[str]
    policy: str | None
    allowedNetworks: list[str]
    pays: str
    endsAt: datetime | None
    budget: OwnBudgetJson | None
    wallet: OwnWalletJson | None


class OwnKeyView(APIView):
    """GET the key that is shown, whatever its scopes.

    Whoever holds a key can spend what its wallet has, and a refused call says how much that is: so this may. Of a
    project that pays afterwards it tells no money: that is its members' to see.
    """

    authentication_classes = [HolderAuthentication]
    permission_classes = [IsHolder]

    @answers(OwnRelayKeyJson, name="getOwnRelayKey")
    def get(self, call: Request) -> Response:
        """As above. 401 for a key that the edges do not take either."""
        key = cast("RelayKey", call.auth)
        said: OwnRelayKeyJson = {
            "id": key.pk,
            "project": key.project.slug,
            "name": key.name,
            "mode": key.mode,
            "keyId": key.key_id,
            "scopes": key.scopes,
            "policy": None if key.policy is None else key.policy.slug,
            "allowedNetworks": key.allowed_networks,
            "pays": key.pays,
            "endsAt": key.ends_at,
            "budget": own_budget_json(key_spending_of(key)),
            "wallet": _wallet(key),
        }
        return Response(said, headers={"Cache-Control": "no-store"})


def _wallet(key: RelayKey) -> OwnWalletJson | None:
    account = _asked_account(key)
    if account is None:
        return None
    found = accounts.balance_of(account)
    return {
        "id": account,
        "mode": found.mode,
        "balance": found.posted,
        "held": found.open_holds,
        "available": found.available,
    }


def _asked_account(key: RelayKey) -> int | None:
    """As the edge has it (`relay_edge/purses.py`): a user's wallet is always asked, a project's if it is prepaid."""
    if SPENDS.isdisjoint(key.scopes):
        return None
    if key.pays == Payer.USER:
        return key.wallet_id
    project: Any = key.project
    if project.billing != Billing.PREPAID:
        return None
    found: int = project.live_wallet_id if key.mode == KeyMode.LIVE else project.test_wallet_id
    return found

"""What a relay key says of itself, to whoever holds it: no more than a call with it would tell."""

from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from django.test import Client

from relay_admin.access import services
from relay_admin.access.models import RelayKey, User
from relay_admin.catalog.models import Project
from relay_admin.ledger import corrections
from relay_admin.ledger.models import Account
from relay_contract.periods import Period, index
from relay_contract.redis import keys
from tests.admin import rows

SELF = "/api/v1/relay-keys/self"
CREDIT = 1_000_000
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def ask(token: str) -> Any:
    return Client().get(SELF, headers={"Authorization": f"Bearer {token}"})


def given(account_id: int, amount: int) -> None:
    giver = User.objects.filter(username="giver").first() or rows.user("giver")
    account = Account.objects.get(pk=account_id)
    corrections.credits_grant(account=account, microcredits=amount, note="welcome", by=giver)


def change(key: RelayKey, **columns: Any) -> None:
    RelayKey.objects.filter(pk=key.pk).update(**columns)


def test_a_key_of_a_project_that_pays_afterwards(catalog: rows.Catalog) -> None:
    given(catalog.project.live_wallet_id, 5 * CREDIT)
    answer = ask(catalog.token)
    assert answer.json() == {
        "id": catalog.relay_key.pk,
        "project": "shop",
        "name": "app",
        "mode": "live",
        "keyId": catalog.relay_key.key_id,
        "scopes": ["relay", "inference"],
        "policy": "all",
        "allowedNetworks": [],
        "pays": "project",
        "endsAt": None,
        "budget": None,
        "wallet": None,
    }
    assert answer.headers["Cache-Control"] == "no-store"


def test_of_a_prepaid_project_it_tells_what_it_can_spend(catalog: rows.Catalog) -> None:
    Project.objects.update(billing="prepaid")
    given(catalog.project.live_wallet_id, 5 * CREDIT)
    given(catalog.project.test_wallet_id, CREDIT)
    wallet = {"id": catalog.project.live_wallet_id, "mode": "live", "balance": 5 * CREDIT, "held": 0}
    assert ask(catalog.token).json()["wallet"] == {**wallet, "available": 5 * CREDIT}
    test = services.relay_key_mint(project=catalog.project, name="test", scopes=["inference"], mode="test")
    assert ask(test.token).json()["wallet"]["available"] == CREDIT


def test_a_key_that_spends_nothing_is_told_of_no_money(catalog: rows.Catalog) -> None:
    Project.objects.update(billing="prepaid")
    change(catalog.relay_key, scopes=["control"])
    assert ask(catalog.token).json()["wallet"] is None


def test_a_user_s_own_key_tells_the_user_s_wallet(catalog: rows.Catalog) -> None:
    user = User.objects.get(pk=rows.user("ada").pk)
    given(user.live_wallet_id, 3 * CREDIT)
    minted = services.relay_key_mint(project=catalog.project, name="ada", scopes=["inference"], user=user, pays="user")
    told = ask(minted.token).json()
    assert (told["pays"], told["wallet"]["id"], told["wallet"]["available"]) == (
        "user",
        user.live_wallet_id,
        3 * CREDIT,
    )


def test_what_is_used_of_its_budget(catalog: rows.Catalog, redis_url: str) -> None:
    change(catalog.relay_key, budget={"microcredits": 70, "period": "day"})
    with redis.Redis.from_url(redis_url) as client:
        client.set(keys.MONEY, "41:38:abc")
        seconds, _ = client.time()  # type: ignore[misc]  # no coroutine
        counted = {"bucket": index(Period.DAY, seconds * 1000), "used": 30}
        client.hset(keys.purse("b", f"key:{catalog.relay_key.pk}"), mapping=counted)
    budget = ask(catalog.token).json()["budget"]
    assert (budget["microcredits"], budget["period"], budget["used"]) == (70, "day", 30)


@pytest.mark.parametrize(
    "why",
    [
        {"revoked_at": LONG_AGO},
        {"expires_at": LONG_AGO},
        {"allowed_networks": ["192.0.2.0/24"]},
    ],
    ids=["revoked", "expired", "elsewhere"],
)
def test_a_key_that_the_edges_refuse_is_refused(catalog: rows.Catalog, why: dict[str, Any]) -> None:
    change(catalog.relay_key, **why)
    assert ask(catalog.token).status_code == 401


def test_nobody_else_is_answered(catalog: rows.Catalog, token_of: Any, client_of: Any) -> None:
    assert Client().get(SELF, headers=token_of("superuser")).status_code == 401
    assert client_of("superuser").get(SELF).status_code == 401
    assert Client().get(SELF).status_code == 401

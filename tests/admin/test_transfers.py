"""What owners move and are paid out: once, and never more than there is."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest
import redis
from django.db import connection
from django.test import Client
from django.urls import reverse

from relay_admin.access.models import Membership, User
from relay_admin.access.services import admin_token_mint
from relay_admin.ledger import proofs, purses, transfers
from relay_admin.ledger.accounts import balance_of
from relay_admin.ledger.models import Account, Entry
from relay_admin.ledger.posting import post
from relay_contract.ids import uuid7
from relay_contract.ledger import PROMOTIONS, AccountId, EntryKind, Leg, mode_of
from relay_contract.redis import keys
from tests.admin import rows
from tests.admin.test_purses import GENERATION, client_of_redis, tell, used, wallet

__all__ = ["client_of_redis", "wallet"]
BEGINNING = date(2020, 1, 1)
JSON = "application/json"


def account(owner: Any, kind: str, mode: str = "live") -> Account:
    column = "user_id" if isinstance(owner, User) else "project_id"
    return Account.objects.get(kind=kind, mode=mode, **{column: owner.pk})


def filled(account: Account, microcredits: int = 1000) -> Account:
    leg = Leg(EntryKind.GRANT, PROMOTIONS[mode_of(account.pk)], AccountId(account.pk), microcredits)
    post(leg, source=uuid7(), note="x", by_id=None)
    return account


def has(account: Account) -> int:
    return balance_of(account.pk).posted


def bearer(user: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {admin_token_mint(user=user, name='test').token}"}


def ask(header: dict[str, str], body: dict[str, Any], path: str = "transfers") -> Any:
    return Client().post(f"/api/v1/{path}", body, content_type=JSON, headers=header)


@pytest.fixture
def admin(catalog: rows.Catalog) -> dict[str, str]:
    """Of the project."""
    user = rows.user("admin")
    Membership.objects.create(project=catalog.project, user=user, role="admin")
    return bearer(user)


def test_earnings_go_to_the_wallet_and_on_to_the_pool(
    catalog: rows.Catalog, admin: dict[str, str], client_of_redis: "redis.Redis"
) -> None:
    earnings = filled(account(catalog.project, "earnings"))
    moved = ask(admin, {"project": "shop", "from": "earnings", "microcredits": 700})
    assert moved.status_code == 201, moved.content
    assert moved.json()["toAccountId"] == catalog.project.live_wallet_id
    assert ask(admin, {"project": "shop", "from": "wallet", "microcredits": 500}).status_code == 201
    client_of_redis.delete(keys.MONEY)
    closed = ask(admin, {"project": "shop", "from": "pool", "microcredits": 100})
    assert closed.status_code == 503, "a pool is a purse, and no purse pays"
    shown = Client().get("/api/v1/accounts?project=shop", headers=admin).json()["results"]
    found = {each["kind"]: each["balance"] for each in shown if each["mode"] == "live"}
    assert (found["earnings"], found["wallet"] + found["pool"]) == (300, 700)
    assert has(earnings) == 300
    assert not proofs.drifts(BEGINNING)


@pytest.mark.parametrize("kind", ["earnings", "wallet"])
def test_never_more_than_there_is(catalog: rows.Catalog, admin: dict[str, str], kind: str) -> None:
    filled(account(catalog.project, kind))
    refused = ask(admin, {"project": "shop", "from": kind, "microcredits": 1001})
    assert (refused.status_code, refused.json()["availableMicrocredits"]) == (409, 1000)
    assert ask(admin, {"project": "shop", "from": kind, "microcredits": 1, "mode": "test"}).status_code == 409
    assert not Entry.objects.filter(kind=EntryKind.TRANSFER).exists()


def test_sent_twice_it_is_moved_once(catalog: rows.Catalog, admin: dict[str, str]) -> None:
    earnings = filled(account(catalog.project, "earnings"))
    body = {"project": "shop", "from": "earnings", "microcredits": 600, "id": str(uuid7())}
    assert [ask(admin, body).status_code for _ in range(3)] == [201, 200, 200]
    assert ask(admin, {**body, "microcredits": 1}).status_code == 409
    assert has(earnings) == 400


def test_who_may(catalog: rows.Catalog) -> None:
    filled(account(catalog.project, "earnings"))
    for role, expected in (("developer", 400), ("support", 400), ("customer", 400)):
        user = rows.user(role)
        Membership.objects.create(project=catalog.project, user=user, role=role)
        asked = ask(bearer(user), {"project": "shop", "from": "earnings", "microcredits": 1})
        assert asked.status_code == expected, "as of a project that does not exist"
    assert (
        ask(bearer(rows.user("nobody")), {"project": "shop", "from": "earnings", "microcredits": 1}).status_code == 400
    )


def test_ones_own_earnings(db: None) -> None:
    ada = rows.user("ada")
    earnings, header = filled(account(ada, "earnings")), bearer(ada)
    assert ask(header, {"from": "earnings", "microcredits": 1000}).status_code == 201
    assert (has(earnings), has(account(ada, "wallet"))) == (0, 1000)
    assert ask(header, {"from": "wallet", "microcredits": 1}).status_code == 400, "users have no pool"


def test_a_prepaid_wallet_is_asked_in_redis(
    catalog: rows.Catalog, wallet: Account, client_of_redis: "redis.Redis"
) -> None:
    by = rows.user("olga")
    entry, _ = transfers.transfer(account=wallet, microcredits=400, by=by)
    assert entry.generation == GENERATION
    assert sum(int(value) for name, value in used(client_of_redis, wallet).items() if name.startswith(b"spent")) == 400
    client_of_redis.hset(keys.purse("w", str(wallet.pk)), "granted", 450)  # calls in flight hold what is left
    with pytest.raises(transfers.TooLittleError):
        transfers.transfer(account=wallet, microcredits=100, by=by)
    tell(client_of_redis, wallet)
    client_of_redis.delete(keys.MONEY)
    with pytest.raises(purses.MoneyClosedError):
        transfers.transfer(account=wallet, microcredits=1, by=by)
    assert has(wallet) == 600


def test_payouts(catalog: rows.Catalog, token_of: Any, client_of: Any, admin: dict[str, str]) -> None:
    earnings = filled(account(catalog.project, "earnings"))
    body = {"project": "shop", "microcredits": 300, "note": "bank transfer 7"}
    assert ask(admin, body, "payouts").status_code == 403
    header = token_of("operators")
    paid = ask(header, body, "payouts")
    assert (paid.status_code, paid.json()["kind"]) == (201, "payout")
    assert ask(header, {**body, "microcredits": 701}, "payouts").status_code == 409
    assert ask(header, {**body, "user": "admin"}, "payouts").status_code == 400
    page = reverse("admin:ledger_account_post", args=[earnings.pk])
    form = {"kind": int(EntryKind.PAYOUT), "amount": "0.0002", "against": "payments", "note": "n", "source": uuid7()}
    assert client_of("operators").post(page, form).status_code == 302
    assert has(earnings) == 500
    assert not proofs.drifts(BEGINNING)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_side_by_side_no_more_than_there_is(catalog: rows.Catalog) -> None:
    earnings, by = filled(account(catalog.project, "earnings")), rows.user("olga")

    def move(_: int) -> bool:
        try:
            return transfers.transfer(account=earnings, microcredits=300, by=by)[1]
        except transfers.TooLittleError:
            return False
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(move, range(8))) == 3
    assert has(earnings) == 100

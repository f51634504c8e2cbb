"""Purses as the control plane takes from them, overdrafts, and runs that compare Redis and the ledger."""

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from relay_admin.access.models import User
from relay_admin.catalog.models import Project
from relay_admin.ledger import corrections, folding, purses, runs
from relay_admin.ledger.models import Account, Balance, Entry, ReconcileRun
from relay_admin.ledger.posting import post
from relay_admin.redis_link import RedisAwayError
from relay_contract.ids import uuid7
from relay_contract.ledger import PROMOTIONS, AccountId, AccountKind, EntryKind, Leg
from relay_contract.nouns import KeyMode
from relay_contract.redis import keys
from tests.admin import rows

GENERATION = 41


@pytest.fixture
def client_of_redis(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as client:
        client.set(keys.MONEY, f"{GENERATION}:38:abc")
        yield client


@pytest.fixture
def wallet(catalog: rows.Catalog, client_of_redis: "redis.Redis") -> Account:
    """Of a prepaid project, with 1,000 in it that Redis knows of."""
    Project.objects.filter(pk=catalog.project.pk).update(billing="prepaid")
    account = Account.objects.get(pk=catalog.project.live_wallet_id)
    leg = Leg(EntryKind.GRANT, PROMOTIONS[KeyMode.LIVE], AccountId(account.pk), 1000)
    post(leg, source=uuid7(), note="x", by_id=None)
    fold()
    tell(client_of_redis, account)
    return account


def fold() -> None:
    with connection.cursor() as cursor:
        cursor.execute(folding.FOLD)


def tell(client: "redis.Redis", account: Account) -> None:
    balance = Balance.objects.get(pk=account.pk)
    left = balance.credit - balance.debit + Account.objects.get(pk=account.pk).overdraft_microcredits
    client.hset(keys.purse("w", str(account.pk)), mapping={"granted": left, "version": balance.version})


def used(client: "redis.Redis", account: Account) -> dict[bytes, bytes]:
    found: Any = client.hgetall(keys.purse("w", str(account.pk)))
    return {name: value for name, value in found.items() if name not in (b"granted", b"version")}


def test_what_is_taken_is_gone_until_it_is_given_back(wallet: Account, client_of_redis: "redis.Redis") -> None:
    assert purses.take(wallet.pk, 600) == GENERATION
    with pytest.raises(purses.CannotPayError) as refused:
        purses.take(wallet.pk, 401)
    assert refused.value.left == 400
    purses.give_back(wallet.pk, 600, GENERATION)
    assert used(client_of_redis, wallet) == {b"used": b"0", b"spent:41": b"0"}
    purses.give_back(wallet.pk, 600, GENERATION - 1)  # closed by now
    assert used(client_of_redis, wallet) == {b"used": b"0", b"spent:41": b"0"}


def test_nothing_is_taken_where_nobody_knows(wallet: Account, client_of_redis: "redis.Redis") -> None:
    client_of_redis.delete(keys.MONEY)
    with pytest.raises(purses.MoneyClosedError):
        purses.take(wallet.pk, 1)


def test_redis_away(wallet: Account, settings: Any, free_port: int) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port}/0"
    with pytest.raises(RedisAwayError):
        purses.take(wallet.pk, 1)


def test_an_adjustment_takes_from_the_purse_once(wallet: Account, client_of_redis: "redis.Redis") -> None:
    by, source = User.objects.create_user("ada"), uuid7()
    for _ in range(2):
        corrections.account_adjust(
            account=wallet, microcredits=-300, against=AccountKind.REVENUE, note="x", by=by, source=source
        )
    assert used(client_of_redis, wallet) == {b"used": b"300", b"spent:41": b"300"}
    assert Entry.objects.get(source=source).generation == GENERATION
    corrections.account_adjust(account=wallet, microcredits=-701, against=AccountKind.REVENUE, note="x", by=by)
    assert used(client_of_redis, wallet)[b"used"] == b"300"  # it takes what is not there, and Redis hears of it later


def test_limits_by_api(wallet: Account, admin_client: Client) -> None:
    before = Balance.objects.get(pk=wallet.pk).version
    address = f"/api/v1/wallets/{wallet.pk}"
    told = admin_client.patch(address, {"overdraft": 50, "lowBalance": 200}, content_type="application/json")
    assert (told.status_code, told.json()["overdraft"], told.json()["lowBalance"]) == (200, 50, 200)
    assert Balance.objects.get(pk=wallet.pk).version > before
    told = admin_client.patch(address, {"lowBalance": None}, content_type="application/json")
    assert (told.json()["overdraft"], told.json()["lowBalance"]) == (50, None)
    for refused in ({"overdraft": -1}, {"overdraft": 10**15 + 1}, {"overdraft": 1.5}, {"balance": 5}):
        assert admin_client.patch(address, refused, content_type="application/json").status_code == 400


def test_limits_in_the_admin(wallet: Account, admin_client: Client) -> None:
    address = f"/admin/ledger/account/{wallet.pk}/limits/"
    assert admin_client.get(address).status_code == 200
    assert admin_client.post(address, {"overdraft": "-1", "low_balance": ""}).status_code == 200
    assert admin_client.post(address, {"overdraft": "1.5", "low_balance": "2"}).status_code == 302
    wallet.refresh_from_db()
    assert (wallet.overdraft_microcredits, wallet.low_balance_microcredits) == (1_500_000, 2_000_000)
    assert b"1.5 credits below 0" in admin_client.get(f"/admin/ledger/account/{wallet.pk}/change/").content


def test_a_run_finds_nothing_where_all_is_well(wallet: Account) -> None:
    assert runs.reconcile_run().checks == {"ledger": 0, "deliveries": 0, "purses": 0, "budgets": 0}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"spent:40": 7, "used": 7}, ("spent_differs", 0, 7)),
        ({"granted": 1001}, ("grant_differs", 1000, 1001)),
        ({"version": 10**12}, ("purse_is_newer", None, 10**12)),
    ],
)
def test_a_run_keeps_what_differs(
    wallet: Account,
    client_of_redis: "redis.Redis",
    admin_client: Client,
    fields: dict[str, int],
    said: tuple[str, int | None, int],
) -> None:
    code, expected, found = said
    client_of_redis.hset(keys.purse("w", str(wallet.pk)), mapping=fields)
    assert admin_client.post("/admin/money/").status_code == 302
    [drift] = ReconcileRun.objects.get().drifts.all()
    assert (drift.code, drift.found, drift.account_id) == (code, found, wallet.pk)
    assert expected is None or drift.expected == expected
    rows_shown = {"grant_differs": [("overdraft", 0), ("held for deliveries", 0), ("balance", 1000)]}.get(code, [])
    assert [(row["what"], row["expected"]) for row in drift.rows] == rows_shown
    page = admin_client.get("/admin/money/").content.decode()
    assert code in page
    assert f"/admin/ledger/account/{wallet.pk}/change/" in page


def test_what_a_generation_took_is_compared(wallet: Account, client_of_redis: "redis.Redis") -> None:
    leg = Leg(EntryKind.USAGE, AccountId(wallet.pk), AccountId(2), 70)
    post(leg, source=uuid7(), note="", by_id=None, generation=GENERATION - 1)
    [drift] = runs.reconcile_run().drifts.all()
    assert (drift.code, drift.expected, drift.found) == ("spent_differs", 70, 0)
    client_of_redis.hset(keys.purse("w", str(wallet.pk)), mapping={"spent:40": 70, "used": 70})
    assert runs.reconcile_run().checks["purses"] == 0
    client_of_redis.hset(keys.purse("w", str(wallet.pk)), mapping={"spent:40": 60, "h:ab:40": 30})
    assert runs.reconcile_run().checks["purses"] == 0  # it is not over


def test_the_command_says_what_differs(wallet: Account, client_of_redis: "redis.Redis") -> None:
    said = StringIO()
    call_command("credits", "reconcile", stdout=said)
    assert "purses: 0 drifts" in said.getvalue()
    client_of_redis.hset(keys.purse("w", str(wallet.pk)), "granted", 5)
    with pytest.raises(CommandError, match="does not add up"):
        call_command("credits", "reconcile", stdout=said, stderr=said)
    assert "grant_differs, 5 instead of 1000" in said.getvalue()


def test_the_page_is_for_who_may_see_accounts(catalog: rows.Catalog, client: Client) -> None:
    nobody = User.objects.create_user("nobody", is_staff=True)
    client.force_login(nobody)
    assert client.get("/admin/money/").status_code == 403
    assert client.post("/admin/money/").status_code == 403
    assert not ReconcileRun.objects.exists()

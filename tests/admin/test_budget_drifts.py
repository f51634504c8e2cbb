"""Budgets, caps and shares as Redis counted them, against what Postgres has of their period."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.db import connection
from django.utils import timezone

from relay_admin.access.models import RelayKey, User
from relay_admin.access.oauth.models import Authorization, OAuthApplication
from relay_admin.catalog.models import Project
from relay_admin.ledger import budget_drifts, folding, purses, runs
from relay_admin.ledger.models import UsageDelta
from relay_contract.credits import MICRO
from relay_contract.intake import DeliveryState
from relay_contract.periods import Period, index
from relay_contract.redis import keys
from tests.admin import rows

MONTH = index(Period.MONTH, int(datetime.now(UTC).timestamp() * 1000))
BUDGET = {"microcredits": 10**12, "period": "month"}
_FORGET = "SELECT set_config('relay.audit_forgets', 'on', true)"


@pytest.fixture(autouse=True)
def near(monkeypatch: pytest.MonkeyPatch) -> timedelta:
    """How near the beginning of its month something is that may be on either side; now never is."""
    so_far = timezone.now() - beginning()
    least = min(budget_drifts.NEAR, so_far / 2)
    monkeypatch.setattr(budget_drifts, "NEAR", least)
    return least


def beginning() -> datetime:
    return datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
def client_of_redis(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        client.set(keys.MONEY, "41:38:abc")
        yield client
        client.flushall()


@pytest.fixture
def owners(catalog: rows.Catalog, client_of_redis: "redis.Redis") -> tuple[str, str]:
    """Budgets of a project and its key, which were given before this month, by their keys in Redis."""
    Project.objects.filter(pk=catalog.project.pk).update(budget=BUDGET)
    RelayKey.objects.filter(pk=catalog.relay_key.pk).update(budget=BUDGET)
    catalog.project.refresh_from_db()
    forget_who_gave_what()
    return (keys.purse("b", f"project:{catalog.project.pk}"), keys.purse("b", f"key:{catalog.relay_key.pk}"))


def forget_who_gave_what() -> None:
    with connection.cursor() as cursor:
        cursor.execute(_FORGET)
        cursor.execute("DELETE FROM access_auditevent")


def count(client: "redis.Redis", micro: int, *names: str, **fields: int) -> None:
    for name in names:
        client.hset(name, mapping={"bucket": MONTH, "used": micro} | fields)


def used(client: "redis.Redis", name: str) -> dict[bytes, bytes]:
    found: Any = client.hgetall(name)
    return dict(found)


def call(catalog: rows.Catalog, charge: int, **columns: Any) -> None:
    columns = {"payer_id": catalog.project.live_wallet_id, "charge_microcredits": charge} | columns
    rows.call_row(catalog, **columns)


def found() -> list[tuple[str, int | None, int | None]]:
    drifts = budget_drifts.drifts_of(budget_drifts.compared(settle_seconds=0))
    return [(drift.subject.partition(",")[0], drift.expected, drift.found) for drift in drifts]


def test_calls_and_what_was_accepted_count_whatever_becomes_of_it(
    catalog: rows.Catalog, owners: tuple[str, str], client_of_redis: "redis.Redis"
) -> None:
    call(catalog, 70)
    for state in (DeliveryState.PENDING, DeliveryState.DELIVERED):
        rows.delivery_row(rows.request_row(catalog), catalog.target, state)
    rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DELIVERED, replay_count=1)
    count(client_of_redis, 70 + 2 * MICRO, *owners)
    assert found() == []
    with connection.cursor() as cursor:
        cursor.execute(folding.FOLD_USAGE)
    assert found() == []
    count(client_of_redis, 70 + MICRO, *owners)
    assert [each[1:] for each in found()] == [(70 + 2 * MICRO, 70 + MICRO)] * 2


def test_what_was_accepted_is_of_the_keys_user(catalog: rows.Catalog) -> None:
    user = User.objects.create_user("eve")
    RelayKey.objects.filter(pk=catalog.relay_key.pk).update(user=user)
    rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DELIVERED)
    rows.delivery_row(rows.request_row(catalog, relay_key=None), catalog.target, DeliveryState.PENDING)
    accepted = UsageDelta.objects.filter(what="accepted").order_by("relay_key_id")
    assert list(accepted.values_list("relay_key_id", "user_id", "calls", "charge")) == [
        (0, 0, 1, MICRO),
        (catalog.relay_key.pk, user.pk, 1, MICRO),
    ]


def test_budgets_of_users(catalog: rows.Catalog, owners: tuple[str, str], client_of_redis: "redis.Redis") -> None:
    user = User.objects.create_user("eve")
    RelayKey.objects.filter(pk=catalog.relay_key.pk).update(user=user)
    Project.objects.filter(pk=catalog.project.pk).update(user_budget=BUDGET)
    call(catalog, 70, user_id=user.pk)
    rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.PENDING)
    name = keys.purse("b", f"user:{catalog.project.pk}.{user.pk}")
    count(client_of_redis, 70 + MICRO, *owners, name)
    assert found() == []
    count(client_of_redis, 69 + MICRO, name)
    assert found() == []  # it was given now
    forget_who_gave_what()
    [drift] = budget_drifts.drifts_of(budget_drifts.compared(settle_seconds=0))
    assert drift.subject.startswith(f"budget of user {user.pk} in project {catalog.project.pk}, month")
    assert (drift.expected, drift.found) == (70 + MICRO, 69 + MICRO)
    assert sum(row.expected or 0 for row in drift.rows) == 70 + MICRO


def test_a_run_shows_what_differs_once_and_postgres_word_replaces_it(
    catalog: rows.Catalog, owners: tuple[str, str], client_of_redis: "redis.Redis"
) -> None:
    project, key = owners
    call(catalog, 70)
    count(client_of_redis, 70, project)
    count(client_of_redis, 77, key)
    [drift] = runs.drifts_of(runs.reconcile_run())
    assert (drift.code, drift.expected, drift.found) == ("budget_differs", 70, 77)
    assert drift.subject.startswith(f"budget of key {catalog.relay_key.pk}, month from ")
    assert [(row.expected, row.what.partition("UTC, ")[2]) for row in drift.rows] == [
        (70, f"key {catalog.relay_key.pk}")
    ]
    assert used(client_of_redis, key) == {b"bucket": b"%d" % MONTH, b"used": b"70"}
    assert runs.reconcile_run().checks == {"ledger": 0, "deliveries": 0, "purses": 0, "budgets": 0}


def test_a_budget_that_redis_has_forgotten(
    catalog: rows.Catalog, owners: tuple[str, str], client_of_redis: "redis.Redis"
) -> None:
    call(catalog, 70)
    count(client_of_redis, 70, owners[0])
    count(client_of_redis, 70, owners[1], bucket=MONTH - 1)  # of the month before
    assert found() == [(f"budget of key {catalog.relay_key.pk}", 70, 0)]
    budget_drifts.recount(budget_drifts.compared(settle_seconds=0))
    assert used(client_of_redis, owners[1]) == {b"bucket": b"%d" % MONTH, b"used": b"70"}
    assert client_of_redis.pttl(owners[1]) > 0


def test_a_budget_counts_from_when_it_is_given(
    catalog: rows.Catalog, owners: tuple[str, str], client_of_redis: "redis.Redis"
) -> None:
    call(catalog, 70)
    count(client_of_redis, 70, owners[0])
    RelayKey.objects.filter(pk=catalog.relay_key.pk).update(budget=BUDGET | {"period": "week"})
    assert found() == []
    RelayKey.objects.filter(pk=catalog.relay_key.pk).update(budget=BUDGET)
    assert found() == []
    count(client_of_redis, 71, owners[1])
    assert found() == [(f"budget of key {catalog.relay_key.pk}", 70, 71)]  # which no gift explains


@pytest.mark.parametrize("why", ["held", "closed", "unwritten"])
def test_what_does_not_stand_still_is_not_compared(
    owners: tuple[str, str], client_of_redis: "redis.Redis", why: str
) -> None:
    count(client_of_redis, 5, *owners)
    assert len(found()) == 2
    if why == "held":
        for name in owners:
            client_of_redis.hset(name, "h:ab:41", 1)
    elif why == "closed":
        client_of_redis.set(keys.MONEY, "41:38:abc:opening")
    else:
        client_of_redis.sadd(keys.EDGES, "ab", "cd")
        client_of_redis.set(keys.alive("ab"), "4:38")
    assert found() == []


def test_nothing_that_changed_meanwhile_is_replaced(owners: tuple[str, str], client_of_redis: "redis.Redis") -> None:
    name = owners[0]
    was = purses.Count(MONTH, 5, is_held=False)
    for now in ({"used": 6}, {"used": 5, "bucket": MONTH + 1}, {"used": 5, "h:ab:41": 1}):
        client_of_redis.delete(name)
        count(client_of_redis, 5, name, **now)
        before = used(client_of_redis, name)
        assert purses.recount(name, MONTH, was, 9) is False
        assert used(client_of_redis, name) == before
    count(client_of_redis, 5, name, bucket=MONTH + 1)
    assert purses.recount(name, MONTH, None, 9) is False  # another month has begun
    client_of_redis.delete(name)
    count(client_of_redis, 5, name, **{"h:ab:41": 0})
    assert purses.recount(name, MONTH, was, 9) is True


@pytest.mark.parametrize(
    ("share", "counted", "is_told"),
    [(-0.5, 40, False), (-0.5, 41, True), (0.5, -40, False), (0.5, -41, True), (-1.5, 40, True)],
)
def test_what_came_at_the_turn_of_the_month_may_be_of_either(
    catalog: rows.Catalog,
    owners: tuple[str, str],
    client_of_redis: "redis.Redis",
    near: timedelta,
    *,
    share: float,
    counted: int,
    is_told: bool,
) -> None:
    at = beginning() + share * near
    call(catalog, 25, received_at=at)
    delivery = rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.PENDING, credits=15)
    with connection.cursor() as cursor:  # as if it had been accepted then
        cursor.execute("ALTER TABLE ledger_charge DISABLE TRIGGER USER")
        cursor.execute("DELETE FROM ledger_usagedelta")
        cursor.execute("DELETE FROM ledger_charge WHERE delivery_id = %s", [delivery.pk])
        cursor.execute("ALTER TABLE ledger_charge ENABLE TRIGGER USER")
        cursor.execute(
            "INSERT INTO ledger_charge (delivery_id, replay, phase, kind, request_id, project_id, relay_key_id,"
            " target_id, key_mode, micro_credits, units, at) VALUES ((lpad(to_hex((extract(epoch FROM %(at)s) * 1000)"
            "::bigint), 12, '0') || repeat('7', 20))::uuid, 0, 0, 'hold', %(id)s, %(project)s, %(key)s, 1, 'live', 15,"
            " 1, %(at)s)",
            {
                "at": at,
                "id": delivery.request_id,
                "project": catalog.project.pk,
                "key": catalog.relay_key.pk,
            },
        )
    for _ in range(3):
        call(catalog, 100)
    count(client_of_redis, 300 + counted + (40 if share > 0 else 0), *owners)
    assert len(found()) == 2 * is_told


def test_caps_and_shares(catalog: rows.Catalog, owners: tuple[str, str], client_of_redis: "redis.Redis") -> None:
    user = User.objects.create_user("eve")
    application = OAuthApplication.objects.create(project=catalog.project, name="app", user=user)
    grant = Authorization.objects.create(
        user=user, application=application, scopes=["inference"], cap_microcredits=100, granted_at=timezone.now()
    )
    forget_who_gave_what()
    pool = catalog.project.live_pool_id
    call(catalog, 10, relay_key_id=None, user_id=user.pk, application_id=application.pk, payer_id=pool)
    call(catalog, 3, relay_key_id=None, user_id=user.pk, application_id=application.pk)
    cap, share = keys.purse("b", f"grant:{grant.pk}"), keys.purse("c", f"{pool}:{user.pk}")
    count(client_of_redis, 13, owners[0], cap)
    count(client_of_redis, 10, share)
    assert found() == []
    count(client_of_redis, 14, cap)
    count(client_of_redis, 11, share, keys.purse("c", f"{pool}:999"))
    assert sorted(found()) == [
        (f"cap of authorization {grant.pk}", 13, 14),
        (f"share of user {user.pk} in account {pool}", 10, 11),
        (f"share of user 999 in account {pool}", 0, 11),
    ]
    drifts = budget_drifts.drifts_of(budget_drifts.compared(settle_seconds=0))
    assert sorted([row.expected for row in drift.rows] for drift in drifts) == [[], [10], [13]]

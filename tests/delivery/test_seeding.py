"""What budgets, caps and grants begin with after Redis lost everything, and what operators are told of the keeper."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.utils import timezone

from delivery.database import Connection
from delivery.generations import Times
from delivery.ledger_poster import Poster
from relay_admin.access.models import Membership, RelayKey, User
from relay_admin.access.oauth.models import Authorization, OAuthApplication
from relay_admin.catalog.models import Project
from relay_contract.credits import MICRO
from relay_contract.redis import keys
from tests.delivery.money import Money
from tests.delivery.queue import PROJECT_ID, Queue
from tests.delivery.test_ledger_poster import charged, folded

TIMES = Times(close=120, look=10, open=150, flush_wait=2, patience=15)


@pytest_asyncio.fixture
async def money(queue: Queue, database_url: str, redis_url: str) -> AsyncIterator[Money]:
    opened = await Money.open(queue, database_url, redis_url, TIMES)
    yield opened
    await opened.close()


async def used(money: Money, kind: str, owner: str) -> int | None:
    found: Any = await money.client.hget(keys.purse(kind, owner), "used")  # type: ignore[misc]
    return None if found is None else int(found)


@sync_to_async
def owners() -> tuple[int, int, int]:
    """Of a user's authorization, his id, and the project's pool; with budgets for the project and key 5."""
    project = Project.objects.get(pk=PROJECT_ID)
    project.budget, project.pool_cap_microcredits = {"microcredits": 9000, "period": "day"}, 500
    project.save()
    user = User.objects.create_user("eve")
    RelayKey.objects.create(
        pk=5,
        project=project,
        name="app",
        key_id="abcdefghijkl",
        token_hash=b"x",
        scopes=["inference"],
        budget={"microcredits": 9000, "period": "week"},
    )
    application = OAuthApplication.objects.create(pk=3, project=project, name="app", user=user)
    grant = Authorization.objects.create(
        user=user, application=application, scopes=["inference"], cap_microcredits=100, granted_at=timezone.now()
    )
    return grant.pk, user.pk, project.live_pool_id


async def test_what_was_used_is_seeded_posted_folded_or_due(money: Money, database_url: str) -> None:
    grant, user, pool = await owners()
    post = Connection(database_url, "post")
    of_token: dict[str, Any] = {"relay_key_id": None, "user_id": user, "application_id": 3, "payer_id": pool}
    for step in ("folded", "posted", "due"):
        await charged(money.queue, 2, relay_key_id=5, markup_microcredits=0)
        await charged(money.queue, 1, **of_token, charge_microcredits=10, markup_microcredits=0)
        if step != "due":
            await Poster(post).step()
        if step == "folded":
            await folded(database_url)
    await post.close()
    await money.open_money()
    assert await used(money, "b", "key:5") == 6 * 1100
    assert await used(money, "b", f"project:{PROJECT_ID}") == 6 * 1100 + 3 * 10
    assert await used(money, "b", f"grant:{grant}") == 3 * 10
    assert await used(money, "c", f"{pool}:{user}") == 3 * 10
    assert await money.client.pttl(keys.purse("b", "key:5")) > 0


async def test_users_budgets_go_on_from_what_was_used(money: Money) -> None:
    """Whether the project's budget caps them or their own; by any key, and by applications. Not who has none, and not
    in another project."""

    @sync_to_async
    def people() -> list[int]:
        project = Project.objects.get(pk=PROJECT_ID)
        project.user_budget = {"microcredits": 9000, "period": "month"}
        project.save()
        users = [User.objects.create_user(name, f"{name}@example.test") for name in ("eve", "own", "free")]
        for user, budget in zip(users[1:], ({"microcredits": 9000, "period": "day"}, None), strict=True):
            Membership.objects.create(project=project, user=user, role="viewer", has_own_budget=True, budget=budget)
        Project.objects.create(slug="other", name="other")
        return [user.pk for user in users]

    eve, own, free = await people()
    hour = (
        "INSERT INTO ledger_usagehour (hour, project_id, mode, what, relay_key_id, user_id, application_id, model,"
        " target_id, payer_id, calls, charge, cost, markup, input_tokens, output_tokens, cache_read_tokens)"
        " VALUES (now() - %s::interval, %s, %s, 'call', %s, %s, %s, 'gpt', 0, 0, 1, %s, 0, 0, 0, 0, 0)"
    )
    for ago, project, mode, key, user, application, charge in (
        ("0 days", PROJECT_ID, "live", 5, eve, 0, 1),
        ("0 days", PROJECT_ID, "test", 6, eve, 0, 2),
        ("0 days", PROJECT_ID, "live", 0, eve, 3, 4),
        ("40 days", PROJECT_ID, "live", 5, eve, 0, 8),
        ("0 days", PROJECT_ID + 1, "live", 5, eve, 0, 16),
        ("0 days", PROJECT_ID, "live", 5, own, 0, 32),
        ("2 days", PROJECT_ID, "live", 5, own, 0, 64),
        ("0 days", PROJECT_ID, "live", 5, free, 0, 128),
        ("0 days", PROJECT_ID, "live", 5, 0, 0, 256),
    ):
        await money.queue.sql(hour, ago, project, mode, key, user, application, charge)
    await money.open_money()
    assert await used(money, "b", f"user:{PROJECT_ID}.{eve}") == 1 + 2 + 4
    assert await used(money, "b", f"user:{PROJECT_ID}.{own}") == 32
    assert await used(money, "b", f"user:{PROJECT_ID}.{free}") is None
    assert await used(money, "b", f"user:{PROJECT_ID + 1}.{eve}") is None
    assert await used(money, "b", f"user:{PROJECT_ID}.0") is None


async def test_what_is_of_another_period_or_payer_is_not_counted(money: Money) -> None:
    grant, user, pool = await owners()
    hour = (
        "INSERT INTO ledger_usagehour (hour, project_id, mode, what, relay_key_id, user_id, application_id, model,"
        " target_id, payer_id, calls, charge, cost, markup, input_tokens, output_tokens, cache_read_tokens)"
        " VALUES (date_trunc('month', now(), 'UTC') - %s::interval, %s, 'live', 'call', 0, %s, 3, 'gpt', 0, %s, 1, 70,"
        " 70, 0, 0, 0, 0)"
    )
    await money.queue.sql(hour, "1 hour", PROJECT_ID, user, pool)
    await money.queue.sql(hour, "0 hours", PROJECT_ID, user, money.wallet)
    await money.open_money()
    assert await used(money, "b", f"grant:{grant}") == 70
    assert await used(money, "c", f"{pool}:{user}") is None


async def test_seeding_waits_for_calls_that_are_due_and_not_for_ever(money: Money) -> None:
    await charged(money.queue, 1)
    await money.queue.sql("UPDATE ledger_due SET not_before = now() - interval '1 day'")
    for _ in range(10):
        await money.keeper.step()
        money.clock.now += 1
    assert await money.client.get(keys.MONEY) is None
    await money.open_money()
    assert money.clock.now < 1000 + TIMES.flush_wait + 2 * TIMES.patience + 5


@pytest.mark.parametrize("is_flushed", [False, True])
async def test_a_project_becomes_prepaid_under_traffic_and_back_and_again(money: Money, *, is_flushed: bool) -> None:
    async def bill(how: str) -> None:
        await money.queue.sql("UPDATE catalog_project SET billing = %s WHERE id = %s", how, PROJECT_ID)
        await money.fold()
        await money.keeper.step()

    await bill("metered")
    await money.grant(2 * MICRO + 1000)
    await money.open_money()
    await money.queue.accept_one(await money.queue.target("http://127.0.0.1:9/"))  # holds one credit
    await money.post(100, None)
    await bill("prepaid")
    assert await money.available() == MICRO + 900
    await money.post(50, None)  # let in while it was metered
    edge = await money.edge()
    call, other = await edge.admit(money.wallet, 300), await edge.admit(money.wallet, 30)
    assert call is not None
    assert other is not None
    await edge.settle(money.wallet, call, 200)
    await money.post(200, call.generation)
    await bill("metered")
    await money.post(7, None)
    if is_flushed:
        await money.client.flushall()
        await money.open_money()
    await bill("prepaid")
    assert await money.available() == MICRO + 900 - 50 - 200 - 7 - 30
    await edge.settle(money.wallet, other, 30)
    await money.post(30, other.generation)
    for _ in range(60):
        money.clock.now += 10
        await edge.beat()
        await money.fold()
        await money.keeper.step()
    assert await money.available() == MICRO + 900 - 50 - 200 - 7 - 30


async def test_the_keeper_says_how_purses_are_kept(money: Money) -> None:
    async def said() -> tuple[bool, int, int, int]:
        await money.keeper._say()
        [row] = await money.queue.sql("SELECT * FROM ledger_keeping")
        return row["closed_since"] is None, row["generation"], row["open_generations"], row["edges"]

    await money.open_money()
    await money.edge()
    await money.keeper.step()
    generation = money.keeper.figures.generation
    assert await said() == (True, generation, 1, 1)
    await money.client.flushall()
    await money.keeper.step()
    assert await said() == (False, generation, 1, 1)
    [first] = await money.queue.sql("SELECT closed_since FROM ledger_keeping")
    money.clock.now += 10
    await said()
    assert await money.queue.sql("SELECT closed_since FROM ledger_keeping") == [first]

"""What each user may spend in a project: who gives it, which calls it caps, and that nobody passes it."""

import asyncio
import json
from dataclasses import replace
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from relay_contract import nouns, tokens
from relay_contract.credits import MICRO
from relay_contract.nouns import AccountId, Budget, Noun, Payer, UserId
from relay_contract.periods import Period
from relay_contract.redis import keys
from relay_edge.auth import Authenticator
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.purses import PurseSet, key_purses
from relay_edge.token_callers import TokenCallers
from tests.edge.admitting import client
from tests.edge.conftest import until
from tests.edge.money import WALLET, held, open_money, purse
from tests.edge.nouns import APPLICATION, MEMBERSHIP, POLICY, PROJECT, RELAY_KEY, TOKEN, numbered
from tests.edge.plane import Answer, catalog_of, running_plane
from tests.edge.test_listen import Followed, followed  # noqa: F401 (a fixture)
from tests.edge.test_prepaid_calls import RICH, SMALL, paid
from tests.edge.test_relay_pipeline import OWN, ROWS, running_relay
from tests.edge.tokens import AUDIENCE, ISSUER, USER_ID, claims, signing_key, written
from tests.edge.vendor import Vendor

USER = UserId(USER_ID)
MONTHLY, DAILY = Budget(500, Period.MONTH), Budget(70, Period.DAY)
GIVING = replace(PROJECT, user_budget=MONTHLY)
OWN_BUDGET = replace(MEMBERSHIP, user_id=USER, budget=DAILY)
USERS = replace(RELAY_KEY, user_id=USER)
PURSE = f"user:{PROJECT.id}.{USER}"


def of_user(purses: PurseSet) -> list[tuple[int, Period]]:
    """The amount and period that the user is held to."""
    return [(each.limit, each.period) for each in purses.budgets if each.scope == "user"]


# --- whose it is ---


def test_a_member_s_own_budget_replaces_the_project_s() -> None:
    snapshot = Snapshot.build([GIVING, OWN_BUDGET])
    assert snapshot.user_budget(GIVING, USER) == DAILY
    assert snapshot.user_budget(GIVING, UserId(USER + 1)) == MONTHLY
    assert snapshot.user_budget(numbered(PROJECT, 2), USER) is None


def test_a_member_s_own_budget_may_be_none() -> None:
    assert Snapshot.build([GIVING, replace(OWN_BUDGET, budget=None)]).user_budget(GIVING, USER) is None
    as_all = replace(OWN_BUDGET, has_own_budget=False, budget=None)
    assert Snapshot.build([GIVING, as_all]).user_budget(GIVING, USER) == MONTHLY


def test_a_key_of_nobody_has_no_user_s_budget() -> None:
    snapshot = Snapshot.build([GIVING, POLICY, RELAY_KEY])
    caller = Authenticator().recognise(snapshot, RELAY_KEY.token_hash, nouns.Scope.RELAY, 0)
    assert caller.purses.budgets == ()
    assert not caller.purses.is_asked


def test_one_purse_counts_a_user_s_calls_in_a_project_whoever_pays() -> None:
    pays = replace(USERS, pays=Payer.USER, wallet_id=AccountId(300))
    for key in (USERS, pays, replace(USERS, mode=nouns.KeyMode.TEST)):
        [cap] = key_purses(GIVING, key, MONTHLY).budgets
        assert keys.purse("b", PURSE).encode() in cap.packed_key


def test_every_budget_of_a_call_is_asked() -> None:
    key = replace(USERS, budget=Budget(1, Period.WEEK))
    purses = key_purses(replace(GIVING, budget=Budget(3, Period.DAY)), key, MONTHLY)
    assert [each.scope for each in purses.budgets] == ["key", "user", "project"]


def test_purses_are_made_anew_when_the_project_or_the_member_changes() -> None:
    callers, token = Authenticator(tokens=TokenCallers(ISSUER, AUDIENCE)), written(claims())
    shown = {"Authorization": f"Bearer {token}"}, {"Authorization": f"Bearer {TOKEN.token}"}
    rows: list[Noun] = [PROJECT, POLICY, APPLICATION, signing_key(), USERS]
    snapshot, now = Snapshot.build(rows), float(claims().issued_at)

    def asked(snapshot: Snapshot) -> list[list[tuple[int, Period]]]:
        scope = nouns.Scope.INFERENCE
        return [of_user(callers.authenticate(snapshot, each, scope, now).purses) for each in shown]

    assert asked(snapshot) == [[], []]
    snapshot = snapshot.apply({nouns.Project: {PROJECT.id: GIVING}})
    assert asked(snapshot) == [[(500, Period.MONTH)]] * 2
    snapshot = snapshot.apply({nouns.Membership: {OWN_BUDGET.id: OWN_BUDGET}})
    assert asked(snapshot) == [[(70, Period.DAY)]] * 2
    snapshot = snapshot.apply({nouns.Membership: {OWN_BUDGET.id: replace(OWN_BUDGET, budget=None)}})
    assert asked(snapshot) == [[], []]
    snapshot = snapshot.apply({nouns.Membership: {OWN_BUDGET.id: None}})
    assert asked(snapshot) == [[(500, Period.MONTH)]] * 2


# --- calls ---


async def test_64_calls_at_once_over_two_keys_and_a_token_never_pass_the_budget(redis_url: str) -> None:
    """The project pays for the first key, the user for the second and for the token."""
    second, wallet = tokens.mint(nouns.KeyMode.LIVE), claims().wallet_id
    pays = numbered(USERS, 2, token_hash=second.hash, pays=Payer.USER, wallet_id=AccountId(wallet))
    bearers = TOKEN.token, second.token, written(claims())
    with client(redis_url) as connection:
        open_money(connection, {WALLET: RICH, wallet: RICH})
        async with Vendor() as vendor:
            rows = [USERS if isinstance(row, nouns.RelayKey) else row for row in catalog_of(vendor)]
            rows += [pays, signing_key(), APPLICATION]
            takes_tokens = TokenCallers(ISSUER, AUDIENCE)
            async with running_plane(paid(*rows), redis_url=redis_url, tokens=takes_tokens) as plane:

                async def ask(place: int) -> Answer:
                    caller = await plane.caller()
                    await caller.post(SMALL, f"Authorization: Bearer {bearers[place % 3]}")
                    answer = await caller.answer()
                    assert purse(connection, "b", PURSE).get("used", 0) <= limit
                    await caller.close()
                    return answer

                limit = RICH
                free = await ask(0)
                assert (free.status, purse(connection, "b", PURSE)) == (200, {})
                charge = int(free.headers["x-relay-charge"])
                limit = 20 * charge + 1
                plane.swap(paid(*rows, user_budget=Budget(limit, Period.MONTH)))
                answers = await asyncio.gather(*[ask(place) for place in range(64)])
                await until(lambda: held(purse(connection, "b", PURSE)) == 0, "every settlement")
                spent = purse(connection, "b", PURSE)["used"]
    served = [answer for answer in answers if answer.status == 200]
    refused = [json.loads(answer.body)["error"] for answer in answers if answer.status == 402]
    assert spent == len(served) * charge <= limit
    assert len(served) + len(refused) == 64
    assert {error["code"] for error in refused} == {"budget_exceeded"}
    assert 0 < len(served) < 64


async def test_a_refusal_names_the_user_s_budget(redis_url: str) -> None:
    with client(redis_url) as connection:
        open_money(connection, {WALLET: RICH})
        async with Vendor() as vendor:
            rows = [USERS if isinstance(row, nouns.RelayKey) else row for row in catalog_of(vendor)]
            rows = [*paid(*rows, user_budget=MONTHLY), replace(OWN_BUDGET, budget=Budget(7, Period.DAY))]
            async with running_plane(rows, redis_url=redis_url) as plane:
                answer = await plane.post(SMALL)
    assert answer.status == 402
    error = json.loads(answer.body)["error"]
    assert error["message"].startswith("The day budget of this user in this project has too little left")
    details = error["details"]
    assert (details["scope"], details["period"], details["limit_microcredits"]) == ("user", "day", 7)
    assert vendor.calls == []


async def test_a_user_s_calls_to_endpoints_are_capped_too(redis_url: str) -> None:
    rows = [USERS if isinstance(row, nouns.RelayKey) else row for row in ROWS]
    budgeted = paid(*rows, billing=nouns.Billing.METERED, user_budget=Budget(2 * MICRO, Period.DAY))
    with client(redis_url) as connection:
        open_money(connection, {})
        async with running_relay(redis_url, rows=budgeted) as relay:
            assert (await relay.post(OWN)).status == 202
            await until(lambda: held(purse(connection, "b", PURSE)) == 0, "the settlement")
            answer = await relay.post(OWN)
    details = json.loads(answer.body)["details"]
    assert (answer.status, details["scope"], details["used_microcredits"]) == (402, "user", 2 * MICRO)


# --- how it comes to the edge ---


async def test_a_budget_reaches_the_edge_and_members_without_one_do_not(
    followed: Followed,  # noqa: F811
    owner: AsyncConnection[Any],
) -> None:
    def found(user_id: int = 1) -> Budget | None:
        project = followed.snapshot.project(PROJECT.id)
        assert project is not None
        return followed.snapshot.user_budget(project, UserId(user_id))

    month = Jsonb({"microcredits": 500, "period": "month"})
    await owner.execute("UPDATE catalog_project SET user_budget = %s", [month])
    await until(lambda: found(2) == MONTHLY, "the project's budget")
    assert found() is None, "the member has none, whatever the project gives"
    day = Jsonb({"microcredits": 70, "period": "day"})
    await owner.execute("UPDATE access_membership SET budget = %s", [day])
    await until(lambda: found() == DAILY, "the member's budget")
    await owner.execute("UPDATE access_membership SET has_own_budget = false, budget = NULL")
    await until(lambda: found() == MONTHLY, "the project's budget for the member")
    changes = followed.metrics.catalog_changes.value
    await owner.execute("UPDATE access_membership SET role = 'viewer'")  # nothing that an edge holds
    await owner.execute("UPDATE catalog_model SET owned_by = 'somebody'")  # announced after it
    await until(lambda: followed.metrics.catalog_changes.value > changes, "the next change")
    assert followed.metrics.catalog_changes.value == changes + 1
    assert followed.snapshot.counts()["access_membership"] == 0
    await owner.execute("UPDATE access_membership SET has_own_budget = true")
    await until(lambda: found() is None, "no budget")
    await owner.execute("DELETE FROM access_membership")
    await until(lambda: found() == MONTHLY, "the project's budget for who left")

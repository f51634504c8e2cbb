"""Purses: who pays for a call, what caps it, what Redis holds of it and what is left of that when it was settled."""

import asyncio
import random
import re
from calendar import timegm
from dataclasses import replace
from typing import Any

import pytest

from relay_contract import periods
from relay_contract.errors import BudgetExceeded, InsufficientCredits, RateLimited, Unavailable
from relay_contract.nouns import AccountId, Budget, TermsId
from relay_contract.periods import Period
from relay_contract.redis import keys, scripts
from relay_edge.admission import Admission, Need, Reservation
from relay_edge.charges import NO_CHARGES
from relay_edge.purses import PurseSet, key_purses
from tests.edge.admitting import candidate, charges, client, offers_of, requests, running
from tests.edge.money import PREPAID, USERS_KEY, WALLET, held, open_money, prepaid, purse
from tests.edge.nouns import PROJECT, RELAY_KEY
from tests.edge.running import until

METERED = key_purses(PROJECT, RELAY_KEY)


async def take(admission: Admission, purses: PurseSet, price: int, **further: Any) -> Reservation:
    return await admission.admit(NO_CHARGES, need=Need(0, price, price), purses=purses, **further)


# --- who pays ---


def test_a_metered_project_has_an_account_and_no_purse() -> None:
    assert not METERED.is_asked
    assert [payer.account for payer in METERED.payers] == [PROJECT.live_wallet_id]


def test_test_keys_spend_test_money() -> None:
    test_key = replace(RELAY_KEY, mode=type(RELAY_KEY.mode).TEST)
    assert key_purses(PREPAID, test_key).payers[0].account == PROJECT.test_wallet_id


def test_the_pool_is_asked_before_the_user_and_takes_no_mark_up() -> None:
    project = replace(PROJECT, pool_cap_microcredits=100, markup_ppm=500_000, terms_id=TermsId(9))
    pool, wallet = key_purses(project, USERS_KEY).payers
    assert (pool.account, pool.markup_ppm, pool.terms_id) == (PROJECT.live_pool_id, 0, None)
    assert (wallet.account, wallet.markup_ppm, wallet.terms_id) == (300, 500_000, 9)
    assert pool.caps
    assert pool.caps[0].limit == 100
    [alone] = key_purses(replace(project, pool_cap_microcredits=0), USERS_KEY).payers
    assert alone.account == 300


# --- each answer of the script ---


async def test_what_is_held_is_spent_or_given_back(redis_url: str) -> None:
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            open_money(connection, {WALLET: 1000}, generation=4)
            reservation = await take(admission, prepaid(), 600)
            assert reservation.generation == 4
            fields = purse(connection, "w", WALLET)
            assert (fields["used"], held(fields)) == (600, 600)
            admission.settle(reservation, charge=150)
            admission.settle(reservation, charge=150)  # twice is once
            await until(lambda: purse(connection, "w", WALLET)["used"] == 150, "the settlement")
            fields = purse(connection, "w", WALLET)
            assert (fields["spent:4"], held(fields)) == (150, 0)


async def test_too_little_is_a_402_that_says_what_there_is(redis_url: str) -> None:
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            open_money(connection, {WALLET: 1000})
            await take(admission, prepaid(), 600)
            with pytest.raises(InsufficientCredits) as raised:
                await take(admission, prepaid(), 401)
            assert raised.value.details == {
                "wallet": WALLET,
                "held_microcredits": 600,
                "available_microcredits": 400,
                "needed_microcredits": 401,
            }
            assert purse(connection, "w", WALLET)["used"] == 600
            assert (await take(admission, prepaid(), 400)).held is not None  # to the last one


async def test_a_wallet_that_nobody_filled_pays_for_what_costs_nothing_alone(redis_url: str) -> None:
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            open_money(connection, {})
            with pytest.raises(InsufficientCredits):
                await take(admission, prepaid(), 1)
            assert (await take(admission, prepaid(), 0)).generation == 1


async def test_a_budget_refuses_and_names_the_end_of_its_period(redis_url: str) -> None:
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            open_money(connection, {WALLET: 10_000})
            purses = prepaid(key=5_000, project=1_000)
            first = await take(admission, purses, 900)
            with pytest.raises(BudgetExceeded) as raised:
                await take(admission, purses, 200)
            details = dict(raised.value.details or {})
            seconds, microseconds = connection.time()
            reset_ms = periods.end_ms(Period.DAY, seconds * 1000 + microseconds // 1000)
            assert details.pop("reset_at") in {reset_ms // 1000, reset_ms // 1000 - 86_400}  # midnight may pass
            assert details == {
                "scope": "project",
                "period": "day",
                "limit_microcredits": 1_000,
                "used_microcredits": 900,
                "needed_microcredits": 200,
            }
            assert raised.value.retry_after_seconds is not None
            assert purse(connection, "w", WALLET)["used"] == 900  # the wallet was not asked
            admission.settle(first, charge=100)
            await until(lambda: purse(connection, "b", f"project:{PROJECT.id}")["used"] == 100, "the settlement")
            assert purse(connection, "b", f"key:{RELAY_KEY.id}")["used"] == 100
            await take(admission, purses, 900)


async def test_a_budget_of_a_metered_project_is_asked_and_no_wallet(redis_url: str) -> None:
    purses = key_purses(PROJECT, replace(RELAY_KEY, budget=Budget(100, Period.MONTH)))
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            open_money(connection, {})
            reservation = await take(admission, purses, 60)
            assert (reservation.paying, reservation.generation) == (None, 1)
            with pytest.raises(BudgetExceeded):
                await take(admission, purses, 60)
            assert purse(connection, "w", WALLET) == {}


async def test_a_period_that_is_over_counts_for_nothing(redis_url: str) -> None:
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            open_money(connection, {WALLET: 10_000})
            name = keys.purse("b", f"key:{RELAY_KEY.id}")
            connection.hset(name, mapping={"bucket": 1, "used": 1_000, "h:dead:1": 7})
            reservation = await take(admission, prepaid(key=1_000), 1_000)
            fields = purse(connection, "b", f"key:{RELAY_KEY.id}")
            assert (fields["used"], held(fields)) == (1_000, 1_000)
            assert connection.pttl(name) > 0
            connection.hset(name, mapping={"bucket": 2})  # the period ends while the call is made
            admission.settle(reservation, charge=400)
            await until(lambda: purse(connection, "w", WALLET)["used"] == 400, "the settlement")
            assert purse(connection, "b", f"key:{RELAY_KEY.id}")["used"] == 1_000  # it counts where it was let in


async def test_the_pool_pays_while_it_can_and_within_the_users_share(redis_url: str) -> None:
    project = replace(PROJECT, pool_cap_microcredits=1_000, markup_ppm=200_000)
    purses = key_purses(project, USERS_KEY)
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            open_money(connection, {int(PROJECT.live_pool_id): 5_000, 300: 2_000})
            found = [await take(admission, purses, 600) for _ in range(3)]
            assert [one.paying.account for one in found if one.paying] == [PROJECT.live_pool_id, 300, 300]
            assert [one.held.held for one in found if one.held] == [600, 720, 720]  # the user pays the mark-up
            share = purse(connection, "c", f"{PROJECT.live_pool_id}:7")
            assert share["used"] == 600
            with pytest.raises(InsufficientCredits) as raised:
                await take(admission, purses, 600)
            assert raised.value.details is not None
            assert raised.value.details["wallet"] == 300


async def test_who_is_limited_is_told_so_before_money_is_looked_at(redis_url: str) -> None:
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            open_money(connection, {WALLET: 1_000})
            wanted = charges(requests(1))
            await admission.admit(wanted, need=Need(0, 0, 10), purses=prepaid())
            with pytest.raises(RateLimited):
                await admission.admit(wanted, need=Need(0, 0, 10_000), purses=prepaid())


async def test_a_refusal_counts_nothing_anywhere(redis_url: str) -> None:
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            open_money(connection, {WALLET: 10})
            wanted = charges(requests(5))
            with pytest.raises(InsufficientCredits):
                await admission.admit(wanted, need=Need(0, 0, 11), purses=prepaid(key=100))
            assert connection.exists(wanted.rules[0].key) == 0
            assert purse(connection, "b", f"key:{RELAY_KEY.id}") == {}


async def test_a_call_that_no_host_key_can_take_holds_nothing(redis_url: str) -> None:
    offers = offers_of(candidate(1), limits={1: (requests(1),)})
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            open_money(connection, {WALLET: 1_000})
            first = await take(admission, prepaid(), 100, offers=offers)
            assert first.chosen == 0
            second = await take(admission, prepaid(), 100, offers=offers)
            assert (second.chosen, second.held) == (None, None)
            assert purse(connection, "w", WALLET)["used"] == 100


@pytest.mark.parametrize("marker", [None, "", "1:1:another", "garbage", "1:1", "opening"])
async def test_without_the_marker_there_is_no_money(redis_url: str, marker: str | None) -> None:
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            open_money(connection, {WALLET: 1_000})
            connection.delete(keys.MONEY)
            if marker == "opening":
                open_money(connection, {WALLET: 1_000})
                marker = connection.get(keys.MONEY).decode() + ":opening"
            if marker is not None:
                connection.set(keys.MONEY, marker)
            with pytest.raises(Unavailable) as raised:
                await take(admission, prepaid(), 1)
            assert raised.value.retry_after_seconds == 2
            await take(admission, METERED, 1, offers=offers_of(candidate(1)))  # who has no purse goes on


async def test_without_redis_there_is_no_money() -> None:
    async with running("redis://127.0.0.1:1/0") as admission:
        with pytest.raises(Unavailable):
            await take(admission, prepaid(), 1)
        await take(admission, METERED, 1, offers=offers_of(candidate(1)))


async def test_metered_calls_send_the_bytes_that_they_always_sent(redis_url: str) -> None:
    async with running(redis_url) as admission:
        rules, offers = charges(requests(5)).set, offers_of(candidate(1))
        sent: list[bytes] = []
        ask = admission.queue.ask

        def heard(packed: bytes, late: Any) -> Any:
            sent.append(packed)
            return ask(packed, late)

        admission.queue.ask = heard  # type: ignore[method-assign]
        await admission.admit(charges(requests(5)), need=Need(3, 4, 4), offers=offers, purses=METERED)
        [command] = sent
        words = re.findall(rb"\$\d+\r\n(.*?)\r\n", command)
        assert words[:2] == [b"EVALSHA", scripts.ADMIT.sha1]
        assert words[2:5] == [b"2", b"{relay}:breakers", rules.rules[0].key.encode()]
        assert len(words[5]) == 32
        fields = [guard.field.encode() for guard in offers[0].guards]
        assert words[6:] == [
            b"%016d" % 3, b"%016d" % 4, b"001", b"r", b"5", b"3600000", b"1", b"1", *fields, b"0",
        ]  # fmt: skip


# --- many at once, and what goes wrong ---


async def test_64_callers_never_spend_more_than_there_is(redis_url: str) -> None:
    """Charges above what was held excepted, which are the estimate's and not admission's: here none is."""
    chance = random.Random(11)
    spent = refused = 0
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            open_money(connection, {WALLET: 20_000})

            async def caller() -> None:
                nonlocal spent, refused
                for _ in range(12):
                    price = chance.randrange(0, 900)
                    try:
                        reservation = await take(admission, prepaid(), price)
                    except InsufficientCredits:
                        refused += 1
                        continue
                    fields = purse(connection, "w", WALLET)
                    assert fields["used"] == fields.get("spent:1", 0) + held(fields) <= 20_000
                    charge = chance.randrange(0, price + 1)
                    spent += charge
                    admission.settle(reservation, charge=charge)

            await asyncio.gather(*[caller() for _ in range(64)])
            await until(lambda: held(purse(connection, "w", WALLET)) == 0, "every settlement")
            fields = purse(connection, "w", WALLET)
            assert fields["used"] == fields["spent:1"] == spent <= 20_000
            assert refused > 0


async def test_after_a_flush_money_is_closed_and_then_holds_what_is_in_flight(redis_url: str) -> None:
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            open_money(connection, {WALLET: 1_000})
            flying = await take(admission, prepaid(key=5_000), 400)
            done = await take(admission, prepaid(), 100)
            connection.flushall()
            connection.script_flush()
            with pytest.raises(Unavailable):
                await take(admission, prepaid(), 1)
            admission.settle(done, charge=70)  # Redis has never heard of it: the row tells
            open_money(connection, {WALLET: 930}, generation=2)
            first = await take(admission, prepaid(), 10)  # its reply says that all was seeded anew
            assert flying.generation == first.generation == 2
            assert done.generation == 1
            await until(lambda: purse(connection, "w", WALLET)["used"] == 410, "what is in flight to be held")
            assert purse(connection, "b", f"key:{RELAY_KEY.id}")["used"] == 400
            admission.settle(flying, charge=300)
            admission.settle(first, charge=0)
            await until(lambda: held(purse(connection, "w", WALLET)) == 0, "both settlements")
            fields = purse(connection, "w", WALLET)
            assert (fields["used"], fields["spent:2"]) == (300, 300)


async def test_a_heartbeat_finds_a_new_seeding_without_any_call(redis_url: str) -> None:
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            open_money(connection, {WALLET: 1_000})
            flying = await take(admission, prepaid(), 400)
            open_money(connection, {WALLET: 1_000}, generation=2)
            await until(lambda: purse(connection, "w", WALLET)["used"] == 400, "the declaration")
            assert flying.generation == 2


async def test_while_money_opens_what_is_held_is_declared_and_nothing_is_paid(redis_url: str) -> None:
    """And it says so when rows of calls that ended before are written."""
    unwritten = 100.0
    async with running(redis_url, unwritten_seconds=lambda: unwritten) as admission:
        with client(redis_url) as connection:
            open_money(connection, {WALLET: 1_000})
            flying = await take(admission, prepaid(), 400)
            assert flying.held is not None
            alive = keys.alive(flying.held.stamp.process.decode())
            connection.flushall()
            open_money(connection, {WALLET: 1_000}, generation=2)
            connection.set(keys.MONEY, connection.get(keys.MONEY) + b":opening")
            await until(lambda: purse(connection, "w", WALLET).get("used") == 400, "the declaration")
            assert flying.generation == 2
            with pytest.raises(Unavailable):
                await take(admission, prepaid(), 1)
            await until(lambda: connection.get(alive) == b"100:0", "its word")
            unwritten = 0.0
            await until(lambda: connection.get(alive) == b"0:2", "its word that all is written")
            connection.set(keys.MONEY, connection.get(keys.MONEY).removesuffix(b":opening"))
            with pytest.raises(InsufficientCredits):
                await take(admission, prepaid(), 601)
            assert (await take(admission, prepaid(), 600)).generation == 2


async def test_an_ordinary_new_generation_moves_nothing(redis_url: str) -> None:
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            open_money(connection, {WALLET: 1_000})
            older = await take(admission, prepaid(), 400)
            connection.set(keys.MONEY, connection.get(keys.MONEY).replace(b"1:1:", b"2:1:"))
            newer = await take(admission, prepaid(), 100)
            assert (older.generation, newer.generation) == (1, 2)
            admission.settle(older, charge=40)
            admission.settle(newer, charge=10)
            await until(lambda: held(purse(connection, "w", WALLET)) == 0, "both settlements")
            fields = purse(connection, "w", WALLET)
            assert (fields["used"], fields["spent:1"], fields["spent:2"]) == (50, 40, 10)


async def test_a_closed_generation_gives_nothing_back_a_second_time(redis_url: str) -> None:
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            open_money(connection, {WALLET: 1_000})
            reservation = await take(admission, prepaid(), 400)
            open_money(connection, {WALLET: 960}, generation=1)  # as the keeper leaves a wallet whose generation closed
            admission.settle(reservation, charge=40)
            await until(lambda: not len(admission.queue.settlements), "the settlement")
            assert purse(connection, "w", WALLET) == {"granted": 960, "version": 1, "used": 0}


async def test_a_new_connection_is_a_new_name_and_holds_what_the_old_one_held(redis_url: str) -> None:
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            open_money(connection, {WALLET: 1_000})
            flying = await take(admission, prepaid(), 400)
            assert flying.held is not None
            old = flying.held.stamp.process
            assert connection.exists(keys.alive(old.decode())) == 1
            connection.hincrby(keys.purse("w", str(WALLET)), f"h:{old.decode()}:1", 25)  # of a reply that was lost
            connection.hincrby(keys.purse("w", str(WALLET)), "used", 25)
            connection.client_kill_filter(_type="normal", skipme=True)
            await until(lambda: flying.held is not None and flying.held.stamp.process != old, "the move")
            await until(lambda: purse(connection, "w", WALLET).get(f"h:{old.decode()}:1") == 25, "what is nobody's")
            new = flying.held.stamp.process.decode()
            assert purse(connection, "w", WALLET)[f"h:{new}:1"] == 400
            assert {old, new.encode()} <= connection.smembers(keys.EDGES)
            admission.settle(flying, charge=1)
            await until(lambda: purse(connection, "w", WALLET)["used"] == 26, "the settlement")


# --- periods ---


def test_the_script_reckons_periods_as_python_does(redis_url: str) -> None:
    text = scripts.ADMIT.text.decode()
    function = re.search(r"    local function period\(.*?\n    end\n", text, re.DOTALL)
    assert function is not None
    program = f"""local DAY_MS = 86400000
{function[0]}
local found = {{}}
for place = 2, #ARGV do
  found[#found + 1] = period(ARGV[1], tonumber(ARGV[place]))
end
return found"""
    chance = random.Random(3)
    moments = [chance.randrange(0, 4_102_444_800_000) for _ in range(10_500)]  # to the year 2100
    for year in range(1970, 2100):
        for month in range(1, 13):
            midnight = timegm((year, month, 1, 0, 0, 0)) * 1000
            moments += [midnight, max(midnight - 1, 0), midnight + chance.randrange(1, 86_400_000)]
    with client(redis_url) as connection:
        for letter, period in (("d", Period.DAY), ("w", Period.WEEK), ("m", Period.MONTH)):
            for start in range(0, len(moments), 1_000):
                some = moments[start : start + 1_000]
                assert connection.eval(program, 0, letter, *some) == [periods.index(period, each) for each in some]


def test_a_wallet_is_asked_for_cost_and_mark_up() -> None:
    purses = key_purses(replace(PROJECT, markup_ppm=100_000), USERS_KEY)
    assert purses.most(1_000) == 1_100
    assert [payer.account for payer in purses.payers] == [AccountId(300)]

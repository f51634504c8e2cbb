"""Limits on a real Valkey: what is admitted, refused, given back, and renewed."""

from __future__ import annotations

import asyncio
from typing import Any

import hiredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay_contract.errors import RateLimited
from relay_contract.nouns import Meter, RateLimit, RateLimitId, Rule
from relay_contract.redis import keys, scripts
from relay_edge.admission import NOTHING, Admission, Need
from relay_edge.charges import NO_CHARGES, NO_RULES, Charge, charge_set, packed
from relay_edge.local_share import LocalShare
from relay_edge.reservation import Hold
from tests.edge.admitting import (
    admitted,
    charges,
    client,
    concurrency,
    cost,
    counted,
    gcra,
    outcomes,
    requests,
    running,
    tokens,
)
from tests.edge.conftest import until

LEASES = keys.leases("key", 1, 1, 0)


async def test_a_call_without_limits_never_meets_redis() -> None:
    async with running("redis://127.0.0.1:1/0") as admission:
        reservation = await admission.admit(NO_CHARGES)
        admission.settle(reservation)
        assert admission.problem == "redis_unreachable"


async def test_exactly_the_amount_is_admitted_and_the_refusal_says_which_rule(redis_url: str) -> None:
    async with running(redis_url) as admission:
        wanted = charge_set(
            (
                Charge("key", 1, RateLimit(RateLimitId(1), "wide", (requests(100),))),
                Charge("project", 2, RateLimit(RateLimitId(2), "narrow", (requests(50), requests(3)))),
            )
        )
        for _ in range(3):
            await admission.admit(wanted)
        with pytest.raises(RateLimited) as refused:
            await admission.admit(wanted)
        assert "narrow of this project" in refused.value.public_text
        assert "3 calls in 3600 s" in refused.value.public_text
        assert 0 < (refused.value.retry_after_seconds or 0) <= 7200
        with client(redis_url) as connection:  # what was refused was counted nowhere
            counted = [connection.hget(rule.key, "current") for rule in wanted.rules]
        assert counted == [b"3", b"3", b"3"]


CALL = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
"""Estimates of tokens and micro-USD, and how much of each was used, at most the estimate."""


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    amounts=st.lists(
        st.tuples(st.sampled_from(list(Meter)), st.integers(1, 30), st.booleans()), min_size=1, max_size=4
    ),
    calls=st.lists(CALL, min_size=1, max_size=30),
    edges=st.integers(1, 3),
)
async def test_parallel_calls_never_pass_a_limit(
    redis_url: str, amounts: list[tuple[Meter, int, bool]], calls: list[tuple[int, int, int, int]], edges: int
) -> None:
    """Whatever was estimated and settled meanwhile: what is held and what was used is never more than the amount."""
    with client(redis_url) as connection:
        connection.flushall()
    wanted = charges(
        *[
            gcra(meter, amount, amount, 100_000)
            if spread and meter is not Meter.CONCURRENCY
            else Rule(meter, amount, 100_000)
            for meter, amount, spread in amounts
        ]
    )
    held = dict.fromkeys(Meter, 0)
    limits = {meter: min(amount for one, amount, _ in amounts if one is meter) for meter, _, _ in amounts}

    def note(meter: Meter, change: int) -> None:
        held[meter] += change
        assert held[meter] <= limits.get(meter, 10**9), (meter, held)

    async def call(admission: Admission, estimate: tuple[int, int], used: tuple[int, int]) -> None:
        try:
            reservation = await admission.admit(wanted, need=Need(estimate[0], estimate[1] * 1000))
        except RateLimited:
            return
        for meter, amount in zip(Meter, (1, *estimate, 1), strict=True):
            note(meter, amount)
        await asyncio.sleep(0)
        note(Meter.CONCURRENCY, -1)
        note(Meter.TOKENS, used[0] - estimate[0])
        note(Meter.COST, used[1] - estimate[1])
        admission.settle(reservation, used[0], used[1] * 1000)

    running_edges = [running(redis_url) for _ in range(edges)]
    admissions = [await edge.__aenter__() for edge in running_edges]
    await asyncio.gather(
        *[
            call(admissions[place % edges], (token, micro), (min(token, used), min(micro, spent)))
            for place, (token, micro, used, spent) in enumerate(calls)
        ]
    )
    for edge in running_edges:
        await edge.__aexit__(None, None, None)
    with client(redis_url) as connection:
        for rule in wanted.rules:
            if rule.meter is Meter.CONCURRENCY:
                assert not connection.exists(rule.key)
            elif not rule.is_gcra:
                unit = 1000 if rule.meter is Meter.COST else 1
                assert int(connection.hget(rule.key, "current") or 0) == held[rule.meter] * unit


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    amounts=st.lists(st.tuples(st.sampled_from(list(Meter)), st.integers(0, 12)), min_size=1, max_size=4),
    calls=st.integers(1, 30),
    edges=st.integers(1, 3),
)
async def test_parallel_calls_reach_a_limit_exactly(
    redis_url: str, amounts: list[tuple[Meter, int]], calls: int, edges: int
) -> None:
    with client(redis_url) as connection:
        connection.flushall()
    wanted = charges(*[Rule(meter, amount, 3600) for meter, amount in amounts])
    running_edges = [running(redis_url) for _ in range(edges)]
    admissions = [await edge.__aenter__() for edge in running_edges]
    found = await asyncio.gather(*[outcomes(each, wanted, calls, Need(1, 1000)) for each in admissions])
    expected = min(calls * edges, *(amount for _, amount in amounts))
    assert sum(map(admitted, found)) == expected
    for edge in running_edges:
        await edge.__aexit__(None, None, None)


async def test_what_was_not_used_is_given_back_where_it_was_taken(redis_url: str) -> None:
    wanted = charges(tokens(100), cost(500))
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            first = await admission.admit(wanted, need=Need(80, 400_000))
            assert counted(connection, wanted) == [80, 400_000]
            with pytest.raises(RateLimited):
                await admission.admit(wanted, need=Need(30, 0))
            for _ in range(3):
                admission.settle(first, 10, 99_000)  # three times is once
            second = await admission.admit(wanted, need=Need(90, 401_000))
            assert counted(connection, wanted) == [100, 500_000]
            admission.settle(second)  # nothing was used
            await until(lambda: counted(connection, wanted) == [10, 99_000], "both to be given back")


async def test_what_was_used_beyond_the_estimate_counts(redis_url: str) -> None:
    wanted = charges(tokens(100), gcra(Meter.TOKENS, 100, 100))
    async with running(redis_url) as admission:
        for need in (NOTHING, Need(10, 0)):
            with client(redis_url) as connection:
                connection.flushall()
                admission.settle(await admission.admit(wanted, need=need), 150)
                await until(lambda: counted(connection, wanted)[0] == 150, "the tokens to be counted")
                assert int(connection.hget(wanted.rules[1].key, "owed")) == 150
            with pytest.raises(RateLimited):
                await admission.admit(wanted, need=Need(1, 0))
            await admission.admit(wanted)  # who needs no tokens is not held up


async def test_a_burst_and_then_one_at_a_time(redis_url: str) -> None:
    wanted = charges(gcra(Meter.REQUESTS, 60, 5, seconds=60))
    async with running(redis_url) as admission:
        found = await outcomes(admission, wanted, 9)
        assert admitted(found) == 5
        assert {one.retry_after_seconds for one in found if isinstance(one, RateLimited)} <= {0.999, 1.0, 0.998, 0.997}


async def test_a_call_above_the_burst_goes_when_nothing_is_owed_and_owes_the_rest(redis_url: str) -> None:
    wanted = charges(gcra(Meter.TOKENS, 1000, 10, seconds=1000))
    async with running(redis_url) as admission:
        await admission.admit(wanted, need=Need(500, 0))
        with pytest.raises(RateLimited) as refused:
            await admission.admit(wanted, need=Need(10, 0))
        assert 490 < (refused.value.retry_after_seconds or 0) <= 500
        with pytest.raises(RateLimited, match="This call alone may take more than"):
            await admission.admit(wanted, need=Need(1001, 0))


async def test_a_refusal_tells_what_is_left(redis_url: str) -> None:
    wanted = charges(requests(9), requests(2), tokens(50))
    async with running(redis_url) as admission:
        first = await admission.admit(wanted, need=Need(20, 0))
        told = {state.meter: (state.limit, state.remaining) for state in first.limits()}
        assert told == {"requests": (2, 1), "tokens": (50, 30)}
        with pytest.raises(RateLimited) as refused:
            await admission.admit(wanted, need=Need(40, 0))
        told = {state.meter: (state.limit, state.remaining) for state in refused.value.limits}
        assert told == {"requests": (2, 0), "tokens": (50, 30)}


async def test_places_in_flight_come_back_once_settled(redis_url: str) -> None:
    async with running(redis_url) as admission:
        wanted = charges(concurrency(2))
        first, second = await admission.admit(wanted), await admission.admit(wanted)
        assert admission.in_flight == 2
        with pytest.raises(RateLimited) as refused:
            await admission.admit(wanted)
        assert refused.value.retry_after_seconds == 1.0
        for _ in range(3):
            admission.settle(first)  # three times is once
        third = await admission.admit(wanted)
        with pytest.raises(RateLimited):
            await admission.admit(wanted)
        admission.settle(second)
        admission.settle(third)
        assert admission.in_flight == 0
    with client(redis_url) as connection:
        assert connection.exists(LEASES) == 0


async def test_what_a_killed_process_held_runs_out(redis_url: str) -> None:
    wanted = charges(concurrency(1, seconds=1))
    async with running(redis_url) as dead:
        held = await dead.admit(wanted)
        dead._live.clear()  # nobody renews it any more
        async with running(redis_url) as admission:
            with pytest.raises(RateLimited):
                await admission.admit(wanted)

            async def admits() -> bool:
                return admitted(await outcomes(admission, wanted, 1)) == 1

            await until(admits, "the lease to run out")
        assert held.caller.rules is wanted.set


async def test_a_long_call_keeps_its_place_and_puts_it_back_after_a_flush(redis_url: str) -> None:
    wanted = charges(concurrency(1, seconds=2))
    async with running(redis_url) as admission:
        held = await admission.admit(wanted)
        with client(redis_url) as connection:
            [(member, before)] = connection.zrange(LEASES, 0, -1, withscores=True)
            assert packed([member]) == held.caller.id
            await until(lambda: connection.zscore(LEASES, member) > before, "the lease to be renewed")
            connection.flushall()
            await until(lambda: connection.zscore(LEASES, member), "the lease to be put back")
            assert 0 < connection.pttl(LEASES) <= 2000
        with pytest.raises(RateLimited):
            await admission.admit(wanted)
        admission.settle(held)


async def test_a_caller_who_leaves_while_being_admitted_holds_nothing(redis_url: str) -> None:
    wanted = charges(concurrency(5))
    async with running(redis_url) as admission:
        leaving = [asyncio.ensure_future(admission.admit(wanted)) for _ in range(4)]
        await asyncio.sleep(0)  # queued
        leaving[0].cancel()
        await asyncio.sleep(0)  # written
        for call in leaving:
            call.cancel()
        ended = await asyncio.gather(*leaving, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended)
        with client(redis_url) as connection:
            await until(lambda: not connection.exists(LEASES), "the places to be given back")


async def test_scripts_that_redis_forgot_are_loaded_again(redis_url: str) -> None:
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            connection.script_flush()
            found = await outcomes(admission, charges(requests(30)), 40)
            assert admitted(found) == 30
            assert connection.script_exists(scripts.ADMIT.sha1.decode()) == [True]
        assert admission.problem is None


async def test_errors_of_redis_are_answered_by_the_local_share(redis_url: str) -> None:
    async with running(redis_url) as admission:
        wanted = charges(requests(2))
        with client(redis_url) as connection:
            connection.set(wanted.rules[0].key, "not a hash")
            assert admitted(await outcomes(admission, wanted, 5)) == 2
            assert admission.problem == "redis_answers_with_errors"
            connection.delete(wanted.rules[0].key)
            assert admitted(await outcomes(admission, wanted, 5)) == 2
            assert admission.problem is None


async def test_a_caller_who_leaves_in_the_moment_of_the_reply_holds_nothing(redis_url: str) -> None:
    wanted = charges(concurrency(50), tokens(1000))
    async with running(redis_url) as admission:
        leaving = asyncio.ensure_future(admission.admit(wanted, need=Need(10, 0)))
        while not (found := [each for batch in admission.queue._batches for each in batch.waiting]):  # noqa: ASYNC110
            await asyncio.sleep(0)  # a turn of the loop each: the moment is short
        [waiting] = found
        while not waiting.answered.done():  # noqa: ASYNC110
            await asyncio.sleep(0)
        leaving.cancel()  # answered, and not yet told
        with pytest.raises(asyncio.CancelledError):
            await leaving
        with client(redis_url) as connection:
            window = wanted.rules[1].key
            await until(lambda: connection.hget(window, "current") == b"0", "the tokens to be given back")
            assert connection.exists(LEASES) == 0
        assert admission.in_flight == 0


async def test_an_endpoints_limit_joins_in(redis_url: str) -> None:
    extra = (Charge("endpoint", 7, RateLimit(RateLimitId(5), "endpoint", (requests(2),))),)
    async with running(redis_url) as admission:
        for base in (charges(requests(100)), NO_CHARGES):
            with client(redis_url) as connection:
                connection.flushall()
            found = await asyncio.gather(*[admission.admit(base, extra) for _ in range(4)], return_exceptions=True)
            assert admitted(list(found)) == 2


async def test_more_calls_than_fit_in_the_batches_in_flight(redis_url: str) -> None:
    async with running(redis_url) as admission:
        wanted = charges(requests(2500), concurrency(10_000))
        found = await outcomes(admission, wanted, 3000)
        assert admitted(found) == 2500
        for reservation in found:
            if not isinstance(reservation, BaseException):
                admission.settle(reservation)
        assert admission._fallbacks.value == 0
    with client(redis_url) as connection:
        assert connection.exists(keys.leases("key", 1, 1, 1)) == 0


def milliseconds(connection: Any) -> int:
    """The server's clock."""
    seconds, micros = connection.time()
    return int(seconds) * 1000 + int(micros) // 1000


def eval_admit(connection: Any, key: str, amount: int, window_ms: int) -> Any:
    return connection.evalsha(
        scripts.ADMIT.sha1.decode(), 2, keys.BREAKERS, key, "id", 0, 0, 1, "r", amount, window_ms, 1, 0
    )


@given(current=st.integers(0, 50), previous=st.integers(0, 50), amount=st.integers(1, 50))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_wait_that_is_named_is_long_enough(redis_url: str, current: int, previous: int, amount: int) -> None:
    """A caller who waits as told is not told to wait again, when nobody else called."""
    window_ms = 1_000_000_000
    with client(redis_url) as connection:
        connection.script_load(scripts.ADMIT.text)
        bucket, elapsed = divmod(milliseconds(connection), window_ms)
        connection.hset("k", mapping={"bucket": bucket, "current": current, "previous": previous})
        reply = eval_admit(connection, "k", amount, window_ms)
        weighted = previous * (window_ms - elapsed) + (current + 1) * window_ms
        if abs(weighted - amount * window_ms) < 2000 * (previous + 1):
            return  # too close to the edge for a clock that goes on meanwhile
        assert (reply[0] == 0) == (weighted <= amount * window_ms)
        if reply[0] == 0:
            return
        later = milliseconds(connection) - bucket * window_ms + reply[4]
        if later < window_ms:
            left = previous * (window_ms - later) + (current + 1) * window_ms
        else:
            left = current * (2 * window_ms - later) + window_ms
        assert left <= amount * window_ms
        assert reply[2] == 1


def test_the_local_share_slides() -> None:
    share, wanted = LocalShare(processes=2), charges(requests(8, seconds=10)).set
    assert [share.admit(wanted, NOTHING, b"", 9.0) for _ in range(5)] == [None, None, None, None, (1, 1000)]
    assert share.admit(wanted, NOTHING, b"", 12.5) is None  # 3 of the 4 still weigh: one more
    assert share.admit(wanted, NOTHING, b"", 12.5) == (1, 7500)
    assert [share.admit(wanted, NOTHING, b"", 100.0) for _ in range(4)] == [None] * 4


def test_a_refused_call_is_counted_nowhere_in_the_local_share() -> None:
    share, wanted = LocalShare(processes=1), charges(requests(5), concurrency(1)).set
    assert share.admit(wanted, NOTHING, b"a", 0.0) is None
    assert [share.admit(wanted, NOTHING, b"b", 0.0) for _ in range(9)] == [(2, 1000)] * 9
    share.settle(Hold(b"a", wanted, True, 0, 0.0), 0, 0, 0.0)
    assert share.admit(wanted, NOTHING, b"c", 0.0) is None


def test_the_local_share_takes_back_what_was_not_used() -> None:
    share = LocalShare(processes=2)
    wanted = charges(tokens(20, seconds=10), gcra(Meter.TOKENS, 20, 20, seconds=10)).set
    assert share.admit(wanted, Need(10, 0), b"a", 0.0) is None
    assert share.admit(wanted, Need(1, 0), b"b", 0.0) == (1, 10_000)
    share.settle(Hold(b"a", wanted, True, 0, 0.0), 9, 0, 0.0)
    assert share.admit(wanted, Need(9, 0), b"b", 0.0) is None
    assert share.admit(wanted, Need(11, 0), b"c", 50.0) is not None


def test_a_packed_command_is_what_redis_reads() -> None:
    wanted = charges(requests(3), concurrency(2)).set
    reader = hiredis.Reader()
    reader.feed(b"*2\r\n" + wanted.packed_keys + b"*8\r\n" + wanted.packed_rules)
    first, second = (rule.key.encode() for rule in wanted.rules)
    assert reader.gets() == [first, second]
    assert reader.gets() == [b"r", b"3", b"3600000", b"1", b"c", b"2", b"60000", b"1"]
    assert NO_RULES.packed_rules == b""

"""Limits on a real Valkey, and without one."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import hiredis
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay_contract.errors import RateLimited
from relay_contract.nouns import Meter, RateLimit, RateLimitId, Rule
from relay_contract.redis import keys, scripts
from relay_edge.admission import Admission
from relay_edge.charges import NO_CHARGES, Charge, ChargeSet, charge_set, packed
from relay_edge.deadlines import DeadlineWheel
from relay_edge.local_share import LocalShare
from relay_edge.metrics import Metrics
from standalone import valkey
from tests.edge.conftest import until


def charges(*rules: Rule, scope: str = "key", owner: int = 1, limit: int = 1) -> ChargeSet:
    return charge_set((Charge(scope, owner, RateLimit(RateLimitId(limit), f"limit-{limit}", rules)),))


def requests(amount: int, seconds: int = 3600) -> Rule:
    return Rule(Meter.REQUESTS, amount, seconds)


def concurrency(amount: int, seconds: int = 60) -> Rule:
    return Rule(Meter.CONCURRENCY, amount, seconds)


LEASES = keys.leases("key", 1, 1, 0)


@asynccontextmanager
async def running(url: str, processes: int = 1) -> AsyncIterator[Admission]:
    wheel = DeadlineWheel(asyncio.get_running_loop())
    admission = Admission(url, wheel, Metrics(), processes=processes)
    await admission.start()
    try:
        yield admission
    finally:
        await admission.close()
        wheel.close()


@contextmanager
def client(url: str) -> Iterator[Any]:
    with redis.Redis.from_url(url) as connection:
        yield connection


async def outcomes(admission: Admission, wanted: ChargeSet, count: int) -> list[Any]:
    """What `count` calls at once come to: a reservation or the error of each."""
    return await asyncio.gather(*[admission.admit(wanted) for _ in range(count)], return_exceptions=True)


def admitted(found: list[Any]) -> int:
    assert all(isinstance(one, RateLimited) for one in found if isinstance(one, BaseException)), found
    return sum(not isinstance(one, BaseException) for one in found)


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


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    amounts=st.lists(st.tuples(st.sampled_from(list(Meter)), st.integers(0, 12)), min_size=1, max_size=4),
    calls=st.integers(1, 40),
    edges=st.integers(1, 3),
)
async def test_parallel_calls_never_pass_a_limit(
    redis_url: str, amounts: list[tuple[Meter, int]], calls: int, edges: int
) -> None:
    with client(redis_url) as connection:
        connection.flushall()
    wanted = charges(*[Rule(meter, amount, 3600) for meter, amount in amounts])
    running_edges = [running(redis_url) for _ in range(edges)]
    admissions = [await edge.__aenter__() for edge in running_edges]
    found = await asyncio.gather(*[outcomes(admission, wanted, calls) for admission in admissions])
    expected = min(calls * edges, *(amount for _, amount in amounts))
    assert sum(map(admitted, found)) == expected
    for edge in running_edges:
        await edge.__aexit__(None, None, None)


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
        assert held.charges is wanted


async def test_a_long_call_keeps_its_place_and_puts_it_back_after_a_flush(redis_url: str) -> None:
    wanted = charges(concurrency(1, seconds=2))
    async with running(redis_url) as admission:
        held = await admission.admit(wanted)
        with client(redis_url) as connection:
            [(member, before)] = connection.zrange(LEASES, 0, -1, withscores=True)
            assert packed([member]) == held.id
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


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Any]:
    """A server that a test may stop and kill."""
    server = valkey.start(tmp_path, fast=True)
    yield server
    server.stop()


async def test_without_redis_a_share_is_admitted_and_redis_takes_over_again(own_valkey: Any) -> None:
    wanted = charges(requests(10), concurrency(8))
    async with running(own_valkey.url, processes=3) as admission:
        os.kill(own_valkey.pid, signal.SIGKILL)
        await until(lambda: not own_valkey.is_running() and admission.problem, "the loss to be seen")
        found = await outcomes(admission, wanted, 20)
        assert admitted(found) == 3  # a third of 8, rounded up
        for reservation in found:
            if not isinstance(reservation, BaseException):
                admission.settle(reservation)
        assert admitted(await outcomes(admission, wanted, 20)) == 1  # a third of 10 is 4
        assert admission._fallbacks.value == 40
        own_valkey.restart()
        await until(lambda: admission.problem is None, "Redis to be back")
        assert admitted(await outcomes(admission, wanted, 20)) == 8
        assert admission._fallbacks.value == 40


async def test_a_redis_that_hangs_costs_one_pause_and_then_nothing(own_valkey: Any) -> None:
    wanted = charges(requests(1000))
    async with running(own_valkey.url) as admission:
        os.kill(own_valkey.pid, signal.SIGSTOP)
        try:
            assert admitted(await outcomes(admission, wanted, 50)) == 50
            assert admission._link is None
            for _ in range(50):  # no call waits now: each is decided without giving the loop a turn
                call = admission.admit(wanted)
                with pytest.raises(StopIteration):
                    call.send(None)
        finally:
            os.kill(own_valkey.pid, signal.SIGCONT)
        await until(lambda: admission.problem is None, "Redis to be back")
        assert admitted(await outcomes(admission, wanted, 5)) == 5


async def test_a_wrong_password_is_said_without_it(redis_url: str) -> None:
    address = redis_url.rsplit("@", 1)[1]
    async with running(f"redis://:wrong@{address}") as admission:
        assert admission.problem == "redis_refused"
        assert admitted(await outcomes(admission, charges(requests(2)), 5)) == 2


async def test_a_server_that_forbids_scripts_is_said(redis_url: str) -> None:
    address = redis_url.rsplit("@", 1)[1]
    with client(redis_url) as connection:
        connection.acl_setuser(
            "limited", enabled=True, passwords=["+pw"], commands=["+@all", "-@scripting"], keys=["*"]
        )
        try:
            async with running(f"redis://limited:pw@{address}") as admission:
                assert admission.problem == "redis_refuses_scripts"
        finally:
            connection.acl_deluser("limited")


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
    return connection.evalsha(scripts.ADMIT.sha1.decode(), 1, key, "id", "r", amount, window_ms)


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
        assert (reply == 0) == (weighted <= amount * window_ms)
        if reply == 0:
            return
        later = milliseconds(connection) - bucket * window_ms + reply[1]
        if later < window_ms:
            left = previous * (window_ms - later) + (current + 1) * window_ms
        else:
            left = current * (2 * window_ms - later) + window_ms
        assert left <= amount * window_ms
        assert reply[0] == 1


def test_the_local_share_slides() -> None:
    share, wanted = LocalShare(processes=2), charges(requests(8, seconds=10))
    assert [share.admit(wanted, b"", 9.0) for _ in range(5)] == [None, None, None, None, (1, 1000)]
    assert share.admit(wanted, b"", 12.5) is None  # 3 of the 4 still weigh: one more
    assert share.admit(wanted, b"", 12.5) == (1, 7500)
    assert [share.admit(wanted, b"", 100.0) for _ in range(4)] == [None] * 4


def test_a_refused_call_is_counted_nowhere_in_the_local_share() -> None:
    share, wanted = LocalShare(processes=1), charges(requests(5), concurrency(1))
    assert share.admit(wanted, b"a", 0.0) is None
    assert [share.admit(wanted, b"b", 0.0) for _ in range(9)] == [(2, 1000)] * 9
    share.settle(wanted, b"a")
    assert [share.admit(wanted, bytes([n]), 0.0) and share.settle(wanted, bytes([n])) for n in range(1)] == [None]


def test_a_packed_command_is_what_redis_reads() -> None:
    wanted = charges(requests(3), concurrency(2))
    reader = hiredis.Reader()
    reader.feed(wanted.head + packed([b"i" * 32]) + wanted.tail)
    first, second = (rule.key.encode() for rule in wanted.rules)
    assert reader.gets() == [
        b"EVALSHA", scripts.ADMIT.sha1, b"2", first, second, b"i" * 32,
        b"r", b"3", b"3600000", b"c", b"2", b"60000",
    ]  # fmt: skip
    assert reader.gets() is False

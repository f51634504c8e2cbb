"""Redis stops, dies, forgets, refuses; settlements arrive exactly once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hiredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay_contract.errors import Unavailable
from relay_contract.nouns import Meter
from relay_contract.redis import scripts
from relay_edge.admission import Need
from relay_edge.charges import packed
from relay_edge.metrics import Counter
from relay_edge.redis_link import RedisLost
from relay_edge.redis_queue import WATCH_SECONDS
from relay_edge.reservation import Hold
from relay_edge.settlements import MAX_KEPT, Settlements
from standalone import valkey
from tests.edge.admitting import (
    admitted,
    candidate,
    charges,
    client,
    concurrency,
    cost,
    counted,
    gcra,
    offers_of,
    outcomes,
    requests,
    running,
    tokens,
)
from tests.edge.conftest import until


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
            assert admission.problem == "redis_late"
            assert admission.queue._link is not None  # it gets a second before its connection is given up
            for _ in range(50):  # no call waits now: each is decided without giving the loop a turn
                call = admission.admit(wanted)
                with pytest.raises(StopIteration):
                    call.send(None)
        finally:
            os.kill(own_valkey.pid, signal.SIGCONT)
        await until(lambda: admission.problem is None, "Redis to be back")
        assert admission.queue._losses.value == 0
        with client(own_valkey.url) as connection:
            assert counted(connection, wanted) == [50]  # what was on its way when it stopped
        assert admitted(await outcomes(admission, wanted, 5)) == 5


async def test_a_redis_that_hangs_on_loses_its_connection(own_valkey: Any) -> None:
    async with running(own_valkey.url) as admission:
        os.kill(own_valkey.pid, signal.SIGSTOP)
        try:
            assert admitted(await outcomes(admission, charges(requests(10)), 5)) == 5
            await until(lambda: admission.queue._link is None, "the connection to be given up")
        finally:
            os.kill(own_valkey.pid, signal.SIGCONT)
        await until(lambda: admission.problem is None, "Redis to be back")


async def test_a_loop_that_stands_still_blames_nobody(redis_url: str) -> None:
    wanted = charges(requests(1000))
    async with running(redis_url) as admission:
        for _ in range(5):
            calls = asyncio.gather(*[admission.admit(wanted) for _ in range(20)])
            await asyncio.sleep(0)  # written
            time.sleep(WATCH_SECONDS * 6)  # noqa: ASYNC251  # the stall is what this is about
            await calls
        assert admission.problem is None
        assert admission.queue._late_times.value == admission._fallbacks.value == 0


async def test_what_redis_admits_after_nobody_waits_any_more_is_given_back(own_valkey: Any) -> None:
    wanted = charges(concurrency(9), tokens(1000))
    async with running(own_valkey.url) as admission:
        os.kill(own_valkey.pid, signal.SIGSTOP)
        try:
            found = await outcomes(admission, wanted, 4, Need(100, 0))
        finally:
            os.kill(own_valkey.pid, signal.SIGCONT)
        assert admitted(found) == 4
        with client(own_valkey.url) as connection:
            await until(
                lambda: admission.problem is None and connection.hget(wanted.rules[1].key, "current") == b"0",
                "the tokens to be given back",
            )
            assert connection.exists(wanted.rules[0].key) == 0


async def test_while_redis_is_away_what_costs_money_is_refused(redis_url: str) -> None:
    wanted = charges(requests(10), cost(1_000_000))
    offers = offers_of(candidate(1))
    async with running("redis://127.0.0.1:1/0") as admission:
        with pytest.raises(Unavailable) as refused:
            await admission.admit(wanted, need=Need(0, 1), offers=offers)
        assert refused.value.retry_after_seconds == 1
        assert "Cost limits" in refused.value.public_text
        assert (await admission.admit(wanted, offers=offers)).chosen == 0  # what costs nothing is served


async def test_a_link_that_breaks_while_calls_are_on_their_way(own_valkey: Any) -> None:
    wanted = charges(requests(10_000), concurrency(10_000), tokens(10**6))
    async with running(own_valkey.url) as admission:
        found = []
        for turn in range(6):
            calls = [asyncio.ensure_future(admission.admit(wanted, need=Need(10, 0))) for _ in range(30)]
            await asyncio.sleep(0)
            if turn % 2:
                await asyncio.sleep(0)
                with client(own_valkey.url) as connection:
                    connection.client_kill_filter(_type="normal", skipme=True)
            found += await asyncio.gather(*calls)
            for reservation in found:
                admission.settle(reservation, 5)
            await until(lambda: admission.problem is None, "Redis to be back")
        await until(lambda: not admission.queue.settlements, "the settlements to arrive")
        assert admission.in_flight == 0
        assert admission.queue.dropped.value == 0
        remote = [each for each in found if not each.caller.is_local]
        with client(own_valkey.url) as connection:
            held = int(connection.hget(wanted.rules[2].key, "current"))
            lost = sum(each.caller.is_local for each in found)
            assert 5 * len(remote) <= held <= 5 * len(remote) + 10 * lost
            assert connection.zcard(wanted.rules[1].key) <= lost  # they run out


async def test_settlements_that_were_not_answered_are_sent_again_and_count_once(own_valkey: Any) -> None:
    wanted = charges(tokens(1000), gcra(Meter.TOKENS, 1000, 1000, seconds=3_000_000))
    async with running(own_valkey.url) as admission:
        reservations = [await admission.admit(wanted, need=Need(100, 0)) for _ in range(8)]
        for reservation in reservations[:4]:
            admission.settle(reservation, 10)
        await asyncio.sleep(0)
        os.kill(own_valkey.pid, signal.SIGSTOP)
        for reservation in reservations[4:]:
            admission.settle(reservation, 10)
        await asyncio.sleep(0)  # written, and nobody answers
        assert admission.queue._link is not None
        admission.queue._link.close()
        os.kill(own_valkey.pid, signal.SIGCONT)
        await until(lambda: admission.problem is None and not admission.queue.settlements, "the settlements to arrive")
        with client(own_valkey.url) as connection:
            assert counted(connection, wanted)[0] == 80
            assert int(connection.hget(wanted.rules[1].key, "owed")) == 80


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    used=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 80)), min_size=1, max_size=8),
    repeated=st.lists(st.integers(0, 7), max_size=12),
)
def test_settling_twice_is_settling_once(redis_url: str, used: list[tuple[int, int]], repeated: list[int]) -> None:
    """The same commands again, in their order, change nothing."""
    wanted = charges(tokens(10**6, seconds=10**6), concurrency(100))
    window = wanted.rules[0].key
    with client(redis_url) as connection:
        connection.flushall()
        for script in scripts.ALL:
            connection.script_load(script.text)
        seconds = connection.time()[0]
        bucket = seconds * 1000 // 10**9
        connection.hset(window, mapping={"bucket": bucket, "current": sum(need for need, _ in used), "previous": 0})
        sent = Settlements(Counter(), lambda: None)
        commands = []
        for number, (need, spent) in enumerate(used):
            sent.add(Hold(packed([b"id-%d" % number]), wanted.set, False, seconds * 1000, 0.0), need - spent, 0)
            commands.append(sent.command()[0])
        for place, packed_command in enumerate(commands):
            for earlier in [place, *(each for each in repeated if each <= place)]:
                connection.execute_command(*_arguments(commands[earlier] if earlier != place else packed_command))
        assert int(connection.hget(window, "current")) == sum(spent for _, spent in used)


def _arguments(command: bytes) -> list[bytes]:
    reader = hiredis.Reader()
    reader.feed(command)
    arguments = reader.gets()
    assert isinstance(arguments, list)
    return arguments


def test_settlements_are_bounded_and_what_is_dropped_is_counted() -> None:
    dropped = Counter()
    kept = Settlements(dropped, lambda: None)
    hold = Hold(packed([b"id"]), charges(tokens(5)).set, False, 0, 0.0)
    for _ in range(MAX_KEPT + 3):
        kept.add(hold, 1, 0)
    assert (len(kept), dropped.value) == (MAX_KEPT, 3)
    _, replied = kept.command()
    assert len(kept) == MAX_KEPT
    replied(RedisLost("gone"))
    assert len(kept) == MAX_KEPT
    again, replied = kept.command()
    replied(1)
    assert len(kept) == MAX_KEPT - 64
    assert again.count(b"EVALSHA") == 1


async def test_scripts_that_redis_forgot_are_loaded_again(redis_url: str) -> None:
    wanted = charges(requests(30), concurrency(30))
    async with running(redis_url) as admission:
        with client(redis_url) as connection:
            connection.script_flush()
            found = await outcomes(admission, wanted, 40)
            assert admitted(found) == 30
            assert connection.script_exists(scripts.ADMIT.sha1.decode()) == [True]
            connection.script_flush()
            for reservation in found:
                if not isinstance(reservation, BaseException):
                    admission.settle(reservation)
            await until(lambda: not connection.exists(wanted.rules[1].key), "the places to be given back")
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

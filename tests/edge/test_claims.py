"""Claims on a real Valkey: one owner, leases, fences, answers sealed and bounded."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from relay_contract.errors import CallInProgress, IdempotencyKeyReused, RateLimited, Unavailable
from relay_contract.redis import keys
from relay_contract.sealing import Sealer
from relay_edge.claims import Claim, Claims
from relay_edge.deadlines import DeadlineWheel
from relay_edge.kept_answer import KeptAnswer, digest_of_key
from relay_edge.metrics import Metrics
from relay_edge.redis_queue import RedisQueue
from standalone import valkey
from tests.edge.admitting import client
from tests.edge.conftest import until

SEALER = Sealer(b"\x07" * 32)
CALL, OTHER_CALL = b"c" * 32, b"d" * 32
ANSWER = KeptAnswer(200, (("content-type", "application/json"),), "req-1", b'{"secret": "of the model"}')
ENTRY = keys.idempotent(1, digest_of_key("k"))


@asynccontextmanager
async def claiming(url: str, sealer: Sealer = SEALER, **settings: Any) -> AsyncIterator[Claims]:
    wheel, metrics = DeadlineWheel(asyncio.get_running_loop()), Metrics()
    queue = RedisQueue(url, wheel, metrics)
    await queue.start()
    try:
        yield Claims(queue, sealer, metrics, **settings)
    finally:
        await queue.close()
        wheel.close()


async def mine(claims: Claims, project: int = 1, key: str = "k", call: bytes = CALL) -> Claim:
    found = await claims.claim(project, key, call)
    assert isinstance(found, Claim)
    return found


async def can_claim(claims: Claims) -> bool:
    try:
        return isinstance(await claims.claim(1, "k", CALL), Claim)
    except CallInProgress:
        return False


async def test_of_many_at_once_one_makes_the_call(redis_url: str) -> None:
    async with claiming(redis_url) as first, claiming(redis_url) as second:
        found = await asyncio.gather(
            *[claims.claim(1, "k", CALL) for claims in (first, second) for _ in range(50)], return_exceptions=True
        )
        [claim] = [each for each in found if isinstance(each, Claim)]
        assert sum(isinstance(each, CallInProgress) for each in found) == 99
        assert await claim.keep(ANSWER)
        assert await asyncio.gather(*[second.claim(1, "k", CALL) for _ in range(50)]) == [ANSWER] * 50
        assert second.counted["replayed"].value == 50


async def test_a_key_stands_for_one_call_of_one_project(redis_url: str) -> None:
    async with claiming(redis_url) as claims:
        claim = await mine(claims)
        with pytest.raises(IdempotencyKeyReused):
            await claims.claim(1, "k", OTHER_CALL)
        assert await claim.keep(ANSWER)
        with pytest.raises(IdempotencyKeyReused):
            await claims.claim(1, "k", OTHER_CALL)
        await mine(claims, project=2)
        await mine(claims, key="l")


async def test_a_claim_that_was_given_up_is_free(redis_url: str) -> None:
    async with claiming(redis_url) as claims:
        for _ in range(3):
            claim = await mine(claims)
            claim.end(None)
            claim.end(ANSWER)  # twice is once
        with client(redis_url) as redis:
            assert await until(lambda: redis.keys("*") == [], "nothing left")


async def test_a_caller_who_leaves_while_claiming_leaves_no_claim(redis_url: str) -> None:
    async with claiming(redis_url) as claims:
        for turns in range(4):
            task = asyncio.create_task(claims.claim(1, "k", CALL))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            await mine_soon(claims)


async def mine_soon(claims: Claims) -> None:
    async def taken() -> bool:
        try:
            (await mine(claims)).end(None)
        except CallInProgress:
            return False
        return True

    await until(taken, "a free key")


async def test_a_lease_frees_what_a_dead_process_claimed(redis_url: str) -> None:
    async with claiming(redis_url) as claims:
        async with claiming(redis_url, lease_seconds=1) as dying:
            lost = await mine(dying)
            assert not await can_claim(claims)
            dying._live.clear()  # nobody renews it any more
        await until(lambda: can_claim(claims), "the end of the lease")
    async with claiming(redis_url) as dying:
        lost._claims = dying  # it was not dead, only slow: what it kept is another's by now
        assert not await lost.keep(ANSWER)
    with client(redis_url) as redis:
        assert redis.hexists(ENTRY, "claim")
        assert not redis.hexists(ENTRY, "answer")


async def test_a_lease_lasts_as_long_as_its_call(redis_url: str) -> None:
    async with claiming(redis_url, lease_seconds=1.5) as claims:
        claim = await mine(claims)
        with client(redis_url) as redis:
            for _ in range(2):
                redis.pexpire(ENTRY, 100_000)
                await until(lambda: redis.pttl(ENTRY) <= 1_500, "a renewal")
            redis.script_flush()
            redis.pexpire(ENTRY, 100_000)
            await until(lambda: redis.pttl(ENTRY) < 90_000, "a renewal after Redis forgot the script")
            assert await claim.keep(ANSWER)
            assert 590_000 < redis.pttl(ENTRY) <= 600_000
        assert claims._live == set()


async def test_redis_holds_no_word_of_key_or_answer(redis_url: str) -> None:
    async with claiming(redis_url) as claims, claiming(redis_url, Sealer(b"n" * 32)) as stranger:
        assert await (await mine(claims, key="order-4711")).keep(ANSWER)
        with client(redis_url) as redis:
            [entry] = redis.keys("*:idempotent:*")
            fields = redis.hgetall(entry)
            assert set(fields) == {b"call", b"answer"}
            assert b"secret" not in fields[b"answer"]
            assert b"4711" not in entry
            assert await claims.claim(1, "order-4711", CALL) == ANSWER
            with pytest.raises(Unavailable, match="cannot be read"):
                await stranger.claim(1, "order-4711", CALL)
            redis.rename(entry, keys.idempotent(2, digest_of_key("order-4711")))
            with pytest.raises(Unavailable, match="cannot be read"):  # another project's
                await claims.claim(2, "order-4711", CALL)
        assert stranger.counted["unreadable"].value == 1


async def test_a_project_has_so_many_bytes_kept_and_another_its_own(redis_url: str) -> None:
    async with claiming(redis_url, project_bytes=1000, keep_seconds=600) as claims:
        for number in range(3):
            assert await (await mine(claims, key=f"k{number}")).keep(ANSWER)
        with client(redis_url) as redis:
            sealed = len(redis.hget(keys.idempotent(1, digest_of_key("k0")), "answer"))
            assert int(redis.hget(keys.kept(1), "current")) == 3 * (sealed + 256)
            with pytest.raises(RateLimited, match="without the key") as refused:
                await claims.claim(1, "k3", CALL)
            assert refused.value.retry_after_seconds is not None
            assert 0 < refused.value.retry_after_seconds <= 600
            assert await claims.claim(1, "k0", CALL) == ANSWER
            await mine(claims, project=2)
            slot = int(redis.hget(keys.kept(1), "slot"))
            redis.hset(keys.kept(1), "slot", slot - 1)  # a keeping time later they may be there still
            with pytest.raises(RateLimited):
                await claims.claim(1, "k3", CALL)
            redis.hset(keys.kept(1), "slot", slot - 2)  # and two later they are gone
            assert await (await mine(claims, key="k3")).keep(ANSWER)
            held = redis.hgetall(keys.kept(1))
            assert (int(held[b"current"]), int(held[b"previous"])) == (sealed + 256, 0)
            assert 1_190_000 < redis.pttl(keys.kept(1)) <= 1_200_000


async def test_without_redis_nothing_is_promised(tmp_path: Path) -> None:
    server = valkey.start(tmp_path, fast=True)
    try:
        async with claiming(server.url) as claims:
            claim = await mine(claims)
            os.kill(server.pid, signal.SIGSTOP)
            try:
                with pytest.raises(Unavailable) as late:
                    await claims.claim(1, "l", CALL)
                assert late.value.retry_after_seconds == 1
                assert not await claim.keep(ANSWER)
            finally:
                os.kill(server.pid, signal.SIGCONT)
            await until(lambda: claims._queue.is_in_charge, "Redis to be back")
            # The claim that came late was given up again; what was claimed before ends with its lease.
            assert isinstance(await until(lambda: claimed(claims), "the key to be free"), Claim)
            with pytest.raises(CallInProgress):
                await claims.claim(1, "k", CALL)
            os.kill(server.pid, signal.SIGKILL)
            await until(lambda: not claims._queue.is_in_charge, "the loss to be seen")
            with pytest.raises(Unavailable):
                await claims.claim(1, "m", CALL)
            assert claims.counted["no_redis"].value == 2
    finally:
        server.stop()


async def claimed(claims: Claims) -> Claim | None:
    try:
        return await mine(claims, key="l")
    except CallInProgress:
        return None

"""A target's rate, its most in flight, its breaker and pauses, over all workers; and what a hung one costs others."""

import asyncio
from collections.abc import Collection
from datetime import timedelta

import pytest

from delivery import drain, known_targets, pacer
from delivery.database import Connection
from tests.delivery.conftest import Work
from tests.delivery.queue import Queue, Target, until
from tests.delivery.receiver import Receiver, reset, status

CALLS = 60


async def state_of(queue: Queue, target: Target) -> dict[str, object]:
    rows = await queue.sql(
        "SELECT *, extract(epoch FROM paused_until - now())::float8 AS paused_seconds"
        " FROM deliveries_targetstate WHERE target_id = %s",
        target.id,
    )
    return rows[0] if rows else {}


async def most_at_once(queue: Queue) -> int:
    """The most attempts that were under way in one moment, of those recorded."""
    rows = await queue.sql(
        "WITH edge AS (SELECT started_at AS at, 1 AS step FROM deliveries_attempt UNION ALL"
        " SELECT started_at + make_interval(secs => duration_ms / 1000.0), -1 FROM deliveries_attempt)"
        " SELECT max(open)::int AS most FROM (SELECT sum(step) OVER (ORDER BY at, step) AS open FROM edge) AS moments"
    )
    return int(rows[0]["most"])


async def test_a_hung_target_with_a_long_queue_leaves_the_others_the_index(
    queue: Queue, receiver: Receiver, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "STUCK_SECONDS", 0.0)
    receiver.hold("/hung")
    hung = await queue.target(f"{receiver.url}/hung")
    other = await queue.target(f"{receiver.url}/other", shard_mate=hung)
    await queue.accept(hung, calls=5_000)
    drainer = await work()
    await receiver.until("/hung", 64)
    await queue.until_states(sending=64, waiting=4_936)
    claims = drainer.figures.claims
    assert claims < 100, "each delivery is met once"
    touched = await queue.sql(
        "SELECT sum(deferral_count) AS deferrals, max(attempt_count) AS tried FROM deliveries_live"
    )
    for _ in range(4):
        await queue.accept(other, calls=50)
    await receiver.until("/other", 200)
    await queue.until_states(sending=64, waiting=4_936, delivered=200)
    assert len(receiver.at("/hung")) == 64
    after = await queue.sql("SELECT sum(deferral_count) AS deferrals, max(attempt_count) AS tried FROM deliveries_live")
    assert after == touched, "nothing of it was met again"
    receiver.release("/hung")
    await queue.until_states(delivered=5_200)
    [row] = await queue.sql("SELECT max(attempt_count) AS tried FROM deliveries_finished")
    assert row == {"tried": 1}, "a deferral is not an attempt"


async def test_nobody_waits_while_a_long_queue_is_set_aside(
    queue: Queue, receiver: Receiver, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go = asyncio.Event()

    async def slow(connection: Connection, targets: Collection[int]) -> int:
        await may_go.wait()
        return await set_aside(connection, targets)

    set_aside = pacer.set_aside
    monkeypatch.setattr(pacer, "set_aside", slow)
    monkeypatch.setattr(drain, "STUCK_SECONDS", 0.0)
    receiver.hold("/hung")
    hung = await queue.target(f"{receiver.url}/hung")
    other = await queue.target(f"{receiver.url}/other", shard_mate=hung)
    await queue.accept(hung, calls=1_000)
    await work()
    await receiver.until("/hung", 64)
    await queue.accept(other, calls=50)
    await receiver.until("/other", 50)
    await queue.until_states(sending=64, pending=936, delivered=50)
    may_go.set()
    await queue.until_states(sending=64, waiting=936, delivered=50)
    receiver.release("/hung")
    await queue.until_states(delivered=1_050)


async def test_two_workers_never_have_more_in_flight_than_the_target_takes(
    queue: Queue, receiver: Receiver, work: Work
) -> None:
    target = await queue.target(f"{receiver.url}/in", max_in_flight=3)
    await queue.accept(target, calls=CALLS)
    receiver.hold("/in")
    await work()
    await work()
    await receiver.until("/in", 3)
    await queue.until_states(sending=3, waiting=CALLS - 3)
    assert len(receiver.at("/in")) == 3
    receiver.release("/in")
    await queue.until_states(delivered=CALLS)
    assert await most_at_once(queue) <= 3
    assert len(receiver.at("/in")) == CALLS


async def test_a_rate_is_kept_over_workers(queue: Queue, receiver: Receiver, work: Work) -> None:
    target = await queue.target(f"{receiver.url}/in", rate_amount=50)
    await queue.accept(target, calls=150)
    [began] = await queue.sql("SELECT clock_timestamp() AS at")
    await work()
    await work()
    await queue.until_states(delivered=150)
    rows = await queue.sql("SELECT started_at AS at FROM deliveries_attempt ORDER BY started_at")
    for first, later in zip(rows, rows[60:], strict=False):  # a second's worth at once, then its pace
        assert later["at"] - first["at"] >= timedelta(seconds=0.1)
    assert rows[-1]["at"] - began["at"] >= timedelta(seconds=1.8)
    assert len(receiver.at("/in")) == 150


async def test_a_slow_rate_lets_one_through(queue: Queue, receiver: Receiver, work: Work) -> None:
    target = await queue.target(f"{receiver.url}/in", rate_amount=1, rate_window_seconds=3600)
    await queue.accept(target, calls=3)
    await work()
    await queue.until_states(delivered=1, waiting=2)
    await queue.sql("UPDATE deliveries_targetstate SET tat = tat - interval '1 hour'")
    await queue.until_states(delivered=2, waiting=1)


async def test_what_is_over_its_time_uses_up_no_rate(queue: Queue, receiver: Receiver, work: Work) -> None:
    target = await queue.target(f"{receiver.url}/in", rate_amount=1, rate_window_seconds=3600)
    await work()
    await queue.accept(target)
    await queue.until_states(delivered=1)
    await queue.sql("UPDATE deliveries_targetstate SET tat = now()")
    await queue.accept(target, calls=3, expire_seconds=0)
    await queue.until_states(delivered=1, dead=3)
    await queue.accept(target)
    await queue.until_states(delivered=2, dead=3)


async def test_more_limited_targets_than_a_worker_remembers(
    queue: Queue, receiver: Receiver, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_targets, "MAX_KNOWN", 2)
    monkeypatch.setattr(known_targets, "KNOWN_SECONDS", 3600.0)
    for _ in range(8):
        await queue.accept(await queue.target(f"{receiver.url}/in", max_in_flight=1), calls=2)
    await work()
    await queue.until_states(delivered=16)


async def test_retry_after_pauses_the_target_and_the_row(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.plans["/in"] = [status(429, "Retry-After: 120"), status(200)]
    target = await queue.target(f"{receiver.url}/in", schedule=(1, 1))
    first = await queue.accept_one(target)
    await work()
    await queue.until(first, "pending")
    assert (await queue.delivery(first))["wait_seconds"] > 110
    state = await state_of(queue, target)
    assert (state["pause_reason"], state["breaker"]) == ("retry_after", "closed")
    assert 110 < float(str(state["paused_seconds"])) <= 120
    second = await queue.accept_one(target)
    await queue.until(second, "waiting", attempts=0)
    await queue.sql("UPDATE deliveries_targetstate SET paused_until = now()")
    await queue.until(second, "delivered")
    assert (await queue.delivery(second))["attempt_count"] == 1
    assert len(receiver.at("/in")) == 2


async def test_retry_after_does_not_reach_beyond_the_end(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.plans["/in"] = [status(503, "Retry-After: 5000")]
    delivery = await queue.accept_one(await queue.target(f"{receiver.url}/in"), expire_seconds=60)
    await work()
    await queue.until(delivery, "pending")
    assert 0 < (await queue.delivery(delivery))["wait_seconds"] <= 60
    await queue.sql("UPDATE deliveries_live SET expires_at = now(), next_attempt_at = now()")
    await queue.until(delivery, "dead")
    assert (await queue.delivery(delivery))["dead_reason"] == "expired"
    assert len(receiver.at("/in")) == 1
    assert [row[1] for row in await queue.charges(delivery)] == ["hold", "settle"]


async def test_a_breaker_opens_is_probed_by_one_and_closes(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.plans["/in"] = [reset]
    target = await queue.target(f"{receiver.url}/in", schedule=(3600,))
    await queue.accept(target, calls=10)
    await work()
    drainer = await work()

    async def is_open() -> bool:
        return (await state_of(queue, target)).get("breaker") == "open"

    await until(is_open)
    later = await queue.accept(target, calls=20)
    await queue.until_states(pending=10, waiting=20)
    seen = len(receiver.at("/in"))
    receiver.plans["/in"] = [status(200)]
    receiver.hold("/in")
    await queue.sql("UPDATE deliveries_targetstate SET paused_until = now()")
    await receiver.until("/in", seen + 1)
    await queue.until_states(pending=10, sending=1, waiting=19)
    assert len(receiver.at("/in")) == seen + 1, "one probe, of two workers"
    receiver.release("/in")
    for accepted in later:
        await queue.until(accepted.deliveries[0], "delivered")
    assert (await state_of(queue, target))["breaker"] == "closed"
    assert drainer.figures.claims > 0


async def test_without_a_breaker_failures_pause_nothing(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.plans["/in"] = [reset]
    target = await queue.target(f"{receiver.url}/in", schedule=(), has_breaker=False)
    await queue.accept(target, calls=30)
    await work()
    await queue.until_states(dead=30)
    assert (await state_of(queue, target))["breaker"] == "closed"


async def test_a_healthy_target_has_no_state(queue: Queue, receiver: Receiver, work: Work) -> None:
    target = await queue.target(f"{receiver.url}/in")
    await queue.accept(target, calls=5)
    await work()
    await queue.until_states(delivered=5)
    assert await state_of(queue, target) == {}


async def test_what_a_killed_worker_had_is_retaken_within_the_limit(
    queue: Queue, receiver: Receiver, work: Work
) -> None:
    """Its rows count as under way until their leases end, and are taken again then, not parked for lack of room."""
    target = await queue.target(f"{receiver.url}/in", max_in_flight=2)
    await queue.accept(target, calls=4)
    await queue.sql(
        "UPDATE deliveries_live SET state = 'sending', attempt_count = 1, claim_id = gen_random_uuid(),"
        " next_attempt_at = now() + interval '1 hour' WHERE id IN (SELECT id FROM deliveries_live ORDER BY id LIMIT 2)"
    )
    await work()
    await queue.until_states(sending=2, waiting=2)
    assert receiver.calls == []
    await queue.sql("UPDATE deliveries_live SET next_attempt_at = now() WHERE state = 'sending'")
    await queue.until_states(delivered=4)
    assert len(receiver.at("/in")) == 4
    charges = await queue.sql("SELECT kind, count(*) FROM ledger_charge GROUP BY kind ORDER BY kind")
    assert charges == [{"kind": "hold", "count": 4}, {"kind": "settle", "count": 4}]

"""Targets that are disabled, by an operator, by their own 410 or by failing for too long, and what was due to them."""

from delivery.database import Connection
from delivery.pacer import end_expired, look_back
from tests.delivery.conftest import Work
from tests.delivery.queue import Queue
from tests.delivery.receiver import Receiver, status


async def test_a_disabled_target_gets_nothing_until_it_is_enabled(queue: Queue, receiver: Receiver, work: Work) -> None:
    target = await queue.target(f"{receiver.url}/in")
    [accepted] = await queue.accept(target)
    await queue.sql("UPDATE catalog_target SET is_enabled = false")
    await work()
    held = await queue.until(accepted.deliveries[0], "held", attempts=0)
    assert (held["attempt_count"], held["deferral_count"]) == (0, 1)
    assert receiver.calls == []
    await queue.sql("UPDATE deliveries_live SET next_attempt_at = now() - interval '3 days'")
    await queue.sql("UPDATE catalog_target SET is_enabled = true")
    row = await queue.until(accepted.deliveries[0], "delivered")
    assert (row["expires_at"] - held["expires_at"]).days == 3, "the time that it was held is given back"
    assert row["attempt_count"] == 1


async def test_a_lost_lease_of_a_disabled_target_is_held(queue: Queue, receiver: Receiver, work: Work) -> None:
    delivery = await queue.accept_one(await queue.target(f"{receiver.url}/in"))
    await queue.sql("UPDATE catalog_target SET is_enabled = false")
    await queue.sql("UPDATE deliveries_live SET state = 'sending', attempt_count = 1, claim_id = gen_random_uuid()")
    await work()
    held = await queue.until(delivery, "held", attempts=1)
    assert held["claim_id"] is None
    assert [(row["number"], row["outcome"]) for row in await queue.attempts(delivery)] == [(1, "lease_lost")]
    assert receiver.calls == []


async def test_410_disables_the_target(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.plans["/in"] = [status(410)]
    target = await queue.target(f"{receiver.url}/in", retry_on=["4xx"])
    first = await queue.accept_one(target)
    drainer = await work()
    assert (await queue.until(first, "dead"))["dead_reason"] == "target_gone"
    [row] = await queue.sql("SELECT is_enabled, disabled_reason, gone_at FROM catalog_target")
    assert (row["is_enabled"], row["disabled_reason"]) == (False, "gone")
    assert row["gone_at"] is not None
    second = await queue.accept_one(target)
    await queue.until(second, "held", attempts=0)
    assert len(receiver.calls) == 1
    assert drainer.targets.disabled == 1


async def test_a_target_that_fails_for_too_long_is_disabled(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.plans["/in"] = [status(500)]
    target = await queue.target(f"{receiver.url}/in", disable_after_hours=5, schedule=(3600,))
    first = await queue.accept_one(target)
    await work()
    await queue.until(first, "pending")
    [row] = await queue.sql("SELECT is_enabled FROM catalog_target")
    assert row["is_enabled"]
    await queue.sql("UPDATE deliveries_targetstate SET failing_since = now() - interval '5 hours'")
    second = await queue.accept_one(target)
    await queue.until(second, "pending")
    [row] = await queue.sql("SELECT is_enabled, disabled_reason, gone_at FROM catalog_target")
    assert row == {"is_enabled": False, "disabled_reason": "failing", "gone_at": None}
    [row] = await queue.sql("SELECT failing_since FROM deliveries_targetstate")
    assert row["failing_since"] is None, "who enables it again begins anew"


async def test_what_waits_beyond_its_time_is_dead_and_closed(
    queue: Queue, receiver: Receiver, work: Work, database_url: str
) -> None:
    target = await queue.target(f"{receiver.url}/in")
    held, called, young = [(await queue.accept_one(target)) for _ in range(3)]
    await queue.sql("UPDATE deliveries_live SET state = 'held'")
    await queue.sql("UPDATE deliveries_live SET expires_at = now() WHERE id = ANY(%s)", [held, called])
    await queue.sql("UPDATE deliveries_live SET was_contacted = true WHERE id = %s", called)
    connection = Connection(database_url, "test")
    assert await end_expired(connection) == 2
    assert await end_expired(connection) == 0
    await connection.close()
    assert (await queue.delivery(held))["dead_reason"] == "expired"
    assert [row[1] for row in await queue.charges(held)] == ["hold", "release"]
    assert [row[1] for row in await queue.charges(called)] == ["hold", "settle"]
    assert (await queue.delivery(young))["state"] == "held"


async def test_pending_beyond_its_time_is_not_sent(queue: Queue, receiver: Receiver, work: Work) -> None:
    delivery = await queue.accept_one(await queue.target(f"{receiver.url}/in"))
    await queue.sql("UPDATE deliveries_live SET expires_at = now()")
    await work()
    assert (await queue.until(delivery, "dead"))["dead_reason"] == "expired"
    assert receiver.calls == []
    assert [row[1] for row in await queue.charges(delivery)] == ["hold", "release"]


async def test_held_for_a_deleted_target_is_dead(queue: Queue, receiver: Receiver, work: Work) -> None:
    delivery = await queue.accept_one(await queue.target(f"{receiver.url}/in"))
    await queue.sql("UPDATE deliveries_live SET state = 'held'")
    await queue.sql("DELETE FROM catalog_targetsecret")
    await queue.sql("DELETE FROM catalog_target")
    await work()
    assert (await queue.until(delivery, "dead"))["dead_reason"] == "target_deleted"


async def test_what_waits_for_a_target_that_is_disabled_is_held(
    queue: Queue, receiver: Receiver, work: Work, database_url: str
) -> None:
    """A million held ones of another target are not looked at: only targets that something waits for are."""
    off, on = await queue.target(f"{receiver.url}/off"), await queue.target(f"{receiver.url}/on")
    kept, waiting = await queue.accept_one(off), await queue.accept_one(on)
    await queue.sql("UPDATE deliveries_live SET state = 'waiting', next_attempt_at = now() - interval '3 days'")
    await queue.sql("UPDATE catalog_target SET is_enabled = false WHERE id = %s", off.id)
    before = await queue.delivery(kept)
    connection = Connection(database_url, "test")
    assert await look_back(connection) == {"held": 1, "waiting": 1}
    assert await look_back(connection) == {"held": 1, "waiting": 1}
    await connection.close()
    assert ((await queue.delivery(kept))["state"], (await queue.delivery(waiting))["state"]) == ("held", "waiting")
    await work()
    await queue.until(waiting, "delivered")
    await queue.sql("UPDATE catalog_target SET is_enabled = true")
    after = await queue.until(kept, "delivered")
    assert (after["expires_at"] - before["expires_at"]).days == 0, "the three days of waiting are its own"
    assert [row[1] for row in await queue.charges(kept)] == ["hold", "settle"]


async def test_what_waits_for_a_deleted_target_is_dead_and_released(
    queue: Queue, receiver: Receiver, work: Work
) -> None:
    target = await queue.target(f"{receiver.url}/in")
    deliveries = [await queue.accept_one(target) for _ in range(3)]
    for delivery, state in zip(deliveries, ("waiting", "held", "pending"), strict=True):
        await queue.sql("UPDATE deliveries_live SET state = %s WHERE id = %s", state, delivery)
    await queue.delete_targets(target)
    await work()
    for delivery in deliveries:
        assert (await queue.until(delivery, "dead"))["dead_reason"] == "target_deleted"
        assert [row[1] for row in await queue.charges(delivery)] == ["hold", "release"]
    assert receiver.calls == []

"""Ordering keys: one delivery of a key at a time, in the order of acceptance, also through retries and replays."""

import json

import pytest
from asgiref.sync import sync_to_async

from relay_admin.deliveries import services
from relay_admin.deliveries.discards import delivery_discard
from tests.delivery.conftest import Work
from tests.delivery.queue import Queue, Target
from tests.delivery.receiver import Receiver, status

KEYS = ("a", "b", "c")


async def ordered(queue: Queue, receiver: Receiver, **columns: object) -> Target:
    return await queue.target(f"{receiver.url}/in", ordering_key="body:key", **columns)


async def accept(queue: Queue, target: Target, key: str, number: int) -> None:
    await queue.accept(target, body=json.dumps({"key": key, "n": number}).encode(), ordering_key=key)


def received(receiver: Receiver, key: str) -> list[int]:
    bodies = (json.loads(call.body) for call in receiver.at("/in"))
    return [body["n"] for body in bodies if body["key"] == key]


async def test_each_key_goes_in_its_order_over_two_workers(queue: Queue, receiver: Receiver, work: Work) -> None:
    target = await ordered(queue, receiver)
    for number in range(20):
        for key in KEYS:
            await accept(queue, target, key, number)
    await work()
    await work()
    await queue.until_states(delivered=60)
    for key in KEYS:
        assert received(receiver, key) == list(range(20))


async def test_one_of_a_key_is_under_way_at_a_time(queue: Queue, receiver: Receiver, work: Work) -> None:
    target = await ordered(queue, receiver)
    receiver.hold("/in")
    for number in range(3):
        for key in KEYS:
            await accept(queue, target, key, number)
    await queue.accept(target, calls=2)  # without a key: in no order
    await work()
    await receiver.until("/in", 5)
    await queue.until_states(sending=5, waiting=6)
    assert len(receiver.at("/in")) == 5
    receiver.release("/in")
    await queue.until_states(delivered=11)


async def test_the_next_waits_for_a_retry(queue: Queue, receiver: Receiver, work: Work) -> None:
    target = await ordered(queue, receiver, schedule=(3600,), has_breaker=False)
    receiver.plans["/in"] = [status(500), status(200)]
    await accept(queue, target, "a", 0)
    await accept(queue, target, "a", 1)
    await work()
    await queue.until_states(pending=1, waiting=1)
    assert received(receiver, "a") == [0]
    await queue.sql("UPDATE deliveries_live SET next_attempt_at = now()")
    await queue.until_states(delivered=2)
    assert received(receiver, "a") == [0, 0, 1]


@pytest.mark.parametrize("policy", ["continue", "block"])
async def test_when_the_head_dies(queue: Queue, receiver: Receiver, work: Work, policy: str) -> None:
    target = await ordered(queue, receiver, schedule=(), has_breaker=False, ordering_policy=policy)
    receiver.plans["/in"] = [status(500), status(200)]
    await accept(queue, target, "a", 0)
    await accept(queue, target, "a", 1)
    await work()
    if policy == "continue":
        await queue.until_states(dead=1, delivered=1)
        return
    await queue.until_states(dead=1, waiting=1)
    await accept(queue, target, "b", 0)
    await queue.until_states(dead=1, waiting=1, delivered=1)
    [dead] = await queue.sql("SELECT id FROM deliveries_finished WHERE state = 'dead'")
    assert await sync_to_async(delivery_discard)(delivery_ids=[dead["id"]], by=None) == [dead["id"]]
    await queue.until_states(discarded=1, delivered=2)
    assert received(receiver, "a") == [0, 1]


async def test_a_replay_waits_for_who_is_under_way_and_goes_before_the_rest(
    queue: Queue, receiver: Receiver, work: Work
) -> None:
    target = await ordered(queue, receiver, schedule=(), has_breaker=False)
    receiver.plans["/in"] = [status(500), status(200)]
    await accept(queue, target, "a", 0)
    await work()
    await queue.until_states(dead=1)
    receiver.hold("/in")
    await accept(queue, target, "a", 1)
    await receiver.until("/in", 2)
    await accept(queue, target, "a", 2)
    [dead] = await queue.sql("SELECT id FROM deliveries_finished WHERE state = 'dead'")
    await sync_to_async(services.delivery_replay)(delivery_ids=[dead["id"]], by=None)
    await queue.until_states(sending=1, waiting=2)
    assert received(receiver, "a") == [0, 1]
    receiver.release("/in")
    await queue.until_states(delivered=3)
    assert received(receiver, "a") == [0, 1, 0, 2]


async def test_what_a_killed_worker_had_goes_first_once_its_lease_ends(
    queue: Queue, receiver: Receiver, work: Work
) -> None:
    target = await ordered(queue, receiver)
    await accept(queue, target, "a", 0)
    await queue.sql(
        "UPDATE deliveries_live SET state = 'sending', claim_id = gen_random_uuid(), attempt_count = 1,"
        " next_attempt_at = now() + interval '1 hour'"
    )
    await accept(queue, target, "a", 1)
    await accept(queue, target, "b", 0)
    await work()
    await work()
    await queue.until_states(sending=1, waiting=1, delivered=1)
    assert received(receiver, "a") == []
    await queue.sql("UPDATE deliveries_live SET next_attempt_at = now() WHERE state = 'sending'")
    await queue.until_states(delivered=3)
    assert received(receiver, "a") == [0, 1]

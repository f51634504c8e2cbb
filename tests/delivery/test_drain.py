"""The whole way: rows that the edge committed, real targets, and what the rows say afterwards."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import redis
from standardwebhooks import Webhook

from relay_contract.intake import shard_of
from relay_contract.redis import keys
from tests.delivery.conftest import Work
from tests.delivery.queue import BODY, Queue, until
from tests.delivery.receiver import Receiver, drip, status


async def test_a_delivery_arrives_signed_with_the_callers_bytes(queue: Queue, receiver: Receiver, work: Work) -> None:
    static = {"X-Static": "s", "content-type": "application/cloudevents+json"}
    target = await queue.target(f"{receiver.url}/in?a=%2F", headers=static)
    [accepted] = await queue.accept(target, headers={"x-trace": "t1", "x-static": "callers"})
    await work()
    [call] = await receiver.until("/in?a=%2F", 1)
    row = await queue.until(accepted.deliveries[0], "delivered")

    assert call.body == BODY
    Webhook(target.secret).verify(call.body, dict(call.headers))
    sent = dict(call.headers)
    signature, timestamp = sent.pop("webhook-signature"), int(sent.pop("webhook-timestamp"))
    assert signature.startswith("v1,")
    assert abs(timestamp - datetime.now(UTC).timestamp()) < 60
    assert sent == {
        "host": receiver.url.removeprefix("http://"),
        "accept": "*/*",
        "content-length": str(len(BODY)),
        "content-type": "application/cloudevents+json",
        "user-agent": "Relay/1",
        "webhook-id": str(accepted.request_id),
        "relay-delivery-id": str(accepted.deliveries[0]),
        "relay-attempt": "1",
        "x-trace": "t1",
        "x-static": "s",
    }
    assert (row["last_status"], row["last_error"], row["dead_reason"]) == (200, "", "")
    assert (row["next_attempt_at"], row["claim_id"], row["attempt_count"]) == (None, None, 1)
    assert row["finished_at"] is not None
    [attempt] = await queue.attempts(accepted.deliveries[0])
    assert (attempt["number"], attempt["replay"], attempt["outcome"]) == (1, 0, "delivered")
    assert (attempt["status"], attempt["error"], attempt["url"]) == (200, "", f"{receiver.url}/in?a=%2F")


async def test_a_failure_waits_in_its_row_and_is_tried_again(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.plans["/in"] = [status(503, body=b"later"), status(204)]
    delivery = await queue.accept_one(await queue.target(f"{receiver.url}/in", schedule=(100,)))
    await work()
    row = await queue.until(delivery, "pending")
    assert 70 < row["wait_seconds"] <= 120  # 100 s, spread by a fifth either way
    assert (row["last_status"], row["claim_id"], row["finished_at"]) == (503, None, None)

    await queue.make_due(delivery)
    row = await queue.until(delivery, "delivered", attempts=2)
    assert (row["last_status"], row["attempt_count"]) == (204, 2)
    first, second = receiver.at("/in")
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert (first.headers["relay-attempt"], second.headers["relay-attempt"]) == ("1", "2")
    attempts = await queue.attempts(delivery)
    assert [(a["number"], a["outcome"], a["status"], a["response_body"]) for a in attempts] == [
        (1, "retry", 503, b"later"),
        (2, "delivered", 204, b""),
    ]


async def test_the_last_failure_goes_to_the_failure_queue(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.plans["/in"] = [status(500)]
    delivery = await queue.accept_one(await queue.target(f"{receiver.url}/in", schedule=(100,)))
    await work()
    await queue.until(delivery, "pending")
    await queue.make_due(delivery)
    row = await queue.until(delivery, "dead", attempts=2)
    assert (row["dead_reason"], row["next_attempt_at"], row["last_status"]) == ("attempts_exhausted", None, 500)
    assert row["finished_at"] is not None
    assert [a["outcome"] for a in await queue.attempts(delivery)] == ["retry", "dead"]


@pytest.mark.parametrize(("code", "reason"), [(410, "target_gone"), (422, "permanent_failure")])
async def test_a_final_no_is_not_repeated(queue: Queue, receiver: Receiver, work: Work, code: int, reason: str) -> None:
    receiver.plans["/in"] = [status(code)]
    delivery = await queue.accept_one(await queue.target(f"{receiver.url}/in"))
    await work()
    row = await queue.until(delivery, "dead")
    assert (row["dead_reason"], row["last_status"], row["attempt_count"]) == (reason, code, 1)
    assert len(receiver.calls) == 1


async def test_a_redirect_is_a_failure_and_is_not_followed(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.plans["/in"] = [status(302, f"Location: {receiver.url}/elsewhere")]
    delivery = await queue.accept_one(await queue.target(f"{receiver.url}/in"))
    await work()
    assert (await queue.until(delivery, "pending"))["last_status"] == 302
    assert receiver.at("/elsewhere") == []


@pytest.mark.parametrize("as_date", [False, True])
async def test_retry_after_is_waited_for(queue: Queue, receiver: Receiver, work: Work, as_date: bool) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True)
    receiver.plans["/in"] = [status(429, f"Retry-After: {date if as_date else 120}")]
    delivery = await queue.accept_one(await queue.target(f"{receiver.url}/in", schedule=(5,)))
    begun = datetime.now(UTC)
    await work()
    row = await queue.until(delivery, "pending")
    assert row["next_attempt_at"] >= begun + timedelta(seconds=118 if as_date else 120)  # a date has whole seconds
    assert row["wait_seconds"] <= 121


async def test_a_slow_drip_ends_at_the_deadline(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.plans["/in"] = [drip]
    delivery = await queue.accept_one(await queue.target(f"{receiver.url}/in", timeout_seconds=1))
    await work()
    row = await queue.until(delivery, "pending")
    assert (row["last_error"], row["last_status"]) == ("timeout", 200)
    [attempt] = await queue.attempts(delivery)
    assert attempt["duration_ms"] >= 1000
    assert set(attempt["response_body"]) == {ord(".")}
    assert attempt["is_response_cut"]


async def test_a_refused_address_is_never_connected(queue: Queue, receiver: Receiver, work: Work) -> None:
    by_name = await queue.accept_one(await queue.target(receiver.url.replace("127.0.0.1", "localhost")))
    literal = await queue.accept_one(await queue.target(receiver.url))
    await work(RELAY_EGRESS_ALLOW="10.0.0.0/8")
    for delivery in (by_name, literal):
        row = await queue.until(delivery, "dead")
        assert (row["dead_reason"], row["last_error"], row["last_status"]) == (
            "address_refused",
            "address_refused",
            None,
        )
    assert receiver.connections == 0


async def test_what_cannot_be_sent_any_more_is_dead(queue: Queue, receiver: Receiver, work: Work) -> None:
    deleted, kept = await queue.target(receiver.url), await queue.target(receiver.url)
    without_target = await queue.accept_one(deleted)
    [forgotten] = await queue.accept(kept)
    await queue.delete_targets(deleted)
    await queue.sql("DELETE FROM deliveries_payload WHERE request_id = %s", forgotten.request_id)
    await work()
    assert (await queue.until(without_target, "dead"))["dead_reason"] == "target_deleted"
    assert (await queue.until(forgotten.deliveries[0], "dead"))["dead_reason"] == "payload_expired"
    assert receiver.calls == []


async def test_a_hanging_target_does_not_keep_its_shard_from_resting(
    queue: Queue, receiver: Receiver, work: Work, redis_url: str
) -> None:
    """A shard that rests is woken at once by the next call; one that looks again and again is not."""
    receiver.hold("/hung")
    target = await queue.target(f"{receiver.url}/hung")
    await queue.accept(target, calls=5)
    with redis.Redis.from_url(redis_url) as client:

        async def is_let_go() -> bool:
            return not client.exists(keys.wake(shard_of(target.id)))

        await work(RELAY_DELIVERY_IN_FLIGHT_PER_TARGET="2")
        await queue.until_states(sending=2, waiting=3)
        await until(is_let_go)
        receiver.release("/hung")
        await queue.until_states(delivered=5)


async def test_a_hanging_target_holds_its_own_slots_only(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.hold("/hung")
    hung = await queue.target(f"{receiver.url}/hung")
    await queue.accept(hung, calls=40)  # due before everything else
    drainer = await work(RELAY_DELIVERY_IN_FLIGHT="16", RELAY_DELIVERY_IN_FLIGHT_PER_TARGET="4")
    await receiver.until("/hung", 4)
    # The same shard, and more than the slots that are left: they come free one after the other.
    swift = await queue.target(f"{receiver.url}/swift", shard_mate=hung)
    assert shard_of(swift.id) == shard_of(hung.id)
    await queue.accept(swift, calls=60)
    await queue.until_states(delivered=60, sending=4, pending=36)
    assert len(receiver.at("/hung")) == 4
    assert drainer.figures.in_flight == 4
    receiver.release("/hung")
    await queue.until_states(delivered=100)
    assert len(receiver.at("/hung")) == 40


async def test_retries_survive_the_loss_of_everything_in_redis(
    queue: Queue, receiver: Receiver, work: Work, redis_url: str
) -> None:
    receiver.plans["/in"] = [status(500), status(200)]
    target = await queue.target(f"{receiver.url}/in", schedule=(1, 1, 1))
    delivery = await queue.accept_one(target)
    await work()
    await queue.until(delivery, "pending")
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    await queue.until(delivery, "delivered", attempts=2)


async def test_delivers_without_redis(queue: Queue, receiver: Receiver, work: Work, free_port: int) -> None:
    drainer = await work(redis_url=f"redis://127.0.0.1:{free_port}/0")
    delivery = await queue.accept_one(await queue.target(f"{receiver.url}/in"))
    await queue.until(delivery, "delivered")

    async def was_missed() -> bool:
        return drainer.wake_failures > 0

    await until(was_missed)


async def test_a_wake_key_stands_while_a_shard_is_busy_and_goes_with_it(
    queue: Queue, receiver: Receiver, work: Work, redis_url: str
) -> None:
    receiver.hold("/in")
    target = await queue.target(f"{receiver.url}/in")
    drainer = await work(RELAY_DELIVERY_IN_FLIGHT_PER_TARGET="1")
    await queue.accept(target, calls=2)  # the second has no room: the shard stays busy
    drained = asyncio.create_task(drainer.drain(shard_of(target.id)))
    await receiver.until("/in", 1)
    with redis.Redis.from_url(redis_url) as client:

        async def is_held() -> bool:
            return client.exists(keys.wake(shard_of(target.id))) == 1

        await until(is_held)
        assert await asyncio.wait_for(drainer.drain(shard_of(target.id)), 30) is None  # a second one does not wait
        assert not drained.done()
        receiver.release("/in")
        await asyncio.wait_for(drained, 30)
        assert await queue.states() == {"delivered": 2}
        assert client.exists(keys.wake(shard_of(target.id))) == 0


async def test_goes_on_after_postgres_broke_off(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.hold("/in")
    target = await queue.target(f"{receiver.url}/in")
    during = await queue.accept_one(target)
    await work()
    await receiver.until("/in", 1)
    broken = await queue.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'relay-delivery-%%'"
        " AND datname = current_database()"
    )
    assert len(broken) >= 2
    after = await queue.accept_one(target)
    receiver.release("/in")
    for delivery in (during, after):
        row = await queue.until(delivery, "delivered")
        assert row["attempt_count"] == 1
        assert len(await queue.attempts(delivery)) == 1


async def test_a_stop_finishes_what_is_in_flight(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.hold("/in")
    target = await queue.target(f"{receiver.url}/in")
    delivery = await queue.accept_one(target)
    drainer = await work(grace_seconds=30)
    await receiver.until("/in", 1)
    drainer.stop()
    late = await queue.accept_one(target)
    receiver.release("/in")
    await queue.until(delivery, "delivered")
    assert (await queue.delivery(late))["attempt_count"] == 0


async def test_a_stop_gives_back_what_does_not_finish(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.hold("/in")
    delivery = await queue.accept_one(await queue.target(f"{receiver.url}/in"))
    drainer = await work(grace_seconds=0)
    await receiver.until("/in", 1)
    drainer.stop()
    row = await queue.until(delivery, "pending")
    assert row["wait_seconds"] <= 0
    assert row["claim_id"] is None
    [attempt] = await queue.attempts(delivery)
    assert (attempt["outcome"], attempt["error"]) == ("lease_lost", "worker_stopped")

"""Claims and records at the rows themselves: who gets what, for how long, and whose result counts."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async

from delivery.attempt import Answer, Claim, Destination, Fault
from delivery.claims import LEASE_MARGIN_SECONDS, MAX_LOST_LEASES, Claims, Room
from delivery.contents import Contents
from delivery.database import Connection
from delivery.destinations import Destinations
from delivery.due_scan import due_ages
from delivery.outcome import Again, Delivered
from delivery.record import RECORD, Recorder, Result, columns_of, result_of
from relay_admin.deliveries import services
from relay_admin.deliveries.models import AttemptOutcome
from relay_contract.intake import SHARDS, DeadReason, DeliveryState, shard_of
from relay_contract.sealing import Sealer
from tests.delivery.conftest import Work, settings_for
from tests.delivery.queue import BODY, Queue
from tests.delivery.receiver import Receiver

ALL_SHARDS = list(range(SHARDS))
URL = "http://127.0.0.1:9/never-called"


def room(deliveries: int = 256, per_target: int = 64, body_bytes: int = 1 << 26, **in_flight: int) -> Room:
    return Room(deliveries, body_bytes, per_target, {int(name[1:]): count for name, count in in_flight.items()})


@pytest_asyncio.fixture
async def worker(database_url: str, redis_url: str) -> AsyncIterator[Callable[[], tuple[Claims, Connection]]]:
    """Each call is another worker: its claims, and its connection for records."""
    settings = settings_for(database_url, redis_url)
    opened: list[Connection] = []

    def one() -> tuple[Claims, Connection]:
        opened.extend(Connection(settings.database_url, "test") for _ in range(2))
        destinations = Destinations(Sealer(*settings.master_keys), opened[-2])
        return Claims(opened[-2], destinations, Contents(opened[-2])), opened[-1]

    yield one
    for connection in opened:
        await connection.close()


Worker = Callable[[], tuple[Claims, Connection]]


async def record(connection: Connection, *results: Result) -> int:
    """Write as the recorder does; how many fences that were lost."""
    recorded = asyncio.Event()
    recorder = Recorder(connection, lambda _: recorded.set())
    running = asyncio.create_task(recorder.run())
    for result in results:
        recorder.put(result)
    await asyncio.wait_for(recorded.wait(), 30)
    running.cancel()
    return recorder.fences_lost


def delivered(claim: Claim) -> Result:
    return result_of(claim, Answer(datetime.now(UTC), 7, 200, None, excerpt=b"ok"), Delivered(), 1.0)


async def test_a_claim_carries_all_that_an_attempt_needs(queue: Queue, worker: Worker) -> None:
    target = await queue.target(URL, timeout_seconds=7, schedule=(3, 4), headers={"X-A": "b"})
    [accepted] = await queue.accept(target, headers={"x-trace": "t"}, content_type="text/plain")
    claims, _ = worker()
    [claim] = await claims.take(ALL_SHARDS, room())
    destination = claim.destination
    assert isinstance(destination, Destination)
    assert (str(destination.url), dict(destination.headers)) == (URL, {"x-a": "b"})
    assert (destination.timeout_seconds, destination.retry_schedule_seconds) == (7, (3, 4))
    assert (claim.delivery_id, claim.request_id) == (accepted.deliveries[0], accepted.request_id)
    assert (claim.target_id, claim.shard, claim.number, claim.replay) == (target.id, shard_of(target.id), 1, 0)
    assert (claim.content_type, dict(claim.request_headers), claim.body) == ("text/plain", {"x-trace": "t"}, BODY)
    row = await queue.delivery(claim.delivery_id)
    assert (row["state"], row["claim_id"], row["attempt_count"]) == ("sending", claim.claim_id, 1)
    assert 7 + LEASE_MARGIN_SECONDS - 5 < row["wait_seconds"] <= 7 + LEASE_MARGIN_SECONDS


class _Edited(Destinations):
    """Somebody saves the target with a longer timeout between the claim and its being loaded."""

    queue: Queue

    async def of(self, wanted: Collection[tuple[int, int]]) -> Mapping[int, Destination | Fault]:
        await self.queue.sql("UPDATE catalog_target SET timeout_seconds = 300")
        return await super().of(wanted)


async def test_a_lease_outlasts_its_attempt_whatever_is_saved_meanwhile(
    queue: Queue, database_url: str, redis_url: str
) -> None:
    await queue.accept(await queue.target(URL, timeout_seconds=5))
    connection = Connection(database_url, "test")
    destinations = _Edited(Sealer(*settings_for(database_url, redis_url).master_keys), connection)
    destinations.queue = queue
    [claim] = await Claims(connection, destinations, Contents(connection)).take(ALL_SHARDS, room())
    await connection.close()
    assert isinstance(claim.destination, Destination)
    lease = (await queue.delivery(claim.delivery_id))["wait_seconds"]
    assert claim.destination.timeout_seconds == 5
    assert claim.destination.timeout_seconds < lease <= 5 + LEASE_MARGIN_SECONDS


async def test_only_what_is_due_in_an_asked_shard_is_claimed(queue: Queue, worker: Worker) -> None:
    first, second = await queue.target(URL), await queue.target(URL)
    later, due, elsewhere = [await queue.accept_one(target) for target in (first, first, second)]
    await queue.sql("UPDATE deliveries_live SET next_attempt_at = now() + interval '1 hour' WHERE id = %s", later)
    claims, _ = worker()
    assert [claim.delivery_id for claim in await claims.take([shard_of(first.id)], room())] == [due]
    assert [claim.delivery_id for claim in await claims.take(ALL_SHARDS, room())] == [elsewhere]
    assert await claims.take(ALL_SHARDS, room()) == []


async def test_shards_share_a_claim_and_the_longest_due_come_first(queue: Queue, worker: Worker) -> None:
    targets = [await queue.target(URL) for _ in range(SHARDS)]
    await queue.accept(targets[0], calls=50)
    await queue.accept(*targets[1:], calls=50)
    oldest = await queue.accept_one(targets[0])
    await queue.sql("UPDATE deliveries_live SET next_attempt_at = now() - interval '1 hour' WHERE id = %s", oldest)
    claims, _ = worker()
    found = await claims.take(ALL_SHARDS, room(deliveries=20))
    assert Counter(claim.shard for claim in found) == dict.fromkeys(ALL_SHARDS, 5)
    assert oldest in {claim.delivery_id for claim in found}


async def test_no_target_gets_more_than_its_room(queue: Queue, worker: Worker) -> None:
    first = await queue.target(URL)
    second, third = [await queue.target(URL, shard_mate=first) for _ in range(1)] + [await queue.target(URL)]
    await queue.accept(first, calls=30)
    await queue.accept(second, third, calls=30)
    claims, _ = worker()
    in_flight = {f"t{first.id}": 8, f"t{second.id}": 10}
    found = await claims.take(ALL_SHARDS, room(per_target=10, **in_flight))
    assert Counter(claim.target_id for claim in found) == {first.id: 2, third.id: 10}


async def test_bodies_do_not_outgrow_memory(queue: Queue, worker: Worker) -> None:
    await queue.accept(await queue.target(URL), calls=10, body=b"x" * 1000)
    claims, _ = worker()
    assert len(await claims.take(ALL_SHARDS, room(body_bytes=3500))) == 3
    assert await claims.take(ALL_SHARDS, room(body_bytes=999)) == []


async def test_workers_that_claim_at_once_share_without_overlap(queue: Queue, worker: Worker) -> None:
    targets = [await queue.target(URL) for _ in range(SHARDS)]
    await queue.accept(*targets, calls=100)

    async def claim_all(claims: Claims) -> list[Claim]:
        found: list[Claim] = []
        for _ in range(60):
            found += await claims.take(ALL_SHARDS, room(deliveries=20))
        return found

    taken = [claim for found in await asyncio.gather(*(claim_all(worker()[0]) for _ in range(4))) for claim in found]
    assert len(taken) == len({claim.delivery_id for claim in taken}) == 100 * SHARDS


async def test_a_dead_workers_claim_is_taken_over_and_its_late_result_changes_nothing(
    queue: Queue, receiver: Receiver, worker: Worker, work: Work
) -> None:
    delivery = await queue.accept_one(await queue.target(f"{receiver.url}/in", timeout_seconds=9))
    dead, dead_connection = worker()
    [lost] = await dead.take(ALL_SHARDS, room())
    other, _ = worker()
    assert await other.take(ALL_SHARDS, room()) == []  # the lease holds
    await queue.make_due(delivery)
    await work()
    finished = await queue.until(delivery, "delivered", attempts=2)
    assert receiver.calls[0].headers["relay-attempt"] == "2"
    before = await queue.delivery(delivery)

    late = result_of(lost, Answer(datetime.now(UTC), 5, 500, None), Again(), 1.0)
    assert await record(dead_connection, late) == 1
    assert await queue.delivery(delivery) == before == finished
    attempts = await queue.attempts(delivery)
    assert [(a["number"], a["outcome"], a["status"]) for a in attempts] == [
        (1, "lease_lost", None),
        (2, "delivered", 200),
        (1, "late", 500),
    ]
    assert attempts[0]["duration_ms"] == 1000 * (9 + LEASE_MARGIN_SECONDS)


async def test_a_replay_is_not_answered_by_a_late_worker(queue: Queue, worker: Worker) -> None:
    delivery = await queue.accept_one(await queue.target(URL))
    claims, connection = worker()
    [late] = await claims.take(ALL_SHARDS, room())
    await queue.make_due(delivery)
    [claim] = await worker()[0].take(ALL_SHARDS, room())
    gone = Answer(datetime.now(UTC), 5, 410, None)
    dead = Result(claim, gone, AttemptOutcome.DEAD, DeliveryState.DEAD, None, DeadReason.TARGET_GONE)
    assert await record(connection, dead) == 0
    await sync_to_async(services.delivery_replay)(delivery_ids=[delivery], by=None)
    before = await queue.delivery(delivery)
    assert (before["state"], before["replay_count"], before["attempt_count"]) == ("pending", 1, 0)
    for result in (delivered(late), dead):
        assert await record(connection, result) == 1
    after = await queue.delivery(delivery)
    assert {**after, "wait_seconds": 0} == {**before, "wait_seconds": 0}


async def test_a_delivery_that_takes_every_worker_with_it_ends_in_the_failure_queue(
    queue: Queue, receiver: Receiver, worker: Worker, work: Work
) -> None:
    delivery = await queue.accept_one(await queue.target(f"{receiver.url}/in", schedule=()))
    claims, _ = worker()
    for _ in range(1 + MAX_LOST_LEASES):
        [claim] = await claims.take(ALL_SHARDS, room())
        assert isinstance(claim.destination, Destination)
        await queue.make_due(delivery)
    await work()
    row = await queue.until(delivery, "dead")
    assert (row["dead_reason"], row["last_error"]) == ("attempts_exhausted", "leases_lost")
    assert receiver.calls == []


async def test_a_record_written_twice_is_one_attempt(queue: Queue, worker: Worker) -> None:
    """As after a connection that broke between commit and answer."""
    delivery = await queue.accept_one(await queue.target(URL))
    claims, connection = worker()
    [claim] = await claims.take(ALL_SHARDS, room())
    arrays = columns_of([delivered(claim)])
    assert await connection.rows(RECORD, arrays) == [(1,)]
    assert await connection.rows(RECORD, arrays) == [(0,)]
    assert [a["number"] for a in await queue.attempts(delivery)] == [1]
    assert (await queue.delivery(delivery))["state"] == "delivered"


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("url", "http://127.0.0.1:1/a b", Fault.BAD_URL),
        ("url", "ftp://example.com/", Fault.BAD_URL),
        ("headers", '{"x-a": "b\\r\\nx-c: d"}', Fault.BAD_HEADER),
        ("headers", '{"webhook-id": "mine"}', Fault.BAD_HEADER),
        ("headers", "[1]", Fault.BAD_HEADER),
    ],
)
async def test_a_row_written_past_the_admin_harms_nobody_else(
    queue: Queue, worker: Worker, column: str, value: object, fault: Fault
) -> None:
    bad, good = await queue.target(URL), await queue.target(URL)
    await queue.sql(f"UPDATE catalog_target SET {column} = %s WHERE id = %s", value, bad.id)
    await queue.accept(bad, good)
    claims, _ = worker()
    found = {claim.target_id: claim.destination for claim in await claims.take(ALL_SHARDS, room())}
    assert found[bad.id] == fault
    assert isinstance(found[good.id], Destination)


@pytest.mark.parametrize("headers", ["[1]", '{"x-a": 1}', "null"])
async def test_a_request_that_no_edge_wrote_harms_nobody_else(queue: Queue, worker: Worker, headers: str) -> None:
    bad, good = await queue.target(URL), await queue.target(URL)
    await queue.accept(bad)
    await queue.sql("UPDATE deliveries_request SET headers = %s", headers)
    await queue.accept(good)
    claims, _ = worker()
    found = {claim.target_id: claim.destination for claim in await claims.take(ALL_SHARDS, room())}
    assert found[bad.id] == Fault.BAD_HEADER
    assert isinstance(found[good.id], Destination)


async def test_an_edited_target_is_seen_by_the_next_claim(queue: Queue, worker: Worker) -> None:
    target = await queue.target(URL)
    await queue.accept(target, calls=2)
    claims, _ = worker()
    await claims.take(ALL_SHARDS, room(per_target=1))
    await queue.sql("UPDATE catalog_target SET url = 'http://127.0.0.1:9/moved'")
    [claim] = await claims.take(ALL_SHARDS, room())
    assert isinstance(claim.destination, Destination)
    assert str(claim.destination.url) == "http://127.0.0.1:9/moved"


async def test_the_due_scan_meets_every_shard_that_has_something(queue: Queue, worker: Worker) -> None:
    targets = [await queue.target(URL) for _ in range(2)]
    late, waiting, other = [await queue.accept_one(target) for target in (targets[0], targets[1], targets[1])]
    await queue.sql("UPDATE deliveries_live SET next_attempt_at = now() + interval '1 hour' WHERE id = %s", waiting)
    await queue.sql(
        "UPDATE deliveries_live SET next_attempt_at = now() - interval '10 seconds', shard = 63 WHERE id = %s", late
    )
    _, connection = worker()
    ages = await due_ages(connection)
    assert ages.keys() == {63, shard_of(targets[1].id)}
    assert 10 <= ages[63] < 60
    await queue.sql("DELETE FROM deliveries_live WHERE id = ANY(%s)", [late, other])
    assert await due_ages(connection) == {}

"""Who pays: the close of a delivery's hold, once whatever happens around it."""

import asyncio
from datetime import UTC, date, datetime

import pytest
from asgiref.sync import sync_to_async

from delivery import charges
from delivery.attempt import Answer, Fault
from delivery.record import RECORD, columns_of
from relay_admin.deliveries import services
from relay_admin.ledger import proofs, reconcile
from tests.delivery.conftest import Work
from tests.delivery.queue import Queue
from tests.delivery.receiver import Receiver, status
from tests.delivery.test_claims import ALL_SHARDS, URL, Worker, delivered, room, worker  # noqa: F401 (a fixture)

CREDIT = 1_000_000
NOW = datetime(2026, 11, 21, tzinfo=UTC)


async def problems() -> list[reconcile.Problem | proofs.Drift]:
    """Also what the accounts say, of which a worker may be folding some right now."""
    drifts = await sync_to_async(proofs.drifts)(date(2020, 1, 1))
    return [*await sync_to_async(reconcile.problems)(), *drifts]


async def test_a_delivery_is_settled_for_its_size(queue: Queue, receiver: Receiver, work: Work) -> None:
    delivery = await queue.accept_one(await queue.target(receiver.url), body=b"x" * 65_536)
    assert await queue.charges(delivery) == [(0, "hold", 2 * CREDIT)]
    await work()
    await queue.until(delivery, "delivered")
    assert await queue.charges(delivery) == [(0, "hold", 2 * CREDIT), (0, "settle", 2 * CREDIT)]
    assert await problems() == []


async def test_a_target_that_refuses_pays_and_its_replay_is_free(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.plans["/in"] = [status(400)]
    delivery = await queue.accept_one(await queue.target(f"{receiver.url}/in"))
    await work()
    await queue.until(delivery, "dead")
    await sync_to_async(services.delivery_replay)(delivery_ids=[delivery], by=None)
    await queue.until(delivery, "dead", attempts=2)
    first = [(0, "hold", CREDIT), (0, "settle", CREDIT)]
    assert await queue.charges(delivery) == [*first, (1, "hold", 0), (1, "settle", 0)]
    assert await problems() == []


async def test_what_fails_on_our_side_costs_nothing(queue: Queue, work: Work) -> None:
    delivery = await queue.accept_one(await queue.target("http://169.254.169.254/"))
    await work()
    await queue.until(delivery, "dead")
    assert await queue.charges(delivery) == [(0, "hold", CREDIT), (0, "release", CREDIT)]


@pytest.mark.parametrize(("was_contacted", "kind"), [(True, "settle"), (False, "release")])
async def test_a_deleted_target_pays_if_it_was_called(queue: Queue, work: Work, was_contacted: bool, kind: str) -> None:
    target = await queue.target(URL)
    delivery = await queue.accept_one(target)
    await queue.sql("UPDATE deliveries_live SET was_contacted = %s", was_contacted)
    await queue.delete_targets(target)
    await work()
    await queue.until(delivery, "dead")
    assert [row[1] for row in await queue.charges(delivery)] == ["hold", kind]


async def test_two_workers_with_one_delivery_close_it_once(
    queue: Queue,
    worker: Worker,  # noqa: F811 (the fixture)
) -> None:
    delivery = await queue.accept_one(await queue.target(URL))
    claims, connection = worker()
    other_claims, other = worker()
    [late] = await claims.take(ALL_SHARDS, room())
    await queue.make_due(delivery)
    [claim] = await other_claims.take(ALL_SHARDS, room())
    arrays = [columns_of([delivered(each)]) for each in (late, claim)]
    done = await asyncio.gather(connection.rows(RECORD, arrays[0]), other.rows(RECORD, arrays[1]))
    assert sorted(done) == [[(0,)], [(1,)]]
    assert [row[1] for row in await queue.charges(delivery)] == ["hold", "settle"]
    assert sorted(row["outcome"] for row in await queue.attempts(delivery)) == ["delivered", "late", "lease_lost"]
    assert await problems() == []


@pytest.mark.parametrize("fault", list(Fault))
def test_every_fault_is_somebody_s(fault: Fault) -> None:
    answer = Answer(NOW, 1, None, fault)
    closes_as = charges.closes_as(answer)
    assert closes_as in (charges.SETTLE, charges.RELEASE, charges.BY_CONTACT)
    assert not (closes_as == charges.RELEASE and charges.is_contact(answer))

"""Shadows: what they are sent, what is kept of their answers, and how those compare."""

import json
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async

from delivery.compare import WAIT_SECONDS, compare_due
from delivery.database import Connection
from relay_admin.ledger import reconcile
from relay_contract import intake
from tests.delivery.conftest import Work
from tests.delivery.queue import Queue, Target, until
from tests.delivery.receiver import Receiver, reset, status


async def pair(queue: Queue, receiver: Receiver, live: Any, shadow: Any) -> tuple[Target, Target]:
    """A live target and a shadow that is held against it, and what each answers."""
    targets = []
    for name, plan in (("live", live), ("shadow", shadow)):
        receiver.plans[f"/{name}"] = [plan]
        targets.append(await queue.target(f"{receiver.url}/{name}", schedule=()))
    await queue.sql(
        "UPDATE catalog_target SET role = 'shadow', compares_with = %s, compare_ignore = '{meta.at}' WHERE id = %s",
        f"target-{targets[0].id}",
        targets[1].id,
    )
    return targets[0], targets[1]


async def accept(queue: Queue, live: Target, shadow: Target) -> tuple[UUID, UUID]:
    """A call to both, as the edge's plan marks it; nobody may work on the queue yet."""
    [accepted] = await queue.accept(live, shadow)
    await queue.sql("UPDATE deliveries_live SET is_compared = true, is_shadow = target_id = %s", shadow.id)
    return accepted.deliveries[0], accepted.deliveries[1]


async def comparison(queue: Queue, delivery_id: UUID) -> dict[str, Any]:
    """The one of a shadow's delivery, once it is there."""

    async def found() -> bool:
        return bool(await queue.sql("SELECT 1 FROM deliveries_comparison WHERE delivery_id = %s", delivery_id))

    await until(found)
    [row] = await queue.sql("SELECT * FROM deliveries_comparison WHERE delivery_id = %s", delivery_id)
    return row


def answers(document: Any, code: int = 200) -> Any:
    return status(code, body=json.dumps(document).encode())


async def test_answers_that_differ_are_told_apart(queue: Queue, receiver: Receiver, work: Work) -> None:
    live = {"total": 5, "items": [1, 2], "meta": {"at": 1}}
    shadow = {"items": [1, 3], "total": 5.0, "meta": {"at": 2}}
    targets = await pair(queue, receiver, answers(live), answers(shadow))
    live_id, shadow_id = await accept(queue, *targets)
    await work()
    row = await comparison(queue, shadow_id)
    assert (row["verdict"], row["status"], row["baseline_status"]) == ("body", 200, 200)
    assert row["differences"] == [{"path": "items[1]", "baseline": "2", "shadow": "3"}]
    assert (row["target_id"], row["baseline_target_id"]) == (targets[1].id, targets[0].id)
    assert receiver.at("/shadow")[0].headers["relay-shadow"] == "1"
    assert "relay-shadow" not in receiver.at("/live")[0].headers
    assert await queue.sql("SELECT delivery_id FROM deliveries_comparedanswer") == [{"delivery_id": live_id}]
    assert await sync_to_async(reconcile.problems)() == []


async def test_what_the_endpoint_hides_is_not_kept(queue: Queue, receiver: Receiver, work: Work) -> None:
    targets = await pair(queue, receiver, answers({"card": {"number": 4242}}), answers({"card": {"number": 4711}}))
    await queue.sql("UPDATE catalog_endpoint SET redactions = '{card.number}'")
    _, shadow_id = await accept(queue, *targets)
    await work()
    row = await comparison(queue, shadow_id)
    hidden = '"[redacted]"'
    assert row["verdict"] == "body"
    assert row["differences"] == [{"path": "card.number", "baseline": hidden, "shadow": hidden}]


async def test_a_sync_sibling_is_compared_too(queue: Queue, receiver: Receiver, work: Work, answer: Any) -> None:
    targets = await pair(queue, receiver, answers({"a": 1}), answers({"a": 2}))
    live_id, shadow_id = await accept(queue, *targets)
    await queue.sql("UPDATE catalog_target SET delivery_mode = 'sync' WHERE id = %s", targets[0].id)
    await queue.sql(
        "UPDATE deliveries_live SET mode = 'sync', shard = %s WHERE id = %s", intake.SYNC_SHARDS[0], live_id
    )
    await work()
    await answer()
    row = await comparison(queue, shadow_id)
    assert (row["verdict"], [each["path"] for each in row["differences"]]) == ("body", ["a"])


@pytest.mark.parametrize(
    ("plans", "verdict"),
    [
        ((answers({"a": 1, "b": 2}), answers({"b": 2, "a": 1})), "same"),
        ((answers({"a": 1}), answers({"a": 1}, 503)), "status"),
        ((answers({"a": 1}), answers({"a": 2}, 500)), "both"),
        ((status(200, body=b"one"), status(200, body=b"two")), "not_json"),
        ((answers({"a": 1}), reset), "no_answer"),
        ((answers({"a": "\0"}), answers({"a": "\0\0"})), "body"),
    ],
)
async def test_verdicts(queue: Queue, receiver: Receiver, work: Work, plans: Any, verdict: str) -> None:
    targets = await pair(queue, receiver, *plans)
    _, shadow_id = await accept(queue, *targets)
    await work()
    assert (await comparison(queue, shadow_id))["verdict"] == verdict


async def test_a_shadow_waits_for_its_sibling_and_not_for_ever(
    queue: Queue, receiver: Receiver, database_url: str
) -> None:
    live, shadow = await pair(queue, receiver, answers({}), answers({}))
    connection = Connection(database_url, "test")
    delivery_id = UUID(int=7)

    async def wait(seconds: int) -> None:
        await queue.sql("DELETE FROM deliveries_comparedanswer")
        await queue.sql(
            "INSERT INTO deliveries_comparedanswer VALUES (%s, %s, %s, true, 1, 200, '{}', false, 5,"
            " now() - make_interval(secs => %s))",
            delivery_id,
            UUID(int=8),
            shadow.id,
            seconds,
        )
        await compare_due(connection)

    await wait(WAIT_SECONDS - 60)
    assert await queue.sql("SELECT verdict FROM deliveries_comparison") == []
    await wait(WAIT_SECONDS + 1)
    assert await queue.sql("SELECT verdict FROM deliveries_comparison") == [{"verdict": "no_answer"}]
    assert await queue.sql("SELECT 1 FROM deliveries_comparedanswer") == []
    assert live.id != shadow.id
    await connection.close()


async def test_what_nobody_compares_is_forgotten(queue: Queue, receiver: Receiver, database_url: str) -> None:
    live, _ = await pair(queue, receiver, answers({}), answers({}))
    for number, age in ((1, 0), (2, 3 * WAIT_SECONDS)):
        await queue.sql(
            "INSERT INTO deliveries_comparedanswer VALUES (%s, %s, %s, false, 1, 200, '{}', false, 5,"
            " now() - make_interval(secs => %s))",
            UUID(int=number),
            UUID(int=8),
            live.id,
            age,
        )
    connection = Connection(database_url, "test")
    assert await compare_due(connection) is False
    await connection.close()
    assert await queue.sql("SELECT delivery_id FROM deliveries_comparedanswer") == [{"delivery_id": UUID(int=1)}]


async def test_a_stream_is_compared_by_its_status(queue: Queue, receiver: Receiver, work: Work) -> None:
    live, shadow = await pair(queue, receiver, answers({}), answers({"a": 1}))
    live_id, shadow_id = await accept(queue, live, shadow)
    await queue.sql(
        "UPDATE deliveries_live SET mode = 'stream', shard = %s, state = 'sending' WHERE id = %s",
        intake.STREAM_SHARD,
        live_id,
    )
    await queue.sql(
        "INSERT INTO deliveries_requestend SELECT request_id, id, created_at, 200, '', 200, 5, 9000, 10, 0, 'complete',"
        " true, '' FROM deliveries_live WHERE id = %s",
        live_id,
    )
    await work()
    row = await comparison(queue, shadow_id)
    assert (row["verdict"], row["baseline_status"], row["baseline_duration_ms"]) == ("same", 200, 9)


async def test_a_shadow_that_hangs_holds_up_nobody(queue: Queue, receiver: Receiver, work: Work) -> None:
    targets = await pair(queue, receiver, answers({}), answers({}))
    receiver.hold("/shadow")
    live_id, shadow_id = await accept(queue, *targets)
    await work()
    await receiver.until("/shadow", 1)
    await queue.until(live_id, "delivered")
    assert (await queue.delivery(shadow_id))["state"] == "sending"
    receiver.release("/shadow")
    assert (await comparison(queue, shadow_id))["verdict"] == "same"

"""Deliveries whose callers wait: sent once, recorded, and told to the edge that waits."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
import pytest_asyncio
import redis.asyncio

from delivery.attempt import Answer, Fault
from delivery.outcome import Dead, Delivered
from delivery.sync_answers import judge
from relay_contract import intake, replies
from relay_contract.credits import MICRO
from relay_contract.intake import DeadReason
from relay_contract.redis import keys
from relay_contract.replies import Reply
from tests import intake_rows
from tests.contract.test_client_certificates import KEYS, ROOT, client, demanding_context, pem_of
from tests.delivery.conftest import Work, WorkSync
from tests.delivery.queue import ENDPOINT_ID, PROJECT_ID, Accepted, Queue, Target, until
from tests.delivery.receiver import Receiver, drip, reset, status, then_close
from tests.delivery.test_needs import needs, oauth2, token

EDGE = "0123456789abcdef"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
BROKEN = {"connection_reset": reset, "response_broken_off": then_close(HALF)}
PAUSE = """INSERT INTO deliveries_targetstate (target_id, paused_until)
    SELECT id, now() + interval '1 min' FROM catalog_target
    ON CONFLICT (target_id) DO UPDATE SET paused_until = excluded.paused_until"""

Heard = Callable[[], Awaitable[Reply]]


async def accept(
    queue: Queue, target: Target, *, expire_seconds: int = 30, body: bytes = b"{}", **request: Any
) -> Accepted:
    """What the edge commits for a sync target alone."""
    row = intake_rows.request_row(project_id=PROJECT_ID, endpoint_id=ENDPOINT_ID, body_bytes=len(body), **request)
    delivery = intake_rows.delivery_row(
        request_id=row.id, project_id=PROJECT_ID, target_id=target.id, mode="sync", body_bytes=len(body),
        shard=intake.sync_shard_of(row.id), expire_seconds=expire_seconds, credits=MICRO, units=1,
    )  # fmt: skip
    arrays = [
        *intake.arrays(intake.RequestRow, [row]),
        *intake.arrays(intake.PayloadRow, [intake.PayloadRow(row.id, row.received_at, body)]),
        *intake.arrays(intake.DeliveryRow, [delivery]),
    ]
    await queue.insert(arrays)
    return Accepted(row.id, (delivery.id,))


@pytest_asyncio.fixture
async def heard(redis_url: str) -> AsyncIterator[Heard]:
    """What an edge hears on its channels, each reply once: where its edge is not known it is told twice."""
    known: set[UUID] = set()
    client = redis.asyncio.Redis.from_url(redis_url)
    async with client, client.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe(keys.reply(EDGE), keys.REPLY_ALL)
        await channel.get_message(timeout=5)  # the subscription is confirmed

        async def next_one() -> Reply:
            async with asyncio.timeout(20):
                while True:
                    message = await channel.get_message(ignore_subscribe_messages=True, timeout=1)
                    reply = None if message is None else replies.decode(message["data"])
                    if reply is not None and reply.request_id not in known:
                        known.add(reply.request_id)
                        return reply

        yield next_one


async def announce(redis_url: str, request_id: UUID) -> None:
    """Until a lane hears it."""
    async with redis.asyncio.Redis.from_url(redis_url) as client:

        async def is_heard() -> bool:
            return bool(await client.publish(keys.SYNC_WAKE, replies.encode_call(EDGE, request_id)))

        await until(is_heard)


async def test_the_targets_own_answer_is_told_and_recorded(
    queue: Queue, receiver: Receiver, answer: WorkSync, heard: Heard, redis_url: str
) -> None:
    receiver.plans["/in?b=2&a=%20x"] = [status(418, "X-Own: yes", "Set-Cookie: a=b", body=b"\0\xffshort")]
    target = await queue.target(f"{receiver.url}/in", headers={"X-Static": "1"})
    receiver.hold("/in?b=2&a=%20x")
    lane = await answer()
    accepted = await accept(queue, target, query="b=2&a=%20x", headers=json.dumps({"x-caller": "me"}), body=b"ask")
    await announce(redis_url, accepted.request_id)
    receiver.release("/in?b=2&a=%20x")
    reply = await heard()
    assert (reply.request_id, reply.status, reply.body) == (accepted.request_id, 418, b"\0\xffshort")
    assert ("X-Own", "yes") in reply.lines
    assert "set-cookie" not in {name.lower() for name, _ in reply.lines}
    [call] = receiver.calls
    assert (call.body, call.headers["x-static"], call.headers["x-caller"]) == (b"ask", "1", "me")
    assert call.headers["webhook-signature"].startswith("v1,")
    [delivery_id] = accepted.deliveries
    row = await queue.until(delivery_id, "delivered")
    assert (row["last_status"], row["attempt_count"], row["mode"]) == (418, 1, "sync")
    assert await queue.charges(delivery_id) == [(0, "hold", MICRO), (0, "settle", MICRO)]
    assert await queue.sql("SELECT 1 FROM deliveries_answer") == []
    assert lane.figures.outcomes["delivered"] == 1


@pytest.mark.parametrize("fault", list(BROKEN))
async def test_a_target_that_gives_no_answer_is_not_asked_again(
    queue: Queue, receiver: Receiver, answer: WorkSync, heard: Heard, fault: str
) -> None:
    receiver.plans["/in"] = [BROKEN[fault]]
    target = await queue.target(f"{receiver.url}/in", schedule=(0, 0, 0))
    await answer()
    accepted = await accept(queue, target)
    reply = await heard()
    assert (reply.status, reply.fault) == (0, fault)
    row = await queue.until(accepted.deliveries[0], "dead")
    assert (row["dead_reason"], row["last_error"]) == ("attempts_exhausted", fault)
    assert len(receiver.calls) == 1
    assert (await queue.charges(accepted.deliveries[0]))[1][1] == "settle"


async def test_an_answer_that_is_too_large_is_none(
    queue: Queue, receiver: Receiver, answer: WorkSync, heard: Heard, redis_url: str
) -> None:
    largest = status(200, body=b"x" * replies.MAX_ANSWER_BYTES)
    receiver.plans["/in"] = [largest, status(200, body=b"x" * (replies.MAX_ANSWER_BYTES + 1))]
    target = await queue.target(f"{receiver.url}/in")
    await answer()
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        accepted = await accept(queue, target)
        reply = await heard()
        assert (reply.status, reply.is_elsewhere, reply.body) == (200, True, b"")
        stored = await client.get(keys.answer(str(accepted.request_id)))
        assert stored == b"x" * replies.MAX_ANSWER_BYTES
        assert 0 < await client.pttl(keys.answer(str(accepted.request_id))) <= keys.ANSWER_TTL_MS
        await accept(queue, target)
        reply = await heard()
        assert (reply.status, reply.fault) == (0, "answer_too_large")


async def test_three_hundred_headers_are_no_answer(
    queue: Queue, receiver: Receiver, answer: WorkSync, heard: Heard
) -> None:
    many, large = (f"X-{n}: y" for n in range(300)), (f"X-{n}: {'y' * 8000}" for n in range(5))
    receiver.plans["/in"] = [status(200, *many), status(200, *large)]
    target = await queue.target(f"{receiver.url}/in")
    await answer()
    await accept(queue, target)
    assert (await heard()).fault == "invalid_response"  # the client's own limit
    await accept(queue, target)
    assert (await heard()).fault == "response_header_too_large"


async def test_a_dripping_answer_ends_a_little_after_its_caller_left(
    queue: Queue, receiver: Receiver, answer: WorkSync, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delivery.sync_claims.LATE_SECONDS", 0)
    receiver.plans["/in"] = [drip]
    target = await queue.target(f"{receiver.url}/in", timeout_seconds=1)
    await answer()
    accepted = await accept(queue, target, expire_seconds=1)
    assert (await heard()).fault == "timeout"
    row = await queue.until(accepted.deliveries[0], "dead")
    assert (row["last_error"], row["last_status"]) == ("timeout", 200)


async def test_an_answer_that_comes_late_is_on_record(
    queue: Queue, receiver: Receiver, answer: WorkSync, redis_url: str
) -> None:
    receiver.hold("/in")
    target = await queue.target(f"{receiver.url}/in", timeout_seconds=1)
    await answer()
    accepted = await accept(queue, target, expire_seconds=1)
    await receiver.until("/in", 1)

    async def has_expired() -> bool:
        [row] = await queue.sql("SELECT expires_at < now() AS late FROM deliveries_live")
        return bool(row["late"])

    await until(has_expired)
    receiver.release("/in")
    row = await queue.until(accepted.deliveries[0], "delivered")
    assert row["last_status"] == 200
    assert len(receiver.calls) == 1


async def test_an_answer_that_nobody_hears_lies_in_postgres(queue: Queue, receiver: Receiver, answer: WorkSync) -> None:
    receiver.plans["/in"] = [status(201, "X-Two: a", "x-two: b", body=b"kept")]
    target = await queue.target(f"{receiver.url}/in")
    lane = await answer(redis_url="redis://127.0.0.1:1/0")  # nobody listens there
    accepted = await accept(queue, target)

    async def is_kept() -> bool:
        return bool(await queue.sql("SELECT 1 FROM deliveries_answer"))

    await until(is_kept)
    [row] = await queue.sql("SELECT * FROM deliveries_answer")
    assert (row["request_id"], row["delivery_id"]) == (accepted.request_id, accepted.deliveries[0])
    assert (row["status"], bytes(row["body"]), row["is_cut"]) == (201, b"kept", False)
    assert row["headers"]["x-two"] == "a, b"
    assert lane.figures.unheard == 1


async def test_an_answer_waits_for_a_database_that_is_away(queue: Queue, receiver: Receiver, answer: WorkSync) -> None:
    """As after an outage of both: connections that nobody used meanwhile have ended, and no edge listens yet."""
    target = await queue.target(f"{receiver.url}/in")
    await answer(redis_url="redis://127.0.0.1:1/0")
    first = await accept(queue, target)
    await queue.until(first.deliveries[0], "delivered")
    await until(lambda: _keeps(queue, 1))
    await queue.sql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND starts_with(application_name, 'relay-delivery-sync-')"
    )
    second = await accept(queue, target)
    await until(lambda: _keeps(queue, 2))
    await queue.until(second.deliveries[0], "delivered")


async def test_an_answer_of_an_unknown_edge_is_kept_whoever_heard_it(
    queue: Queue, receiver: Receiver, answer: WorkSync, heard: Heard
) -> None:
    """The one that waits for it may be about to listen."""
    target = await queue.target(f"{receiver.url}/in")
    lane = await answer()
    await accept(queue, target)
    assert (await heard()).status == 200
    await until(lambda: _keeps(queue, 1))
    assert lane.figures.unheard == 0


async def test_who_listens_since_it_looked_is_told_again(
    queue: Queue, receiver: Receiver, answer: WorkSync, database_url: str, redis_url: str
) -> None:
    """An edge that found nothing in Postgres, as nothing lay there yet, does not look again before its deadline."""
    target = await queue.target(f"{receiver.url}/in")
    lane = await answer()
    async with await psycopg.AsyncConnection.connect(database_url) as other:
        await other.execute("LOCK TABLE deliveries_answer IN EXCLUSIVE MODE")
        accepted = await accept(queue, target)

        async def is_unheard() -> bool:
            return lane.figures.unheard == 1

        await until(is_unheard)
        async with redis.asyncio.Redis.from_url(redis_url) as client, client.pubsub() as channel:
            await channel.subscribe(keys.REPLY_ALL)
            assert (await channel.get_message(timeout=5) or {})["type"] == "subscribe"
            await other.commit()
            message = await channel.get_message(timeout=20)
    assert message is not None
    assert replies.decode(message["data"]).request_id == accepted.request_id


async def _keeps(queue: Queue, answers: int) -> bool:
    return len(await queue.sql("SELECT 1 FROM deliveries_answer")) == answers


@pytest.mark.parametrize(("code", "over"), [(200, 0), (200, 1), (404, 0), (500, 0), (503, 0)])
async def test_a_key_keeps_the_answer_for_whoever_sends_it_again(  # noqa: PLR0917 - fixtures
    queue: Queue, receiver: Receiver, answer: WorkSync, heard: Heard, code: int, over: int
) -> None:
    """Whatever its status: a target's own error is an answer."""
    size = replies.MAX_KEPT_BYTES + over
    receiver.plans["/in"] = [status(code, body=b"x" * size)]
    target = await queue.target(f"{receiver.url}/in")
    await answer()
    await accept(queue, target, idempotency_key="once")
    assert (await heard()).status == code
    rows = await queue.sql("SELECT status, length(body) AS size FROM deliveries_answer")
    assert [(row["status"], row["size"]) for row in rows] == ([] if over else [(code, size)])


@pytest.mark.parametrize(
    "trouble",
    [
        "UPDATE catalog_target SET is_enabled = false",
        PAUSE,
    ],
)
async def test_a_target_without_room_is_not_waited_for(
    queue: Queue, receiver: Receiver, answer: WorkSync, heard: Heard, trouble: str
) -> None:
    target = await queue.target(f"{receiver.url}/in")
    await queue.sql(trouble)
    await answer()
    accepted = await accept(queue, target)
    assert (await heard()).fault == replies.NO_ROOM
    row = await queue.until(accepted.deliveries[0], "dead")
    assert row["dead_reason"] == "no_room"
    assert await queue.charges(accepted.deliveries[0]) == [(0, "hold", MICRO), (0, "release", MICRO)]
    assert receiver.calls == []


async def test_as_many_at_once_as_the_target_takes(
    queue: Queue, receiver: Receiver, answer: WorkSync, heard: Heard
) -> None:
    receiver.hold("/in")
    target = await queue.target(f"{receiver.url}/in")
    await queue.sql("UPDATE catalog_target SET max_in_flight = 2")
    for _ in range(3):
        await accept(queue, target)
    await answer()
    assert (await heard()).fault == replies.NO_ROOM
    await receiver.until("/in", 2)
    receiver.release("/in")
    assert {(await heard()).status, (await heard()).status} == {200}
    assert len(receiver.calls) == 2


async def test_as_many_a_second_as_the_target_takes(
    queue: Queue, receiver: Receiver, answer: WorkSync, heard: Heard
) -> None:
    target = await queue.target(f"{receiver.url}/in")
    await queue.sql("UPDATE catalog_target SET rate_amount = 2, rate_window_seconds = 1000")
    await answer()
    for expected in (200, 0):  # the window is long: the next place comes in 500 s
        await accept(queue, target)
        reply = await heard()
        assert (reply.status, reply.fault) == (expected, "" if expected else replies.NO_ROOM)
    assert reply.retry_after_seconds == replies.MAX_RETRY_SECONDS
    assert len(receiver.calls) == 1


@pytest.mark.parametrize(
    "case",
    [
        ("UPDATE catalog_target SET is_enabled = false", range(1)),
        ("UPDATE deliveries_targetstate SET paused_until = now() + interval '20 s'", range(15, 21)),
        ("UPDATE deliveries_targetstate SET tat = now() + interval '12 s'", range(7, 13)),
    ],
)
async def test_who_is_not_waited_for_is_told_when_to_come_again(
    queue: Queue, receiver: Receiver, answer: WorkSync, heard: Heard, case: tuple[str, range]
) -> None:
    target = await queue.target(f"{receiver.url}/in")
    await queue.sql("UPDATE catalog_target SET rate_amount = 1, rate_window_seconds = 4")
    await queue.sql(
        "INSERT INTO deliveries_targetstate (target_id) SELECT id FROM catalog_target ON CONFLICT DO NOTHING"
    )
    await queue.sql(case[0])
    await answer()
    await accept(queue, target)
    reply = await heard()
    assert reply.fault == replies.NO_ROOM
    assert reply.retry_after_seconds in case[1]


@pytest.mark.parametrize(
    ("limit", "sent"), [({"max_in_flight": 3}, 3), ({"rate_amount": 1, "rate_window_seconds": 3600}, 1)]
)
async def test_limits_are_exact_over_two_lanes(
    limit: dict[str, int], sent: int, queue: Queue, receiver: Receiver, answer: WorkSync
) -> None:
    receiver.hold("/in")
    targets = [await queue.target(f"{receiver.url}/in", **limit) for _ in range(4)]
    await answer()
    await answer()
    for _ in range(10):
        for target in targets:
            await accept(queue, target)
    await queue.until_states(sending=4 * sent, dead=4 * (10 - sent))
    await receiver.until("/in", 4 * sent)
    receiver.release("/in")
    await queue.until_states(delivered=4 * sent, dead=4 * (10 - sent))
    assert len(receiver.calls) == 4 * sent


async def test_who_waits_for_a_lock_holds_up_no_others(
    queue: Queue, receiver: Receiver, answer: WorkSync, database_url: str
) -> None:
    limited = await queue.target(f"{receiver.url}/limited", max_in_flight=5)
    free = await queue.target(f"{receiver.url}/free")
    await answer()
    await accept(queue, limited)
    await queue.until_states(delivered=1)
    async with await psycopg.AsyncConnection.connect(database_url) as other:
        await other.execute("SELECT 1 FROM deliveries_targetstate FOR UPDATE")
        await accept(queue, limited)
        await accept(queue, free)
        await queue.until_states(delivered=2, pending=1)
        assert len(receiver.at("/free")) == 1
    await queue.until_states(delivered=3)


async def test_what_nobody_took_in_time_is_never_sent(queue: Queue, receiver: Receiver, answer: WorkSync) -> None:
    target = await queue.target(f"{receiver.url}/in")
    accepted = await accept(queue, target)
    await queue.sql("UPDATE deliveries_live SET expires_at = now() - interval '1 ms'")
    lane = await answer()
    row = await queue.until(accepted.deliveries[0], "dead", attempts=0)
    assert row["dead_reason"] == "no_answer_in_time"
    assert await queue.charges(accepted.deliveries[0]) == [(0, "hold", MICRO), (0, "release", MICRO)]
    assert receiver.calls == []
    assert lane.figures.swept["no_answer_in_time"] == 1


async def test_what_a_worker_died_with_is_never_sent_again(queue: Queue, receiver: Receiver, answer: WorkSync) -> None:
    target = await queue.target(f"{receiver.url}/in")
    accepted = await accept(queue, target)
    [delivery_id] = accepted.deliveries
    await queue.sql(
        "UPDATE deliveries_live SET state = 'sending', claim_id = %s, attempt_count = 1,"
        " next_attempt_at = now() - interval '1 ms'", accepted.request_id,
    )  # fmt: skip
    lane = await answer()
    row = await queue.until(delivery_id, "dead")
    assert (row["dead_reason"], row["attempt_count"]) == ("unknown_outcome", 1)
    [attempt] = await queue.attempts(delivery_id)
    assert (attempt["outcome"], attempt["number"], attempt["url"]) == ("lease_lost", 1, f"{receiver.url}/in")
    assert await queue.charges(delivery_id) == [(0, "hold", MICRO), (0, "release", MICRO)]
    assert receiver.calls == []
    assert lane.figures.swept["unknown_outcome"] == 1


async def test_a_worker_that_ends_gives_up_what_it_sends_and_says_so(
    queue: Queue, receiver: Receiver, answer: WorkSync, heard: Heard
) -> None:
    receiver.hold("/in")
    target = await queue.target(f"{receiver.url}/in")
    lane = await answer(grace_seconds=0)
    accepted = await accept(queue, target)
    await receiver.until("/in", 1)
    lane.stop()
    assert (await heard()).fault == "worker_stopped"
    row = await queue.until(accepted.deliveries[0], "dead")
    assert row["dead_reason"] == "unknown_outcome"


async def test_neither_lane_takes_the_others(
    queue: Queue, receiver: Receiver, answer: WorkSync, work: Work, heard: Heard
) -> None:
    receiver.hold("/async")
    slow, quick = await queue.target(f"{receiver.url}/async"), await queue.target(f"{receiver.url}/sync")
    await queue.accept(slow, calls=300)
    await work(RELAY_DELIVERY_IN_FLIGHT="4")
    await receiver.until("/async", 4)
    await answer()
    await accept(queue, quick)
    assert (await heard()).status == 200
    assert len(receiver.at("/sync")) == 1
    receiver.release("/async")


async def test_a_deleted_target_answers_at_once(
    queue: Queue, receiver: Receiver, answer: WorkSync, heard: Heard
) -> None:
    target = await queue.target(f"{receiver.url}/in")
    await accept(queue, target)
    await queue.sql("DELETE FROM catalog_targetsecret")
    await queue.sql("DELETE FROM catalog_target")
    await answer()
    assert (await heard()).fault == "target_deleted"


def test_any_answer_is_one_but_for_the_targets_own_failures() -> None:
    base = Answer(intake_rows.request_row().received_at, 1, 200, None)
    for code in (200, 204, 302, 404, 410, 429, 499):
        assert judge(replace(base, status=code)) == Delivered()
    for code in (500, 503, 599):
        assert judge(replace(base, status=code)) == Dead(DeadReason.ATTEMPTS_EXHAUSTED)
    assert judge(replace(base, fault=Fault.TIMEOUT)) == Dead(DeadReason.ATTEMPTS_EXHAUSTED)
    assert judge(replace(base, fault=Fault.NO_ROOM)) == Dead(DeadReason.NO_ROOM)
    assert judge(replace(base, fault=Fault.ADDRESS_REFUSED)) == Dead(DeadReason.ADDRESS_REFUSED)


@pytest.mark.parametrize(
    "columns",
    [
        {"auth_kind": "bearer", "auth_secret": "t0ken"},
        {"auth_kind": "basic", "auth_secret": "t0ken", "auth_config": {"username": "u"}},
    ],
)
async def test_a_sync_target_is_shown_its_credential(
    queue: Queue, receiver: Receiver, answer: WorkSync, heard: Heard, columns: dict[str, Any]
) -> None:
    target = await needs(queue, await queue.target(f"{receiver.url}/in"), **columns)
    await answer()
    await accept(queue, target)
    assert (await heard()).status == 200
    shown = {"bearer": "Bearer t0ken", "basic": "Basic dTp0MGtlbg=="}[columns["auth_kind"]]
    assert [call.headers["authorization"] for call in receiver.calls] == [shown]


@pytest.mark.parametrize(
    ("columns", "quoted"),
    [
        ({"auth_kind": "bearer", "auth_secret": "t0ken-of-the-target"}, b"t0ken-of-the-target"),
        ({"auth_kind": "basic", "auth_secret": "pa55word", "auth_config": {"username": "u"}}, b"pa55word"),
        ({"auth_kind": "basic", "auth_secret": "pa55word", "auth_config": {"username": "u"}}, b"dTpwYTU1d29yZA=="),
        ({"headers": {"X-Api-Key": "t0ken-of-the-target"}}, b"t0ken-of-the-target"),
    ],
)
async def test_a_sync_target_that_quotes_its_credential_tells_no_caller(  # noqa: PLR0917 - fixtures
    queue: Queue, receiver: Receiver, answer: WorkSync, heard: Heard, columns: dict[str, Any], quoted: bytes
) -> None:
    cover = (b"[redacted]" if len(quoted) > 9 else b"").ljust(len(quoted), b"*")
    lines = ("Content-Type: application/json", f"X-Echo: {quoted.decode()}")
    receiver.plans["/in"] = [
        status(200, *lines, body=b'{"you": "%b"}' % quoted),
        status(200, *lines, "Content-Encoding: gzip", body=quoted),
    ]
    target = await needs(queue, await queue.target(f"{receiver.url}/in"), **columns)
    await answer()
    accepted = await accept(queue, target)
    reply = await heard()
    assert (reply.status, reply.body) == (200, b'{"you": "%b"}' % cover)
    assert ("X-Echo", cover.decode()) in reply.lines
    await queue.until(accepted.deliveries[0], "delivered")
    await accept(queue, target)
    assert (await heard()).body == quoted, "compressed: these are no letters"


async def test_a_token_that_a_sync_target_refuses_is_replaced_while_the_caller_waits(
    queue: Queue, receiver: Receiver, answer: WorkSync, heard: Heard
) -> None:
    receiver.plans["/token"] = [status(200, body=token("old")), status(200, body=token("new"))]
    receiver.plans["/in"] = [status(401, "X-Stale: yes", body=b"who?"), status(200, body=b"hello"), status(401)]
    target = await oauth2(queue, receiver, await queue.target(f"{receiver.url}/in"))
    await answer()
    accepted = await accept(queue, target)
    reply = await heard()
    assert (reply.status, reply.body, [name for name, _ in reply.lines if name == "X-Stale"]) == (200, b"hello", [])
    assert [call.headers["authorization"] for call in receiver.at("/in")] == ["Bearer old", "Bearer new"]
    row = await queue.until(accepted.deliveries[0], "delivered")
    assert (row["last_status"], row["attempt_count"]) == (200, 1)
    await accept(queue, target)  # refused again at once: another token would be refused as well
    assert (await heard()).fault == "token_refused"
    assert (len(receiver.at("/in")), len(receiver.at("/token"))) == (3, 2)


async def test_a_sync_caller_is_told_that_there_is_no_token(
    queue: Queue, receiver: Receiver, answer: WorkSync, heard: Heard
) -> None:
    receiver.plans["/token"] = [status(500)]
    target = await oauth2(queue, receiver, await queue.target(f"{receiver.url}/in"))
    await answer()
    accepted = await accept(queue, target)
    assert (await heard()).fault == replies.TOKEN_UNAVAILABLE == Fault.TOKEN_UNAVAILABLE
    row = await queue.until(accepted.deliveries[0], "dead")
    assert (row["last_error"], row["was_contacted"]) == ("token_unavailable", False)
    assert (await queue.charges(accepted.deliveries[0]))[1][1] == "release"
    assert receiver.at("/in") == []


async def test_a_sync_target_is_shown_its_certificate(
    queue: Queue, answer: WorkSync, heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = await Receiver().start(demanding_context(tmp_path, monkeypatch))
    try:
        key = KEYS["ec"]
        target = await queue.target(f"{receiver.url}/in")
        await needs(queue, target, client_certificate=client(key) + ROOT, client_key=pem_of(key))
        await answer()
        await accept(queue, target)
        assert (await heard()).status == 200
        assert len(receiver.calls) == 1
    finally:
        await receiver.close()

"""Calls that a sync target answers, as their callers see them: the edge's side, with answers as a worker gives them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest
import redis.asyncio
from aiohttp import web
from psycopg import AsyncConnection

from relay_contract import nouns, replies
from relay_contract.ending import end
from relay_contract.intake import SYNC_SHARDS
from relay_contract.redis import keys
from relay_contract.replies import Reply
from relay_contract.traffic import RequestEndRow
from relay_edge.addresses import by_path
from relay_edge.admission import Admission
from relay_edge.auth import Authenticator
from relay_edge.catalog.holder import Catalog
from relay_edge.catalog.snapshot import EndpointRoute, Snapshot
from relay_edge.client_ip import ClientIps
from relay_edge.deadlines import DeadlineWheel
from relay_edge.door import Door
from relay_edge.endpoints import Endpoints
from relay_edge.fan_out import plan
from relay_edge.intake import Accepted
from relay_edge.metrics import Metrics
from relay_edge.prepared import Prepared, PreparedEndpoints
from relay_edge.relay_callers import RelayCallers
from relay_edge.replies import Replies
from relay_edge.shield import Shield
from relay_edge.sync_call import SyncCalls
from tests.edge.conftest import until
from tests.edge.nouns import EVERYTHING, TARGET, TOKEN, numbered
from tests.edge.plane import SEALER, Answer, Caller

PATH = "/r/demo/v1/events"
OWN = f"Authorization: Bearer {TOKEN.token}"
LOOKUP = numbered(TARGET, 2, name="lookup", delivery_mode=nouns.DeliveryMode.SYNC, timeout_seconds=20)
NOWHERE = "redis://127.0.0.1:1/0"


@dataclass
class Relay:
    """A running edge, and what a worker would see of it."""

    port: int
    replies: Replies
    metrics: Metrics
    catalog: Catalog
    client: "redis.asyncio.Redis"
    channel: Any
    committed: list[Accepted] = field(default_factory=list)
    ends: list[RequestEndRow] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)
    is_closing = False

    async def commit(self, accepted: Accepted, /) -> bool:
        """As the intake does."""
        self.committed.append(accepted)
        return True

    async def call(self, *lines: str, path: str = PATH, method: str = "POST", version: str = "1.1") -> Caller:
        """A call on its way."""
        caller = Caller(*await asyncio.open_connection("127.0.0.1", self.port))
        self.callers.append(caller)
        head = (f"{method} {path} HTTP/{version}", "Host: relay", "Content-Length: 2", OWN, *lines, "", "")
        await caller.send("\r\n".join(head).encode() + b"{}")
        return caller

    async def announced(self) -> tuple[UUID, str]:
        """Whose answer is waited for, and by which edge."""
        async with asyncio.timeout(20):
            while True:
                message = await self.channel.get_message(ignore_subscribe_messages=True, timeout=1)
                if message is not None:
                    return replies.decode_call(message["data"])

    async def tell(self, reply: Reply, channel: str | None = None) -> int:
        """As the lane does; how many heard it."""
        return int(await self.client.publish(channel or keys.reply(self.replies.edge), replies.encode(reply)))

    def counted(self, name: str) -> float:
        family = self.metrics.registry.dump()["families"][name]
        return float(sum(family.values()))


class AnyMethod(PreparedEndpoints):
    """What an endpoint takes is another part's rule."""

    def of(self, snapshot: Snapshot, route: EndpointRoute) -> Prepared:
        return replace(super().of(snapshot, route), methods=frozenset({"POST", "GET", "HEAD"}))


@asynccontextmanager
async def running(
    redis_url: str, database_url: str = "postgresql://nobody@127.0.0.1:1/none", *, hears: bool = True, **target: Any
) -> AsyncIterator[Relay]:
    """At its end nobody may be waiting."""
    loop = asyncio.get_running_loop()
    wheel, metrics, catalog = DeadlineWheel(loop), Metrics(), Catalog(SEALER)
    catalog.swap(Snapshot.build((*EVERYTHING, replace(LOOKUP, **target))))
    admission = Admission(redis_url, wheel, metrics)
    await admission.start()
    waiting = Replies(redis_url if hears else NOWHERE, database_url, wheel, metrics)
    client = redis.asyncio.Redis.from_url(redis_url)
    channel = client.pubsub()
    await channel.subscribe(keys.SYNC_WAKE)
    await channel.get_message(timeout=5)
    relay = Relay(0, waiting, metrics, catalog, client, channel)
    endpoints = Endpoints(
        catalog, admission, relay, metrics, callers=RelayCallers(Authenticator()), shield=Shield(), plan=plan,
        client_ips=ClientIps(()), prepared=AnyMethod(),
        responders={"sync": SyncCalls(waiting, admission.queue, relay.ends.append)},
    )  # fmt: skip

    async def dispatch(request: web.BaseRequest) -> web.StreamResponse:
        return await endpoints.handle(request, by_path(request.raw_path.partition("?")[0]))

    door = Door(dispatch, metrics.surfaces["other"])
    listening = await loop.create_server(door, "127.0.0.1", 0)
    relay.port = listening.sockets[0].getsockname()[1]
    hearing = loop.create_task(waiting.run())
    if hears:
        await until(lambda: waiting.is_subscribed, "the edge to listen")
    try:
        yield relay
    finally:
        for caller in relay.callers:
            await caller.close()
        listening.close()
        await door.drain(1)
        await end(hearing)
        await channel.aclose()
        await client.aclose()
        await admission.close()
        wheel.close()
    assert relay.counted("relay_edge_sync_waiting") == 0
    assert metrics.surfaces["relay"].in_flight.value == 0


async def test_the_callers_answer_is_the_targets(redis_url: str) -> None:
    async with running(redis_url) as relay:
        caller = await relay.call()
        request_id, edge = await relay.announced()
        assert edge == relay.replies.edge
        [accepted] = relay.committed
        assert accepted.request.id == request_id
        assert accepted.request.status == 0
        assert [(row.target_id, row.mode) for row in accepted.deliveries] == [(1, "async"), (2, "sync")]
        assert accepted.deliveries[1].shard in SYNC_SHARDS
        lines = (("Content-Type", "a/b"), ("X-Own", "1"), ("X-Own", "2"), ("Server", "x"), ("X-Request-Id", "theirs"))
        assert await relay.tell(Reply(request_id, 418, lines, b"\0\xff")) == 1
        raw_head = (await caller.reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        assert await caller.reader.readexactly(2) == b"\0\xff"
        assert raw_head[0] == "http/1.1 418 i'm a teapot"
        assert raw_head.count("x-own: 1") == raw_head.count("x-own: 2") == 1
        assert f"x-request-id: {request_id}" in raw_head
        assert "x-relay-target: lookup" in raw_head
        assert "relay-durability: committed" in raw_head
        assert not [line for line in raw_head if line.startswith("server:") or "theirs" in line]
        await until(lambda: relay.ends, "the end to be told")
    [row] = relay.ends
    assert (row.id, row.delivery_id, row.status, row.target_status) == (
        request_id, accepted.deliveries[1].id, 418, 418,
    )  # fmt: skip
    assert (row.bytes_out, row.close_reason, row.error, row.is_stream) == (2, "complete", "", False)
    assert relay.counted("relay_edge_sync_answers_total") == 1


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body(redis_url: str, status: int) -> None:
    async with running(redis_url) as relay:
        caller = await relay.call()
        request_id, _ = await relay.announced()
        await relay.tell(Reply(request_id, status, (("Location", "/x"),), b"never sent"))
        answer = await caller.answer()
    assert (answer.status, answer.body, answer.headers["location"]) == (status, b"", "/x")
    assert "content-length" not in answer.headers


async def test_head_gets_the_length_of_what_get_would_get(redis_url: str) -> None:
    async with running(redis_url) as relay:
        caller = await relay.call(method="HEAD", path=f"{PATH}?a=1&b=%20")
        request_id, _ = await relay.announced()
        assert (relay.committed[0].request.method, relay.committed[0].request.query) == ("HEAD", "a=1&b=%20")
        await relay.tell(Reply(request_id, 200, (("Content-Length", "1234"),)))
        answer = await caller.answer("HEAD")
    assert (answer.status, answer.headers["content-length"]) == (200, "1234")


async def test_a_redirect_is_an_answer_and_an_old_caller_gets_a_closed_connection(redis_url: str) -> None:
    async with running(redis_url) as relay:
        caller = await relay.call(version="1.0")
        request_id, _ = await relay.announced()
        await relay.tell(Reply(request_id, 302, (("Location", "http://10.0.0.1/"),), b""))
        answer = await caller.answer()
    assert (answer.status, answer.headers["location"], answer.closes) == (302, "http://10.0.0.1/", True)


async def test_a_header_that_breaks_out_of_its_line_is_no_answer(redis_url: str) -> None:
    async with running(redis_url) as relay:
        caller = await relay.call()
        request_id, _ = await relay.announced()
        await relay.tell(Reply(request_id, 200, (("X-A", "b\r\nSet-Cookie: stolen"),), b"ok"))
        answer = await caller.answer()
    assert (answer.status, answer.json["error"]) == (502, "target_failed")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("connection_refused", 502, "target_failed"),
        ("timeout", 504, "sync_timeout"),
        (replies.NO_ROOM, 503, "unavailable"),
        (replies.TOKEN_UNAVAILABLE, 502, "token_unavailable"),
    ],
)
async def test_no_answer_is_told_as_what_it_is(redis_url: str, fault: str, status: int, code: str) -> None:
    async with running(redis_url) as relay:
        caller = await relay.call()
        request_id, _ = await relay.announced()
        await relay.tell(Reply(request_id, 0, fault=fault))
        answer = await caller.answer()
        await until(lambda: relay.ends, "the end to be told")
    assert (answer.status, answer.json["error"]) == (status, code)
    assert answer.json["requestId"] == answer.headers["x-request-id"] == str(request_id)
    assert ("retry-after" in answer.headers) is (status == 503)
    [row] = relay.ends
    assert (row.status, row.error, row.target_status, row.first_byte_us) == (status, code, None, None)


async def test_an_answer_in_time_is_waited_for_and_no_longer(redis_url: str) -> None:
    async with running(redis_url, timeout_seconds=1) as relay:
        caller = await relay.call()
        answer = await caller.answer()
        [accepted] = relay.committed
        assert (answer.status, answer.json["error"]) == (504, "sync_timeout")
        assert answer.json["requestId"] == str(accepted.request.id)
        assert answer.headers["x-should-retry"] == "false"
        await relay.tell(Reply(accepted.request.id, 200))  # late
        await until(lambda: relay.counted("relay_edge_sync_late_total") == 1, "the late answer")
    [row] = relay.ends
    assert (row.status, row.close_reason, row.target_status) == (504, "target_timeout", None)
    assert relay.counted("relay_edge_sync_timeouts_total") == 1


async def test_a_caller_who_leaves_is_forgotten(redis_url: str) -> None:
    async with running(redis_url) as relay:
        caller = await relay.call()
        request_id, _ = await relay.announced()
        await caller.close()
        await until(lambda: relay.ends, "the end to be told")
        await relay.tell(Reply(request_id, 200))
        await until(lambda: relay.counted("relay_edge_sync_late_total") == 1, "an answer for nobody")
    [row] = relay.ends
    assert (row.status, row.close_reason, row.bytes_out) == (499, "caller_left", 0)


async def test_a_large_answer_is_fetched(redis_url: str) -> None:
    body = bytes(range(256)) * (replies.MAX_ANSWER_BYTES // 256)
    async with running(redis_url) as relay:
        caller = await relay.call()
        request_id, _ = await relay.announced()
        await relay.client.set(keys.answer(str(request_id)), body, px=5000)
        await relay.tell(Reply(request_id, 200, (("Content-Type", "a/b"),), body).pointing())
        answer = await caller.answer()
        assert (answer.status, answer.body == body) == (200, True)
        caller = await relay.call()
        request_id, _ = await relay.announced()
        await relay.tell(Reply(request_id, 200, (), b"").pointing())  # nothing lies there
        assert (await caller.answer()).status == 502


async def test_every_edge_is_told_where_it_is_not_known_whose_call_it_was(redis_url: str) -> None:
    async with running(redis_url) as relay, running(redis_url) as other:
        caller = await relay.call()
        request_id, _ = await relay.announced()
        assert await relay.tell(Reply(request_id, 200, (), b"me"), keys.REPLY_ALL) == 2
        assert (await caller.answer()).body == b"me"
        await until(lambda: other.counted("relay_edge_sync_late_total") == 1, "the other edge to pass it over")
    assert relay.replies.edge != other.replies.edge


async def test_what_is_no_reply_is_passed_over(redis_url: str) -> None:
    async with running(redis_url) as relay:
        caller = await relay.call()
        request_id, _ = await relay.announced()
        for message in (b"", b"x" * 100, replies.encode(Reply(request_id, 200))[:-1]):
            await relay.client.publish(keys.REPLY_ALL, message)
        await relay.tell(Reply(request_id, 200, (), b"ok"))
        assert (await caller.answer()).body == b"ok"
    assert relay.counted("relay_edge_sync_bad_total") == 3


async def test_too_many_who_wait(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_edge.replies.MAX_EXPECTED", 1)
    async with running(redis_url) as relay:
        first = await relay.call()
        request_id, _ = await relay.announced()
        refused = await (await relay.call()).answer()
        assert (refused.status, refused.json["error"]) == (503, "unavailable")
        assert len(relay.committed) == 1
        await relay.tell(Reply(request_id, 200))
        assert (await first.answer()).status == 200
    assert len(relay.ends) == 1  # what was not committed has no end


async def test_a_query_that_would_be_cut_is_refused(redis_url: str) -> None:
    async with running(redis_url) as relay:
        answer = await (await relay.call(path=f"{PATH}?{'q' * 2049}")).answer()
    assert (answer.status, answer.json["error"]) == (400, "bad_request")
    assert relay.committed == relay.ends == []


async def test_a_disabled_target_holds_up_the_whole_call(redis_url: str) -> None:
    async with running(redis_url, is_enabled=False) as relay:
        answer = await (await relay.call()).answer()
    assert (answer.status, answer.json["error"]) == (503, "target_held")
    assert relay.committed == []


async def keep(owner: AsyncConnection[Any], accepted: Accepted, body: bytes) -> None:
    """An answer that nobody heard, as the lane leaves it."""
    await owner.execute(
        "INSERT INTO deliveries_answer (delivery_id, request_id, status, headers, body, is_cut, duration_ms, at)"
        " VALUES (%s, %s, 201, %s, %s, false, 1, now())",
        (accepted.deliveries[1].id, accepted.request.id, json.dumps({"x-own": "1"}), body),
    )


async def test_without_a_channel_answers_are_found_in_postgres(
    redis_url: str, edge_database_url: str, owner: AsyncConnection[Any]
) -> None:
    async with running(redis_url, edge_database_url, hears=False) as relay:
        callers = [await relay.call(), await relay.call()]
        await until(lambda: len(relay.committed) == 2, "both calls")
        for number, accepted in enumerate(relay.committed):
            await keep(owner, accepted, b"%d" % number)
        answers = [await caller.answer() for caller in callers]
    assert [(each.status, each.body, each.headers["x-own"]) for each in answers] == [
        (201, b"0", "1"),
        (201, b"1", "1"),
    ]


async def test_an_answer_is_looked_for_before_its_deadline(
    redis_url: str, edge_database_url: str, owner: AsyncConnection[Any]
) -> None:
    async with running(redis_url, edge_database_url, timeout_seconds=2) as relay:
        caller = await relay.call()
        await relay.announced()
        await keep(owner, relay.committed[0], b"found")
        answer: Answer = await caller.answer()
    assert (answer.status, answer.body) == (201, b"found")


async def test_the_channel_is_heard_again_after_redis_cut_it(redis_url: str) -> None:
    async with running(redis_url) as relay:
        caller = await relay.call()
        request_id, _ = await relay.announced()
        await relay.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes")
        await until(lambda: not relay.replies.is_subscribed, "the edge to notice")

        async def heard() -> bool:
            return await relay.tell(Reply(request_id, 200, (), b"back")) == 1

        await until(heard, "the edge to listen again")
        assert (await caller.answer()).body == b"back"

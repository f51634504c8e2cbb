"""Calls to relay endpoints with an Idempotency-Key, over real sockets and Postgres: each is made once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from relay_contract.errors import AcceptUnavailable, AnswerNotKept, CallInProgress, RelayError, SyncTimeout
from relay_contract.ids import uuid7
from relay_contract.intake import DeliveryRow, PayloadRow, RequestRow
from relay_contract.nouns import DeliveryMode, Target
from relay_edge.call_keys import GRACE_SECONDS, LARGE_BYTES, _without_answer
from relay_edge.stored import StoredCall, StoredCalls, StoredEnd
from standalone import embedded
from tests.edge.conftest import until
from tests.edge.inside import InsideEdge, inside_edge
from tests.edge.nouns import ENDPOINT, EVERYTHING, TARGET, TOKEN, insert, numbered
from tests.edge.proxy import Proxy
from tests.edge.test_intake import stored, taken

PATH = "/r/demo/v1/events"
ROWS = (
    *(row for row in EVERYTHING if row is not ENDPOINT),
    numbered(ENDPOINT, 1, max_body_bytes=4_000_000),
    numbered(ENDPOINT, 2, slug="second"),
    numbered(ENDPOINT, 3, slug="heedless", idempotency_seconds=0),
)
IN_ORDER = tuple(sorted(ROWS, key=lambda row: [type(each) for each in EVERYTHING].index(type(row))))


@pytest.fixture
async def edge(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, free_port: int, tmp_path: Path
) -> AsyncIterator[InsideEdge]:
    await insert(owner, *IN_ORDER)
    async with inside_edge(tmp_path, free_port, edge_database_url, redis_url) as edge:
        yield edge


class Answer:
    """What a caller got."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])

    @property
    def original(self) -> str | None:
        """The first call's id, where this is said to be its answer."""
        return self.headers.get("x-relay-original-request-id")  # type: ignore[no-any-return]


async def post(edge: InsideEdge, key: str | None, body: bytes = b"{}", path: str = PATH, **more: str) -> Answer:
    headers = {"Authorization": f"Bearer {TOKEN.token}"} | ({} if key is None else {"Idempotency-Key": key}) | more
    async with edge.client.post(edge.url + path, data=body, headers=headers) as answer:
        return Answer(answer.status, answer.headers, await answer.read())


async def test_a_call_sent_again_gets_the_first_answer(edge: InsideEdge, owner: AsyncConnection[Any]) -> None:
    first = await post(edge, "k-1", b"x" * LARGE_BYTES)
    again = await post(edge, "k-1", b"x" * LARGE_BYTES)
    assert (first.status, again.status, again.body) == (202, 202, first.body)
    assert "idempotent-replayed" not in first.headers
    assert (again.headers["idempotent-replayed"], again.headers["relay-durability"]) == ("true", "committed")
    assert again.original == json.loads(first.body)["requestId"] != again.headers["x-request-id"]
    (request,) = await taken(owner)
    assert (str(request.id), request.idempotency_key) == (again.original, "k-1")
    assert len(await stored(owner, DeliveryRow)) == len(await stored(owner, PayloadRow)) == 1
    assert (await post(edge, None)).status == 202
    cursor = await owner.execute("SELECT count(*) FROM ledger_charge")
    assert await cursor.fetchone() == (2,)


async def test_a_key_of_another_call(edge: InsideEdge, owner: AsyncConnection[Any]) -> None:
    assert (await post(edge, "k-1")).status == 202
    for refused in (
        await post(edge, "k-1", b"[]"),
        await post(edge, "k-1", path=f"{PATH}?a=1"),
        await post(edge, "k-1", **{"Content-Type": "text/plain"}),
    ):
        assert (refused.status, refused.error) == (422, "idempotency_key_reused")
    assert (await post(edge, "k-1", **{"X-Trace": "another"})).original is not None
    assert len(await taken(owner)) == 1


async def test_keys_belong_to_their_endpoint(edge: InsideEdge, owner: AsyncConnection[Any]) -> None:
    for path in (PATH, "/r/demo/v1/second"):
        assert (await post(edge, "k-1", path=path)).original is None
    for _ in range(2):  # one that heeds no keys
        assert (await post(edge, "k-1", path="/r/demo/v1/heedless")).original is None
    rows = await stored(owner, RequestRow)
    assert sorted((row.endpoint_id, row.idempotency_key) for row in rows) == [(1, "k-1"), (2, "k-1"), (3, ""), (3, "")]


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "café"])
async def test_keys_that_cannot_be_read(edge: InsideEdge, owner: AsyncConnection[Any], key: str) -> None:
    answer = await post(edge, key)
    assert (answer.status, answer.error) == (400, "bad_header")
    assert await taken(owner) == []


async def test_a_key_is_free_again_when_it_is_forgotten(edge: InsideEdge, owner: AsyncConnection[Any]) -> None:
    first = await post(edge, "k-1")
    await owner.execute("UPDATE deliveries_idempotency SET expires_at = now() - interval '1 s'")
    assert (await post(edge, "k-1")).body == first.body  # remembered at least as long: until the purge
    await owner.execute("DELETE FROM deliveries_idempotency")
    assert (await post(edge, "k-1")).original is None


async def test_fifty_callers_of_two_edges_make_one_call(
    owner: AsyncConnection[Any], edge_database_url: str, redis_url: str, tmp_path: Path
) -> None:
    await insert(owner, *IN_ORDER)
    async with AsyncExitStack() as stack:
        edges = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            running = inside_edge(tmp_path / name, embedded.free_port(), edge_database_url, redis_url)
            edges.append(await stack.enter_async_context(running))
        answers = await asyncio.gather(*(post(edges[number % 2], "k-1", b'{"n":1}') for number in range(50)))
        others = await asyncio.gather(
            *(post(edges[number % 2], f"k-{number % 5}", b'{"n":1}') for number in range(5, 55))
        )
    assert {(answer.status, answer.body) for answer in answers} == {(202, answers[0].body)}
    assert [answer.original for answer in answers].count(None) == 1
    assert {answer.status for answer in others} == {202}
    assert len({answer.body for answer in others}) == 5
    assert len(await stored(owner, RequestRow)) == len(await stored(owner, DeliveryRow)) == 5


async def end_first(owner: AsyncConnection[Any], answer: dict[str, Any] | None, **ended: Any) -> str:
    """Makes the one stored call one that a target answered, or did not."""
    (request,) = await taken(owner)
    (delivery,) = await stored(owner, DeliveryRow)
    await owner.execute("UPDATE deliveries_request SET status = 0")
    if ended:
        await owner.execute(
            "INSERT INTO deliveries_requestend (id, delivery_id, received_at, status, error, total_us, bytes_out,"
            " heartbeats, close_reason, is_stream, url) VALUES (%s, %s, now(), %s, %s, 1, 0, 0, '', %s, '')",
            [request.id, delivery.id, ended["status"], ended.get("error", ""), ended.get("is_stream", False)],
        )
    if answer is not None:
        for delivery_id, body in ((UUID(int=request.id.int + 1), b"a shadow's"), (delivery.id, answer["body"])):
            await owner.execute(
                "INSERT INTO deliveries_answer VALUES (%s, %s, %s, %s, %s, %s, 1, now())",
                [delivery_id, request.id, answer["status"], Jsonb(answer["headers"]), body, answer["is_cut"]],
            )
    return str(request.id)


async def test_the_answer_of_a_target_is_given_again(edge: InsideEdge, owner: AsyncConnection[Any]) -> None:
    await post(edge, "k-1")
    given = {"Content-Type": "text/csv", "X-Page": "2", "Set-Cookie": "a=b", "Content-Length": "9"}
    kept = {"status": 203, "headers": given, "body": b"a;b\n\x00", "is_cut": False}
    first = await end_first(owner, kept, status=203)
    again = await post(edge, "k-1")
    assert (again.status, again.body, again.original) == (203, b"a;b\n\x00", first)
    assert (again.headers["content-type"], again.headers["x-page"]) == ("text/csv", "2")
    assert "set-cookie" not in again.headers
    assert again.headers["content-length"] == "5"


async def test_answers_that_are_not_kept(edge: InsideEdge, owner: AsyncConnection[Any]) -> None:
    await post(edge, "k-1")
    kept = {"status": 200, "headers": {}, "body": b"a", "is_cut": True}
    first = await end_first(owner, kept, status=200)
    again = await post(edge, "k-1")
    assert (again.status, again.error, again.original) == (409, "answer_not_kept", first)
    assert again.headers["x-should-retry"] == "false"
    assert first in json.loads(again.body)["message"]


SYNC = numbered(TARGET, 1, delivery_mode=DeliveryMode.SYNC, timeout_seconds=10)
STREAM = numbered(TARGET, 1, delivery_mode=DeliveryMode.STREAM)
LATE = 10 + GRACE_SECONDS


@pytest.mark.parametrize(
    ("target", "age_seconds", "ended", "error"),
    [
        (SYNC, LATE - 1, None, CallInProgress),
        (SYNC, LATE + 1, None, SyncTimeout),
        (STREAM, 1e6, None, CallInProgress),
        (None, 1e6, None, CallInProgress),
        (STREAM, 1, StoredEnd(200, "", is_stream=True), AnswerNotKept),
        (SYNC, 1, StoredEnd(504, "sync_timeout", is_stream=False), SyncTimeout),
        (SYNC, 1, StoredEnd(502, "target_failed", is_stream=False), AnswerNotKept),
        (SYNC, 1, StoredEnd(200, "", is_stream=False), AnswerNotKept),
    ],
)
def test_what_is_said_without_an_answer(
    target: Target | None, age_seconds: float, ended: StoredEnd | None, error: type[RelayError]
) -> None:
    said = _without_answer(StoredCall(uuid7(), b"", age_seconds, 0, False, ended, None), target)
    assert type(said) is error
    assert said.retry_after_seconds == (1 if error is CallInProgress else None)


@pytest.mark.parametrize(
    ("target", "ended", "error"),
    [
        (SYNC, None, CallInProgress),
        (SYNC, StoredEnd(504, "sync_timeout", is_stream=False), CallInProgress),
        (STREAM, None, CallInProgress),
        (STREAM, StoredEnd(200, "", is_stream=True), AnswerNotKept),
    ],
)
def test_what_is_said_while_a_worker_has_the_call(
    target: Target, ended: StoredEnd | None, error: type[RelayError]
) -> None:
    said = _without_answer(StoredCall(uuid7(), b"", 1e6, 0, True, ended, None), target)
    assert type(said) is error


@pytest.mark.parametrize("status", [404, 409, 422, 500, 503])
async def test_a_targets_own_error_is_its_answer_again(
    edge: InsideEdge, owner: AsyncConnection[Any], status: int
) -> None:
    await post(edge, "k-1")
    given = {"Content-Type": "application/problem+json", "X-Reason": "none left", "Retry-After": "7"}
    kept = {"status": status, "headers": given, "body": b'{"title":"no"}', "is_cut": False}
    first = await end_first(owner, kept, status=status)
    again = await post(edge, "k-1")
    assert (again.status, again.body, again.original) == (status, b'{"title":"no"}', first)
    assert {name: again.headers[name] for name in given} == given
    assert again.headers["idempotent-replayed"] == "true"
    assert len(await taken(owner)) == 1


async def test_a_call_that_was_given_up_is_in_progress_until_its_late_answer(
    edge: InsideEdge, owner: AsyncConnection[Any]
) -> None:
    """The caller was told 504, a worker still listens: 409, then the answer that came; and nothing is sent again."""
    await post(edge, "k-1")
    await owner.execute("UPDATE deliveries_live SET mode = 'sync', state = 'sending'")
    first = await end_first(owner, None, status=504, error="sync_timeout")
    during = await post(edge, "k-1")
    assert (during.status, during.error, during.headers["retry-after"]) == (409, "idempotency_in_progress", "1")
    (delivery,) = await stored(owner, DeliveryRow)
    await owner.execute(
        "INSERT INTO deliveries_answer VALUES (%s, %s, 200, '{}', 'late', false, 9000, now())", [delivery.id, first]
    )
    after = await post(edge, "k-1")
    assert (after.status, after.body, after.original) == (200, b"late", first)
    await owner.execute("DELETE FROM deliveries_answer")
    await owner.execute("DELETE FROM deliveries_live")
    lost = await post(edge, "k-1")
    assert (lost.status, lost.error, lost.original) == (504, "sync_timeout", first)
    assert len(await taken(owner)) == 1


async def test_a_postgres_that_ends_before_the_commit(
    edge: InsideEdge, owner: AsyncConnection[Any], database_url: str
) -> None:
    async with await AsyncConnection.connect(database_url) as holder:
        await holder.execute("LOCK TABLE deliveries_request")
        first = asyncio.create_task(post(edge, "k-1"))

        async def is_cut() -> bool:
            cursor = await owner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'relay_edge'"
                " AND wait_event_type = 'Lock'"
            )
            return cursor.rowcount > 0

        await until(is_cut, "a commit in progress")
        assert (await first).status == 503
    answer = await until_accepted(edge)
    assert answer.original is None
    assert [row.idempotency_key for row in await taken(owner)] == ["k-1"]


async def test_a_commit_that_nobody_heard_of(  # noqa: PLR0917 - fixtures
    owner: AsyncConnection[Any], database_url: str, edge_database_url: str, redis_url: str, free_port: int,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Postgres took it and the connection broke: the caller was told to come again, and is recognised then."""
    await insert(owner, *IN_ORDER)
    proxy = await Proxy.start(edge_database_url)
    async with inside_edge(tmp_path, free_port, proxy.url, redis_url) as edge:
        async with await AsyncConnection.connect(database_url) as holder:
            await holder.execute(  # not a lock on the table: the edge would wait before it has sent its rows
                "INSERT INTO deliveries_idempotency VALUES (1, 'k-1', gen_random_uuid(), '', now(), now())"
            )
            first = asyncio.create_task(post(edge, "k-1"))

            async def is_waiting() -> bool:
                cursor = await owner.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                return cursor.rowcount > 0

            await until(is_waiting, "a commit in progress")
            proxy.freeze()
            await holder.rollback()

        async def is_stored() -> bool:
            return len(await taken(owner)) == 1

        await until(is_stored, "the commit")
        await proxy.close()
        assert (await first).status == 503
        proxy.thaw()
        await proxy.open()
        answer = await until_accepted(edge)
        (request,) = await taken(owner)
        assert answer.original == str(request.id)
        assert len(await stored(owner, DeliveryRow)) == 1
    await proxy.close()


async def until_accepted(edge: InsideEdge) -> Answer:
    """As an SDK does it: the same call with the same key until it is taken."""

    async def accepted() -> Answer | None:
        try:
            answer = await post(edge, "k-1")
        except aiohttp.ClientError:
            return None
        assert answer.status in {202, 503}
        return answer if answer.status == 202 else None

    found = await until(accepted, "an accepted call")
    assert found is not None
    return found


async def test_what_cannot_be_looked_up_is_not_answered() -> None:
    with pytest.raises(AcceptUnavailable):
        await StoredCalls("postgresql://nobody@127.0.0.1:1/none").read(1, "k-1")

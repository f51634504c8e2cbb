"""The order of the steps of a call to a relay endpoint, with parts that write down what they see."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any, cast

import pytest
from aiohttp import web

from relay_contract import nouns, tokens
from relay_contract.errors import AcceptUnavailable, CallInProgress, RelayError, SyncTimeout, Unavailable
from relay_contract.ids import uuid7
from relay_edge.addresses import by_path
from relay_edge.admission import Admission
from relay_edge.auth import Authenticator
from relay_edge.catalog.holder import Catalog
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.client_ip import ClientIps
from relay_edge.deadlines import DeadlineWheel
from relay_edge.door import Door
from relay_edge.endpoints import Endpoints, Run
from relay_edge.fan_out import FanOut, Response, plan
from relay_edge.intake import Accepted
from relay_edge.metrics import Metrics
from relay_edge.prepared import PreparedEndpoints
from relay_edge.relay_call import NOT_JSON, CallKey, RelayCall, RelayEnd
from relay_edge.relay_callers import RelayCallers
from relay_edge.reply import send
from relay_edge.reservation import Reservation
from relay_edge.shield import Shield
from tests.edge.conftest import until
from tests.edge.nouns import ENDPOINT, EVERYTHING, LINE, PROJECT, RATE_LIMIT, RELAY_KEY, TARGET, TOKEN, numbered
from tests.edge.plane import SEALER, Answer, Caller

PATH = "/r/demo/v1/events"
OTHERS = tokens.mint(nouns.KeyMode.LIVE)
TIGHT = numbered(RATE_LIMIT, 7, slug="tight", rules=(nouns.Rule(nouns.Meter.CONCURRENCY, 1, 60),))
ROWS = (
    *EVERYTHING,
    TIGHT,
    replace(ENDPOINT, rate_limit_id=TIGHT.id),
    numbered(TARGET, 2, name="lookup"),
    numbered(PROJECT, 2, slug="other"),
    numbered(LINE, 2, slug="v1", project_id=nouns.ProjectId(2)),
    numbered(RELAY_KEY, 2, project_id=nouns.ProjectId(2), token_hash=OTHERS.hash),
)
OWN = f"Authorization: Bearer {TOKEN.token}"


@dataclass
class Book:
    """Everything that happened, in order, and what parts are told to do."""

    seen: list[str] = field(default_factory=list)
    committed: list[Accepted] = field(default_factory=list)
    refused: list[tuple[int, str, bool]] = field(default_factory=list)  # status, code, whether an endpoint was known
    ended: list[RelayEnd] = field(default_factory=list)
    calls: list[RelayCall] = field(default_factory=list)
    commits: list[bool | RelayError] = field(default_factory=list)  # what the next commits come to; True beyond
    expects: RelayError | None = None
    answers: RelayError | None = None
    waits: asyncio.Event | None = None
    mode: str = ""


class Rows:
    """Where accepted calls go."""

    is_closing = False

    def __init__(self, book: Book) -> None:
        self._book = book

    async def commit(self, accepted: Accepted, /) -> bool:
        self._book.seen.append("commit")
        outcome = self._book.commits.pop(0) if self._book.commits else True
        if isinstance(outcome, RelayError):
            raise outcome
        if outcome:
            self._book.committed.append(accepted)
        return outcome


class Lookup:
    """Answers callers in the name of their target."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def expect(self, call: RelayCall, fan_out: FanOut) -> None:
        self._book.seen.append("expect")
        self._book.calls.append(call)
        assert fan_out.response is not None
        if self._book.expects is not None:
            raise self._book.expects

    async def answer(self, call: RelayCall, fan_out: FanOut, reservation: Reservation) -> web.StreamResponse:
        self._book.seen.append("answer")
        assert fan_out.response is not None
        assert not reservation.is_settled
        if self._book.waits is not None:
            await self._book.waits.wait()
        if self._book.answers is not None:
            raise self._book.answers
        call.status, call.bytes_out = 203, 5
        return send(call.request, 203, fan_out.response.target.name.encode()[:5], content_type="text/plain")

    def forget(self, call: RelayCall) -> None:
        self._book.seen.append("forget")
        assert call is self._book.calls[-1]


class Once:
    """Heeds Idempotency-Key, and gives whoever comes second the first one's request id."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def read(self, call: RelayCall) -> None:
        key = call.request.headers.get("Idempotency-Key")
        if key == "busy":
            raise CallInProgress(retry_after_seconds=1)
        if key is not None:
            call.key = CallKey(key, b"")

    async def once(self, call: RelayCall, run: Run) -> web.StreamResponse:
        self._book.seen.append("once")
        answer = await run()
        if answer is not None:
            return answer
        call.status = 202
        return send(call.request, 202, b'{"status":"queued","requestId":"the first"}')


class Challenge(Shield):
    """Answers some bodies itself."""

    async def after_body(self, call: RelayCall) -> web.StreamResponse | None:
        if call.body != b"challenge":
            return None
        call.status = 200
        return send(call.request, 200, b"accepted")


@dataclass
class Relay:
    """A running pipeline."""

    port: int
    book: Book
    metrics: Metrics
    admission: Admission
    catalog: Catalog

    async def caller(self) -> Caller:
        return Caller(*await asyncio.open_connection("127.0.0.1", self.port))

    async def post(self, *lines: str, path: str = PATH, body: bytes = b"{}") -> Answer:
        caller = await self.caller()
        await caller.post(body, *lines, path=path)
        answer = await caller.answer()
        await caller.close()
        return answer


@asynccontextmanager
async def running_relay(redis_url: str, **parts: Any) -> AsyncIterator[Relay]:
    """At its end nothing may be left in flight. `rows`, `shield`, `prepared`: other ones than usual."""
    loop, book = asyncio.get_running_loop(), Book()
    wheel, metrics, catalog = DeadlineWheel(loop), Metrics(), Catalog(SEALER)
    catalog.swap(Snapshot.build(parts.pop("rows", ROWS)))
    admission = Admission(redis_url, wheel, metrics)
    await admission.start()

    def to_lookup(call: RelayCall) -> FanOut:
        book.seen.append("plan")
        planned = plan(call)
        if not book.mode or planned.response is not None:
            return planned
        first, second, *_ = planned.queued
        return FanOut((first,), Response(book.mode, call.route.targets[1], second), filtered_count=1)

    def refused(call: RelayCall) -> None:
        book.refused.append((call.status, call.error, call.found is not None))

    endpoints = Endpoints(
        catalog,
        admission,
        Rows(book),
        metrics,
        callers=RelayCallers(Authenticator()),
        shield=parts.pop("shield", None) or Challenge(),
        plan=to_lookup,
        client_ips=ClientIps((ip_network("127.0.0.0/8"),)),
        prepared=parts.pop("prepared", None) or PreparedEndpoints(),
        responders={"sync": Lookup(book)},
        on_refused=refused,
        on_ended=book.ended.append,
        **({"idempotency": Once(book)} if parts.pop("once", False) else {}),
    )

    async def dispatch(request: web.BaseRequest) -> web.StreamResponse:
        return await endpoints.handle(request, by_path(request.raw_path.partition("?")[0]))

    door = Door(dispatch, metrics.surfaces["other"])
    listening = await loop.create_server(door, "127.0.0.1", 0)
    try:
        yield Relay(listening.sockets[0].getsockname()[1], book, metrics, admission, catalog)
    finally:
        listening.close()
        await door.drain(1)
        await admission.close()
        wheel.close()
    assert admission.in_flight == 0
    assert metrics.surfaces["relay"].in_flight.value == 0


def relayed(metrics: Metrics) -> dict[str, float]:
    """What was counted, by labels."""
    found = metrics.registry.dump()["families"]["relay_edge_relayed_total"]
    return {labels: value for labels, value in found.items() if value}


async def test_queued_calls(redis_url: str) -> None:
    async with running_relay(redis_url) as relay:
        answer = await relay.post(OWN, "X-Forwarded-For: 203.0.113.7", "relay-hops: 2", "X-Event: a", body=b"12345")
        book = relay.book
        assert (answer.status, book.seen) == (202, ["plan", "commit"])
        [accepted] = book.committed
        [end] = book.ended
    assert answer.json == {"status": "queued", "requestId": str(accepted.request.id)}
    assert accepted.request.client_ip == "203.0.113.7"
    assert json.loads(accepted.request.headers) == {"x-event": "a", "relay-hops": "3"}
    assert [row.target_id for row in accepted.deliveries] == [1, 2]
    assert end == RelayEnd(
        accepted.request.id, accepted.request.received_at, 1, "demo", "v1", "events", "async", 202, "", 2, 5, 0,
        "203.0.113.7", end.seconds,
    )  # fmt: skip
    assert book.refused == []
    assert relayed(relay.metrics) == {'mode="async",status="2xx"': 1}


async def test_a_target_answers_once_everything_is_committed(redis_url: str) -> None:
    async with running_relay(redis_url) as relay:
        book = relay.book
        book.mode = "sync"
        answer = await relay.post(OWN)
        assert (answer.status, answer.body) == (203, b"looku")
        assert book.seen == ["plan", "expect", "commit", "answer", "forget"]
        [accepted], [end] = book.committed, book.ended
    assert [row.target_id for row in accepted.deliveries] == [1, 2]
    assert (end.mode, end.status, end.targets, end.bytes_out) == ("sync", 203, 2, 5)
    assert relayed(relay.metrics) == {'mode="sync",status="2xx"': 1}


async def test_a_call_holds_its_place_until_its_target_answered(redis_url: str) -> None:
    async with running_relay(redis_url) as relay:
        relay.book.mode, relay.book.waits = "sync", asyncio.Event()
        first = asyncio.create_task(relay.post(OWN))
        await until(lambda: "answer" in relay.book.seen, "the target to be asked")
        assert (await relay.post(OWN)).status == 429
        relay.book.waits.set()
        assert (await first).status == 203
        assert (await relay.post(OWN)).status == 203


async def test_a_caller_who_leaves_is_forgotten_and_was_accepted(redis_url: str) -> None:
    async with running_relay(redis_url) as relay:
        book = relay.book
        book.mode, book.waits = "sync", asyncio.Event()
        caller = await relay.caller()
        await caller.post(b"{}", OWN, path=PATH)
        await until(lambda: "answer" in book.seen, "the target to be asked")
        await caller.close()
        await until(lambda: book.ended, "the call to end")
        assert book.seen[-1] == "forget"
        assert (book.ended[0].status, book.ended[0].mode, len(book.committed)) == (499, "sync", 1)
        assert relay.metrics.surfaces["relay"].disconnects.value == 1
    assert book.refused == []


async def test_a_target_that_fails_after_the_commit_is_no_refusal(redis_url: str) -> None:
    async with running_relay(redis_url) as relay:
        book = relay.book
        book.mode, book.answers = "sync", SyncTimeout()
        answer = await relay.post(OWN)
        assert (answer.status, answer.json["error"]) == (504, "sync_timeout")
        assert answer.json["requestId"] == str(book.committed[0].request.id)
        assert (book.refused, book.ended[0].error) == ([], "sync_timeout")
        assert book.seen[-1] == "forget"
    assert relayed(relay.metrics) == {'mode="sync",status="5xx"': 1}


async def test_what_cannot_be_answered_is_not_committed(redis_url: str) -> None:
    async with running_relay(redis_url) as relay:
        book = relay.book
        book.mode, book.expects = "sync", Unavailable("Too many calls wait.", retry_after_seconds=1)
        assert (await relay.post(OWN)).status == 503
        assert book.seen == ["plan", "expect"]
        book.mode = "stream"
        answer = await relay.post(OWN)
        assert (answer.status, answer.json["error"]) == (503, "endpoint_misconfigured")
        assert (book.committed, book.refused) == (
            [], [(503, "unavailable", True), (503, "endpoint_misconfigured", True)],
        )  # fmt: skip


async def test_what_is_not_committed_is_forgotten(redis_url: str) -> None:
    async with running_relay(redis_url) as relay:
        book = relay.book
        book.mode, book.commits = "sync", [AcceptUnavailable()]
        assert (await relay.post(OWN)).status == 503
        assert book.seen == ["plan", "expect", "commit", "forget"]
        assert book.refused == [(503, "accept_unavailable", True)]


async def test_calls_that_are_made_once(redis_url: str) -> None:
    async with running_relay(redis_url, once=True) as relay:
        book = relay.book
        assert (await relay.post(OWN)).status == 202
        assert book.seen == ["plan", "commit"]
        book.seen.clear()
        assert (await relay.post(OWN, "Idempotency-Key: a")).json["requestId"] == str(book.committed[1].request.id)
        assert book.seen == ["once", "plan", "commit"]
        book.commits = [False]
        answer = await relay.post(OWN, "Idempotency-Key: a")
        assert (answer.status, answer.json["requestId"]) == (202, "the first")
        book.mode, book.commits = "sync", [False]
        answer = await relay.post(OWN, "Idempotency-Key: a")
        assert (answer.status, answer.json["requestId"]) == (202, "the first")
        assert book.seen[-3:] == ["expect", "commit", "forget"]
        answer = await relay.post(OWN, "Idempotency-Key: busy")
        assert (answer.status, answer.headers["retry-after"]) == (409, "1")
        assert len(book.committed) == 2
        assert book.refused == [(409, "idempotency_in_progress", True)]
    assert relayed(relay.metrics) == {
        'mode="async",status="2xx"': 2,
        'mode="none",status="2xx"': 2,
        'mode="none",status="4xx"': 1,
    }


async def test_who_is_told_of_refusals(redis_url: str) -> None:
    async with running_relay(redis_url) as relay:
        book = relay.book
        others = f"Authorization: Bearer {OTHERS.token}"
        for path, lines, status in (
            (PATH, (), 401),
            (PATH, ("Authorization: Bearer rk_live_unknown",), 401),
            (PATH, (others,), 403),
            ("/r/demo/v1/none", (OWN,), 404),
            ("/r/demo", (OWN,), 404),
            (PATH, (OWN, "relay-hops: 4"), 508),
            (PATH, (OWN, "relay-hops: x"), 400),
            (PATH, (OWN, "X-Latin: caf\x80"), 400),
        ):
            assert (await relay.post(*lines, path=path)).status == status
        assert (await relay.post(OWN, body=b"x" * 1001)).status == 413
        assert book.refused == [
            (403, "wrong_project", False),  # nobody learns which endpoint of others was meant
            (404, "endpoint_not_found", False),
            (404, "endpoint_not_found", False),
            (508, "relay_loop", True),
            (400, "bad_header", True),
            (400, "bad_header", True),
            (413, "body_too_large", True),
        ]
        assert [end.error for end in book.ended[:2]] == ["missing_key", "invalid_key"]
        assert {end.mode for end in book.ended} == {""}
        assert book.seen == []


async def test_an_answer_of_the_shield_ends_the_call(redis_url: str) -> None:
    async with running_relay(redis_url) as relay:
        answer = await relay.post(OWN, body=b"challenge")
        assert (answer.status, answer.body) == (200, b"accepted")
        assert (relay.book.refused, relay.book.seen) == ([(200, "", True)], [])


async def test_before_the_first_catalog(redis_url: str) -> None:
    async with running_relay(redis_url) as relay:
        relay.catalog.snapshot = None
        answer = await relay.post(OWN)
        assert (answer.status, answer.json["error"], answer.headers["retry-after"]) == (503, "unavailable", "1")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": [1]}', {"a": [1]}),
        (b"null", None),
        (b"7", 7),
        (b"", NOT_JSON),
        (b"{", NOT_JSON),
        (b"NaN", NOT_JSON),
        (b'"\xff"', NOT_JSON),
    ],
    ids=lambda each: repr(each)[:12],
)
async def test_a_document_is_read_once(redis_url: str, body: bytes, expected: object) -> None:
    async with running_relay(redis_url) as relay:
        relay.book.mode = "sync"
        await relay.post(OWN, body=body)
        [call] = relay.book.calls
    assert call.document() == expected
    call.body = b"changed"
    assert call.document() == expected


def test_a_document_without_end_is_none() -> None:
    unused = cast("Any", None)
    call = RelayCall(uuid7(), unused, unused, None, None, "192.0.2.7", 0.0, datetime.now(UTC), body=b"[" * 1_000_000)
    assert call.document() is NOT_JSON

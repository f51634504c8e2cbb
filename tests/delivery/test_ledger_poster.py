"""Calls become entries: once, killed anywhere, by any number of posters, whatever is among them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async

from delivery import ledger_fold, ledger_poster
from delivery.database import PLANNED_ONCE, Connection, DatabaseAway
from delivery.ledger_poster import Poster, Posters
from relay_admin.ledger import accounts, proofs
from relay_admin.traffic.retention import traffic_forget
from relay_contract.ledger import REVENUE, SUSPENSE, EntryKind
from relay_contract.nouns import KeyMode
from relay_contract.traffic import CallRow
from tests.delivery.queue import PROJECT_ID, Queue
from tests.delivery.test_alerts import call_row, call_rows

BEGINNING = date(2020, 1, 1)
NO_PRICE: dict[str, Any] = {"pricing_id": None, "generation": None, "user_id": None, "application_id": None}
Post = Callable[[], Poster]


@pytest_asyncio.fixture
async def poster(database_url: str) -> AsyncIterator[Post]:
    """Makes posters, each with a connection of its own."""
    async with AsyncExitStack() as stack:

        def make(connection: Connection | None = None) -> Poster:
            connection = connection or Connection(database_url, "post", PLANNED_ONCE)
            stack.push_async_callback(connection.close)
            return Poster(connection)

        yield make


async def account(queue: Queue, kind: str = "wallet", mode: str = "live") -> int:
    [row] = await queue.sql(
        "SELECT id FROM ledger_account WHERE kind = %s AND mode = %s AND project_id = %s", kind, mode, PROJECT_ID
    )
    return int(row["id"])


async def terms(queue: Queue, owner_ppm: int = 900_000, referral_ppm: int = 0) -> int:
    [row] = await queue.sql(
        "INSERT INTO ledger_terms (project_id, markup_ppm, owner_ppm, referral_ppm) VALUES (%s, 100000, %s, %s)"
        " RETURNING id",
        PROJECT_ID,
        owner_ppm,
        referral_ppm,
    )
    return int(row["id"])


async def charged(queue: Queue, count: int = 1, **columns: Any) -> list[CallRow]:
    """Calls of 1,100 each, of which 100 are mark-up."""
    given = {
        **NO_PRICE,
        "payer_id": await account(queue),
        "charge_microcredits": 1100,
        "markup_microcredits": 100,
        "terms_id": None,
        "model": "gpt",
        "relay_key_id": 5,
        "cost_nanousd": 1000,
        "input_tokens": 7,
    }
    calls = [call_row(**given | columns) for _ in range(count)]
    await call_rows(queue, *calls)
    return calls


async def entries(queue: Queue) -> list[tuple[int, int, int, int]]:
    rows = await queue.sql("SELECT kind, debit_id, credit_id, amount FROM ledger_entry ORDER BY source, kind")
    return [(row["kind"], row["debit_id"], row["credit_id"], row["amount"]) for row in rows]


async def due(queue: Queue) -> list[tuple[UUID, int, str]]:
    rows = await queue.sql("SELECT id, tries, error FROM ledger_due ORDER BY id")
    return [(row["id"], row["tries"], row["error"]) for row in rows]


async def used(queue: Queue) -> list[tuple[int, int, int]]:
    rows = await queue.sql(
        "SELECT calls, charge, input_tokens FROM ledger_usagehour ORDER BY hour, relay_key_id, model"
    )
    return [(row["calls"], row["charge"], row["input_tokens"]) for row in rows]


async def drifts() -> list[proofs.Drift]:
    return await sync_to_async(proofs.drifts)(BEGINNING)


async def test_a_charge_becomes_entries_under_its_terms(queue: Queue, poster: Post) -> None:
    wallet, earnings = await account(queue), await account(queue, "earnings")
    [call] = await charged(queue, terms_id=await terms(queue), pricing_id=3, pricing_version=2, generation=9)
    assert await poster().step() is False
    assert await entries(queue) == [
        (EntryKind.USAGE, wallet, REVENUE[KeyMode.LIVE], 1000),
        (EntryKind.MARKUP_OWNER, wallet, earnings, 90),
        (EntryKind.MARKUP_FEE, wallet, REVENUE[KeyMode.LIVE], 10),
    ]
    [line] = [each for each in await sync_to_async(accounts.entries_page)(wallet) if each.kind is EntryKind.USAGE]
    assert (line.call_id, line.amount, line.project_id) == (call.id, -1000, PROJECT_ID)
    assert (line.terms_id, line.pricing_id, line.pricing_version) == (call.terms_id, 3, 2)
    assert await queue.sql("SELECT DISTINCT generation FROM ledger_entry") == [{"generation": 9}]
    assert await due(queue) == []
    assert await drifts() == []


async def test_who_brought_the_user_has_a_share(queue: Queue, poster: Post) -> None:
    ids = [
        (await queue.sql(
            "INSERT INTO access_user (username, email, password, first_name, last_name, is_superuser, is_staff,"
            " is_active, date_joined) VALUES (%s, %s, '', '', '', false, false, true, now()) RETURNING id",
            name, f"{name}@example.test",
        ))[0]["id"] for name in ("ada", "bob")
    ]  # fmt: skip
    await queue.sql(
        "INSERT INTO access_membership (project_id, user_id, role, referrer_id, created_at)"
        " VALUES (%s, %s, 'customer', %s, now())",
        PROJECT_ID, *ids,
    )  # fmt: skip
    [row] = await queue.sql(
        "SELECT id FROM ledger_account WHERE kind = 'earnings' AND mode = 'live' AND user_id = %s", ids[1]
    )
    under = await terms(queue, referral_ppm=500_000)
    [call] = await charged(queue, terms_id=under, user_id=ids[0], application_id=77)
    await charged(queue, terms_id=under, user_id=ids[1])
    await poster().step()
    wallet, earnings = await account(queue), await account(queue, "earnings")
    assert await entries(queue) == [
        (EntryKind.USAGE, wallet, REVENUE[KeyMode.LIVE], 1000),
        (EntryKind.MARKUP_OWNER, wallet, earnings, 45),
        (EntryKind.MARKUP_REFERRAL, wallet, row["id"], 45),
        (EntryKind.MARKUP_FEE, wallet, REVENUE[KeyMode.LIVE], 10),
        (EntryKind.USAGE, wallet, REVENUE[KeyMode.LIVE], 1000),
        (EntryKind.MARKUP_OWNER, wallet, earnings, 90),
        (EntryKind.MARKUP_FEE, wallet, REVENUE[KeyMode.LIVE], 10),
    ]
    lines = await sync_to_async(accounts.entries_page)(wallet)
    assert {each.application_id for each in lines if each.call_id == call.id} == {77}
    assert await drifts() == []


async def test_what_is_never_due(queue: Queue, poster: Post) -> None:
    """Nothing used, nobody to pay: also rows that the version before wrote, which have no payer at all."""
    await charged(queue, usage_source="none")
    await charged(queue, payer_id=None)
    assert await due(queue) == []


async def test_a_call_of_nothing_is_counted_and_not_posted(queue: Queue, poster: Post, database_url: str) -> None:
    await charged(queue, charge_microcredits=0, markup_microcredits=0)
    await poster().step()
    assert await entries(queue) == []
    await folded(database_url)
    assert await used(queue) == [(1, 0, 7)]


async def folded(database_url: str) -> None:
    connection = Connection(database_url, "fold")
    try:
        while await ledger_fold.fold(connection):
            pass
    finally:
        await connection.close()


async def test_usage_is_summed_up_by_the_hour(queue: Queue, poster: Post, database_url: str) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    await charged(queue, 2, received_at=hour - timedelta(hours=2))
    await charged(queue, 3, received_at=hour)
    for _ in range(2):
        await poster().step()
        await folded(database_url)
        assert await drifts() == []
    assert await used(queue) == [(2, 2200, 14), (3, 3300, 21)]
    await charged(queue, 1, received_at=hour + timedelta(minutes=59), relay_key_id=6)
    await charged(queue, 1, received_at=hour + timedelta(minutes=59))
    await poster().step()
    assert await drifts() == []
    await folded(database_url)
    assert await used(queue) == [(2, 2200, 14), (4, 4400, 28), (1, 1100, 7)]
    await queue.sql("UPDATE ledger_usagehour SET charge = charge + 1 WHERE calls = 4")
    assert [drift.code for drift in await drifts()] == ["usage_differs"]


async def test_a_row_that_comes_again_is_posted_once(queue: Queue, poster: Post) -> None:
    [call] = await charged(queue)
    await poster().step()
    await call_rows(queue, call)
    assert await due(queue) == []
    await queue.sql("INSERT INTO ledger_due (id) VALUES (%s)", call.id)
    await poster().step()
    assert len(await entries(queue)) == 2


async def test_a_row_that_was_spilled_is_posted_when_it_comes(queue: Queue, poster: Post) -> None:
    await charged(queue)
    await poster().step()
    await charged(queue, received_at=datetime.now(UTC) - timedelta(days=3))
    await poster().step()
    assert len(await entries(queue)) == 4
    assert await drifts() == []


class Failing(Connection):
    """Loses its connection at the statement with that number, before it runs or after."""

    def __init__(self, url: str, at: int, *, before: bool) -> None:
        super().__init__(url, "killed", PLANNED_ONCE)
        self.left = at
        self._before = before

    async def rows(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        self.left -= 1
        if self.left == 0 and self._before:
            await self._lose()
        found = await super().rows(statement, parameters)
        if self.left == 0:
            await self._lose()
        return found

    async def _lose(self) -> None:
        await self.close()
        raise DatabaseAway("killed")


STATEMENTS = 6  # BEGIN, TAKE, POST, COUNT, PUT_BACK, COMMIT


@pytest.mark.parametrize("before", [True, False])
async def test_killed_anywhere_is_not_killed(
    queue: Queue, poster: Callable[..., Poster], database_url: str, before: bool
) -> None:
    named = await terms(queue)
    for at in range(1, STATEMENTS + 1):
        await charged(queue, 2, terms_id=named)
        [bad] = await charged(queue, terms_id=10**6 + at)
        failing = Failing(database_url, at, before=before)
        with pytest.raises(DatabaseAway):
            await poster(failing).step()
        assert failing.left == 0
        assert await drifts() == []
        await queue.sql("UPDATE ledger_due SET not_before = now() WHERE id = %s AND tries = 0", bad.id)
        await poster().step()
        assert len(await entries(queue)) == 6 * at
        assert [row[0] for row in await due(queue)][-1] == bad.id
        assert len(await due(queue)) == at
        assert await drifts() == []
    await folded(database_url)
    assert sum(calls for calls, _, _ in await used(queue)) == 2 * STATEMENTS
    assert await drifts() == []


async def test_posters_at_once_take_different_calls(
    queue: Queue, poster: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_poster, "MOST", 200)
    await charged(queue, 500, terms_id=await terms(queue))

    async def post() -> int:
        each = poster()
        while await each.step():
            pass
        return each.figures.calls

    posted = await asyncio.gather(post(), post(), post())
    assert sum(posted) == 500
    assert len(await entries(queue)) == 3 * 500
    assert await drifts() == []


async def test_a_second_poster_works_while_the_first_leaves_something(
    queue: Queue, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_poster, "MOST", 100)
    await charged(queue, 450, terms_id=await terms(queue))
    connections = [Connection(database_url, f"post-{number}") for number in range(2)]
    posters = Posters(*connections)
    posted = []
    while await posters.step():
        posted.append(posters.figures.calls)
    assert (posted, posters.figures.calls) == ([100, 300, 450], 450)
    assert await drifts() == []
    for connection in connections:
        await connection.close()


async def test_what_postgres_refuses_holds_up_no_other(queue: Queue, poster: Post) -> None:
    """Revenue cannot pay itself: nothing but the entry's own check knows."""
    await charged(queue, 30)
    [bad] = await charged(queue, payer_id=REVENUE[KeyMode.LIVE])
    await charged(queue, 30)
    one = poster()
    while await one.step():
        pass
    assert len(await entries(queue)) == 120
    [(id_, tries, error)] = await due(queue)
    assert (id_, tries) == (bad.id, 1)
    assert "ledger_entry_sides" in error
    assert (one.figures.calls, one.figures.entries, one.figures.put_back) == (60, 120, 1)
    await charged(queue, 1)
    await one.step()
    assert one.figures.calls == 61
    assert await drifts() == []


async def test_what_cannot_be_posted_waits_longer_each_time(queue: Queue, poster: Post) -> None:
    [call] = await charged(queue, terms_id=99)
    waits = []
    for _ in range(14):
        await queue.sql("UPDATE ledger_due SET not_before = now()")
        await poster().step()
        [row] = await queue.sql("SELECT extract(epoch FROM not_before - now()) AS wait FROM ledger_due")
        waits.append(round(float(row["wait"])))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600]
    assert await due(queue) == [(call.id, 14, "There are no terms 99.")]
    assert await entries(queue) == []
    await poster().step()
    assert [tries for _, tries, _ in await due(queue)] == [14]


async def test_a_call_that_was_tried_for_months_holds_up_no_other(queue: Queue, poster: Post) -> None:
    [bad] = await charged(queue, terms_id=99)
    for tries in (1100, 2**15 - 1):
        await queue.sql("UPDATE ledger_due SET tries = %s, not_before = now()", tries)
        await charged(queue)
        await poster().step()
        [(id_, now, _)] = await due(queue)
        assert (id_, now) == (bad.id, min(tries + 1, 2**15 - 1))
    assert len(await entries(queue)) == 4


async def test_a_clock_that_went_back_holds_up_no_call(queue: Queue, poster: Post) -> None:
    await charged(queue)
    await queue.sql("UPDATE ledger_due SET not_before = now() + interval '1 day'")
    await poster().step()
    assert await due(queue) == []


class Meddled(Connection):
    """Somebody does something when a transaction was refused, before anything else is said."""

    def __init__(self, url: str, meddle: Callable[[], Awaitable[None]]) -> None:
        super().__init__(url, "meddled", PLANNED_ONCE)
        self._meddle = meddle

    async def close(self) -> None:
        await super().close()
        await self._meddle()


async def test_what_another_posted_after_a_refusal_is_not_due_again(
    queue: Queue, poster: Callable[..., Poster], database_url: str
) -> None:
    [call] = await charged(queue, payer_id=REVENUE[KeyMode.LIVE])
    wallet = await account(queue)

    async def repair_and_post() -> None:
        await queue.sql("UPDATE traffic_call SET payer_id = %s WHERE id = %s", wallet, call.id)
        await poster().step()

    await poster(Meddled(database_url, repair_and_post)).step()
    assert len(await entries(queue)) == 2
    assert await due(queue) == []
    await folded(database_url)
    assert await used(queue) == [(1, 1100, 7)]


async def test_a_payer_that_nobody_knows(queue: Queue, poster: Post) -> None:
    await charged(queue, payer_id=10**9)
    await charged(queue, payer_id=await account(queue, mode="test"))
    await poster().step()
    assert {row[1:3] for row in await entries(queue)} == {(SUSPENSE[KeyMode.LIVE], REVENUE[KeyMode.LIVE])}
    notes = {row["note"] for row in await queue.sql("SELECT note FROM ledger_entry")}
    test_wallet = await account(queue, mode="test")
    assert notes == {f"No live account {each}, which it was charged to." for each in (10**9, test_wallet)}
    assert await drifts() == []


async def test_a_call_that_is_due_is_not_forgotten(queue: Queue, poster: Post) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=100)
    [bad] = await charged(queue, terms_id=99, received_at=long_ago)
    await charged(queue, received_at=long_ago)
    await poster().step()
    forgotten = await sync_to_async(traffic_forget)(calls_days=90, traces_days=14, captures_days=7)
    assert forgotten["traffic_call"] == 1
    assert await queue.sql("SELECT id FROM traffic_call") == [{"id": bad.id}]
    assert await drifts() == []


@pytest.mark.parametrize(
    ("spoil", "codes"),
    [
        ("DELETE FROM ledger_due", ["calls_differ"]),
        ("UPDATE traffic_call SET charge_microcredits = 5000 WHERE id = %s", ["calls_differ"]),
        ("DELETE FROM traffic_call WHERE id = %s", ["entry_without_call"] * 2),
    ],
)
async def test_what_does_not_add_up_is_found(queue: Queue, poster: Post, spoil: str, codes: list[str]) -> None:
    await charged(queue)
    [call] = await charged(queue)
    if "%s" in spoil:
        await poster().step()
        await queue.sql(spoil, call.id)
    else:
        await queue.sql(f"{spoil} WHERE id = '{call.id}'")
        await poster().step()
    assert [drift.code for drift in await drifts()] == codes


async def test_the_edge_writes_calls_and_sees_nothing_of_the_queue(queue: Queue, edge_database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(edge_database_url, autocommit=True) as edge:
        for table in ("due", "terms", "usagehour", "usagedelta"):
            for statement in (f"SELECT * FROM ledger_{table}", f"DELETE FROM ledger_{table}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await edge.execute(statement)

"""The catalog follows Postgres: changes of every kind arrive, and what is lost on the way is made good."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg import AsyncConnection, sql

from relay_contract import nouns
from relay_contract.ending import end
from relay_contract.sealing import Sealer
from relay_edge.catalog import listen
from relay_edge.catalog.holder import Catalog
from relay_edge.catalog.listen import CatalogListener, Pending
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.metrics import Metrics
from tests.edge.conftest import until
from tests.edge.nouns import (
    EVERYTHING,
    HOST_KEY,
    MODEL,
    PROJECT,
    RELAY_KEY,
    REVOCATION,
    SIGNING_KEY,
    insert,
    numbered,
)
from tests.edge.proxy import Proxy

SEALER = Sealer(bytes(32))


class Followed:
    """A catalog with its listener at work."""

    def __init__(self, database_url: str) -> None:
        self.metrics = Metrics()
        self.catalog = Catalog(SEALER)
        self.listener = CatalogListener(self.catalog, database_url, self.metrics)

    @property
    def snapshot(self) -> Snapshot:
        assert self.catalog.snapshot is not None
        return self.catalog.snapshot


@pytest.fixture
async def followed(edge_database_url: str, owner: AsyncConnection[Any]) -> AsyncIterator[Followed]:
    await insert(owner, *EVERYTHING)
    followed = Followed(edge_database_url)
    task = asyncio.create_task(followed.listener.run())
    await until(lambda: followed.catalog.snapshot, "the first load")
    yield followed
    await end(task)
    assert task.cancelled()


async def cut_off(owner: AsyncConnection[Any]) -> int:
    """Ends the listeners' backends; how many there were."""
    cursor = await owner.execute(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = 'relay-edge-catalog' AND datname = current_database()"
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def test_first_load(followed: Followed) -> None:
    assert followed.snapshot == Snapshot.build(EVERYTHING)
    assert followed.catalog.is_connected
    assert followed.metrics.catalog_loads.value == 1


async def test_inserts_updates_and_deletes_arrive(followed: Followed, owner: AsyncConnection[Any]) -> None:
    await insert(owner, numbered(MODEL, 2, name="new"))
    await until(lambda: followed.snapshot.model("new"), "an inserted model")
    await owner.execute("UPDATE catalog_model SET name = 'newer' WHERE id = 2")
    await until(lambda: followed.snapshot.model("newer"), "a renamed model")
    assert followed.snapshot.model("new") is None
    await owner.execute("DELETE FROM catalog_model WHERE id = 2")
    await until(lambda: followed.snapshot.model("newer") is None, "a deleted model")
    assert followed.snapshot == Snapshot.build(EVERYTHING)
    assert followed.metrics.catalog_loads.value == 1
    assert followed.metrics.catalog_changes.value == 3


async def test_a_revoked_key_arrives(followed: Followed, owner: AsyncConnection[Any]) -> None:
    revoked_at = datetime(2026, 11, 21, 13, tzinfo=UTC)
    await owner.execute("UPDATE access_relaykey SET revoked_at = %s", [revoked_at])
    expected = replace(RELAY_KEY, revoked_at=revoked_at)
    await until(lambda: followed.snapshot.relay_key(RELAY_KEY.token_hash) == expected, "the revocation")


async def test_keys_stop_while_who_pays_is_deactivated(followed: Followed, owner: AsyncConnection[Any]) -> None:
    await owner.execute(
        "INSERT INTO access_user (id, password, is_superuser, username, first_name, last_name, is_staff, is_active,"
        " date_joined, email) VALUES (7, '!', false, 'ada', '', '', false, true, now(), 'ada@example.test')"
    )
    await owner.execute("UPDATE access_relaykey SET user_id = 7, pays = 'user', scopes = '{inference}'")
    await owner.execute("DELETE FROM access_revocation")  # a deactivation writes one, under an id of the sequence's

    def is_active() -> bool | None:
        key = followed.snapshot.relay_key(RELAY_KEY.token_hash)
        return key.payer_is_active if key is not None and key.user_id == 7 else None

    for wanted in (True, False, True):
        await owner.execute("UPDATE access_user SET is_active = %s", [wanted])
        await until(lambda wanted=wanted: is_active() is wanted, "the key of the user")  # type: ignore[misc]
    assert followed.metrics.catalog_loads.value == 1


async def test_a_transaction_over_several_tables_arrives_as_one(
    followed: Followed, owner: AsyncConnection[Any]
) -> None:
    async with owner.transaction():
        await owner.execute("UPDATE catalog_project SET slug = 'moved'")
        await owner.execute("UPDATE catalog_line SET slug = 'v2'")
        await owner.execute("UPDATE catalog_endpoint SET slug = 'calls'")
    version = followed.snapshot.version
    route = await until(lambda: followed.snapshot.endpoint("moved", "v2", "calls"), "the moved endpoint")
    assert [target.id for target in route.targets] == [1]
    assert followed.snapshot.version == version + 1


async def test_a_rolled_back_change_changes_nothing(followed: Followed, owner: AsyncConnection[Any]) -> None:
    before = followed.snapshot
    async with owner.transaction(force_rollback=True):
        await owner.execute("UPDATE catalog_project SET slug = 'moved'")
    await owner.execute("UPDATE catalog_model SET owned_by = 'somebody'")  # announced after it, so seen after it
    await until(lambda: followed.snapshot is not before, "the next change")
    assert followed.snapshot.project(PROJECT.id) == PROJECT
    assert followed.metrics.catalog_changes.value == 1


async def test_truncate_loads_everything_again(followed: Followed, owner: AsyncConnection[Any]) -> None:
    await owner.execute("TRUNCATE access_relaykey")
    await until(lambda: followed.snapshot.relay_key(RELAY_KEY.token_hash) is None, "the emptied table")
    assert followed.metrics.catalog_loads.value == 2
    assert followed.snapshot == Snapshot.build(row for row in EVERYTHING if row is not RELAY_KEY)


async def test_what_cannot_be_parsed_loads_everything_again(followed: Followed, owner: AsyncConnection[Any]) -> None:
    await owner.execute("NOTIFY catalog_changed, 'what is this'")
    await until(lambda: followed.metrics.catalog_loads.value == 2, "a full load")


async def test_a_lost_connection_loses_no_change(followed: Followed, owner: AsyncConnection[Any]) -> None:
    assert await cut_off(owner) == 1
    await owner.execute("UPDATE catalog_project SET slug = 'meanwhile'")
    await until(lambda: followed.snapshot.project_by_slug("meanwhile"), "what changed while away")
    assert followed.catalog.is_connected
    assert followed.metrics.catalog_loads.value == 2
    assert followed.metrics.catalog_losses.value == 1
    await owner.execute("UPDATE catalog_project SET slug = 'afterwards'")
    await until(lambda: followed.snapshot.project_by_slug("afterwards"), "a change on the new connection")


async def test_changes_during_changes_all_arrive(followed: Followed, owner: AsyncConnection[Any]) -> None:
    """Notifications that come while rows are read, or while the connection is pinged, are kept for the next turn."""
    for number in range(2, 202):
        await insert(owner, numbered(MODEL, number, name=f"model-{number}"))
    await until(lambda: followed.snapshot.counts()["catalog_model"] == 200 + 1, "200 models one by one")
    assert followed.metrics.catalog_loads.value == 1
    assert followed.metrics.catalog_changes.value == 200


@pytest.mark.parametrize("row", [numbered(REVOCATION, 2, value="2"), numbered(SIGNING_KEY, 2, kid="next")])
async def test_what_refuses_tokens_waits_for_nothing_else(
    followed: Followed, owner: AsyncConnection[Any], row: nouns.Noun
) -> None:
    """Other changes are gathered for longer than this test lives, and what refuses tokens is there before them."""
    followed.listener._gather_seconds = 1_000.0
    await insert(owner, numbered(MODEL, 2, name="gathered"))
    await insert(owner, row)
    await until(lambda: followed.snapshot.counts()[row.table] == 2, "what refuses tokens")
    assert followed.snapshot.model("gathered") is None
    await owner.execute(sql.SQL("DELETE FROM {} WHERE id = 2").format(sql.Identifier(row.table)))
    await until(lambda: followed.snapshot.counts()[row.table] == 1, "its end")
    assert followed.metrics.catalog_loads.value == 1


async def test_tokens_are_refused_while_everything_is_to_be_read(
    followed: Followed, owner: AsyncConnection[Any]
) -> None:
    followed.listener._gather_seconds = 1_000.0
    await owner.execute("NOTIFY catalog_changed, '*'")
    await insert(owner, numbered(REVOCATION, 2, value="2"))
    await until(lambda: followed.snapshot.revocations(nouns.RevocationKind.USER, "2"), "the revocation")
    assert followed.metrics.catalog_loads.value == 1


async def test_very_many_changes_become_one_load(
    followed: Followed, owner: AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "MAX_READ_IDS", 10)
    async with owner.transaction():
        for number in range(2, 14):
            await insert(owner, numbered(MODEL, number, name=f"model-{number}"))
    await until(lambda: followed.snapshot.counts()["catalog_model"] == 13, "the models")
    assert followed.metrics.catalog_changes.value == 0
    assert followed.metrics.catalog_loads.value == 2


async def test_without_postgres_the_last_snapshot_serves_and_ages(
    edge_database_url: str, owner: AsyncConnection[Any]
) -> None:
    await insert(owner, *EVERYTHING)
    proxy = await Proxy.start(edge_database_url)
    followed = Followed(proxy.url)
    task = asyncio.create_task(followed.listener.run())
    await until(lambda: followed.catalog.snapshot, "the first load")
    await proxy.close()
    await until(lambda: not followed.catalog.is_connected, "the loss")
    held, age = followed.snapshot, followed.catalog.age_seconds()
    assert age is not None
    assert held == Snapshot.build(EVERYTHING)
    assert followed.catalog.problem.startswith("Postgres: ")
    assert "@" not in followed.catalog.problem
    await until(lambda: (followed.catalog.age_seconds() or 0) > age, "a growing age")
    await owner.execute("UPDATE catalog_project SET slug = 'meanwhile'")
    await proxy.open()
    await until(lambda: followed.snapshot.project_by_slug("meanwhile"), "the catalog after the outage")
    assert held == Snapshot.build(EVERYTHING)
    await end(task)
    await proxy.close()


async def test_a_connection_that_nobody_answers_is_given_up(
    edge_database_url: str, owner: AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "PING_SECONDS", 0.05)
    monkeypatch.setattr(listen, "PING_TIMEOUT_SECONDS", 0.1)
    await insert(owner, *EVERYTHING)
    proxy = await Proxy.start(edge_database_url)
    followed = Followed(proxy.url)
    task = asyncio.create_task(followed.listener.run())
    await until(lambda: followed.catalog.snapshot, "the first load")
    proxy.freeze()
    await owner.execute("UPDATE catalog_project SET slug = 'meanwhile'")
    await until(lambda: not followed.catalog.is_connected, "the loss to be noticed")
    assert followed.snapshot == Snapshot.build(EVERYTHING)
    proxy.thaw()
    await until(lambda: followed.snapshot.project_by_slug("meanwhile"), "the catalog after the outage")
    await end(task)
    await proxy.close()


async def test_a_postgres_that_is_not_there_yet(edge_database_url: str, owner: AsyncConnection[Any]) -> None:
    await insert(owner, *EVERYTHING)
    proxy = await Proxy.start(edge_database_url)
    await proxy.close()
    followed = Followed(proxy.url)
    task = asyncio.create_task(followed.listener.run())
    await until(lambda: followed.metrics.catalog_losses.value, "the first refusal")
    assert followed.catalog.snapshot is None
    assert followed.catalog.age_seconds() is None
    await proxy.open()
    await until(lambda: followed.catalog.snapshot, "the first load")
    await end(task)
    await proxy.close()


@pytest.mark.parametrize("payload", ["catalog_host *", "", "catalog_host", "catalog_host x", "*"])
def test_pending_reads_all_where_it_cannot_tell(payload: str) -> None:
    pending = Pending()
    pending.add(payload)
    assert pending.is_everything


def test_pending_gathers_ids_and_skips_tables_it_does_not_hold() -> None:
    pending = Pending()
    assert not pending
    for payload in ("catalog_host 1", "catalog_host 2", "catalog_host 1", "ledger_account 3", "catalog_model 4"):
        pending.add(payload)
    assert (pending.ids, pending.is_everything) == ({nouns.Host: {1, 2}, nouns.Model: {4}}, False)


def test_pending_keeps_apart_what_is_urgent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "MAX_READ_IDS", 3)
    pending = Pending()
    for payload in ("access_revocation 1", "catalog_host 1", "access_signingkey 2"):
        pending.add(payload)
    assert pending.take_urgent() == {nouns.Revocation: {1}, nouns.SigningKey: {2}}
    assert pending.take_urgent() == {}
    pending.add("catalog_host 2")
    assert pending.is_everything
    pending.add("catalog_host 3")
    pending.add("access_revocation 4")
    assert pending.ids == {}


def test_host_keys_are_opened_once_and_again_when_they_change() -> None:
    catalog = Catalog(SEALER)
    binding = nouns.host_key_binding(HOST_KEY.id)
    first = replace(HOST_KEY, sealed_value=SEALER.seal("sk-first", binding))
    second = replace(HOST_KEY, sealed_value=SEALER.seal("sk-second", binding))
    assert catalog.host_key_value(first) == "sk-first"
    assert catalog.host_key_value(first) is catalog.host_key_value(first)
    assert catalog.host_key_value(second) == "sk-second"
    assert catalog.host_key_value(first) == "sk-first"

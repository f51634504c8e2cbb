"""Rows of a real Postgres as nouns, read by the edge's own role."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from relay_contract import nouns
from relay_contract.nouns import Noun
from relay_edge.catalog import load
from relay_edge.catalog.snapshot import Snapshot
from tests.edge.nouns import EVERYTHING, HOST, MOMENT, POLICY, PROJECT, RATE_LIMIT, RELAY_KEY, TARGET, insert, numbered


@pytest.fixture
async def edge(edge_database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with await AsyncConnection.connect(edge_database_url, autocommit=True) as connection:
        yield connection


def refuse(noun: type[Noun], row_id: int, error: Exception) -> None:
    raise AssertionError(f"{noun.table} {row_id} could not be read: {error!r}")


async def test_loads_every_noun_as_it_was_stored(owner: AsyncConnection[Any], edge: AsyncConnection[Any]) -> None:
    filled = numbered(
        RELAY_KEY,
        2,
        token_hash=bytes(range(32)),
        mode=nouns.KeyMode.TEST,
        scopes=(),
        policy_id=None,
        rate_limit_id=RATE_LIMIT.id,
        expires_at=MOMENT + timedelta(days=1),
        revoked_at=datetime(2026, 11, 20, 1, 2, 3, 456789, UTC),
    )
    rows = (*EVERYTHING, filled, numbered(RATE_LIMIT, 2, slug="none", rules=()))
    await insert(owner, *rows)
    snapshot = await load.load_all(edge, 3, refuse)
    assert snapshot == Snapshot.build(rows)
    assert snapshot.version == 3
    assert type(snapshot.relay_key(filled.token_hash).mode) is nouns.KeyMode  # type: ignore[union-attr]  # it is there


async def test_a_load_sees_one_moment(
    owner: AsyncConnection[Any], edge: AsyncConnection[Any], database_url: str
) -> None:
    """Rows that are written while a load is under way belong to the next one."""
    await insert(owner, *EVERYTHING)
    await edge.execute(load.BEGIN)
    await edge.execute("SELECT id FROM catalog_host")  # the moment is now
    await owner.execute("UPDATE catalog_project SET slug = 'renamed'")
    changes = {nouns.Project: await load._read(edge, nouns.Project, {1}, refuse)}
    assert changes == {nouns.Project: {1: PROJECT}}
    await edge.execute("ROLLBACK")
    assert await load.load_some(edge, {nouns.Project: {1}}, refuse) == {
        nouns.Project: {1: replace(PROJECT, slug="renamed")}
    }


async def test_reads_some_rows_again_and_tells_which_are_gone(
    owner: AsyncConnection[Any], edge: AsyncConnection[Any]
) -> None:
    await insert(owner, *EVERYTHING)
    wanted = {nouns.Project: {1, 2}, nouns.Target: {1}, nouns.RelayKey: {9}}
    assert await load.load_some(edge, wanted, refuse) == {
        nouns.Project: {1: PROJECT, 2: None},
        nouns.Target: {1: TARGET},
        nouns.RelayKey: {9: None},
    }
    assert edge.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


async def test_rows_of_a_newer_version_are_left_out_and_counted(
    owner: AsyncConnection[Any], edge: AsyncConnection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    await insert(owner, *EVERYTHING, numbered(RATE_LIMIT, 2, slug="next", rules=()), numbered(POLICY, 2, slug="next"))
    await owner.execute("UPDATE catalog_target SET delivery_mode = 'carrier-pigeon'")
    await owner.execute("""UPDATE catalog_ratelimit SET rules = '[{"meter": "requests"}]' WHERE id = 2""")
    await owner.execute("UPDATE access_relaykey SET scopes = '{relay,rule_the_world}'")
    counted: list[int] = []
    bad_rows = load.BadRows(lambda: counted.append(1))
    snapshot = await load.load_all(edge, 1, bad_rows)
    readable = [row for row in EVERYTHING if not isinstance(row, nouns.Target | nouns.RelayKey)]
    assert snapshot == Snapshot.build([*readable, numbered(POLICY, 2, slug="next")])
    assert len(counted) == 3
    assert [(record.getMessage(), record.fields) for record in caplog.records] == [  # type: ignore[attr-defined]  # extra
        ("catalog_row_unreadable", {"table": "catalog_ratelimit", "row_id": 2, "error": "KeyError"}),
        ("catalog_row_unreadable", {"table": "catalog_target", "row_id": 1, "error": "ValueError"}),
        ("catalog_row_unreadable", {"table": "access_relaykey", "row_id": 1, "error": "ValueError"}),
    ]
    assert await load.load_some(edge, {nouns.Target: {1}}, bad_rows) == {nouns.Target: {1: None}}


async def test_more_rows_than_a_portion(owner: AsyncConnection[Any], edge: AsyncConnection[Any]) -> None:
    rows = [numbered(HOST, number, slug=f"host-{number}") for number in range(1, 2 * load.PORTION_ROWS + 2)]
    await insert(owner, *rows)
    assert await load.load_all(edge, 1, refuse) == Snapshot.build(rows)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT mapping FROM catalog_target",
        "SELECT redactions FROM catalog_endpoint",
        "SELECT document FROM catalog_linerevision",
        "SELECT password FROM access_user",
        "UPDATE catalog_project SET is_archived = true",
        "SELECT body FROM deliveries_payload",
    ],
)
async def test_the_role_of_the_edge_reaches_no_further(edge: AsyncConnection[Any], statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await edge.execute(statement)

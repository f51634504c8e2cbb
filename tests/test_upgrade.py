"""A database of the first version, with rows in every state, is brought up to the version before this one, gets
deliveries that hold credits and calls that nobody has posted, and is brought up to this one: nothing is lost, and money
adds up."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
import redis

from delivery import ledger_fold
from delivery.database import Connection
from delivery.ledger_poster import Poster
from relay_admin.deliveries import endings
from relay_contract import intake
from relay_contract.credits import MICRO
from relay_contract.ids import uuid7
from relay_contract.intake import DeadReason, DeliveryState
from relay_contract.periods import Period, index
from relay_contract.redis import keys
from relay_contract.traffic import CallRow, insert_statement
from tests import intake_rows
from tests.delivery.test_alerts import call_row

ROOT = Path(__file__).parent.parent
NAME = "upgraded"
FIRST = (("deliveries", "0001_initial"), ("access", "0003_groups"), ("catalog", "0002_triggers"))

ROWS = """
INSERT INTO access_user (id, password, is_superuser, username, first_name, last_name, is_staff, is_active, date_joined,
    email) VALUES (1, '!', true, 'ada', '', '', true, true, now(), ''), (2, '!', false, 'bob', '', '', true, true,
    now(), 'Bob@example.com'), (3, '!', false, 'eve', '', '', true, true, now(), 'eve@example.com');
INSERT INTO catalog_project (id, description, created_at, updated_at, slug, name, is_archived)
    VALUES (1, '', now(), now(), 'shop', 'Shop', false), (2, '', now(), now(), 'idle', 'Idle', true);
INSERT INTO catalog_line (id, description, created_at, updated_at, slug, is_enabled, project_id)
    VALUES (1, '', now(), now(), 'v1', true, 1);
INSERT INTO catalog_endpoint (id, description, created_at, updated_at, slug, is_enabled, max_body_bytes, line_id)
    VALUES (1, '', now(), now(), 'orders', true, 1048576, 1);
INSERT INTO catalog_target (id, description, created_at, updated_at, name, delivery_mode, is_enabled, url, headers,
    timeout_seconds, retry_schedule_seconds, sealed_signing_secret, endpoint_id)
    VALUES (1, '', now(), now(), 'crm', 'async', true, 'https://crm.example.com/', '{}', 30, '{5,60}', '', 1);
INSERT INTO access_relaykey (id, name, mode, key_id, token_hash, scopes, created_at, created_by_id, project_id)
    VALUES (1, 'app', 'live', 'abcdefghijkl', '\\x01', '{relay}', now(), 1, 1);
"""
BEFORE = ("ledger", "0009_keeping")
"""The version before this one."""
GIVEN = """
UPDATE catalog_project SET budget = '{"microcredits": 1000000000, "period": "month"}' WHERE id = 1;
UPDATE access_relaykey SET budget = '{"microcredits": 1000000000, "period": "month"}' WHERE id = 1;
"""
CHOSEN = "SELECT ctid AS place FROM deliveries_live WHERE id = %s FOR UPDATE"
STATES = ("pending", "sending", "delivered", "dead")


def manage(url: str, *arguments: str, **variables: str) -> str:
    environment = os.environ | {"DATABASE_URL": url} | variables
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def url() -> Iterator[str]:
    """An empty database of its own."""
    server = os.environ["DATABASE_URL"]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {NAME}")  # type: ignore[arg-type]  # a constant
        yield server.rsplit("/", 1)[0] + f"/{NAME}"
        connection.execute(f"DROP DATABASE {NAME} WITH (FORCE)")  # type: ignore[arg-type]  # a constant


def insert_delivery(database: psycopg.Connection[Any], state: str, now: datetime) -> tuple[UUID, UUID]:
    request_id, delivery_id = uuid7(), uuid7()
    is_over = state in ("delivered", "dead")
    database.execute(
        "INSERT INTO deliveries_request"
        " VALUES (%s, 'live', %s, '', '127.0.0.1', 'application/json', '{}', 2, 1, 1, 1, 1)",
        [request_id, now],
    )
    database.execute("INSERT INTO deliveries_payload VALUES (%s, %s, '{}')", [request_id, now])
    database.execute(
        "INSERT INTO deliveries_delivery (id, shard, state, created_at, next_attempt_at, claim_id, attempt_count,"
        " finished_at, dead_reason, project_id, target_id, request_id)"
        " VALUES (%s, 3, %s, %s, %s, %s, %s, %s, %s, 1, 1, %s)",
        [
            delivery_id,
            state,
            now,
            None if is_over else now,
            uuid7() if state == "sending" else None,
            0 if state == "pending" else 1,
            now if is_over else None,
            "exhausted" if state == "dead" else "",
            request_id,
        ],
    )
    return request_id, delivery_id


def accept(database: psycopg.Connection[Any], key: int | None) -> UUID:
    """As an edge does it, for a credit."""
    now = datetime.now(UTC)
    request = intake_rows.request_row(endpoint_id=1, relay_key_id=key, received_at=now)
    delivery = intake_rows.delivery_row(
        request_id=request.id, target_id=1, relay_key_id=key, credits=MICRO, units=1, created_at=now
    )
    rows: tuple[tuple[type[intake.IntakeRow], intake.IntakeRow], ...] = (
        (intake.RequestRow, request),
        (intake.PayloadRow, intake.PayloadRow(request.id, now, b"{}")),
        (intake.DeliveryRow, delivery),
    )
    database.execute(intake.INSERT_BATCH, [array for kind, row in rows for array in intake.arrays(kind, [row])])
    return delivery.id


def end(database: psycopg.Connection[Any], delivery_id: UUID, kind: str) -> None:
    statement = endings.end(CHOSEN, DeliveryState.DEAD, DeadReason.EXPIRED, f"'{kind}'")
    database.execute(statement, [delivery_id])  # type: ignore[arg-type]  # made of constants


def call(database: psycopg.Connection[Any]) -> None:
    """A call of key 1 for 1,000 micro-credits, as an edge writes it."""
    [(wallet,)] = database.execute("SELECT live_wallet_id FROM catalog_project WHERE id = 1").fetchall()
    row = call_row(payer_id=wallet, charge_microcredits=1000, markup_microcredits=0, terms_id=None, pricing_id=None,
                   generation=None, relay_key_id=1, user_id=None, application_id=None, cost_nanousd=1000)  # fmt: skip
    database.execute(insert_statement(CallRow), [msgspec.json.encode([row]).decode()])


async def work(url: str) -> None:
    """A worker posts what is due, and folds."""
    connection = Connection(url, "work")
    while await Poster(connection).step():
        pass
    while await ledger_fold.fold(connection):
        pass
    await connection.close()


def under_way(url: str) -> UUID:
    """What stands in a database of the version before when it is brought up: deliveries that hold credits, of which one
    is over, a call that is posted, and one that is due. A delivery that is not over."""
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(GIVEN)
        pending, released, _ = (accept(database, key) for key in (1, 1, None))
        end(database, released, "release")
        call(database)
        asyncio.run(work(url))
        call(database)
        assert database.execute("SELECT count(*) FROM ledger_due").fetchall() == [(1,)]
    return pending


def goes_on(url: str, pending: UUID) -> None:
    """An edge writes the call that was in flight and accepts another; workers end what was pending, and post."""
    with psycopg.connect(url, autocommit=True) as database:
        call(database)
        end(database, pending, "settle")
        accept(database, 1)
    asyncio.run(work(url))


def count_budgets(redis_url: str, **deliveries: int) -> None:
    """As Redis did all the time, with three calls."""
    bucket = index(Period.MONTH, int(datetime.now(UTC).timestamp() * 1000))
    with redis.Redis.from_url(redis_url) as client:
        client.set(keys.MONEY, "1:1:abc")
        for scope, number in deliveries.items():
            counted = {"bucket": bucket, "used": number * MICRO + 3 * 1000}
            client.hset(keys.purse("b", f"{scope}:1"), mapping=counted)


def test_a_first_version_is_brought_up_to_this_one(url: str, redis_url: str) -> None:
    for app, migration in FIRST:
        manage(url, "migrate", app, migration)
    now = datetime.now(UTC)
    with psycopg.connect(url) as database:
        database.execute(ROWS)
        made = {state: insert_delivery(database, state, now) for state in STATES}
    manage(url, "migrate", *BEFORE)
    pending = under_way(url)
    manage(url, "migrate")
    manage(url, "edge_role")
    with psycopg.connect(url) as database:
        ids = [delivery_id for _, delivery_id in made.values()]
        rows = database.execute("SELECT id, state FROM deliveries_delivery WHERE id = ANY(%s)", [ids]).fetchall()
        assert dict(rows) == {delivery_id: state for state, (_, delivery_id) in made.items()}
        wallets = database.execute(
            "SELECT p.id, w.kind, w.mode, w.project_id FROM catalog_project p JOIN ledger_account w"
            " ON w.id IN (p.live_wallet_id, p.test_wallet_id, p.live_pool_id, p.test_pool_id)"
        ).fetchall()
        kinds = [(kind, mode) for kind in ("wallet", "pool") for mode in ("live", "test")]
        assert sorted(wallets) == sorted((number, *kind, number) for number in (1, 2) for kind in kinds)
        of_users = database.execute(
            "SELECT u.id, w.mode FROM access_user u JOIN ledger_account w"
            " ON w.id IN (u.live_wallet_id, u.test_wallet_id) AND w.user_id = u.id AND w.kind = 'wallet'"
        ).fetchall()
        assert sorted(of_users) == [(number, mode) for number in (1, 2, 3) for mode in ("live", "test")]
    goes_on(url, pending)
    count_budgets(redis_url, key=3, project=4)
    said = manage(url, "credits", "reconcile", REDIS_URL=redis_url)
    assert said.splitlines() == [f"{name}: 0 drifts" for name in ("ledger", "deliveries", "purses", "budgets")]
    with psycopg.connect(url) as database:
        hours = "SELECT what, relay_key_id, sum(calls), sum(charge) FROM ledger_usagehour GROUP BY 1, 2 ORDER BY 1, 2"
        assert database.execute(hours).fetchall() == [
            ("accepted", 0, 1, MICRO),
            ("accepted", 1, 3, 3 * MICRO),
            ("call", 1, 3, 3000),
            ("delivery", 0, 1, MICRO),
        ]
        assert database.execute("SELECT count(*) FROM ledger_due").fetchall() == [(0,)]
    assert "every account is what its details say" in manage(url, "credits", "check")

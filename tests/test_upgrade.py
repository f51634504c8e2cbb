"""A database of the first version, with rows in every state, is brought up to this one: nothing is lost, and money adds
up."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from relay_contract.ids import uuid7

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
STATES = ("pending", "sending", "delivered", "dead")


def manage(url: str, *arguments: str) -> str:
    environment = os.environ | {"DATABASE_URL": url}
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


def test_a_first_version_is_brought_up_to_this_one(url: str) -> None:
    for app, migration in FIRST:
        manage(url, "migrate", app, migration)
    now = datetime.now(UTC)
    with psycopg.connect(url) as database:
        database.execute(ROWS)
        made = {state: insert_delivery(database, state, now) for state in STATES}
    manage(url, "migrate")
    manage(url, "edge_role")
    with psycopg.connect(url) as database:
        found = dict(database.execute("SELECT id, state FROM deliveries_delivery").fetchall())
        assert found == {delivery_id: state for state, (_, delivery_id) in made.items()}
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
    assert "every account is what its details say" in manage(url, "credits", "check")

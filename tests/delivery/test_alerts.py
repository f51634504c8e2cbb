"""Alerts over real Postgres: told once when they open and once when they close, by deliveries like any other."""

import asyncio
import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest

from delivery.alert_findings import STATEMENTS
from delivery.alerts import Alerts
from delivery.database import Connection
from relay_admin.deliveries.models import AlertKind
from relay_contract.ids import uuid7
from relay_contract.traffic import CallRow, insert_statement
from tests.delivery.queue import PROJECT_ID, Queue, Target
from tests.intake_rows import request_row

OPERATORS = 2


@pytest.fixture
async def alerts(queue: Queue, database_url: str) -> Any:
    """With an endpoint of its own for alerts, which has one target."""
    await queue.sql(
        "INSERT INTO catalog_endpoint (id, line_id, slug, is_enabled, max_body_bytes, description, created_at,"
        " updated_at) VALUES (2, 1, 'operators', true, 1000, '', now(), now())"
    )
    connection = Connection(database_url, "alerts")
    yield Alerts(connection)
    await connection.close()


async def watched(queue: Queue) -> tuple[int, int]:
    """The target that is looked at, and the one that is told."""
    first, second = await queue.target("http://127.0.0.1:9/"), await queue.target("http://127.0.0.1:9/")
    await queue.sql("UPDATE catalog_target SET endpoint_id = %s WHERE id = %s", OPERATORS, second.id)
    return first.id, second.id


async def rule(queue: Queue, kind: str, **columns: Any) -> None:
    values = {
        "kind": kind,
        "endpoint_id": OPERATORS,
        "threshold": 1,
        "window_seconds": 60,
        "is_enabled": True,
    } | columns
    await queue.sql(
        f"INSERT INTO deliveries_alertrule ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})",
        *values.values(),
    )


async def told(queue: Queue) -> list[tuple[str, dict[str, Any], int]]:
    """Event type, data and target of every alert, in order."""
    rows = await queue.sql(
        "SELECT r.event_type, r.origin, r.relay_key_id, p.body, d.target_id, d.credits, d.state"
        " FROM deliveries_request r JOIN deliveries_payload p ON p.request_id = r.id"
        " JOIN deliveries_live d ON d.request_id = r.id WHERE r.origin = 'alert' ORDER BY r.id"
    )
    assert all((row["relay_key_id"], row["credits"], row["state"]) == (None, 0, "pending") for row in rows)
    documents = [json.loads(row["body"]) for row in rows]
    assert [document["type"] for document in documents] == [row["event_type"] for row in rows]
    return [
        (row["event_type"], document["data"], row["target_id"]) for row, document in zip(rows, documents, strict=True)
    ]


async def break_failing(queue: Queue, target_id: int) -> None:
    await queue.sql(
        "INSERT INTO deliveries_targetstate (target_id, failing_since, consecutive_failures)"
        " VALUES (%s, now() - interval '2 minutes', 7) ON CONFLICT (target_id) DO UPDATE"
        " SET failing_since = EXCLUDED.failing_since", target_id,
    )  # fmt: skip


async def break_disabled(queue: Queue, target_id: int) -> None:
    await queue.sql(
        "UPDATE catalog_target SET is_enabled = false, disabled_reason = 'failing' WHERE id = %s", target_id
    )


async def break_gone(queue: Queue, target_id: int) -> None:
    await queue.sql(
        "UPDATE catalog_target SET is_enabled = false, disabled_reason = 'gone', gone_at = now() WHERE id = %s",
        target_id,
    )


async def break_backlog(queue: Queue, target_id: int) -> None:
    [accepted] = await queue.accept(Target(target_id, ""))
    await queue.sql(
        "UPDATE deliveries_live SET next_attempt_at = now() - interval '1 hour' WHERE request_id = %s",
        accepted.request_id,
    )


async def mend(queue: Queue) -> None:
    await queue.sql("UPDATE deliveries_targetstate SET failing_since = NULL")
    await queue.sql("UPDATE catalog_target SET is_enabled = true, disabled_reason = '', gone_at = NULL")
    await queue.sql("UPDATE deliveries_live SET next_attempt_at = now() WHERE next_attempt_at < now() - interval '1 m'")


@pytest.mark.parametrize(
    ("kind", "break_", "event_type"),
    [
        ("target_failing", break_failing, "relay.target.failing"),
        ("target_disabled", break_disabled, "relay.target.disabled"),
        ("target_gone", break_gone, "relay.target.gone"),
        ("backlog_age", break_backlog, "relay.backlog.age"),
    ],
)
async def test_a_target_in_trouble_is_told_once_and_its_recovery_once(
    queue: Queue, alerts: Alerts, kind: str, break_: Any, event_type: str
) -> None:
    target_id, operators_id = await watched(queue)
    await rule(queue, kind, threshold=5 if kind == "target_failing" else 60)
    await alerts.look()
    assert await told(queue) == []
    await break_(queue, target_id)
    for _ in range(3):
        await alerts.look()
    [(told_type, data, told_target)] = await told(queue)
    assert (told_type, told_target) == (event_type, operators_id)
    assert (data["kind"], data["subject"], data["project"], data["endpoint"], data["targetId"]) == (
        kind, f"target:{target_id}", "demo", "in", target_id,
    )  # fmt: skip
    await mend(queue)
    for _ in range(2):
        await alerts.look()
    assert [each for each, _, _ in await told(queue)] == [event_type, f"{event_type}.recovered"]
    await break_(queue, target_id)
    await alerts.look()
    assert [each for each, _, _ in await told(queue)][2:] == [event_type]


async def remembered(queue: Queue) -> list[tuple[str, str, int]]:
    """Type, status and number of reminders of every alert."""
    return [(each, data["status"], data["reminders"]) for each, data, _ in await told(queue)]


async def later(queue: Queue, seconds: int) -> None:
    """As if what was told last had been told so much earlier."""
    await queue.sql("UPDATE deliveries_alertevent SET told_at = told_at - make_interval(secs => %s)", seconds)


async def test_an_alert_that_stays_open_is_told_again_until_it_is_resolved(
    queue: Queue, alerts: Alerts, database_url: str
) -> None:
    target_id, _ = await watched(queue)
    await rule(queue, "target_failing")
    await break_failing(queue, target_id)
    await alerts.look()
    await later(queue, 3_590)
    await alerts.look()
    opened = ("relay.target.failing", "open", 0)
    assert await remembered(queue) == [opened]
    await later(queue, 20)
    await queue.sql("UPDATE deliveries_targetstate SET consecutive_failures = 9")
    others = [Connection(database_url, f"alerts-{number}") for number in range(4)]
    await asyncio.gather(*(Alerts(each).look() for each in others))
    await alerts.look()
    assert await remembered(queue) == [opened, ("relay.target.failing", "reminder", 1)]
    [(_, first, _), (_, second, _)] = await told(queue)
    assert (first["consecutiveFailures"], second["consecutiveFailures"]) == (7, 9)
    assert first["openedAt"] == second["openedAt"]
    await later(queue, 3_700)
    await alerts.look()
    await mend(queue)
    await alerts.look()
    assert (await remembered(queue))[2:] == [
        ("relay.target.failing", "reminder", 2), ("relay.target.failing.recovered", "resolved", 2),
    ]  # fmt: skip
    [event] = await queue.sql("SELECT reminder_count, closed_at IS NULL AS is_open FROM deliveries_alertevent")
    assert (event["reminder_count"], event["is_open"]) == (2, False)
    for each in others:
        await each.close()


async def test_a_rule_without_reminders(queue: Queue, alerts: Alerts) -> None:
    target_id, _ = await watched(queue)
    await rule(queue, "target_failing", remind_seconds=0)
    await break_failing(queue, target_id)
    await alerts.look()
    await later(queue, 10**6)
    await alerts.look()
    assert await remembered(queue) == [("relay.target.failing", "open", 0)]


async def test_a_publication_that_failed_at_its_time(queue: Queue, alerts: Alerts) -> None:
    await watched(queue)
    await rule(queue, "publish_failed")
    await queue.sql(
        "INSERT INTO catalog_linedraft (line_id, document, base_number, draft_revision, updated_at, publish_at,"
        " publish_error) VALUES (1, '{}', 1, 1, now(), now(), '')"
    )
    await alerts.look()
    assert await told(queue) == []
    await queue.sql("UPDATE catalog_linedraft SET publish_error = repeat('The line changed. ', 100)")
    await alerts.look()
    [(event_type, data, _)] = await told(queue)
    assert (event_type, data["subject"], data["lineId"], data["line"]) == ("relay.publish.failed", "line:1", 1, "v1")
    assert data["reason"] == ("The line changed. " * 100)[:500]
    await queue.sql("DELETE FROM catalog_linedraft")
    await alerts.look()
    assert [each for each, _, _ in await remembered(queue)][1:] == ["relay.publish.failed.recovered"]


async def test_reminders_of_an_alert_whose_own_target_fails_are_told_and_nothing_else(
    queue: Queue, alerts: Alerts
) -> None:
    target_id, operators_id = await watched(queue)
    for kind in STATEMENTS:
        if kind not in {"partition_missing", "money_closed"}:  # of what is not here
            await rule(queue, kind, threshold=1)
    await break_failing(queue, target_id)
    for _ in range(3):
        await alerts.look()
        for break_ in (break_failing, break_backlog, break_gone):
            await break_(queue, operators_id)
        await queue.sql(
            "UPDATE deliveries_live SET next_attempt_at = now() - interval '1 hour' WHERE target_id = %s", operators_id
        )
        await later(queue, 3_700)
    rows = await queue.sql("SELECT event_type FROM deliveries_request WHERE origin = 'alert'")
    assert [row["event_type"] for row in rows] == ["relay.target.failing"] * 3


async def test_alerts_raise_no_alerts(queue: Queue, alerts: Alerts) -> None:
    _, operators_id = await watched(queue)
    for kind in ("target_failing", "target_gone", "backlog_age"):
        await rule(queue, kind)
    for break_ in (break_failing, break_gone, break_backlog):
        await break_(queue, operators_id)
    await alerts.look()
    assert await queue.sql("SELECT 1 FROM deliveries_alertevent") == []


async def test_a_rule_of_one_target_or_switched_off(queue: Queue, alerts: Alerts) -> None:
    target_id, _ = await watched(queue)
    await rule(queue, "target_gone", target_id=target_id + 1)
    await rule(queue, "target_gone", is_enabled=False)
    await break_gone(queue, target_id)
    await alerts.look()
    assert await told(queue) == []
    await queue.sql("UPDATE deliveries_alertrule SET is_enabled = true")
    await alerts.look()
    assert len(await told(queue)) == 1


async def test_many_workers_open_one_event(queue: Queue, alerts: Alerts, database_url: str) -> None:
    target_id, _ = await watched(queue)
    await rule(queue, "target_gone")
    await break_gone(queue, target_id)
    connections = [Connection(database_url, f"alerts-{number}") for number in range(5)]
    await asyncio.gather(*(Alerts(connection).look() for connection in connections))
    assert len(await told(queue)) == 1
    await mend(queue)
    await asyncio.gather(*(Alerts(connection).look() for connection in connections))
    assert len(await told(queue)) == 2
    for connection in connections:
        await connection.close()


async def test_a_growing_failure_queue(queue: Queue, alerts: Alerts) -> None:
    target_id, _ = await watched(queue)
    await rule(queue, "failure_queue_growth", threshold=3)
    for _ in range(3):
        await alerts.look()
        assert await told(queue) == []
        await queue.sql(
            "INSERT INTO deliveries_finished (id, request_id, project_id, target_id, shard, mode, key_mode, state,"
            " revision, created_at, expires_at, body_bytes, credits, finished_at, dead_reason)"
            " SELECT (%s)::uuid, gen_random_uuid(), 1, %s, 0, 'async', 'live', 'dead', 1, now(), now(), 0, 0, now(),"
            " 'expired'",
            str(request_row().id), target_id,
        )  # fmt: skip
    await alerts.look()
    [(event_type, data, _)] = await told(queue)
    assert (event_type, data["subject"], data["dead"]) == ("relay.failure.queue_growth", "project:1", 3)


async def test_an_endpoint_that_cannot_check_its_callers(queue: Queue, alerts: Alerts) -> None:
    await watched(queue)
    await rule(queue, "signature_misconfigured")
    row = request_row()
    await queue.sql(
        "INSERT INTO deliveries_request (id, project_id, endpoint_id, mode, received_at, method, path,"
        " caller_request_id, client_ip, content_type, headers, body_bytes, target_count, status, error)"
        " VALUES (%s, 1, 1, 'live', now(), 'POST', '/', '', '127.0.0.1', '', '{}', 0, 0, 503,"
        " 'endpoint_misconfigured')", row.id,
    )  # fmt: skip
    await alerts.look()
    [(event_type, data, _)] = await told(queue)
    assert (event_type, data["subject"], data["refusedCalls"]) == (
        "relay.signature.misconfigured", "endpoint:1", 1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "is_told"),
    [
        ("auth = 'signature', signature_preset = 'github'", True),
        ("auth = 'both', signature_preset = 'github'", True),
        ("auth = 'signature', signature_preset = 'moon', sealed_signature_secret = 'x'", True),
        ("auth = 'moonlight', signature_preset = 'github', sealed_signature_secret = 'x'", True),
        ("auth = 'signature', signature_preset = 'github', sealed_signature_secret = 'x'", False),
        ("auth = 'signature', signature_preset = 'github', is_enabled = false", False),
        ("auth = 'relay_key', signature_preset = 'moon'", False),
    ],
)
async def test_an_endpoint_without_what_it_checks_signatures_by(
    queue: Queue, alerts: Alerts, change: str, is_told: bool
) -> None:
    await watched(queue)
    await rule(queue, "signature_misconfigured")
    await queue.sql(f"UPDATE catalog_endpoint SET {change} WHERE id = 1")
    await alerts.look()
    assert [data["subject"] for _, data, _ in await told(queue)] == (["endpoint:1"] if is_told else [])


async def test_days_without_a_partition(queue: Queue, alerts: Alerts, database_url: str) -> None:
    await watched(queue)
    await rule(queue, "partition_missing")
    await alerts.look()
    [row] = await queue.sql("SELECT details FROM deliveries_alertevent")  # the test database has two days of them
    assert "deliveries_request" in row["details"]["tables"]


async def test_calls_that_nobody_can_price(queue: Queue, alerts: Alerts) -> None:
    await watched(queue)
    await rule(queue, "unpriced_calls", threshold=3)
    await call_rows(queue, call_row(model="dear"), call_row(model="", requested_model="raw-name"))
    await call_rows(
        queue,
        call_row(model="refused", usage_source="none"),
        call_row(model="priced", cost_nanousd=7),
        call_row(model="old", received_at=datetime.now(UTC) - timedelta(minutes=2)),
    )
    await alerts.look()
    assert await told(queue) == []
    await call_rows(queue, call_row(model="dear"))
    await alerts.look()
    [(event_type, data, _)] = await told(queue)
    assert (event_type, data["calls"], data["models"]) == ("relay.unpriced.calls", 3, ["dear", "raw-name"])
    assert data["subject"] == "project:1"


async def test_calls_that_wait_to_be_posted(queue: Queue, alerts: Alerts) -> None:
    await watched(queue)
    await rule(queue, "posting_late", threshold=60)
    await rule(queue, "unpostable")
    late = (
        "INSERT INTO ledger_due (id, tries, error, not_before) VALUES (%s, %s, %s, now() - make_interval(secs => %s))"
    )
    await queue.sql(late, uuid7(), 0, "", 30)
    await queue.sql(late, uuid7(), 4, "no terms", -600)
    await alerts.look()
    assert await told(queue) == []
    stuck = uuid7()
    await queue.sql(late, uuid7(), 0, "", 90)
    await queue.sql(late, stuck, 5, "no terms", -600)
    await alerts.look()
    found = {event_type: data for event_type, data, _ in await told(queue)}
    assert found.keys() == {"relay.posting.late", "relay.unpostable"}
    assert found["relay.posting.late"]["calls"] == 1
    assert 90 <= found["relay.posting.late"]["ageSeconds"] < 120
    reason = {name: found["relay.unpostable"][name] for name in ("calls", "callId", "reason", "tries", "subject")}
    assert reason == {"calls": 1, "callId": str(stuck), "reason": "no terms", "tries": 5, "subject": "ledger"}
    await queue.sql("DELETE FROM ledger_due")
    await alerts.look()
    over = {each for each, _, _ in await remembered(queue)} - found.keys()
    assert over == {"relay.posting.late.recovered", "relay.unpostable.recovered"}


async def test_wallets_that_run_low_and_out(queue: Queue, alerts: Alerts) -> None:
    await watched(queue)
    await rule(queue, "low_balance")
    await rule(queue, "wallet_empty")
    [wallet] = await queue.sql(
        "UPDATE catalog_project SET billing = 'prepaid' WHERE id = %s RETURNING live_wallet_id AS id", PROJECT_ID
    )
    await queue.sql("UPDATE ledger_account SET low_balance_microcredits = 50 WHERE id = %s", wallet["id"])
    await queue.sql("UPDATE ledger_balance SET credit = 50 WHERE account_id = %s", wallet["id"])
    await alerts.look()
    assert await told(queue) == []
    await queue.sql("UPDATE ledger_balance SET debit = 1 WHERE account_id = %s", wallet["id"])
    await alerts.look()
    await queue.sql("UPDATE ledger_balance SET debit = 50 WHERE account_id = %s", wallet["id"])
    await alerts.look()
    low, empty = await told(queue)
    assert (low[0], low[1]["available"], low[1]["lowBalance"]) == ("relay.low.balance", 49, 50)
    assert (empty[0], empty[1]["available"], empty[1]["accountId"]) == ("relay.wallet.empty", 0, wallet["id"])


async def test_a_ledger_that_does_not_add_up(queue: Queue, alerts: Alerts) -> None:
    await watched(queue)
    await rule(queue, "ledger_drift")
    run = "INSERT INTO ledger_reconcilerun (ended_at, checks) VALUES (now(), %s) RETURNING id"
    [inserted] = await queue.sql(run, '{"ledger": 2, "deliveries": 1, "purses": -1}')
    found = (
        "INSERT INTO ledger_drift (run_id, code, subject, expected, found, rows, row_count)"
        " VALUES (%s, %s, %s, 7, 9, %s, 30)"
    )
    behind = json.dumps([{"what": f"entry {number}", "expected": None, "found": 1, "at": None} for number in range(20)])
    for number in range(6):
        await queue.sql(found, inserted["id"], "entries_differ", f"account {number}", behind)
    await alerts.look()
    await queue.sql(run, '{"ledger": 0, "deliveries": 0, "purses": -1}')
    await alerts.look()
    first, over = await told(queue)
    assert (first[0], first[1]["drifts"]) == ("relay.ledger.drift", 3)
    assert [drift["subject"] for drift in first[1]["first"]] == [f"account {number}" for number in range(5)]
    named = {"expected": 7, "found": 9, "rows": ["entry 0", "entry 1", "entry 2"], "rowCount": 30}
    assert first[1]["first"][0] == {"code": "entries_differ", "subject": "account 0"} | named
    assert over[0] == "relay.ledger.drift.recovered"


@pytest.mark.parametrize(
    ("kept", "is_told"),
    [
        ("now() - interval '40 seconds', NULL", True),
        ("now(), now() - interval '40 seconds'", True),
        ("now(), now() - interval '9 seconds'", False),
        ("now(), NULL", False),
        ("", True),
    ],
)
async def test_purses_that_nobody_keeps(queue: Queue, alerts: Alerts, kept: str, *, is_told: bool) -> None:
    await watched(queue)
    await rule(queue, "money_closed")
    if kept:
        await queue.sql(f"INSERT INTO ledger_keeping VALUES (1, {kept}, 41, 1, 2)")  # type: ignore[arg-type]
    await alerts.look()
    assert [event[0] for event in await told(queue)] == ["relay.money.closed"] * is_told


async def call_rows(queue: Queue, *calls: CallRow) -> None:
    await queue.sql(insert_statement(CallRow), msgspec.json.encode(calls).decode())


def call_row(**columns: Any) -> CallRow:
    """A call that used something and has no cost, unless `columns` say otherwise."""
    texts = dict.fromkeys(("request_id", "surface", "requested_model", "model", "host", "error", "error_source"), "")
    values = {
        **dict.fromkeys((each.name for each in fields(CallRow)), 0),
        **texts,
        "id": uuid7(),
        "received_at": datetime.now(UTC),
        "project_id": 1,
        "mode": "live",
        "finish": "",
        "is_stream": False,
        "estimated_price": False,
        "usage_source": "provider",
        "cost_nanousd": None,
        "tags": {},
    }
    return CallRow(**values | columns)


def test_every_kind_has_a_source() -> None:
    assert set(STATEMENTS) == set(AlertKind.values)


async def test_a_statement_that_fails_opens_nothing(queue: Queue, alerts: Alerts) -> None:
    target_id, operators_id = await watched(queue)
    await rule(queue, "target_gone")
    await break_gone(queue, target_id)
    await queue.sql("ALTER TABLE deliveries_payload ADD CONSTRAINT none CHECK (false) NOT VALID")
    try:
        with pytest.raises(psycopg.errors.CheckViolation):
            await alerts.look()
    finally:
        await queue.sql("ALTER TABLE deliveries_payload DROP CONSTRAINT none")
    assert await queue.sql("SELECT 1 FROM deliveries_alertevent") == []
    await alerts.look()
    assert [target for _, _, target in await told(queue)] == [operators_id]

"""Each drift names the rows behind it: made for real, past the triggers where that is the only way."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import psycopg
import pytest
import redis
from django.core.management import CommandError, call_command
from django.db import InternalError, connection
from django.test import Client

from relay_admin.catalog.models import Project
from relay_admin.deliveries.models import LiveDelivery
from relay_admin.ledger import folding, proofs, reconcile, runs
from relay_admin.ledger.drifts import MAX_ROWS, Drift, Row, one_moment
from relay_admin.ledger.models import Account, Balance, Charge, Day
from relay_admin.ledger.posting import post
from relay_admin.traffic.models import Call
from relay_contract.ids import uuid7
from relay_contract.intake import DeliveryState
from relay_contract.ledger import PROMOTIONS, REVENUE, AccountId, EntryKind, Leg
from relay_contract.nouns import KeyMode
from relay_contract.redis import keys
from tests.admin import rows

BEGINNING = date(2020, 1, 1)
CREDIT = 1_000_000
HOUR = """
INSERT INTO ledger_usagedelta (hour, project_id, mode, what, relay_key_id, user_id, application_id, model, target_id,
    payer_id, calls, charge, cost, markup, input_tokens, output_tokens, cache_read_tokens)
SELECT date_trunc('hour', received_at, 'UTC'), project_id, mode, 'call', relay_key_id, 0, 0, model, 0, payer_id, 1,
    charge_microcredits, 0, 0, 0, 0, 0
FROM traffic_call WHERE id = %s
"""


def sql(statement: str, *parameters: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


@contextmanager
def past_triggers(table: str) -> Iterator[None]:
    sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    yield
    sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def grant(wallet: int, amount: int) -> UUID:
    source = uuid7()
    leg = Leg(EntryKind.GRANT, PROMOTIONS[KeyMode.LIVE], AccountId(wallet), amount)
    post(leg, source=source, note="x", by_id=None)
    return source


def posted_call(
    catalog: rows.Catalog, charge: int, *, hours_ago: int = 0, is_in_hour: bool = True, **columns: Any
) -> Call:
    wallet = AccountId(catalog.project.live_wallet_id)
    received_at = datetime.now(UTC) - timedelta(hours=hours_ago)
    columns = {"payer_id": wallet, "charge_microcredits": charge, "received_at": received_at} | columns
    call = rows.call_row(catalog, **columns)
    sql("DELETE FROM ledger_due")
    leg = Leg(EntryKind.USAGE, wallet, REVENUE[KeyMode.LIVE], charge)
    post(leg, source=call.pk, note="", by_id=None, generation=columns.get("generation"))
    if is_in_hour:
        sql(HOUR, call.pk)
    return call


@pytest.fixture
def wallet(catalog: rows.Catalog) -> Account:
    """With a grant of 5 that is folded."""
    catalog.project.refresh_from_db()
    account = Account.objects.get(pk=catalog.project.live_wallet_id)
    grant(account.pk, 5)
    sql(folding.FOLD)
    assert proofs.drifts(BEGINNING) == []
    return account


def found(code: str, **about: Any) -> Drift:
    """The one drift of this code, and of that account, side and so on."""
    drifts = [*proofs.drifts(BEGINNING), *reconcile.drifts(datetime(2020, 1, 1, tzinfo=UTC))]
    [drift] = [
        drift for drift in drifts if drift.code == code and all(drift.about[name] == is_ for name, is_ in about.items())
    ]
    return drift


def shown(drift: Drift) -> list[tuple[str, int | None, int | None]]:
    return [(row.what, row.expected, row.found) for row in drift.rows]


def test_entries_of_the_day_that_was_summed_up_otherwise(wallet: Account) -> None:
    with past_triggers("ledger_entry"):
        hidden = grant(wallet.pk, 9)
    drift = found("entries_differ", account=wallet.pk, side="credit")
    assert (drift.expected, drift.found, drift.row_count) == (14, 5, 2)
    assert shown(drift)[0] == (f"entry {hidden} {EntryKind.GRANT:d}", None, 9)
    assert drift.rows[0].at is not None


def test_no_more_rows_than_are_shown_and_how_many_there_are(wallet: Account) -> None:
    for amount in range(1, MAX_ROWS + 5):
        grant(wallet.pk, amount)
    with past_triggers("ledger_entry"):
        grant(wallet.pk, 1000)
    drift = found("entries_differ", account=wallet.pk, side="credit")
    assert (len(drift.rows), drift.row_count) == (MAX_ROWS, MAX_ROWS + 6)
    assert drift.rows[0].found == 1000  # the newest first
    assert drift.lines()[-1] == "    and 6 more"


def test_an_entry_of_an_account_that_nobody_has(wallet: Account) -> None:
    with past_triggers("ledger_entry"):
        source = uuid7()
        post(Leg(EntryKind.GRANT, AccountId(10**9), AccountId(wallet.pk), 3), source=source, note="x", by_id=None)
    drift = found("unbalanced_entry")
    assert shown(drift) == [(f"entry {source} {EntryKind.GRANT:d}, from account {10**9} to {wallet.pk}", None, 3)]


def test_the_balance_that_takes_its_mode_off_zero(wallet: Account) -> None:
    Balance.objects.filter(pk=wallet.pk).update(credit=6)
    assert shown(found("mode_not_zero", mode="live")) == [(f"balance of account {wallet.pk}", 5, 6)]
    today = datetime.now(UTC).date()
    assert shown(found("balance_differs", account=wallet.pk, side="credit")) == [
        (f"day {today}, kind {EntryKind.GRANT:d}", None, 5)
    ]


def test_the_day_that_takes_its_mode_off_zero(wallet: Account) -> None:
    sql(
        "INSERT INTO ledger_delta (account_id, day, kind, debit, credit, entries) VALUES (2, '2026-01-01', 11, 0, 1, 1)"
    )
    assert shown(found("mode_not_zero", mode="live")) == [("account 2 on 2026-01-01, kind 11", 0, 1)]


def test_deliveries_that_were_settled_on_a_day(wallet: Account, catalog: rows.Catalog) -> None:
    delivery = rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DELIVERED)
    sql(folding.FOLD)
    Day.objects.filter(account_id=wallet.pk, kind=EntryKind.DELIVERIES).update(debit=1)
    drift = found("deliveries_differ")
    assert (drift.expected, drift.found) == (CREDIT, 1)
    assert shown(drift) == [(f"delivery {delivery.pk}, replay 0", None, CREDIT)]


@pytest.mark.parametrize("held", [None, 7])
def test_the_delivery_without_its_hold(wallet: Account, catalog: rows.Catalog, held: int | None) -> None:
    right, wrong = (
        rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.PENDING) for _ in range(2)
    )
    assert LiveDelivery.objects.filter(pk=right.pk).exists()
    with past_triggers("ledger_charge"):
        if held is None:
            sql("DELETE FROM ledger_charge WHERE delivery_id = %s", wrong.pk)
        else:
            sql("UPDATE ledger_charge SET micro_credits = %s WHERE delivery_id = %s", held, wrong.pk)
    sql("UPDATE ledger_chargedelta SET held = %s WHERE id = (SELECT max(id) FROM ledger_chargedelta)", held or 0)
    drift = found("holds_differ")
    assert (drift.expected, drift.found) == (2 * CREDIT, CREDIT + (held or 0))
    assert shown(drift) == [(f"delivery {wrong.pk}, replay 0", CREDIT, held)]


def test_the_hold_of_a_delivery_that_is_gone(wallet: Account, catalog: rows.Catalog) -> None:
    gone = rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.PENDING)
    sql("DELETE FROM deliveries_attempt WHERE delivery_id = %s", gone.pk)
    LiveDelivery.objects.filter(pk=gone.pk).delete()
    assert shown(found("holds_differ")) == [(f"delivery {gone.pk}, replay 0", None, CREDIT)]
    assert shown(found("held_for_nothing")) == [("hold of replay 0", None, CREDIT)]


def test_the_charges_of_a_delivery_that_was_closed_too_soon(wallet: Account, catalog: rows.Catalog) -> None:
    delivery = rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.PENDING)
    hold = Charge.objects.get(delivery_id=delivery.pk)
    columns = {"request_id": hold.request_id, "project_id": hold.project_id, "target_id": hold.target_id}
    Charge.objects.create(
        delivery_id=delivery.pk,
        replay=0,
        phase=1,
        kind="release",
        key_mode="live",
        micro_credits=CREDIT,
        units=1,
        **columns,
    )
    drift = found("closed_while_live")
    assert {(row.what, row.found) for row in drift.rows} == {
        ("hold of replay 0", CREDIT),
        ("release of replay 0", CREDIT),
    }


def test_what_was_posted_for_a_call(wallet: Account, catalog: rows.Catalog) -> None:
    call = posted_call(catalog, 70)
    sql("UPDATE traffic_call SET charge_microcredits = 71 WHERE id = %s", call.pk)
    drift = found("calls_differ")
    assert (drift.expected, drift.found) == (71, 70)
    assert shown(drift) == [(f"entry {call.pk} {EntryKind.USAGE:d}, from account {wallet.pk} to 2", None, 70)]


def test_the_hour_and_key_whose_sums_differ(wallet: Account, catalog: rows.Catalog) -> None:
    first, _, other = (posted_call(catalog, 10 * hours_ago, hours_ago=hours_ago) for hours_ago in (5, 4, 3))
    assert first.received_at < other.received_at
    assert proofs.drifts(BEGINNING) == []
    sql("UPDATE ledger_usagedelta SET charge = charge + 1 WHERE charge = 30")
    hour = f"hour {other.received_at:%Y-%m-%d %H}:00 UTC, key {catalog.relay_key.pk}"
    drift = found("usage_differs", side="charge")
    assert (drift.expected, drift.found) == (70, 71)
    assert shown(drift) == [(hour, 30, 31)]


def test_a_posted_call_that_is_in_no_hour(wallet: Account, catalog: rows.Catalog) -> None:
    posted_call(catalog, 50, hours_ago=5)
    call = posted_call(catalog, 40, hours_ago=2, is_in_hour=False)
    drift = found("usage_differs", side="calls")
    assert [each[1:] for each in shown(drift)] == [(1, 0), (1, None)]
    assert drift.rows[1] == Row(f"call {call.pk}", 1, None, call.received_at)
    assert [each[1:] for each in shown(found("usage_differs", side="charge"))] == [(40, 0), (40, None)]


@pytest.mark.parametrize("what", ["accepted", "delivery"])
def test_deliveries_whose_hour_says_otherwise(wallet: Account, catalog: rows.Catalog, what: str) -> None:
    """Of two hours, since the first that there is may be a part of one."""
    kind, place = (
        ("hold", f"key {catalog.relay_key.pk}") if what == "accepted" else ("settle", f"target {catalog.target.pk}")
    )
    delivery = rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DELIVERED)
    at = Charge.objects.get(delivery_id=delivery.pk, kind=kind).at
    sql(
        "INSERT INTO ledger_charge SELECT (json_populate_record(charge, json_build_object('delivery_id', %s::uuid,"
        " 'at', at - interval '1 hour'))).* FROM ledger_charge AS charge WHERE kind = %s",
        uuid7(), kind,
    )  # fmt: skip
    assert not [drift for drift in proofs.drifts(BEGINNING) if drift.code == "charges_differ"]
    sql("UPDATE ledger_usagedelta SET charge = 7 WHERE what = %s AND hour > now() - interval '1 hour'", what)
    hour = f"hour {at:%Y-%m-%d %H}:00 UTC, {place}"
    assert shown(found("charges_differ", scope=what)) == [(hour, CREDIT, 7)]
    sql("DELETE FROM ledger_usagedelta WHERE what = %s AND charge = 7", what)
    for side, amount in (("charge", CREDIT), ("calls", 1)):
        drift = found("charges_differ", scope=what, side=side)
        assert (drift.expected, drift.found, drift.is_credits) == (amount, 0, side == "charge")
        assert shown(drift) == [(hour, amount, 0), (f"delivery {delivery.pk}, replay 0", amount, None)]


def test_a_run_keeps_shows_and_says_rows(wallet: Account, admin_client: Client, redis_url: str) -> None:
    with past_triggers("ledger_entry"):
        hidden = grant(wallet.pk, 9)
    said = StringIO()
    with pytest.raises(CommandError, match="does not add up"):
        call_command("credits", "reconcile", stdout=said, stderr=said)
    assert f"    entry {hidden} {EntryKind.GRANT:d}, 9, " in said.getvalue()
    run = runs.reconcile_run()
    assert runs.drifts_of(run) == [
        Drift(drift.code, drift.subject, drift.expected, drift.found, rows=drift.rows, row_count=drift.row_count)
        for drift in proofs.drifts(BEGINNING)
    ]
    page = admin_client.get("/admin/money/").content.decode()
    assert f"entry {hidden} {EntryKind.GRANT:d}" in page
    assert "is 0.000009" in page


def test_calls_of_a_generation_that_redis_counted_otherwise(
    wallet: Account, catalog: rows.Catalog, redis_url: str
) -> None:
    Project.objects.filter(pk=catalog.project.pk).update(billing="prepaid")
    call = posted_call(catalog, 70, generation=40)
    posted_call(catalog, 30, generation=41)
    delivery = rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DELIVERED)
    with past_triggers("ledger_charge"):
        sql("UPDATE ledger_charge SET generation = 40 WHERE delivery_id = %s AND phase = 0", delivery.pk)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        client.set(keys.MONEY, "41:38:abc")
        client.hset(keys.purse("w", str(wallet.pk)), mapping={"granted": 1, "spent:40": 71})
    [drift] = [each for each in runs.drifts_of(runs.reconcile_run()) if each.code == "spent_differs"]
    assert (drift.expected, drift.found) == (70, 71)
    assert shown(drift) == [(f"call {call.pk}", 70, None), (f"delivery {delivery.pk}, replay 0", CREDIT, None)]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_all_checks_speak_of_one_moment_and_only_read(catalog: rows.Catalog, database_url: str) -> None:
    wallet = Account.objects.get(project_id=catalog.project.pk, kind="wallet", mode="live")
    spoil = "INSERT INTO ledger_delta (account_id, day, kind, debit, credit, entries) VALUES (%s, now(), 10, 0, 5, 1)"
    with psycopg.connect(database_url, autocommit=True) as other, one_moment():
        assert proofs.drifts(BEGINNING) == []
        other.execute(spoil, [wallet.pk])
        assert proofs.drifts(BEGINNING) == []
        with pytest.raises(InternalError, match="read-only transaction"):
            sql(spoil, wallet.pk)
    assert runs.reconcile_run().checks["ledger"] == 2

"""Daily partitions: their bounds, that they are there before their day, and what outlives them."""

import re
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone

from relay_admin.deliveries import storage
from relay_admin.deliveries.models import Attempt, Delivery, FinishedDelivery, Payload, Request
from relay_admin.ledger.models import Charge
from relay_contract.ids import uuid7_bound, uuid7_ms
from relay_contract.intake import DeliveryState
from tests.admin import rows

KEEP = {storage.REQUESTS: 30, storage.PAYLOADS: 7, storage.LEDGER: 400}


def tables() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')")
        return {name for (name,) in cursor.fetchall()}


def sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def partitions_of(day: date) -> set[str]:
    """The names that a day's partitions have."""
    return {storage.partition_name(parent.table, day) for parent in storage.PARENTS}


def old_day(days: int) -> date:
    """A day in the past, with a partition of each table."""
    day = timezone.now().date() - timedelta(days=days)
    for parent in storage.PARENTS:
        sql(storage.create_statement(parent.table, day))
    return day


def aged(catalog: rows.Catalog, monkeypatch: pytest.MonkeyPatch, day: date, state: DeliveryState) -> Delivery:
    """A request of that day with a delivery in that state, with what belongs to both."""
    start = uuid7_ms(storage.bound(day))
    made = iter(range(1, 100))
    monkeypatch.setattr(rows, "uuid7", lambda: UUID(int=uuid7_bound(start).int + next(made)))
    return rows.delivery_row(rows.request_row(catalog), catalog.target, state)


def test_a_day_is_a_range_of_ids() -> None:
    day = date(2026, 11, 21)
    assert uuid7_ms(storage.bound(day)) == datetime(2026, 11, 21, tzinfo=UTC).timestamp() * 1000
    assert storage.bound(day).int & ((1 << 80) - 1) == 0
    assert storage.partition_name("deliveries_attempt", day) == "deliveries_attempt_20261121"
    statement = storage.create_statement("deliveries_attempt", day)
    assert f"FROM ('{storage.bound(day)}') TO ('{storage.bound(day + timedelta(days=1))}')" in statement


def missing() -> list[tuple[str, date]]:
    """Tables and days without a partition, in the order of PARENTS."""
    order = [parent.table for parent in storage.PARENTS]
    with connection.cursor() as cursor:
        cursor.execute(storage.MISSING)
        return sorted(cursor.fetchall(), key=lambda row: order.index(row[0]))


def test_every_partitioned_table_has_days_ahead_and_a_default(db: None) -> None:
    assert storage.partitions_ensure() > 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'p'")
        assert {name for (name,) in cursor.fetchall()} == {parent.table for parent in storage.PARENTS}
    assert {f"{parent.table}_default" for parent in storage.PARENTS} <= tables()
    assert missing() == []


def test_missing_days_are_made(db: None) -> None:
    storage.partitions_ensure()
    tomorrow = timezone.now().date() + timedelta(days=1)
    for name in partitions_of(tomorrow):
        sql(f"DROP TABLE {name}")
    assert missing() == [(parent.table, tomorrow) for parent in storage.PARENTS]
    assert storage.partitions_ensure(ahead_days=1) == len(storage.PARENTS)
    assert missing() == []
    assert storage.partitions_ensure(ahead_days=1) == 0


def test_a_day_that_went_into_the_default_partition_stays_there(catalog: rows.Catalog) -> None:
    storage.partitions_ensure(ahead_days=1)  # the database may be of yesterday
    today = timezone.now().date()
    sql(f"DROP TABLE {storage.partition_name('deliveries_request', today)}")
    request = rows.request_row(catalog)
    assert storage.partitions_ensure(ahead_days=1) == 0
    assert ("deliveries_request", today) in missing()
    assert Request.objects.get(pk=request.pk).pk == request.pk


@pytest.mark.parametrize("state", [DeliveryState.DELIVERED, DeliveryState.DEAD])
def test_what_is_over_goes_with_its_day(
    catalog: rows.Catalog, monkeypatch: pytest.MonkeyPatch, state: DeliveryState
) -> None:
    delivery = aged(catalog, monkeypatch, old_day(31), state)
    monkeypatch.undo()
    young = rows.delivery_row(rows.request_row(catalog), catalog.target, state)
    assert storage.partitions_forget(KEEP) == len(storage.PARENTS) - 1  # the ledger's stays
    assert storage.defaults_sweep(KEEP) == 0
    assert [row.pk for row in Delivery.objects.all()] == [young.pk]
    assert [row.pk for row in Request.objects.all()] == [young.request_id]
    assert [row.pk for row in Payload.objects.all()] == [young.request_id]
    assert [row.delivery_id for row in Attempt.objects.all()] == [young.pk]
    assert Charge.objects.filter(delivery_id=delivery.pk).count() == 2


def test_a_body_goes_first(catalog: rows.Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = aged(catalog, monkeypatch, old_day(8), DeliveryState.DEAD)
    assert storage.partitions_forget(KEEP) == 2  # payloads and answers
    assert not Payload.objects.exists()
    assert FinishedDelivery.objects.get().pk == delivery.pk


@pytest.mark.parametrize("state", [DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.HELD])
def test_a_promise_outlives_its_retention(
    catalog: rows.Catalog, monkeypatch: pytest.MonkeyPatch, state: DeliveryState
) -> None:
    day = old_day(31)
    delivery = aged(catalog, monkeypatch, day, state)
    storage.partitions_forget(KEEP)
    assert partitions_of(day) & tables() == {storage.partition_name("ledger_charge", day)}
    assert storage.defaults_sweep(KEEP) == 0
    assert Delivery.objects.get().request_id == Request.objects.get().pk == Payload.objects.get().pk
    assert Attempt.objects.count() == (0 if state is DeliveryState.PENDING else 1)
    sql("DELETE FROM deliveries_live")
    assert storage.defaults_sweep(KEEP) == (2 if state is DeliveryState.PENDING else 3)
    assert not Request.objects.exists()
    assert not Charge.objects.filter(delivery_id=delivery.pk).exclude(kind="hold").exists()


def test_more_than_one_batch_is_swept(catalog: rows.Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "BATCH", 2)
    start = uuid7_ms(storage.bound(timezone.now().date() - timedelta(days=90)))
    made = iter(range(start, start + 99))
    monkeypatch.setattr(rows, "uuid7", lambda: uuid7_bound(next(made)))
    for _ in range(5):
        rows.request_row(catalog)
    assert storage.defaults_sweep(KEEP) == 10  # each with its body


def test_a_look_up_by_day_reads_that_day(catalog: rows.Catalog) -> None:
    delivery = rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD)
    bound = storage.bound(timezone.now().date())
    plan = FinishedDelivery.objects.filter(request_id=delivery.request_id, id__gte=bound, id__lt=delivery.pk).explain()
    assert "_default" not in plan
    today = storage.partition_name("deliveries_finished", timezone.now().date())
    assert set(re.findall(r"deliveries_finished_[0-9]{8}\b", plan)) == {today}

"""What the edge inserts, and what Django reads, are the same columns."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.apps import apps
from django.db import connection
from django.db.models import CharField, Model
from django.utils import timezone

from relay_admin.deliveries.models import Delivery, Idempotency, LiveDelivery, Payload, Request
from relay_admin.ledger.models import Charge
from relay_contract import intake, traffic
from relay_contract.ids import uuid7
from relay_contract.traffic import RequestEndRow
from tests.contract.test_nouns_match_models import columns_in_database, hints
from tests.intake_rows import MOMENT, delivery_row, request_row

ROWS = [pytest.param(row, id=row.__name__) for row in (*intake.INTAKE_ROWS, RequestEndRow)]
COLUMN_TYPES: dict[Any, set[str]] = {
    int: {"bigint", "integer", "smallint"},
    str: {"character varying", "text"},
    bool: {"boolean"},
    bytes: {"bytea"},
    datetime: {"timestamp with time zone"},
    UUID: {"uuid"},
}
WRITTEN_AS_TEXT = {"headers": "jsonb", "client_ip": "inet"}
NOT_COLUMNS = {"expire_seconds", "keep_seconds", "relay_key_id", "units", "generation"}
"""Fields that become another column, or one of the ledger."""
FILLED_BY_THE_DATABASE = {
    "deliveries_live": {
        "claim_id",
        "attempt_count",
        "deferral_count",
        "replay_count",
        "replay_batch_id",
        "was_contacted",
        "last_status",
        "last_error",
    },
}
"""Columns that the edge leaves out: each is NULL or has a default in the database."""


def columns_of(row: Any) -> tuple[str, ...]:
    return traffic.columns(row) if row is RequestEndRow else intake.columns(row)


@pytest.mark.parametrize("row", ROWS)
def test_every_field_is_a_column_of_its_type(row: Any, db: None) -> None:
    stored = columns_in_database(row.table)
    assert set(columns_of(row)) | FILLED_BY_THE_DATABASE.get(row.table, set()) == set(stored)
    for name, (kind, may_be_none) in hints(row).items():
        if name not in stored and name in NOT_COLUMNS:
            continue
        data_type, is_nullable = stored[name]
        assert data_type in {WRITTEN_AS_TEXT.get(name)} | COLUMN_TYPES[kind], f"{row.table}.{name} is {data_type}"
        assert is_nullable == may_be_none


def models_of_traffic() -> list[type[Model]]:
    apps_ = (apps.get_app_config(label) for label in ("deliveries", "ledger"))
    return [model for each in apps_ for model in each.get_models() if not model._meta.proxy]


@pytest.mark.parametrize("model", models_of_traffic(), ids=lambda model: model.__name__)
def test_the_tables_are_the_models(model: type[Model], db: None) -> None:
    """The tables of this app are made by SQL: Django's migrations alone would not notice a difference."""
    stored = columns_in_database(model._meta.db_table)
    fields = {field.column: field for field in model._meta.concrete_fields if field.column}
    assert stored.keys() == fields.keys()
    if model._meta.managed:
        nullable = {name for name, (_, is_nullable) in stored.items() if is_nullable}
        assert nullable == {name for name, field in fields.items() if field.null}
    lengths = {name: field.max_length for name, field in fields.items() if isinstance(field, CharField)}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name, character_maximum_length FROM information_schema.columns"
            " WHERE table_name = %s AND character_maximum_length IS NOT NULL",
            [model._meta.db_table],
        )
        assert dict(cursor.fetchall()) == lengths


def test_the_table_names_are_the_models() -> None:
    tables = {model._meta.db_table for model in models_of_traffic()}
    assert {row.values[0].table for row in ROWS} | {intake.CHARGE_TABLE} <= tables


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_batch_of_the_edge_is_read_by_django(edge_database_url: str) -> None:
    """The edge's own statement, as the edge's own role: two requests, one with two deliveries and one with none."""
    now = timezone.now()
    first, second = uuid7(), uuid7()
    requests = [
        request_row(id=first, headers='{"x-a": "b"}', caller_request_id="caller-1", body_bytes=3, target_count=2),
        request_row(id=second, mode="test", client_ip="2001:db8::1", relay_key_id=None),
    ]
    payloads = [intake.PayloadRow(first, now, b"\x00\xffa"), intake.PayloadRow(second, now, b"")]
    deliveries = [delivery_row(request_id=first, target_id=target, units=2, credits=2_000_000) for target in (7, 8)]
    parameters = [
        *intake.arrays(intake.RequestRow, requests),
        *intake.arrays(intake.PayloadRow, payloads),
        *intake.arrays(intake.DeliveryRow, deliveries),
    ]
    with psycopg.connect(edge_database_url, autocommit=True) as edge:
        edge.execute(intake.INSERT_BATCH.encode(), parameters)
        for statement in (
            "UPDATE deliveries_live SET state = 'held'",
            "DELETE FROM deliveries_request",
            "DELETE FROM deliveries_idempotency",
            "INSERT INTO deliveries_live (claim_id) VALUES (NULL)",
            "INSERT INTO deliveries_finished (id) VALUES (NULL)",
            "INSERT INTO deliveries_attempt (number) VALUES (1)",
            "INSERT INTO ledger_charge (at) VALUES (now())",
            "SELECT headers FROM deliveries_request",
            "SELECT micro_credits FROM ledger_charge",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                edge.execute(statement)
    read = Request.objects.get(pk=first)
    assert (read.headers, read.client_ip, read.caller_request_id) == ({"x-a": "b"}, "192.0.2.1", "caller-1")
    assert (read.received_at, read.body_bytes, read.relay_key_id) == (MOMENT, 3, 3)
    assert Request.objects.get(pk=second).relay_key_id is None
    assert bytes(Payload.objects.get(pk=first).body) == b"\x00\xffa"
    written = Delivery.objects.filter(request_id=first).order_by("target_id").values()
    expected = {"attempt_count": 0, "replay_count": 0, "dead_reason": "", "last_error": "", "claim_id": None}
    by_us = [name for name in intake.columns(intake.DeliveryRow) if name not in ("next_attempt_at", "expires_at")]
    for row, delivery in zip(written, deliveries, strict=True):
        assert {name: row[name] for name in expected} == expected
        assert {name: row[name] for name in by_us} == {name: getattr(delivery, name) for name in by_us}
        assert abs(row["next_attempt_at"] - now) < timedelta(minutes=1)
        assert row["expires_at"] - row["next_attempt_at"] == timedelta(seconds=delivery.expire_seconds)
    assert Request.objects.get(pk=second).deliveries.count() == 0
    assert list(Charge.objects.order_by("target_id").values_list("delivery_id", "kind", "relay_key_id")) == [
        (delivery.id, "hold", 3) for delivery in deliveries
    ]
    assert set(Charge.objects.values_list("micro_credits", "units", "phase", "replay")) == {(2_000_000, 2, 0, 0)}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_key_decides_which_requests_exist(edge_database_url: str) -> None:
    """Two with one key in a batch, one without; then the key once more, beside a new one."""
    first, same, plain, later, other = (uuid7() for _ in range(5))

    def insert(edge: psycopg.Connection[Any], keys: dict[UUID, str | None]) -> set[UUID]:
        rows = [intake.IdempotencyRow(2, key, id_, b"hash", 60) for id_, key in keys.items() if key]
        parameters = [
            *intake.arrays(intake.IdempotencyRow, rows),
            *intake.arrays(intake.RequestRow, [request_row(id=id_) for id_ in keys]),
            *intake.arrays(intake.PayloadRow, [intake.PayloadRow(id_, MOMENT, b"") for id_ in keys]),
            *intake.arrays(intake.DeliveryRow, [delivery_row(request_id=id_) for id_ in keys]),
        ]
        return {row[0] for row in edge.execute(intake.INSERT_BATCH_KEYED.encode(), parameters)}

    with psycopg.connect(edge_database_url, autocommit=True) as edge:
        assert insert(edge, {first: "a", same: "a", plain: None}) == {same}
        assert insert(edge, {later: "a", other: "b"}) == {later}
    stored = {first, plain, other}
    for model, name in ((Request, "id"), (Payload, "request_id"), (LiveDelivery, "request_id"), (Charge, "request_id")):
        assert set(model.objects.values_list(name, flat=True)) == stored, model
    assert set(Idempotency.objects.values_list("key", "request_id")) == {("a", first), ("b", other)}


def test_the_states_are_the_contract_s_words() -> None:
    choices = Delivery._meta.get_field("state").choices or ()
    assert [value for value, _ in choices] == [str(state) for state in intake.DeliveryState]

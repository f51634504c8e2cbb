"""What the edge inserts, and what Django reads, are the same columns."""

from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.apps import apps
from django.utils import timezone

from relay_admin.deliveries.models import Delivery, Payload, Request
from relay_contract import intake
from relay_contract.ids import uuid7
from tests.contract.test_nouns_match_models import columns_in_database, hints

ROWS = [pytest.param(row, id=row.__name__) for row in (intake.RequestRow, intake.PayloadRow, intake.DeliveryRow)]
COLUMN_TYPES: dict[Any, set[str]] = {
    int: {"bigint", "integer", "smallint"},
    str: {"character varying", "text"},
    bytes: {"bytea"},
    datetime: {"timestamp with time zone"},
    UUID: {"uuid"},
}
WRITTEN_AS_TEXT = {"headers": "jsonb", "client_ip": "inet"}
FILLED_BY_THE_DATABASE = {
    "deliveries_request": set[str](),
    "deliveries_payload": set[str](),
    "deliveries_delivery": {
        "claim_id",
        "attempt_count",
        "replay_count",
        "finished_at",
        "dead_reason",
        "last_status",
        "last_error",
    },
}
"""Columns that the edge leaves out: each is NULL or has a default in the database."""


@pytest.mark.parametrize("row", ROWS)
def test_every_field_is_a_column_of_its_type(row: Any, db: None) -> None:
    stored = columns_in_database(row.table)
    assert set(intake.columns(row)) | FILLED_BY_THE_DATABASE[row.table] == set(stored)
    for name, (kind, may_be_none) in hints(row).items():
        data_type, is_nullable = stored[name]
        assert data_type in {WRITTEN_AS_TEXT.get(name)} | COLUMN_TYPES[kind], f"{row.table}.{name} is {data_type}"
        assert not may_be_none
        assert is_nullable == (name == "next_attempt_at")  # a finished delivery is not due


def test_the_table_names_are_the_models() -> None:
    tables = {model._meta.db_table for model in apps.get_app_config("deliveries").get_models()}
    assert {row.values[0].table for row in ROWS} <= tables


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_batch_of_the_edge_is_read_by_django(edge_database_url: str) -> None:
    """The edge's own statement, as the edge's own role: two requests, one with two deliveries and one with none."""
    now = timezone.now()
    first, second = uuid7(), uuid7()
    requests = [
        intake.RequestRow(first, 1, 2, 3, "live", now, "caller-1", "192.0.2.1", "text/plain", '{"x-a": "b"}', 3, 2),
        intake.RequestRow(second, 1, 2, 3, "test", now, "", "2001:db8::1", "", "{}", 0, 0),
    ]
    payloads = [intake.PayloadRow(first, now, b"\x00\xffa"), intake.PayloadRow(second, now, b"")]
    state = str(intake.DeliveryState.PENDING)
    deliveries = [
        intake.DeliveryRow(uuid7(), first, 1, target, intake.shard_of(target), state, now, now) for target in (7, 8)
    ]
    parameters = [
        [getattr(one, name) for one in many]
        for kind, many in (
            (intake.RequestRow, requests),
            (intake.PayloadRow, payloads),
            (intake.DeliveryRow, deliveries),
        )
        for name in intake.columns(kind)
    ]
    with psycopg.connect(edge_database_url, autocommit=True) as edge:
        edge.execute(intake.INSERT_BATCH.encode(), parameters)
        for statement in (
            "UPDATE deliveries_delivery SET state = 'delivered'",
            "DELETE FROM deliveries_request",
            "INSERT INTO deliveries_delivery (claim_id) VALUES (NULL)",
            "INSERT INTO deliveries_attempt (number) VALUES (1)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                edge.execute(statement)
    read = Request.objects.get(pk=first)
    assert (read.headers, read.client_ip, read.received_at, read.body_bytes) == ({"x-a": "b"}, "192.0.2.1", now, 3)
    assert bytes(Payload.objects.get(pk=first).body) == b"\x00\xffa"
    written = Delivery.objects.filter(request_id=first).order_by("target_id").values()
    expected = {"attempt_count": 0, "replay_count": 0, "dead_reason": "", "last_error": "", "claim_id": None}
    for row, delivery in zip(written, deliveries, strict=True):
        assert {name: row[name] for name in expected} == expected
        assert {name: row[name] for name in intake.columns(intake.DeliveryRow)} == {
            name: getattr(delivery, name) for name in intake.columns(intake.DeliveryRow)
        }
    assert Request.objects.get(pk=second).deliveries.count() == 0


def test_the_states_are_the_contract_s_words() -> None:
    choices = Delivery._meta.get_field("state").choices or ()
    assert [value for value, _ in choices] == [str(state) for state in intake.DeliveryState]

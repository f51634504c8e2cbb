"""A noun is written twice, as meaning and as storage: they agree, and so do the triggers and grants of a database."""

import types
from datetime import datetime
from enum import StrEnum
from typing import Any, Union, get_args, get_origin, get_type_hints

import psycopg
import pytest
from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models
from psycopg import sql

from relay_admin.access.audit_triggers import ROW_TRIGGER as AUDIT_TRIGGER
from relay_admin.access.audit_triggers import TRUNCATE_TRIGGER as AUDIT_TRUNCATE_TRIGGER
from relay_admin.catalog.triggers import (
    KEEP_PRICE_VERSION_TRIGGER,
    PRICE_VERSION_TRIGGER,
    TARGET_SECRET_TRIGGER,
    TARGET_VERSION_TRIGGER,
)
from relay_contract import nouns
from relay_contract.channel import CHANNEL, ROW_TRIGGER, TRUNCATE_TRIGGER, Change, parse
from relay_contract.pricing import Rate

ROW = {
    "description": "for people",
    "created_at": "for people",
    "updated_at": "for people",
}
SEEDED = {**ROW, "template": "for re-seeding"}
PRIVATE: dict[type[nouns.Noun], dict[str, str]] = {
    nouns.RateLimit: ROW,
    nouns.Policy: ROW,
    nouns.Project: {
        **ROW,
        "name": "for people",
        "key_life_days": "who mints keys asks",
        "longest_key_life_days": "who mints keys asks",
        "endless_keys": "who mints keys asks",
    },
    nouns.Line: ROW,
    nouns.Endpoint: {
        **ROW,
        "keeps_body": "retention asks",
        "redactions": "whoever shows a body asks",
    },
    nouns.Target: {
        **ROW,
        "retry_schedule_seconds": "workers retry",
        "retry_on": "workers retry",
        "rate_amount": "workers pace",
        "rate_window_seconds": "workers pace",
        "max_in_flight": "workers pace",
        "has_breaker": "workers pace",
        "disable_after_hours": "workers disable",
        "gone_at": "workers disable",
        "disabled_reason": "workers disable",
        "ordering_policy": "workers order",
        "mapping": "workers send",
        "answer_mapping": "workers answer",
        "compare_ignore": "workers compare",
    },
    nouns.TargetSecret: {},
    nouns.RelayKey: {
        "name": "for people",
        "key_id": "for people",
        "successor_id": "for people; the edges know whether there is one",
        "sealed_successor_token": "the control plane tells it, once",
        "rotates_days_before": "the schedule rotates",
        "created_by_id": "for people",
        "created_at": "for people",
    },
    nouns.Host: SEEDED,
    nouns.HostKey: {
        **ROW,
        "value_env": "for catalog documents",
        "value_fingerprint": "for people",
    },
    nouns.Model: {"description": "for people", "updated_at": "for people", "template": "for re-seeding"},
    nouns.HostBinding: SEEDED,
    nouns.ModelAlias: ROW,
    nouns.Pricing: SEEDED,
    nouns.Application: {
        "name": "for people",
        "homepage": "for people",
        "user_id": "for people",
        "client_type": "the authorization server asks",
        "client_secret": "the authorization server asks",
        "authorization_grant_type": "the authorization server asks",
        "redirect_uris": "the authorization server asks",
        "created": "for people",
        "updated": "for people",
    },
    nouns.SigningKey: {
        "sealed_private": "the authorization server signs",
        "activates_at": "the authorization server signs",
        "created_at": "for people",
    },
    nouns.Revocation: {},
    nouns.Membership: {
        "role": "the control plane asks",
        "referrer_id": "mark-ups are posted by it",
        "created_at": "for people",
    },
}
"""Every column that the edge cannot read, and why it need not."""

NOUNS = [pytest.param(noun, id=noun.__name__) for noun in nouns.NOUNS]


def model_of(noun: type[nouns.Noun]) -> type[models.Model]:
    (found,) = [model for model in apps.get_models() if model._meta.db_table == noun.table and not model._meta.proxy]
    return found


def hints(noun: type[nouns.Noun]) -> dict[str, tuple[Any, bool]]:
    """Field -> its type, NewTypes resolved, and whether it may be None."""
    found = {}
    for name, hint in get_type_hints(noun).items():
        if get_origin(hint) not in (None, tuple, Union, types.UnionType):
            continue  # ClassVar
        arguments = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        (only,) = [one for one in arguments if one is not type(None)]
        found[name] = (getattr(only, "__supertype__", only), type(None) in arguments)
    return found


COLUMN_TYPES: dict[Any, set[str]] = {
    int: {"bigint", "integer"},
    str: {"character varying", "text"},
    bool: {"boolean"},
    bytes: {"bytea"},
    datetime: {"timestamp with time zone"},
    tuple[str, ...]: {"ARRAY"},
    tuple[nouns.Scope, ...]: {"ARRAY"},
    tuple[nouns.Rule, ...]: {"jsonb"},
    tuple[nouns.Fallback, ...]: {"jsonb"},
    tuple[Rate, ...]: {"jsonb"},
    nouns.Capabilities: {"jsonb"},
    nouns.JsonDocument: {"jsonb"},
    nouns.Conditions: {"jsonb"},
    nouns.Headers: {"jsonb"},
    nouns.SignatureConfig: {"jsonb"},
    nouns.AuthConfig: {"jsonb"},
    nouns.Budget: {"jsonb"},
}


def columns_in_database(table: str) -> dict[str, tuple[str, bool]]:
    """Column -> its SQL type, and whether it may be NULL."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name, data_type, is_nullable = 'YES' FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name = %s",
            [table],
        )
        return {name: (data_type, is_nullable) for name, data_type, is_nullable in cursor.fetchall()}


@pytest.mark.parametrize("noun", NOUNS)
def test_every_field_is_a_column_of_its_type(noun: type[nouns.Noun], db: None) -> None:
    stored = columns_in_database(noun.table)
    for name, (kind, may_be_none) in hints(noun).items():
        data_type, is_nullable = stored[name]
        wanted = COLUMN_TYPES[str if isinstance(kind, type) and issubclass(kind, StrEnum) else kind]
        assert data_type in wanted, f"{noun.__name__}.{name} is {data_type}"
        assert is_nullable == may_be_none, f"{noun.__name__}.{name}"


@pytest.mark.parametrize("noun", NOUNS)
def test_every_other_column_is_private_for_a_reason(noun: type[nouns.Noun], db: None) -> None:
    assert set(columns_in_database(noun.table)) - set(nouns.columns(noun)) == set(PRIVATE[noun])


@pytest.mark.parametrize("noun", NOUNS)
def test_choices_are_the_contract_s_words(noun: type[nouns.Noun]) -> None:
    for name, (kind, _) in hints(noun).items():
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            field = model_of(noun)._meta.get_field(name)
            assert [value for value, _ in field.choices or ()] == [str(member) for member in kind]
    if noun is nouns.RelayKey:
        scopes = model_of(noun)._meta.get_field("scopes")
        assert isinstance(scopes, ArrayField)
        assert [value for value, _ in scopes.base_field.choices or ()] == [str(scope) for scope in nouns.Scope]


def test_no_model_of_the_catalog_is_missing_from_the_nouns() -> None:
    catalog = {model._meta.db_table for model in apps.get_app_config("catalog").get_models()}
    # Which rows `catalog seed` made once, what lines were and may become, what prices were: none but the control plane
    # asks.
    remembered = {"catalog_seededname", "catalog_linerevision", "catalog_linedraft", "catalog_priceversion",
                  "catalog_appliedentry"}  # fmt: skip
    elsewhere = {
        *("access_relaykey", "access_oauthapplication", "access_signingkey", "access_revocation"),
        "access_membership",
    }
    assert catalog - remembered | elsewhere == set(nouns.BY_TABLE)


OTHER_TRIGGERS: dict[type[nouns.Noun], set[str]] = {
    nouns.Pricing: {PRICE_VERSION_TRIGGER, KEEP_PRICE_VERSION_TRIGGER},
    nouns.Project: {
        "ledger_project_accounts",
        "ledger_number_accounts",
        "ledger_keep_accounts",
        "ledger_project_purses",
    },
    nouns.RelayKey: {"access_relaykey_payer"},
    nouns.Membership: {"access_membership_keep_referrer"},
    nouns.Target: {TARGET_VERSION_TRIGGER},
    nouns.TargetSecret: {TARGET_SECRET_TRIGGER},
}


@pytest.mark.parametrize("noun", NOUNS)
def test_every_table_announces_its_changes(noun: type[nouns.Noun], db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal AND tgenabled = 'O'",
            [noun.table],
        )
        others = OTHER_TRIGGERS.get(noun, set())
        found = {name for (name,) in cursor.fetchall()}
        assert found == {ROW_TRIGGER, TRUNCATE_TRIGGER, AUDIT_TRIGGER, AUDIT_TRUNCATE_TRIGGER, *others}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_what_is_announced_can_be_read(database_url: str) -> None:
    """Insert, update in bulk, delete and truncate, heard as a listener hears them; a rolled-back write says nothing."""
    model = model_of(nouns.Policy)
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute(f"LISTEN {CHANNEL}")  # type: ignore[arg-type]  # a constant
        row = model._default_manager.create(slug="a")
        model._default_manager.filter(pk=row.pk).update(models=["*"])
        key = row.pk
        row.delete()
        with connection.cursor() as cursor:
            cursor.execute("BEGIN; INSERT INTO catalog_policy (slug, models, selection, keeps_affinity,"
                           " fallbacks, is_strict, captures_payloads, description, created_at, updated_at)"
                           " VALUES ('b', '{}', 'priority', true, '[]', false, false, '', now(), now());"
                           " ROLLBACK")  # fmt: skip
            cursor.execute("TRUNCATE catalog_policy CASCADE")
        heard = [parse(note.payload) for note in listener.notifies(timeout=5, stop_after=6)]
    assert heard[:3] == [Change("catalog_policy", key)] * 3
    emptied = {"catalog_policy", "access_relaykey", "access_oauthapplication"}
    assert set(heard[3:]) == {Change(table, None) for table in emptied}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_the_edge_reads_exactly_its_columns(edge_database_url: str) -> None:
    with psycopg.connect(edge_database_url, autocommit=True) as edge:
        for noun in nouns.NOUNS:
            table = sql.Identifier(noun.table)
            columns = sql.SQL(", ").join(map(sql.Identifier, nouns.columns(noun)))
            edge.execute(sql.SQL("SELECT {} FROM {}").format(columns, table))
            statements = [
                *([sql.SQL("SELECT * FROM {}").format(table)] if PRIVATE[noun] else []),
                *(sql.SQL("SELECT {} FROM {}").format(sql.Identifier(name), table) for name in PRIVATE[noun]),
                sql.SQL("UPDATE {} SET id = id").format(table),
                sql.SQL("DELETE FROM {}").format(table),
                sql.SQL("INSERT INTO {} (id) VALUES (1)").format(table),
                sql.SQL("TRUNCATE {}").format(table),
            ]
            for statement in statements:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    edge.execute(statement)
        for refused in (
            "SELECT password FROM access_user",
            "SELECT id FROM access_user",
            "SELECT rates FROM catalog_priceversion",
            "SELECT token_hash FROM access_admintoken",
            "SELECT key_hash FROM access_session",
            "SELECT headers FROM deliveries_request",
            "SELECT body FROM deliveries_payload",
            "SELECT id FROM deliveries_delivery",
            "CREATE TABLE mine (id int)",
            "SET ROLE relay",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                edge.execute(refused)

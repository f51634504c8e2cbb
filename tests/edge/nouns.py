"""Nouns with everything filled in, for tests to change what they speak about; and how such a row gets into Postgres."""

from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection, sql
from psycopg.types.json import Jsonb

from relay_contract import nouns, tokens
from relay_contract.nouns import Noun
from relay_contract.pricing import PriceMeter, Rate

MOMENT = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
TOKEN = tokens.mint(nouns.KeyMode.LIVE)
"""One valid relay key for all tests of a run."""

RATE_LIMIT = nouns.RateLimit(
    id=nouns.RateLimitId(1), slug="many", rules=(nouns.Rule(nouns.Meter.REQUESTS, 1_000_000, 60),)
)
POLICY = nouns.Policy(
    id=nouns.PolicyId(1),
    slug="all",
    models=("*",),
    rate_limit_id=None,
    user_rate_limit_id=None,
    selection=nouns.Selection.PRIORITY,
    keeps_affinity=False,
    fallbacks=(),
    unpriced=nouns.Unpriced.ALLOW,
    estimate_pricing_id=None,
    hold_seconds=0,
    is_strict=False,
    captures_payloads=False,
)
PROJECT = nouns.Project(
    id=nouns.ProjectId(1),
    slug="demo",
    is_archived=False,
    rate_limit_id=None,
    test_rate_limit_id=None,
    billing=nouns.Billing.METERED,
    live_wallet_id=nouns.AccountId(100),
    test_wallet_id=nouns.AccountId(101),
    live_pool_id=nouns.AccountId(102),
    test_pool_id=nouns.AccountId(103),
    pool_cap_microcredits=0,
    markup_ppm=0,
    terms_id=None,
    budget=None,
    user_budget=None,
)
LINE = nouns.Line(id=nouns.LineId(1), project_id=PROJECT.id, slug="v1", is_enabled=True, revision=1)
ENDPOINT = nouns.Endpoint(
    id=nouns.EndpointId(1),
    line_id=LINE.id,
    slug="events",
    is_enabled=True,
    max_body_bytes=1000,
    rate_limit_id=None,
    methods=("POST",),
    content_types=(),
    auth=nouns.EndpointAuth.RELAY_KEY,
    allowed_networks=(),
    signature_preset="",
    signature_config=nouns.SignatureConfig(),
    sealed_signature_secret=b"",
    sealed_previous_signature_secret=b"",
    previous_signature_until=None,
    json_schema=None,
    idempotency_seconds=nouns.DEFAULT_IDEMPOTENCY_SECONDS,
    event_type_from="",
)
TARGET = nouns.Target(
    id=nouns.TargetId(1),
    endpoint_id=ENDPOINT.id,
    name="first",
    delivery_mode=nouns.DeliveryMode.ASYNC,
    is_enabled=True,
    version=1,
    role=nouns.TargetRole.LIVE,
    url="http://127.0.0.1:9/hook",
    headers=nouns.Headers({}),
    timeout_seconds=nouns.DEFAULT_TARGET_TIMEOUT_SECONDS,
    expire_seconds=nouns.DEFAULT_EXPIRE_SECONDS,
    sample_permyriad=nouns.MAX_SAMPLE_PERMYRIAD,
    compares_with="",
    conditions=None,
    ordering_key="",
    stream_total_seconds=3600,
    stream_idle_seconds=120,
    stream_max_bytes=104_857_600,
    heartbeat_seconds=15,
    auth_kind=nouns.TargetAuth.NONE,
    auth_config=nouns.AuthConfig(),
    sealed_auth_secret=b"",
    client_certificate="",
    sealed_client_key=b"",
)
TARGET_SECRET = nouns.TargetSecret(
    id=nouns.TargetSecretId(1),
    target_id=TARGET.id,
    kind=nouns.SecretKind.V1,
    sealed_value=b"\x01sealed",
    created_at=MOMENT,
    expires_at=None,
)
RELAY_KEY = nouns.RelayKey(
    id=nouns.RelayKeyId(1),
    project_id=PROJECT.id,
    mode=nouns.KeyMode.LIVE,
    token_hash=TOKEN.hash,
    scopes=(nouns.Scope.RELAY, nouns.Scope.INFERENCE),
    policy_id=POLICY.id,
    rate_limit_id=None,
    user_id=None,
    captures_payloads=False,
    allowed_networks=(),
    has_successor=False,
    successor_waits=False,
    pays=nouns.Payer.PROJECT,
    wallet_id=None,
    payer_is_active=True,
    budget=None,
    expires_at=None,
    revoked_at=None,
)
HOST = nouns.Host(
    id=nouns.HostId(1),
    slug="vendor",
    base_url="http://127.0.0.1:9/v1",
    is_enabled=True,
    connect_timeout_ms=1000,
    first_byte_timeout_ms=2000,
    first_token_timeout_ms=2500,
    idle_timeout_ms=3000,
    total_timeout_ms=4000,
    passthrough_paths=(),
)
HOST_KEY = nouns.HostKey(
    id=nouns.HostKeyId(1),
    host_id=HOST.id,
    name="main",
    sealed_value=b"\x01sealed",
    reference="",
    rate_limit_id=None,
    is_enabled=True,
)
MODEL = nouns.Model(
    id=nouns.ModelId(1),
    name="demo-gpt",
    owned_by="demo",
    is_enabled=True,
    capabilities=nouns.Capabilities(),
    created_at=MOMENT,
)
MODEL_ALIAS = nouns.ModelAlias(id=nouns.ModelAliasId(1), model_id=MODEL.id, name="demo-latest")
PRICING = nouns.Pricing(
    id=nouns.PricingId(1),
    slug="demo-gpt",
    rates=(Rate(PriceMeter.INPUT, 1_250_000_000), Rate(PriceMeter.OUTPUT, 10_000_000_000)),
    version=1,
)
BINDING = nouns.HostBinding(
    id=nouns.HostBindingId(1),
    model_id=MODEL.id,
    host_id=HOST.id,
    wire_shape=nouns.WireShape.OPENAI_CHAT,
    upstream_name="gpt-x",
    priority=1,
    weight=1,
    pricing_id=None,
    first_byte_timeout_ms=None,
    first_token_timeout_ms=None,
    idle_timeout_ms=None,
    total_timeout_ms=None,
    is_enabled=True,
)
APPLICATION = nouns.Application(
    id=nouns.ApplicationId(1),
    client_id="app_demo",
    project_id=PROJECT.id,
    mode=nouns.KeyMode.LIVE,
    is_enabled=True,
    policy_id=POLICY.id,
    rate_limit_id=None,
    allowed_origins=("https://app.example",),
    captures_payloads=False,
)
SIGNING_KEY = nouns.SigningKey(id=nouns.SigningKeyId(1), kid="demo", public_der=b"", retires_at=MOMENT)  # retired
REVOCATION = nouns.Revocation(
    id=nouns.RevocationId(1), kind=nouns.RevocationKind.USER, value="1", issued_before=MOMENT, expires_at=MOMENT
)
MEMBERSHIP = nouns.Membership(
    id=nouns.MembershipId(1), project_id=PROJECT.id, user_id=nouns.UserId(1), has_own_budget=True, budget=None
)
EVERYTHING: tuple[Noun, ...] = (
    RATE_LIMIT, POLICY, PROJECT, LINE, ENDPOINT, TARGET, TARGET_SECRET, RELAY_KEY, HOST, HOST_KEY, MODEL,
    MODEL_ALIAS, PRICING, BINDING, APPLICATION, SIGNING_KEY, REVOCATION, MEMBERSHIP,
)  # fmt: skip
"""One row of each noun, references whole, in an order in which they can be inserted."""

FILLINGS: dict[str, Any] = {
    "ARRAY": [],
    "boolean": True,
    "bytea": b"private",
    "integer": 5,
    "jsonb": Jsonb({}),
    "timestamp with time zone": MOMENT,
}
"""What goes into columns that are private to the control plane, by type; text becomes the row's id, which is unique."""


async def _wanted_columns(connection: AsyncConnection[Any], table: str, row_id: int) -> dict[str, Any]:
    """What a table wants of a row, filled with anything."""
    cursor = await connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s"
        " AND is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO'",
        [table],
    )
    return {name: FILLINGS.get(data_type, str(row_id)) for name, data_type in await cursor.fetchall()}


_LISTS_AND_OBJECTS = ("rules", "fallbacks", "rates", "capabilities")


def _stored(name: str, value: Any) -> Any:
    if isinstance(value, nouns.JsonDocument | nouns.Conditions | nouns.Headers):
        return Jsonb(value.value)
    if isinstance(value, nouns.SignatureConfig | nouns.AuthConfig | nouns.Budget) or name in _LISTS_AND_OBJECTS:
        return Jsonb(msgspec.to_builtins(value))
    if isinstance(value, tuple):
        return [str(member) for member in value]
    return str(value) if isinstance(value, str) else value


QUIET: dict[type[Noun], tuple[str, ...]] = {
    nouns.TargetSecret: ("catalog_targetsecret_version",),  # its target keeps its version
    nouns.Project: ("ledger_number_accounts", "ledger_project_accounts"),  # it keeps the wallets that it names
}
"""Triggers that would change what is compared with a noun afterwards."""


def _switch(row: Noun, trigger: str, how: str) -> sql.Composed:
    return sql.SQL(f"ALTER TABLE {{}} {how} TRIGGER {{}}").format(sql.Identifier(row.table), sql.Identifier(trigger))


async def insert(connection: AsyncConnection[Any], *rows: Noun) -> None:
    """Inserts these rows as the owner of the tables."""
    for row in rows:
        if isinstance(row, nouns.Membership):
            await _insert(connection, "access_user", row.user_id, {"id": row.user_id})
        values = {field.name: _stored(field.name, getattr(row, field.name)) for field in fields(row)}
        for each in QUIET.get(type(row), ()):
            await connection.execute(_switch(row, each, "DISABLE"))
        await _insert(connection, row.table, row.id, values)
        for each in QUIET.get(type(row), ()):
            await connection.execute(_switch(row, each, "ENABLE"))


async def _insert(connection: AsyncConnection[Any], table: str, row_id: int, given: dict[str, Any]) -> None:
    values = await _wanted_columns(connection, table, row_id) | given
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(sql.Placeholder() * len(values)),
    )
    await connection.execute(statement, list(values.values()))


def numbered(row: Any, number: int, **changes: Any) -> Any:
    """A copy of a noun with another id and these fields changed."""
    return replace(row, id=type(row.id)(number), **changes)

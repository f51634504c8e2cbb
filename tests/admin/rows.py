"""Rows for tests of the control plane, written as the product writes them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.utils import timezone

from relay_admin.access import services as access
from relay_admin.access.models import RelayKey, User
from relay_admin.catalog import services as catalog
from relay_admin.catalog.models import (
    Endpoint,
    Host,
    HostBinding,
    HostKey,
    Line,
    Model,
    Policy,
    Pricing,
    Project,
    RateLimit,
    Target,
)
from relay_admin.deliveries.models import Attempt, Delivery, FinishedDelivery, LiveDelivery, Payload, Request
from relay_admin.ledger.models import Charge
from relay_admin.traffic.models import Call
from relay_contract.ids import uuid7
from relay_contract.intake import LIVE_STATES, DeliveryState, shard_of
from relay_contract.traffic import CallRow, insert_statement
from relay_contract.usage import METERS

PASSWORD = "correct horse battery staple"
HOST_KEY_VALUE = "canary-host-key-4f1d0c"
SIGNING_SECRET = "whsec_Y2FuYXJ5LXNpZ25pbmctc2VjcmV0LTAxMjM0NTY3ODk="
HEADER_VALUE = "canary-header-value-77ab"
BODY = b'{"note":"canary-body <script>alert(1)</script>"}'
ANSWER = b"canary-answer <b>bold</b>"


@dataclass
class Catalog:
    """One row of every noun."""

    rate_limit: RateLimit
    policy: Policy
    project: Project
    line: Line
    endpoint: Endpoint
    target: Target
    host: Host
    host_key: HostKey
    model: Model
    binding: HostBinding
    pricing: Pricing
    relay_key: RelayKey
    token: str


def user(name: str, group: str | None = None, password: str | None = None, **columns: Any) -> User:
    """Somebody who may sign in to the admin. Without a password: hashing one takes a tenth of a second."""
    made = User.objects.create_user(name, f"{name}@example.test", password, is_staff=True, **columns)
    if group:
        made.groups.add(Group.objects.get(name=group))
    return made


def permission(name: str) -> Permission:
    """By `app.codename`."""
    app, codename = name.split(".")
    return Permission.objects.get(content_type__app_label=app, codename=codename)


def catalog_rows() -> Catalog:
    """The smallest whole catalog, with a secret in every place that has one."""
    rate_limit = RateLimit.objects.create(
        slug="calls", rules=[{"meter": "requests", "amount": 600, "window_seconds": 60}]
    )
    policy = Policy.objects.create(slug="all", models=["*", "-secret-*"], rate_limit=rate_limit)
    project = Project.objects.create(slug="shop", name="Shop", rate_limit=rate_limit)
    line = Line.objects.create(project=project, slug="v1")
    endpoint = Endpoint.objects.create(line=line, slug="orders")
    target = catalog.target_create(
        endpoint=endpoint,
        name="billing",
        url="http://127.0.0.1:9/hook",
        headers={"x-secret": HEADER_VALUE},
        signing_secret=SIGNING_SECRET,
    )
    host = Host.objects.create(slug="vendor", base_url="http://127.0.0.1:9/v1")
    host_key = catalog.host_key_create(host=host, name="main", value=HOST_KEY_VALUE)
    model = Model.objects.create(name="gpt-demo")
    pricing = Pricing.objects.create(
        slug="vendor/gpt", rates=[{"meter": "input", "nanousd_per_million": 1_250_000_000}]
    )
    binding = HostBinding.objects.create(
        model=model, host=host, wire_shape="openai_chat", upstream_name="gpt-up", pricing=pricing
    )
    minted = access.relay_key_mint(project=project, name="app", scopes=["relay", "inference"], policy=policy)
    return Catalog(
        rate_limit,
        policy,
        project,
        line,
        endpoint,
        target,
        host,
        host_key,
        model,
        binding,
        pricing,
        minted.relay_key,
        minted.token,
    )


def request_row(rows: Catalog, *, received_at: datetime | None = None, body: bytes = BODY, **columns: Any) -> Request:
    """An accepted call with its body."""
    received_at = received_at or timezone.now()
    values = {
        "project": rows.project,
        "line": rows.line,
        "endpoint": rows.endpoint,
        "relay_key": rows.relay_key,
        "mode": "live",
        "received_at": received_at,
        "method": "POST",
        "path": f"/r/{rows.endpoint}",
        "status": 202,
        "caller_request_id": "",
        "client_ip": "192.0.2.7",
        "content_type": "application/json",
        "headers": {"x-tenant": "canary-request-header"},
        "body_bytes": len(body),
        "target_count": 1,
    }
    request = Request.objects.create(id=uuid7(), **{**values, **columns})
    Payload.objects.create(request=request, received_at=received_at, body=body)
    return request


def delivery_row(request: Request, target: Target, state: DeliveryState, **columns: Any) -> Delivery:
    """A delivery in a state that the workers could have left it in, with an attempt where there was one."""
    now = timezone.now()
    is_live = state in LIVE_STATES
    values: dict[str, Any] = {
        "id": uuid7(),
        "request_id": request.pk,
        "project_id": request.project_id,
        "target_id": target.pk,
        "shard": shard_of(target.pk),
        "mode": "async",
        "key_mode": request.mode,
        "state": str(state),
        "revision": 0,
        "created_at": now,
        "next_attempt_at": now + timedelta(hours=1) if is_live else None,
        "expires_at": now + timedelta(days=7),
        "body_bytes": request.body_bytes,
        "credits": 1_000_000,
        "attempt_count": 0 if state is DeliveryState.PENDING else 1,
        "last_status": 500 if state is DeliveryState.DEAD else None,
    }
    ended = {"finished_at": now, "dead_reason": "attempts_exhausted" if state is DeliveryState.DEAD else ""}
    made = values | ({} if is_live else ended) | columns
    (LiveDelivery if is_live else FinishedDelivery).objects.create(**made)
    delivery = Delivery.objects.get(pk=made["id"])
    for phase, kind in enumerate(["hold"] if is_live else ["hold", "settle"]):
        Charge.objects.create(
            delivery_id=delivery.pk,
            replay=delivery.replay_count,
            phase=phase,
            kind=kind,
            request_id=request.pk,
            project_id=delivery.project_id,
            relay_key_id=None if phase else request.relay_key_id,
            target_id=delivery.target_id,
            key_mode=request.mode,
            micro_credits=delivery.credits,
            units=1,
        )
    if state is not DeliveryState.PENDING:
        Attempt.objects.create(
            id=uuid7(),
            delivery=delivery,
            number=1,
            replay=0,
            outcome="dead" if state is DeliveryState.DEAD else "delivered",
            started_at=now,
            duration_ms=12,
            url=target.url,
            status=500 if state is DeliveryState.DEAD else 200,
            error="",
            response_body=ANSWER,
            is_response_cut=False,
        )
    return delivery


def call_row(rows: Catalog, **columns: Any) -> Call:
    """A call to a model as the edge writes it, answered unless `columns` say otherwise."""
    values: dict[str, Any] = {
        "id": uuid7(),
        "request_id": "req-1",
        "received_at": timezone.now(),
        "project_id": rows.project.pk,
        "relay_key_id": rows.relay_key.pk,
        "user_id": None,
        "mode": "live",
        "surface": "chat_completions",
        "requested_model": rows.model.name,
        "model_id": rows.model.pk,
        "model": rows.model.name,
        "host_id": rows.host.pk,
        "host": rows.host.slug,
        "host_key_id": rows.host_key.pk,
        "binding_id": rows.binding.pk,
        "status": 200,
        "error": "",
        "error_source": "",
        "finish": "stop",
        "is_stream": True,
        "attempts": 1,
        "usage_source": "provider",
        **dict.fromkeys(METERS, 0),
        "input_tokens": 1200,
        "cache_read_tokens": 34,
        "output_tokens": 56,
        "cost_nanousd": 1_350_000,
        "pricing_id": None,
        "tags": {"team": "search"},
        "total_us": 2_345_678,
        "upstream_us": 2_344_000,
        "first_token_us": 812,
        "bytes_in": 10,
        "bytes_out": 20,
    }
    row = CallRow(**values | columns)
    with connection.cursor() as cursor:
        cursor.execute(insert_statement(CallRow), [msgspec.json.encode([row]).decode()])
    return Call.objects.get(pk=row.id)


def delivery_columns(delivery_id: UUID) -> dict[str, Any]:
    """The whole row, to show that nothing of it changed."""
    return Delivery.objects.filter(pk=delivery_id).values().get()

"""Rows for tests of the control plane, written as the product writes them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Group, Permission
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
    Project,
    RateLimit,
    Target,
)
from relay_admin.deliveries.models import Attempt, Delivery, Payload, Request
from relay_contract.ids import uuid7
from relay_contract.intake import DeliveryState, shard_of

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
    binding = HostBinding.objects.create(model=model, host=host, wire_shape="openai_chat", upstream_name="gpt-up")
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
        minted.relay_key,
        minted.token,
    )


def request_row(rows: Catalog, *, received_at: datetime | None = None, body: bytes = BODY, **columns: Any) -> Request:
    """An accepted call with its body."""
    received_at = received_at or timezone.now()
    values = {
        "project": rows.project,
        "endpoint": rows.endpoint,
        "relay_key": rows.relay_key,
        "mode": "live",
        "received_at": received_at,
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
    is_live = state in (DeliveryState.PENDING, DeliveryState.SENDING)
    values: dict[str, Any] = {
        "created_at": now,
        "next_attempt_at": now + timedelta(hours=1) if is_live else None,
        "finished_at": None if is_live else now,
        "attempt_count": 0 if state is DeliveryState.PENDING else 1,
        "dead_reason": "attempts_exhausted" if state is DeliveryState.DEAD else "",
        "last_status": 500 if state is DeliveryState.DEAD else None,
        "last_error": "",
        "replay_count": 0,
    }
    delivery = Delivery.objects.create(
        id=uuid7(),
        request=request,
        project_id=request.project_id,
        target=target,
        shard=shard_of(target.pk),
        state=str(state),
        **{**values, **columns},
    )
    if state is not DeliveryState.PENDING:
        Attempt.objects.create(
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


def delivery_columns(delivery_id: UUID) -> dict[str, Any]:
    """The whole row, to show that nothing of it changed."""
    return Delivery.objects.filter(pk=delivery_id).values().get()

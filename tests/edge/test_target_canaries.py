"""Marked secrets in every place of the relay plane, calls and attempts that fail in many ways, and then a look into
everything that was written or answered."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import Client
from psycopg import AsyncConnection

from delivery.resident import open_lanes
from relay_admin.access import services as access
from relay_admin.catalog import services, target_credentials, target_secrets
from relay_admin.catalog.lines import drafts
from relay_admin.catalog.models import Endpoint, Line, Target
from relay_admin.deliveries.models import Delivery, Request
from relay_contract.nouns import SecretKind
from relay_contract.signing import Scheme, new_secret
from tests.admin import rows
from tests.contract.test_client_certificates import ROOT, client, pem_of
from tests.delivery.conftest import settings_for
from tests.edge.conftest import until
from tests.edge.running import RunningEdge, running_edge
from tests.edge.test_canaries import _files, control_plane, every_table
from tests.edge.vendor import Vendor, VendorCall, Wire

BODY = b'{"looked": "for-here-by-the-canaries"}'
SEEN = "for-here-by-the-canaries"
"""Of each call's body: a sink that does not show it was not looked into."""


@pytest.fixture
def master_key(settings: Any) -> Iterator[bytes]:
    key = secrets.token_bytes(32)
    settings.MASTER_KEYS = (key,)
    services.sealer.cache_clear()
    yield key
    services.sealer.cache_clear()


@dataclass
class Gossip(Vendor):
    """A target and a token endpoint that quote whatever they are called with."""

    token: str = ""

    def _check(self, call: VendorCall) -> None:
        """Anything may come."""

    async def standard(self, call: VendorCall, wire: Wire) -> None:
        """Tokens at /token; /refuses says no and tells the secret; a stream answers; others quote and fail."""
        shown = call.header("authorization") or ""
        opened = base64.b64decode(shown.removeprefix("Basic ")).decode() if shown.startswith("Basic ") else ""
        quoted = json.dumps({"error": "invalid_client", "error_description": f"{shown} {opened} {call.body.decode()}"})
        if call.path == "/token":
            await wire.answer(json.dumps({"access_token": self.token, "expires_in": 3600}).encode())
        elif call.path == "/refuses":
            await wire.answer(quoted.encode(), 401)
        elif call.path.startswith("/stream"):
            await wire.answer(b'{"ok": true}')
        else:
            await wire.answer(quoted.encode(), 500, f"x-quoted: {shown}")


def prepare(catalog: rows.Catalog, target: Gossip) -> dict[str, list[str]]:
    """Targets of every kind of credential, an endpoint with two signature secrets; the marks by meaning."""
    marks = {
        name: f"canary{secrets.token_hex(12)}" for name in ("bearer", "basic", "client", "refused", "now", "before")
    }
    marks["token"] = target.token = f"canary{secrets.token_hex(12)}"
    url = f"http://127.0.0.1:{target.port}"
    Target.objects.filter(pk=catalog.target.pk).delete()
    Endpoint.objects.update(is_enabled=True)

    def add(endpoint: Endpoint, name: str, secret: str = "", **columns: Any) -> Target:
        made = services.target_create(
            endpoint=endpoint, name=name, **{"url": f"{url}/{name}", "retry_schedule_seconds": [], **columns}
        )
        if secret:
            target_credentials.target_auth_secret_set(target=made, value=secret)
        return made

    def tokens(path: str, where: str) -> dict[str, Any]:
        config = {"token_url": f"{url}{path}", "client_id": "relay", "client_authentication": where}
        return {"auth_kind": "oauth2", "auth_config": config}

    orders = catalog.endpoint
    catalog.target = add(orders, "bearer", marks["bearer"], auth_kind="bearer")
    add(orders, "basic", marks["basic"], auth_kind="basic", auth_config={"username": "relay"})
    add(orders, "oauth2", marks["client"], **tokens("/token", "body"))
    add(orders, "refused", marks["refused"], **tokens("/refuses", "basic"))
    key = ec.generate_private_key(ec.SECP256R1())
    certified = add(orders, "certified", url="https://127.0.0.1:9/")
    certified.client_certificate = client(key) + ROOT
    certified.save()
    target_credentials.target_client_key_set(target=certified, value=pem_of(key))
    asymmetric = new_secret(Scheme.ED25519)
    target_secrets.target_secret_add(target=catalog.target, kind=SecretKind.V1A, value=asymmetric)

    streams = Endpoint.objects.create(line=catalog.line, slug="streams")
    add(streams, "stream", marks["client"], delivery_mode="stream", **tokens("/token", "basic"))
    cut_off = Endpoint.objects.create(line=catalog.line, slug="cut-off")
    add(cut_off, "stream", marks["refused"], delivery_mode="stream", **tokens("/refuses", "body"))
    signed = Endpoint.objects.create(
        line=catalog.line, slug="signed", auth="signature", signature_preset="github", is_enabled=False
    )
    services.endpoint_signature_secret_rotate(endpoint=signed, secret=marks["before"])
    services.endpoint_signature_secret_rotate(endpoint=signed, secret=marks["now"])
    Endpoint.objects.filter(pk=signed.pk).update(is_enabled=True)
    add(signed, "hooks")

    line = Line.objects.get(pk=catalog.line.pk)
    document = drafts.document_now(line)
    document["endpoints"][0]["targets"][0]["timeout_seconds"] = 7
    drafts.draft_put(line=line, document=document, draft_revision=0, by=None)
    drafts.draft_publish(line=line, draft_revision=1, by=None)
    document["endpoints"][0]["targets"][0]["timeout_seconds"] = 8
    drafts.draft_put(line=Line.objects.get(pk=line.pk), document=document, draft_revision=0, by=None)
    lines = pem_of(key).split("\n")[1:-2]
    return {
        "a bearer token": [marks["bearer"]],
        "a password": [marks["basic"], base64.b64encode(f"relay:{marks['basic']}".encode()).decode()],
        "a client secret": [marks["client"], marks["refused"]],
        "an access token": [marks["token"]],
        "a client key": lines,
        "a signature secret": [marks["now"], marks["before"]],
        "an asymmetric signing key": [asymmetric, asymmetric.removeprefix("whsk_")],
        "a signing secret": [
            target_secrets.target_secret_reveal(secret=one)
            for each in Target.objects.all()
            for one in each.secrets.exclude(kind=SecretKind.V1A)
        ],
    }


async def calls(edge: RunningEdge, token: str, marks: dict[str, list[str]]) -> list[str]:
    """Calls to each endpoint, signed rightly by both secrets and wrongly; heads and bodies of what was answered."""
    answers = []

    async def post(slug: str, **headers: str) -> None:
        sent = {"content-type": "application/json", **headers}
        async with edge.client.post(f"{edge.url}/r/shop/v1/{slug}", data=BODY, headers=sent) as answer:
            answers.append(f"{answer.status} {answer.raw_headers!r} {await answer.text()}")

    bearer = f"Bearer {token}"
    for slug in ("orders", "streams", "cut-off"):
        await post(slug, authorization=bearer)
    for secret in (*marks["a signature secret"], "another"):
        signature = hmac.new(secret.encode(), BODY, hashlib.sha256).hexdigest()
        await post("signed", **{"x-hub-signature-256": f"sha256={signature}"})
    return answers


def relay_pages(browser: Client, token: dict[str, str], catalog: rows.Catalog) -> str:
    """What the control plane shows of lines, targets, requests, deliveries and attempts, by page and API."""
    line = f"/api/v1/lines/{catalog.line}"
    pages = [f"/admin/catalog/line/{catalog.line.pk}/configuration/"]
    pages += [
        f"/admin/catalog/line/{catalog.line.pk}/revisions/1/",
        f"{line}/draft",
        f"{line}/diff",
        f"{line}/revisions",
    ]
    pages += [f"{line}/revisions/1", "/api/v1/requests", "/api/v1/deliveries", "/api/v1/catalog"]
    for endpoint in Endpoint.objects.all():
        pages += [
            f"/admin/catalog/endpoint/{endpoint.pk}/{page}/" for page in ("change", "history", "signature-secret")
        ]
        pages.append(f"/api/v1/endpoints/{endpoint}/signature-secret")
    for target in Target.objects.all():
        pages += [f"/admin/catalog/target/{target.pk}/{page}/" for page in ("change", "history")]
        pages.append(f"/api/v1/targets/{target.pk}/secrets")
    for request in Request.objects.all():
        pages += [f"/admin/deliveries/request/{request.pk}/change/", f"/api/v1/requests/{request.pk}"]
    pages += [f"/admin/deliveries/delivery/{each.pk}/change/" for each in Delivery.objects.all()]
    seen = ""
    for page in pages:
        answer = browser.get(page, headers=token if page.startswith("/api") else {})
        assert answer.status_code == 200, (page, answer.status_code)
        seen += f"{answer.headers} {answer.content.decode()}"
    return seen


@pytest.mark.usefixtures("_edge_role")
async def test_no_credential_of_a_target_is_written_or_told_anywhere(  # noqa: PLR0917 (fixtures)
    owner: AsyncConnection[Any],
    database_url: str,
    edge_database_url: str,
    redis_url: str,
    tmp_path: Path,
    free_port: int,
    master_key: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for room in ("delivery", "relay_contract", "aiohttp"):
        caplog.set_level(logging.DEBUG, room)
    own = {
        "RELAY_MASTER_KEY": base64.b64encode(master_key).decode(),
        "RELAY_LOG_LEVEL": "DEBUG",
        "RELAY_ACCESS_LOG": "true",
    }
    async with Gossip() as target:
        catalog = await sync_to_async(rows.catalog_rows)()
        marks = await sync_to_async(prepare)(catalog, target)
        worker = settings_for(
            database_url, redis_url, RELAY_DELIVERY_LANES="async", RELAY_MASTER_KEY=own["RELAY_MASTER_KEY"]
        )
        async with (
            running_edge(tmp_path, free_port, edge_database_url, redis_url, **own) as edge,
            open_lanes(worker) as lanes,
        ):
            running = asyncio.create_task(lanes.run(0))
            told = await calls(edge, catalog.token, marks)

            async def all_over() -> bool:
                cursor = await owner.execute(
                    "SELECT (SELECT count(*) FROM deliveries_live), (SELECT count(*) FROM deliveries_finished)"
                )
                return await cursor.fetchone() == (0, 9)

            await until(all_over, "every delivery to be over")
            lanes.stop()
            await running
            root = await sync_to_async(rows.user)("root", is_superuser=True)
            minted = await sync_to_async(access.admin_token_mint)(user=root, name="canary")
            browser, token = Client(), {"Authorization": f"Bearer {minted.token}"}
            await sync_to_async(browser.force_login)(root)
            shown = await sync_to_async(relay_pages)(browser, token, catalog)
            shown += await sync_to_async(control_plane)(browser, token, catalog)
    tables = await every_table(owner)
    assert [answer[:3] for answer in told] == ["202", "200", "502", "202", "202", "401"]
    assert b"invalid_client".hex() in tables["deliveries_attempt"]  # what targets said while they quoted
    sinks = {
        "answers": "\n".join(told),
        "edge's log": edge.log_path.read_text(),
        "worker's log": "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records),
        "control plane": shown,
        "files": await asyncio.to_thread(_files, tmp_path),
    } | tables
    assert SEEN in sinks["control plane"]
    assert SEEN.encode().hex() in sinks["deliveries_payload"]
    assert "token_unavailable" in sinks["edge's log"]
    for meaning, values in marks.items():
        assert values, meaning
        for mark in (*values, *(value.encode().hex() for value in values)):  # tables show bytes so
            for name, sink in sinks.items():
                assert mark not in sink, (
                    f"{meaning} is in the {name}: ...{sink[max(0, sink.index(mark) - 200) :][:200]}"
                )

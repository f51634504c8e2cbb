"""Dry runs: each step's verdict, and that nothing is left behind."""

import base64
import hashlib
import hmac
import json
import socket
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from relay_admin.catalog import services
from relay_admin.catalog.lines import drafts
from relay_admin.catalog.models import Endpoint, Target
from relay_contract import nouns
from tests.admin import rows

ADDRESS = "/api/v1/endpoints/shop/v1/orders/dry-run"
ORDER = {"type": "order.created", "total": 120, "name": "Ada"}


@pytest.fixture
def run(catalog: rows.Catalog, client: Client, token_of) -> Any:
    """POST a sample as an operator: status and body."""
    headers = token_of("operators")

    def post(**sample: Any) -> tuple[int, Any]:
        answer = client.post(ADDRESS, json.dumps(sample), "application/json", headers=headers)
        return answer.status_code, answer.json()

    return post


def step(answer: Any, name: str) -> tuple[bool | None, int]:
    [found] = [one for one in answer["steps"] if one["name"] == name]
    return found["passes"], found["status"] if found["passes"] is False else 0


def test_what_a_target_would_get(run) -> None:
    Endpoint.objects.update(event_type_from="body:type")
    Target.objects.update(
        conditions={"all": [{"event_type": "order.*"}, {"path": "total", "gte": 100}]},
        mapping={"body": {"object": {"text": {"text": "{name}"}}}, "headers": {"x-total": {"constant": "120"}}},
        auth_kind="bearer",
    )
    status, answer = run(body=ORDER, headers={"X-Shop": "berlin", "Authorization": "Bearer of-the-caller"})
    assert (status, answer["isAccepted"], answer["eventType"], answer["credits"]) == (200, True, "order.created", 1)
    [target] = answer["targets"]
    assert (target["name"], target["verdict"], target["body"]) == ("billing", "gets it", '{"text":"Ada"}')
    assert [(one["place"], one["said"]) for one in target["conditions"]] == [
        ("all[0]", "passes"),
        ("all[1]", "passes"),
        ("", "passes"),
    ]
    sent = target["headers"]
    assert {name: sent[name] for name in ("x-shop", "x-total", "content-type", "x-secret", "authorization")} == {
        "x-shop": "berlin",
        "x-total": "120",
        "content-type": "application/json",
        "x-secret": "…",
        "authorization": "Bearer …",
    }
    assert any(one["place"] == "body.object.text" for one in target["mapping"])
    assert rows.HEADER_VALUE not in json.dumps(answer)
    assert "of-the-caller" not in json.dumps(answer)


def test_the_leaf_that_failed_is_named(run) -> None:
    Target.objects.update(conditions={"all": [{"path": "total", "gte": 500}]})
    [target] = run(body=ORDER)[1]["targets"]
    assert (target["verdict"], target["credits"]) == ("filtered", 0)
    assert target["detail"] == "total is 120; wanted: gte 500"


def test_a_mapping_that_fails_names_its_node(run) -> None:
    Target.objects.update(mapping={"body": {"number": {"field": "name"}}})
    [target] = run(body=ORDER)[1]["targets"]
    assert target["verdict"] == "mapping_failed"
    assert target["detail"].startswith("body")


@pytest.mark.parametrize(
    ("fields", "sample", "name", "status"),
    [
        ({"is_enabled": False}, {}, "endpoint", 404),
        ({"allowed_networks": ["192.0.2.0/24"]}, {"address": "198.51.100.1"}, "address", 403),
        ({}, {"method": "GET"}, "method", 405),
        ({"methods": ["PUT"]}, {}, "method", 405),
        ({"content_types": ["text/*"]}, {}, "content type", 415),
        ({"max_body_bytes": 3}, {}, "size", 413),
        ({"auth": "signature", "signature_preset": "github"}, {}, "signature", 503),
        ({"auth": "signature", "signature_preset": "nobody"}, {}, "signature", 503),
        ({"json_schema": {"required": ["x"]}}, {}, "schema", 422),
        ({"json_schema": {"type": 3}}, {}, "schema", 503),
    ],
)
def test_each_step_can_refuse(run, fields: dict[str, Any], sample: dict[str, Any], name: str, status: int) -> None:
    Endpoint.objects.update(**fields)
    got, answer = run(body=ORDER, **sample)
    assert (got, answer["isAccepted"], answer["targets"], answer["credits"]) == (200, False, [], 0)
    assert step(answer, name) == (False, status)


@pytest.mark.parametrize(
    ("fields", "sample", "name"),
    [
        ({"allowed_networks": ["192.0.2.0/24"]}, {"address": "::ffff:192.0.2.7"}, "address"),
        ({"content_types": ["application/json"]}, {"headers": {"Content-Type": "Application/JSON; charset=utf-8"}},
         "content type"),
        ({"json_schema": {"required": ["total"]}}, {}, "schema"),
    ],
)  # fmt: skip
def test_each_step_can_pass(run, fields: dict[str, Any], sample: dict[str, Any], name: str) -> None:
    Endpoint.objects.update(**fields)
    assert step(run(body=ORDER, **sample)[1], name) == (True, 0)


def test_a_signature_is_checked_over_the_bytes(run, catalog: rows.Catalog) -> None:
    secret, body = "canary-signature-secret", b'{"a": 1}'
    binding = nouns.endpoint_signature_binding(catalog.endpoint.pk)
    Endpoint.objects.update(
        auth="signature",
        signature_preset="github",
        sealed_signature_secret=services.sealer().seal(secret, binding),
    )
    right = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    encoded = base64.b64encode(body).decode()
    answers = [
        run(bodyBase64=encoded, headers={"X-Hub-Signature-256": signature})[1] for signature in (right, right[:-1])
    ]
    assert [step(answer, "signature") for answer in answers] == [(True, 0), (False, 401)]
    assert step(run(bodyBase64=encoded)[1], "signature") == (False, 401)
    assert secret not in json.dumps(answers)


def test_a_sync_answer_is_mapped(run) -> None:
    Target.objects.update(delivery_mode="sync", answer_mapping={"body": {"field": "data"}})
    [target] = run(body=ORDER, answer={"status": 200, "body": {"data": [1]}})[1]["targets"]
    assert target["answer"] == "[1]"


def test_a_draft_is_tried_before_it_is_published(run, catalog: rows.Catalog) -> None:
    document = drafts.document_now(catalog.line)
    document["endpoints"][0]["targets"][0]["is_enabled"] = False
    document["endpoints"][0]["targets"].append({"name": "second", "url": "http://127.0.0.1:9/"})
    drafts.draft_put(line=catalog.line, document=document, draft_revision=0, by=None)
    assert [one["name"] for one in run(body=ORDER)[1]["targets"]] == ["billing"]
    tried = run(body=ORDER, draft=True)[1]["targets"]
    assert [(one["name"], one["verdict"]) for one in tried] == [("billing", "disabled"), ("second", "gets it")]


def test_nothing_is_written_or_called(run, monkeypatch: pytest.MonkeyPatch, catalog: rows.Catalog) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
        )
        tables = [name for (name,) in cursor.fetchall()]

    def counts() -> dict[str, int]:
        with connection.cursor() as cursor:
            found = {}
            for table in tables:
                cursor.execute(f'SELECT count(*) FROM "{table}"')
                found[table] = cursor.fetchone()[0]
            return found

    def refuse(*_: Any) -> None:
        raise AssertionError("a dry run calls nobody")

    drafts.draft_put(line=catalog.line, document=drafts.document_now(catalog.line), draft_revision=0, by=None)
    before = counts()
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert run(body=ORDER)[1]["isAccepted"]
    assert run(body=ORDER, draft=True)[1]["isAccepted"]
    assert counts() == before


@pytest.mark.parametrize(
    "sample",
    [
        {"method": "TRACE"},
        {"body": 1, "bodyText": "1"},
        {"bodyBase64": "###"},
        {"address": "nowhere"},
        {"headers": {"a": {"b": 1}}},
        {"bodyText": "x" * 300_000},
        {"bodyText": "\ud800"},
        {"nonsense": 1},
    ],
)
def test_a_sample_that_cannot_be_used(run, sample: dict[str, Any]) -> None:
    assert run(**sample)[0] == 400


def test_who_may_try(catalog: rows.Catalog, client: Client, token_of) -> None:
    for who in ("viewers", "support"):
        assert client.post(ADDRESS, "{}", "application/json", headers=token_of(who)).status_code == 403
    operator = token_of("operators")
    for address in (ADDRESS.replace("orders", "nothing"), ADDRESS.replace("v1/orders", "v9/orders")):
        assert client.post(address, "{}", "application/json", headers=operator).status_code == 404
    drafted = client.post(ADDRESS, '{"draft": true}', "application/json", headers=operator)
    assert drafted.status_code == 404

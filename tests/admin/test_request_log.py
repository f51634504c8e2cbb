"""The request log: its filters and pages read what they must and no more, and nobody sees what is to be hidden."""

import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from relay_admin.catalog.models import Endpoint
from relay_admin.deliveries import request_filters, storage
from relay_admin.deliveries.admin.request import RequestAdmin
from relay_admin.deliveries.models import Idempotency, Request, RequestEnd
from relay_admin.deliveries.request_filters import narrowed
from relay_contract.ids import uuid7
from relay_contract.intake import DeliveryState
from tests.admin import rows
from tests.admin.test_pages import text_of

LIST = "/admin/deliveries/request/"


def ids_of(client: Client, token: dict[str, str], **query: str) -> set[UUID]:
    answer = client.get("/api/v1/requests", query, headers=token)
    assert answer.status_code == 200, answer.content
    return {UUID(each["id"]) for each in answer.json()["results"]}


def listed(client: Client, **query: str) -> set[UUID]:
    text = client.get(LIST, query).content.decode()
    return {pk for pk in Request.objects.values_list("pk", flat=True) if str(pk) in text}


@pytest.fixture
def three(catalog: rows.Catalog) -> dict[str, Request]:
    """One delivered, one dead, one refused."""
    fine = rows.request_row(catalog, event_type="order.created", path="/r/shop/v1/orders/7", caller_request_id="mine")
    rows.delivery_row(fine, catalog.target, DeliveryState.DELIVERED)
    failed = rows.request_row(catalog, idempotency_key="once")
    rows.delivery_row(failed, catalog.target, DeliveryState.DEAD)
    now = timezone.now()
    Idempotency.objects.create(
        endpoint_id=catalog.endpoint.pk, key="once", request_id=failed.pk, body_hash=b"", created_at=now, expires_at=now
    )
    refused = rows.request_row(catalog, status=422, error="schema_mismatch", target_count=0, mode="test")
    return {"fine": fine, "failed": failed, "refused": refused}


FILTERS: list[tuple[dict[str, str], dict[str, str], set[str]]] = [
    ({}, {}, {"fine", "failed", "refused"}),
    ({"status": "2xx"}, {"answered": "2xx"}, {"fine", "failed"}),
    ({"status": "422"}, {"answered": "4xx"}, {"refused"}),
    ({"outcome": "delivered"}, {"outcome": "delivered"}, {"fine"}),
    ({"outcome": "dead"}, {"outcome": "dead"}, {"failed"}),
    ({"outcome": "none"}, {"outcome": "none"}, {"refused"}),
    ({"outcome": "pending"}, {"outcome": "pending"}, set()),
    ({"path": "/r/shop/v1/orders/"}, {"starts": "/r/shop/v1/orders/"}, {"fine"}),
    ({"path": "/r/%"}, {"starts": "/r/%"}, set()),
    ({"eventType": "order.created"}, {"event": "order.created"}, {"fine"}),
    ({"search": "mine"}, {"q": "mine"}, {"fine"}),
    ({"search": "once"}, {"q": "once"}, {"failed"}),
    ({"search": "min"}, {"q": "min"}, set()),
    ({"project": "shop"}, {}, {"fine", "failed", "refused"}),
    ({"endpoint": "shop/v1/orders"}, {}, {"fine", "failed", "refused"}),
    ({"mode": "test"}, {"mode__exact": "test"}, {"refused"}),
    ({"since": "2020-01-01T00:00:00Z"}, {}, {"fine", "failed", "refused"}),
    ({"until": "2020-01-01T00:00:00Z"}, {}, set()),
]


@pytest.mark.parametrize(("asked", "chosen", "expected"), FILTERS)
def test_page_and_api_filter_alike(
    asked: dict[str, str],
    chosen: dict[str, str],
    expected: set[str],
    *,
    client_of: Any,
    token_of: Any,
    three: dict[str, Request],
) -> None:
    wanted = {three[name].pk for name in expected}
    assert ids_of(Client(), token_of("support"), **asked) == wanted
    if chosen or not asked:
        assert listed(client_of("support"), **chosen) == wanted


def test_ids_of_all_kinds_find_the_request(token_of, catalog: rows.Catalog, three: dict[str, Request]) -> None:
    token = token_of("support")
    fine = three["fine"]
    delivery = fine.deliveries.get()
    assert ids_of(Client(), token, search=str(fine.pk)) == {fine.pk}
    assert ids_of(Client(), token, search=str(delivery.pk)) == {fine.pk}
    assert ids_of(Client(), token, search=str(uuid7())) == set()
    assert ids_of(Client(), token, key=str(catalog.relay_key.pk)) == {each.pk for each in three.values()}
    assert Client().get("/api/v1/requests?colour=red", headers=token).status_code == 400
    assert Client().get("/api/v1/requests?endpoint=shop/v1/none", headers=token).status_code == 400


def test_the_end_of_a_sync_call_is_its_status(client_of, token_of, catalog: rows.Catalog) -> None:
    sync = rows.request_row(catalog, status=0)
    RequestEnd.objects.create(
        id=sync.pk, received_at=sync.received_at, status=504, error="sync_timeout", total_us=30_000_000, bytes_out=0,
        heartbeats=0, close_reason="deadline", is_stream=False, url="http://127.0.0.1:9/",
    )  # fmt: skip
    token = token_of("support")
    assert ids_of(Client(), token, status="5xx") == {sync.pk}
    assert ids_of(Client(), token, status="2xx") == set()
    assert ids_of(Client(), token, error="sync_timeout") == {sync.pk}
    assert ids_of(Client(), token, error="unavailable") == set()
    [listed] = Client().get("/api/v1/requests", headers=token).json()["results"]
    one = Client().get(f"/api/v1/requests/{sync.pk}", headers=token).json()
    assert (listed["status"], listed["error"]) == (one["status"], one["error"]) == (504, "sync_timeout")
    page = client_of("support").get(LIST).content.decode()
    assert "sync_timeout" in page
    assert "answered later" not in page


def test_pages_neither_skip_nor_repeat_while_calls_come(client_of, token_of, catalog: rows.Catalog) -> None:
    made = [rows.request_row(catalog).pk for _ in range(7)]
    token, seen, after = token_of("support"), [], ""
    for _ in range(3):
        answer = Client().get(f"/api/v1/requests?limit=3{after}", headers=token).json()
        seen += [UUID(each["id"]) for each in answer["results"]]
        after = f"&after={answer['next']}"
        rows.request_row(catalog)
    assert seen == made[::-1]
    assert answer["next"] is None

    client: Client = client_of("support")
    page = client.get(f"{LIST}?before={made[3]}").content.decode()
    assert [pk for pk in made if f"/request/{pk}/change/" in page] == made[:3]
    assert client.get(f"{LIST}?before=nonsense").status_code == 200


def test_filters_are_kept_from_page_to_page(client_of, catalog: rows.Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RequestAdmin, "list_per_page", 1)
    made = [rows.request_row(catalog).pk for _ in range(3)]
    kept = {"project": str(catalog.project.pk), "endpoint": str(catalog.endpoint.pk), "starts": "/", "answered": "2xx"}
    client: Client = client_of("support")
    page = client.get(LIST, kept).content.decode()
    for address in (r'href="(\?[^"]*)">Older', r'href="(\?[^"]*)">Newest'):
        [linked] = re.findall(address, page)
        found = {name: values[0] for name, values in parse_qs(linked.replace("&amp;", "&")[1:]).items()}
        assert {name: found.get(name) for name in kept} == kept
        page = client.get(LIST, found | {"before": str(made[1])}).content.decode()


def test_one_day_reads_its_partitions_alone(catalog: rows.Catalog) -> None:
    """The plan of a page names one day's partition and at most its neighbour's; nothing is counted."""
    today = datetime.now(UTC).date()
    for offset in range(-5, 0):
        with connection.cursor() as cursor:
            cursor.execute(storage.create_statement("deliveries_request", today + timedelta(days=offset)))
    since = datetime(today.year, today.month, today.day, tzinfo=UTC) - timedelta(days=3)
    for wanted in ({}, {"status": "4xx"}, {"project": catalog.project.pk}, {"path": "/r/"}):
        page = narrowed(Request.objects.order_by("-pk"), {**wanted, "since": since, "until": since + timedelta(days=1)})
        plan = page[:50].explain()
        read = {word for word in plan.split() if word.startswith("deliveries_request_2")}
        assert 1 <= len({name[:27] for name in read}) <= 2, plan


RARE = [{"status": "5xx"}, {"status": "504"}, {"status": "4xx"}, {"error": "sync_timeout"}, {"outcome": "dead"},
        {"outcome": "discarded"}, {"outcome": "none"}]  # fmt: skip


@pytest.mark.parametrize("wanted", RARE, ids=str)
def test_what_is_rare_is_read_from_its_index(catalog: rows.Catalog, wanted: dict[str, str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # tables of a test fit on a page
    plan = narrowed(Request.objects.order_by("-pk"), wanted)[:50].explain()
    of_deliveries = {"dead", "discarded"} & set(wanted.values())
    assert ("_failed" if of_deliveries else "_rare") in plan, plan
    assert "SubPlan" not in plan, plan


@pytest.mark.parametrize("wanted", [*RARE, {"status": "2xx"}, {"status": "202"}], ids=str)
def test_what_is_rare_and_what_is_not_are_found_alike(
    catalog: rows.Catalog, three: dict[str, Request], monkeypatch: pytest.MonkeyPatch, wanted: dict[str, str]
) -> None:
    late = rows.request_row(catalog, status=0)
    RequestEnd.objects.create(
        id=late.pk, received_at=late.received_at, status=504, error="sync_timeout", total_us=1, bytes_out=0,
        heartbeats=0, close_reason="", is_stream=False, url="",
    )  # fmt: skip
    within = {"since": late.received_at - timedelta(days=1), "until": late.received_at + timedelta(days=1)}
    first = set(narrowed(Request.objects.all(), wanted).values_list("pk", flat=True))
    monkeypatch.setattr(request_filters, "MOST_RARE", 0)
    found = set(narrowed(Request.objects.all(), wanted | within).values_list("pk", flat=True))
    expected = {
        "5xx": {late.pk}, "504": {late.pk}, "sync_timeout": {late.pk}, "4xx": {three["refused"].pk},
        "none": {three["refused"].pk}, "dead": {three["failed"].pk}, "discarded": set(),
    }  # fmt: skip
    [word] = wanted.values()
    assert first == found == expected.get(word, {three["fine"].pk, three["failed"].pk})


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_indexes_of_partitions_are_built_while_they_are_written_to() -> None:
    """Also when that broke off: what is there stays, what is not valid is made again."""
    migration = import_module("relay_admin.deliveries.migrations.0014_rare_requests")
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX deliveries_request_rare, deliveries_finished_failed")
        cursor.execute("CREATE INDEX deliveries_request_default_rare ON deliveries_request_default (id)")
        cursor.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'deliveries_request_default_rare'::regclass"
        )
    for _ in range(2):
        migration.build(None, connection.schema_editor())
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")
        assert cursor.fetchall() == []
        cursor.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'deliveries_request_rare'::regclass")
        [(attached,)] = cursor.fetchall()
        cursor.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'deliveries_request'::regclass")
        assert cursor.fetchall() == [(attached,)]


def test_the_list_costs_the_same_for_many_rows(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("support")
    counts = []
    for _ in range(2):
        for _ in range(3):
            rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DELIVERED)
        client.get(LIST)
        with CaptureQueriesContext(connection) as queries:
            text = text_of(client.get(LIST).content)
        assert "1 delivered" in text
        assert not any("COUNT(*)" in query["sql"] and "LIMIT" not in query["sql"] for query in queries)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_one_screen_says_it_all(client_of, catalog: rows.Catalog) -> None:
    request = rows.request_row(catalog, idempotency_key="order-42", revision=7, accept_us=1_500)
    dead = rows.delivery_row(request, catalog.target, DeliveryState.DEAD)
    page = client_of("support").get(f"{LIST}{request.pk}/change/")
    text = text_of(page.content)
    for word in ("order-42", "shop/v1/orders", "1.5 ms", "billing attempt 1", "HTTP 500", "held 1, settled 1 credits",
                 "attempts exhausted", "Replay…", "curl", "$RELAY_KEY"):  # fmt: skip
        assert word in text, word
    assert f"/admin/deliveries/delivery/{dead.pk}/replay/" in page.content.decode()
    assert "Replay…" not in text_of(client_of("viewers").get(f"{LIST}{request.pk}/change/").content)


def test_a_refused_call_says_why(client_of, three: dict[str, Request]) -> None:
    text = text_of(client_of("support").get(f"{LIST}{three['refused'].pk}/change/").content)
    assert "It was refused with schema_mismatch : nothing was delivered." in text
    assert "None: the call was refused." in text
    assert "The body of a refused call is not kept." in text


SECRET = "canary-4f1d0c77ab"
HIDING: dict[str, Any] = {
    "body": json.dumps({"card": {"number": SECRET}, "password": SECRET, "note": "fine"}).encode(),
    "headers": {"x-session": SECRET, "x-tenant": "acme"},
    "query": f"api_key={SECRET}&page=2",
}


def test_what_is_to_be_hidden_is_nowhere(client_of, token_of, catalog: rows.Catalog) -> None:
    """On the page, in curl, in the list and in the API; what is not is there."""
    Endpoint.objects.update(redactions=["card.number", "header:x-session"])
    request = rows.request_row(catalog, **HIDING)
    page = client_of("support").get(f"{LIST}{request.pk}/change/").content.decode()
    token = token_of("support")
    answer = Client().get(f"/api/v1/requests/{request.pk}?content=true", headers=token)
    pages = [page, answer.content.decode(), Client().get("/api/v1/requests", headers=token).content.decode()]
    pages.append(client_of("operators").get(LIST).content.decode())
    assert [SECRET in each for each in pages] == [False] * 4
    assert answer.json()["content"]["headers"] == {"x-session": "[redacted]", "x-tenant": "acme"}
    assert json.loads(answer.json()["content"]["body"]["text"])["note"] == "fine"
    assert "page=2" in answer.json()["content"]["curl"]
    assert listed(client_of("superuser"), q=SECRET) == set()


@pytest.mark.parametrize("query", ["contents=true", "content=yess"])
def test_a_switch_that_is_none_is_refused(query: str, token_of, catalog: rows.Catalog) -> None:
    request = rows.request_row(catalog)
    assert Client().get(f"/api/v1/requests/{request.pk}?{query}", headers=token_of("support")).status_code == 400


def test_a_large_body_is_not_shown(token_of, catalog: rows.Catalog) -> None:
    body = b'{"a": "' + b"x" * 1_100_000 + b'"}'
    request = rows.request_row(catalog, body=body)
    content = Client().get(f"/api/v1/requests/{request.pk}?content=true", headers=token_of("support")).json()["content"]
    assert (content["body"], content["curl"]) == (None, None)
    assert content["note"] == "Too large to be shown: 1,100,009 bytes."


def test_the_curl_of_a_call_runs_and_sends_its_body(token_of, catalog: rows.Catalog, settings: Any) -> None:
    """In a POSIX shell, with `curl` as a program that says how it was called."""
    settings.EDGE_URL = "http://127.0.0.1:9"
    body = '{"it\'s": "$HOME `id` \\\\ é"}'.encode()
    request = rows.request_row(catalog, body=body, headers={"x-it": "it's"})
    command = Client().get(f"/api/v1/requests/{request.pk}?content=true", headers=token_of("support")).json()
    stand_in = 'curl() { for each in "$@"; do printf \'%s\\0\' "$each"; done; }\n'
    ran = subprocess.run(
        ["/bin/sh", "-c", stand_in + command["content"]["curl"]],
        env={"RELAY_KEY": "k"},
        capture_output=True,
        check=True,
    )
    words = ran.stdout.decode().split("\0")
    assert words[words.index("--data-raw") + 1].encode() == body
    assert "Authorization: Bearer k" in words
    assert "x-it: it's" in words
    assert words[words.index("--url") + 1] == "http://127.0.0.1:9/r/shop/v1/orders"

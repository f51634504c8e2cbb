"""Calls to models: their list and page in the admin, the control API, and their retention."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from relay_admin.access import services
from relay_admin.access.models import OAuthApplication, User
from relay_admin.catalog.models import Pricing
from relay_admin.traffic import retention
from relay_admin.traffic.models import BreakerEvent, Call, Capture, Trace
from relay_admin.traffic.selectors import calls_before, in_status_class
from relay_contract.ids import uuid7
from relay_contract.pricing import usd_text
from tests.admin import rows
from tests.admin.test_control_api import code
from tests.admin.test_pages import text_of


@pytest.mark.parametrize(
    ("nanousd", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (1_350_000, "0.00135"),
        (1_000_000_000, "1"),
        (10**18 + 1, "1000000000.000000001"),  # a float would lose the last digit
        (-1_500_000_000, "-1.5"),
    ],
)
def test_money_is_shown_exactly(nanousd: int, text: str) -> None:
    assert usd_text(nanousd) == text


@pytest.fixture
def many(catalog: rows.Catalog) -> Call:
    """One of two thousand calls of a hundred users; plans are as of a large table."""
    call = rows.call_row(catalog, user_id=7)
    columns = ", ".join(field.column for field in Call._meta.concrete_fields if field.column not in ("id", "user_id"))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO traffic_call (id, user_id, {columns})"
            f" SELECT gen_random_uuid(), n % 100, {columns} FROM traffic_call, generate_series(1, 2000) AS n"
        )
        cursor.execute("ANALYZE traffic_call")
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
    return call


def plan_of(calls: QuerySet[Call]) -> str:
    return calls.order_by("-received_at", "-pk")[:51].explain()


def test_a_page_of_one_users_calls_is_read_from_an_index(many: Call) -> None:
    mine = Call.objects.filter(user_id=7)
    for calls in (mine, calls_before(mine, many)):
        plan = plan_of(calls)
        assert "Index Scan using traffic_call_user" in plan, plan


def test_a_page_of_failed_calls_is_read_from_an_index(many: Call) -> None:
    plan = plan_of(Call.objects.filter(in_status_class("5xx")))
    assert "Index Scan using traffic_call_refused" in plan, plan


@pytest.mark.parametrize("who", ["viewers", "support", "operators"])
def test_the_list_says_what_matters(who: str, client_of, catalog: rows.Catalog) -> None:
    rows.call_row(catalog)
    rows.call_row(catalog, request_id="req-2", status=429, error="rate_limited", model="", host="", cost_nanousd=None)
    page = text_of(client_of(who).get("/admin/traffic/call/").content)
    for text in ("req-1", "shop", "app", "gpt-demo", "vendor", "200", "1,234 / 56", "0.00135 USD", "2.35 s"):
        assert text in page
    assert "429 rate_limited" in page
    assert "not priced" in page


def test_a_long_list_takes_no_more_queries(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("viewers")
    client.get("/admin/traffic/call/")
    counts = []
    for _ in range(2):
        rows.call_row(catalog, user_id=catalog.relay_key.pk)
        rows.call_row(catalog, status=503, error="no_host_key", attempts=3)
        with CaptureQueriesContext(connection) as queries:
            client.get("/admin/traffic/call/")
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_the_page_says_everything(client_of, catalog: rows.Catalog) -> None:
    price = Pricing.objects.create(slug="main-price", rates=[])
    call = rows.call_row(catalog, pricing_id=price.pk, error="<script>")
    Trace.objects.create(id=call.pk, received_at=call.received_at, trace={"tried": ["<b>vendor</b>"]})
    client: Client = client_of("viewers")
    raw = client.get(f"/admin/traffic/call/{call.pk}/change/")
    assert raw.context["facts"][1][0] == "caller"
    assert raw.context["facts"][2:] == [
        ("model", "gpt-demo on vendor"), ("attempts", "1"), ("duration", "2.35 s"), ("first content after", "812 µs"),
        ("tokens in / out", "1,234 / 56"), ("cost", "0.00135 USD"),
    ]  # fmt: skip
    assert raw.status_code == 200
    assert "&lt;script&gt;" in raw.content.decode()
    assert "&lt;b&gt;vendor&lt;/b&gt;" in raw.content.decode()
    page = text_of(raw.content)
    for text in (str(call.pk), "team=search", "main-price", "0.00135 USD", "1.7 ms", "812 µs", "provider", "shop"):
        assert text in page
    assert f"/admin/catalog/hostkey/{catalog.host_key.pk}/change/" in raw.content.decode()
    refused = client.post(f"/admin/traffic/call/{call.pk}/change/", {"status": "200"})
    assert refused.status_code == 403
    assert Call.objects.get(pk=call.pk).error == "<script>"


def test_a_page_outlives_the_catalog_rows_it_names(client_of, catalog: rows.Catalog) -> None:
    gone = dict.fromkeys(
        ("project_id", "relay_key_id", "user_id", "model_id", "host_id", "host_key_id", "binding_id", "pricing_id"),
        9999,
    )
    call = rows.call_row(catalog, **gone)
    client: Client = client_of("support")
    assert "(deleted, 9999)" in client.get("/admin/traffic/call/").content.decode()
    page = text_of(client.get(f"/admin/traffic/call/{call.pk}/change/").content)
    for text in ("gpt-demo (deleted, 9999)", "vendor (deleted, 9999)", "(deleted, 9999)"):
        assert text in page


FILTERS: list[tuple[str, list[str]]] = [
    ("", ["left", "failed", "ok"]),
    ("project={project}", ["left", "failed", "ok"]),
    ("project=9999", []),
    ("relay_key={key}", ["left", "failed", "ok"]),
    ("relay_key=9999", []),
    ("model=gpt-demo", ["left", "ok"]),
    ("host=vendor", ["left", "ok"]),
    ("status=2xx", ["ok"]),
    ("status=5xx", ["failed"]),
    ("status=499", ["left"]),
    ("error=any", ["failed"]),
    ("error=no_host_key", ["failed"]),
    ("mode__exact=test", ["left"]),
    ("q=failed", ["failed"]),
    ("q=fail", []),
    ("received_at_from_0=2099-01-01&received_at_from_1=00:00:00", []),
]


def three_calls(catalog: rows.Catalog) -> dict[str, Call]:
    return {
        "ok": rows.call_row(catalog, request_id="ok"),
        "failed": rows.call_row(
            catalog, request_id="failed", status=503, error="no_host_key", model="", host="", received_at=timezone.now()
        ),
        "left": rows.call_row(catalog, request_id="left", status=499, mode="test", received_at=timezone.now()),
    }


@pytest.mark.parametrize(("query", "found"), FILTERS)
def test_filters(query: str, found: list[str], client_of, catalog: rows.Catalog) -> None:
    three_calls(catalog)
    query = query.format(project=catalog.project.pk, key=catalog.relay_key.pk)
    answer = client_of("viewers").get(f"/admin/traffic/call/?{query}")
    assert answer.status_code == 200
    assert [row.request_id for row in answer.context["cl"].result_list] == found


def test_a_call_is_found_by_its_own_id(client_of, catalog: rows.Catalog) -> None:
    call = three_calls(catalog)["failed"]
    answer = client_of("viewers").get(f"/admin/traffic/call/?q={call.pk}")
    assert [row.pk for row in answer.context["cl"].result_list] == [call.pk]


# --- the control API ---


def test_a_call_as_json(client: Client, token_of, catalog: rows.Catalog) -> None:
    call = rows.call_row(catalog, received_at="2026-11-21T12:00:00Z")
    body = client.get(f"/api/v1/calls/{call.pk}", headers=token_of("viewers")).json()
    usage = body.pop("usage")
    assert body == {
        "id": str(call.pk),
        "requestId": "req-1",
        "receivedAt": "2026-11-21T12:00:00Z",
        "project": "shop",
        "relayKey": {"id": catalog.relay_key.pk, "name": "app"},
        "application": None,
        "userId": None,
        "mode": "live",
        "surface": "chat_completions",
        "tags": {"team": "search"},
        "requestedModel": "gpt-demo",
        "model": "gpt-demo",
        "host": "vendor",
        "hostKeyId": catalog.host_key.pk,
        "bindingId": catalog.binding.pk,
        "status": 200,
        "error": "",
        "errorSource": "",
        "finish": "stop",
        "isStream": True,
        "attempts": 1,
        "usageSource": "provider",
        "chargeMicrocredits": 0,
        "cost": {
            "nanousd": 1_350_000,
            "usd": "0.00135",
            "pricingId": None,
            "pricingVersion": None,
            "estimatedPrice": False,
            "rates": None,
        },
        "totalUs": 2_345_678,
        "upstreamUs": 2_344_000,
        "firstTokenUs": 812,
        "bytesIn": 10,
        "bytesOut": 20,
    }
    assert {name: count for name, count in usage.items() if count} == {
        "inputTokens": 1200, "cacheReadTokens": 34, "outputTokens": 56,
    }  # fmt: skip
    assert len(usage) == 12


def test_a_call_with_an_access_token_names_application_and_user(
    client: Client, client_of, token_of, catalog: rows.Catalog
) -> None:
    user = User.objects.create_user("buyer")
    app = OAuthApplication.objects.create(project=catalog.project, name="Sketchbook")
    gone = app.pk + 1
    calls = [
        rows.call_row(catalog, relay_key_id=None, application_id=number, user_id=user.pk) for number in (app.pk, gone)
    ]
    member = client_of("support")
    listed = text_of(member.get("/admin/traffic/call/").content)
    assert "Sketchbook" in listed
    assert f"(deleted, {gone})" in listed
    page = text_of(member.get(f"/admin/traffic/call/{calls[0].pk}/change/").content)
    assert "Sketchbook" in page
    assert "buyer" in page
    assert "(deleted, None)" not in page + listed
    header = token_of("viewers")
    for call, name in zip(calls, ("Sketchbook", None), strict=True):
        body = client.get(f"/api/v1/calls/{call.pk}", headers=header).json()
        assert (body["relayKey"], body["userId"]) == (None, user.pk)
        assert body["application"] == {"id": call.application_id, "name": name}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["left", "failed", "ok"]),
        ("project=shop", ["left", "failed", "ok"]),
        ("project=other", []),
        ("key=9999", []),
        ("model=gpt-demo&host=vendor&status=2xx", ["ok"]),
        ("status=499", ["left"]),
        ("error=no_host_key", ["failed"]),
        ("mode=test", ["left"]),
        ("request=failed", ["failed"]),
        ("since=2099-01-01T00:00:00Z", []),
        ("until=2099-01-01T00:00:00Z", ["left", "failed", "ok"]),
    ],
)
def test_calls_by_filter(query: str, found: list[str], client: Client, token_of, catalog: rows.Catalog) -> None:
    three_calls(catalog)
    body = client.get(f"/api/v1/calls?{query}", headers=token_of("support")).json()
    assert [call["requestId"] for call in body["results"]] == found
    assert body["next"] is None


def test_pages_join_without_gap_or_double(client: Client, token_of, catalog: rows.Catalog) -> None:
    """Also where many calls began in the same moment, and where ids and times disagree."""
    now = timezone.now()
    for number in range(20):
        rows.call_row(catalog, request_id=str(number), received_at=now - timedelta(seconds=number % 3))
    token, seen, after = token_of("viewers"), [], ""
    while True:
        body = client.get(f"/api/v1/calls?limit=7{after}", headers=token).json()
        seen += [call["id"] for call in body["results"]]
        if body["next"] is None:
            break
        after = f"&after={body['next']}"
    assert seen == [str(key) for key in Call.objects.order_by("-received_at", "-id").values_list("pk", flat=True)]
    assert len(seen) == 20


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=x", "state"),
        ("status=6xx", "status"),
        ("status=abc", "status"),
        ("key=0", "key"),
        ("limit=201", "limit"),
        ("model=%00", "model"),
        ("after=x", "after"),
        ("after=01900000-0000-7000-8000-000000000000", "after"),
        ("since=yesterday", "since"),
    ],
)
def test_a_query_that_cannot_be_used(query: str, field: str, client: Client, token_of, db: None) -> None:
    answer = client.get(f"/api/v1/calls?{query}", headers=token_of("viewers"))
    assert code(answer) == (400, "invalid")
    assert list(answer.json()["fields"]) == [field]


def test_who_may_not(client: Client, token_of, catalog: rows.Catalog) -> None:
    call = rows.call_row(catalog)
    nobody = {"Authorization": f"Bearer {_token_of_nobody()}"}
    for path in ("/api/v1/calls", f"/api/v1/calls/{call.pk}"):
        assert code(client.get(path)) == (401, "missing_token")
    assert client.get("/api/v1/calls", headers=nobody).json()["results"] == []
    assert code(client.get(f"/api/v1/calls/{call.pk}", headers=nobody)) == (404, "not_found")
    assert code(client.get(f"/api/v1/calls/{uuid7()}", headers=token_of("viewers"))) == (404, "not_found")


def _token_of_nobody() -> str:
    return services.admin_token_mint(user=rows.user("nobody"), name="test").token


# --- retention ---


def aged(model: type[Any], days: int, catalog: rows.Catalog) -> Any:
    moment = timezone.now() - timedelta(days=days)
    if model is Call:
        return rows.call_row(catalog, received_at=moment).pk
    if model is Trace:
        return Trace.objects.create(id=uuid7(), received_at=moment, trace={}).pk
    if model is Capture:
        return Capture.objects.create(id=uuid7(), received_at=moment, request="", response="", is_cut=False).pk
    event = BreakerEvent(
        id=uuid7(), at=moment, kind="binding", host="", from_state="", to_state="", reason="", open_ms=0
    )
    event.save()
    return event.pk


def test_each_kind_is_forgotten_by_its_own_age(catalog: rows.Catalog) -> None:
    ages = {Call: (89, 91), Trace: (13, 15), Capture: (6, 8), BreakerEvent: (13, 15)}
    young = {model: aged(model, days[0], catalog) for model, days in ages.items()}
    for model, days in ages.items():
        aged(model, days[1], catalog)
    forgotten = retention.traffic_forget(calls_days=90, traces_days=14, captures_days=7)
    assert forgotten == {model._meta.db_table: 1 for model in ages}
    assert {model: list(model._default_manager.values_list("pk", flat=True)) for model in ages} == {
        model: [key] for model, key in young.items()
    }


def test_many_are_forgotten_in_batches(catalog: rows.Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for _ in range(5):
        aged(Trace, 20, catalog)
    assert retention.traffic_forget(calls_days=1, traces_days=14, captures_days=1)["traffic_trace"] == 5
    assert not Trace.objects.exists()

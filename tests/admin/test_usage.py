"""Usage by API: sums by the hour, page by page, folded or not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from delivery.ledger_poster import COUNT
from relay_admin.ledger import folding
from relay_contract.intake import DeliveryState
from tests.admin import rows

HOUR = datetime(2026, 11, 20, 9, tzinfo=UTC)
RANGE = "from=2026-11-20T00:00:00Z&to=2026-11-21T00:00:00Z"


def fold() -> None:
    with connection.cursor() as cursor:
        cursor.execute(folding.FOLD_USAGE)


def posted(catalog: rows.Catalog, at: datetime, model: str, **columns: Any) -> None:
    """A call that the poster has counted."""
    columns = {"charge_microcredits": 110, "markup_microcredits": 10, "cost_nanousd": 100} | columns
    call = rows.call_row(catalog, received_at=at, model=model, payer_id=catalog.project.live_wallet_id, **columns)
    with connection.cursor() as cursor:
        cursor.execute(COUNT.replace("%b", "%s"), [[call.pk]])


def get(headers: dict[str, str], path: str) -> Any:
    return Client().get(f"/api/v1/usage/{path}", headers=headers)


def total(calls: int, each: int = 110, markup: int = 10, **more: int) -> dict[str, int]:
    tokens = {"inputTokens": 1200 * calls, "outputTokens": 56 * calls, "cacheReadTokens": 34 * calls}
    return {"calls": calls, "charge": each * calls, "cost": 100 * calls, "markup": markup * calls, **tokens, **more}


def test_a_summary_page_by_page(catalog: rows.Catalog, token_of) -> None:
    reader = token_of("viewers")
    for model, count in (("alpha", 2), ("beta", 1), ("gamma", 3)):
        for _ in range(count):
            posted(catalog, HOUR + timedelta(minutes=5), model)
    posted(catalog, HOUR + timedelta(days=1), "alpha")
    posted(catalog, HOUR, "alpha", mode="test")
    for _ in range(2):
        page = get(reader, f"summary?{RANGE}&by=model&mode=live&limit=2").json()
        assert page["results"] == [{"model": "alpha", **total(2)}, {"model": "beta", **total(1)}]
        last = get(reader, f"summary?{RANGE}&by=model&mode=live&limit=2&after={page['next']}").json()
        assert last == {"results": [{"model": "gamma", **total(3)}], "next": None}
        fold()
    by_key = get(reader, f"summary?{RANGE}&by=key&project=shop").json()
    assert by_key == {"results": [{"key": catalog.relay_key.pk, **total(7)}], "next": None}
    assert get(reader, f"summary?{RANGE}&by=user").json()["results"] == [{"user": None, **total(7)}]
    assert get(reader, f"summary?{RANGE}&by=app").json()["results"] == [{"app": None, **total(7)}]


def test_deliveries_are_counted_when_they_are_settled(catalog: rows.Catalog, token_of) -> None:
    reader = token_of("viewers")
    for state in (DeliveryState.DELIVERED, DeliveryState.DELIVERED, DeliveryState.PENDING):
        rows.delivery_row(rows.request_row(catalog), catalog.target, state)
    tokens = {"inputTokens": 0, "outputTokens": 0, "cacheReadTokens": 0}
    sums = {"calls": 2, "charge": 2_000_000, "cost": 2_000_000, "markup": 0, **tokens}
    for _ in range(2):
        assert get(reader, "summary?by=target").json()["results"] == [{"target": catalog.target.pk, **sums}]
        assert get(reader, "summary?by=endpoint").json()["results"] == [{"endpoint": catalog.endpoint.pk, **sums}]
        fold()
    assert get(reader, "summary?by=model").json() == {"results": [], "next": None}


def test_a_series_by_hour_and_by_day(catalog: rows.Catalog, token_of) -> None:
    reader = token_of("viewers")
    for hours in (0, 0, 2, 26):
        posted(catalog, HOUR + timedelta(hours=hours, minutes=59, seconds=59), "alpha")
    fold()
    posted(catalog, HOUR, "beta")
    path = "series?from=2026-11-20T00:00:00Z&to=2026-11-22T00:00:00Z"
    days = get(reader, path).json()
    assert days == {
        "results": [
            {"at": "2026-11-20T00:00:00Z", "what": "call", **total(4)},
            {"at": "2026-11-21T00:00:00Z", "what": "call", **total(1)},
        ],
        "next": None,
    }
    page = get(reader, f"{path}&step=hour&limit=2").json()
    assert [(each["at"], each["calls"]) for each in page["results"]] == [
        ("2026-11-20T09:00:00Z", 3), ("2026-11-20T11:00:00Z", 1),
    ]  # fmt: skip
    rest = get(reader, f"{path}&step=hour&limit=2&after={page['next']}").json()
    assert [(each["at"], each["calls"]) for each in rest["results"]] == [("2026-11-21T11:00:00Z", 1)]
    assert rest["next"] is None


@pytest.mark.parametrize(
    "path",
    [
        "summary",
        "summary?by=colour",
        "summary?by=key&after=x",
        f"summary?by=key&after={2**63}",
        "summary?by=model&from=2026-11-21T00:00:00Z&to=2026-11-20T00:00:00Z",
        "summary?by=model&from=2020-01-01T00:00:00Z",
        "summary?by=model&project=none",
        "summary?by=model&colour=red",
        "series?step=week",
        "series?from=yesterday",
        "series?limit=201",
    ],
)
def test_what_is_refused(catalog: rows.Catalog, token_of, path: str) -> None:
    assert get(token_of("viewers"), path).status_code == 400


def test_who_may_see_it(catalog: rows.Catalog, token_of) -> None:
    assert Client().get("/api/v1/usage/series").status_code == 401
    assert {who: get(token_of(who), "series").status_code for who in ("viewers", "support", "operators")} == {
        "viewers": 200, "support": 200, "operators": 200,
    }  # fmt: skip
    nobody = rows.user("nobody")
    client = Client()
    client.force_login(nobody)
    page = client.get("/api/v1/usage/summary?by=model&mine=true&from=2026-01-01T00:00Z&to=2026-02-01T00:00Z").json()
    assert page["results"] == []  # nothing is theirs

"""Every version of a price stays, and a call shows the rates that it was priced by."""

import re
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError
from django.test import Client

from relay_admin.catalog.models import Policy, PriceVersion, Pricing
from tests.admin import rows
from tests.admin.test_pages import text_of


def rates(usd: int) -> list[dict[str, Any]]:
    return [{"meter": "input", "nanousd_per_million": usd * 10**9, "above_tokens": 0}]


def versions(pricing_id: int) -> list[tuple[int, list[dict[str, Any]]]]:
    return list(PriceVersion.objects.filter(pricing_id=pricing_id).order_by("version").values_list("version", "rates"))


def test_a_version_grows_with_the_rates_whoever_changes_them(db: None) -> None:
    price = Pricing.objects.create(slug="gpt", rates=rates(1))
    stale = Pricing.objects.get()
    price.rates = rates(2)
    price.save()
    stale.description = "written from a row of before"
    stale.save()  # which puts the old rates back
    Pricing.objects.update(rates=rates(3), version=99)
    Pricing.objects.update(description="no rates in it", slug="other")
    assert Pricing.objects.get().version == 4
    assert versions(price.pk) == [(1, rates(1)), (2, rates(2)), (3, rates(1)), (4, rates(3))]


def test_a_version_outlives_its_price(db: None) -> None:
    price = Pricing.objects.create(slug="gpt", rates=rates(1))
    key = price.pk
    price.delete()
    assert versions(key) == [(1, rates(1))]


@pytest.mark.parametrize(
    "statement", ["UPDATE catalog_priceversion SET rates = '[]'", "DELETE FROM catalog_priceversion"]
)
def test_no_version_is_changed_or_taken_away(db: None, statement: str) -> None:
    price = Pricing.objects.create(slug="gpt", rates=rates(1))
    with pytest.raises(IntegrityError, match="only ever added to"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert versions(price.pk) == [(1, rates(1))]


def test_a_call_shows_the_rates_of_its_version(
    client: Client, client_of: Any, token_of: Any, catalog: rows.Catalog
) -> None:
    price = Pricing.objects.create(slug="gpt", rates=rates(1))
    call = rows.call_row(catalog, pricing_id=price.pk, pricing_version=1, estimated_price=True)
    Pricing.objects.update(rates=rates(2))
    page = text_of(client_of("viewers").get(f"/admin/traffic/call/{call.pk}/change/").content)
    assert "gpt, version 1, the policy&#x27;s estimate" in page
    assert "input 1" in page
    assert "0.00135 USD (estimated)" in page
    answer = client.get(f"/api/v1/calls/{call.pk}", headers=token_of("viewers")).json()
    assert answer["cost"] == {
        "nanousd": 1_350_000,
        "usd": "0.00135",
        "pricingId": price.pk,
        "pricingVersion": 1,
        "estimatedPrice": True,
        "rates": [{"meter": "input", "nanousdPerMillion": 10**9, "aboveTokens": 0}],
    }


def test_the_start_page_counts_calls_nobody_can_price(client_of: Any, catalog: rows.Catalog) -> None:
    client: Client = client_of("support")
    assert "Every call of the last day has a price." in text_of(client.get("/admin/").content)
    rows.call_row(catalog, cost_nanousd=None, request_id="unknown")
    rows.call_row(catalog, cost_nanousd=None, request_id="raw", model="", requested_model="o9")
    rows.call_row(catalog, cost_nanousd=None, usage_source="none", request_id="refused")
    rows.call_row(catalog, cost_nanousd=None, request_id="old", received_at="2026-01-02T03:04:05Z")
    rows.call_row(catalog, estimated_price=True, request_id="estimated")
    page = text_of(client.get("/admin/").content)
    assert re.search(r"2 calls nobody can price Since [-\d]+ [:\d]+ UTC: o9, gpt-demo\.", page)
    for chosen, found in (("unknown", ["raw", "unknown", "old"]), ("estimated", ["estimated"])):
        answer = client.get(f"/admin/traffic/call/?price={chosen}")
        assert [row.request_id for row in answer.context["cl"].result_list] == found


def test_an_estimate_needs_its_price(client_of: Any, catalog: rows.Catalog) -> None:
    policy = catalog.policy
    policy.unpriced = "estimate"
    with pytest.raises(ValidationError, match="Name the estimated price"):
        policy.full_clean()
    with pytest.raises(IntegrityError), transaction.atomic():
        Policy.objects.update(unpriced="estimate")
    form = {"slug": "all", "models": "*", "selection": "priority", "hold_seconds": "0", "unpriced": "estimate"}
    client: Client = client_of("operators")
    url = f"/admin/catalog/policy/{policy.pk}/change/"
    assert "Name the estimated price" in client.post(url, form).content.decode()
    assert client.post(url, {**form, "estimate_pricing": catalog.pricing.pk}).status_code == 302
    stored = Policy.objects.get()
    assert (stored.unpriced, stored.estimate_pricing) == ("estimate", catalog.pricing)
    with pytest.raises(ProtectedError):
        catalog.pricing.delete()

"""Money in forms: people write credits, and rows hold micro-credits."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from relay_admin.catalog.credit_fields import BudgetField, CreditsField, credits_typed, microcredits_of
from relay_admin.catalog.models import Project
from tests.admin import rows

BUDGET = {"microcredits": 2_500_000, "period": "month"}


@pytest.mark.parametrize(
    ("typed", "microcredits"),
    [("0", 0), ("1", 1_000_000), ("0.000001", 1), ("1,000.5", 1_000_500_000), ("1000000000", 10**15)],
)
def test_credits_are_exact(typed: str, microcredits: int) -> None:
    assert microcredits_of(typed) == microcredits
    assert microcredits_of(credits_typed(microcredits)) == microcredits


@pytest.mark.parametrize("typed", ["-1", "0.0000001", "1000000000.000001", "1e99", "NaN", "Infinity", "five", "0x1"])
def test_what_is_no_amount_says_what_to_write(typed: str) -> None:
    with pytest.raises(ValidationError, match="Write credits from 0"):
        CreditsField().clean(typed)


def test_a_budget_is_both_halves_or_none() -> None:
    field = BudgetField()
    assert field.clean([{"credits": "2.5", "period": "month"}]) == BUDGET
    assert field.clean([]) is None
    assert not field.has_changed(BUDGET, [{"credits": "2.50", "period": "month"}])
    assert field.has_changed(BUDGET, [])
    assert field.prepare_value(BUDGET) == [{**BUDGET, "credits": "2.5"}]


@pytest.mark.django_db
def test_a_projects_page_takes_credits(client_of: Any, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    address = f"/admin/catalog/project/{catalog.project.pk}/change/"
    inlines = {f"{each}-{word}_FORMS": "0" for each in ("lines", "memberships") for word in ("TOTAL", "INITIAL")}
    form = {"slug": "shop", "name": "Shop", "billing": "prepaid", "budget-0-credits": "2.5", "budget-0-period": "month",
            "pool_cap_microcredits": "0.5", "endless_keys": "anyone", "rate_limit": "", "test_rate_limit": "",
            **inlines}  # fmt: skip
    assert client.post(address, form).status_code == 302
    saved = Project.objects.get(pk=catalog.project.pk)
    assert (saved.billing, saved.budget, saved.pool_cap_microcredits) == ("prepaid", BUDGET, 500_000)
    page = client.get(address).content.decode()
    assert 'name="budget-0-credits" value="2.5"' in page
    assert client.post(address, form | {"budget-0-credits": ""}).status_code == 302
    assert Project.objects.get(pk=catalog.project.pk).budget is None
    shown = client_of("viewers").get(address).content.decode()
    assert "0.5" in shown
    assert "microcredits&quot;" not in shown

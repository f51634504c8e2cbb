"""Rows that are added to a form by its button: what only a real browser does."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import sign_in
from tests.system.product import Product

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]


def test_a_price_gets_more_rates(product: Product, page: Page) -> None:
    sign_in(page, product, product.credentials["admin_username"], product.credentials["admin_password"])
    page.goto(f"{product.control_url}/admin/catalog/pricing/add/")
    page.get_by_label("Slug").fill("browser/typed")
    for number, (meter, usd) in enumerate((("input", "0.0375"), ("output", "10"), ("call (per 1,000)", "12"))):
        if number:
            page.get_by_role("button", name="Add another rate").click()
        page.get_by_label("meter", exact=True).nth(number).select_option(label=meter)
        page.get_by_label("price in USD").nth(number).fill(usd)
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.get_by_label("price in USD")).to_have_count(4)
    shown = [page.get_by_label("price in USD").nth(number).input_value() for number in range(4)]
    assert shown == ["0.0375", "10", "12", ""]


def test_a_rate_limit_takes_no_more_rules_than_it_may(product: Product, page: Page) -> None:
    sign_in(page, product, product.credentials["admin_username"], product.credentials["admin_password"])
    page.goto(f"{product.control_url}/admin/catalog/ratelimit/add/")
    more = page.get_by_role("button", name="Add another rule")
    for _ in range(7):
        more.click()
    expect(page.get_by_label("amount")).to_have_count(8)
    expect(more).to_be_hidden()

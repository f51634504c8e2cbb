"""Forms of the catalog in a real browser: rows that a button adds, and input that is refused without a loss."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import sign_in_as_admin
from tests.system.product import Product

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]


def test_a_price_gets_more_rates(product: Product, page: Page) -> None:
    sign_in_as_admin(page, product)
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
    sign_in_as_admin(page, product)
    page.goto(f"{product.control_url}/admin/catalog/ratelimit/add/")
    more = page.get_by_role("button", name="Add another rule")
    for _ in range(7):
        more.click()
    expect(page.get_by_label("amount")).to_have_count(8)
    expect(more).to_be_hidden()


def test_a_price_that_is_refused_loses_nothing(product: Product, page: Page) -> None:
    sign_in_as_admin(page, product)
    page.goto(f"{product.control_url}/admin/catalog/pricing/add/")
    page.get_by_label("Slug").fill("browser/refused")
    page.get_by_label("price in USD").fill("1.25")
    page.get_by_role("button", name="Add another rate").click()
    page.get_by_label("meter", exact=True).nth(1).select_option(label="output")
    page.get_by_label("price in USD").nth(1).fill("ten")
    page.get_by_label("prompts above").nth(1).fill("200000")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Rate 2: write a price such as 1.25.")).to_be_visible()
    expect(page.get_by_label("Slug")).to_have_value("browser/refused")
    for number, value in enumerate(("1.25", "ten", "")):
        expect(page.get_by_label("price in USD").nth(number)).to_have_value(value)
    expect(page.get_by_label("prompts above").nth(1)).to_have_value("200000")
    page.get_by_label("price in USD").nth(1).fill("10")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("tr", has_text="browser/refused")).to_contain_text("1.25 in")


def test_what_a_model_can_do_is_saved_and_shown_again(product: Product, page: Page) -> None:
    sign_in_as_admin(page, product)
    page.goto(f"{product.control_url}/admin/catalog/model/add/")
    page.get_by_label("Name").first.fill("browser-model")
    page.get_by_label("Owned by").fill("browser")
    page.get_by_label("Context tokens").fill("0")
    page.get_by_label("Tools").select_option(label="yes")
    page.get_by_label("Audio").select_option(label="no")
    page.get_by_label("minimal").check()
    page.get_by_label("Description").fill("Typed by hand.")
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.get_by_text("Ensure this value is greater than or equal to 1.")).to_be_visible()
    _holds_what_was_typed(page, context="0")

    page.get_by_label("Context tokens").fill("400000")
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    page.reload()
    _holds_what_was_typed(page, context="400000")
    page.goto(f"{product.control_url}/admin/catalog/model/")
    row = page.locator("tr", has_text="browser-model")
    for text in ("400,000", "tools, no audio, effort levels: minimal"):
        expect(row).to_contain_text(text)


def _holds_what_was_typed(page: Page, *, context: str) -> None:
    expect(page.get_by_label("Name").first).to_have_value("browser-model")
    expect(page.get_by_label("Context tokens")).to_have_value(context)
    expect(page.get_by_label("Tools")).to_have_value("yes")
    expect(page.get_by_label("Audio")).to_have_value("no")
    expect(page.get_by_label("Images")).to_have_value("")
    expect(page.get_by_label("minimal")).to_be_checked()
    expect(page.get_by_label("Description")).to_have_value("Typed by hand.")

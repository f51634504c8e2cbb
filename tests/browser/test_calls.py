"""Model calls in a real browser: a call is found by the id that its caller was told, and its page says all of it."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser import scene
from tests.browser.steps import make_support_user, sign_in
from tests.system.product import Product

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]


def test_support_finds_out_how_a_call_came_to_its_answer(product: Product, page: Page) -> None:
    made = scene.set_up(product, "calls")
    status, request_id = made.call()
    assert status == 200
    made.wait_for_row(request_id)
    make_support_user(product, "ana")
    sign_in(page, product, "ana")
    page.get_by_role("link", name="Model calls").first.click()
    page.locator("#searchbar").fill(request_id)
    page.locator("#searchbar").press("Enter")
    row = page.locator("#result_list tbody tr")
    expect(row).to_have_count(1)
    expect(page.get_by_role("columnheader", name="Duration")).to_be_in_viewport(ratio=1)
    for text in ("UTC", "calls", "app", "calls-chat", "demo-vendor", "200", "13 / 27", "0.00028625 USD", "2 attempts"):
        expect(row).to_contain_text(text)
    row.get_by_role("link").first.click()

    facts = page.locator(".relay-facts")
    for text in ("calls-chat on demo-vendor", "Attempts2", "13 / 27", "0.00028625 USD"):
        expect(facts).to_contain_text(text)
    steps = page.get_by_label("Timeline").locator(".relay-step")
    for place, text in enumerate(("Read", "Admission", "HTTP 401, auth", "HTTP 200")):
        expect(steps.nth(place)).to_contain_text(text)
    expect(page.get_by_text("kept because more than one try was needed")).to_be_visible()
    for cells in (
        "1 calls-east main calls-chat openai_chat priority 0 failed",
        "2 demo-vendor demo calls-chat openai_chat priority 1 answered",
        "3 demo-vendor demo demo-claude anthropic_messages priority 0, translated, fallback after any_failure",
        "input 13 1.25 USD 0.00001625 USD",
        "output 27 10 USD 0.00027 USD",
        "Together 0.00028625 USD",
    ):
        expect(page.get_by_role("row", name=cells)).to_be_visible()
    expect(page.get_by_role("row", name="requests 599 of 600")).to_be_visible()
    expect(page.get_by_text("used 40 tokens, 0.00028625 USD.")).to_be_visible()


def test_the_list_is_narrowed_to_what_failed(product: Product, page: Page) -> None:
    made = scene.set_up(product, "narrowed")
    ids = dict((made.call(), made.call(model="not-there")))
    for request_id in ids.values():
        made.wait_for_row(request_id)
    make_support_user(product, "ben")
    sign_in(page, product, "ben")
    page.goto(f"{product.control_url}/admin/traffic/call/?error=any")
    expect(page.locator("tr", has_text=ids[404])).to_contain_text("model_not_found")
    expect(page.locator("tr", has_text=ids[200])).to_have_count(0)

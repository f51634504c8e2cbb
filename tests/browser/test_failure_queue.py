"""Support staff in a real browser: find a dead delivery, replay it, see it delivered."""

import urllib.request

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import flaky_state, make_support_user, send_event, sign_in
from tests.system.product import Product, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]


def test_support_replays_a_dead_delivery(product: Product, page: Page) -> None:
    make_support_user(product, "sam")
    urllib.request.urlopen(urllib.request.Request(f"{product.sink_url}/hooks/flaky/fail", method="POST"), timeout=5)
    request_id = send_event(product, {"type": "order.created", "id": 42})
    wait_for(lambda: flaky_state(product, request_id) == "dead", "the failure queue", 60)

    sign_in(page, product, "sam")
    page.get_by_role("link", name="Failure queue").first.click()
    row = page.locator("tr", has_text=request_id)
    expect(row).to_contain_text("flaky")
    row.locator("input[type=checkbox]").first.check()
    page.locator("select[name=action]").select_option(label="Replay selected deliveries")
    urllib.request.urlopen(urllib.request.Request(f"{product.sink_url}/hooks/flaky/recover", method="POST"), timeout=5)
    page.get_by_role("button", name="Run").click()
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_text("1 delivery is due again")).to_be_visible()

    wait_for(lambda: flaky_state(product, request_id) == "delivered", "the replayed delivery")
    page.goto(f"{product.sink_url}/")
    expect(page.get_by_text(request_id).first).to_be_visible()


def test_support_sees_no_keys(product: Product, page: Page) -> None:
    make_support_user(product, "kim")
    sign_in(page, product, "kim")
    expect(page.get_by_role("link", name="Host keys")).to_have_count(0)
    answer = page.goto(f"{product.control_url}/admin/catalog/hostkey/")
    assert answer is not None
    assert answer.status == 403

"""Support staff in a real browser: everything of a call on one screen, and a replay's bar that moves by itself."""

import urllib.request

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import flaky_state, make_support_user, send_event, sign_in
from tests.system.product import Product, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]


def tell_flaky(product: Product, word: str) -> None:
    urllib.request.urlopen(urllib.request.Request(f"{product.sink_url}/hooks/flaky/{word}", method="POST"), timeout=5)


def test_one_screen_and_a_replay_that_is_watched(product: Product, page: Page) -> None:
    make_support_user(product, "lea")
    tell_flaky(product, "fail")
    ids = [send_event(product, {"type": "order.created", "id": number, "password": "pst"}) for number in range(6)]
    for request_id in ids:
        wait_for(lambda one=request_id: flaky_state(product, one) == "dead", "the failure queue", 60)

    sign_in(page, product, "lea")
    page.get_by_role("link", name="Request log").first.click()
    row = page.locator("tr", has_text=ids[0])
    expect(row).to_contain_text("1 dead")
    expect(row).to_contain_text("2 delivered")
    row.get_by_role("link").first.click()
    expect(page.get_by_label("Timeline")).to_contain_text("flaky attempt 4")
    expect(page.get_by_role("link", name="Replay…")).to_be_visible()
    expect(page.locator(".relay-payloads")).to_contain_text("order.created")
    expect(page.locator(".relay-payloads")).not_to_contain_text("pst")
    page.get_by_text("As curl").click()
    expect(page.get_by_label("curl command")).to_contain_text("$RELAY_KEY")

    tell_flaky(product, "recover")
    page.get_by_role("link", name="Failure queue").first.click()
    page.get_by_role("link", name="Replay all that match").click()
    page.get_by_label("Pace").fill("1")
    page.get_by_label("Note").fill("mended")
    page.get_by_role("button", name="Replay").click()
    bar = page.get_by_role("progressbar")
    expect(bar).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("paused", exact=True)).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    # Nobody touches the page from here on.
    expect(page.get_by_text("done", exact=True)).to_be_visible(timeout=30_000)
    expect(bar).to_have_attribute("aria-valuenow", "100")
    for request_id in ids:
        wait_for(lambda one=request_id: flaky_state(product, one) == "delivered", "the replayed delivery")

"""The home in a browser: from a chart to its rows, the first steps until a call arrives, with and without a script.

That its pages are for everybody and fit a phone, `test_accessibility.py` and `test_phone.py` look at with all others.
"""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import scene
from tests.browser.steps import send_event, sign_in_as_admin
from tests.system.product import Product, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]


def test_from_the_home_to_the_rows(product: Product, page: Page) -> None:
    made = scene.set_up(product, "home")
    made.wait_for_row(made.call()[1])
    send_event(product, {"type": "order.created", "id": 90})
    wait_for(lambda: product.api("/api/v1/usage/summary?by=model&project=home")["results"], "the posted call")
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    sign_in_as_admin(page, product)
    admin = f"{product.control_url}/admin"

    processes = page.get_by_role("region", name="Processes")
    expect(processes.get_by_role("table", name="Edge processes")).to_contain_text("process")
    expect(processes).to_contain_text("Schedule:")
    expect(processes).to_contain_text("breaker")

    page.get_by_role("navigation", name="Range").get_by_role("link", name="7 days").click()
    page.wait_for_url("**/?range=7d#traffic")
    expect(page.get_by_role("link", name="7 days")).to_have_attribute("aria-current", "true")
    traffic = page.get_by_role("figure").filter(has=page.get_by_role("heading", name="Traffic"))
    traffic.locator("svg path.relay-tone-0").last.click()
    page.wait_for_url("**/admin/traffic/call/?received_at_from_0=*")
    expect(page.locator("#result_list tbody tr").first).to_be_visible()

    page.goto(f"{admin}/?range=1h")
    page.get_by_text("Figures of traffic").click()
    page.get_by_role("table", name="Traffic, by two minutes").get_by_role("link").first.press("Enter")
    page.wait_for_url("**/admin/traffic/call/?received_at_from_0=*")

    assert refused == []


def test_the_first_call_is_seen_to_arrive(product: Product, page: Page, browser: Browser) -> None:
    made = scene.set_up(product, "first")
    sign_in_as_admin(page, product)
    page.get_by_role("link", name="First steps", exact=True).press("Enter")
    arrived = page.get_by_role("region", name="See it arrive")
    expect(arrived).to_contain_text("Waiting for the next call")
    line = page.get_by_role("textbox", name="curl command").input_value()
    assert f"curl {product.edge_url}/v1/chat/completions" in line
    plain = browser.new_context(java_script_enabled=False, storage_state=page.context.storage_state()).new_page()
    plain.goto(page.url)

    assert made.call(model="not-there")[0] == 404
    expect(arrived).to_contain_text("answered 404")
    status, request_id = made.call()
    assert status == 200
    expect(arrived.get_by_role("status")).to_contain_text("It arrived: first-chat answered 200 after")
    arrived.get_by_role("link", name="See its way to the answer").press("Enter")
    call_id = made.wait_for_row(request_id)["id"]
    page.wait_for_url(f"**/admin/traffic/call/{call_id}/change/")
    expect(page.get_by_role("heading", name="Way to the answer")).to_be_visible()

    plain.get_by_role("link", name="Look now").click()
    expect(plain.get_by_role("status")).to_contain_text("It arrived: first-chat answered 200 after")
    plain.goto(f"{product.control_url}/admin/")
    plain.get_by_role("link", name="on a page of their own").click()
    expect(plain.get_by_role("table", name="Edge processes")).to_be_visible()
    plain.context.close()

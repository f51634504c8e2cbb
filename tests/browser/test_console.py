"""Test console, catalog graph and import in a real browser, over the running product."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser import scene
from tests.browser.accessibility import violations
from tests.browser.steps import choose_key, sign_in_as_admin
from tests.system.product import Product

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]


def test_a_chat_streams_into_the_page_and_its_trace_opens(product: Product, page: Page) -> None:
    made = scene.set_up(product, "console")
    sign_in_as_admin(page, product)
    page.goto(f"{product.control_url}/admin/console/?model={made.model}")
    choose_key(page, "console/app")
    page.get_by_label("Message").fill("Where is my parcel?")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("[data-relay-said]")).to_contain_text("200 OK")
    trace = page.get_by_role("link", name="Open its trace")
    expect(trace).to_be_visible()
    expect(page.locator("[data-relay-text]")).not_to_be_empty()
    expect(page.locator("[data-relay-raw]")).to_contain_text("data: [DONE]")
    facts = page.locator("[data-relay-facts]")
    for name in ("First byte after", "Whole after", "x-relay-host", "demo-vendor"):
        expect(facts).to_contain_text(name)
    trace.hover()  # and not the button, whose colour under the pointer is unfold's
    assert violations(page) == []
    trace.click()
    expect(page.get_by_text("console-chat on demo-vendor").first).to_be_visible()
    expect(page.get_by_role("heading", name="Way to the answer")).to_be_visible()
    keys = product.api("/api/v1/relay-keys?project=console")["results"]
    [stand_in] = [key for key in keys if key["name"].startswith("console ")]
    assert stand_in["revokedAt"] is not None


def test_a_call_to_an_endpoint_leads_to_its_request(product: Product, page: Page) -> None:
    sign_in_as_admin(page, product)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{product.control_url}/admin/console/")
    page.get_by_label("A call to an endpoint").check()
    page.get_by_label("Endpoint", exact=False).last.fill("shop/v1/events")
    choose_key(page, "demo/")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_have_text("The key is of the project demo, and calls its endpoints only.")
    page.locator("[name=endpoint]").fill("demo/v1/events")
    page.get_by_role("button", name="Send").click()
    opened = page.get_by_role("link", name="Open its request and deliveries")
    expect(opened).to_be_visible()
    expect(page.locator("[data-relay-said]")).to_contain_text("202")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    opened.click()
    expect(page.get_by_role("heading", name="Deliveries")).to_be_visible()


def test_a_stream_is_watched_and_stopped(product: Product, page: Page) -> None:
    sign_in_as_admin(page, product)
    page.goto(f"{product.control_url}/admin/console/?kind=endpoint&endpoint=demo/v1/stream%3Fevents=100")
    choose_key(page, "demo/")
    page.get_by_role("button", name="Send").click()
    raw = page.locator("[data-relay-raw]")
    expect(raw).to_contain_text('"number":2')
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("[data-relay-said]")).to_have_text("Stopped. The edge saw its caller leave.")
    expect(raw).not_to_contain_text('"number":99')
    page.get_by_role("link", name="Open its request and deliveries").click()
    expect(page.get_by_text("caller left", exact=False).first).to_be_visible()


def test_a_document_is_planned_and_applied(product: Product, page: Page) -> None:
    sign_in_as_admin(page, product)
    page.goto(f"{product.control_url}/admin/catalog-document/")
    page.get_by_label("Or paste it").fill(
        "version: 1\nprojects:\n  - slug: imported\n    name: Imported\n    lines: [{slug: v1}]\n"
    )
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_text("1 to create").first).to_be_visible()
    assert violations(page) == []
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("Applied: 2 rows changed.")).to_be_visible()
    page.goto(f"{product.control_url}/admin/catalog-graph/?q=imported")
    node = page.locator("a.relay-node", has_text="imported")
    node.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name")).to_have_value("Imported")

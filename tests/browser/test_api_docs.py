"""The API's page in a real browser: all of it comes from here, and a call can be tried with the reader's session."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import sign_in_as_admin
from tests.system.product import Product

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]


def test_a_call_is_tried_out(product: Product, page: Page) -> None:
    sign_in_as_admin(page, product)
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(f"{product.control_url}/api/v1/docs")
    operation = page.locator("#operations-People_and_keys-whoAmI")
    page.get_by_role("heading", name="People and keys").click()
    operation.get_by_role("button").first.click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table")).to_contain_text('"via": "session"')
    assert all(url.startswith((product.control_url, "data:")) for url in asked)
    assert not complaints

"""Resolve in a real browser: who would get a call, and why nobody else."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser import scene
from tests.browser.steps import sign_in_as_admin
from tests.system.product import Product

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]


def test_an_operator_finds_out_where_a_call_would_go(product: Product, page: Page) -> None:
    asked = scene.set_up(product, "resolve")
    sign_in_as_admin(page, product)
    page.get_by_role("link", name="Resolve").first.click()
    page.locator(".select2-selection").first.click()
    page.locator(".select2-search__field").fill("resolve")
    page.get_by_role("option", name="resolve/app").click()
    page.get_by_label("Model").fill(asked.model)
    page.get_by_role("button", name="Resolve").click()
    expect(page.get_by_text("resolve-chat on resolve-east is tried first, with the key main.")).to_be_visible()
    expect(page.get_by_text("The first whose breakers are closed")).to_have_count(0)
    for row in (
        "1 resolve-east main openai_chat demo-gpt-1 priority 0 closed resolve-*",
        "2 demo-vendor demo openai_chat demo-gpt-1 priority 1 closed resolve-*",
        "1 demo-vendor demo anthropic_messages demo-claude-1 priority 0, translated closed demo-*",
        "resolve-north - The host has no enabled key.",
        "resolve-west - The policy denies it: -*@resolve-west",
        "resolve-gone There is no enabled model of this name.",
    ):
        expect(page.get_by_role("row", name=row, exact=True)).to_be_visible()

    assert asked.call()[0] == 200  # resolve-east refuses its key, and its breaker opens
    page.reload()
    expect(page.get_by_text("host key open (auth) for").first).to_be_visible()
    expect(page.get_by_text("The first whose breakers are closed is resolve-chat on demo-vendor")).to_be_visible()


def test_a_name_that_nobody_serves_is_explained(product: Product, page: Page) -> None:
    sign_in_as_admin(page, product)
    page.goto(f"{product.control_url}/admin/resolve/?relay_key=1&model=not-there&surface=messages")
    expect(page.get_by_text("404 model_not_found")).to_be_visible()
    expect(page.get_by_label("Model")).to_have_value("not-there")

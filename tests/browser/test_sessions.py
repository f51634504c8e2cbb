"""Sessions in two real browsers: one sees both, ends the other, and goes on; the other has to sign in again."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.steps import make_support_user, sign_in
from tests.system.product import Product

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]


def open_sessions(page: Page) -> None:
    page.get_by_role("link", name="My sessions").first.click()
    expect(page.get_by_role("table", name="My sessions")).to_be_visible()


def test_one_browser_ends_the_other(product: Product, browser: Browser, page: Page) -> None:
    make_support_user(product, "sue")
    elsewhere = browser.new_context(user_agent="Mozilla/5.0 (iPhone) Version/17.5 Safari/604.1")
    other = elsewhere.new_page()
    sign_in(other, product, "sue@example.test")
    sign_in(page, product, "sue")

    open_sessions(page)
    rows = page.get_by_role("table", name="My sessions").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("this one")
    expect(rows.nth(0)).to_contain_text("127.0.0.1")
    expect(rows.nth(1)).to_contain_text("Safari on iPhone")
    rows.nth(1).get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("The session is revoked.")).to_be_visible()
    expect(rows).to_have_count(1)
    other.goto(f"{product.control_url}/admin/")
    expect(other.get_by_label("Username or e-mail")).to_be_visible()

    sign_in(other, product, "sue")
    page.reload()
    page.get_by_role("button", name="Revoke all others (1)").click()
    expect(rows).to_have_count(1)
    other.reload()
    expect(other.get_by_label("Username or e-mail")).to_be_visible()
    rows.nth(0).get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile(r"/admin/login/"))
    elsewhere.close()

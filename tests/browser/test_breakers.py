"""Breakers in a real browser: a key that its host refuses is left alone, until somebody says that it may be tried."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser import scene
from tests.browser.steps import make_support_user, sign_in, sign_in_as_admin
from tests.system.product import Product, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]


def attempts(made: scene.Scene) -> int:
    """Of one more call."""
    status, request_id = made.call()
    assert status == 200
    return int(made.wait_for_row(request_id)["attempts"])


def test_an_operator_closes_a_breaker(product: Product, page: Page) -> None:
    made = scene.set_up(product, "breakers")
    assert attempts(made) == 2
    wait_for(lambda: attempts(made) == 1, "the refused key to be left alone")

    sign_in_as_admin(page, product)
    page.get_by_role("link", name="Breakers").first.click()
    row = page.get_by_label("Breakers that are not closed").locator("tr", has_text="breakers-east: key main")
    for text in ("open", "auth: the host refuses the key", "UTC"):
        expect(row).to_contain_text(text)
    expect(row).to_contain_text(re.compile(r"in \d\sminutes?"))
    expect(page.locator("#result_list tr", has_text="breakers-east: key main")).to_contain_text("5 min")
    row.get_by_role("link", name="Reset").click()
    expect(page.get_by_text("breakers-east: key main, open: auth: the host refuses the key")).to_be_visible()
    page.get_by_role("button", name="Reset").click()
    expect(page.get_by_text("The breaker is closed: calls go to it again.")).to_be_visible()
    expect(row).to_have_count(0)
    expect(page.locator("#result_list tr", has_text="reset: closed by hand")).to_have_count(1)
    assert attempts(made) == 2


def test_support_looks_and_changes_nothing(product: Product, page: Page) -> None:
    assert attempts(scene.set_up(product, "guarded")) == 2
    make_support_user(product, "cleo")
    sign_in(page, product, "cleo")
    page.goto(f"{product.control_url}/admin/traffic/breakerevent/")
    row = page.get_by_label("Breakers that are not closed").locator("tr", has_text="guarded-east: key main")
    expect(row).to_be_visible()
    expect(row.get_by_role("link")).to_have_count(0)

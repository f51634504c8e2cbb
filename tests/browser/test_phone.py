"""On a phone no page is wider than its screen; what does not fit scrolls inside its own box."""

import pytest
from playwright.sync_api import Page

from tests.browser import scene
from tests.browser.steps import sign_in_as_admin
from tests.system.product import Product

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]


def test_no_page_is_wider_than_a_phone(product: Product, page: Page) -> None:
    made = scene.set_up(product, "phone")
    _, request_id = made.call()
    call_id = made.wait_for_row(request_id)["id"]
    sign_in_as_admin(page, product)
    page.set_viewport_size({"width": 390, "height": 844})
    paths = [
        "",
        "processes/",
        "first-steps/",
        "resolve/?relay_key=1&model=phone-chat&surface=chat_completions",
        "traffic/call/",
        f"traffic/call/{call_id}/change/",
        "traffic/breakerevent/",
        "sessions/",
        "console/",
        "catalog-graph/",
        "catalog-document/",
        "access/session/",
        *(f"catalog/{noun}/" for noun in ("model", "hostbinding", "host", "hostkey", "pricing", "policy", "ratelimit")),
        *(f"catalog/{noun}/add/" for noun in ("model", "host", "hostkey", "pricing", "policy", "ratelimit")),
    ]
    overflows = {path: _overflow(page, f"{product.control_url}/admin/{path}") for path in paths}
    assert overflows == dict.fromkeys(paths, 0)


def _overflow(page: Page, url: str) -> int:
    """How many pixels the page is too wide."""
    answer = page.goto(url)
    assert answer is not None
    assert answer.ok, url
    root = "document.documentElement"
    return int(page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))

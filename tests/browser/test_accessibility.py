"""No page breaks a rule of WCAG that a program can check: in the light on a phone, in the dark on a desk."""

from typing import Literal

import pytest
from playwright.sync_api import Page, ViewportSize

from tests.browser import scene
from tests.browser.accessibility import violations
from tests.browser.steps import sign_in_as_admin
from tests.system.product import Product

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]

Theme = Literal["light", "dark"]
PHONE: ViewportSize = {"width": 375, "height": 800}
DESK: ViewportSize = {"width": 1280, "height": 900}
PATHS = (
    "",
    "processes/",
    "first-steps/",
    "resolve/",
    "traffic/call/",
    "deliveries/request/",
    "deliveries/deaddelivery/",
    "sessions/",
    "console/",
    "catalog-graph/",
    "catalog-graph/?view=tree",
    "catalog-document/",
    "access/auditevent/",
    "ledger/account/",
    *(f"catalog/{noun}/" for noun in ("model", "project", "endpoint", "target", "policy")),
    *(f"catalog/{noun}/add/" for noun in ("host", "endpoint", "policy")),
    "access/relaykey/add/",
)


@pytest.mark.timeout(300)  # two dozen pages, each looked at whole
@pytest.mark.parametrize(("theme", "size"), [("light", PHONE), ("dark", DESK)], ids=["light phone", "dark desk"])
def test_no_page_of_the_admin_breaks_a_rule(product: Product, page: Page, theme: Theme, size: ViewportSize) -> None:
    made = scene.set_up(product, "axe")
    _, request_id = made.call()
    call_id = made.wait_for_row(request_id)["id"]
    sign_in_as_admin(page, product)
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size(size)
    found = {}
    for path in (*PATHS, f"traffic/call/{call_id}/change/"):
        page.goto(f"{product.control_url}/admin/{path}")
        found[path] = violations(page)
    assert {path: broken for path, broken in found.items() if broken} == {}

"""A project's owner in a real browser: usage, logs, a replay and a credit code, on a desk and on a phone."""

import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.accessibility import violations
from tests.browser.steps import PASSWORD, flaky_state, send_event
from tests.system.product import Product, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]

DEMO = "/portal/projects/demo"
NARROW = 320
SETUP = """
import os
from relay_admin.access.models import Membership, User
from relay_admin.access.people import person_make
from relay_admin.catalog.models import Project
from relay_admin.ledger.codes import code_make
from relay_contract.nouns import KeyMode
demo = Project.objects.get(slug='demo')
for name in ('mona', 'nils'):
    user = person_make(address=f'{name}@example.test', password=os.environ['MEMBER_PASSWORD'], is_verified=True)
    if name == 'mona':
        Membership.objects.create(project=demo, user=user, role='admin')
made = code_make(microcredits=7_000_000, mode=KeyMode.LIVE, most_uses=1, expires_at=None, note='fair',
    by=User.objects.filter(is_superuser=True).first())
print(made.text)
"""


@pytest.fixture(scope="module")
def code(product: Product) -> str:
    """A credit code; and mona, who is in the demo project, and nils, who is in none."""
    return product.manage("shell", "-v0", "-c", SETUP, MEMBER_PASSWORD=PASSWORD).strip()


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    """As narrow as WCAG asks for, light, and without scripts."""
    context = browser.new_context(viewport={"width": NARROW, "height": 640}, java_script_enabled=False)
    yield context.new_page()
    context.close()


def sign_in(page: Page, product: Product, name: str) -> None:
    page.goto(f"{product.control_url}/account/sign-in")
    page.get_by_label("E-mail address or username").fill(f"{name}@example.test")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "sign-in" not in url)


def is_as_wide_as_the_phone(page: Page) -> bool:
    """Nothing sticks out sideways, but in a box that scrolls."""
    boxes = [box for each in page.locator("main, main > *, header > *").all() if (box := each.bounding_box())]
    return max(box["x"] + box["width"] for box in boxes) <= NARROW


def failed_request(product: Product) -> str:
    """One whose delivery to the flaky target is in the failure queue."""
    switch(product, "fail")
    request_id = send_event(product, {"type": "order.created", "id": 77})
    wait_for(lambda: flaky_state(product, request_id) == "dead", "the failure queue", 60)
    return request_id


def switch(product: Product, word: str) -> None:
    asked = urllib.request.Request(f"{product.sink_url}/hooks/flaky/{word}", method="POST")
    urllib.request.urlopen(asked, timeout=5).close()


def test_a_member_replays_redeems_and_reads(product: Product, page: Page, phone: Page, code: str) -> None:
    request_id = failed_request(product)
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.emulate_media(color_scheme="dark")
    sign_in(page, product, "mona")
    page.goto(f"{product.control_url}{DEMO}/failures")
    page.get_by_role("checkbox", name="flaky").first.check()
    page.get_by_role("button", name="Replay chosen…").click()
    expect(page.get_by_role("region", name="What would be done")).to_contain_text("1")
    switch(product, "recover")
    page.get_by_role("button", name="Replay", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Replay of")
    wait_for(lambda: flaky_state(product, request_id) == "delivered", "the replayed delivery")

    page.get_by_role("navigation", name="Main").get_by_role("link", name="Wallet").click()
    page.get_by_role("textbox", name="Code").fill(code.lower())
    page.get_by_role("button", name="Redeem").click()
    expect(page.get_by_role("status")).to_have_text("The code gave 7 credits.")
    expect(page.get_by_role("table", name="What moved")).to_contain_text("Credit code")
    expect(page.get_by_role("link", name="To the checkout")).to_have_count(0)

    wait_for(lambda: product.api("/api/v1/usage/summary?by=target&project=demo")["results"], "usage")
    page.goto(f"{product.control_url}{DEMO}/usage?range=day")
    expect(page.get_by_role("img", name="Deliveries:")).to_be_visible()
    page.get_by_text("Figures").click()
    expect(page.get_by_role("table", name="Figures over time")).to_be_visible()
    page.get_by_role("link", name="30 days").click()
    expect(page.get_by_role("link", name="30 days")).to_have_attribute("aria-current", "true")

    sign_in(phone, product, "mona")
    pages = (
        *(f"{DEMO}/{name}" for name in ("usage", "calls", "requests", "failures", "wallet", f"requests/{request_id}")),
        f"{DEMO}/usage?by=endpoint",
        f"{DEMO}/failures/replay",
        *(f"/portal/{name}" for name in ("wallet", "usage", "calls")),
    )
    found, wide = {}, []
    for path in pages:
        page.goto(product.control_url + path)
        found[path] = violations(page)
        phone.goto(product.control_url + path)
        if not is_as_wide_as_the_phone(phone):
            wide.append(path)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 375, "height": 800})
    for path in pages:
        page.goto(product.control_url + path)
        found[path] += violations(page)
    assert {path: broken for path, broken in found.items() if broken} == {}
    assert wide == []
    assert refused == []


def test_a_strangers_page_is_none(product: Product, page: Page, code: str) -> None:
    sign_in(page, product, "nils")
    for path in ("usage", "wallet", "failures", "requests"):
        answer = page.goto(f"{product.control_url}{DEMO}/{path}")
        assert answer is not None
        assert answer.status == 404
        expect(page.get_by_role("heading", level=1)).to_have_text("Not found")

"""The portal in a real browser: a key's life, an invitation, a stranger; and no page that is too wide, too faint, out
of the keyboard's reach or against its own content policy."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.browser.accessibility import violations
from tests.browser.portal_scene import enter, make_member, watch_policy
from tests.browser.steps import PASSWORD
from tests.system.product import Product, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]

PHONE: ViewportSize = {"width": 375, "height": 800}
NARROW: ViewportSize = {"width": 320, "height": 640}
DESK: ViewportSize = {"width": 1280, "height": 900}
HOME = "/portal/projects/demo/"


def status_with(product: Product, token: str) -> int:
    """Of a call of the demo endpoint with this key."""
    body = json.dumps({"type": "order.created"}).encode()
    request = urllib.request.Request(f"{product.edge_url}/r/demo/v1/events", body)
    request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def heading(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text)


@pytest.fixture
def plain(browser: Browser) -> Iterator[Page]:
    """A narrow phone without scripts."""
    context = browser.new_context(viewport=NARROW, java_script_enabled=False)
    yield context.new_page()
    context.close()


def test_a_key_from_its_making_to_its_end(product: Product, page: Page) -> None:
    make_member(product, "kay", "admin")
    stopped = watch_policy(page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    enter(page, product, "kay")
    page.get_by_role("main").get_by_role("link", name="demo").click()
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Keys").click()
    page.get_by_role("link", name="New key").click()
    page.get_by_label("Name").fill("checkout")
    page.get_by_label("Live").check()
    page.get_by_label("Send requests to endpoints").check()
    page.get_by_role("button", name="Make the key").click()
    heading(page, "checkout")
    first = page.get_by_label("Your new key").input_value()
    page.get_by_role("button", name="Copy the key").click()
    expect(page.get_by_text("Copied to the clipboard.")).to_be_attached()
    assert page.evaluate("navigator.clipboard.readText()") == first
    wait_for(lambda: status_with(product, first) == 202, "the edge to know the key")

    page.get_by_role("link", name="I have stored it").click()
    page.get_by_role("table", name="Keys").get_by_role("link", name="checkout").click()
    assert first not in page.content()
    page.get_by_role("link", name="Rotate").click()
    page.get_by_label("The key of now").select_option(label="works 1 hour more")
    page.get_by_role("button", name="Rotate").click()
    heading(page, "checkout-2")
    second = page.get_by_label("Your new key").input_value()
    wait_for(lambda: status_with(product, second) == 202, "the edge to know the successor")
    assert status_with(product, first) == 202

    page.get_by_role("link", name="I have stored it").click()
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="checkout", exact=True))
    expect(row).to_contain_text("expiring")
    row.get_by_role("link").click()
    page.get_by_role("link", name="Revoke").click()
    page.get_by_role("button", name="Revoke it").click()
    expect(page.get_by_role("status").first).to_have_text("checkout is revoked.")
    expect(row).to_contain_text("revoked")
    wait_for(lambda: status_with(product, first) == 401, "the edge to refuse it")
    assert status_with(product, second) == 202
    assert stopped == []


def test_an_invitation_lands_in_the_project(product: Product, page: Page, plain: Page) -> None:
    make_member(product, "ivy", "admin")
    enter(page, product, "ivy")
    page.goto(f"{product.control_url}{HOME}members")
    page.get_by_label("E-mail address").fill("guest@example.test")
    page.get_by_label("Role").select_option("support")
    page.get_by_role("button", name="Invite").click()
    link = page.get_by_label("Link of the invitation").input_value()
    plain.goto(link)
    plain.get_by_label("New password").fill(PASSWORD)
    plain.get_by_role("button", name="Make my account").click()
    assert plain.url == f"{product.control_url}{HOME}"
    expect(plain.get_by_role("main")).to_contain_text("You are support here.")
    names = plain.get_by_role("navigation", name="Main").get_by_role("link").all_inner_texts()
    assert ("Members" in names, "Keys" in names) == (False, False)


def test_a_strangers_address_is_nobodys(product: Product, page: Page) -> None:
    make_member(product, "stray")
    enter(page, product, "stray")
    expect(page.get_by_role("heading", name="No project yet")).to_be_visible()
    seen = []
    for path in (HOME, "/portal/projects/nowhere/", f"{HOME}keys", f"{HOME}members"):
        answer = page.goto(f"{product.control_url}{path}")
        assert answer is not None
        seen.append((answer.status, page.get_by_role("main").inner_text()))
    assert {status for status, _ in seen} == {404}
    assert len(set(seen)) == 1


def paths_of(product: Product) -> list[str]:
    """Every page that a member comes to, with a key and a member in them."""
    [(key,)] = product.sql("SELECT id FROM access_relaykey WHERE name = 'looked-at'")
    query = "SELECT m.id FROM access_membership m JOIN access_user u ON u.id = m.user_id WHERE u.email = %s"
    [(member,)] = product.sql(query, "other@example.test")
    ours = ["", "keys", "keys/new", f"keys/{key}", f"keys/{key}/rotate", f"keys/{key}/revoke", "members"]
    ours += [f"members/{member}", f"members/{member}/remove", "members/budget", f"members/{member}/budget"]
    ours += ["settings", "settings/leave", "settings/transfer"]
    account = ["", "sessions", "password", "applications", "address", "sign-out"]
    return ["/portal/", *(f"{HOME}{path}" for path in ours), *(f"/account/{path}" for path in account),
            "/oauth/device/code", "/portal/projects/nowhere/"]  # fmt: skip


@pytest.fixture(scope="module")
def looked_at(product: Product) -> str:
    """An owner of the demo project, with something on every page."""
    make_member(product, "owner", "owner")
    make_member(product, "other", "developer")
    product.manage(
        "shell", "-v0", "-c",
        "from relay_admin.access.services import relay_key_mint; from relay_admin.catalog.models import Project;"
        "from relay_admin.access.invitations import invitation_create; project = Project.objects.get(slug='demo');"
        "relay_key_mint(project=project, name='looked-at', scopes=['relay', 'inference'], mode='test');"
        "invitation_create(project=project, email='soon@example.test', role='viewer')",
    )  # fmt: skip
    return "owner"


@pytest.mark.parametrize(("theme", "size"), [("light", PHONE), ("dark", DESK)], ids=["light phone", "dark desk"])
def test_no_page_breaks_a_rule(
    product: Product, page: Page, looked_at: str, theme: Literal["light", "dark"], size: ViewportSize
) -> None:
    stopped = watch_policy(page)
    page.emulate_media(color_scheme=theme)
    enter(page, product, looked_at)
    found = {}
    for path in paths_of(product):
        page.set_viewport_size(size)
        page.goto(f"{product.control_url}{path}")
        assert page.locator("h1").count() == 1, path
        broken = violations(page)
        for menu in page.locator("details.menu summary").all():
            menu.click()
            broken += violations(page, "details.menu[open]")  # what an open menu covers is not to be hit
        if size is PHONE:
            page.set_viewport_size(NARROW)
        width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        found[path] = [*broken, *([f"{width} px too wide"] if width > 0 else [])]
    assert {path: broken for path, broken in found.items() if broken} == {}
    assert stopped == []


def test_the_keyboard_goes_from_top_to_bottom(product: Product, page: Page, looked_at: str) -> None:
    enter(page, product, looked_at)
    page.goto(f"{product.control_url}{HOME}keys")
    order = [""]
    while order[-1] != "New key" and len(order) < 30:
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.textContent.trim().split('\\n')[0]"))
    sections = ["Overview", "Keys", "Members", "Settings"]
    assert order[1:3] == ["Skip to the content", "Relay"]
    assert [text for text in order if text in sections] == sections
    assert order[-1] == "New key"
    page.keyboard.press("Enter")
    heading(page, "New key")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"

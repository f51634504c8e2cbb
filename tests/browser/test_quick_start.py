"""The page of the quick start for OAuth, as it stands there, in a real browser: signs in, calls with its user's token,
signs out."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.site import serving
from tests.system import documentation
from tests.system.product import ROOT, Product, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]

QUICK_START = ROOT / "docs" / "quick-start-oauth.md"


@pytest.fixture
def notes(product: Product, tmp_path: Path) -> Iterator[str]:
    """The origin at which the page is served, for an application of it."""
    for name, text in documentation.files(QUICK_START.read_text(encoding="utf-8")).items():
        (tmp_path / Path(name).name).write_text(text, encoding="utf-8")
    wanted = {"project": "demo", "name": "Notes in a browser", "policy": "everything"}
    with serving(tmp_path) as origin:
        allowed = {"redirectUris": [f"{origin}/"], "allowedOrigins": [origin]}
        made = product.api("/api/v1/applications", {**wanted, **allowed})
        names = {"CLIENT_ID": made["clientId"], "CONTROL": product.control_url, "EDGE": product.edge_url}
        config = "".join(f"export const {name} = '{said}';\n" for name, said in names.items())
        (tmp_path / "config.js").write_text(config)
        yield origin


def test_a_user_signs_in_asks_and_signs_out(product: Product, page: Page, notes: str) -> None:
    [wallet] = product.api("/api/v1/wallets?user=admin&mode=live")["results"]
    product.api(f"/api/v1/wallets/{wallet['id']}/grants", {"microcredits": 5_000_000, "note": "welcome"})
    wait_for(lambda: (product.purse_of(wallet["id"]) or 0) >= 4_000_000, "the purse to hear of the grant")
    page.goto(f"{notes}/")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("E-mail address or username").fill(product.credentials["admin_username"])
    page.get_by_label("Password").fill(product.credentials["admin_password"])
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page.locator("#name")).to_have_text("admin")
    expect(page).to_have_url(f"{notes}/")
    assert float(page.locator("#balance").inner_text()) >= 4
    page.get_by_label("Question").fill("Good morning")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#answer")).to_contain_text('You wrote: "Good morning"')
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert page.locator("#problem").inner_text() == ""

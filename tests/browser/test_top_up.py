"""A customer tops up in a browser: from the portal to the checkout and back; the event, the balance, the invoice."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.admin.stripe_server import stripe_server
from tests.browser.accessibility import violations
from tests.browser.portal_scene import enter, make_member, watch_policy
from tests.browser.stripe_checkout import Checkout, checkout_page
from tests.system.product import Product, new_home

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("top_up")]

SECRET = "whsec_browser"
WALLET = "/portal/projects/demo/wallet"
AGED = """
from datetime import UTC, datetime
from django.db import connection
from relay_admin.ledger import folding
from relay_admin.ledger.invoices import month_before
from relay_admin.ledger.models import Day, TopUp
with connection.cursor() as cursor:
    cursor.execute(folding.FOLD)
today = datetime.now(UTC)
day = month_before(today.date())
Day.objects.update(day=day)
TopUp.objects.update(paid_at=datetime(day.year, day.month, 3, tzinfo=UTC))
"""
"""As if all that moved had moved a month ago."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    with stripe_server() as stripe, checkout_page(stripe, tmp_path_factory.mktemp("checkout")) as page:
        yield page


@pytest.fixture(scope="module")
def paying(checkout: Checkout) -> Iterator[Product]:
    """A product that takes payments."""
    home = new_home()
    running = Product(
        home,
        RELAY_STRIPE_SECRET_KEY="sk_live_51secret",
        RELAY_STRIPE_WEBHOOK_SECRET=SECRET,
        RELAY_STRIPE_URL=checkout.stripe.url,
        RELAY_CREDIT_PACKS="5000:500:eur 50000:4500:eur",
    ).start()
    yield running
    running.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A phone; it takes the checkout's certificate."""
    context = browser.new_context(viewport={"width": 375, "height": 800}, ignore_https_errors=True)
    yield context.new_page()
    context.close()


def heading(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text)


def test_from_the_portal_to_the_invoice(paying: Product, checkout: Checkout, page: Page, tmp_path: Path) -> None:
    make_member(paying, "payer", "owner")
    stopped = watch_policy(page)
    enter(page, paying, "payer")
    page.goto(f"{paying.control_url}{WALLET}")
    balance = page.get_by_role("region", name="Balance").get_by_text("credits").first
    expect(balance).to_have_text("0 credits")
    expect(page.get_by_text("Id", exact=True)).to_have_count(0)
    broken = violations(page)
    page.get_by_label("How much").select_option(label="5,000 credits for 5.00 EUR")
    page.get_by_role("button", name="To the checkout").click()
    heading(page, "Top up")
    broken += violations(page)

    page.get_by_role("link", name="Pay with Stripe").click()
    heading(page, "5,000 credits")
    page.get_by_role("button", name="Pay 500 eur").click()
    heading(page, "Waiting for the payment")
    broken += violations(page)
    hook = f"{paying.control_url}/hooks/stripe"
    assert [checkout.tell(hook, SECRET), checkout.tell(hook, SECRET)] == ["credited", "seen"]
    heading(page, "Paid")  # it looked again by itself
    broken += violations(page)

    page.get_by_role("link", name="Back to the wallet").click()
    expect(balance).to_have_text("5,000 credits")
    paid = page.get_by_role("table", name="Top-ups").get_by_role("row").nth(1)
    expect(paid).to_contain_text("paid")
    expect(paid).to_contain_text("5.00 EUR")
    expect(page.get_by_role("table", name="What moved")).to_contain_text("+5,000")

    paying.manage("shell", "-v0", "-c", AGED)
    assert "1 issued" in paying.manage("invoices", "issue")
    page.reload()
    invoices = page.get_by_role("table", name="Invoices")
    with page.expect_download() as file:
        invoices.get_by_role("link", name="CSV").click()
    file.value.save_as(tmp_path / "invoice.csv")
    assert ",payment: top_up,,,5000000000,500,eur" in (tmp_path / "invoice.csv").read_text()
    invoices.get_by_role("link", name="-000001").first.click()
    expect(page.get_by_role("main")).to_contain_text("5.00 EUR")
    assert broken == []
    assert stopped == []

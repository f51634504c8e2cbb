"""A customer in a real browser without scripts: invited, signed up, elsewhere too, out of there, and a new password."""

import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.mailbox import Mailbox, open_mailbox
from tests.system.product import Product, new_home, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("accounts")]

ADA = "ada@example.test"
FIRST, SECOND = "a long sentence of ada's", "a second long sentence"
PHONE = {"width": 320, "height": 640}


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with open_mailbox() as box:
        yield box


@pytest.fixture(scope="module")
def posting(mailbox: Mailbox) -> Iterator[Product]:
    """A product with a mail server."""
    home = new_home()
    running = Product(home, RELAY_MAIL_URL=mailbox.url, RELAY_MAIL_FROM="Relay <relay@example.test>").start()
    yield running
    running.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    """320 pixels wide, dark, and without scripts."""
    context = browser.new_context(viewport=PHONE, java_script_enabled=False, color_scheme="dark")
    yield context.new_page()
    context.close()


def link_in(mailbox: Mailbox, subject: str) -> str:
    """Of the mail that comes."""
    wait_for(lambda: mailbox.mails and mailbox.mails[-1]["Subject"] == subject, subject)
    return mailbox.link()


def sign_in(page: Page, product: Product, password: str) -> None:
    if "/account/sign-in" not in page.url:  # else it knows where to go on to
        page.goto(f"{product.control_url}/account/sign-in")
    page.get_by_label("E-mail address or username").fill(ADA)
    page.get_by_label("Password").fill(password)
    page.keyboard.press("Enter")


def heading(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text)


def is_as_wide_as_the_phone(page: Page) -> None:
    """Nothing sticks out sideways."""
    boxes = [box for each in page.locator("main, main *, header *").all() if (box := each.bounding_box())]
    assert max(box["x"] + box["width"] for box in boxes if box["width"] > 1) <= PHONE["width"]


def test_an_account_from_the_invitation_to_a_new_password(
    posting: Product, mailbox: Mailbox, phone: Page, page: Page
) -> None:
    posting.manage(
        "shell", "-v0", "-c",
        "from relay_admin.access.invitations import invitation_create;"
        "from relay_admin.catalog.models import Project;"
        f"invitation_create(email={ADA!r}, project=Project.objects.get(slug='demo'), role='viewer')",
    )  # fmt: skip
    phone.goto(link_in(mailbox, "You are invited"))
    heading(phone, "You are invited")
    is_as_wide_as_the_phone(phone)
    phone.get_by_label("New password").fill("short")
    phone.get_by_role("button", name="Make my account").click()
    expect(phone.get_by_role("alert")).to_contain_text("at least 12 characters")
    phone.get_by_label("New password").fill(FIRST)
    phone.get_by_role("button", name="Make my account").click()
    heading(phone, "Demo")
    expect(phone.get_by_role("main")).to_contain_text("You are viewer here")
    is_as_wide_as_the_phone(phone)
    phone.goto(link_in(mailbox, "Confirm your e-mail address"))
    phone.get_by_role("button", name="Yes, it is mine").click()
    expect(phone.get_by_text("confirmed", exact=True)).to_be_visible()

    violations: list[str] = []
    page.on("console", lambda message: violations.append(message.text))
    sign_in(page, posting, FIRST)
    heading(page, "Your projects")
    page.goto(f"{posting.control_url}/admin/")
    page.get_by_role("link", name="Go to your account").click()
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Sessions").click()
    rows = page.get_by_role("table", name="Sessions").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("this one")
    rows.nth(1).get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("status")).to_have_text("The session is revoked.")
    expect(rows).to_have_count(1)
    phone.goto(f"{posting.control_url}/account/sessions")
    heading(phone, "Sign in")
    sign_in(phone, posting, FIRST)
    heading(phone, "Where you are signed in")
    is_as_wide_as_the_phone(phone)

    phone.get_by_text(f"Account: {ADA}").click()
    phone.get_by_role("button", name="Sign out").first.click()
    phone.get_by_role("link", name="Forgotten password").click()
    phone.get_by_label("E-mail address").fill("Ada@Example.test")
    phone.get_by_role("button", name="Send me the link").click()
    heading(phone, "Look into your mailbox")
    phone.goto(link_in(mailbox, "Set a new password"))
    phone.get_by_label("New password").fill(SECOND)
    phone.get_by_role("button", name="Set it").click()
    heading(phone, "Your password is changed")
    page.reload()
    heading(page, "Sign in")
    assert re.search(r"next=%2Faccount%2Fsessions", page.url)
    sign_in(page, posting, FIRST)
    expect(page.get_by_role("alert")).to_be_visible()
    sign_in(page, posting, SECOND)
    heading(page, "Where you are signed in")
    assert [text for text in violations if "Content Security" in text and "/account" in text] == []

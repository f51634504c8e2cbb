"""Customers of the demo project, and how they come in."""

from playwright.sync_api import Page, expect

from tests.browser.steps import PASSWORD
from tests.system.product import Product


def make_member(product: Product, name: str, role: str = "") -> None:
    """Somebody without rights in the admin; without a role a member of nothing."""
    address = f"{name}@example.test"
    product.manage(
        "shell", "-v0", "-c",
        "import os; from relay_admin.access.people import person_make;"
        "from relay_admin.access.models import Membership;"
        "from relay_admin.catalog.models import Project; password = os.environ['PERSON_PASSWORD'];"
        f"user = person_make(address={address!r}, password=password, is_verified=True); role = {role!r};"
        "role and Membership.objects.create(project=Project.objects.get(slug='demo'), user=user, role=role)",
        PERSON_PASSWORD=PASSWORD,
    )  # fmt: skip


def enter(page: Page, product: Product, name: str) -> None:
    """Signs in; the projects follow."""
    page.goto(f"{product.control_url}/")
    page.get_by_label("E-mail address or username").fill(f"{name}@example.test")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your projects")


def watch_policy(page: Page) -> list[str]:
    """What the page's content policy stops from now on; and every error of a script."""
    stopped: list[str] = []
    page.on("console", lambda said: stopped.append(said.text) if "Content Security Policy" in said.text else None)
    page.on("pageerror", lambda error: stopped.append(str(error)))
    return stopped

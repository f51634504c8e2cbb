"""What somebody does with the product: signs in, sends an event, looks what became of it."""

import json
import urllib.request

from playwright.sync_api import Page, expect

from tests.system.product import Product

PASSWORD = "a long sentence for support"


def make_support_user(product: Product, username: str) -> None:
    product.manage(
        "shell", "-v0", "-c",
        "import os; from django.contrib.auth.models import Group; from relay_admin.access.models import User;"
        f"user = User.objects.create_user({username!r}, {username + '@example.test'!r}, os.environ['SUPPORT_PASSWORD'],"
        " is_staff=True); user.groups.add(Group.objects.get(name='support'))",
        SUPPORT_PASSWORD=PASSWORD,
    )  # fmt: skip


def send_event(product: Product, body: dict[str, object]) -> str:
    request = urllib.request.Request(f"{product.edge_url}/r/demo/v1/events", json.dumps(body).encode())
    request.add_header("Authorization", f"Bearer {product.relay_key}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(json.load(answer)["requestId"])


def flaky_state(product: Product, request_id: str) -> str:
    found = product.api(f"/api/v1/requests/{request_id}")["deliveries"]
    return str(next(delivery["state"] for delivery in found if delivery["target"]["name"] == "flaky"))


def sign_in(page: Page, product: Product, username: str, password: str = PASSWORD) -> None:
    page.goto(f"{product.control_url}/admin/")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("link", name="Failure queue").first).to_be_visible()


def sign_in_as_admin(page: Page, product: Product) -> None:
    sign_in(page, product, product.credentials["admin_username"], product.credentials["admin_password"])


def choose_key(page: Page, name: str) -> None:
    """The first relay key of that name, in select2's box."""
    page.locator(".select2-selection").first.click()
    page.locator(".select2-search__field").fill(name.rpartition("/")[2] or name.rstrip("/"))
    page.get_by_role("option", name=name).first.click()

"""Takes the pictures of docs/images from the running product: `.venv/bin/python -m tests.browser.pictures`.

It starts a product of its own as the tests do, makes a call whose delivery to the demo's `flaky` target fails for good,
and photographs what an operator sees. Ids and times differ from run to run, so the pictures are taken when a page has
changed and not by a test.
"""

import shutil
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.browser.chromium import ARGUMENTS, chromium_path
from tests.browser.steps import flaky_state, send_event, sign_in
from tests.system.product import ROOT, Product, new_home, wait_for

IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 150_000
WIDTH, HEIGHT = 1280, 640  # narrower than 1280 the sidebar is behind a button


def take(page: Page, name: str) -> None:
    """A picture of what fits on the screen. AssertionError when its file is too large for the repository."""
    page.wait_for_load_state("networkidle")
    path: Path = IMAGES / f"{name}.png"
    page.screenshot(path=path, animations="disabled")
    size = path.stat().st_size
    print(f"{path.relative_to(ROOT)}: {size:,} bytes")
    assert size < MOST_BYTES, f"{path.name} has {size:,} bytes"


def take_all(product: Product, page: Page) -> None:
    """Each page of interest, in the order in which support meets them."""
    admin = f"{product.control_url}/admin"
    request_ids = [send_event(product, {"type": "order.created", "id": number}) for number in (40, 41, 42)]
    for request_id in request_ids:
        wait_for(lambda one=request_id: flaky_state(product, one) == "dead", "the failure queue", 60)
    sign_in(page, product, product.credentials["admin_username"], product.credentials["admin_password"])
    page.goto(f"{admin}/deliveries/deaddelivery/")
    page.locator("#result_list tbody input[type=checkbox]").first.check()
    page.locator("select[name=action]").select_option(label="Replay selected deliveries")
    take(page, "failure-queue")
    page.set_viewport_size({"width": WIDTH, "height": 1120})
    page.goto(f"{admin}/deliveries/request/{request_ids[-1]}/change/")
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    take(page, "request")


def main() -> None:
    home = new_home()
    product = Product(home).start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
            take_all(product, browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}))
            browser.close()
    finally:
        product.stop()
        shutil.rmtree(home)


if __name__ == "__main__":
    main()

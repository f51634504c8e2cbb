"""Takes the pictures of docs/images from the running product: `.venv/bin/python -m tests.browser.pictures`.

It starts a product of its own as the tests do, makes calls of which some fail, and photographs what an operator sees.
Ids and times differ from run to run, so the pictures are taken when a page has changed and not by a test.
"""

import shutil
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import scene
from tests.browser.chromium import ARGUMENTS, chromium_path
from tests.browser.palette import with_palette
from tests.browser.portal_scene import enter, make_member
from tests.browser.steps import choose_key, flaky_state, send_event, sign_in_as_admin
from tests.system.product import ROOT, Product, new_home, wait_for

IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 150_000
WIDTH = 1280  # narrower than that the sidebar is behind a button


DOCUMENT = """version: 1
policies:
  - slug: parcels-models
    description: Chat, and nothing else.
    models: ["parcels-*", "demo-gpt"]
projects:
  - slug: depot
    name: Depot
    lines:
      - slug: v1
        endpoints:
          - slug: events
            targets: [{name: billing, url: "https://billing.example/hooks"}]
"""


def take(page: Page, name: str, path: str, height: int) -> None:
    """A picture of the top of the page at `path`, `height` pixels of it."""
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.goto(path)
    shoot(page, name)


def shoot(page: Page, name: str) -> None:
    """A picture of what fits on the screen. AssertionError when its file is too large for the repository."""
    page.wait_for_load_state("networkidle")
    path: Path = IMAGES / f"{name}.png"
    size = path.write_bytes(with_palette(page.screenshot(animations="disabled")))
    print(f"{path.relative_to(ROOT)}: {size:,} bytes")
    assert size < MOST_BYTES, f"{path.name} has {size:,} bytes"


def take_deliveries(product: Product, page: Page) -> None:
    """What support meets: the failure queue, a request whose third delivery failed for good, a replay under way."""
    admin = f"{product.control_url}/admin"
    request_ids = [send_event(product, {"type": "order.created", "id": number}) for number in (40, 41, 42)]
    for request_id in request_ids:
        wait_for(lambda one=request_id: flaky_state(product, one) == "dead", "the failure queue", 60)
    page.set_viewport_size({"width": WIDTH, "height": 640})
    page.goto(f"{admin}/deliveries/deaddelivery/")
    page.locator("#result_list tbody input[type=checkbox]").first.check()
    page.locator("select[name=action]").select_option(label="Replay selected deliveries")
    shoot(page, "failure-queue")
    take(page, "request", f"{admin}/deliveries/request/{request_ids[-1]}/change/", 1120)
    page.set_viewport_size({"width": WIDTH, "height": 640})
    page.goto(f"{admin}/deliveries/deaddelivery/replay-all/")
    page.get_by_label("Pace").fill("0.5")
    page.get_by_label("Note").fill("billing is back")
    page.get_by_role("button", name="Replay").click()
    page.get_by_text("under way").or_(page.get_by_text("delivered")).first.wait_for()
    shoot(page, "replay")


def take_calls(product: Product, page: Page) -> None:
    """Calls to models: one that a second host answered, and everything that says so."""
    admin = f"{product.control_url}/admin"
    made = scene.set_up(product, "parcels")
    _, request_id = made.call()
    for body in ({"stream": True}, {"model": "demo-claude", "max_tokens": 50}, {}, {"model": "parcels-large"}):
        made.wait_for_row(made.call(**body)[1])
    take(page, "calls", f"{admin}/traffic/call/", 640)
    take(page, "call", f"{admin}/traffic/call/{made.wait_for_row(request_id)['id']}/change/", 920)
    take(page, "breakers", f"{admin}/traffic/breakerevent/", 560)
    page.goto(f"{admin}/access/relaykey/?q=app")
    key = page.locator("#result_list a[href*='/change/']").first.get_attribute("href")
    assert key is not None
    key_id = key.split("/change/")[0].rpartition("/")[2]
    question = f"relay_key={key_id}&model={made.model}&surface=chat_completions"
    take(page, "resolve", f"{admin}/resolve/?{question}", 900)


def take_tools(product: Product, page: Page) -> None:
    """What is tried out and looked over: a chat, the catalog as a graph, a document before it is applied, a trace."""
    admin = f"{product.control_url}/admin"
    page.set_viewport_size({"width": WIDTH, "height": 1180})
    page.goto(f"{admin}/console/?model=parcels-chat&message=Which+of+our+parcels+are+late%3F")
    choose_key(page, "demo/")
    page.get_by_role("button", name="Send").click()
    page.get_by_role("link", name="Open its trace").wait_for()
    shoot(page, "console")
    page.get_by_role("link", name="Open its trace").click()
    page.set_viewport_size({"width": WIDTH, "height": 920})
    shoot(page, "trace")
    take(page, "graph", f"{admin}/catalog-graph/?q=parcels", 900)
    page.set_viewport_size({"width": WIDTH, "height": 760})
    page.goto(f"{admin}/catalog-document/")
    page.get_by_label("Or paste it").fill(DOCUMENT)
    page.get_by_role("button", name="Show the plan").click()
    page.get_by_role("button", name="Apply").wait_for()
    shoot(page, "import")


def take_portal(product: Product, browser: Browser) -> None:
    """What a member sees: first calls to paste and keys, and both on a phone in the dark."""
    make_member(product, "ada", "owner")
    page = browser.new_page()
    enter(page, product, "ada")
    home = f"{product.control_url}/portal/projects/demo/"
    take(page, "portal", home, 860)
    take(page, "portal-keys", f"{home}keys", 480)
    phone = browser.new_page(color_scheme="dark")
    enter(phone, product, "ada")
    phone.set_viewport_size({"width": 375, "height": 760})
    phone.goto(f"{home}keys/new")
    shoot(phone, "portal-phone")


def take_all(product: Product, browser: Browser) -> None:
    """Each page of interest: the first steps before any was made, the home after some traffic, and in the dark."""
    page = browser.new_page()
    sign_in_as_admin(page, product)
    take(page, "first-steps", f"{product.control_url}/admin/first-steps/", 660)
    take_deliveries(product, page)
    take_calls(product, page)
    take_tools(product, page)
    take(page, "home", f"{product.control_url}/admin/?range=1h", 1000)
    dark = browser.new_page(color_scheme="dark")
    sign_in_as_admin(dark, product)
    take(dark, "start-dark", f"{product.control_url}/admin/", 900)
    take_portal(product, browser)


def main() -> None:
    home = new_home()
    product = Product(home).start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
            take_all(product, browser)
            browser.close()
    finally:
        product.stop()
        shutil.rmtree(home)


if __name__ == "__main__":
    main()

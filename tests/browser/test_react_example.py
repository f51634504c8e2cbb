"""`sdk/examples/react-chat` as its users see it, built and served from another origin: signed in, paid, taken back; two
tabs with one token, a way back that somebody else opens, a network that goes and comes."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Locator, Page, Request, Route, expect

from tests.browser.accessibility import violations
from tests.browser.chromium import chromium_path
from tests.browser.site import serving
from tests.browser.steps import PASSWORD, make_support_user
from tests.clients.environments import CHECKOUT, installed_node
from tests.system.product import Product, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system"), pytest.mark.timeout(700)]

SDK = CHECKOUT / "sdk"
WORKSPACE, EXAMPLE = SDK / "typescript", SDK / "examples" / "react-chat"
CREDITS = 50_000_000
GROWTH = """() => {
    window.lengths = [];
    const seen = () => {
        const length = document.querySelector(".assistant")?.textContent.length ?? 0;
        if (length > (window.lengths.at(-1) ?? 0)) window.lengths.push(length);
    };
    new MutationObserver(seen).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""
TEN_MINUTES_LESS_TWENTY_SECONDS_LATER = "() => { const now = Date.now; Date.now = () => now() + 580_000; }"
WAITING_FOR_A_LOCK = "async () => (await navigator.locks.query()).pending.length"


@pytest.fixture(scope="module")
def chat(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of the built example, which its application allows."""
    chromium_path()
    folder = tmp_path_factory.mktemp("react-chat")
    with serving(folder) as origin:
        wanted = {"project": "demo", "name": "React chat", "policy": "everything"}
        allowed = {"redirectUris": [f"{origin}/"], "allowedOrigins": [origin]}
        made = product.api("/api/v1/applications", {**wanted, **allowed})
        build(
            folder,
            VITE_RELAY_URL=product.edge_url, VITE_CONTROL_URL=product.control_url, VITE_CLIENT_ID=made["clientId"],
        )  # fmt: skip
        wait_for(product.is_money_open, "purses to pay, some seconds after the start")
        yield origin


def build(folder: Path, **variables: str) -> None:
    """The SDK, and the example with it, into the folder."""
    node = installed_node(WORKSPACE)
    installed_node(EXAMPLE)
    npm(node, WORKSPACE, "run", "build")
    npm(node, WORKSPACE, "exec", "--", "tsc", "--project", str(EXAMPLE))
    npm(node, EXAMPLE, "run", "build", "--", "--outDir", str(folder), **variables)


def npm(node: Path, folder: Path, *arguments: str, **variables: str) -> None:
    command = [str(node.parent / "npm"), "--silent", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def sign_in(page: Page, chat: str, name: str, password: str) -> None:
    """By the relay's own pages, and back; says yes where it is asked."""
    page.goto(chat)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("E-mail address or username").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    allow, back = page.get_by_role("button", name="Allow", exact=True), page.get_by_role("button", name="Sign out")
    expect(allow.or_(back)).to_be_visible()
    if allow.is_visible():
        allow.click()
    expect(back).to_be_visible()
    expect(page).to_have_url(f"{chat}/")


def sign_in_as_admin(product: Product, page: Page, chat: str) -> None:
    """With credits."""
    [wallet] = product.api("/api/v1/wallets?user=admin&mode=live")["results"]
    product.api(f"/api/v1/wallets/{wallet['id']}/grants", {"microcredits": CREDITS, "note": "for a chat"})
    sign_in(page, chat, product.credentials["admin_username"], product.credentials["admin_password"])


def ask(page: Page, text: str) -> None:
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").click()


def answer(page: Page) -> Locator:
    """The last one."""
    return page.locator(".assistant").last


def requests_to(page: Page, path: str) -> list[Request]:
    """Of all tabs, from now on."""
    found: list[Request] = []

    def note(request: Request) -> None:
        if request.method != "OPTIONS" and request.url.partition("?")[0].endswith(path):
            found.append(request)

    page.context.on("request", note)
    return found


def test_a_user_signs_in_pays_and_takes_it_back(product: Product, page: Page, chat: str) -> None:
    make_support_user(product, "rita")
    calls = requests_to(page, "/v1/chat/completions")
    sign_in(page, chat, "rita", PASSWORD)
    expect(page.locator(".balance")).to_have_text("0 credits Top up")
    ask(page, "Good morning")
    dialog = page.get_by_role("dialog", name="Not enough credits")
    expect(dialog.get_by_role("link", name="Top up")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()

    [wallet] = product.api("/api/v1/wallets?user=rita&mode=live")["results"]
    product.api(f"/api/v1/wallets/{wallet['id']}/grants", {"microcredits": CREDITS, "note": "welcome"})
    page.evaluate(GROWTH)

    def is_answered() -> bool:
        page.get_by_role("button", name="Try again").click()
        expect(dialog.or_(answer(page))).to_be_visible()
        if dialog.is_visible():
            dialog.get_by_role("button", name="Close").click()
        return answer(page).is_visible()

    wait_for(is_answered, "the grant to reach the purse")
    expect(answer(page)).to_contain_text('You wrote: "Good morning"')
    lengths = page.evaluate("() => window.lengths")
    assert len(lengths) >= 5, lengths
    expect(page.locator(".balance")).to_contain_text(re.compile(r"49\.\d+ credits"))
    assert violations(page) == []

    account = page.context.new_page()
    account.goto(f"{product.control_url}/account/applications")
    account.get_by_role("button", name="Revoke React chat").click()
    expect(account.get_by_text("React chat may not use your account any more.")).to_be_visible()
    bearer = {"authorization": calls[-1].headers["authorization"]}
    models = f"{product.edge_url}/v1/models"
    wait_for(lambda: requests.get(models, headers=bearer, timeout=20).status_code == 401, "the revocation at the edge")
    ask(page, "Are you still there?")
    expect(page.get_by_role("alert")).to_have_text("The sign-in was refused or has ended. Sign in again.")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(page.get_by_role("log")).to_contain_text("Are you still there?")
    assert violations(page) == []


def test_two_tabs_renew_their_token_once(product: Product, page: Page, chat: str) -> None:
    sign_in_as_admin(product, page, chat)
    other = page.context.new_page()
    other.goto(chat)
    expect(other.get_by_role("button", name="Sign out")).to_be_visible()
    renewals, calls = requests_to(page, "/oauth/token"), requests_to(page, "/v1/chat/completions")
    held = list[Route]()

    def hold(route: Route) -> None:
        held.append(route)

    page.context.route("**/oauth/token", hold)  # until both want a token
    tabs = {page: "Here", other: "There"}
    for tab, text in tabs.items():
        tab.evaluate(TEN_MINUTES_LESS_TWENTY_SECONDS_LATER)
        tab.get_by_label("Message").fill(text)
    for tab in tabs:
        tab.get_by_role("button", name="Send").click()
    wait_for(lambda: page.evaluate(WAITING_FOR_A_LOCK) + len(held) > 1, "both tabs to want a token")
    for route in held:
        route.continue_()
    page.context.unroute("**/oauth/token")
    for tab, text in tabs.items():
        expect(answer(tab)).to_contain_text(f'You wrote: "{text}"')
    assert [(one.post_data or "").count("grant_type=refresh_token") for one in renewals] == [1]
    assert len({one.headers["authorization"] for one in calls}) == 1


def test_a_way_back_in_another_browser_is_refused(product: Product, browser: Browser, page: Page, chat: str) -> None:
    ways_back = requests_to(page, f"{chat}/")
    sign_in_as_admin(product, page, chat)
    [way_back] = [one.url for one in ways_back if "code=" in one.url]
    stranger = browser.new_context().new_page()
    exchanges = requests_to(stranger, "/oauth/token")
    stranger.goto(way_back)
    expect(stranger.get_by_role("alert")).to_contain_text("This sign-in was not begun here, or was begun too long ago.")
    expect(stranger).to_have_url(f"{chat}/")
    expect(stranger.get_by_role("button", name="Sign in")).to_be_enabled()
    assert exchanges == []
    stranger.context.close()


def test_a_network_that_goes_is_said_and_comes_back(product: Product, page: Page, chat: str) -> None:
    sign_in_as_admin(product, page, chat)
    page.context.set_offline(True)
    expect(page.get_by_role("status").filter(has_text="You are offline.")).to_be_visible()
    ask(page, "Anybody?")
    expect(page.get_by_role("alert")).to_contain_text("The relay cannot be reached.")
    page.context.set_offline(False)
    expect(page.get_by_text("You are offline.")).to_be_hidden()
    page.get_by_role("button", name="Try again").click()
    expect(answer(page)).to_contain_text('You wrote: "Anybody?"')
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()

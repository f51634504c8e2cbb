"""A page of another origin gets a token in a real browser: sign-in, consent, the way back past `form-action`, and the
exchange of the code by `fetch`."""

import http.server
import re
import threading
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import PASSWORD, make_support_user
from tests.system.product import Product

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.xdist_group("system")]

VERIFIER = "v" * 43
CHALLENGE = "7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM"
EXCHANGE = """async ([server, form]) => {
    const answer = await fetch(server + "/oauth/token", {method: "POST", body: new URLSearchParams(form)});
    const token = await answer.json();
    const who = await fetch(server + "/oauth/userinfo", {headers: {Authorization: "Bearer " + token.access_token}});
    return [answer.status, token.scope, await who.json()];
}"""


class _Spa(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>An application</title><h1>Back at the application</h1>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def spa() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Spa)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_of_another_origin_gets_a_token(product: Product, page: Page, spa: str) -> None:
    make_support_user(product, "olga")
    made = product.api(
        "/api/v1/applications",
        {"project": "demo", "name": "Spa", "redirectUris": [f"{spa}/cb"], "allowedOrigins": [spa]},
    )
    query = {
        "response_type": "code",
        "client_id": made["clientId"],
        "redirect_uri": f"{spa}/cb",
        "scope": "inference account",
        "state": "xyz",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    page.goto(f"{product.control_url}/oauth/authorize?{urlencode(query)}")
    _sign_in(page, "olga")
    expect(page.get_by_role("heading", name="Allow Spa to use your account?")).to_be_visible()
    expect(page.get_by_text("Call models, at your expense")).to_be_visible()
    page.get_by_label("At most, in credits a month").fill("2")
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page.get_by_role("heading", name="Back at the application")).to_be_visible()
    found = re.search(r"code=([^&]+)&state=xyz&iss=", page.url)
    assert found, page.url
    form = {
        "grant_type": "authorization_code",
        "code": found[1],
        "redirect_uri": f"{spa}/cb",
        "client_id": made["clientId"],
        "code_verifier": VERIFIER,
    }
    status, scope, who = page.evaluate(EXCHANGE, [product.control_url, form])
    assert (status, scope, who["preferred_username"]) == (200, "inference account", "olga")

    page.goto(f"{product.control_url}/account/applications")
    expect(page.get_by_text("At most 2 credits a month")).to_be_visible()
    page.get_by_role("button", name="Revoke Spa").click()
    expect(page.get_by_text("Spa may not use your account any more.")).to_be_visible()


def test_who_allowed_it_before_signs_in_and_is_back(product: Product, page: Page, spa: str) -> None:
    """The way to the application follows on the sign-in's form, and browsers hold that to the page's `form-action`."""
    make_support_user(product, "petra")
    made = product.api(
        "/api/v1/applications",
        {"project": "demo", "name": "Server", "redirectUris": [f"{spa}/cb"], "clientType": "confidential"},
    )
    query = {
        "response_type": "code",
        "client_id": made["clientId"],
        "redirect_uri": f"{spa}/cb",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    address = f"{product.control_url}/oauth/authorize?{urlencode(query)}"
    page.goto(address)
    _sign_in(page, "petra")
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page.get_by_role("heading", name="Back at the application")).to_be_visible()
    page.context.clear_cookies()
    page.goto(address)
    _sign_in(page, "petra")
    expect(page.get_by_role("heading", name="Back at the application")).to_be_visible()


def _sign_in(page: Page, name: str) -> None:
    page.get_by_label("E-mail address or username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()

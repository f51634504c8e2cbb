"""The running product's authorization server, as Authlib sees it: found by its metadata, asked by its flows."""

import html
import os
import re
import subprocess
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
import requests
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

from tests.clients.environments import NODE_HOME, node_clients
from tests.system.product import Product

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system")]

PROGRAMS = NODE_HOME / "programs"
REDIRECT = "http://127.0.0.1:8/cb"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.fixture
def metadata(product: Product) -> dict[str, Any]:
    address = f"{product.control_url}/.well-known/oauth-authorization-server"
    found: dict[str, Any] = requests.get(address, timeout=20).json()
    assert found["issuer"] == product.control_url
    return found


@pytest.fixture
def browser(product: Product) -> requests.Session:
    """Somebody signed in."""
    session = requests.Session()
    page = session.get(f"{product.control_url}/admin/login/", timeout=20)
    form = {
        "username": product.credentials["admin_username"],
        "password": product.credentials["admin_password"],
        "csrfmiddlewaretoken": field(page.text, "csrfmiddlewaretoken"),
    }
    answer = session.post(page.url, form, headers={"Referer": page.url}, timeout=20, allow_redirects=False)
    assert answer.status_code == 302, answer.text
    return session


def field(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, page
    return html.unescape(found[1])


def allow(browser: requests.Session, address: str, cap: str = "") -> requests.Response:
    """Presses the button of a consent page. `cap`: credits a month."""
    page = browser.get(address, timeout=20)
    assert page.status_code == 200, page.text
    action = re.search(r'<form method="post" action="([^"]*)" class="sheet"', page.text)
    assert action
    form = {"csrfmiddlewaretoken": field(page.text, "csrfmiddlewaretoken"), "decision": "allow", "cap_credits": cap}
    if 'name="user_code"' in page.text:
        form["user_code"] = field(page.text, "user_code")
    target = urljoin(address, html.unescape(action[1]))
    return browser.post(target, form, headers={"Referer": address}, timeout=20, allow_redirects=False)


def make(product: Product, name: str, **other: Any) -> dict[str, Any]:
    made: dict[str, Any] = product.api("/api/v1/applications", {"project": "demo", "name": name, **other})
    return made


def test_authlib_runs_the_code_flow(product: Product, metadata: dict[str, Any], browser: requests.Session) -> None:
    AuthorizationServerMetadata({**metadata, "issuer": "https://relay.example"}).validate_response_types_supported()
    made = make(product, "authlib", redirectUris=[REDIRECT], clientType="confidential")
    client = OAuth2Session(
        made["clientId"],
        made["clientSecret"],
        scope="inference account offline_access",
        redirect_uri=REDIRECT,
        code_challenge_method="S256",
        revocation_endpoint_auth_method="client_secret_basic",
    )
    verifier = generate_token(64)
    address, state = client.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier)
    back = allow(browser, address)
    assert back.status_code == 302, back.text
    said = parse_qs(urlsplit(back.headers["Location"]).query)
    assert (said["iss"], said["state"]) == ([metadata["issuer"]], [state])
    token = client.fetch_token(
        metadata["token_endpoint"], authorization_response=back.headers["Location"], code_verifier=verifier
    )
    assert client.get(metadata["userinfo_endpoint"]).json()["preferred_username"]
    renewed = client.refresh_token(metadata["token_endpoint"], refresh_token=token["refresh_token"])
    assert renewed["refresh_token"] != token["refresh_token"]
    assert client.revoke_token(metadata["revocation_endpoint"], token=renewed["refresh_token"]).status_code == 200
    assert client.get(metadata["userinfo_endpoint"]).status_code == 401


def test_authlib_runs_the_device_flow(product: Product, metadata: dict[str, Any], browser: requests.Session) -> None:
    made = make(product, "authlib-device", grantType=DEVICE)
    form = {"client_id": made["clientId"], "scope": "inference"}
    begun = requests.post(metadata["device_authorization_endpoint"], form, timeout=20).json()
    assert allow(browser, begun["verification_uri_complete"]).status_code == 200
    client = OAuth2Session(made["clientId"], token_endpoint_auth_method="none")
    token = client.fetch_token(metadata["token_endpoint"], grant_type=DEVICE, device_code=begun["device_code"])
    assert (token["scope"], token["token_type"]) == ("inference", "Bearer")


@pytest.mark.timeout(700)  # the first test builds an environment
@pytest.mark.parametrize("kind", ["public", "confidential"])
def test_oauth4webapi_runs_the_code_flow(product: Product, browser: requests.Session, kind: str) -> None:
    made = make(product, f"oauth4webapi-{kind}", redirectUris=[REDIRECT], clientType=kind)
    environ = {
        "PATH": os.environ["PATH"],
        "ISSUER": product.control_url,
        "RESOURCE": product.edge_url,
        "CLIENT_ID": made["clientId"],
        "CLIENT_SECRET": made["clientSecret"] or "",
        "REDIRECT": REDIRECT,
    }
    command = [str(node_clients()), str(PROGRAMS / "oauth4webapi.mjs")]
    running = subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with running:
        try:
            assert running.stdin
            assert running.stdout
            address = running.stdout.readline().strip()
            assert address.startswith(product.control_url), address + running.stdout.read()
            said, _ = running.communicate(allow(browser, address).headers["Location"] + "\n", timeout=60)
        finally:
            running.kill()
    assert running.returncode == 0, said

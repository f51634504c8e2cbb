"""Around the flows: metadata, keys, CORS, the device flow, and the page on which users take things back."""

import base64
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from joserfc import jwt
from joserfc.jwk import RSAKey
from oauth2_provider.models import get_device_grant_model

from relay_admin.access.models import LoginAttempts, Membership, User
from relay_admin.access.oauth import issuing, keys, revocation, services
from relay_admin.access.oauth.models import AccessToken, Authorization, Grant, OAuthApplication, Revocation, SigningKey
from relay_admin.control_api import urls
from relay_contract import token_keys
from tests.admin import oauth_client, rows
from tests.admin.oauth_client import DEVICE, Flow, post

METADATA = "/.well-known/oauth-authorization-server"
ORIGIN = "https://app.example"
EMPTY = {
    *("/auth/login", "/api/v1/projects", "/api/v1/projects/{}"),
    *("/api/v1/openapi.json", "/api/v1/openapi.yaml", "/api/v1/docs"),
}
"""Everybody's to ask, with nothing of the user's in the answer: roles do not come with a token."""
ELSEWHERE = {"/oauth/userinfo"}
"""Not the control API's."""


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_user("ada", "ada@example.test")


@pytest.fixture
def browser(user: User) -> Client:
    made = Client()
    made.force_login(user)
    return made


@pytest.fixture
def device_app(catalog: rows.Catalog) -> OAuthApplication:
    return oauth_client.application(catalog.project, "cli", redirect_uris="", authorization_grant_type=DEVICE)


# --- metadata


def test_metadata_offers_what_there_is(db: None) -> None:
    said = Client().get(METADATA).json()
    assert said["issuer"] == "http://127.0.0.1:8081"
    assert said["grant_types_supported"] == ["authorization_code", "refresh_token", DEVICE]
    assert said["response_types_supported"] == ["code"]
    assert said["code_challenge_methods_supported"] == ["S256"]
    assert said["authorization_response_iss_parameter_supported"] is True
    for name, address in said.items():
        if name.endswith(("_endpoint", "jwks_uri")):
            path = address.removeprefix(said["issuer"])
            assert Client().options(path).status_code != 404, name
    assert Client().get("/.well-known/oauth-protected-resource").json()["authorization_servers"] == [said["issuer"]]


def test_published_keys_read_what_is_issued(catalog: rows.Catalog, browser: Client) -> None:
    text = Flow(oauth_client.application(catalog.project), browser).tokens()["access_token"]
    [key] = Client().get("/oauth/jwks").json()["keys"]
    assert set(key) == {"kty", "use", "alg", "kid", "n", "e"}, "and nothing private"
    assert issuing.read(text).client_id
    # Another reader than ours.
    decoded = jwt.decode(text, RSAKey.import_key(key), algorithms=["RS256"])
    assert (decoded.header["typ"], decoded.header["kid"]) == ("at+jwt", key["kid"])


# --- signing keys


def test_keys_take_turns(db: None) -> None:
    first = keys.signing_keys_turn()
    assert keys.signing_keys_turn() == first
    day = timedelta(days=1)
    SigningKey.objects.update(activates_at=timezone.now() - 29 * day)
    assert keys.signing_keys_turn() == first, "the next one is published before it signs"
    assert set(keys.public_keys()) == set(SigningKey.objects.values_list("kid", flat=True))
    assert SigningKey.objects.count() == 2
    for row in SigningKey.objects.all():  # a day later
        row.activates_at -= day + timedelta(minutes=1)
        row.retires_at = row.retires_at and row.retires_at - day - timedelta(minutes=1)
        row.save()
    second = keys.signing_keys_turn()
    assert second != first
    assert keys.signing_key()[0] == second.kid
    assert set(keys.public_keys()) == {first.kid, second.kid}, "what the first one signed may be alive"
    SigningKey.objects.filter(pk=first.pk).update(retires_at=timezone.now())
    keys.signing_keys_turn()
    assert set(keys.public_keys()) == {second.kid}


def test_a_private_key_is_sealed(db: None) -> None:
    row = keys.signing_keys_turn()
    with pytest.raises(token_keys.TokenKeyError):
        token_keys.read_private(bytes(row.sealed_private))
    _, private = keys.signing_key()
    assert token_keys.public_der(private) == bytes(row.public_der)


# --- CORS


@pytest.mark.parametrize("path", [METADATA, "/oauth/jwks", "/oauth/token", "/oauth/revoke", "/oauth/userinfo"])
def test_declared_pages_may_read_the_answers(catalog: rows.Catalog, path: str) -> None:
    oauth_client.application(catalog.project)
    allowed = Client().options(path, headers={"Origin": ORIGIN})
    assert (allowed.status_code, allowed["Access-Control-Allow-Origin"]) == (204, ORIGIN)
    for origin in ("https://evil.example", "https://app.example:8443", "http://app.example", "null", "*", "a\0"):
        refused = Client().options(path, headers={"Origin": origin})
        assert "Access-Control-Allow-Origin" not in refused.headers
    OAuthApplication.objects.update(is_enabled=False)
    assert "Access-Control-Allow-Origin" not in Client().options(path, headers={"Origin": ORIGIN}).headers


def test_no_page_ever_sends_cookies(catalog: rows.Catalog) -> None:
    oauth_client.application(catalog.project)
    for path in ("/oauth/authorize", "/oauth/device/code", "/account/applications"):
        assert "Access-Control-Allow-Origin" not in Client().get(path, headers={"Origin": ORIGIN}).headers
    response = Client().get(METADATA, headers={"Origin": ORIGIN})
    assert response["Access-Control-Allow-Origin"] == ORIGIN
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert response["Vary"] == "Origin"


# --- device flow


def _begin(app: OAuthApplication, **other: Any) -> dict[str, Any]:
    status, said = post("/oauth/device", {"client_id": app.client_id, "scope": "inference offline_access", **other})
    assert status == 200, said
    return said


def _poll(app: OAuthApplication, said: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return post("/oauth/token", {"grant_type": DEVICE, "device_code": said["device_code"], "client_id": app.client_id})


def test_a_device_gets_a_token_after_its_user_said_so(device_app: OAuthApplication, browser: Client) -> None:
    said = _begin(device_app)
    _waited()
    assert _poll(device_app, said) == (400, {"error": "authorization_pending"})
    assert _poll(device_app, said) == (400, {"error": "slow_down"})
    asked = browser.get("/oauth/device/code", {"user_code": said["user_code"].lower()})
    assert said["user_code"] in asked.content.decode()
    assert device_app.name in asked.content.decode()
    _waited()
    assert _poll(device_app, said)[1]["error"] == "slow_down", "five seconds were too few once it was told to slow down"
    _waited(15)
    assert _poll(device_app, said)[1]["error"] == "authorization_pending", "looking is not allowing"
    browser.post("/oauth/device/code", {"user_code": said["user_code"], "decision": "allow", "cap_credits": "3"})
    status, found = _poll(device_app, said)
    assert status == 200
    claims = issuing.read(found["access_token"])
    assert (claims.cap_microcredits, claims.client_id) == (3_000_000, device_app.client_id)
    assert _poll(device_app, said) == (400, {"error": "invalid_grant"}), "once"
    form = {"grant_type": "refresh_token", "refresh_token": found["refresh_token"], "client_id": device_app.client_id}
    assert post("/oauth/token", form)[0] == 200


def test_what_a_device_was_allowed_ends_with_the_password(
    device_app: OAuthApplication, browser: Client, user: User
) -> None:
    said = _begin(device_app)
    browser.post("/oauth/device/code", {"user_code": said["user_code"], "decision": "allow"})
    user.set_password("another long password")
    user.save()
    assert _poll(device_app, said) == (400, {"error": "invalid_grant"})


def test_a_user_may_say_no_to_a_device(device_app: OAuthApplication, browser: Client) -> None:
    said = _begin(device_app)
    browser.post("/oauth/device/code", {"user_code": said["user_code"], "decision": "deny"})
    assert _poll(device_app, said) == (400, {"error": "access_denied"})
    late = browser.post("/oauth/device/code", {"user_code": said["user_code"], "decision": "allow"})
    assert late.status_code == 400
    assert not Authorization.objects.exists()


def test_a_device_code_ends(device_app: OAuthApplication, browser: Client) -> None:
    said = _begin(device_app)
    get_device_grant_model().objects.update(expires=timezone.now())
    assert browser.get("/oauth/device/code", {"user_code": said["user_code"]}).status_code == 400
    assert _poll(device_app, said) == (400, {"error": "expired_token"})


def test_device_codes_are_not_guessed(device_app: OAuthApplication, browser: Client) -> None:
    said = _begin(device_app)
    answers = [browser.get("/oauth/device/code", {"user_code": f"BBBB-BBB{last}"}) for last in "BCDFGH"]
    assert [answer.status_code for answer in answers] == [400] * 5 + [429]
    assert browser.get("/oauth/device/code", {"user_code": said["user_code"]}).status_code == 429, "also a right one"
    LoginAttempts.objects.all().delete()
    assert browser.get("/oauth/device/code", {"user_code": said["user_code"]}).status_code == 200


def test_a_device_code_is_its_application_s(device_app: OAuthApplication, catalog: rows.Catalog) -> None:
    other = oauth_client.application(catalog.project, "other", redirect_uris="", authorization_grant_type=DEVICE)
    assert _poll(other, _begin(device_app)) == (400, {"error": "invalid_grant"})


def test_the_flows_of_an_application_are_the_ones_it_is_registered_for(
    device_app: OAuthApplication, catalog: rows.Catalog
) -> None:
    app = oauth_client.application(catalog.project)
    assert post("/oauth/device", {"client_id": app.client_id})[1]["error"] == "unauthorized_client"
    assert post("/oauth/device", {"client_id": device_app.client_id, "scope": "admin"})[1]["error"] == "invalid_scope"
    assert post("/oauth/device", {"client_id": "app_nobody"})[0] in {400, 401}


# --- what users allow


def test_users_see_and_revoke_what_they_allow(catalog: rows.Catalog, browser: Client) -> None:
    flow = Flow(oauth_client.application(catalog.project), browser)
    found = flow.tokens(cap="5")
    text = browser.get("/account/applications").content.decode()
    assert "writer" in text
    assert "At most 5 credits a month" in text
    stranger = Client()
    stranger.force_login(User.objects.create_user("bob", "bob@example.test"))
    given = Authorization.objects.get()
    assert "writer" not in stranger.get("/account/applications").content.decode()
    stranger.post("/account/applications", {"revoke": str(given.pk)})
    assert flow.refresh(found["refresh_token"])[0] == 200, "a stranger's button does nothing"
    assert (
        "may not use your account" in browser.post("/account/applications", {"revoke": str(given.pk)}).content.decode()
    )
    assert Revocation.objects.get().value == str(given.pk)
    assert "At most" not in browser.get("/account/applications").content.decode()


def test_forgetting_leaves_what_can_still_be_used_twice(catalog: rows.Catalog, browser: Client) -> None:
    flow = Flow(oauth_client.application(catalog.project), browser)
    flow.tokens()
    revocation.revoke_application(flow.app)
    assert revocation.tokens_forget() == 0
    long_ago = timezone.now() - timedelta(days=40)
    Grant.objects.update(expires=long_ago)
    AccessToken.objects.update(expires=long_ago)
    Revocation.objects.update(expires_at=long_ago)
    assert revocation.tokens_forget() > 0
    assert not any(model.objects.exists() for model in (Grant, AccessToken, Revocation))


# --- applications


@pytest.mark.parametrize(
    "uri",
    [
        "ftp://app.example/cb",
        "javascript:alert(1)",
        "app.example/cb",
        "https:///cb",
        "https://user@app.example/cb",
        "https://app.example/cb#here",
        "https://*.example/cb",
        "https://app.example:99999/cb",
        "com.example.app:/cb",
        "https://app.exämple/cb",
        "https://app.example/" + "a" * 300,
        "",
    ],
)
def test_redirect_uris_that_are_not_taken(catalog: rows.Catalog, uri: str) -> None:
    with pytest.raises(ValidationError) as refused:
        services.application_make(project=catalog.project, name="a", redirect_uris=uri)
    assert set(refused.value.message_dict) == {"redirect_uris"}


@pytest.mark.parametrize(
    "origin", ["*", "null", "https://app.example/", "https://APP.example", "https://a.example:443"]
)
def test_origins_that_are_not_taken(catalog: rows.Catalog, origin: str) -> None:
    with pytest.raises(ValidationError) as refused:
        oauth_client.application(catalog.project, allowed_origins=[origin])
    assert set(refused.value.message_dict) == {"allowed_origins"}


def _waited(seconds: int = 5) -> None:
    device_model = get_device_grant_model()
    device_model.objects.update(last_checked=timezone.now() - timedelta(seconds=seconds))


# --- what an application reads of its user's account


def test_an_application_reads_the_account_and_changes_nothing(
    catalog: rows.Catalog, user: User, browser: Client
) -> None:
    Membership.objects.create(project=catalog.project, user=user, role="admin")
    app = oauth_client.application(catalog.project)
    found = Flow(app, browser).tokens(scope="inference account")["access_token"]
    header = {"Authorization": f"Bearer {found}", "Origin": ORIGIN}
    said = Client().get("/auth/whoami", headers=header).json()
    assert (said["username"], said["application"], said["via"]) == ("ada", app.client_id, "application")
    listed = Client().get("/api/v1/accounts", headers=header)
    assert {each["user"]["id"] for each in listed.json()["results"]} == {user.pk}
    assert listed["Access-Control-Allow-Origin"] == ORIGIN
    [allowed] = Client().get("/api/v1/authorizations", headers=header).json()["results"]
    assert allowed["application"] == app.client_id
    assert Client().get("/api/v1/projects", headers=header).json()["results"] == []
    for path in ("members", "terms", "invitations"):
        assert Client().get(f"/api/v1/projects/shop/{path}", headers=header).status_code in {403, 404}
    assert Client().get("/api/v1/relay-keys", headers=header).status_code == 403
    assert Client().get("/api/v1/accounts?project=shop", headers=header).status_code == 400
    revoke = f"/api/v1/authorizations/{allowed['id']}/revoke"
    for path, body in ((revoke, {}), ("/api/v1/transfers", {"from": "earnings", "microcredits": 1})):
        assert Client().post(path, body, content_type="application/json", headers=header).status_code == 403
    assert Client().get("/api/v1/sessions", headers=header).status_code == 403


def test_the_manual_lists_all_that_a_token_reads(catalog: rows.Catalog, browser: Client) -> None:
    token = Flow(oauth_client.application(catalog.project), browser).tokens(scope="account")["access_token"]
    header, values = (
        {"Authorization": f"Bearer {token}"},
        {"int": "1", "uuid": str(UUID(int=7)), "str": "shop", "slug": "entries"},
    )
    opened = set()
    for pattern in urls.urlpatterns:
        route = f"/{pattern.pattern}"
        answer = Client().get(re.sub(r"<(\w+):\w+>", lambda found: values[found[1]], route), headers=header)
        if answer.status_code not in (401, 403, 405):
            opened.add(re.sub(r"<\w+:\w+>", "{}", route))
    section = (
        Path("docs/oauth.md")
        .read_text()
        .partition("## What an application reads of the account")[2]
        .partition("\n## ")[0]
    )
    listed = {re.sub(r"{\w+}", "{}", path) for path in re.findall(r"`GET (/[\w./{}-]+)", section)}
    assert opened - EMPTY == listed - ELSEWHERE


def test_a_superusers_token_is_no_operators(catalog: rows.Catalog, browser: Client, user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_superuser=True, is_staff=True)
    token = Flow(oauth_client.application(catalog.project), browser).tokens(scope="account")["access_token"]
    header = {"Authorization": f"Bearer {token}"}
    assert Client().get("/api/v1/catalog", headers=header).status_code == 403
    assert Client().get("/api/v1/applications", headers=header).status_code == 403


def test_which_plane_a_token_is_for(catalog: rows.Catalog, browser: Client) -> None:
    app, edge, control = oauth_client.application(catalog.project), "http://127.0.0.1:8080", "http://127.0.0.1:8081"
    for scope, audience, status in (
        ("inference", edge, 401),
        ("inference account", [edge, control], 200),
        ("account", control, 200),
    ):
        text = Flow(app, browser).tokens(scope=scope)["access_token"]
        claims = json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))
        assert claims["aud"] == audience
        answer = Client().get("/api/v1/accounts", headers={"Authorization": f"Bearer {text}"})
        assert answer.status_code == status
        if status == 401:
            assert f"{control}/.well-known/oauth-protected-resource" in answer["WWW-Authenticate"]


@pytest.mark.parametrize("how", ["revoked", "disabled", "changed", "inactive"])
def test_a_token_that_ended_reads_nothing(catalog: rows.Catalog, browser: Client, user: User, how: str) -> None:
    app = oauth_client.application(catalog.project)
    text = Flow(app, browser).tokens(scope="account")["access_token"]
    match how:
        case "revoked":
            revocation.authorization_revoke(Authorization.objects.get())
        case "disabled":
            OAuthApplication.objects.update(is_enabled=False)
        case "inactive":
            User.objects.update(is_active=False)
        case "changed":
            text = text[:-8] + "AAAAAAAA"
    assert Client().get("/api/v1/accounts", headers={"Authorization": f"Bearer {text}"}).status_code == 401


def test_preflights_of_the_api(catalog: rows.Catalog) -> None:
    oauth_client.application(catalog.project)
    for origin, allowed in ((ORIGIN, ORIGIN), ("https://evil.example", None)):
        asked = Client().options("/api/v1/wallets", headers={"Origin": origin, "Access-Control-Request-Method": "GET"})
        assert (asked.status_code, asked.get("Access-Control-Allow-Origin")) == (204, allowed)
        assert asked.get("Access-Control-Allow-Credentials") is None

"""Who guesses at the authorization server's endpoints waits, and nobody takes all places of a device flow."""

import base64
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.utils import timezone
from oauth2_provider.models import get_device_grant_model

from relay_admin.access import throttle
from relay_admin.access.models import LoginAttempts
from relay_admin.access.oauth import device
from relay_admin.access.oauth.models import OAuthApplication
from relay_admin.access.oauth.services import MadeApplication, application_make
from relay_admin.access.throttle import Action
from tests.admin import oauth_client, rows
from tests.admin.oauth_client import DEVICE

GUESS = {"grant_type": "refresh_token", "refresh_token": "rr_guess"}
ELSEWHERE = "192.0.2.1"


@pytest.fixture
def server(catalog: rows.Catalog) -> MadeApplication:
    """A confidential application."""
    return application_make(
        project=catalog.project,
        name="server",
        redirect_uris=oauth_client.REDIRECT,
        client_type=OAuthApplication.CLIENT_CONFIDENTIAL,
    )


@pytest.fixture
def tv(catalog: rows.Catalog) -> OAuthApplication:
    return oauth_client.application(
        catalog.project, "tv", redirect_uris="", authorization_grant_type=OAuthApplication.GRANT_DEVICE_CODE
    )


def counted(action: Action, *parts: str) -> LoginAttempts:
    return LoginAttempts.objects.get(key=throttle._action_key(action, "127.0.0.1", *parts))


def guesses(client_id: str) -> LoginAttempts:
    return counted(Action.OAUTH_FAILURE, client_id)


def use_up(row: LoginAttempts) -> None:
    """As many attempts do that come at once."""
    LoginAttempts.objects.filter(pk=row.pk).update(allowed_at=timezone.now() + timedelta(hours=1))


def send(path: str, form: dict[str, Any], address: str = "127.0.0.1", **headers: str) -> Any:
    return Client(REMOTE_ADDR=address).generic(
        "POST",
        path,
        urlencode(form),
        content_type="application/x-www-form-urlencoded",
        headers=headers,
    )


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/introspect", "/oauth/revoke"])
@pytest.mark.parametrize("way", ["basic", "body"])
def test_who_guesses_at_a_secret_waits_there_and_nowhere_else(server: MadeApplication, path: str, way: str) -> None:
    client_id = server.application.client_id

    def ask(secret: str, address: str = "127.0.0.1") -> Any:
        form = {**GUESS, "token": "none"}
        if way == "body":
            return send(path, {**form, "client_id": client_id, "client_secret": secret}, address)
        pair = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
        return send(path, form, address, Authorization=f"Basic {pair}")

    for _ in range(2):
        assert ask("as_guess").status_code == 401
    assert ask(server.secret).status_code != 401
    assert guesses(client_id).count == (3 if path == "/oauth/token" else 2), "its refresh token was a guess as well"
    use_up(guesses(client_id))
    answer = ask(server.secret)
    assert (answer.status_code, answer["Cache-Control"]) == (429, "no-store")
    assert 3_500 <= int(answer["Retry-After"]) <= 3_600
    assert answer.json()["error"] == "too_many_requests"
    assert ask(server.secret, ELSEWHERE).status_code != 429, "its users elsewhere go on"


def test_applications_at_one_address_do_not_wait_for_each_other(server: MadeApplication, tv: OAuthApplication) -> None:
    wrong = {**GUESS, "client_id": server.application.client_id, "client_secret": "as_guess"}
    assert send("/oauth/token", wrong).status_code == 401
    use_up(guesses(server.application.client_id))
    assert send("/oauth/token", wrong).status_code == 429
    assert send("/oauth/token", {**GUESS, "client_id": tv.client_id}).json()["error"] == "invalid_grant"


def test_names_of_no_application_share_one_count(db: None) -> None:
    for number in range(3):
        send("/oauth/token", {**GUESS, "client_id": f"app_{number}"})
    assert LoginAttempts.objects.count() == 2, "of the address, and of what is no application"


def test_what_is_no_guess_is_not_counted_as_one(server: MadeApplication, tv: OAuthApplication) -> None:
    proof = {"client_id": server.application.client_id, "client_secret": server.secret}
    begun = send("/oauth/device", {"client_id": tv.client_id}).json()
    poll = {"grant_type": DEVICE, "device_code": begun["device_code"], "client_id": tv.client_id}
    for _ in range(2):
        assert send("/oauth/introspect", {**proof, "token": "none"}).status_code == 200
        assert send("/oauth/token", poll).json()["error"] == "slow_down"
    assert [guesses(app.client_id).count for app in (server.application, tv)] == [0, 0]
    assert send("/oauth/token", {**GUESS, "client_id": tv.client_id}).json()["error"] == "invalid_grant"
    assert guesses(tv.client_id).count == 1


def test_two_secrets_are_refused(server: MadeApplication) -> None:
    proof = {"client_id": server.application.client_id, "client_secret": server.secret, "token": "none"}
    pair = base64.b64encode(f"{server.application.client_id}:as_guess".encode()).decode()
    answer = send("/oauth/introspect", proof, Authorization=f"Basic {pair}")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_all_requests_of_an_address_are_counted(tv: OAuthApplication) -> None:
    asked = ("/oauth/revoke", {"client_id": tv.client_id, "token": "none"})
    assert send(*asked).status_code == 200
    use_up(counted(Action.OAUTH))
    assert send(*asked).status_code == 429
    assert send(*asked, ELSEWHERE).status_code == 200


# --- the device flow


def test_codes_of_an_address_are_counted(tv: OAuthApplication) -> None:
    assert send("/oauth/device", {"client_id": tv.client_id}).status_code == 200
    use_up(counted(Action.DEVICE))
    answer = send("/oauth/device", {"client_id": tv.client_id})
    assert (answer.status_code, answer.json()["error"]) == (429, "too_many_requests")
    assert get_device_grant_model().objects.count() == 1
    assert send("/oauth/device", {"client_id": tv.client_id}, ELSEWHERE).status_code == 200


def test_codes_that_no_program_asks_for_make_room(tv: OAuthApplication, catalog: rows.Catalog) -> None:
    other = oauth_client.application(
        catalog.project, "other", redirect_uris="", authorization_grant_type=OAuthApplication.GRANT_DEVICE_CODE
    )
    wanted = send("/oauth/device", {"client_id": tv.client_id}).json()["user_code"].replace("-", "")
    _wait(tv, device.MOST_PENDING - 1)
    _wait(other, 1)
    assert send("/oauth/device", {"client_id": tv.client_id}).status_code == 503
    codes = get_device_grant_model().objects
    codes.exclude(user_code=wanted).update(last_checked=timezone.now() - device.ABANDONED)
    assert send("/oauth/device", {"client_id": tv.client_id}).status_code == 200
    assert codes.filter(client_id=tv.client_id).count() == 2
    assert codes.filter(user_code=wanted).exists(), "its program asks for it"
    assert codes.filter(client_id=other.client_id).count() == 1, "there was room"


@pytest.mark.parametrize("over", [{"expires": timedelta()}, {"status": "denied"}, {"status": "authorized"}])
def test_codes_that_wait_for_nobody_take_no_place(tv: OAuthApplication, over: dict[str, Any]) -> None:
    _wait(tv, device.MOST_PENDING)
    changes = {name: timezone.now() if name == "expires" else value for name, value in over.items()}
    get_device_grant_model().objects.update(**changes)
    assert send("/oauth/device", {"client_id": tv.client_id}).status_code == 200
    assert get_device_grant_model().objects.count() == device.MOST_PENDING + 1, "and say what became of them"


def _wait(app: OAuthApplication, count: int) -> None:
    device_model, expires = get_device_grant_model(), timezone.now() + timedelta(minutes=10)
    device_model.objects.bulk_create(
        device_model(client_id=app.client_id, device_code=f"{app.pk}-{n}", user_code="x", expires=expires)
        for n in range(count)
    )

"""A yes that is under way while the user's password, account or leave ends: it leaves no code."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client

from relay_admin.access.models import User
from relay_admin.access.oauth import revocation
from relay_admin.access.oauth.models import Authorization, Grant, OAuthApplication
from tests.admin import oauth_client, rows
from tests.admin.oauth_client import DEVICE, Flow, post

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.fixture
def flow(catalog: rows.Catalog) -> Flow:
    browser = Client()
    browser.force_login(User.objects.create_user("ada", "ada@example.test"))
    flow = Flow(oauth_client.application(catalog.project), browser)
    flow.code()
    Grant.objects.all().delete()
    return flow


def _new_password() -> None:
    user = User.objects.get(username="ada")
    user.set_password("another long password")
    user.save()


def _deactivated() -> None:
    User.objects.filter(username="ada").update(is_active=False)


def _taken_back() -> None:
    revocation.authorization_revoke(Authorization.objects.get())


def _yes(flow: Flow) -> Any:
    return flow.decide()


def _yes_of_before(flow: Flow) -> Any:
    return flow.ask()


@pytest.mark.parametrize("end", [_new_password, _deactivated, _taken_back])
@pytest.mark.parametrize("way", [_yes, _yes_of_before])
def test_no_code_outlives_what_ends_its_user_s_leave(
    flow: Flow, end: Callable[[], None], way: Callable[[Flow], Any]
) -> None:
    answer = _while_it_ends(end, lambda: way(flow))
    assert "code=" not in answer.get("Location", "")
    assert not Grant.objects.exists()
    assert Authorization.objects.get().revoked_at is not None or end is not _taken_back


def test_a_first_yes_under_a_password_of_before_allows_nothing(flow: Flow) -> None:
    Authorization.objects.all().delete()
    answer = _while_it_ends(_new_password, flow.decide)
    assert (answer.status_code, answer["Location"].partition("?")[0]) == (302, "/oauth/authorize")
    assert flow.ask()["Location"].startswith("/account/sign-in"), "to be recognised anew"
    assert (Authorization.objects.exists(), Grant.objects.exists()) == (False, False)


def test_a_device_s_code_is_not_allowed_under_a_password_of_before(flow: Flow, catalog: rows.Catalog) -> None:
    app = oauth_client.application(
        catalog.project, "tv", redirect_uris="", authorization_grant_type=OAuthApplication.GRANT_DEVICE_CODE
    )
    _, asked = post("/oauth/device", {"client_id": app.client_id})
    allow = {"user_code": asked["user_code"], "decision": "allow", "cap_credits": ""}
    answer = _while_it_ends(_new_password, lambda: flow.browser.post("/oauth/device/code", allow))
    assert (answer.status_code, answer["Location"]) == (302, "/oauth/device/code")
    poll = {"client_id": app.client_id, "grant_type": DEVICE, "device_code": asked["device_code"]}
    assert post("/oauth/token", poll)[1]["error"] in {"authorization_pending", "slow_down"}
    assert not Authorization.objects.filter(application=app).exists()


def _while_it_ends(end: Callable[[], None], ask: Callable[[], Any]) -> Any:
    """What is answered to a request that comes after the end was written and before it is committed."""
    answers: list[Any] = []

    def run() -> None:
        try:
            answers.append(ask())
        finally:
            connection.close()

    asking = threading.Thread(target=run)
    with transaction.atomic():
        end()
        asking.start()
        while asking.is_alive() and not _somebody_waits():
            asking.join(0.01)
    asking.join()
    [answer] = answers
    return answer


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])

"""Guessing passwords takes longer and longer, by the form and by the API alike."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.auth import authenticate
from django.db import connection
from django.db.models import F
from django.test import Client, RequestFactory

from relay_admin.access import throttle
from relay_admin.access.models import LoginAttempts
from relay_admin.access.throttle import FREE_ATTEMPTS, LoginThrottled
from tests.admin import rows

JSON = "application/json"


def attempt(password: str, username: str = "sam", address: str = "192.0.2.1") -> bool:
    request = RequestFactory(REMOTE_ADDR=address).post("/")
    return authenticate(request, username=username, password=password) is not None


def fail(times: int, **keywords: str) -> None:
    for _ in range(times):
        assert attempt("wrong", **keywords) is False


def wait_seconds() -> int:
    """How long the only name that failed waits after its last attempt."""
    kept = LoginAttempts.objects.get()
    return round((kept.allowed_at - kept.last_at).total_seconds())


def move(column: str, seconds: int) -> None:
    """As if that much time had gone by, or for a minus were still to come."""
    LoginAttempts.objects.update(**{column: F(column) - timedelta(seconds=seconds)})


def fail_and_wait(**keywords: str) -> None:
    """As many failures as bring a wait, which then outlasts the test."""
    fail(FREE_ATTEMPTS, **keywords)
    move("allowed_at", -3600)


@pytest.fixture(autouse=True)
def hash_fast(settings) -> None:
    """What is tested here is the counting."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def sam(db: None) -> None:
    rows.user("sam", "support", rows.PASSWORD)


def test_the_wait_doubles_until_somebody_signs_in(sam: None) -> None:
    waits = []
    for _ in range(FREE_ATTEMPTS + 4):
        fail(1)
        waits.append(wait_seconds())
        move("allowed_at", 3600)
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16]
    assert attempt(rows.PASSWORD) is True
    assert LoginAttempts.objects.count() == 0


def test_the_right_password_waits_too_and_a_refused_attempt_does_not_lengthen_it(sam: None) -> None:
    fail_and_wait()
    before = LoginAttempts.objects.values().get()
    with pytest.raises(LoginThrottled, match=r"^Too many attempts to sign in. Try again in 3\d\d\d seconds.$"):
        attempt(rows.PASSWORD)
    assert LoginAttempts.objects.values().get() == before
    move("allowed_at", 7200)
    assert attempt(rows.PASSWORD) is True


def test_the_wait_has_an_end(sam: None) -> None:
    fail(1)
    LoginAttempts.objects.update(count=2_000_000_000)
    fail(1)
    assert wait_seconds() == throttle.LONGEST_WAIT_SECONDS


def test_others_do_not_wait(sam: None) -> None:
    fail_and_wait()
    assert attempt(rows.PASSWORD, address="192.0.2.2") is True
    assert attempt("wrong", username="kim") is False


def test_one_subscriber_of_ipv6_is_one_address(sam: None) -> None:
    fail_and_wait(address="2001:db8:0:1::1")
    with pytest.raises(LoginThrottled):
        attempt("wrong", address="2001:db8:0:1:ffff::1")
    fail(1, address="2001:db8:0:2::1")
    assert throttle._site("::ffff:192.0.2.1") == "192.0.2.1"
    assert throttle._site("") == ""


def test_a_name_that_nobody_has_waits_alike_and_is_not_stored(sam: None) -> None:
    name = "my password, typed into the wrong field"
    fail_and_wait(username=name)
    with pytest.raises(LoginThrottled):
        attempt("wrong", username=name)
    assert len(bytes(LoginAttempts.objects.get().key)) == 32


def test_old_rows_go(sam: None) -> None:
    for name in ("one", "two", "three"):
        fail(1, username=name)
    move("last_at", throttle.FORGET_SECONDS + 1)
    fail(1)
    assert LoginAttempts.objects.count() == 1


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_attempts_at_once_are_counted_one_by_one() -> None:
    rows.user("sam", "support", rows.PASSWORD)
    fail(1)
    LoginAttempts.objects.update(count=12)  # so that the next one brings a wait of minutes

    def guess(_number: int) -> str:
        try:
            return str(attempt("wrong"))
        except LoginThrottled:
            return "throttled"
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        told = sorted(pool.map(guess, range(16)))
    assert told == ["False", *["throttled"] * 15]
    assert LoginAttempts.objects.get().count == 13


def test_the_form_says_how_long(sam: None) -> None:
    client = Client()
    fail_and_wait(address="127.0.0.1")
    page = client.post("/admin/login/", {"username": "sam", "password": rows.PASSWORD})
    assert page.status_code == 200
    assert "Too many attempts to sign in. Try again in 3" in page.content.decode()
    assert "sessionid" not in client.cookies
    move("allowed_at", 7200)
    assert client.post("/admin/login/", {"username": "sam", "password": rows.PASSWORD}).status_code == 302


def test_the_api_says_how_long(sam: None) -> None:
    client = Client()
    fail_and_wait(address="127.0.0.1")
    answer = client.post("/auth/login", {"username": "sam", "password": rows.PASSWORD}, JSON)
    assert (answer.status_code, answer.json()["error"]) == (429, "throttled")
    assert re.fullmatch(r"3\d\d\d", answer["Retry-After"])
    assert "sessionid" not in client.cookies


@pytest.mark.parametrize("onward", ["https://evil.test/", "//evil.test", "/\\evil.test", "javascript:alert(1)"])
def test_a_login_leads_to_no_other_site(sam: None, onward: str) -> None:
    answer = Client().post(
        "/admin/login/", {"username": "sam", "password": rows.PASSWORD, "next": onward}, query_params={"next": onward}
    )
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


def test_a_login_changes_the_session_and_the_csrf_token(sam: None) -> None:
    client = Client()
    client.get("/auth/login")
    before = client.cookies["csrftoken"].value
    planted = client.session
    planted["by"] = "somebody else"
    planted.save()
    client.cookies["sessionid"] = planted.session_key
    client.post("/auth/login", {"username": "sam", "password": rows.PASSWORD}, JSON)
    assert client.cookies["sessionid"].value != planted.session_key
    assert not planted.exists(planted.session_key)
    assert client.cookies["csrftoken"].value != before

"""Guessing passwords takes longer and longer, by the form and by the API alike."""

import importlib
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.db import IntegrityError, connection, transaction
from django.db.models import F, QuerySet
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from relay_admin.access import throttle
from relay_admin.access.models import LoginAttempts, User
from relay_admin.access.throttle import ADDRESS_FAILURES, FREE_ATTEMPTS, LoginThrottled
from relay_admin.control_api import errors
from tests.admin import rows

JSON = "application/json"


def attempt(password: str, username: str = "sam", address: str = "192.0.2.1") -> bool:
    request = RequestFactory(REMOTE_ADDR=address).post("/")
    return authenticate(request, username=username, password=password) is not None


def fail(times: int, **keywords: str) -> None:
    for _ in range(times):
        assert attempt("wrong", **keywords) is False


def of_names() -> QuerySet[LoginAttempts]:
    """What is kept of names, and not of addresses over all names."""
    sites = ("192.0.2.1", "192.0.2.2", "127.0.0.1", "2001:db8:0:1::/64", "2001:db8:0:2::/64")
    return LoginAttempts.objects.exclude(key__in=[throttle._address_key(site) for site in sites])


def of_address(site: str = "192.0.2.1") -> LoginAttempts:
    return LoginAttempts.objects.get(key=throttle._address_key(site))


def wait_seconds() -> int:
    """How long the only name that failed waits after its last attempt."""
    kept = of_names().get()
    return round((kept.allowed_at - kept.last_at).total_seconds())


def move(column: str, seconds: int) -> None:
    """As if that much time had gone by, or for a minus were still to come."""
    of_names().update(**{column: F(column) - timedelta(seconds=seconds)})


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
    assert of_names().count() == 0
    assert of_address().count == FREE_ATTEMPTS + 4


def test_the_right_password_waits_too_and_a_refused_attempt_does_not_lengthen_it(sam: None) -> None:
    fail_and_wait()
    before = list(LoginAttempts.objects.values())
    with pytest.raises(LoginThrottled, match=r"^Too many attempts to sign in. Try again in 3\d\d\d seconds.$"):
        attempt(rows.PASSWORD)
    assert list(LoginAttempts.objects.values()) == before
    move("allowed_at", 7200)
    assert attempt(rows.PASSWORD) is True


def test_the_wait_has_an_end(sam: None) -> None:
    fail(1)
    of_names().update(count=2_000_000_000)
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
    assert len(bytes(of_names().get().key)) == 32


def test_old_rows_go(sam: None) -> None:
    for name in ("one", "two", "three"):
        fail(1, username=name)
    move("last_at", throttle.FORGET_SECONDS + 1)
    fail(1)
    assert of_names().count() == 1


def test_an_address_has_twenty_failures_over_all_names_and_then_one_each_45_seconds(sam: None) -> None:
    for number in range(ADDRESS_FAILURES):
        fail(1, username=f"name-{number}")
    before = list(LoginAttempts.objects.values())
    with pytest.raises(LoginThrottled, match=r"Try again in 4[45] seconds"):
        attempt(rows.PASSWORD)
    assert list(LoginAttempts.objects.values()) == before
    assert attempt(rows.PASSWORD, address="192.0.2.2") is True
    LoginAttempts.objects.update(allowed_at=F("allowed_at") - timedelta(seconds=45))
    fail(1, username="another")
    with pytest.raises(LoginThrottled):
        attempt("wrong", username="one more")


def test_after_a_quarter_of_an_hour_an_address_has_no_more_than_twenty(sam: None) -> None:
    fail(1, username="first")
    LoginAttempts.objects.update(allowed_at=F("allowed_at") - timedelta(days=3))
    for number in range(ADDRESS_FAILURES):
        fail(1, username=f"name-{number}")
    with pytest.raises(LoginThrottled):
        attempt("wrong", username="one more")


def test_a_success_gives_its_own_place_back_and_no_other(sam: None) -> None:
    for number in range(ADDRESS_FAILURES - 1):
        fail(1, username=f"name-{number}")
    for _ in range(3):
        assert attempt(rows.PASSWORD) is True
    fail(1, username="the last")
    with pytest.raises(LoginThrottled):
        attempt(rows.PASSWORD)


def test_without_an_address_nobody_waits_for_another(sam: None) -> None:
    for number in range(ADDRESS_FAILURES + 1):
        fail(1, username=f"name-{number}", address="")


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_guesses_at_once_of_many_names_are_counted_one_by_one() -> None:
    def guess(number: int) -> str:
        try:
            return str(attempt("wrong", username=f"name-{number}"))
        except LoginThrottled:
            return "throttled"
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        told = Counter(pool.map(guess, range(ADDRESS_FAILURES * 2)))
    assert told == {"False": ADDRESS_FAILURES, "throttled": ADDRESS_FAILURES}
    assert (of_address().count, of_names().count()) == (ADDRESS_FAILURES, ADDRESS_FAILURES)


# --- names and addresses ---


class CountingHasher(MD5PasswordHasher):
    """Says how often a password was hashed."""

    hashed = 0

    def encode(self, password: str, salt: str) -> str:
        type(self).hashed += 1
        return str(super().encode(password, salt))


def test_people_sign_in_by_address_in_any_case(sam: None) -> None:
    assert attempt(rows.PASSWORD, username="sam@example.test") is True
    assert attempt(rows.PASSWORD, username="SAM@Example.TEST") is True
    assert attempt(rows.PASSWORD, username="SAM") is False


def test_an_address_in_another_case_is_no_further_guess(sam: None) -> None:
    for username in (
        "sam@example.test",
        "Sam@example.test",
        "sAm@example.test",
        "SAM@example.test",
        "sam@Example.test",
    ):
        fail(1, username=username)
    move("allowed_at", -3600)
    with pytest.raises(LoginThrottled):
        attempt(rows.PASSWORD, username="saM@example.test")


def test_an_address_has_one_user_in_any_case(sam: None) -> None:
    with pytest.raises(ValidationError, match="Somebody has this email address already"):
        User(username="other", email="SAM@example.test", password="x").full_clean()
    with pytest.raises(IntegrityError, match="access_user_email_once"), transaction.atomic():
        User.objects.create_user("other", "SAM@example.test")


def test_an_upgrade_names_those_who_share_an_address(sam: None) -> None:
    migration = importlib.import_module("relay_admin.access.migrations.0011_sessions")
    migration.refuse_shared_addresses(apps, None)
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX access_user_email_once")
    User.objects.create_user("other", "SAM@example.test")
    rows.user("kim")
    with pytest.raises(
        CommandError, match=r"but for its case: \w+ <\w+@example.test>, \w+ <\w+@example.test>\. An"
    ) as told:
        migration.refuse_shared_addresses(apps, None)
    assert "kim" not in str(told.value)


def test_nobody_takes_an_address_over_by_making_it_their_name(sam: None) -> None:
    thief = User.objects.create_user("sam@example.test", "thief@example.test", "another long password")
    assert attempt(rows.PASSWORD, username="sam@example.test") is True
    assert attempt("another long password", username="sam@example.test") is False
    assert attempt("another long password", username=thief.email) is True


@pytest.mark.parametrize("username", ["sam", "sam@example.test", "nobody", "nobody@example.test", "kim", "lee"])
def test_unknown_wrong_and_inactive_cost_and_answer_alike(sam: None, settings, username: str) -> None:
    settings.PASSWORD_HASHERS = [f"{__name__}.CountingHasher"]
    rows.user("kim", password=rows.PASSWORD, is_active=False)
    rows.user("lee")  # has no password
    password = rows.PASSWORD if username == "kim" else "wrong"
    CountingHasher.hashed = 0
    with CaptureQueriesContext(connection) as queries:
        assert attempt(password, username=username) is False
    assert CountingHasher.hashed == 1
    assert [query["sql"].split(maxsplit=1)[0] for query in queries] == [
        "SAVEPOINT",
        "INSERT",
        "WITH",
        "RELEASE",
        "SELECT",
    ]
    api = Client().post("/auth/login", {"username": username, "password": password}, JSON)
    assert (api.status_code, api.json()) == (401, errors.WRONG_CREDENTIALS)
    assert "sessionid" not in api.cookies
    form = Client().post("/admin/login/", {"username": username, "password": password})
    [said] = form.context["form"].non_field_errors()
    assert said.startswith("Please enter the correct username and password for a staff account.")
    assert "sessionid" not in form.cookies


def test_the_form_takes_an_address(sam: None) -> None:
    client = Client()
    assert "Username or e-mail" in client.get("/admin/login/").content.decode()
    answer = client.post("/admin/login/", {"username": "sam@example.test", "password": rows.PASSWORD})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


def test_a_login_needs_a_csrf_token(sam: None) -> None:
    credentials = {"username": "sam", "password": rows.PASSWORD}
    client = Client(enforce_csrf_checks=True)
    assert client.post("/admin/login/", credentials).status_code == 403
    assert client.post("/auth/login", credentials, JSON).status_code == 403
    assert "sessionid" not in client.cookies
    token = client.get("/auth/login").json()["csrfToken"]
    assert client.post("/auth/login", credentials, JSON, headers={"X-CSRFToken": token}).status_code == 200


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_attempts_at_once_are_counted_one_by_one() -> None:
    rows.user("sam", "support", rows.PASSWORD)
    fail(1)
    of_names().update(count=12)  # so that the next one brings a wait of minutes

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
    assert of_names().get().count == 13
    assert of_address().count == 2


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

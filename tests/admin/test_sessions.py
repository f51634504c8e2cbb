"""Sessions: whose they are, who sees and ends them, what ends them by itself, and what a stolen table is worth."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.backends.base import UpdateError
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from relay_admin.access import session_services
from relay_admin.access.agents import agent_words
from relay_admin.access.models import Session, User
from relay_admin.access.sessions import SEEN_SECONDS, SessionStore, caller_of
from tests.admin import rows

JSON = "application/json"
PAGE = "/admin/sessions/"
API = "/api/v1/sessions"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


@pytest.fixture(autouse=True)
def hash_fast(settings) -> None:
    """What is tested here is what comes after."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def sam(db: None) -> User:
    return rows.user("sam", "support", rows.PASSWORD)


@pytest.fixture
def kim(db: None) -> User:
    return rows.user("kim", "operators", rows.PASSWORD)


def signed_in(user: User, address: str = "192.0.2.1", agent: str = FIREFOX, **options: Any) -> Client:
    """By the form of the API, as a browser does."""
    client = Client(REMOTE_ADDR=address, headers={"user-agent": agent}, **options)
    token = client.get("/auth/login").json()["csrfToken"]
    credentials = {"username": user.username, "password": rows.PASSWORD}
    answer = client.post("/auth/login", credentials, JSON, headers={"X-CSRFToken": token})
    assert answer.status_code == 200
    return client


def session_of(client: Client) -> Session:
    key = client.cookies["sessionid"].value
    return Session.objects.get(key_hash=hashlib.sha256(key.encode()).digest())


def is_signed_in(client: Client) -> bool:
    status = client.get("/auth/whoami").status_code
    assert status in (200, 401)
    return status == 200


def move(column: str, seconds: int) -> None:
    """As if that much time had gone by."""
    Session.objects.update(**{column: F(column) - timedelta(seconds=seconds)})


# --- what is stored ---


def test_a_session_says_whose_it_is_and_from_where(sam: User) -> None:
    before = timezone.now()
    client = signed_in(sam)
    session = Session.objects.get()
    assert session == session_of(client)
    assert (session.user, session.address, session.agent) == (sam, "192.0.2.1", FIREFOX)
    assert before <= session.created_at == session.seen_at <= timezone.now()
    life = timedelta(seconds=django_settings.SESSION_COOKIE_AGE)
    assert before + life <= session.expires_at <= timezone.now() + life


def test_the_table_holds_no_key(sam: User) -> None:
    key = signed_in(sam).cookies["sessionid"].value
    with connection.cursor() as cursor:
        cursor.execute("SELECT access_session::text FROM access_session")
        assert key not in str(cursor.fetchall())


@pytest.mark.parametrize(
    ("address", "kept"),
    [("192.0.2.1", "192.0.2.1"), ("2001:DB8::1", "2001:db8::1"), ("fe80::1%eth0", "fe80::1"), ("", None), ("x", None)],
)
def test_an_address_is_one_or_none(sam: User, address: str, kept: str | None) -> None:
    assert session_of(signed_in(sam, address)).address == kept


def test_an_agent_is_cut_and_holds_no_control_characters(sam: User) -> None:
    assert session_of(signed_in(sam, agent="a\0\r\n\x7fb" + "c" * 300)).agent == "ab" + "c" * 198
    assert caller_of("", "\x1b[31m").agent == "[31m"


def test_it_is_seen_once_a_minute(sam: User) -> None:
    client = signed_in(sam)
    with CaptureQueriesContext(connection) as queries:
        assert is_signed_in(client)
    assert not [query for query in queries if "UPDATE" in query["sql"]]
    move("seen_at", SEEN_SECONDS + 1)
    old = session_of(client).seen_at
    client.defaults["REMOTE_ADDR"] = "192.0.2.9"
    with CaptureQueriesContext(connection) as queries:
        assert is_signed_in(client)
        assert is_signed_in(client)
    assert len([query for query in queries if "UPDATE" in query["sql"]]) == 1
    session = session_of(client)
    assert session.seen_at > old
    assert session.address == "192.0.2.9"


# --- the cookie ---


@pytest.mark.parametrize("path", ["/auth/login", "/admin/login/"])
def test_a_planted_key_is_not_the_one_that_is_signed_in(sam: User, path: str) -> None:
    attacker = signed_in(sam)
    planted = attacker.cookies["sessionid"].value
    victim = Client()
    victim.cookies["sessionid"] = planted
    kind = {"content_type": JSON} if path.startswith("/auth") else {}
    answer = victim.post(path, {"username": "sam", "password": rows.PASSWORD}, **kind)
    assert answer.status_code in (200, 302)
    assert victim.cookies["sessionid"].value != planted
    assert is_signed_in(victim)
    assert not is_signed_in(attacker)
    unknown = Client()
    unknown.cookies["sessionid"] = planted = "a" * 32
    unknown.post(path, {"username": "sam", "password": rows.PASSWORD}, **kind)
    assert is_signed_in(unknown)
    assert unknown.cookies["sessionid"].value != planted


@pytest.mark.parametrize("is_https", [True, False])
def test_the_cookie_is_read_by_no_script_and_sent_by_no_other_site(sam: User, settings, is_https: bool) -> None:
    settings.SESSION_COOKIE_SECURE = is_https  # test_settings asserts that the control URL decides it
    cookie = signed_in(sam).cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"], bool(cookie["secure"])) == (True, "Lax", is_https)


# --- what ends sessions ---


def test_a_changed_password_ends_all_but_the_one_that_changed_it(sam: User, kim: User) -> None:
    here, there, of_kim = signed_in(sam), signed_in(sam), signed_in(kim)
    key = here.cookies["sessionid"].value
    typed = {"password": rows.PASSWORD, "new_password": "a new long password"}
    assert here.post("/account/password", typed).status_code == 302
    assert is_signed_in(here)
    assert here.cookies["sessionid"].value != key
    assert Session.objects.filter(user=sam).get() == session_of(here)
    assert not is_signed_in(there)
    assert is_signed_in(of_kim)


def test_a_password_that_a_superuser_sets_ends_all(sam: User) -> None:
    theirs, root = signed_in(sam), Client()
    root.force_login(rows.user("root", is_superuser=True))
    typed = {"password1": "a new long password", "password2": "a new long password", "usable_password": "true"}
    assert root.post(f"/admin/access/user/{sam.pk}/password/", typed).status_code == 302
    assert not is_signed_in(theirs)
    assert not Session.objects.filter(user=sam).exists()
    assert is_signed_in(root)


@pytest.mark.parametrize("column", ["is_active", "is_staff"])
def test_deactivation_and_the_end_of_staff_end_all_whoever_writes_it(sam: User, kim: User, column: str) -> None:
    client, of_kim = signed_in(sam), signed_in(kim)
    User.objects.filter(pk=sam.pk).update(**{column: False})
    assert not is_signed_in(client)
    assert not Session.objects.filter(user=sam).exists()
    assert is_signed_in(of_kim)


def test_other_changes_of_a_user_end_none(sam: User) -> None:
    client = signed_in(sam)
    sam.refresh_from_db()
    sam.email = "other@example.test"
    sam.save()
    User.objects.filter(pk=sam.pk).update(is_superuser=True, is_staff=True, is_active=True)
    assert is_signed_in(client)


def test_a_deleted_user_has_none(sam: User) -> None:
    client = signed_in(sam)
    sam.delete()
    assert not is_signed_in(client)
    assert not Session.objects.exists()


def test_a_request_under_way_does_not_bring_a_revoked_session_back(sam: User) -> None:
    store = SessionStore(signed_in(sam).cookies["sessionid"].value)
    store["seen"] = "something"
    Session.objects.all().delete()
    with pytest.raises(UpdateError):
        store.save()
    assert not Session.objects.exists()


def test_expired_ones_are_nobodys_and_are_pruned(sam: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_services, "BATCH", 2)
    old = [signed_in(sam) for _ in range(5)]
    move("expires_at", django_settings.SESSION_COOKIE_AGE + 3600)
    young = signed_in(sam)
    assert [is_signed_in(client) for client in old] == [False] * 5
    assert [row["id"] for row in young.get(API).json()["items"]] == [session_of(young).pk]
    assert session_services.sessions_forget() == 5
    assert Session.objects.get() == session_of(young)
    assert session_services.sessions_forget() == 0
    assert is_signed_in(young)


# --- the page ---


def test_the_page_lists_ones_own_and_marks_this_one(sam: User, kim: User) -> None:
    here = signed_in(sam)
    signed_in(sam, "192.0.2.2", "curl/8.5.0")
    signed_in(kim, "192.0.2.3")
    page = here.get(PAGE)
    assert page["Cache-Control"] == "max-age=0, no-cache, no-store, must-revalidate, private"
    text = page.content.decode()
    assert text.index("Firefox on Linux") < text.index("this one") < text.index("curl/8.5.0")
    assert text.count("this one") == 1
    assert "192.0.2.2" in text
    assert "192.0.2.3" not in text
    assert "Revoke all others (1)" in text


def test_it_is_everybodys_but_nobodys(db: None, client_of) -> None:
    assert client_of("anonymous").get(PAGE).status_code == 302
    nobody = Client()
    nobody.force_login(rows.user("without-permissions"))
    assert nobody.get(PAGE).status_code == 200
    assert "My sessions" in nobody.get("/admin/").content.decode()


def test_one_is_revoked_by_the_page(sam: User, kim: User) -> None:
    here, there, of_kim = signed_in(sam), signed_in(sam), signed_in(kim)
    page = here.post(PAGE, {"revoke": session_of(there).pk}, follow=True)
    assert "The session is revoked." in page.content.decode()
    assert (is_signed_in(here), is_signed_in(there)) == (True, False)
    for wanted in (session_of(of_kim).pk, "9" * 30, "-1", "²", "x", ""):
        page = here.post(PAGE, {"revoke": wanted}, follow=True)
        assert "There was nothing to revoke" in page.content.decode()
    assert (is_signed_in(here), is_signed_in(of_kim)) == (True, True)


def test_all_others_are_revoked_by_the_page(sam: User, kim: User) -> None:
    here, *others = [signed_in(sam) for _ in range(3)]
    of_kim = signed_in(kim)
    assert "2 sessions are revoked." in here.post(PAGE, {"revoke": "others"}, follow=True).content.decode()
    assert [is_signed_in(client) for client in (here, of_kim, *others)] == [True, True, False, False]
    assert not LogEntry.objects.exists()


def test_revoking_this_one_signs_out(sam: User) -> None:
    here = signed_in(sam)
    answer = here.post(PAGE, {"revoke": session_of(here).pk})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/")
    assert not is_signed_in(here)


def test_the_forms_need_a_csrf_token(sam: User) -> None:
    here, there = signed_in(sam, enforce_csrf_checks=True), signed_in(sam)
    assert here.post(PAGE, {"revoke": "others"}).status_code == 403
    assert here.delete(API).status_code == 403
    assert here.delete(f"{API}/{session_of(there).pk}").status_code == 403
    assert is_signed_in(there)
    token = here.cookies["csrftoken"].value
    assert here.delete(API, headers={"X-CSRFToken": token}).json() == {"revoked": 1}
    assert not is_signed_in(there)


def test_who_may_sees_and_revokes_everybodys(sam: User, kim: User) -> None:
    of_sam, of_kim = signed_in(sam), signed_in(kim)
    listed = of_kim.get("/admin/access/session/").content.decode()
    assert "sam" in listed
    session = session_of(of_sam)
    page = of_kim.get(f"/admin/access/session/{session.pk}/change/").content.decode()
    assert FIREFOX in page
    for secret in (of_sam.cookies["sessionid"].value, session.data):
        assert secret not in listed + page
    act = {"action": "revoke", "_selected_action": session.pk}
    assert of_sam.post("/admin/access/session/", act).status_code == 403
    assert is_signed_in(of_sam)
    assert "1 session is revoked." in of_kim.post("/admin/access/session/", act, follow=True).content.decode()
    assert (is_signed_in(of_sam), is_signed_in(of_kim)) == (False, True)
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id, entry.change_message) == (kim, str(sam.pk), "Sessions revoked.")


def test_who_may_see_may_not_revoke(sam: User, kim: User) -> None:
    sam.user_permissions.add(rows.permission("access.view_session"))
    of_sam, of_kim = signed_in(sam), signed_in(kim)
    assert of_sam.get("/admin/access/session/").status_code == 200
    of_sam.post("/admin/access/session/", {"action": "revoke", "_selected_action": session_of(of_kim).pk})
    assert is_signed_in(of_kim)


# --- the API ---


def test_the_api_lists_ones_own(sam: User, kim: User) -> None:
    here = signed_in(sam)
    signed_in(kim)
    session = session_of(here)
    [told] = here.get(API).json()["items"]
    assert told == {
        "id": session.pk,
        "user": "sam",
        "address": "192.0.2.1",
        "agent": FIREFOX,
        "createdAt": f"{session.created_at:%Y-%m-%dT%H:%M:%S.%fZ}",
        "seenAt": f"{session.seen_at:%Y-%m-%dT%H:%M:%S.%fZ}",
        "expiresAt": f"{session.expires_at:%Y-%m-%dT%H:%M:%S.%fZ}",
        "isCurrent": True,
    }
    assert Client().get(API).status_code == 401


def test_other_peoples_are_listed_by_permission(sam: User, kim: User) -> None:
    of_sam, of_kim = signed_in(sam), signed_in(kim)
    for asked in ("kim", "*", "nobody"):
        answer = of_sam.get(API, {"user": asked})
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    assert of_sam.get(API, {"user": "sam"}).status_code == 200
    assert [row["user"] for row in of_kim.get(API, {"user": "sam"}).json()["items"]] == ["sam"]
    assert sorted(row["user"] for row in of_kim.get(API, {"user": "*"}).json()["items"]) == ["kim", "sam"]
    assert of_kim.get(API, {"user": "\0"}).status_code == 400


@pytest.mark.parametrize("query", ["name=kim", "user=k%00im"])
def test_a_filter_that_is_none_is_refused(sam: User, query: str) -> None:
    client = Client()
    client.force_login(sam)
    assert client.get(f"/api/v1/sessions?{query}").status_code == 400


def test_the_api_ends_nobodys_by_name(sam: User) -> None:
    client, other = Client(), Client()
    client.force_login(sam)
    other.force_login(sam)
    token = {"X-CSRFToken": "x"}
    assert client.delete("/api/v1/sessions?user=kim", headers=token).status_code == 400
    assert Session.objects.filter(user=sam).count() == 2


def test_the_api_revokes(sam: User, kim: User) -> None:
    here, there, third, of_kim = signed_in(sam), signed_in(sam), signed_in(sam), signed_in(kim)
    assert here.delete(f"{API}/{session_of(there).pk}").status_code == 204
    assert not is_signed_in(there)
    of_nobody = here.delete(f"{API}/{2**62}")
    of_another = here.delete(f"{API}/{session_of(of_kim).pk}")
    assert (of_another.status_code, of_another.content) == (404, of_nobody.content)
    assert is_signed_in(of_kim)
    assert here.delete(API).json() == {"revoked": 1}
    assert (is_signed_in(here), is_signed_in(third)) == (True, False)
    answer = here.delete(f"{API}/{session_of(here).pk}")
    assert (answer.status_code, answer.cookies["sessionid"].value) == (204, "")
    assert not is_signed_in(here)


def test_an_operator_revokes_anybodys_by_the_api(sam: User, kim: User) -> None:
    of_sam, of_kim = signed_in(sam), signed_in(kim)
    assert of_kim.delete(f"{API}/{session_of(of_sam).pk}").status_code == 204
    assert not is_signed_in(of_sam)
    assert LogEntry.objects.get().object_id == str(sam.pk)


def test_a_token_ends_all_sessions_of_its_user(token_of) -> None:
    headers = token_of("support")
    user = User.objects.get(username="support-token")
    client = Client()
    client.force_login(user)
    assert [row["isCurrent"] for row in client.get(API, headers=headers).json()["items"]] == [False]
    assert client.delete(API, headers=headers).json() == {"revoked": 1}
    assert not is_signed_in(client)


# --- what a browser says of itself ---


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0", "Edge on Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/17.5 Safari/605.1.15", "Safari on macOS"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) CriOS/126.0 Safari/604.1", "Chrome on iPhone"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", "unknown"),
    ],
)
def test_agents_in_words(agent: str, words: str) -> None:
    assert agent_words(agent) == words

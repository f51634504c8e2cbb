"""People without rights: sign-in, sign-up, links by mail, passwords, addresses, sessions; and who misuses them."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import F
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from relay_admin.access import throttle, tickets
from relay_admin.access.invitations import invitation_create
from relay_admin.access.mail_server import message_of
from relay_admin.access.mails import MOST_TRIES, mail_queue, mails_send
from relay_admin.access.models import (
    AuditEvent,
    Invitation,
    LoginAttempts,
    Mail,
    MailKind,
    Membership,
    Purpose,
    Session,
    Ticket,
    User,
)
from relay_admin.access.people import address_confirm, password_set, person_make
from relay_admin.access.services import admin_token_mint
from relay_admin.catalog.models import Project
from relay_admin.content_policy import STRICT_POLICY
from relay_contract.logs import JsonFormatter
from tests.admin import rows
from tests.admin.test_login import CountingHasher
from tests.mailbox import Mailbox, open_mailbox

SIGN_IN, RESET, SIGN_UP = "/account/sign-in", "/account/reset", "/account/sign-up"
NEW = "another long sentence"
ADA = "ada@example.test"


@pytest.fixture(autouse=True)
def quick(settings) -> None:
    """Hashes that cost nothing, and a wide open door."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.SIGNUP = "open"


@pytest.fixture
def mailbox(settings) -> Iterator[Mailbox]:
    with open_mailbox() as box:
        settings.MAIL_URL, settings.MAIL_FROM = box.url, "Relay <relay@example.test>"
        yield box


@pytest.fixture
def ada(db: None) -> User:
    """A customer."""
    return person_make(address=ADA, password=rows.PASSWORD, is_verified=True)


def signed_in(user: User, **options: Any) -> Client:
    client = Client(**options)
    answer = client.post(SIGN_IN, {"username": user.email, "password": rows.PASSWORD})
    assert (answer.status_code, answer["Location"]) == (302, "/portal/")
    return client


def is_signed_in(client: Client) -> bool:
    return bool(client.get("/account/").status_code == 200)


def whoami(token: str) -> int:
    return Client().get("/auth/whoami", headers={"Authorization": f"Bearer {token}"}).status_code


def path_in(mailbox: Mailbox) -> str:
    """The path of the link in the mail that came; of everything due, all is sent first."""
    mails_send()
    return urlsplit(mailbox.link()).path


def text_of(answer: HttpResponse) -> str:
    """The page but for its form's token."""
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", answer.content.decode())


def tables() -> list[str]:
    """What every table but the throttle's and the audit's says of who and what there is."""
    return [repr(list(model.objects.order_by("pk").values())) for model in (User, Ticket, Mail)]


# --- in and out ---


def test_a_customer_signs_in_by_address_in_any_case_and_out(ada: User) -> None:
    client = Client()
    answer = client.post(SIGN_IN, {"username": "ADA@Example.test", "password": rows.PASSWORD})
    assert (answer.status_code, answer["Location"]) == (302, "/portal/")
    home = client.get("/account/")
    assert home.status_code == 200
    assert ADA in home.content.decode()
    assert client.get("/account/sign-out").status_code == 200
    assert is_signed_in(client)
    assert client.post("/account/sign-out")["Location"] == SIGN_IN
    assert not is_signed_in(client)
    assert Session.objects.count() == 0


@pytest.mark.parametrize("username", ["nobody", "nobody@example.test", ADA, "off@example.test"])
def test_unknown_wrong_and_inactive_look_and_cost_alike(ada: User, settings, username: str) -> None:
    settings.PASSWORD_HASHERS = [f"{CountingHasher.__module__}.CountingHasher"]
    person_make(address="off@example.test", password=rows.PASSWORD, is_verified=True)
    User.objects.filter(email="off@example.test").update(is_active=False)
    password = rows.PASSWORD if username.startswith("off") else "wrong"
    CountingHasher.hashed = 0
    with CaptureQueriesContext(connection) as queries:
        answer = Client().post(SIGN_IN, {"username": username, "password": password})
    assert CountingHasher.hashed == 1
    assert len(queries) == 7
    assert answer.status_code == 200
    assert "That is not the right name or e-mail address and password." in answer.content.decode()
    assert text_of(answer).replace(username, "X") == text_of(
        Client().post(SIGN_IN, {"username": "someone-else", "password": "wrong"})
    ).replace("someone-else", "X")
    assert "sessionid" not in answer.cookies


def test_who_guesses_waits(ada: User) -> None:
    client = Client()
    for _ in range(throttle.FREE_ATTEMPTS + 1):
        LoginAttempts.objects.update(allowed_at=F("allowed_at") - timedelta(hours=1))
        client.post(SIGN_IN, {"username": ADA, "password": "wrong"})
    answer = client.post(SIGN_IN, {"username": ADA, "password": rows.PASSWORD})
    assert answer.status_code == 429
    assert "Too many attempts to sign in. Try again in" in answer.content.decode()
    assert not is_signed_in(client)


def test_a_sign_in_changes_the_session(ada: User) -> None:
    client = Client()
    planted = client.session
    planted["by"] = "somebody else"
    planted.save()
    client.cookies["sessionid"] = planted.session_key
    client.post(SIGN_IN, {"username": ADA, "password": rows.PASSWORD})
    assert client.cookies["sessionid"].value != planted.session_key
    assert not planted.exists(planted.session_key)


@pytest.mark.parametrize(
    "onward",
    [
        "https://evil.test/",
        "//evil.test",
        "/\\evil.test",
        "javascript:alert(1)",
        "evil",
        "",
        "///evil.test",
        "/\t/evil.test",
    ],
)
def test_a_sign_in_leads_to_no_other_site(ada: User, onward: str) -> None:
    answer = Client().post(SIGN_IN, {"username": ADA, "password": rows.PASSWORD, "next": onward})
    assert (answer.status_code, answer["Location"]) == (302, "/portal/")
    client = signed_in(ada)
    assert client.get(SIGN_IN, {"next": onward})["Location"] == "/portal/"


def test_a_sign_in_leads_back_to_the_page_that_asked_for_it(ada: User) -> None:
    asked = Client().get("/account/sessions")
    assert (asked.status_code, asked["Location"]) == (302, f"{SIGN_IN}?next=%2Faccount%2Fsessions")
    form = Client().get(asked["Location"])
    assert '<input type="hidden" name="next" value="/account/sessions">' in form.content.decode()
    answer = Client().post(SIGN_IN, {"username": ADA, "password": rows.PASSWORD, "next": "/account/sessions"})
    assert answer["Location"] == "/account/sessions"


def test_a_sign_in_that_an_application_asked_for_ends_the_form_first(ada: User) -> None:
    """Chromium holds every redirect of a form to its page's `form-action`; the last one leads to the application."""
    asked = "/oauth/authorize?client_id=app_1&state=a%20b"
    answer = Client().post(SIGN_IN, {"username": ADA, "password": rows.PASSWORD, "next": asked})
    assert (answer.status_code, answer["Refresh"]) == (200, f"0; url={asked}")


def test_the_admin_refuses_a_customer_and_says_where_to_go(ada: User) -> None:
    client = signed_in(ada)
    page = client.get("/admin/", follow=True)
    assert page.redirect_chain == [("/admin/login/?next=/admin/", 302)]
    assert "who has no rights in the admin" in page.content.decode()
    assert 'href="/account/"' in page.content.decode()
    stranger = Client().post("/admin/login/", {"username": ADA, "password": rows.PASSWORD})
    assert "sessionid" not in stranger.cookies
    assert 'href="/account/sign-in"' in stranger.content.decode()


# --- pages ---


PUBLIC = [SIGN_IN, SIGN_UP, RESET, "/account/reset/" + "x" * 43, "/account/invitation/" + "x" * 43]
OWN = ["/account/", "/account/password", "/account/address", "/account/sessions", "/account/sign-out"]


@pytest.mark.parametrize("path", [*PUBLIC, *OWN])
def test_no_page_has_a_script_inside(ada: User, mailbox: Mailbox, path: str) -> None:
    page = signed_in(ada).get(path) if path in OWN else Client().get(path)
    assert page["Content-Security-Policy"] == STRICT_POLICY
    assert "unsafe" not in STRICT_POLICY
    assert page["X-Frame-Options"] == "DENY"
    assert page["Referrer-Policy"] == "same-origin"
    assert "no-store" in page["Cache-Control"]
    html = page.content.decode()
    inline = r"<script(?! src=./static/relay/portal[.\w]*js. defer></script>)|\sstyle=|\son\w+=|javascript:"
    assert re.findall(inline, html) == []
    assert html.count("<h1>") == 1
    assert html.count("</h1>") == 1
    fields = set(re.findall(r'<(?:input|select)[^>]* id="(\w+)"', html))
    assert fields == set(re.findall(r'<label for="(\w+)"', html))


@pytest.mark.parametrize("path", [SIGN_IN, SIGN_UP, RESET, *OWN[1:]])
def test_forms_need_their_token(ada: User, mailbox: Mailbox, path: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)
    before = tables(), Session.objects.count()
    form = {
        "username": ADA,
        "password": rows.PASSWORD,
        "email": "x@example.test",
        "new_password": NEW,
        "revoke": "others",
    }
    assert client.post(path, form | {"revoke": "others"}).status_code == 403
    assert (tables(), Session.objects.count()) == before


def test_who_is_not_signed_in_sees_none_of_the_own_pages(db: None) -> None:
    answers = {path: Client().get(path)["Location"] for path in OWN}
    assert all(to.startswith(SIGN_IN) for to in answers.values())


# --- sign-up ---


def test_somebody_signs_up(db: None, mailbox: Mailbox) -> None:
    answer = Client().post(SIGN_UP, {"email": "New@example.test"})
    assert (answer.status_code, User.objects.count()) == (200, 0)
    path = path_in(mailbox)
    assert mailbox.mails[-1]["To"] == "New@example.test"
    assert Ticket.objects.get().token_hash not in (path.encode(), b"")
    client = Client()
    weak = client.post(path, {"new_password": "short"})
    assert "at least 12 characters" in weak.content.decode()
    assert (User.objects.count(), Ticket.objects.count()) == (0, 1)
    done = client.post(path, {"new_password": NEW, "is_staff": "on", "is_superuser": "on", "username": "root"})
    assert (done.status_code, done["Location"]) == (302, "/portal/")
    user = User.objects.get()
    assert (user.email, user.username) == ("New@example.test", "New@example.test")
    assert (user.is_staff, user.is_superuser, user.groups.count()) == (False, False, 0)
    assert user.email_verified_at is not None
    assert is_signed_in(client)
    assert Client().get(path).status_code == 404
    assert Client().post(path, {"new_password": NEW}).status_code == 404
    [event] = AuditEvent.objects.filter(subject="access.user", action="insert", subject_id=user.pk)
    assert event.via == "portal"


def test_a_link_that_was_looked_at_by_a_program_still_works(db: None, mailbox: Mailbox) -> None:
    Client().post(SIGN_UP, {"email": ADA})
    path = path_in(mailbox)
    for _ in range(3):
        assert Client().get(path).status_code == 200
    assert Client().post(path, {"new_password": NEW}).status_code == 302


@pytest.mark.parametrize("path", [SIGN_UP, RESET])
def test_asking_tells_nobody_whether_there_is_an_account(ada: User, mailbox: Mailbox, path: str) -> None:
    told, counts = [], []
    for number, address in enumerate([ADA, "not@example.test", "off@example.test"]):
        if number == 2:
            off = person_make(address=address, password=rows.PASSWORD, is_verified=True)
            User.objects.filter(pk=off.pk).update(is_active=False)
        with CaptureQueriesContext(connection) as queries:
            answer = Client(REMOTE_ADDR=f"192.0.2.{number}").post(path, {"email": address})
        told.append((answer.status_code, text_of(answer).replace(address, "X")))
        counts.append([query["sql"].split(maxsplit=1)[0] for query in queries])
    assert told[0] == told[1] == told[2]
    assert counts[0] == counts[1] == counts[2]


def test_the_owner_of_an_address_hears_that_somebody_wanted_to_sign_up_with_it(ada: User, mailbox: Mailbox) -> None:
    Client().post(SIGN_UP, {"email": "ADA@example.test"})
    mails_send()
    [mail] = mailbox.mails
    assert (mail["To"], mail["Subject"]) == (ADA, "You have an account already")
    assert Ticket.objects.count() == 0


@pytest.mark.parametrize("signup", ["off", "invite"])
def test_nobody_signs_up_where_it_is_not_open(db: None, mailbox: Mailbox, settings, signup: str) -> None:
    token = tickets.ticket_issue(purpose=Purpose.SIGN_UP, address=ADA)
    settings.SIGNUP = signup
    assert Client().get(SIGN_UP).status_code == 404
    assert Client().post(SIGN_UP, {"email": ADA}).status_code == 404
    assert Client().post(f"{SIGN_UP}/{token}", {"new_password": NEW}).status_code == 404
    assert User.objects.count() == 0
    assert "Sign up" not in Client().get(SIGN_IN).content.decode()


# --- invitations ---


@pytest.fixture
def shop(db: None) -> Project:
    return Project.objects.create(slug="shop", name="Shop <b>")


def invited(address: str, project: Project | None = None) -> str:
    """The path of the link."""
    minted = invitation_create(email=address, project=project, role="viewer" if project else "")
    return f"/account/invitation/{minted.token}"


@pytest.mark.parametrize("signup", ["invite", "open"])
def test_somebody_new_accepts_an_invitation(shop: Project, settings, signup: str) -> None:
    settings.SIGNUP = signup
    path = invited(ADA, shop)
    client = Client()
    page = client.get(path).content.decode()
    assert "To the project Shop &lt;b&gt;, as viewer." in page
    assert client.post(path, {"new_password": "short"}).status_code == 200
    assert (User.objects.count(), Membership.objects.count()) == (0, 0)
    done = client.post(path, {"new_password": NEW, "role": "owner", "email": "eve@example.test", "is_staff": "on"})
    assert (done.status_code, done["Location"]) == (302, "/portal/projects/shop/")
    user = User.objects.get()
    assert (user.email, user.is_staff, user.email_verified_at) == (ADA, False, None)
    member = Membership.objects.get()
    assert (member.user, member.project, member.role) == (user, shop, "viewer")
    assert "Shop &lt;b&gt;</a>, as viewer" in client.get("/account/").content.decode()
    assert Client().get(path).status_code == 404
    assert Client().post(path, {"new_password": NEW}).status_code == 404


def test_an_invitation_without_a_project_is_to_an_account_alone(db: None, mailbox: Mailbox) -> None:
    invited(ADA)
    path = path_in(mailbox)
    assert mailbox.mails[-1]["To"] == ADA
    client = Client()
    assert client.post(path, {"new_password": NEW}).status_code == 302
    assert Membership.objects.count() == 0
    assert client.post(path_in(mailbox)).status_code == 302
    assert User.objects.get().email_verified_at is not None


def test_who_has_the_address_accepts_with_one_click(ada: User, shop: Project) -> None:
    path = invited("ADA@example.test", shop)
    stranger = Client().get(path).content.decode()
    assert f'href="{SIGN_IN}?next={path}"' in stranger
    client = signed_in(ada)
    assert "To the project Shop &lt;b&gt;, as viewer." in client.get(path).content.decode()
    assert Membership.objects.count() == 0
    assert client.post(path)["Location"] == "/portal/projects/shop/"
    assert Membership.objects.get().user == ada
    assert client.post(path).status_code == 404


def test_nobody_accepts_what_is_for_another_address(ada: User, shop: Project) -> None:
    path = invited("eve@example.test", shop)
    client = signed_in(ada)
    before = tables()
    assert client.get(path).status_code == 403
    assert client.post(path).status_code == 403
    assert (tables(), Membership.objects.count()) == (before, 0)


def test_an_invitation_takes_no_account_over(ada: User, shop: Project) -> None:
    path = invited("Ada@example.test", shop)
    answer = Client().post(path, {"new_password": NEW})
    assert "Somebody has this e" in answer.content.decode()
    ada.refresh_from_db()
    assert ada.check_password(rows.PASSWORD)
    assert (User.objects.count(), Membership.objects.count()) == (1, 0)
    assert Invitation.objects.get().accepted_at is None


def test_an_invitation_looks_alike_whether_its_address_has_an_account(ada: User, shop: Project) -> None:
    pages = []
    for address in (ADA, "new@example.test"):
        path = invited(address, shop)
        pages.append(text_of(Client().get(path)).replace(address, "X").replace(path, "PATH"))
    assert pages[0] == pages[1]


def test_where_sign_up_is_off_an_invitation_is_for_who_is_there(ada: User, shop: Project, settings) -> None:
    settings.SIGNUP = "off"
    path = invited("new@example.test", shop)
    assert "New accounts are made by whoever runs this relay" in Client().get(path).content.decode()
    Client().post(path, {"new_password": NEW})
    assert User.objects.count() == 1
    path = invited(ADA, shop)
    assert signed_in(ada).post(path).status_code == 302
    assert Membership.objects.get().user == ada


def test_an_old_invitation_is_over(shop: Project) -> None:
    path = invited(ADA, shop)
    Invitation.objects.update(expires_at=timezone.now())
    assert Client().get(path).status_code == 404


# --- links ---


def test_a_link_of_one_purpose_opens_no_other_door(ada: User) -> None:
    token = tickets.ticket_issue(purpose=Purpose.VERIFY, address=ADA, user=ada)
    assert Client().get(f"{RESET}/{token}").status_code == 404
    assert Client().get(f"{SIGN_UP}/{token}").status_code == 404
    assert Ticket.objects.count() == 1


@pytest.mark.parametrize("change", ["password", "email", "deactivation"])
def test_links_end_with_what_they_were_made_for(ada: User, change: str) -> None:
    token = tickets.ticket_issue(purpose=Purpose.RESET, address=ADA, user=ada)
    match change:
        case "password":
            User.objects.filter(pk=ada.pk).update(password="!")
        case "email":
            User.objects.filter(pk=ada.pk).update(email="other@example.test")
        case _:
            User.objects.filter(pk=ada.pk).update(is_active=False)
    assert Ticket.objects.count() == 0
    assert Client().post(f"{RESET}/{token}", {"new_password": NEW}).status_code == 404


def test_a_link_ends_by_its_age_and_by_the_next_one(ada: User) -> None:
    first = tickets.ticket_issue(purpose=Purpose.RESET, address=ADA, user=ada)
    second = tickets.ticket_issue(purpose=Purpose.RESET, address=ADA, user=ada)
    assert tickets.ticket_of(Purpose.RESET, first) is None
    ticket = tickets.ticket_of(Purpose.RESET, second)
    assert ticket is not None
    assert timedelta(minutes=59) < ticket.expires_at - timezone.now() <= timedelta(hours=1)
    Ticket.objects.update(expires_at=timezone.now())
    assert tickets.ticket_of(Purpose.RESET, second) is None
    assert tickets.ticket_use(ticket) is False
    assert tickets.tickets_forget() == 1


def test_another_address_is_not_proved_however_it_came(ada: User) -> None:
    User.objects.filter(pk=ada.pk).update(email="ADA@example.test")
    ada.refresh_from_db()
    assert ada.email_verified_at is not None
    User.objects.filter(pk=ada.pk).update(email="other@example.test")
    ada.refresh_from_db()
    assert ada.email_verified_at is None


def test_who_tries_many_links_waits(db: None) -> None:
    for _ in range(throttle.OF_SITE[throttle.Action.LINK].at_once):
        assert Client().get(f"{RESET}/{'x' * 43}").status_code == 404
    answer = Client().get(f"{SIGN_UP}/{'x' * 43}")
    assert answer.status_code == 429
    assert 25 <= int(answer["Retry-After"]) <= 30
    assert Client(REMOTE_ADDR="192.0.2.1").get(f"{RESET}/{'x' * 43}").status_code == 404


@pytest.mark.parametrize("path", [SIGN_UP, RESET])
def test_nobody_fills_a_mailbox_or_all_of_them(db: None, mailbox: Mailbox, path: str) -> None:
    for number in range(throttle.MAILS_TO_ADDRESS.at_once):
        assert Client(REMOTE_ADDR=f"192.0.2.{number}").post(path, {"email": ADA}).status_code == 200
    before = tables()
    answer = Client(REMOTE_ADDR="192.0.2.99").post(path, {"email": ADA.upper()})
    assert answer.status_code == 429
    assert 700 <= int(answer["Retry-After"]) <= 720
    assert tables() == before
    for number in range(throttle.MAILS_OF_SITE.at_once):
        assert Client().post(path, {"email": f"person-{number}@example.test"}).status_code == 200
    assert Client().post(path, {"email": "one-more@example.test"}).status_code == 429


def test_what_is_counted_for_one_thing_is_not_for_another(ada: User, mailbox: Mailbox) -> None:
    for number in range(throttle.MAILS_TO_ADDRESS.at_once + 1):
        Client(REMOTE_ADDR=f"192.0.2.{number}").post(SIGN_UP, {"email": ADA})
    assert Client().post(RESET, {"email": ADA}).status_code == 200
    assert is_signed_in(signed_in(ada))


# --- passwords ---


def test_a_forgotten_password_is_set_anew_by_mail(ada: User, mailbox: Mailbox) -> None:
    User.objects.filter(pk=ada.pk).update(email_verified_at=None)
    elsewhere = signed_in(ada)
    Client().post(RESET, {"email": "ADA@EXAMPLE.test"})
    path = path_in(mailbox)
    assert mailbox.mails[-1]["To"] == ADA
    client = Client()
    assert client.post(path, {"new_password": "password1234"}).status_code == 200
    assert is_signed_in(elsewhere)
    done = client.post(path, {"new_password": NEW})
    assert "Your password is changed" in done.content.decode()
    assert not is_signed_in(client)
    assert not is_signed_in(elsewhere)
    ada.refresh_from_db()
    assert ada.check_password(NEW)
    assert ada.email_verified_at is not None
    assert client.post(path, {"new_password": "one more long sentence"}).status_code == 404
    mails_send()
    assert [mail["Subject"] for mail in mailbox.mails] == ["Set a new password", "Your password has changed"]


def test_a_deactivated_account_is_sent_nothing(ada: User, mailbox: Mailbox) -> None:
    User.objects.filter(pk=ada.pk).update(is_active=False)
    Client().post(RESET, {"email": ADA})
    assert mails_send() == 0
    assert (mailbox.mails, Mail.objects.count()) == ([], 0)


def test_without_mail_the_page_says_whom_to_ask(ada: User) -> None:
    assert "sends no mail" in Client().get(RESET).content.decode()
    assert "sends no mail" in Client().post(RESET, {"email": ADA}).content.decode()
    assert Mail.objects.count() == 0


def test_a_password_is_changed_with_the_old_one(ada: User) -> None:
    here, there = signed_in(ada), signed_in(ada)
    key = here.cookies["sessionid"].value
    wrong = here.post("/account/password", {"password": "wrong", "new_password": NEW})
    assert "That is not your password." in wrong.content.decode()
    assert is_signed_in(there)
    done = here.post("/account/password", {"password": rows.PASSWORD, "new_password": NEW})
    assert (done.status_code, done["Location"]) == (302, "/account/")
    assert is_signed_in(here)
    assert here.cookies["sessionid"].value != key
    assert not is_signed_in(there)


@pytest.mark.parametrize("keeps", [False, True])
def test_admin_tokens_end_with_the_password_unless_they_are_kept(ada: User, keeps: bool) -> None:
    client, form = signed_in(ada), {"password": rows.PASSWORD, "new_password": NEW}
    assert "keeps_admin_tokens" not in client.get("/account/password").content.decode(), "there are none"
    token = admin_token_mint(user=ada, name="deploys").token
    assert "unless you keep them" in client.get("/account/password").content.decode()
    client.post("/account/password", form | {"password": "wrong"})
    assert whoami(token) == 200
    client.post("/account/password", form | ({"keeps_admin_tokens": "on"} if keeps else {}))
    assert whoami(token) == (200 if keeps else 401)
    events = AuditEvent.objects.filter(subject="access.admintoken", action="delete")
    assert [(event.actor_id, event.subject_name) for event in events] == ([] if keeps else [(ada.pk, "deploys")])


def test_a_reset_ends_admin_tokens(ada: User, mailbox: Mailbox) -> None:
    token, others = (admin_token_mint(user=user, name="deploys").token for user in (ada, rows.user("bob")))
    Client().post(RESET, {"email": ADA})
    Client().post(path_in(mailbox), {"new_password": NEW})
    assert (whoami(token), whoami(others)) == (401, 200)
    assert AuditEvent.objects.filter(subject="access.admintoken", action="delete").count() == 1


def test_the_admin_leads_to_the_page_that_counts_guesses(ada: User) -> None:
    User.objects.filter(pk=ada.pk).update(is_staff=True)
    client = Client()
    client.force_login(ada)
    form = {"old_password": rows.PASSWORD, "new_password1": NEW, "new_password2": NEW}
    for answer in (client.get("/admin/password_change/"), client.post("/admin/password_change/", form)):
        assert (answer.status_code, answer["Location"]) == (302, "/account/password")
    ada.refresh_from_db()
    assert ada.check_password(rows.PASSWORD)


def test_the_old_password_is_not_to_be_guessed_there(ada: User) -> None:
    client = signed_in(ada)
    for _ in range(throttle.FREE_ATTEMPTS + 1):
        LoginAttempts.objects.update(allowed_at=F("allowed_at") - timedelta(hours=1))
        client.post("/account/password", {"password": "wrong", "new_password": NEW})
    answer = client.post("/account/password", {"password": rows.PASSWORD, "new_password": NEW})
    assert "Too many attempts" in answer.content.decode()
    ada.refresh_from_db()
    assert ada.check_password(rows.PASSWORD)


# --- addresses ---


def test_an_address_is_changed_once_it_is_proved(ada: User, mailbox: Mailbox) -> None:
    client = signed_in(ada)
    form = {"email": "lovelace@example.test", "password": rows.PASSWORD}
    assert client.post("/account/address", form | {"password": "wrong"}).status_code == 200
    assert Mail.objects.count() == 0
    client.post("/account/address", form)
    path = path_in(mailbox)
    ada.refresh_from_db()
    assert ada.email == ADA
    stranger = signed_in(person_make(address="eve@example.test", password=rows.PASSWORD, is_verified=True))
    assert stranger.post(path).status_code == 404
    assert Client().post(path).status_code == 302
    assert "lovelace@example.test" in client.get(path).content.decode()
    assert client.post(path).status_code == 302
    ada.refresh_from_db()
    assert (ada.email, ada.username) == ("lovelace@example.test", "lovelace@example.test")
    assert ada.email_verified_at is not None
    assert client.post(path).status_code == 404
    mails_send()
    assert (mailbox.mails[-1]["To"], mailbox.mails[-1]["Subject"]) == (ADA, "Your e-mail address has changed")


def test_an_address_of_somebody_else_is_not_taken_and_not_told_of(ada: User, mailbox: Mailbox) -> None:
    eve = person_make(address="eve@example.test", password=rows.PASSWORD, is_verified=True)
    client = signed_in(eve)
    answers = [
        text_of(client.post("/account/address", {"email": address, "password": rows.PASSWORD})).replace(address, "X")
        for address in (ADA, "free@example.test")
    ]
    assert answers[0] == answers[1]
    mails_send()
    assert [(mail["To"], mail["Subject"]) for mail in mailbox.mails] == [
        (ADA, "You have an account already"),
        ("free@example.test", "Confirm your e-mail address"),
    ]
    with pytest.raises(ValidationError, match="Somebody has this e-mail address already"):
        address_confirm(user=eve, address="Ada@example.test")


# --- sessions ---


def test_somebody_sees_and_ends_their_sessions_and_no_others(ada: User) -> None:
    here, there, third = (signed_in(ada, REMOTE_ADDR=f"192.0.2.{number}") for number in range(3))
    eve = signed_in(person_make(address="eve@example.test", password=rows.PASSWORD, is_verified=True))
    foreign = Session.objects.get(user__email="eve@example.test")
    page = here.get("/account/sessions").content.decode()
    assert page.count("<tr>") == 4
    assert page.index("192.0.2.0") < page.index("192.0.2.1")
    theirs = Session.objects.get(address="192.0.2.1")
    here.post("/account/sessions", {"revoke": str(theirs.pk)})
    assert not is_signed_in(there)
    said = here.post("/account/sessions", {"revoke": str(foreign.pk)}, follow=True)
    assert "There was nothing to revoke" in said.content.decode()
    assert is_signed_in(eve)
    here.post("/account/sessions", {"revoke": "others"})
    assert not is_signed_in(third)
    assert is_signed_in(here)
    own = Session.objects.get(user=ada)
    assert here.post("/account/sessions", {"revoke": str(own.pk)})["Location"] == SIGN_IN
    assert not is_signed_in(here)


# --- mails ---


def test_no_link_is_stored_or_logged(ada: User, mailbox: Mailbox, caplog) -> None:
    Client().post(RESET, {"email": ADA})
    assert list(Mail.objects.values_list("kind", "sealed_token")) == [("reset", None)]
    token = path_in(mailbox).rpartition("/")[2]
    mail_queue(kind=MailKind.INVITATION, address=ADA, token="ri_canary_of_an_invitation")
    stored = repr(list(Ticket.objects.values())) + repr(list(Mail.objects.values())) + caplog.text
    assert token not in stored
    assert "ri_canary" not in stored
    assert path_in(mailbox) == "/account/invitation/ri_canary_of_an_invitation"


def test_a_link_that_is_refused_is_in_no_log(ada: User, shop: Project, caplog) -> None:
    """Django logs the address of what it answers with an error, and a link works on after most of them."""
    reset = tickets.ticket_issue(purpose=Purpose.RESET, address=ADA, user=ada)
    invited = invitation_create(email="other@example.test", project=shop, role="viewer").token
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(ada)
    for path in (f"{RESET}/{reset}", f"/account/invitation/{invited}"):
        assert browser.post(path).status_code == 403
    formatter = JsonFormatter("control")
    lines = [formatter.format(record) for record in caplog.records]
    assert len(lines) == 2
    assert not [line for line in lines if reset in line or invited in line]
    assert tickets.ticket_of(Purpose.RESET, reset) is not None


def test_a_mail_waits_while_the_server_is_away_and_is_given_up_in_the_end(ada: User, mailbox: Mailbox) -> None:
    mailbox.refuses = "450 later"
    Client().post(RESET, {"email": ADA})
    assert mails_send() == 0
    mail = Mail.objects.get()
    assert mail.tries == 1
    assert timedelta(seconds=50) < mail.next_attempt_at - timezone.now() <= timedelta(seconds=60)
    assert mails_send() == 0
    assert Mail.objects.get().tries == 1
    mailbox.refuses = ""
    Mail.objects.update(next_attempt_at=timezone.now())
    assert mails_send() == 1
    assert Client().get(path_in(mailbox)).status_code == 200
    mailbox.refuses = "450 later"
    Client().post(RESET, {"email": ADA})
    Mail.objects.update(tries=MOST_TRIES - 1)
    assert (mails_send(), Mail.objects.count()) == (0, 0)


def test_a_mail_to_nobody_is_given_up_at_once(db: None, mailbox: Mailbox) -> None:
    mailbox.refuses = "550 no such user"
    Client().post(SIGN_UP, {"email": ADA})
    assert (mails_send(), Mail.objects.count()) == (0, 0)


def test_a_request_waits_for_no_mail_server(ada: User, settings) -> None:
    settings.MAIL_URL, settings.MAIL_FROM = "smtp://192.0.2.1:25", "relay@example.test"
    assert Client().post(RESET, {"email": ADA}).status_code == 200
    assert Mail.objects.get().tries == 0


def test_no_text_becomes_a_header() -> None:
    mail = message_of(
        sender="Relay <relay@example.test>",
        to="ada@example.test",
        subject="Shop\r\nBcc: eve@example.test\x00",
        text="Hello\r\n.\r\nMAIL FROM:<eve@example.test>",
    )
    assert mail["Subject"] == "Shop Bcc: eve@example.test"
    assert mail["Bcc"] is None
    assert mail.get_content_type() == "text/plain"
    for address in ("ada@example.test\r\nBcc: eve@example.test", "ada", "@example.test", "a@b\r\nX: y"):
        with pytest.raises((ValueError, UnicodeError)):
            message_of(sender="relay@example.test", to=address, subject="x", text="x")


def test_a_password_set_is_told_to_its_owner(ada: User, mailbox: Mailbox) -> None:
    password_set(user=ada, password=NEW)
    mails_send()
    assert [(mail["To"], mail["From"]) for mail in mailbox.mails] == [(ADA, "Relay <relay@example.test>")]
    assert mailbox.recipients == ["rcpt TO:<ada@example.test>"]

"""Sign-in with an OpenID Connect provider that really answers: who gets in, and who never does."""

import http.client
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from joserfc.jwk import OctKey, RSAKey

from relay_admin.access.models import AuditEvent, ExternalIdentity, LoginAttempts, Purpose, Session, User
from relay_admin.access.people import person_make
from relay_admin.access.throttle import OF_SITE, Action
from relay_admin.access.tickets import ticket_issue
from tests.admin import rows
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider, open_provider

BEGIN, CALLBACK, OWN = "/account/oidc/begin", "/account/oidc/callback", "/account/oidc"
ADA = "ada@example.test"


@pytest.fixture
def provider(db: None, settings) -> Iterator[OidcProvider]:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.SIGNUP = "open"
    with open_provider() as opened:
        settings.OIDC_ISSUER = opened.issuer
        settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET = CLIENT_ID, CLIENT_SECRET
        yield opened


@pytest.fixture
def ada(provider: OidcProvider) -> User:
    """Somebody with a password and the address that the provider vouches for."""
    return person_make(address=ADA, password=rows.PASSWORD, is_verified=True)


def go_there(address: str) -> str:
    """As the browser does: the path at which the provider sends it back."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    connection.request("GET", f"{parts.path}?{parts.query}")
    back = connection.getresponse().headers["Location"]
    connection.close()
    return f"{urlsplit(back).path}?{urlsplit(back).query}"


def enter(client: Client, onward: str = "") -> HttpResponse:
    """There and back."""
    begun = client.get(BEGIN, {"next": onward})
    assert begun.status_code == 302
    return client.get(go_there(begun["Location"]))


def is_signed_in(client: Client) -> bool:
    return bool(client.get("/account/").status_code == 200)


def changed(path: str, **parameters: str | None) -> str:
    """With other parameters in its query; None: without."""
    asked = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()} | parameters
    return f"{urlsplit(path).path}?{urlencode({name: value for name, value in asked.items() if value is not None})}"


def test_somebody_new_gets_an_account_and_comes_back_to_it(provider: OidcProvider) -> None:
    client = Client()
    answer = enter(client, "/account/sessions")
    assert (answer.status_code, answer["Location"]) == (302, "/account/sessions")
    user = User.objects.get()
    assert (user.email, user.is_staff, user.is_superuser, user.has_usable_password()) == (ADA, False, False, False)
    assert user.email_verified_at is not None
    identity = ExternalIdentity.objects.get()
    assert (identity.user, identity.issuer, identity.subject) == (user, provider.issuer, "ada-1")
    assert AuditEvent.objects.filter(subject="access.externalidentity", subject_id=identity.pk).count() == 1
    provider.claims = {"email": "married@example.test", "email_verified": False}
    again = Client()
    assert enter(again).status_code == 302
    assert is_signed_in(again)
    assert User.objects.get().email == ADA


def test_the_session_is_a_new_one(provider: OidcProvider) -> None:
    client = Client()
    back = go_there(client.get(BEGIN)["Location"])
    before = client.cookies["sessionid"].value
    client.get(back)
    assert client.cookies["sessionid"].value != before


def test_a_session_of_nobody_ends_with_what_was_begun(provider: OidcProvider) -> None:
    """Whoever begins without end leaves no rows for weeks. Who signs in, whichever way, has a session as everybody."""
    client = Client()
    back = go_there(client.get(BEGIN)["Location"])
    assert _life() <= timedelta(seconds=600)
    person_make(address="sam@example.test", password=rows.PASSWORD, is_verified=True)
    client.post("/account/sign-in", {"username": "sam@example.test", "password": rows.PASSWORD})
    assert _life() > timedelta(days=13)
    client.get(back)
    assert _life() > timedelta(days=13)
    client.get(BEGIN)
    assert _life() > timedelta(days=13)


def _life() -> timedelta:
    return Session.objects.get().expires_at - timezone.now()


def test_an_office_behind_one_address_is_not_kept_out_by_links(provider: OidcProvider) -> None:
    for _ in range(OF_SITE[Action.LINK].at_once + 1):
        answer = Client().get(f"/account/reset/{'x' * 43}")
    assert answer.status_code == 429
    assert enter(Client()).status_code == 302


def test_sign_ins_from_one_address_are_counted(provider: OidcProvider) -> None:
    assert Client().get(BEGIN).status_code == 302
    LoginAttempts.objects.update(allowed_at=timezone.now() + timedelta(hours=1))
    provider.asked.clear()
    for path in (BEGIN, f"{CALLBACK}?code=x&state=x"):
        answer = Client().get(path)
        assert (answer.status_code, "Retry-After" in answer) == (429, True)
    assert provider.asked == []
    assert Client(REMOTE_ADDR="192.0.2.1").get(BEGIN).status_code == 302
    assert Client().get(f"/account/reset/{'x' * 43}").status_code == 404, "links are counted apart"


@pytest.mark.parametrize("onward", ["https://evil.test/", "//evil.test", "/\\evil.test"])
def test_it_leads_to_no_other_site(provider: OidcProvider, onward: str) -> None:
    assert enter(Client(), onward)["Location"] == "/portal/"


LIES: dict[str, dict[str, Any]] = {
    "another nonce": {"nonce": "x"},
    "no nonce": {"nonce": None},
    "another issuer": {"iss": "https://accounts.evil.test"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "somebody-else"},
    "no audience": {"aud": None},
    "two audiences and no party": {"aud": [CLIENT_ID, "somebody-else"]},
    "another party": {"azp": "somebody-else"},
    "expired": {"exp": 1_700_000_000},
    "no end": {"exp": None},
    "an end that is no number": {"exp": "never"},
    "from the future": {"iat": 4_000_000_000},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "a subject that is no text": {"sub": ["ada-1"]},
    "a subject that is too long": {"sub": "a" * 256},
}


@pytest.mark.parametrize("lie", LIES)
def test_an_id_token_that_is_not_for_this_sign_in_lets_nobody_in(provider: OidcProvider, lie: str) -> None:
    provider.claims = LIES[lie]
    client = Client()
    assert enter(client).status_code == 502
    assert not is_signed_in(client)
    assert (User.objects.count(), ExternalIdentity.objects.count()) == (0, 0)


@pytest.mark.parametrize("forgery", ["none", "shared secret", "public key as a secret", "another key", "unknown key"])
def test_a_signature_that_is_not_the_providers_lets_nobody_in(provider: OidcProvider, forgery: str) -> None:
    match forgery:
        case "none":
            provider.header = {"alg": "none"}
        case "shared secret":
            provider.header, provider.key = {"alg": "HS256"}, OctKey.import_key(CLIENT_SECRET * 2)
        case "public key as a secret":
            shared = OctKey.import_key("what everybody knows, of 32 bytes or more", {"kid": "one"})
            provider.header, provider.key = {"alg": "HS256", "kid": "one"}, shared
            provider.published = [dict(shared.as_dict(private=True))]
        case "another key":
            provider.key = RSAKey.generate_key(2048, {"kid": "one"})
        case _:
            provider.header = {"alg": "RS256", "kid": "two"}
    client = Client()
    assert enter(client).status_code == 502
    assert not is_signed_in(client)
    assert User.objects.count() == 0


def test_a_state_that_was_not_begun_here_asks_the_provider_nothing(provider: OidcProvider) -> None:
    victim, attacker = Client(), Client()
    of_attacker = go_there(attacker.get(BEGIN)["Location"])
    assert victim.get(of_attacker).status_code == 400
    victim.get(BEGIN)
    assert victim.get(of_attacker).status_code == 400
    for wrong in ({"state": "x"}, {"state": None}, {"iss": "https://accounts.evil.test"}, {"code": None}):
        back = go_there(victim.get(BEGIN)["Location"])
        assert victim.get(changed(back, **wrong)).status_code == 400
        assert victim.get(back).status_code == 400  # it was forgotten
    assert "/token" not in provider.asked
    assert not is_signed_in(victim)


def test_a_code_works_once(provider: OidcProvider) -> None:
    client = Client()
    back = go_there(client.get(BEGIN)["Location"])
    assert client.get(back).status_code == 302
    assert client.get(back).status_code == 400
    stolen = parse_qs(urlsplit(back).query)["code"][0]
    thief = Client()
    assert thief.get(changed(go_there(thief.get(BEGIN)["Location"]), code=stolen)).status_code == 502
    assert not is_signed_in(thief)


def test_a_code_of_another_browser_is_refused_by_its_verifier(provider: OidcProvider) -> None:
    victim, thief = Client(), Client()
    stolen = parse_qs(urlsplit(go_there(victim.get(BEGIN)["Location"])).query)["code"][0]
    assert thief.get(changed(go_there(thief.get(BEGIN)["Location"]), code=stolen)).status_code == 502
    assert not is_signed_in(thief)


def test_what_was_begun_long_ago_is_over(provider: OidcProvider) -> None:
    client = Client()
    back = go_there(client.get(BEGIN)["Location"])
    session = client.session
    session["oidc"] = session["oidc"] | {"at": time.time() - 601}
    session.save()
    assert client.get(back).status_code == 400


NAMES = {"preferred_username": ADA, "upn": ADA, "name": ADA, "unique_name": ADA, "email_verified": True}


@pytest.mark.parametrize(
    "claims",
    [
        {"email_verified": False},
        {"email_verified": None},
        {"email_verified": "true"},
        {"email": None, **NAMES},
        {"email": "other@example.test", **NAMES, "email_verified": False},
    ],
)
def test_an_address_that_is_not_proved_makes_no_account(provider: OidcProvider, claims: dict[str, Any]) -> None:
    provider.claims = claims
    assert enter(Client()).status_code == 403
    assert User.objects.count() == 0


@pytest.mark.parametrize("address", [ADA, "ADA@Example.test"])
def test_an_account_is_not_given_to_who_has_its_address(provider: OidcProvider, ada: User, address: str) -> None:
    provider.claims = {"email": address}
    client = Client()
    answer = enter(client)
    assert answer.status_code == 403
    assert "There is an account with your e-mail address" in answer.content.decode()
    assert not is_signed_in(client)
    assert (User.objects.count(), ExternalIdentity.objects.count()) == (1, 0)


def connect(client: Client, password: str = rows.PASSWORD) -> HttpResponse:
    page = client.post(OWN, {"password": password})
    addresses = [part.split('"')[0].replace("&amp;", "&") for part in page.content.decode().split('href="')]
    [address] = [address for address in addresses if "/authorize?" in address] or [""]
    return client.get(go_there(address)) if address else page


def test_its_owner_connects_it_with_the_password_and_takes_it_back(provider: OidcProvider, ada: User) -> None:
    client = Client()
    client.force_login(ada)
    assert "That is not your password." in connect(client, "wrong").content.decode()
    provider.claims = {"email": "private@example.test", "email_verified": None}
    assert connect(client)["Location"] == OWN
    assert ExternalIdentity.objects.get().user == ada
    elsewhere = Client()
    enter(elsewhere)
    assert elsewhere.get("/account/").context["user"] == ada
    client.post(OWN, {"disconnect": "yes"})
    assert ExternalIdentity.objects.count() == 0
    provider.claims = {"email": "private@example.test"}
    enter(Client())
    assert ExternalIdentity.objects.get().user != ada


def test_a_reset_takes_the_account_back_from_who_connected_a_sign_in_of_their_own(
    provider: OidcProvider, ada: User
) -> None:
    """Whoever was shown an invitation's link may have made the account, with a password of theirs, before its owner."""
    thief = Client()
    thief.force_login(ada)
    provider.claims = {"email": "thief@example.test"}
    connect(thief)
    token = ticket_issue(purpose=Purpose.RESET, address=ADA, user=ada)
    done = Client().post(f"/account/reset/{token}", {"new_password": "another long sentence"})
    assert "no other sign-in opens your account" in done.content.decode()
    again = Client()
    enter(again)
    assert not is_signed_in(again) or again.get("/account/").context["user"] != ada


def test_nobody_connects_what_is_somebody_elses(provider: OidcProvider, ada: User) -> None:
    eve = person_make(address="eve@example.test", password=rows.PASSWORD, is_verified=True)
    of_ada, of_eve = Client(), Client()
    of_ada.force_login(ada)
    of_eve.force_login(eve)
    connect(of_ada)
    assert connect(of_eve).status_code == 403
    assert ExternalIdentity.objects.get().user == ada
    provider.claims = {"sub": "eve-1"}
    back = go_there(provider_link(of_eve.post(OWN, {"password": rows.PASSWORD})))
    of_eve.force_login(ada)
    assert of_eve.get(back).status_code == 400
    assert ExternalIdentity.objects.count() == 1


def provider_link(page: HttpResponse) -> str:
    return next(part.split('"')[0] for part in page.content.decode().split('href="') if "/authorize?" in part).replace(
        "&amp;", "&"
    )


def test_the_only_way_in_stays(provider: OidcProvider) -> None:
    client = Client()
    enter(client)
    assert "your only way in" in client.post(OWN, {"disconnect": "yes"}, follow=True).content.decode()
    assert ExternalIdentity.objects.count() == 1


@pytest.mark.parametrize(
    ("whom", "domains", "signup", "outcome"),
    [
        ("customers", "", "open", (302, False)),
        ("customers", "", "invite", (403, None)),
        ("customers", "other.test", "open", (403, None)),
        ("customers", "example.test", "open", (302, False)),
        ("staff", "example.test", "off", (302, True)),
        ("staff", "other.test", "open", (403, None)),
        ("staff", "test", "open", (403, None)),
        ("both", "example.test", "invite", (302, True)),
        ("both", "other.test", "open", (302, False)),
        ("both", "other.test", "invite", (403, None)),
    ],
)
def test_who_gets_an_account_and_who_becomes_staff(  # noqa: PLR0917 (a table)
    provider: OidcProvider, settings, whom: str, domains: str, signup: str, outcome: tuple[int, bool | None]
) -> None:
    status, is_staff = outcome
    settings.OIDC_FOR, settings.OIDC_DOMAINS = whom, frozenset(domains.split())
    settings.SIGNUP = signup
    assert enter(Client()).status_code == status
    assert [user.is_staff for user in User.objects.all()] == ([] if is_staff is None else [is_staff])
    assert not User.objects.filter(is_superuser=True).exists()


@pytest.mark.parametrize("claims", [{"email": "ada@other.test"}, {"email_verified": False}])
def test_staff_comes_in_with_a_listed_address_alone(
    provider: OidcProvider, ada: User, settings, claims: dict[str, Any]
) -> None:
    User.objects.filter(pk=ada.pk).update(is_staff=True)
    client = Client()
    client.force_login(ada)
    connect(client)
    assert enter(Client()).status_code == 403
    settings.OIDC_FOR, settings.OIDC_DOMAINS = "staff", frozenset({"example.test"})
    assert enter(Client()).status_code == 302
    provider.claims = claims
    assert enter(Client()).status_code == 403


def test_a_deactivated_account_stays_out(provider: OidcProvider) -> None:
    enter(Client())
    User.objects.update(is_active=False)
    client = Client()
    assert enter(client).status_code == 403
    assert not is_signed_in(client)


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://accounts.evil.test"},
        {"token_endpoint": "http://10.0.0.1:9/token"},
        {"jwks_uri": "http://169.254.169.254/latest"},
        {"jwks_uri": "file:///etc/passwd"},
        {"token_endpoint": None},
        {"padding": "x" * 300_000},
    ],
)
def test_a_provider_is_called_nowhere_else(provider: OidcProvider, discovery: dict[str, Any]) -> None:
    client = Client()
    back = go_there(client.get(BEGIN)["Location"])
    provider.discovery = discovery
    assert client.get(back).status_code == 502
    assert User.objects.count() == 0


def test_a_provider_that_is_away_is_said_to_be(provider: OidcProvider, settings, free_port: int) -> None:
    settings.OIDC_ISSUER = f"http://127.0.0.1:{free_port}"
    answer = Client().get(BEGIN)
    assert answer.status_code == 502
    assert "use your password" in answer.content.decode()


def test_no_secret_is_logged_or_shown(provider: OidcProvider, caplog) -> None:
    client = Client()
    provider.claims = {"nonce": "x"}
    answer = enter(client)
    assert "canary" not in answer.content.decode() + caplog.text


def test_without_a_provider_there_is_no_such_page(ada: User, settings) -> None:
    settings.OIDC_ISSUER = ""
    client = Client()
    client.force_login(ada)
    assert (client.get(BEGIN).status_code, client.get(OWN).status_code) == (404, 404)
    assert client.get(CALLBACK).status_code == 400
    assert "oidc" not in Client().get("/account/sign-in").content.decode()

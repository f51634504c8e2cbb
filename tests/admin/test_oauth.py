"""The authorization server, flow by flow: what is issued, what is refused, what ends when something is used twice."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.db import connection
from django.test import Client
from django.utils import timezone

from relay_admin.access.models import User
from relay_admin.access.oauth import issuing, revocation, server, services
from relay_admin.access.oauth.models import (
    AccessToken,
    Authorization,
    Grant,
    OAuthApplication,
    RefreshToken,
    Revocation,
)
from relay_admin.access.services import admin_token_mint, relay_key_mint
from relay_admin.ledger.models import Account
from relay_admin.ledger.posting import post as ledger_post
from relay_contract.credits import MICRO
from relay_contract.ids import uuid7
from relay_contract.ledger import PROMOTIONS, AccountId, EntryKind, Leg
from relay_contract.nouns import KeyMode
from relay_contract.redis import keys
from tests.admin import oauth_client, rows
from tests.admin.oauth_client import REDIRECT, Flow, post, told


@pytest.fixture
def flow(catalog: rows.Catalog) -> Flow:
    user = User.objects.create_user("ada", "ada@example.test")
    browser = Client()
    browser.force_login(user)
    return Flow(oauth_client.application(catalog.project), browser)


def test_a_code_becomes_a_token_that_says_who_pays(flow: Flow) -> None:
    said = told(flow.decide(cap="2.5"))
    assert (said["state"], said["iss"]) == ("a state", "http://127.0.0.1:8081")
    status, found = flow.exchange(said["code"])
    assert (status, found["token_type"], found["expires_in"]) == (200, "Bearer", 600)
    claims = issuing.read(found["access_token"])
    user = User.objects.get(username="ada")
    assert (claims.subject, claims.wallet_id, claims.cap_microcredits) == (user.pk, user.live_wallet_id, 2_500_000)
    assert (claims.project_id, claims.client_id) == (flow.app.project_id, flow.app.client_id)
    assert claims.scopes == ("inference", "offline_access")
    assert claims.authorization_id == Authorization.objects.get().pk


def test_no_code_or_token_is_stored(flow: Flow) -> None:
    code = flow.code()
    _, found = flow.exchange(code)
    with connection.cursor() as cursor:
        for table in ("grant", "accesstoken", "refreshtoken", "oauthapplication"):
            cursor.execute(f"SELECT coalesce(string_agg(t::text, ' '), '') FROM access_{table} t")
            [stored] = cursor.fetchone()
            assert not [secret for secret in (code, found["access_token"], found["refresh_token"]) if secret in stored]


@pytest.mark.parametrize(
    "uri",
    [
        None,
        "https://APP.example/cb",
        "https://app.example:443/cb",
        "http://app.example/cb",
        "https://app.example/cb/",
        "https://app.example/cb?x=1",
        "https://app.example/cb#x",
        "https://app.example/%63b",
        "https://app.example/cb/../cb",
        "https://user@app.example/cb",
        "https://app.example.evil.example/cb",
        "https://localhost.evil.example/cb",
        "https://other.example/cb",
        "javascript:alert(1)",
        " https://app.example/cb",
    ],
)
def test_a_redirect_uri_is_the_registered_text_or_nothing_happens(
    flow: Flow, catalog: rows.Catalog, uri: str | None
) -> None:
    oauth_client.application(catalog.project, "other", redirect_uris="https://other.example/cb")
    for response in (flow.ask(redirect_uri=uri), flow.decide(redirect_uri=uri)):
        assert (response.status_code, "Location" in response.headers) == (400, False)
    assert not Grant.objects.exists()


@pytest.mark.parametrize(
    "other",
    [
        {"code_challenge": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"code_challenge": "short"},
        {"code_challenge": "a" * 44},
        {"code_challenge": "a" * 42 + "="},
        {"response_type": "token"},
        {"response_type": "id_token"},
        {"response_type": "code token"},
        {"response_type": None},
        {"scope": "admin"},
        {"scope": "inference inference"},
        {"scope": "relay"},
    ],
)
def test_what_is_asked_wrongly_goes_back_as_an_error(flow: Flow, other: dict[str, Any]) -> None:
    for response in (flow.ask(**other), flow.decide(**other)):
        said = told(response)
        assert said["error"] in {
            "invalid_request",
            "unsupported_response_type",
            "unauthorized_client",
            "invalid_scope",
        }
        assert (said["state"], said["iss"]) == ("a state", "http://127.0.0.1:8081")
        assert "code" not in said
    assert not Grant.objects.exists()


def test_a_user_who_says_no(flow: Flow) -> None:
    assert told(flow.decide("deny"))["error"] == "access_denied"
    assert not Authorization.objects.exists()


@pytest.mark.parametrize("verifier", [None, "short", "a" * 42, "a" * 129, "b" * 43, "é" * 50])
def test_a_code_is_no_use_without_its_verifier(flow: Flow, verifier: str | None) -> None:
    status, found = flow.exchange(flow.code(), code_verifier=verifier)
    assert (status, found["error"]) in {(400, "invalid_grant"), (400, "invalid_request")}
    assert not AccessToken.objects.exists()


@pytest.mark.parametrize("uri", [None, "https://app.example/other", "https://APP.example/cb"])
def test_a_code_is_no_use_elsewhere_than_it_was_sent_to(flow: Flow, uri: str | None) -> None:
    status, _ = flow.exchange(flow.code(), redirect_uri=uri)
    assert status == 400
    assert not AccessToken.objects.exists()


def test_a_code_that_is_used_twice_ends_what_it_gave(flow: Flow) -> None:
    code = flow.code()
    _, first = flow.exchange(code)
    assert flow.exchange(code) == (400, {"error": "invalid_grant"})
    assert flow.refresh(first["refresh_token"])[0] == 400
    [revoked] = Revocation.objects.filter(kind="grant")
    assert revoked.value == str(issuing.read(first["access_token"]).authorization_id)
    assert revoked.issued_before.timestamp() > issuing.read(first["access_token"]).issued_at
    assert flow.exchange(code)[0] == 400
    assert Revocation.objects.count() == 1, "who tries again and again writes nothing"


def test_a_code_that_gave_no_refresh_token_is_watched_too(flow: Flow) -> None:
    code = flow.code(scope="inference")
    assert flow.exchange(code)[0] == 200
    assert flow.exchange(code)[0] == 400
    assert Revocation.objects.get().kind == "grant"


def test_a_code_lives_a_minute(flow: Flow) -> None:
    code = flow.code()
    Grant.objects.update(expires=timezone.now())
    assert flow.exchange(code)[0] == 400


def test_codes_and_refresh_tokens_are_their_application_s(flow: Flow, catalog: rows.Catalog) -> None:
    other = Flow(oauth_client.application(catalog.project, "other"), flow.browser)
    other.verifier = flow.verifier
    code = flow.code()
    assert other.exchange(code) == (400, {"error": "invalid_grant"})
    status, found = flow.exchange(code)
    assert status == 200
    assert other.refresh(found["refresh_token"]) == (400, {"error": "invalid_grant"})
    assert post("/oauth/revoke", {"client_id": other.app.client_id, "token": found["refresh_token"]})[0] == 200
    assert flow.refresh(found["refresh_token"])[0] == 200, "another's application took nothing away"


def test_refresh_tokens_take_turns(flow: Flow) -> None:
    first = flow.tokens()
    status, second = flow.refresh(first["refresh_token"])
    assert (status, second["scope"]) == (200, "inference offline_access")
    assert second["refresh_token"] != first["refresh_token"]
    assert flow.refresh(first["refresh_token"]) == (400, {"error": "invalid_grant"})
    assert flow.refresh(second["refresh_token"])[0] == 400, "the family ended with the reuse"
    assert Revocation.objects.filter(kind="grant").exists()


def test_scopes_never_grow(flow: Flow) -> None:
    first = flow.tokens()
    assert flow.refresh(first["refresh_token"], scope="inference account") == (400, {"error": "invalid_scope"})
    _, less = flow.refresh(first["refresh_token"], scope="inference")
    assert less["scope"] == "inference"
    _, again = flow.refresh(less["refresh_token"])
    assert again["scope"] == "inference offline_access", "what the user allowed, and no more"


def test_a_refresh_token_needs_its_scope(flow: Flow) -> None:
    assert "refresh_token" not in flow.tokens(scope="inference")
    assert not RefreshToken.objects.exists()


def test_a_refresh_token_lives_thirty_days(flow: Flow) -> None:
    first = flow.tokens()
    RefreshToken.objects.update(created=timezone.now() - timedelta(days=30))
    assert flow.refresh(first["refresh_token"])[0] == 400


@pytest.mark.parametrize("grant_type", ["password", "client_credentials", "openid", "implicit", "", None, "x" * 999])
def test_other_grants_are_not_there(flow: Flow, grant_type: str | None) -> None:
    status, found = flow.token(grant_type=grant_type, username="ada", password=rows.PASSWORD, scope="inference")
    assert status in {400, 401}
    assert "access_token" not in found


def test_a_token_request_says_nothing_in_its_address(flow: Flow) -> None:
    code = flow.code()
    form = flow.query() | {"grant_type": "authorization_code", "code": code, "code_verifier": flow.verifier}
    status, found = post(f"/oauth/token?code={code}", form)
    assert (status, found["error"]) == (400, "invalid_request")
    assert Client().get(f"/oauth/token?code={code}").status_code == 405
    assert Client().post("/oauth/token", form, content_type="application/json").status_code == 400


@pytest.mark.parametrize("what", ["archived", "disabled", "inactive", "revoked", "password"])
def test_what_has_ended_gets_nothing_more(flow: Flow, what: str) -> None:
    first, code = flow.tokens(), flow.code()
    user = User.objects.get(username="ada")
    if what == "archived":
        project = flow.app.project
        project.is_archived = True
        project.save()
    elif what == "disabled":
        OAuthApplication.objects.update(is_enabled=False)
    elif what == "inactive":
        User.objects.filter(pk=user.pk).update(is_active=False)
    elif what == "password":
        user.set_password("another long password")
        user.save()
    else:
        flow.browser.post("/account/applications", {"revoke": str(Authorization.objects.get().pk)})
    assert flow.exchange(code)[0] in {400, 401}
    assert flow.refresh(first["refresh_token"])[0] in {400, 401}
    kinds = set(Revocation.objects.values_list("kind", flat=True))
    assert kinds == {"inactive": {"user"}, "password": {"user"}, "revoked": {"grant"}}.get(what, set())


def test_what_calls_at_a_users_expense_ends_with_the_user(flow: Flow, catalog: rows.Catalog) -> None:
    """Edges know tokens by their signature, and keys by a wallet that stays."""
    refresh_token, user = flow.tokens()["refresh_token"], User.objects.get(username="ada")
    new = {"project": catalog.project, "scopes": ["inference"], "user": user}
    theirs = relay_key_mint(**new, name="theirs", pays="user").relay_key
    ours = relay_key_mint(**new, name="ours").relay_key
    number = str(user.pk)
    user.delete()
    assert Revocation.objects.filter(kind="user", value=number, issued_before__lte=timezone.now()).exists()
    assert flow.refresh(refresh_token)[0] == 400
    for key, is_over in ((theirs, True), (ours, False)):
        key.refresh_from_db()
        assert (key.revoked_at is not None) is is_over


def test_the_same_scopes_are_asked_for_once(flow: Flow) -> None:
    flow.code()
    assert "code" in told(flow.ask())
    assert flow.ask(scope="inference account").status_code == 200, "more is asked for again"
    Authorization.objects.update(revoked_at=timezone.now())
    assert flow.ask().status_code == 200, "and so is what was taken back"


def test_a_program_on_the_user_s_machine_is_asked_for_each_time(flow: Flow) -> None:
    local = "http://127.0.0.1:5555/cb"
    OAuthApplication.objects.update(redirect_uris=local)
    for _ in range(2):
        assert flow.ask(redirect_uri=local).status_code == 200
        assert flow.decide(redirect_uri=local).status_code == 302


def test_a_token_of_after_a_revocation_lives(flow: Flow) -> None:
    flow.tokens(cap="100")
    found = flow.tokens(cap="1", scope="inference account")
    header = {"Authorization": f"Bearer {found['access_token']}"}
    assert Client().get("/oauth/userinfo", headers=header).status_code == 200, "in the same second"


def test_a_smaller_cap_ends_the_tokens_of_the_larger(flow: Flow) -> None:
    flow.tokens(cap="100")
    assert not Revocation.objects.exists()
    claims = issuing.read(flow.tokens(cap="1")["access_token"])
    assert (claims.cap_microcredits, Revocation.objects.get().kind) == (MICRO, "grant")


@pytest.mark.parametrize("cap", ["-1", "nan", "1e99", str(2**63), "0.0000001", "ten"])
def test_a_cap_is_a_sum(flow: Flow, cap: str) -> None:
    assert flow.decide(cap=cap).status_code == 400
    assert not Authorization.objects.exists()


def test_somebody_who_is_not_signed_in_is_asked_to_first(flow: Flow) -> None:
    flow.browser.logout()
    response = flow.ask()
    assert response.status_code == 302
    assert response["Location"].startswith("/account/sign-in?next=/oauth/authorize%3F")
    assert flow.decide().status_code == 302
    assert not Grant.objects.exists()


@pytest.mark.parametrize("wrong", [{"response_type": "token"}, {"scope": "admin"}, {"code_challenge": None}])
def test_nobody_is_led_on_to_an_application_before_they_signed_in(flow: Flow, wrong: dict[str, Any]) -> None:
    """Whoever may make an application would lead people from our address to any other."""
    flow.browser.logout()
    for response in (flow.ask(**wrong), flow.decide(**wrong)):
        assert response["Location"].startswith("/account/sign-in?next=/oauth/authorize%3F")


def test_the_consent_page_is_the_user_s_alone(flow: Flow) -> None:
    response = flow.ask()
    policy = response["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert policy.endswith("form-action 'self' https://app.example")
    assert (response["X-Frame-Options"], response["Referrer-Policy"]) == ("DENY", "same-origin")
    assert response["Cache-Control"] == "no-store"
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="ada"))
    assert Flow(flow.app, strict).decide().status_code == 403
    assert not Grant.objects.exists()


def test_names_are_text_on_the_consent_page(flow: Flow) -> None:
    bad = "<script>alert(1)</script>"
    OAuthApplication.objects.update(name=bad)
    flow.app.project.name = bad
    flow.app.project.save()
    text = flow.ask().content.decode()
    assert bad not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_revocation_of_either_token(flow: Flow) -> None:
    found = flow.tokens(scope="inference account offline_access")
    header = {"Authorization": f"Bearer {found['access_token']}"}
    assert Client().get("/oauth/userinfo", headers=header).json()["preferred_username"] == "ada"
    form = {"client_id": flow.app.client_id, "token": found["access_token"]}
    assert post("/oauth/revoke", form) == (200, {})
    assert Client().get("/oauth/userinfo", headers=header).status_code == 401
    assert Revocation.objects.get().kind == "jti"
    assert post("/oauth/revoke", {**form, "token": found["refresh_token"]})[0] == 200
    assert flow.refresh(found["refresh_token"])[0] == 400
    assert post("/oauth/revoke", {**form, "token": "rr_unknown"}) == (200, {}), "nobody learns whether there is one"


@pytest.mark.parametrize(
    ("name", "proved", "told"),
    [
        ("ada", True, {}),
        ("other@example.test", True, {}),
        ("ada@example.test", False, {"email": "ada@example.test", "email_verified": False}),
        ("Ada@example.test", True, {"email": "ada@example.test", "email_verified": True}),
    ],
)
def test_user_info_tells_a_name_from_a_proved_address(
    flow: Flow, name: str, proved: bool, told: dict[str, Any]
) -> None:
    User.objects.update(username=name, email_verified_at=timezone.now() if proved else None)
    header = {"Authorization": f"Bearer {flow.tokens(scope='account')['access_token']}"}
    said = Client().get("/oauth/userinfo", headers=header).json()
    assert set(said) == {"sub", "preferred_username", "balance", *told}
    assert said["preferred_username"] == name
    assert {key: said[key] for key in told} == told


@pytest.mark.parametrize(("used", "overdraft", "left"), [(0, 0, 1000), (300, 0, 700), (300, 50, 700), (1050, 50, -50)])
def test_user_info_tells_of_a_call_before_its_row_is_there(
    flow: Flow, redis_url: str, used: int, overdraft: int, left: int
) -> None:
    header = {"Authorization": f"Bearer {flow.tokens(scope='account')['access_token']}"}
    wallet = Account.objects.get(pk=User.objects.get(username="ada").live_wallet_id)
    Account.objects.filter(pk=wallet.pk).update(overdraft_microcredits=overdraft)
    leg = Leg(EntryKind.GRANT, PROMOTIONS[KeyMode.LIVE], AccountId(wallet.pk), 1000)
    ledger_post(leg, source=uuid7(), note="x", by_id=None)
    with redis.Redis.from_url(redis_url) as client:
        client.hset(keys.purse("w", str(wallet.pk)), mapping={"granted": 1000 + overdraft, "used": used})
        for marker, told_as in (("41:38:abc", left), ("", 1000)):
            client.set(keys.MONEY, marker)
            said = Client().get("/oauth/userinfo", headers=header).json()
            assert said["balance"] == {"mode": "live", "microcredits": told_as}


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer x.y.z", "Basic eA==", "Bearer rk_live_x", "Bearer " + "a" * 9_000]
)
def test_user_info_wants_a_token(flow: Flow, header: str) -> None:
    response = Client().get("/oauth/userinfo", headers={"Authorization": header})
    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("Bearer ")


@pytest.mark.parametrize("kind", ["access", "refresh", "relay", "admin"])
def test_no_bearer_is_taken_for_another(flow: Flow, catalog: rows.Catalog, kind: str) -> None:
    found = flow.tokens(scope="inference account offline_access")
    token = {
        "access": found["access_token"],
        "refresh": found["refresh_token"],
        "relay": catalog.token,
        "admin": admin_token_mint(user=rows.user("operators"), name="t").token,
    }[kind]
    header = {"Authorization": f"Bearer {token}"}
    assert (Client().get("/oauth/userinfo", headers=header).status_code == 200) is (kind == "access")
    assert (Client().get("/api/v1/projects", headers=header).status_code == 200) is (kind in {"admin", "access"})
    assert (Client().post("/api/v1/usage/summary", headers=header).status_code == 403) is (kind == "access")
    assert (flow.refresh(token)[0] == 200) is (kind == "refresh")
    assert flow.exchange(token)[0] == 400


def test_user_info_wants_its_scope(flow: Flow) -> None:
    header = {"Authorization": f"Bearer {flow.tokens()['access_token']}"}
    assert Client().get("/oauth/userinfo", headers=header).status_code == 403


def test_introspection_is_for_confidential_applications_of_the_project(flow: Flow, catalog: rows.Catalog) -> None:
    text = flow.tokens()["access_token"]
    made = services.application_make(
        project=catalog.project, name="server", client_type="confidential", redirect_uris=REDIRECT
    )
    form = {"client_id": made.application.client_id, "client_secret": made.secret, "token": text}
    status, said = post("/oauth/introspect", form)
    assert (status, said["active"], said["client_id"]) == (200, True, flow.app.client_id)
    assert post("/oauth/introspect", {**form, "client_secret": "as_wrong"})[0] == 401
    assert post("/oauth/introspect", {"client_id": flow.app.client_id, "client_secret": "", "token": text})[0] == 401
    assert post("/oauth/introspect", {**form, "token": "x.y.z"}) == (200, {"active": False})
    project = type(catalog.project).objects.create(slug="elsewhere", name="Elsewhere")
    stranger = services.application_make(
        project=project, name="server", client_type="confidential", redirect_uris=REDIRECT
    )
    form = {**form, "client_id": stranger.application.client_id, "client_secret": stranger.secret}
    assert post("/oauth/introspect", form) == (200, {"active": False})


def test_a_confidential_application_needs_its_secret(flow: Flow, catalog: rows.Catalog) -> None:
    made = services.application_make(
        project=catalog.project, name="server", client_type="confidential", redirect_uris=REDIRECT
    )
    server = Flow(made.application, flow.browser)
    code = server.code()
    assert server.exchange(code)[0] == 401
    assert server.exchange(code, client_secret="as_wrong")[0] == 401
    status, found = server.exchange(code, client_secret=made.secret)
    assert status == 200
    renewed = services.application_secret_renew(application=made.application)
    assert server.refresh(found["refresh_token"], client_secret=made.secret)[0] == 401
    assert server.refresh(found["refresh_token"], client_secret=renewed.secret)[0] == 400, "they ended with it"


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_two_refreshes_at_once_one_is_the_reuse(catalog: rows.Catalog) -> None:
    browser = Client()
    browser.force_login(User.objects.create_user("ada", "ada@example.test"))
    flow = Flow(oauth_client.application(catalog.project), browser)
    found, statuses = flow.tokens(), []
    start = threading.Barrier(2)

    def refresh() -> None:
        start.wait()
        try:
            statuses.append(flow.refresh(found["refresh_token"])[0])
        finally:
            connection.close()

    threads = [threading.Thread(target=refresh) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 400]
    assert not RefreshToken.objects.filter(revoked=None).exists(), "the family ended"


def _new_password(_flow: Flow, _token: str) -> None:
    user = User.objects.get(username="ada")
    user.set_password("another long password")
    user.save()


def _taken_back(_flow: Flow, _token: str) -> None:
    revocation.authorization_revoke(Authorization.objects.get())


def _all_of_the_application(flow: Flow, _token: str) -> None:
    revocation.revoke_application(flow.app)


def _signed_out(flow: Flow, token: str) -> None:
    assert post("/oauth/revoke", {"client_id": flow.app.client_id, "token": token})[0] == 200


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize("end", [_new_password, _taken_back, _all_of_the_application, _signed_out])
def test_a_refresh_that_is_under_way_outlives_no_revocation(
    catalog: rows.Catalog, monkeypatch: pytest.MonkeyPatch, end: Callable[[Flow, str], None]
) -> None:
    """Else whoever stole a token, and refreshes it without a pause, keeps it."""
    browser = Client()
    browser.force_login(User.objects.create_user("ada", "ada@example.test"))
    flow = Flow(oauth_client.application(catalog.project), browser)
    stolen = flow.tokens()["refresh_token"]
    is_issuing, may_go_on, make = threading.Event(), threading.Event(), issuing.access_token

    def slowly(request: Any) -> str:
        is_issuing.set()
        assert may_go_on.wait(10)
        return make(request)

    monkeypatch.setattr(server.issuing, "access_token", slowly)
    server.core.cache_clear()
    refreshing = _thread(lambda: flow.refresh(stolen))
    try:
        assert is_issuing.wait(10)
        ending = _thread(lambda: end(flow, stolen))
        while ending.is_alive() and not _somebody_waits():
            ending.join(0.01)
    finally:
        may_go_on.set()
        refreshing.join()
        server.core.cache_clear()
    ending.join()
    assert RefreshToken.objects.count() == 2
    assert not RefreshToken.objects.filter(revoked=None).exists()


def _thread(work: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])

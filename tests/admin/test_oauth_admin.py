"""Who may make applications, that a secret is shown once, and that operators can end what users allowed."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from relay_admin.access.models import AuditEvent, User
from relay_admin.access.oauth import authorizations, services
from relay_admin.access.oauth.models import Authorization, OAuthApplication, Revocation
from relay_admin.access.oauth.validator import hashed
from tests.admin import oauth_client, rows
from tests.admin.oauth_client import REDIRECT

JSON = "application/json"


def _body(catalog: rows.Catalog, **other: Any) -> dict[str, Any]:
    return {"project": catalog.project.slug, "name": "server", "redirectUris": [REDIRECT], **other}


def test_an_application_by_the_api(catalog: rows.Catalog, token_of: Any) -> None:
    header = token_of("operators")
    body = _body(catalog, clientType="confidential", policy=catalog.policy.slug)
    made = Client().post("/api/v1/applications", body, content_type=JSON, headers=header)
    assert made.status_code == 201, made.content
    said = made.json()
    stored = OAuthApplication.objects.get(client_id=said["clientId"])
    assert stored.client_secret == hashed(said["clientSecret"])
    path = f"/api/v1/applications/{said['id']}"
    assert "clientSecret" not in Client().get(path, headers=header).json()
    changed = Client().patch(path, {"isEnabled": False}, content_type=JSON, headers=header)
    assert changed.json()["isEnabled"] is False
    assert [row["id"] for row in Client().get("/api/v1/applications", headers=header).json()["results"]] == [said["id"]]
    renewed = Client().post(f"{path}/secret", headers=header).json()
    assert renewed["clientSecret"] != said["clientSecret"]
    assert Revocation.objects.get().kind == "application"
    events = AuditEvent.objects.filter(subject="access.oauthapplication", subject_id=said["id"])
    assert events.filter(action="insert", project_id=catalog.project.pk).exists()
    written = " ".join(f"{event.before} {event.after}" for event in events)
    assert stored.client_secret not in written


@pytest.mark.parametrize(
    "other",
    [
        {"redirectUris": []},
        {"redirectUris": ["http://app.example/#a"]},
        {"redirectUris": ["https://a.example/cb https://b.example/cb"]},
        {"allowedOrigins": ["*"]},
        {"clientId": "app_mine"},
        {"clientSecret": "mine"},
        {"user": 1},
        {"name": "x" * 101},
        {"name": "Bank\u202eyaler"},
        {"name": "Bank\u200b"},
        {"grantType": "client-credentials"},
        {"mode": "free"},
    ],
)
def test_bodies_that_are_not_taken(catalog: rows.Catalog, token_of: Any, other: dict[str, Any]) -> None:
    response = Client().post(
        "/api/v1/applications", _body(catalog, **other), content_type=JSON, headers=token_of("operators")
    )
    assert response.status_code == 400
    assert not OAuthApplication.objects.exists()


def test_who_may_see_and_who_may_make(catalog: rows.Catalog, token_of: Any) -> None:
    for who, sees, makes in (("operators", 200, 201), ("support", 200, 403), ("viewers", 200, 403)):
        header = token_of(who)
        assert Client().get("/api/v1/applications", headers=header).status_code == sees
        made = Client().post("/api/v1/applications", _body(catalog), content_type=JSON, headers=header)
        assert made.status_code == makes
    assert Client().get("/api/v1/applications").status_code in {401, 403}


def test_an_operator_revokes_what_a_user_allowed(catalog: rows.Catalog, token_of: Any) -> None:
    user = User.objects.create_user("ada", "ada@example.test")
    row = authorizations.authorization_give(
        user=user, application=oauth_client.application(catalog.project), scopes=["inference"], cap_microcredits=None
    )
    path = f"/api/v1/authorizations/{row.pk}/revoke"
    assert Client().post(path, headers=token_of("support")).status_code == 404, "neither theirs nor theirs to end"
    header = token_of("operators")
    [listed] = Client().get("/api/v1/authorizations", headers=header).json()["results"]
    assert (listed["user"], listed["revokedAt"]) == ("ada", None)
    assert Client().post(path, headers=header).json()["revokedAt"] is not None
    assert Revocation.objects.get().value == str(row.pk)


def test_an_application_by_the_admin(catalog: rows.Catalog, client_of: Any) -> None:
    operator = client_of("operators")
    form = {
        "project": catalog.project.pk,
        "name": "server",
        "mode": "live",
        "client_type": "confidential",
        "authorization_grant_type": "authorization-code",
        "redirect_uris": REDIRECT,
        "allowed_origins": "https://app.example",
        "is_enabled": "on",
    }
    shown = operator.post(reverse("admin:access_oauthapplication_add"), form)
    assert shown.status_code == 200, shown.context["adminform"].errors if shown.context else shown.content
    made = OAuthApplication.objects.get()
    secret = shown.content.decode().split('value="as_')[1].split('"')[0]
    assert made.client_secret == hashed(f"as_{secret}")
    assert (made.redirect_uris, made.allowed_origins) == (REDIRECT, ["https://app.example"])
    page = operator.get(reverse("admin:access_oauthapplication_change", args=[made.pk]))
    assert made.client_secret not in page.content.decode()
    assert made.client_id in page.content.decode()
    renew = reverse("admin:access_oauthapplication_renew_secret", args=[made.pk])
    assert operator.post(renew).status_code == 200
    made.refresh_from_db()
    assert made.client_secret == hashed(f"as_{secret}"), "it asks first"
    assert "as_" in operator.post(renew, {"confirmed": "yes"}).content.decode()
    made.refresh_from_db()
    assert made.client_secret != hashed(f"as_{secret}")


def test_authorizations_in_the_admin(catalog: rows.Catalog, client_of: Any) -> None:
    user = User.objects.create_user("ada", "ada@example.test")
    app = services.application_make(project=catalog.project, name="writer", redirect_uris=REDIRECT).application
    row = authorizations.authorization_give(user=user, application=app, scopes=["inference"], cap_microcredits=1)
    operator = client_of("operators")
    listed = reverse("admin:access_authorization_changelist")
    assert "ada" in operator.get(listed).content.decode()
    operator.post(listed, {"action": "revoke", "_selected_action": str(row.pk)})
    assert Authorization.objects.get().revoked_at is not None

"""Consent makes somebody a customer of the application's project, and says once and for all who brought them."""

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client

from relay_admin.access import memberships
from relay_admin.access.invitations import invitation_accept, invitation_create
from relay_admin.access.models import Membership, User
from relay_admin.access.oauth import authorizations, services
from relay_admin.access.oauth.models import Authorization, OAuthApplication, RefreshToken
from relay_admin.access.services import admin_token_mint
from relay_admin.catalog.models import Policy, Project
from tests.admin import oauth_client, rows
from tests.admin.oauth_client import REDIRECT, Flow

JSON = "application/json"


def person(name: str) -> User:
    """As they are stored: the database gives them their code."""
    return User.objects.get(pk=rows.user(name).pk)


@pytest.fixture
def ada(db: None) -> User:
    return person("ada")


@pytest.fixture
def bob(db: None) -> User:
    return person("bob")


def browser_of(user: User) -> Client:
    made = Client()
    made.force_login(user)
    return made


def allow(user: User, app: OAuthApplication, referral: str = "") -> Authorization:
    return authorizations.authorization_give(
        user=user, application=app, scopes=["inference"], cap_microcredits=None, referral=referral
    )


def referrer_of(user: User) -> User | None:
    return Membership.objects.get(user=user).referrer


def test_a_yes_on_the_page_makes_a_customer(catalog: rows.Catalog, ada: User, bob: User) -> None:
    flow = Flow(oauth_client.application(catalog.project), browser_of(ada))
    assert flow.tokens(referral=bob.referral_code)["access_token"]
    row = Membership.objects.get(user=ada)
    assert (row.project, row.role, row.referrer) == (catalog.project, "customer", bob)
    listed = browser_of(ada).get("/api/v1/projects").json()["results"]
    assert [(each["slug"], each["role"]) for each in listed] == [("shop", "customer")]


def test_the_page_says_what_is_added_and_who_sees(catalog: rows.Catalog, ada: User) -> None:
    flow = Flow(oauth_client.application(catalog.project), browser_of(ada))
    assert "The project adds" not in flow.ask().content.decode()
    Project.objects.update(markup_ppm=125_000)
    said = flow.ask().content.decode()
    assert "The project adds 12.5 % to the relay" in said
    assert "its members see your name and what you call" in said


def test_a_no_makes_nobody(catalog: rows.Catalog, ada: User) -> None:
    Flow(oauth_client.application(catalog.project), browser_of(ada)).decide("deny")
    assert not Membership.objects.exists()


def test_only_the_first_yes_says_who_brought_them(catalog: rows.Catalog, ada: User, bob: User) -> None:
    first, second = (oauth_client.application(catalog.project, name) for name in ("one", "two"))
    allow(ada, first)
    allow(ada, second, bob.referral_code)
    assert referrer_of(ada) is None
    memberships.membership_remove(membership=Membership.objects.get(user=ada))
    allow(ada, first, bob.referral_code)
    assert referrer_of(ada) is None, "nor does leaving help"


def test_who_brings_nobody(catalog: rows.Catalog, ada: User, bob: User) -> None:
    app = oauth_client.application(catalog.project)
    Membership.objects.create(project=catalog.project, user=bob, role="owner")
    allow(ada, app, bob.referral_code)
    assert referrer_of(ada) is None, "the owner"
    eve = person("eve")
    allow(eve, app, eve.referral_code)
    assert referrer_of(eve) is None, "oneself"
    cat = person("cat")
    allow(cat, app, "0" * 12)
    assert referrer_of(cat) is None, "nobody"
    allow(bob, app, ada.referral_code)
    assert (Membership.objects.get(user=bob).role, referrer_of(bob)) == ("owner", None), "the owner is no customer"


def test_the_database_keeps_it(catalog: rows.Catalog, ada: User, bob: User) -> None:
    allow(ada, oauth_client.application(catalog.project), bob.referral_code)
    eve = person("eve")
    for wrong in (eve, ada):
        with pytest.raises(IntegrityError), transaction.atomic():
            Membership.objects.filter(user=ada).update(referrer=wrong)
    bob.delete()
    assert referrer_of(ada) is None


def test_codes_differ_and_are_told(ada: User, bob: User) -> None:
    assert ada.referral_code in browser_of(ada).get("/account/").content.decode()
    assert browser_of(ada).get("/auth/whoami").json()["referralCode"] == ada.referral_code
    codes = {User.objects.get(pk=user.pk).referral_code for user in (ada, bob)}
    assert len(codes) == 2
    assert all(len(code) == 12 for code in codes)


def test_a_customer_who_goes_takes_the_tokens_along(catalog: rows.Catalog, ada: User) -> None:
    flow = Flow(oauth_client.application(catalog.project), browser_of(ada))
    pair = flow.tokens()
    memberships.membership_remove(membership=Membership.objects.get(user=ada))
    assert Authorization.objects.get().revoked_at is not None
    assert not RefreshToken.objects.filter(revoked=None).exists()
    assert flow.refresh(pair["refresh_token"])[0] == 400


def test_a_customer_who_is_invited_becomes_more(catalog: rows.Catalog, ada: User) -> None:
    allow(ada, oauth_client.application(catalog.project))
    invited = invitation_create(email=ada.email, project=catalog.project, role="developer").invitation
    invitation_accept(invitation=invited, user=ada)
    assert Membership.objects.get(user=ada).role == "developer"


# --- the API


def member(project: Project, role: str) -> dict[str, str]:
    """The header of somebody with that role."""
    user = rows.user(role)
    Membership.objects.create(project=project, user=user, role=role)
    return bearer(user)


def bearer(user: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {admin_token_mint(user=user, name='test').token}"}


def test_members_manage_their_applications(catalog: rows.Catalog) -> None:
    def body(**other: Any) -> dict[str, Any]:
        return {"project": "shop", "name": "spa", "redirectUris": [REDIRECT], "mode": "test", **other}

    developer, admin = member(catalog.project, "developer"), member(catalog.project, "admin")

    def made(header: dict[str, str], **other: Any) -> Any:
        return Client().post("/api/v1/applications", body(**other), content_type=JSON, headers=header)

    assert made(developer, mode="live").status_code == 403
    test = made(developer, policy=catalog.policy.slug)
    assert (test.status_code, test.json()["policy"]) == (201, catalog.policy.slug)
    live = made(admin, mode="live", name="live").json()
    path = f"/api/v1/applications/{live['id']}"
    assert Client().patch(path, {"name": "x"}, content_type=JSON, headers=developer).status_code == 403
    assert Client().patch(path, {"name": "x"}, content_type=JSON, headers=admin).json()["name"] == "x"
    assert Client().get(path, headers=developer).json()["name"] == "x"
    other = Policy.objects.create(slug="unoffered")
    assert made(admin, name="z", policy=other.slug).status_code == 400, "policies are the operators'"


def test_a_person_sees_and_revokes_their_own(catalog: rows.Catalog, ada: User, bob: User) -> None:
    app = services.application_make(project=catalog.project, name="writer", redirect_uris=REDIRECT).application
    mine, other = allow(ada, app), allow(bob, app)
    header = bearer(ada)
    listed = Client().get("/api/v1/authorizations", headers=header).json()["results"]
    assert [row["id"] for row in listed] == [mine.pk]
    assert Client().post(f"/api/v1/authorizations/{other.pk}/revoke", headers=header).status_code == 403
    assert Client().post(f"/api/v1/authorizations/{mine.pk}/revoke", headers=header).json()["revokedAt"]
    admin = member(catalog.project, "admin")
    assert len(Client().get("/api/v1/authorizations", headers=admin).json()["results"]) == 2
    assert Client().get("/api/v1/authorizations?mine=true", headers=admin).json()["results"] == []
    assert Client().post(f"/api/v1/authorizations/{other.pk}/revoke", headers=admin).status_code == 200

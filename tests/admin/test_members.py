"""Members, invitations and keys that may control: services, pages and the control API."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from relay_admin.access import invitations, memberships, services
from relay_admin.access.models import AuditEvent, Invitation, Membership, RelayKey, User
from relay_admin.access.oauth.models import OAuthApplication
from relay_admin.access.roles import Role
from relay_admin.catalog.models import Policy, Project, RateLimit, Target
from relay_admin.deliveries.models import Delivery, ReplayBatch
from relay_contract import tokens
from relay_contract.intake import DeliveryState
from relay_contract.logs import REDACTED, without_secrets
from tests.admin import rows

JSON = "application/json"
MODES: list[dict[str, str]] = [{}, {"mode": "live"}, {"mode": "test"}]
MEMBERS, INVITATIONS = "/api/v1/projects/shop/members", "/api/v1/projects/shop/invitations"


def member(project: Project, role: str, name: str = "") -> Membership:
    """Somebody without any right of an operator."""
    user = User.objects.create_user(name or role, f"{name or role}@example.test")
    return Membership.objects.create(project=project, user=user, role=role)


def bearer(who: Membership | RelayKey | User, token: str = "") -> Client:
    """A client that sends a token of theirs."""
    if isinstance(who, Membership):
        who = who.user
    if isinstance(who, User):
        token = services.admin_token_mint(user=who, name=f"t{who.admin_tokens.count()}").token
    return Client(headers={"Authorization": f"Bearer {token}"})


def control_key(project: Project, **columns: Any) -> Client:
    """A client with a relay key that may control."""
    minted = services.relay_key_mint(project=project, name="control", scopes=["control"], **columns)
    return bearer(minted.relay_key, minted.token)


# Memberships


def test_a_project_has_one_owner(catalog: rows.Catalog) -> None:
    member(catalog.project, "owner")
    with transaction.atomic(), pytest.raises(IntegrityError, match="access_membership_one_owner"):
        member(catalog.project, "owner", "usurper")
    with pytest.raises(ValidationError, match="has an owner already"):
        memberships.membership_add(project=catalog.project, user=rows.user("usurper"), role="owner")


def test_the_owner_stays(catalog: rows.Catalog) -> None:
    owner = member(catalog.project, "owner")
    for change in (
        lambda: memberships.membership_remove(membership=owner),
        lambda: memberships.membership_change(membership=owner, role="admin"),
        lambda: memberships.membership_change(membership=owner, role="admin", may_make_owner=True),
    ):
        with pytest.raises(ValidationError, match="keeps its owner"):
            change()
    client = bearer(owner)
    assert client.delete(f"{MEMBERS}/{owner.pk}").status_code == 400
    assert client.post("/api/v1/projects/shop/leave").status_code == 400
    assert Membership.objects.get().role == Role.OWNER


def test_an_operator_makes_somebody_else_the_owner(catalog: rows.Catalog, token_of) -> None:
    owner, admin = member(catalog.project, "owner"), member(catalog.project, "admin")
    refused = bearer(owner).patch(f"{MEMBERS}/{admin.pk}", {"role": "owner"}, JSON)
    assert refused.status_code == 400
    answer = Client().patch(f"{MEMBERS}/{admin.pk}", {"role": "owner"}, JSON, headers=token_of("operators"))
    assert (answer.status_code, answer.json()["role"]) == (200, "owner")
    assert {row.user.username: row.role for row in Membership.objects.all()} == {"owner": "admin", "admin": "owner"}


def test_an_admin_changes_and_removes_others(catalog: rows.Catalog) -> None:
    client, other = bearer(member(catalog.project, "admin")), member(catalog.project, "viewer")
    answer = client.patch(f"{MEMBERS}/{other.pk}", {"role": "support"}, JSON)
    assert (answer.status_code, answer.json()["role"]) == (200, "support")
    for role in ("customer", "king", ""):
        assert client.patch(f"{MEMBERS}/{other.pk}", {"role": role}, JSON).status_code == 400
    assert [row["username"] for row in client.get(MEMBERS).json()["results"]] == ["admin", "viewer"]
    assert client.delete(f"{MEMBERS}/{other.pk}").status_code == 204
    assert client.delete(f"{MEMBERS}/{other.pk}").status_code == 404
    assert bearer(other.user).get("/api/v1/projects").json() == {"results": [], "next": None}


def test_members_do_not_add_users_by_name(catalog: rows.Catalog, token_of) -> None:
    rows.user("somebody")
    body = {"username": "somebody", "role": "viewer"}
    assert bearer(member(catalog.project, "owner")).post(MEMBERS, body, JSON).status_code == 403
    assert Client().post(MEMBERS, body, JSON, headers=token_of("operators")).status_code == 201
    assert Client().post(MEMBERS, body, JSON, headers=token_of("superuser")).status_code == 400


def test_leaving_ends_what_one_invited_to(catalog: rows.Catalog) -> None:
    admin = member(catalog.project, "admin")
    minted = invitations.invitation_create(email="a@example.test", project=catalog.project, role="admin", by=admin.user)
    assert bearer(admin).post("/api/v1/projects/shop/leave").status_code == 204
    assert not Membership.objects.exists()
    assert invitations.invitation_of(minted.token) is None


def test_losing_the_role_ends_what_one_invited_to(catalog: rows.Catalog) -> None:
    admin = member(catalog.project, "admin")
    minted = invitations.invitation_create(email="a@example.test", project=catalog.project, role="admin", by=admin.user)
    memberships.membership_change(membership=admin, role="developer")
    assert invitations.invitation_of(minted.token) is None


@pytest.mark.parametrize("change", ["deactivated", "demoted", "gone"])
def test_who_may_not_invite_any_more_has_invited_nobody(catalog: rows.Catalog, change: str) -> None:
    """Also where the invitation was being made meanwhile, so that nobody took it back."""
    admin = member(catalog.project, "admin")
    minted = invitations.invitation_create(email="a@example.test", project=catalog.project, role="admin", by=admin.user)
    assert invitations.invitation_of(minted.token) == minted.invitation
    match change:
        case "deactivated":
            User.objects.filter(pk=admin.user_id).update(is_active=False)
        case "demoted":
            Membership.objects.filter(pk=admin.pk).update(role="developer")
        case _:
            Membership.objects.filter(pk=admin.pk).delete()
    assert invitations.invitation_of(minted.token) is None
    with pytest.raises(ValidationError, match="not open any more"):
        invitations.invitation_accept(
            invitation=minted.invitation, user=User.objects.create_user("a", "a@example.test")
        )


def test_what_a_person_sees_of_projects(catalog: rows.Catalog) -> None:
    viewer = bearer(member(catalog.project, "viewer"))
    Project.objects.create(slug="bank", name="Bank")
    shown: dict[str, Any] = {"id": catalog.project.pk, "slug": "shop", "name": "Shop", "isArchived": False}
    shown |= {"role": "viewer", "userBudget": None}
    for name, at in (("createdAt", catalog.project.created_at), ("updatedAt", catalog.project.updated_at)):
        shown[name] = at.isoformat().replace("+00:00", "Z")
    assert viewer.get("/api/v1/projects").json() == {"results": [shown], "next": None}
    assert viewer.get("/api/v1/projects/shop").json() == shown | {"ownBudget": None}
    assert viewer.get("/api/v1/projects/bank").status_code == 404
    assert Client().get("/api/v1/projects").status_code == 401


# Invitations


def test_an_invitation_is_accepted_once(catalog: rows.Catalog) -> None:
    minted = invitations.invitation_create(email="New@example.test", project=catalog.project, role="developer")
    user = User.objects.create_user("new", "new@example.test")
    found = invitations.invitation_of(minted.token)
    assert found == minted.invitation
    assert tokens.hash_token(minted.token) == bytes(Invitation.objects.get().token_hash)
    made = invitations.invitation_accept(invitation=found, user=user)
    assert made is not None
    assert (made.project, made.user, made.role) == (catalog.project, user, "developer")
    assert invitations.invitation_of(minted.token) is None
    with pytest.raises(ValidationError, match="not open any more"):
        invitations.invitation_accept(invitation=found, user=user)


def test_an_invitation_is_of_one_address(catalog: rows.Catalog) -> None:
    minted = invitations.invitation_create(email="new@example.test", project=catalog.project, role="admin")
    with pytest.raises(ValidationError, match="another e-mail address"):
        invitations.invitation_accept(invitation=minted.invitation, user=rows.user("thief"))
    assert invitations.invitation_of(minted.token) == minted.invitation
    assert not Membership.objects.exists()


def test_an_invitation_gives_no_member_another_role(catalog: rows.Catalog) -> None:
    owner = member(catalog.project, "owner")
    minted = invitations.invitation_create(email=owner.user.email, project=catalog.project, role="viewer")
    assert invitations.invitation_accept(invitation=minted.invitation, user=owner.user) == owner
    assert Membership.objects.get().role == "owner"


def test_an_invitation_to_sign_up_has_no_project(db: None) -> None:
    minted = invitations.invitation_create(email="new@example.test")
    user = User.objects.create_user("new", "new@example.test")
    assert invitations.invitation_accept(invitation=minted.invitation, user=user) is None
    with pytest.raises(ValidationError):
        invitations.invitation_create(email="new@example.test", role="admin")


@pytest.mark.parametrize("role", ["owner", "customer", "", "king"])
def test_nobody_is_invited_to_own(role: str, catalog: rows.Catalog) -> None:
    with pytest.raises(ValidationError):
        invitations.invitation_create(email="new@example.test", project=catalog.project, role=role)
    client = bearer(member(catalog.project, "owner"))
    assert client.post(INVITATIONS, {"email": "new@example.test", "role": role}, JSON).status_code == 400
    assert not Invitation.objects.exists()


def test_an_invitation_ends(catalog: rows.Catalog) -> None:
    first = invitations.invitation_create(email="new@example.test", project=catalog.project, role="viewer")
    second = invitations.invitation_create(email="NEW@example.test", project=catalog.project, role="admin")
    assert invitations.invitation_of(first.token) is None
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert invitations.invitation_of(second.token) is None
    assert invitations.invitation_of("ri_\udcff") is None


def test_a_project_has_so_many_open_invitations(catalog: rows.Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitations, "MOST_OPEN", 1)
    invitations.invitation_create(email="a@example.test", project=catalog.project, role="viewer")
    invitations.invitation_create(email="a@example.test", project=catalog.project, role="admin")
    with pytest.raises(ValidationError, match="at most 1"):
        invitations.invitation_create(email="b@example.test", project=catalog.project, role="viewer")


def test_a_token_is_told_once_and_written_nowhere(catalog: rows.Catalog) -> None:
    client = bearer(member(catalog.project, "admin"))
    answer = client.post(INVITATIONS, {"email": "new@example.test", "role": "viewer"}, JSON)
    token = answer.json()["token"]
    assert answer.json()["link"].endswith(f"/account/invitation/{token}")
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    assert invitations.invitation_of(token) is not None
    [listed] = client.get(INVITATIONS).json()["results"]
    assert (listed["email"], listed["role"], listed["invitedBy"]) == ("new@example.test", "viewer", "admin")
    assert token not in client.get(INVITATIONS).content.decode()
    event = AuditEvent.objects.filter(subject="access.invitation").latest("pk")
    assert (event.project_id, event.actor_name, event.after["token_hash"]) == (catalog.project.pk, "admin", "(changed)")
    assert without_secrets(f"see {token}") == f"see {REDACTED}"
    assert client.delete(f"{INVITATIONS}/{listed['id']}").status_code == 204
    assert invitations.invitation_of(token) is None


def test_the_admins_page_makes_invitations(catalog: rows.Catalog, client_of) -> None:
    client: Client = client_of("operators")
    wanted = {"project": catalog.project.pk, "email": "new@example.test", "role": "owner"}
    page = "/admin/access/invitation/add/"
    assert "Choose one of admin" in client.post(page, wanted).content.decode()
    shown = client.post(page, wanted | {"role": "viewer"}).content.decode()
    row = Invitation.objects.get()
    assert (row.project, row.role, row.invited_by.username) == (catalog.project, "viewer", "operators-member")
    [token] = {word for word in re.split(r"[/\s<>\"]", shown) if word[:3] == "ri_"}
    assert invitations.invitation_of(token) == row
    assert token not in client.get("/admin/access/invitation/").content.decode()


def test_members_are_on_their_projects_page(catalog: rows.Catalog, client_of) -> None:
    member(catalog.project, "developer", "dora")
    page = f"/admin/catalog/project/{catalog.project.pk}/change/"
    assert "dora" in client_of("operators").get(page).content.decode()
    assert "dora" not in client_of("viewers").get(page).content.decode()


# Keys that may control


def test_a_control_key_acts_as_developer_of_its_project(catalog: rows.Catalog) -> None:
    client = control_key(catalog.project)
    assert client.get("/auth/whoami").json() == {
        "project": "shop",
        "role": "developer",
        "relayKey": RelayKey.objects.get(name="control").key_id,
        "via": "key",
    }
    assert client.post(f"/api/v1/targets/{catalog.target.pk}/disable").status_code == 200
    assert not Target.objects.get().is_enabled
    event = AuditEvent.objects.filter(subject="catalog.target", action="update").latest("pk")
    key_id = RelayKey.objects.get(name="control").key_id
    assert (event.via, event.actor_id, event.actor_name, event.tool) == ("api", None, "", f"relay key {key_id}")
    minted = client.post(
        "/api/v1/relay-keys", {"project": "shop", "name": "n", "scopes": ["relay"], "mode": "test"}, JSON
    )
    assert (minted.status_code, RelayKey.objects.get(name="n").created_by) == (201, None)
    assert client.get("/api/v1/sessions").status_code == 403
    assert client.get(MEMBERS).status_code == 403
    assert client.post("/api/v1/projects/shop/leave").status_code == 403


def refused(client: Client) -> bool:
    answer = client.get("/api/v1/projects")
    return (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


def test_which_relay_keys_may_not(catalog: rows.Catalog) -> None:
    assert refused(bearer(catalog.relay_key, catalog.token))  # without the scope
    assert refused(bearer(catalog.relay_key, "rk_live_" + "0" * 50))
    client = control_key(catalog.project, allowed_networks=["192.0.2.0/24"])
    assert refused(client)
    RelayKey.objects.update(allowed_networks=["127.0.0.1"])
    assert client.get("/api/v1/projects").status_code == 200
    Project.objects.update(is_archived=True)
    assert refused(client)
    Project.objects.update(is_archived=False)
    RelayKey.objects.update(expires_at=timezone.now() - timedelta(hours=23))
    assert client.get("/api/v1/projects").status_code == 200  # as at the edge
    RelayKey.objects.update(expires_at=timezone.now() - timedelta(hours=25))
    assert refused(client)
    RelayKey.objects.update(expires_at=None, revoked_at=timezone.now())
    assert refused(client)


# Relay keys of members


def test_a_developer_has_the_test_keys(catalog: rows.Catalog) -> None:
    client = bearer(member(catalog.project, "developer"))
    body = {"project": "shop", "name": "mine", "scopes": ["inference"], "policy": "all"}
    assert client.post("/api/v1/relay-keys", body, JSON).status_code == 403
    made = client.post("/api/v1/relay-keys", body | {"mode": "test"}, JSON)
    assert (made.status_code, made.json()["policy"]) == (201, "all")
    key, live = f"/api/v1/relay-keys/{made.json()['id']}", f"/api/v1/relay-keys/{catalog.relay_key.pk}"
    assert client.patch(key, {"name": "ours"}, JSON).status_code == 200
    assert client.post(f"{key}/rotate", {}, JSON).status_code == 201
    assert client.get(live).status_code == 200
    assert client.patch(live, {"name": "ours"}, JSON).status_code == 403
    assert [client.post(f"{live}/{word}", {}, JSON).status_code for word in ("rotate", "revoke")] == [403, 403]
    assert bearer(member(catalog.project, "admin")).post(f"{live}/revoke").status_code == 200


def test_a_key_that_its_user_pays_for_is_the_users(catalog: rows.Catalog) -> None:
    """Whoever rotates it holds a token for their wallet."""
    payer, boss = member(catalog.project, "developer", "payer"), member(catalog.project, "owner")
    new = {"project": catalog.project, "name": "theirs", "scopes": ["inference"], "mode": "test", "pays": "user"}
    key = services.relay_key_mint(**new, user=payer.user, budget={"microcredits": 5, "period": "day"}).relay_key
    address = f"/api/v1/relay-keys/{key.pk}"
    for other in (bearer(boss), control_key(catalog.project)):
        assert other.patch(address, {"budget": None}, JSON).status_code == 403
        answer = other.post(f"{address}/rotate", {}, JSON)
        assert (answer.status_code, "You may revoke it" in answer.json()["message"]) == (403, True)
    key.refresh_from_db()
    assert (key.has_successor, key.budget) == (False, {"microcredits": 5, "period": "day"})
    assert bearer(payer).post(f"{address}/rotate", {}, JSON).status_code == 201
    assert bearer(boss).post(f"{address}/revoke").status_code == 200


def test_a_control_key_makes_and_widens_no_control_key(catalog: rows.Catalog) -> None:
    """Else whoever stole one has others when it is revoked, from everywhere and for ever."""
    client = control_key(catalog.project, mode="test", allowed_networks=["127.0.0.1"])
    own = RelayKey.objects.get(name="control")
    plain = services.relay_key_mint(project=catalog.project, name="plain", scopes=["relay"], mode="test").relay_key
    body = {"project": "shop", "name": "more", "scopes": ["relay", "control"], "mode": "test"}
    refusals = [
        client.post("/api/v1/relay-keys", body, JSON),
        client.patch(f"/api/v1/relay-keys/{own.pk}", {"allowedNetworks": []}, JSON),
        client.patch(f"/api/v1/relay-keys/{plain.pk}", {"scopes": ["control"]}, JSON),
        client.post(f"/api/v1/relay-keys/{own.pk}/rotate", {}, JSON),
    ]
    assert [answer.status_code for answer in refusals] == [403] * 4
    assert RelayKey.objects.filter(scopes__contains=["control"]).get() == own
    assert client.patch(f"/api/v1/relay-keys/{plain.pk}", {"name": "plainer"}, JSON).status_code == 200
    assert client.post(f"/api/v1/relay-keys/{own.pk}/revoke").status_code == 200


def test_a_control_key_has_the_test_applications_alone(catalog: rows.Catalog) -> None:
    """Whatever it makes asks users for test money, and what asks them for live money is out of its reach."""
    client, address = control_key(catalog.project), "/api/v1/applications"
    body = {"project": "shop", "redirectUris": ["https://app.example/cb"], "clientType": "confidential"}
    live = bearer(member(catalog.project, "owner")).post(address, body | {"name": "live"}, JSON).json()["id"]
    made_or_not = [client.post(address, {**body, "name": "more", **mode}, JSON).status_code for mode in MODES]
    assert made_or_not == [403, 403, 201]
    made = OAuthApplication.objects.get(name="more")
    assert (made.mode, made.user) == ("test", None)
    refusals = [
        client.patch(f"{address}/{live}", {"redirectUris": ["https://evil.example/cb"]}, JSON),
        client.post(f"{address}/{live}/secret"),
        client.patch(f"{address}/{made.pk}", {"mode": "live"}, JSON),
    ]
    assert [answer.status_code for answer in refusals] == [403, 403, 400]
    assert set(OAuthApplication.objects.values_list("name", "mode", "redirect_uris")) == {
        ("live", "live", "https://app.example/cb"),
        ("more", "test", "https://app.example/cb"),
    }
    assert client.patch(f"{address}/{made.pk}", {"isEnabled": False}, JSON).status_code == 200


def test_policies_are_the_operators(catalog: rows.Catalog) -> None:
    """A member chooses of those that the project's keys have: another is answered as one that does not exist."""
    Policy.objects.create(slug="everything", models=["*"])
    RateLimit.objects.create(slug="plenty", rules=[{"meter": "requests", "amount": 9, "window_seconds": 60}])
    client = bearer(member(catalog.project, "owner"))
    for name, slug, missing in (("policy", "everything", "nothing---"), ("rateLimit", "plenty", "absent")):
        body = {"project": "shop", "name": "mine", "scopes": ["inference"]}
        got, expected = (client.post("/api/v1/relay-keys", body | {name: one}, JSON) for one in (slug, missing))
        assert got.status_code == expected.status_code == 400
        assert got.content.decode().replace(slug, missing) == expected.content.decode()
        address = f"/api/v1/relay-keys/{catalog.relay_key.pk}"
        assert client.patch(address, {name: slug}, JSON).status_code == 400
    RelayKey.objects.update(revoked_at=timezone.now())
    body = {"project": "shop", "name": "mine", "scopes": ["inference"], "policy": "all"}
    assert client.post("/api/v1/relay-keys", body, JSON).status_code == 400


# Replays of members


def test_a_member_replays_and_sees_it(catalog: rows.Catalog) -> None:
    client = bearer(member(catalog.project, "support"))
    dead = rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD)
    answer = client.post("/api/v1/deliveries/replay", {"ids": [str(dead.pk)]}, JSON)
    assert (answer.status_code, answer.json()["replayedCount"]) == (200, 1)
    batch = ReplayBatch.objects.get()
    assert (batch.project, batch.created_by.username) == (catalog.project, "support")
    assert client.get(f"/api/v1/replays/{batch.pk}").json()["filter"]["project"] == "shop"


def test_a_members_filter_is_of_one_project(catalog: rows.Catalog) -> None:
    bank = Project.objects.create(slug="bank", name="Bank")
    support = member(catalog.project, "support")
    other = rows.delivery_row(rows.request_row(catalog, project=bank), catalog.target, DeliveryState.DEAD)
    client = bearer(support)
    started = client.post("/api/v1/replays", {"filter": {}}, JSON).json()
    assert (started["filter"], started["matchedCount"]) == ({"project": "shop"}, 0)
    Membership.objects.create(project=bank, user=support.user, role="support")
    assert client.post("/api/v1/replays", {"filter": {}}, JSON).status_code == 400
    own = rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD)
    both = {"ids": [str(own.pk), str(other.pk)]}
    assert client.post("/api/v1/deliveries/replay", both, JSON).status_code == 400
    assert client.post("/api/v1/deliveries/discard", both, JSON).json()["discarded"] == sorted(both["ids"])
    assert Delivery.objects.get(pk=other.pk).state == DeliveryState.DISCARDED

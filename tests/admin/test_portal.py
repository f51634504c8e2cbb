"""The portal: who sees which project, what its pages offer by role, and what a stranger gets."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.test import Client

from relay_admin.access import services
from relay_admin.access.models import AuditEvent, Invitation, Membership, RelayKey, User
from relay_admin.access.people import person_make
from relay_admin.access.roles import Role
from relay_admin.catalog.models import Policy, Project
from relay_admin.content_policy import STRICT_POLICY
from relay_admin.portal.quick_start import model_snippets
from tests.admin import rows
from tests.admin.portal_routes import PORTAL_ROUTES
from tests.admin.test_strangers import NOBODYS, Ids, dump, fill, mine, theirs

__all__ = ["mine", "theirs"]
HOME = "/portal/projects/shop/"


def person(name: str) -> User:
    """A customer."""
    return person_make(address=f"{name}@example.test", password=rows.PASSWORD, is_verified=True)


def member(project: Project, role: Role | str, name: str = "") -> Client:
    """Somebody signed in who has a role there."""
    user = person(name or str(role))
    Membership.objects.create(project=project, user=user, role=str(role))
    client = Client()
    client.force_login(user)
    return client


def said(answer) -> str:
    """A page without what differs each time."""
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", answer.content.decode())


@pytest.mark.parametrize("role", list(Role))
def test_a_member_sees_the_project(catalog: rows.Catalog, role: Role) -> None:
    client = member(catalog.project, role)
    assert HOME in said(client.get("/portal/"))
    answer = client.get(HOME)
    assert (answer.status_code, answer["Content-Security-Policy"]) == (200, STRICT_POLICY)


def test_a_strangers_project_is_as_none(catalog: rows.Catalog) -> None:
    client = Client()
    client.force_login(person("stranger"))
    assert "No project yet" in said(client.get("/portal/"))
    theirs, nobodys = client.get(HOME), client.get("/portal/projects/nope/")
    assert (theirs.status_code, said(theirs)) == (404, said(nobodys))


def below(theirs: Ids, ours: str) -> Iterator[tuple[str, str]]:
    """Every address with an id of theirs, and the same with one that never was; also below one's own project."""
    for address in PORTAL_ROUTES.values():
        yield fill(address, theirs), fill(address, NOBODYS)
        within = address.replace("{project}", ours)
        if "{" in within:
            yield fill(within, theirs), fill(within, NOBODYS)


@pytest.mark.parametrize("who", ["stranger", *Role])
def test_theirs_is_as_nobodys(catalog: rows.Catalog, mine: Ids, theirs: Ids, who: str) -> None:
    if who == Role.OWNER:
        Membership.objects.update(role="admin")
    client = Client() if who == "stranger" else member(catalog.project, who)
    if who == "stranger":
        client.force_login(person("stranger"))
    client.get("/portal/")
    before = dump()
    for address, never in below(theirs, catalog.project.slug):
        for method in (client.get, client.post):
            got, none = method(address), method(never)
            assert (got.status_code, said(got)) == (none.status_code, said(none)), (method, address)
            assert got.status_code in (403, 404, 405), (method, address)
    assert dump() == before


def test_an_archived_project_is_none(catalog: rows.Catalog) -> None:
    client = member(catalog.project, "owner")
    Project.objects.update(is_archived=True)
    assert client.get(HOME).status_code == 404
    assert HOME not in said(client.get("/portal/"))


def test_who_is_not_signed_in_signs_in_first(catalog: rows.Catalog) -> None:
    answer = Client().get(HOME)
    assert (answer.status_code, answer["Location"]) == (302, "/account/sign-in?next=%2Fportal%2Fprojects%2Fshop%2F")


# Keys

KEYS = f"{HOME}keys"
NEW = {"name": "nightly", "mode": "test", "scopes": ["relay"], "budget_period": "month"}


def test_a_key_is_made_and_told_once(catalog: rows.Catalog) -> None:
    client = member(catalog.project, "admin")
    wanted = {
        "name": "nightly", "mode": "live", "scopes": ["relay", "inference"], "policy": catalog.policy.pk,
        "budget_credits": "2.5", "budget_period": "week", "allowed_networks": "192.0.2.0/24\n2001:db8::/32",
        "expires_at": "2099-01-02T03:04",
    }  # fmt: skip
    answer = client.post(f"{KEYS}/new", wanted)
    key = RelayKey.objects.get(name="nightly")
    [token] = set(re.findall(r"rk_live_\w{20,}", answer.content.decode()))
    assert "no-store" in answer["Cache-Control"]
    assert services.relay_key_token_parse(token).key_id == key.key_id
    assert (key.mode, key.scopes, key.policy) == ("live", ["relay", "inference"], catalog.policy)
    assert key.budget == {"microcredits": 2_500_000, "period": "week"}
    assert key.allowed_networks == ["192.0.2.0/24", "2001:db8::/32"]
    assert key.expires_at == datetime(2099, 1, 2, 3, 4, tzinfo=UTC)
    assert key.created_by is not None
    assert AuditEvent.objects.filter(subject="access.relaykey", via="portal", action="insert").count() == 1
    for page in (KEYS, f"{KEYS}/{key.pk}"):
        assert token not in client.get(page).content.decode()


def test_a_developer_makes_test_keys_alone(catalog: rows.Catalog) -> None:
    client = member(catalog.project, "developer")
    refused = client.post(f"{KEYS}/new", {**NEW, "mode": "live"})
    assert (refused.status_code, "not one of the available choices" in said(refused)) == (200, True)
    for page in ("", "/rotate", "/revoke"):
        assert client.post(f"{KEYS}/{catalog.relay_key.pk}{page}", {**NEW, "overlap": "0"}).status_code == 403
    assert RelayKey.objects.count() == 1
    assert RelayKey.objects.get().revoked_at is None
    assert "rk_test_" in client.post(f"{KEYS}/new", NEW).content.decode()


@pytest.mark.parametrize("role", ["support", "viewer", "customer"])
def test_others_have_no_keys(catalog: rows.Catalog, role: str) -> None:
    client = member(catalog.project, role)
    assert [client.get(page).status_code for page in (KEYS, f"{KEYS}/new")] == [403, 403]
    assert client.post(f"{KEYS}/new", NEW).status_code == 403
    assert f'href="{KEYS}"' not in client.get(HOME).content.decode()


def test_a_policy_of_another_project_is_not_offered(catalog: rows.Catalog) -> None:
    elsewhere = Policy.objects.create(slug="elsewhere", models=["*"])
    client = member(catalog.project, "admin")
    assert "elsewhere" not in said(client.get(f"{KEYS}/new"))
    refused = client.post(f"{KEYS}/new", {**NEW, "policy": elsewhere.pk})
    assert "not one of the available choices" in said(refused)
    assert RelayKey.objects.count() == 1


def test_a_key_is_changed(catalog: rows.Catalog) -> None:
    client, key = member(catalog.project, "admin"), catalog.relay_key
    answer = client.post(f"{KEYS}/{key.pk}", {"name": "till", "scopes": ["relay"], "budget_period": "day",
                                              "mode": "test", "user": "1", "pays": "user"})  # fmt: skip
    assert (answer.status_code, answer["Location"]) == (302, f"{KEYS}/{key.pk}")
    key.refresh_from_db()
    assert (key.name, key.scopes, key.policy, key.mode, key.pays) == ("till", ["relay"], None, "live", "project")


@pytest.mark.parametrize(
    "wrong",
    [{"budget_credits": "-1"}, {"budget_credits": "1e400"}, {"budget_credits": "NaN"}, {"allowed_networks": "nowhere"},
     {"expires_at": "2001-01-01T00:00"}, {"scopes": ["root"]}, {"name": ""}, {"name": "app"}],
)  # fmt: skip
def test_a_form_says_what_is_wrong(catalog: rows.Catalog, wrong: dict[str, object]) -> None:
    answer = member(catalog.project, "admin").post(f"{KEYS}/new", {**NEW, **wrong})
    assert (answer.status_code, 'role="alert"' in said(answer), RelayKey.objects.count()) == (200, True, 1)


# Members and the project itself


@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.OWNER])
def test_a_role_that_nobody_gives_stays_what_it_is_when_it_is_saved(catalog: rows.Catalog, role: Role) -> None:
    client = member(catalog.project, Role.ADMIN)
    member(catalog.project, role, "carl")
    carl = Membership.objects.get(user__email="carl@example.test")
    address = f"{HOME}members/{carl.pk}"
    [chosen] = re.findall(r'<option value="(\w+)" selected', said(client.get(address)))
    assert chosen == role
    assert client.post(address, {"role": chosen}).status_code == 302
    carl.refresh_from_db()
    assert carl.role == role


def test_a_member_is_invited_changed_and_removed(catalog: rows.Catalog) -> None:
    client, members = member(catalog.project, "admin"), f"{HOME}members"
    made = client.post(members, {"email": "new@example.test", "role": "viewer"}).content.decode()
    assert re.search(r'value="http://[^"]+/account/invitation/[\w-]+"', made)
    invitation = Invitation.objects.get()
    assert client.post(members, {"email": "king@example.test", "role": "owner"}).status_code == 200
    assert Invitation.objects.get() == invitation
    client.post(f"{HOME}invitations/{invitation.pk}/take-back")
    assert not Invitation.objects.exists()
    member(catalog.project, "viewer", "vic")
    row = Membership.objects.get(user__email="vic@example.test")
    assert client.post(f"{members}/{row.pk}", {"role": "support"})["Location"] == members
    row.refresh_from_db()
    assert row.role == "support"
    client.post(f"{members}/{row.pk}/remove")
    assert not Membership.objects.filter(pk=row.pk).exists()


def test_somebody_leaves(catalog: rows.Catalog) -> None:
    client = member(catalog.project, "viewer")
    assert client.get(f"{HOME}settings/leave").status_code == 200
    assert client.post(f"{HOME}settings/leave")["Location"] == "/portal/"
    assert client.get(HOME).status_code == 404


def test_the_owner_hands_the_project_over(catalog: rows.Catalog) -> None:
    client, other = member(catalog.project, "owner"), member(catalog.project, "admin")
    to = Membership.objects.get(role="admin")
    assert "keeps its owner" in said(client.post(f"{HOME}settings/leave"))
    transfer = f"{HOME}settings/transfer"
    assert other.post(transfer, {"member": to.pk, "slug": "shop"}).status_code == 403
    assert client.post(transfer, {"member": to.pk, "slug": "Shop"}).status_code == 200
    assert Membership.objects.get(role="owner").user.email == "owner@example.test"
    assert client.post(transfer, {"member": to.pk, "slug": "shop"}).status_code == 302
    assert {row.user.email: row.role for row in Membership.objects.all()} == {
        "owner@example.test": "admin",
        "admin@example.test": "owner",
    }
    assert client.get(transfer).status_code == 403


# Where one begins, and first calls


def test_the_root_leads_to_where_one_begins(catalog: rows.Catalog) -> None:
    assert member(catalog.project, "viewer").get("/")["Location"] == "/portal/"
    operator = Client()
    operator.force_login(rows.user("operator"))
    assert operator.get("/")["Location"] == "/admin/"


def test_a_quick_start_names_what_keys_reach(catalog: rows.Catalog, settings) -> None:
    """The edge is not there in this test, so no model is promised."""
    settings.EDGE_URL, settings.EDGE_INTERNAL_URL = "https://relay.test/in", "http://127.0.0.1:9"
    page = member(catalog.project, "developer").get(HOME).content.decode()
    assert "curl https://relay.test/in/r/shop/v1/orders" in page
    assert "/v1/chat/completions" not in page


def test_snippets_are_what_they_say() -> None:
    curl, python, javascript = model_snippets("https://relay.test", "gpt-demo")
    assert (curl.language, python.language, javascript.language) == ("curl", "Python", "JavaScript")
    compile(python.text, "snippet", "exec")
    assert all("https://relay.test/v1/chat/completions" in one.text for one in (curl, python, javascript))
    assert '\'{"model":"gpt-demo","messages":[{"role":"user","content":"Hello"}]}\'' in curl.text

"""Admin tokens that are for less than their user: scopes, projects, an end, and what is made with them."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from relay_admin.access.admin_tokens import admin_token_mint
from relay_admin.access.models import AdminToken, AuditEvent, Membership, RelayKey
from relay_admin.access.token_scopes import SCOPES, Area, area_of, covers, lacking
from relay_admin.catalog.models import Project
from tests.admin import documented, mcp_caller, rows
from tests.admin.test_strangers import other_project, routes

JSON = "application/json"
TOKENS = "/api/v1/admin-tokens"
OWN_BEARERS = ("/auth/login", "/auth/logout", "/api/v1/relay-keys/self", "/api/v1/relay-keys/self/successor")
"""Taken with no admin token, whatever its scopes."""
Ask = Callable[..., Any]


@pytest.fixture
def root(catalog: rows.Catalog) -> Any:
    return rows.user("root", is_superuser=True)


def asking(token: str) -> Ask:
    """Calls with that bearer."""

    def ask(method: str, address: str, body: Any = None) -> Any:
        return Client().generic(
            method,
            address,
            "" if body is None else json.dumps(body),
            JSON,
            headers={"Authorization": f"Bearer {token}"},
        )

    return ask


def bearer(user: Any, name: str = "token", **bounds: Any) -> Ask:
    return asking(admin_token_mint(user=user, name=name, **bounds).token)


def operations() -> Iterator[tuple[str, str]]:
    """Everything that the API does: method and address."""
    words = {"project": "shop", "line": "v1", "endpoint": "orders", "kind": "hosts", "word": "pause"}
    ids = dict.fromkeys(("request_id", "call_id", "delivery_id"), "01890000-0000-7000-8000-000000000000")
    for template, methods in documented.document()["paths"].items():
        if template not in OWN_BEARERS:
            address = re.sub(r"{(\w+)}", lambda found: {**words, **ids}.get(found[1], "1"), template)
            yield from ((method.upper(), address) for method in methods)


# --- scopes


def test_every_route_is_in_one_area() -> None:
    found = [route for route in routes(get_resolver().url_patterns) if route.startswith("api/v1/")]
    assert len(found) > 100
    assert {area_of(route) for route in found} == {*Area, None}


def test_a_token_that_only_reads_changes_nothing_anywhere(root: Any) -> None:
    ask = bearer(root, scopes=["control:read"])
    found = [(method, address) for method, address in operations() if "openapi" not in address]
    assert len([method for method, _ in found if method != "GET"]) > 80
    for method, address in found:
        said = ask(method, address, None if method == "GET" else {})
        if method == "GET":
            assert said.status_code in (200, 400, 404, 503), (address, said.content)
        else:
            assert (said.status_code, said.json()["error"]) == (403, "scope_missing"), (method, address)
            assert "POST /api/v1/admin-tokens" in said.json()["action"]


def test_an_area_is_read_by_its_own_scopes_alone(root: Any) -> None:
    lists = {
        "catalog": "/api/v1/hosts",
        "traffic": "/api/v1/calls",
        "money": "/api/v1/wallets",
        "people": "/api/v1/audit",
    }
    for area in Area:
        for scope in (str(area), f"{area}:read"):
            ask = bearer(root, name=scope, scopes=[scope])
            got = {name: ask("GET", address).status_code for name, address in lists.items()}
            assert got == {name: 200 if name == area else 403 for name in lists}, scope
            assert ask("GET", "/auth/whoami").json()["token"]["scopes"] == [scope]
    refused = bearer(root, scopes=["catalog:read"])(
        "POST", "/api/v1/hosts", {"slug": "x", "baseUrl": "https://x.example/v1"}
    )
    assert (refused.status_code, refused.json()["message"]) == (403, "This bearer lacks the scope `catalog`.")
    made = bearer(root, "writes", scopes=["catalog"])(
        "POST", "/api/v1/hosts", {"slug": "x", "baseUrl": "https://x.example/v1"}
    )
    assert made.status_code == 201


@pytest.mark.parametrize(
    ("scopes", "method", "route", "expected"),
    [
        (["control"], "DELETE", "api/v1/hosts/<int:host_id>", None),
        (["control:read"], "HEAD", "api/v1/hosts", None),
        (["money:read"], "GET", "api/v1/projects/<str:project>/terms", None),
        (["catalog"], "GET", "api/v1/projects/<str:project>/terms", "money:read"),
        (["catalog"], "PATCH", "api/v1/projects/<str:project>", None),
        (["catalog"], "POST", "api/v1/projects/<str:project>/invitations", "people"),
        (["people:read"], "POST", "api/v1/relay-keys", "people"),
        (["catalog", "people", "traffic", "money"], "POST", "api/v1/catalog/apply", "control"),
        (["traffic:read"], "GET", "auth/whoami", None),
    ],
)  # fmt: skip
def test_what_a_call_lacks(scopes: list[str], method: str, route: str, expected: str | None) -> None:
    assert lacking(scopes, method, route) == expected


def test_what_covers_what() -> None:
    for scope in SCOPES:
        assert covers(["control"], scope)
        assert covers([scope], scope)
    assert covers(["catalog"], "catalog:read")
    assert covers(["control:read"], "money:read")
    assert covers([f"{area}:read" for area in Area], "control:read")
    assert not covers([*Area], "control")
    assert not covers(["control:read", "catalog:read"], "catalog")
    assert not covers(["catalog:read"], "traffic:read")


def test_its_tools_are_those_that_its_scopes_allow(root: Any) -> None:
    reads = admin_token_mint(user=root, name="reads", scopes=["control:read"]).token
    shown = mcp_caller.tools(reads)
    assert all(tool["annotations"]["readOnlyHint"] for tool in shown.values())
    assert {"list_rows", "list_wallets", "read_settings"} <= set(shown)
    refused = mcp_caller.call(reads, "create_row", kind="hosts", values={"slug": "x"})
    assert (refused["error"], refused["tool"]) == ("scope_missing", "who_am_i")
    money = set(mcp_caller.tools(admin_token_mint(user=root, name="money", scopes=["money"]).token))
    assert {"grant_credits", "list_wallets", "who_am_i"} <= money
    assert not {"list_rows", "list_calls", "list_members", "list_breakers"} & money


# --- projects (what they keep out of every list and address: test_strangers.py)


def test_in_a_project_it_acts_in_its_users_role(catalog: rows.Catalog, root: Any) -> None:
    bank = other_project(catalog).project
    person = rows.user("dev")
    for project, role in ((catalog.project, "developer"), (bank, "owner")):
        Membership.objects.create(project=project, user=person, role=role)
    ask = bearer(person, projects=[catalog.project])
    assert [one["slug"] for one in ask("GET", "/api/v1/projects").json()["results"]] == ["shop"]
    assert ask("GET", "/api/v1/projects/bank/members").status_code == 403
    live = {"project": "shop", "name": "n", "scopes": ["relay"]}
    assert ask("POST", "/api/v1/relay-keys", live).status_code == 403
    assert ask("POST", "/api/v1/relay-keys", {**live, "mode": "test"}).status_code == 201
    assert ask("GET", "/api/v1/sessions").status_code == 403
    Membership.objects.filter(project=catalog.project, user=person).delete()
    assert ask("GET", "/api/v1/projects").json()["results"] == []


def test_an_operators_token_for_a_project_is_no_operators(catalog: rows.Catalog, root: Any) -> None:
    ask = bearer(root, projects=[catalog.project])
    assert ask("GET", "/api/v1/hosts").status_code == 403
    assert ask("POST", "/api/v1/projects", {"slug": "new", "name": "New"}).status_code == 403
    assert ask("GET", "/api/v1/lines/shop/v1").status_code == 200
    operator = rows.user("op", "operators")
    made = asking(admin_token_mint(user=operator, name="all").token)("POST", TOKENS, {
        "name": "n", "scopes": ["control"], "projects": ["shop"]})  # fmt: skip
    assert (made.status_code, list(made.json()["fields"])) == (400, ["projects"])


def test_a_project_that_is_deleted_leaves_its_token_narrow(catalog: rows.Catalog, root: Any) -> None:
    gone = Project.objects.create(slug="gone", name="Gone")
    ask = bearer(root, projects=[gone])
    gone.delete()
    assert ask("GET", "/api/v1/projects").json()["results"] == []
    assert ask("GET", "/api/v1/hosts").status_code == 403


def test_a_narrowed_token_makes_no_key_that_controls(catalog: rows.Catalog, root: Any) -> None:
    """Which could do what the token cannot, and would outlive it."""
    body = {"project": "shop", "name": "n", "scopes": ["control"]}
    for bounds in ({"scopes": ["people"]}, {"projects": [catalog.project]}):
        refused = bearer(root, name=str(bounds), **bounds)("POST", "/api/v1/relay-keys", body)
        assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
    assert not RelayKey.objects.filter(name="n").exists()
    assert bearer(root)("POST", "/api/v1/relay-keys", body).status_code == 201


# --- making, listing, revoking


def test_a_session_makes_one_that_ends(client_of, catalog: rows.Catalog) -> None:
    api = client_of("superuser")
    made = api.post(TOKENS, {"name": "ci", "scopes": ["traffic:read", "catalog"]}, JSON)
    said = made.json()
    assert made.status_code == 201
    assert made.headers["Cache-Control"] == "no-store"
    assert said["scopes"] == ["catalog", "traffic:read"]
    assert (said["user"], said["projects"], said["parentId"]) == ("root", None, None)
    row = AdminToken.objects.get(pk=said["id"])
    assert row.expires_at is not None
    assert abs(row.expires_at - timezone.now() - timedelta(days=90)) < timedelta(hours=1)
    assert asking(said["token"])("GET", "/api/v1/hosts").status_code == 200
    assert "token" not in api.get(f"{TOKENS}/{said['id']}").json()
    event = AuditEvent.objects.filter(subject="access.admintoken", action="insert").latest("pk")
    assert (event.subject_name, event.after["scopes"]) == ("ci", ["catalog", "traffic:read"])
    endless = api.post(TOKENS, {"name": "endless", "scopes": ["control"], "expiresAt": None}, JSON)
    assert endless.json()["expiresAt"] is None
    for wrong in ({}, {"scopes": []}, {"scopes": ["all"]}, {"name": "ci"}, {"projects": []}, {"projects": ["nope"]}):
        body = {"name": "x", "scopes": ["control"], **wrong} if wrong else {"name": "x"}
        assert api.post(TOKENS, body, JSON).status_code == 400, body


def test_making_one_takes_the_right_to_or_a_token(client_of, catalog: rows.Catalog) -> None:
    api = client_of("operators")
    refused = api.post(TOKENS, {"name": "n", "scopes": ["control"]}, JSON)
    assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
    assert api.get(TOKENS).json()["results"] == []
    key = catalog.token
    assert asking(key)("GET", TOKENS).status_code == 401


def test_what_is_made_with_a_token_is_never_wider(catalog: rows.Catalog, root: Any) -> None:
    bank = other_project(catalog).project
    ends = timezone.now() + timedelta(days=3)
    parent = admin_token_mint(user=root, name="parent", scopes=["people", "catalog:read"], expires_at=ends,
                              projects=[catalog.project, bank])  # fmt: skip
    ask = asking(parent.token)
    for wrong, field in (
        ({"scopes": ["control"]}, "scopes"),
        ({"scopes": ["control:read"]}, "scopes"),
        ({"scopes": ["catalog"]}, "scopes"),
        ({"scopes": ["money:read"]}, "scopes"),
        ({"scopes": ["people"], "projects": None}, "projects"),
        ({"scopes": ["people"], "expiresAt": None}, "expiresAt"),
        ({"scopes": ["people"], "expiresAt": (ends + timedelta(seconds=1)).isoformat()}, "expiresAt"),
    ):
        refused = ask("POST", TOKENS, {"name": "child", **wrong})
        assert (refused.status_code, list(refused.json()["fields"])) == (400, [field]), wrong
    Project.objects.create(slug="third", name="Third")
    other = ask("POST", TOKENS, {"name": "child", "scopes": ["people"], "projects": ["third"]})
    assert (other.status_code, list(other.json()["fields"])) == (400, ["projects"])
    child = ask("POST", TOKENS, {"name": "child", "scopes": ["people", "catalog:read"], "projects": ["shop"]}).json()
    assert (child["parentId"], child["projects"]) == (parent.admin_token.pk, ["shop"])
    same = ask("POST", TOKENS, {"name": "same", "scopes": ["people:read"]}).json()
    assert same["projects"] == ["shop", "bank"]
    assert AdminToken.objects.get(pk=same["id"]).expires_at == ends
    wider = asking(child["token"])("POST", TOKENS, {"name": "wider", "scopes": ["people"], "projects": ["bank"]})
    assert wider.status_code == 400
    assert AdminToken.objects.filter(user=root).count() == 3


def test_revoked_it_takes_with_it_what_was_made_with_it(catalog: rows.Catalog, root: Any) -> None:
    parent = admin_token_mint(user=root, name="parent")
    child = asking(parent.token)("POST", TOKENS, {"name": "child", "scopes": ["people"]}).json()
    grandchild = asking(child["token"])("POST", TOKENS, {"name": "grandchild", "scopes": ["people:read"]}).json()
    assert asking(grandchild["token"])("GET", "/api/v1/audit").status_code == 200
    seen = asking(child["token"])("GET", TOKENS).json()["results"]
    assert [one["name"] for one in seen] == ["grandchild", "child"]
    assert asking(child["token"])("DELETE", f"{TOKENS}/{parent.admin_token.pk}").status_code == 404
    other = admin_token_mint(user=root, name="other")
    assert asking(other.token)("DELETE", f"{TOKENS}/{parent.admin_token.pk}").status_code == 204
    for token in (parent.token, child["token"], grandchild["token"]):
        assert asking(token)("GET", "/auth/whoami").status_code == 401
    assert list(AdminToken.objects.values_list("name", flat=True)) == ["other"]
    events = AuditEvent.objects.filter(subject="access.admintoken", action="delete")
    assert {event.subject_name for event in events} == {"parent", "child", "grandchild"}


def test_a_token_ends(catalog: rows.Catalog, root: Any) -> None:
    now = timezone.now()
    assert bearer(root, "young", expires_at=now + timedelta(minutes=1))("GET", "/auth/whoami").status_code == 200
    ended = bearer(root, "old", expires_at=now - timedelta(seconds=1))("GET", "/auth/whoami")
    assert (ended.status_code, ended.json()["error"]) == (401, "invalid_token")


def test_superusers_see_everybodys_and_others_their_own(client_of, catalog: rows.Catalog, root: Any) -> None:
    operator = rows.user("op", "operators")
    for user in (root, operator):
        admin_token_mint(user=user, name=f"of-{user.username}")
    mine = bearer(operator, "lists")("GET", TOKENS).json()["results"]
    assert [one["name"] for one in mine] == ["lists", "of-op"]
    theirs = AdminToken.objects.get(name="of-root").pk
    assert bearer(operator, "revokes")("DELETE", f"{TOKENS}/{theirs}").status_code == 404
    every = bearer(root, "every")("GET", f"{TOKENS}?limit=3").json()
    assert [one["name"] for one in every["results"]] == ["every", "revokes", "lists"]
    rest = bearer(root, "rest")("GET", f"{TOKENS}?after={every['next']}").json()
    assert [one["name"] for one in rest["results"]] == ["of-op", "of-root"]


def test_the_admin_makes_narrow_ones_too(client_of, catalog: rows.Catalog) -> None:
    page = client_of("superuser")
    user = AdminToken._meta.get_field("user").related_model.objects.get(username="root")
    form = {"user": user.pk, "name": "narrow", "scopes": ["catalog:read"], "projects": [catalog.project.pk]}
    shown = page.post("/admin/access/admintoken/add/", form).content.decode()
    [token] = re.findall(r"ra_\w{50}", shown)[:1]
    row = AdminToken.objects.get(name="narrow")
    assert (row.scopes, row.project_ids) == (["catalog:read"], [catalog.project.pk])
    assert asking(token)("GET", "/api/v1/lines").status_code == 200
    assert "catalog:read" in page.get(f"/admin/access/admintoken/{row.pk}/change/").content.decode()
    stranger = rows.user("nobody")
    refused = page.post("/admin/access/admintoken/add/", {**form, "user": stranger.pk, "name": "none"})
    assert "has none in one of them" in refused.content.decode()
    assert not AdminToken.objects.filter(name="none").exists()


def test_a_row_of_the_version_before_may_everything(root: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO access_admintoken (user_id, name, token_hash, created_at) VALUES (%s, 'old', '\\x00', now())",
            [root.pk],
        )
    row = AdminToken.objects.get(name="old")
    assert (row.scopes, row.project_ids, row.parent_id) == (["control"], None, None)

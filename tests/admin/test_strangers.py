"""What is not the caller's might as well not be there: every address with an id in it, asked for somebody else's row
and for an id that never was, gives one and the same answer, and changes nothing.

The addresses come from the URL resolver: one that is new fails here until it is listed. Django's admin is operators'
(`test_permissions.py`).
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from relay_admin import control_api
from relay_admin.access import services
from relay_admin.access.invitations import invitation_create
from relay_admin.access.models import Membership, Session
from relay_admin.access.oauth import authorizations
from relay_admin.access.roles import ACTS, Act, Role
from relay_admin.access.scoping import PATHS
from relay_admin.catalog import services as catalog_services
from relay_admin.catalog.lines import revisions
from relay_admin.catalog.models import Endpoint, Line, Project
from relay_admin.deliveries.models import AlertRule, ReplayBatch
from relay_admin.ledger.models import Account
from relay_contract.intake import DeliveryState
from tests.admin import oauth_client, rows
from tests.admin.oauth_client import REDIRECT
from tests.admin.portal_routes import PORTAL_ROUTES

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
NO_ID = 2_000_000_000
EXCLUDED = ("admin/",)


@dataclass(frozen=True)
class Ids:
    """What addresses and bodies name, of one project."""

    project: str
    user: str
    line: str
    endpoint: str
    request: Any
    delivery: Any
    call: Any
    target: int
    shadow: int
    secret: int
    relay_key: int
    application: int
    authorization: int
    batch: int
    wallet: int
    member: int
    invitation: int
    session: int
    rule: int
    admin_token: int


NOBODYS = Ids("nope", "nobody", "v9", "nothing", UUID(int=7), UUID(int=8), UUID(int=9), *[NO_ID] * 13)

P = "/api/v1/projects/{project}"
L = "/api/v1/lines/{project}/{line}"
E = "/api/v1/endpoints/{project}/{line}/{endpoint}"
OPERATORS_ROWS = (
    *(
        "hosts/<int:host_id>",
        "host-keys/<int:hostkey_id>",
        "models/<int:model_id>",
        "model-aliases/<int:modelalias_id>",
    ),
    *("host-bindings/<int:hostbinding_id>", "prices/<int:pricing_id>", "policies/<int:policy_id>"),
    "rate-limits/<int:ratelimit_id>",
)
"""Rows of the catalog that are operators' alone, whatever their number."""
OF_KEYS_AND_BINDINGS = (
    "host-keys/<int:host_key_id>/rotate",
    *(f"{path}/<int:row_id>/{word}" for path in ("host-keys", "host-bindings") for word in ("health", "reset")),
)
ROUTES = {
    **{
        f"api/v1/{row}{end}": f"/api/v1/{row.partition('/')[0]}/1{end}"
        for row in OPERATORS_ROWS
        for end in ("", "/references")
    },
    **{f"api/v1/{route}": f"/api/v1/{re.sub('<.*?>', '1', route)}" for route in OF_KEYS_AND_BINDINGS},
    "api/v1/lines/<str:project>/<str:line>": L,
    "api/v1/lines/<str:project>/<str:line>/references": f"{L}/references",
    "api/v1/endpoints/<str:project>/<str:line>/<str:endpoint>": E,
    "api/v1/endpoints/<str:project>/<str:line>/<str:endpoint>/references": f"{E}/references",
    "api/v1/targets/<int:target_id>": "/api/v1/targets/{target}",
    "api/v1/targets/<int:target_id>/references": "/api/v1/targets/{target}/references",
    "api/v1/sessions/<int:session_id>": "/api/v1/sessions/{session}",
    "api/v1/projects/<str:project>": P,
    "api/v1/projects/<str:project>/references": f"{P}/references",
    "api/v1/projects/<str:project>/leave": f"{P}/leave",
    "api/v1/projects/<str:project>/members": f"{P}/members",
    "api/v1/projects/<str:project>/members/<int:member_id>": f"{P}/members/{{member}}",
    "api/v1/projects/<str:project>/invitations": f"{P}/invitations",
    "api/v1/projects/<str:project>/invitations/<int:invitation_id>": f"{P}/invitations/{{invitation}}",
    "api/v1/requests/<uuid:request_id>": "/api/v1/requests/{request}",
    "api/v1/deliveries/<uuid:delivery_id>": "/api/v1/deliveries/{delivery}",
    "api/v1/targets/<int:target_id>/enable": "/api/v1/targets/{target}/enable",
    "api/v1/targets/<int:target_id>/disable": "/api/v1/targets/{target}/disable",
    "api/v1/targets/<int:target_id>/secrets": "/api/v1/targets/{target}/secrets",
    "api/v1/targets/<int:target_id>/secrets/<int:secret_id>": "/api/v1/targets/{target}/secrets/{secret}",
    "api/v1/replays/<int:batch_id>": "/api/v1/replays/{batch}",
    "api/v1/replays/<int:batch_id>/<slug:word>": "/api/v1/replays/{batch}/pause",
    "api/v1/calls/<uuid:call_id>": "/api/v1/calls/{call}",
    "api/v1/shadows/<int:target_id>/report": "/api/v1/shadows/{shadow}/report",
    "api/v1/alerts/rules/<int:rule_id>": "/api/v1/alerts/rules/{rule}",
    "api/v1/lines/<str:project>/<str:line>/draft": f"{L}/draft",
    "api/v1/lines/<str:project>/<str:line>/diff": f"{L}/diff",
    "api/v1/lines/<str:project>/<str:line>/publish": f"{L}/publish",
    "api/v1/lines/<str:project>/<str:line>/revisions": f"{L}/revisions",
    "api/v1/lines/<str:project>/<str:line>/revisions/<int:number>": f"{L}/revisions/1",
    "api/v1/lines/<str:project>/<str:line>/revisions/<int:number>/rollback": f"{L}/revisions/1/rollback",
    "api/v1/endpoints/<str:project>/<str:line>/<str:endpoint>/dry-run": f"{E}/dry-run",
    "api/v1/endpoints/<str:project>/<str:line>/<str:endpoint>/signature-secret": f"{E}/signature-secret",
    "api/v1/relay-keys/<int:key_number>": "/api/v1/relay-keys/{relay_key}",
    "api/v1/relay-keys/<int:key_number>/rotate": "/api/v1/relay-keys/{relay_key}/rotate",
    "api/v1/relay-keys/<int:key_number>/successor": "/api/v1/relay-keys/{relay_key}/successor",
    "api/v1/relay-keys/<int:key_number>/revoke": "/api/v1/relay-keys/{relay_key}/revoke",
    "api/v1/admin-tokens/<int:token_id>": "/api/v1/admin-tokens/{admin_token}",
    "api/v1/row-kinds/<slug:kind>": "/api/v1/row-kinds/{line}",
    "api/v1/applications/<int:number>": "/api/v1/applications/{application}",
    "api/v1/applications/<int:number>/secret": "/api/v1/applications/{application}/secret",
    "api/v1/authorizations/<int:number>/revoke": "/api/v1/authorizations/{authorization}/revoke",
    "api/v1/top-ups/<int:top_up_id>": "/api/v1/top-ups/{wallet}",
    "api/v1/top-ups/<int:top_up_id>/refund": "/api/v1/top-ups/{wallet}/refund",
    "api/v1/credit-codes/<int:code_id>/disable": "/api/v1/credit-codes/{wallet}/disable",
    "api/v1/invoices/<int:invoice_id>": "/api/v1/invoices/{wallet}",
    "api/v1/exports/<slug:kind>.csv": "/api/v1/exports/entries.csv?wallet={wallet}",
    "api/v1/projects/<str:project>/terms": f"{P}/terms",
    "api/v1/wallets/<int:wallet_id>": "/api/v1/wallets/{wallet}",
    "api/v1/wallets/<int:wallet_id>/entries": "/api/v1/wallets/{wallet}/entries",
    "api/v1/wallets/<int:wallet_id>/grants": "/api/v1/wallets/{wallet}/grants",
    "api/v1/wallets/<int:wallet_id>/adjustments": "/api/v1/wallets/{wallet}/adjustments",
}
"""Every route with a parameter -> how it is filled."""

QUERIES = (
    "/api/v1/requests?project={project}",
    "/api/v1/requests?endpoint={project}/{line}/{endpoint}",
    "/api/v1/requests?key={relay_key}",
    "/api/v1/requests?search={request}",
    "/api/v1/requests/{request}?content=true",
    "/api/v1/deliveries?project={project}",
    "/api/v1/deliveries?request={request}",
    "/api/v1/deliveries?target={target}",
    "/api/v1/deliveries?replay={batch}",
    "/api/v1/outline/lines?project={project}",
    "/api/v1/outline/endpoints?project={project}&line={line}",
    "/api/v1/calls?project={project}",
    "/api/v1/calls?key={relay_key}",
    "/api/v1/calls?after={call}",
    "/api/v1/relay-keys?project={project}",
    "/api/v1/applications?project={project}",
    "/api/v1/authorizations?project={project}",
    "/api/v1/wallets?project={project}",
    "/api/v1/usage/summary?by=model&project={project}",
    "/api/v1/usage/series?project={project}",
    "/api/v1/top-ups?wallet={wallet}",
    "/api/v1/invoices?wallet={wallet}",
    "/api/v1/wallets?user={user}",
    "/api/v1/lines?project={project}",
    "/api/v1/endpoints?line={project}/{line}",
    "/api/v1/targets?endpoint={project}/{line}/{endpoint}",
    "/api/v1/audit?project={project}",
    "/api/v1/audit?subject=catalog.target&subjectId={target}",
)
"""Lists that are narrowed to somebody's, and what is asked beside the address."""

BODIES: dict[str, dict[str, Any]] = {
    "/enable": {"held": "release"},
    "/grants": {"microcredits": 1, "note": "x"},
    "/adjustments": {"microcredits": 1, "note": "x", "against": "revenue"},
    "/invitations": {"email": "new@example.test", "role": "viewer"},
    "/members": {"username": "stranger", "role": "viewer"},
    "/projects/{project}": {"userBudget": None},
    "/members/{member}": {"role": "viewer"},
    "/relay-keys/{relay_key}": {"name": "renamed"},
    "/applications/{application}": {"name": "renamed"},
    "/draft": {"document": {}, "draftRevision": 0},
    "/publish": {"draftRevision": 1},
    "/rollback": {"revision": 1},
    "/targets/{target}": {"description": "changed"},
    "/signature-secret": {"secret": "whsec_Y2FuYXJ5LXNpZ25pbmctc2VjcmV0LTAxMjM0NTY3ODk="},
}
"""What makes a call one that would be done, by the end of its address; `{}` for the others."""

NAMING: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/api/v1/deliveries/replay", {"ids": ["{delivery}"]}),
    ("/api/v1/deliveries/discard", {"ids": ["{delivery}"]}),
    ("/api/v1/replays", {"ids": ["{delivery}"]}),
    ("/api/v1/replays", {"filter": {"project": "{project}"}}),
    ("/api/v1/replays", {"filter": {"target": "{target}"}, "dryRun": True}),
    ("/api/v1/relay-keys", {"project": "{project}", "name": "n", "scopes": ["relay"], "mode": "test"}),
    ("/api/v1/relay-keys", {"project": "{project}", "name": "n", "scopes": ["relay"]}),
    ("/api/v1/applications", {"project": "{project}", "name": "n", "redirectUris": [REDIRECT], "mode": "test"}),
    ("/api/v1/applications", {"project": "{project}", "name": "n", "redirectUris": [REDIRECT]}),
    ("/api/v1/credit-codes/redeem", {"code": "ABCD-EFGH-JKLM-NPQR", "wallet": "{wallet}"}),
    ("/api/v1/endpoints", {"line": "{project}/{line}", "slug": "mine"}),
    ("/api/v1/targets", {"endpoint": "{project}/{line}/{endpoint}", "name": "n", "targetUrl": "http://127.0.0.1:9/"}),
    ("/api/v1/resolve", {"relayKey": "{relay_key}", "model": "gpt-demo"}),
)
"""Bodies that name rows."""


@dataclass(frozen=True)
class Caller:
    """How somebody calls."""

    client: Client
    headers: dict[str, str]

    def ask(self, method: str, address: str, body: Any = None) -> Any:
        return self.client.generic(
            method, address, json.dumps(body or {}), content_type="application/json", headers=self.headers
        )


def routes(patterns: list[Any], before: str = "") -> Iterator[str]:
    """Every route of the product, but for those of EXCLUDED."""
    for one in patterns:
        route = before + str(one.pattern)
        if isinstance(one, URLResolver):
            if route not in EXCLUDED:
                yield from routes(one.url_patterns, route)
        elif isinstance(one, URLPattern):
            yield route


def fill(value: Any, ids: Ids) -> Any:
    """A body with these ids."""
    match value:
        case str():
            return value.format(**ids.__dict__) if "{" in value else value
        case list():
            return [fill(one, ids) for one in value]
        case dict():
            return {name: fill(one, ids) for name, one in value.items()}
        case _:
            return value


def project_rows(catalog: rows.Catalog, owner: Any) -> Ids:
    """A project with a row of everything, as the ids of it."""
    project, target = catalog.project, catalog.target
    request = rows.request_row(catalog)
    dead = rows.delivery_row(request, target, DeliveryState.DEAD)
    shadow = catalog_services.target_create(
        endpoint=catalog.endpoint, name="twin", url="http://127.0.0.1:9/twin", role="shadow"
    )
    batch = ReplayBatch.objects.create(project=project, state="running", filter={}, matched_count=0)
    rows.delivery_row(request, target, DeliveryState.DELIVERED, replay_batch_id=batch.pk)
    revisions.revision_take(line=catalog.line, by=None, source="edit")
    now = timezone.now()
    session = Session.objects.create(
        key_hash=f"{owner.username:>32}".encode(), data="", user=owner, agent="", created_at=now, seen_at=now,
        expires_at=now + timedelta(days=1),
    )  # fmt: skip
    application = oauth_client.application(project, client_type="confidential")
    member = Membership.objects.create(project=project, user=owner, role="owner")
    allowed = authorizations.authorization_give(
        user=owner, application=application, scopes=["inference"], cap_microcredits=None
    )
    rule = AlertRule.objects.create(kind="failure_queue_size", project=project, endpoint=catalog.endpoint, threshold=1)
    return Ids(
        project=project.slug,
        user=owner.username,
        line=catalog.line.slug,
        endpoint=catalog.endpoint.slug,
        request=request.pk,
        delivery=dead.pk,
        call=rows.call_row(catalog).pk,
        target=target.pk,
        shadow=shadow.pk,
        secret=target.secrets.get().pk,
        relay_key=catalog.relay_key.pk,
        application=application.pk,
        authorization=allowed.pk,
        batch=batch.pk,
        wallet=Account.objects.get(project_id=project.pk, kind="wallet", mode="live").pk,
        member=member.pk,
        invitation=invitation_create(email="asked@example.test", project=project, role="viewer").invitation.pk,
        session=session.pk,
        rule=rule.pk,
        admin_token=services.admin_token_mint(user=owner, name="own").admin_token.pk,
    )


def other_project(catalog: rows.Catalog) -> rows.Catalog:
    """A second one, of the same operators' catalog."""
    project = Project.objects.create(slug="bank", name="Bank")
    line = Line.objects.create(project=project, slug="v2")
    endpoint = Endpoint.objects.create(line=line, slug="payments")
    target = catalog_services.target_create(endpoint=endpoint, name="core", url="http://127.0.0.1:9/core",
                                            signing_secret=rows.SIGNING_SECRET)  # fmt: skip
    key = services.relay_key_mint(project=project, name="app", scopes=["relay"], mode="test", policy=catalog.policy)
    changed = {"project": project, "line": line, "endpoint": endpoint, "target": target, "relay_key": key.relay_key}
    return replace(catalog, **changed, token=key.token)


@pytest.fixture
def theirs(catalog: rows.Catalog) -> Ids:
    """Of a project that none of the callers is in."""
    return project_rows(other_project(catalog), rows.user("banker"))


@pytest.fixture
def mine(catalog: rows.Catalog) -> Ids:
    """Of the project that the callers with a role are in."""
    return project_rows(catalog, rows.user("shopkeeper"))


WHO = ("stranger", *(str(role) for role in Role), "key", "narrowed")


def caller_of(who: str, project: Project) -> Caller:
    """Somebody of that role in the project; `narrowed`: a superuser's admin token for it alone."""
    if who == "narrowed":
        root = rows.user("root", is_superuser=True)
        token = services.admin_token_mint(user=root, name="narrow", projects=[project]).token
        return Caller(Client(), {"Authorization": f"Bearer {token}"})
    if who == "key":
        minted = services.relay_key_mint(project=project, name="control", scopes=["control"])
        return Caller(Client(), {"Authorization": f"Bearer {minted.token}"})
    person = rows.user(who)
    if who != "stranger":
        if who == Role.OWNER:
            Membership.objects.filter(project=project, role=Role.OWNER).update(role="admin")
        Membership.objects.create(project=project, user=person, role=who)
    token = services.admin_token_mint(user=person, name="sweep").token
    return Caller(Client(), {"Authorization": f"Bearer {token}"})


def dump() -> dict[str, list[str]]:
    """Every row of every table, as versions that any write changes."""
    found = {}
    with connection.cursor() as cursor:
        for table in sorted(connection.introspection.table_names(cursor)):
            cursor.execute(f'SELECT xmin::text || ctid::text FROM "{table}" ORDER BY 1')
            found[table] = [row[0] for row in cursor.fetchall()]
    return found


def calls(ids: Ids) -> Iterator[tuple[str, str, Any]]:
    """Everything that can be asked with these ids: method, address, body."""
    for address in (one for one in ROUTES.values() if "{" in one):
        [body] = [body for end, body in BODIES.items() if address.endswith(end)] or [{}]
        for method in METHODS:
            query = "?draftRevision=1" if address.endswith("/draft") and method == "DELETE" else ""
            yield method, fill(address, ids) + query, body
    for address in QUERIES:
        yield "GET", fill(address, ids), None
    for address, body in NAMING:
        yield "POST", address, fill(body, ids)


def test_every_address_with_an_id_is_listed() -> None:
    """But for links that came by mail: their token is a secret, and no id."""
    found = {route for route in routes(get_resolver().url_patterns) if "<" in route and "<token:" not in route}
    assert found == {*ROUTES, *PORTAL_ROUTES}


@pytest.mark.parametrize("who", WHO)
def test_theirs_is_as_nobodys(who: str, catalog: rows.Catalog, mine: Ids, theirs: Ids) -> None:
    caller = caller_of(who, catalog.project)
    before = dump()
    for (method, address, body), (_, never, no_body) in zip(calls(theirs), calls(NOBODYS), strict=True):
        got, expected = caller.ask(method, address, body), caller.ask(method, never, no_body)
        said = got.content.decode()
        for asked, nobody in (("slug=bank", "slug=nope"), ("=banker", "=nobody")):
            said = said.replace(asked, nobody)  # what was asked is said again
        assert (got.status_code, said) == (expected.status_code, expected.content.decode()), (method, address)
        assert {**got.headers} == {**expected.headers}, (method, address)
        assert got.status_code >= 400 or '"results":[]' in said.replace(" ", "") or method == "POST", (method, address)
    assert dump() == before


@pytest.mark.parametrize("who", WHO)
def test_lists_show_nothing_of_theirs(who: str, catalog: rows.Catalog, mine: Ids, theirs: Ids) -> None:
    caller = caller_of(who, catalog.project)
    lists = [route for route in routes(get_resolver().url_patterns) if route.startswith("api/v1/") and "<" not in route]
    assert len(lists) > 10
    for route in set(lists) - {"api/v1/openapi.json", "api/v1/openapi.yaml"}:  # they name kinds of rows, and no row
        said = caller.ask("GET", f"/{route}").content.decode()
        for name in ("bank", "banker", "payments", str(theirs.request), str(theirs.delivery), str(theirs.call)):
            assert name not in said, (route, name)


SEES = {
    "/api/v1/projects/{project}": Act.SEE_PROJECT,
    "/api/v1/projects/{project}/members/{member}": Act.MANAGE_MEMBERS,
    "/api/v1/projects/{project}/invitations": Act.MANAGE_MEMBERS,
    "/api/v1/requests/{request}": Act.SEE_TRAFFIC,
    "/api/v1/requests/{request}?content=true": Act.SEE_PAYLOAD,
    "/api/v1/deliveries": Act.SEE_TRAFFIC,
    "/api/v1/deliveries/{delivery}": Act.SEE_TRAFFIC,
    "/api/v1/outline/lines": Act.MANAGE_ENDPOINTS,
    "/api/v1/outline/endpoints": Act.MANAGE_ENDPOINTS,
    "/api/v1/calls/{call}": Act.SEE_TRAFFIC,
    "/api/v1/replays/{batch}": Act.SEE_TRAFFIC,
    "/api/v1/shadows/{shadow}/report": Act.SEE_TRAFFIC,
    "/api/v1/targets/{target}/secrets": Act.MANAGE_ENDPOINTS,
    "/api/v1/lines/{project}/{line}": Act.SEE_TRAFFIC,
    "/api/v1/endpoints/{project}/{line}/{endpoint}": Act.SEE_TRAFFIC,
    "/api/v1/targets": Act.SEE_TRAFFIC,
    "/api/v1/targets/{target}/references": Act.SEE_TRAFFIC,
    "/api/v1/lines/{project}/{line}/draft": Act.MANAGE_ENDPOINTS,
    "/api/v1/relay-keys/{relay_key}": Act.SEE_KEYS,
    "/api/v1/applications/{application}": Act.SEE_KEYS,
    "/api/v1/wallets/{wallet}": Act.SEE_MONEY,
    "/api/v1/wallets/{wallet}/entries": Act.SEE_MONEY,
    "/api/v1/exports/entries.csv?wallet={wallet}": Act.SEE_MONEY,
    "/api/v1/audit": Act.SEE_AUDIT,
}


@pytest.mark.parametrize("who", WHO[1:])
def test_mine_is_what_the_role_allows(who: str, catalog: rows.Catalog, mine: Ids) -> None:
    caller = caller_of(who, catalog.project)
    role = {"key": Role.DEVELOPER, "narrowed": Role.OWNER}.get(who) or Role(who)
    got = {address: caller.ask("GET", fill(address, mine)).status_code for address in SEES}
    assert got == {address: 200 if act in ACTS[role] else 403 for address, act in SEES.items()}


OPERATORS_ALONE = (
    *("/api/v1/alerts/rules", "/api/v1/alerts/events", "/api/v1/catalog", "/api/v1/alerts/rules/{rule}"),
    *(f"/api/v1/{row.partition('/')[0]}" for row in OPERATORS_ROWS),
    *(address for address in ROUTES.values() if "{" not in address and not address.endswith(("/rotate", "/reset"))),
)


@pytest.mark.parametrize("who", WHO)
def test_what_is_operators_alone(who: str, catalog: rows.Catalog, mine: Ids) -> None:
    caller = caller_of(who, catalog.project)
    got = {address: caller.ask("GET", fill(address, mine)).status_code for address in OPERATORS_ALONE}
    assert got == dict.fromkeys(OPERATORS_ALONE, 403)


def test_a_role_elsewhere_is_none_here(catalog: rows.Catalog, mine: Ids, theirs: Ids) -> None:
    """Of two projects one's own: what may be done in one and only seen in the other is refused by name there."""
    caller = caller_of("viewer", catalog.project)
    bank = Project.objects.get(slug="bank")
    Membership.objects.create(project=bank, user=Membership.objects.get(role="viewer").user, role="admin")
    assert caller.ask("GET", f"/api/v1/relay-keys/{theirs.relay_key}").status_code == 200
    refused = caller.ask("GET", f"/api/v1/relay-keys/{mine.relay_key}")
    assert (refused.status_code, refused.json()["message"]) == (
        403,
        "This needs one of the roles owner, admin, developer in the project.",
    )
    assert caller.ask("POST", "/api/v1/deliveries/replay", {"ids": [str(mine.delivery)]}).status_code == 400
    assert caller.ask("POST", "/api/v1/deliveries/discard", {"ids": [str(mine.delivery)]}).json() == {"discarded": []}


def test_every_model_with_a_project_is_read_through_scoping() -> None:
    """`Model.objects` of a scoped model is written nowhere in the control API."""
    names = {label.split(".")[1] for label in PATHS}
    folder = Path(control_api.__path__[0])
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "objects" and isinstance(node.value, ast.Name):
                known = file.name == "authentication.py" and node.value.id == "RelayKey"
                assert known or node.value.id.lower() not in names, f"{file.name}:{node.lineno}"

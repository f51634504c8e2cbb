"""The MCP server in the process: who comes in, what each sees, what tools take, do and refuse."""

import re
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest
from django.test import Client
from django.urls import resolve

from relay_admin.access import services
from relay_admin.access.models import AuditEvent, Membership, RelayKey
from relay_admin.access.roles import Role
from relay_admin.catalog.lines import revisions
from relay_admin.catalog.models import Endpoint, Project
from relay_admin.control_api import errors
from relay_admin.deliveries.models import AlertRule, ReplayBatch
from relay_admin.ledger.models import Account
from relay_admin.mcp import advice, schemas
from relay_admin.mcp.tools import BY_NAME, TOOLS
from relay_admin.mcp.tools.tool import Tool
from relay_contract.intake import DeliveryState
from tests.admin import mcp_caller, oauth_client, rows
from tests.admin.test_strangers import other_project

Bearer = Callable[[str], str]
READS = {tool.name for tool in TOOLS if tool.is_read_only}
GETS = {tool.name for tool in TOOLS if tool.method == "GET"}


@pytest.fixture
def bearer_of(catalog: rows.Catalog) -> Bearer:
    """An admin token of a superuser, of somebody in a group of operators, or of a member with a role in the project."""

    def make(who: str) -> str:
        if who == "superuser":
            person = rows.user("root", is_superuser=True)
        else:
            person = rows.user(f"{who}-agent", None if who in list(Role) else who)
        if who in list(Role):
            Membership.objects.create(project=catalog.project, user=person, role=who)
        return services.admin_token_mint(user=person, name="agent").token

    return make


@pytest.fixture
def signed_in(catalog: rows.Catalog) -> Callable[..., str]:
    """An access token of somebody with that role, for an application of the project."""

    def make(scope: str, role: str = "developer", **columns: Any) -> str:
        person = rows.user("person", **columns)
        Membership.objects.create(project=catalog.project, user=person, role=role)
        browser = Client()
        browser.force_login(person)
        app = oauth_client.application(catalog.project)
        return str(oauth_client.Flow(app, browser).tokens(scope=scope)["access_token"])

    return make


# --- what tools say of themselves


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_tool_tells_the_truth_of_its_route(tool: Tool) -> None:
    view = resolve(tool.sample).func.view_class
    assert hasattr(view, tool.method.lower())
    assert set(re.findall(r"\{(\w+)\}", tool.route)) == set(tool.path)
    assert re.fullmatch(r"[A-Z][^.]+(?:\.\.\.)?[^.]*\.", tool.description), "one sentence"
    assert len(tool.description) <= 120
    assert tool.finds == "" or tool.finds in BY_NAME
    assert not (tool.is_read_only and tool.destroys)
    for schema in (tool.input_schema, tool.answer):
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
        assert schema["type"] == "object"
    for name, one in tool.input_schema["properties"].items():
        assert one == schemas.ANY or "type" in one or "description" in one, name


def test_names_are_told_once() -> None:
    assert len(BY_NAME) == len(TOOLS)


def test_every_note_is_of_some_argument() -> None:
    notes = {note for tool in TOOLS for note in tool.notes.items()}
    assert notes == {
        (name, tool.notes[name]) for tool in TOOLS for name in tool.input_schema["properties"] if name in tool.notes
    }


def test_bounds_and_choices_are_the_forms_own() -> None:
    listing = BY_NAME["list_deliveries"].input_schema["properties"]
    assert listing["limit"] == {
        "type": "integer", "minimum": 1, "maximum": 200, "default": 50, "description": "How many rows a page has.",
    }  # fmt: skip
    assert "dead" in listing["state"]["enum"]
    minting = BY_NAME["mint_relay_key"].input_schema
    assert minting["required"] == ["name", "scopes", "project"]
    assert minting["properties"]["scopes"]["items"]["enum"] == ["relay", "inference", "control"]
    assert minting["properties"]["budget"]["type"] == ["object", "null"]
    assert BY_NAME["change_relay_key"].input_schema["required"] == ["key"]
    assert "dryRun" not in BY_NAME["preview_replay"].input_schema["properties"]


def test_every_conflict_and_every_finder_names_a_tool() -> None:
    assert set(errors._CONFLICTS) <= set(advice._ACTIONS)
    assert {name for name, _ in advice._ACTIONS.values()} <= set(BY_NAME)


# --- who comes in


def test_nobody_is_told_where_to_sign_in(catalog: rows.Catalog) -> None:
    nobody, wrong = mcp_caller.send({}), mcp_caller.send({}, authorization="Bearer ra_wrong")
    address = "http://127.0.0.1:8081/.well-known/oauth-protected-resource/mcp"
    assert (nobody.status, nobody.headers["www-authenticate"]) == (401, f'Bearer resource_metadata="{address}"')
    assert wrong.headers["www-authenticate"] == f'Bearer resource_metadata="{address}", error="invalid_token"'
    told = Client().get("/.well-known/oauth-protected-resource/mcp").json()
    assert told == {
        "resource": "http://127.0.0.1:8081/mcp",
        "authorization_servers": ["http://127.0.0.1:8081"],
        "scopes_supported": ["control:read", "control"],
        "bearer_methods_supported": ["header"],
    }


def test_pages_of_other_sites_and_other_names_are_refused(bearer_of: Bearer) -> None:
    bearer = f"Bearer {bearer_of('superuser')}"
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert mcp_caller.send(ping, authorization=bearer, origin="https://evil.example").status == 403
    assert mcp_caller.send(ping, authorization=bearer, origin="http://127.0.0.1:8081").status == 200
    assert mcp_caller.send(ping, authorization=bearer, host="evil.example").status == 400
    assert mcp_caller.send(method="GET", authorization=bearer).status == 405
    assert mcp_caller.send(method="DELETE", authorization=bearer).headers["allow"] == "POST"


def test_a_session_is_no_bearer(client_of: Callable[[str], Client]) -> None:
    cookie = client_of("superuser").cookies["sessionid"].value
    assert mcp_caller.send({}, cookie=f"sessionid={cookie}").status == 401


# --- what each sees


def test_a_superuser_sees_everything_and_a_viewer_nothing_that_changes(bearer_of: Bearer) -> None:
    assert list(mcp_caller.tools(bearer_of("superuser"))) == list(BY_NAME)
    bearer = bearer_of("viewer")
    seen = set(mcp_caller.tools(bearer))
    assert seen <= READS
    assert {"list_deliveries", "read_request", "list_calls"} <= seen
    for name in ("replay_deliveries", "start_replay"):
        refused = mcp_caller.call(bearer, name, ids=["00000000-0000-0000-0000-000000000000"])
        assert (refused["error"], refused["tool"]) == ("forbidden", "who_am_i")


def test_a_developer_sees_endpoints_and_replays_but_no_catalog(bearer_of: Bearer) -> None:
    seen = set(mcp_caller.tools(bearer_of("developer")))
    assert {"save_draft", "publish_draft", "mint_relay_key", "replay_deliveries", "enable_target"} <= seen
    assert not {"apply_catalog", "plan_catalog", "export_catalog", "make_alert_rule", "read_audit_log"} & seen


def test_hints_are_shown(bearer_of: Bearer) -> None:
    shown = mcp_caller.tools(bearer_of("superuser"))
    assert shown["revoke_relay_key"]["annotations"] == {
        "readOnlyHint": False, "destructiveHint": True, "idempotentHint": True, "openWorldHint": False,
    }  # fmt: skip
    assert shown["list_endpoints"]["annotations"]["readOnlyHint"] is True
    assert shown["list_endpoints"]["outputSchema"] == BY_NAME["list_endpoints"].answer


def test_a_token_that_only_reads_sees_no_tool_that_writes(signed_in: Callable[..., str]) -> None:
    bearer = signed_in("control:read")
    assert set(mcp_caller.tools(bearer)) <= GETS
    assert mcp_caller.call(bearer, "list_endpoints")["results"][0]["endpoint"] == "orders"
    refused = mcp_caller.call(bearer, "mint_relay_key", project="shop", name="n", scopes=["relay"])
    assert (refused["error"], refused["tool"]) == ("scope_missing", "who_am_i")
    assert mcp_caller.call(bearer, "save_draft", project="shop", line="v1", document={}, draftRevision=0)["tool"]


def test_an_application_is_no_more_than_a_developer_of_its_own_project(
    signed_in: Callable[..., str], catalog: rows.Catalog
) -> None:
    """Whoever sends an operator, or an owner, to the consent page of an application gets none of their rights."""
    theirs = other_project(catalog)
    bearer = signed_in("control account", role="owner", is_superuser=True)
    person = Membership.objects.get(project=catalog.project, user__username="person").user
    Membership.objects.create(project=theirs.project, user=person, role="owner")
    assert [one["slug"] for one in mcp_caller.call(bearer, "list_projects")["results"]] == ["shop"]
    assert {one["project"] for one in mcp_caller.call(bearer, "list_endpoints")["results"]} == {"shop"}
    assert mcp_caller.call(bearer, "export_catalog")["error"] == "forbidden"
    live = mcp_caller.call(bearer, "mint_relay_key", project="shop", name="n", scopes=["relay"])
    assert live["error"] == "forbidden"
    leaves = mcp_caller.call(bearer, "mint_relay_key", project="shop", name="n", scopes=["control"], mode="test")
    assert leaves["error"] == "forbidden"
    made = mcp_caller.call(bearer, "mint_relay_key", project="shop", name="agents", scopes=["relay"], mode="test")
    assert made["token"].startswith("rk_test_")
    event = AuditEvent.objects.filter(subject="access.relaykey", subject_id=made["id"]).latest("pk")
    assert (event.via, event.actor_name, event.tool.split()[0]) == ("mcp", "person", "application")


def test_an_application_with_control_alone_does_not_see_its_users_money(signed_in: Callable[..., str]) -> None:
    assert mcp_caller.call(signed_in("control"), "list_wallets")["error"] == "forbidden"


def test_an_application_without_control_reads_its_users_own_alone(signed_in: Callable[..., str]) -> None:
    bearer = signed_in("account", role="owner")
    seen = mcp_caller.tools(bearer)
    assert {"list_wallets", "list_calls"} <= set(seen)
    assert not {"list_endpoints", "list_deliveries", "mint_relay_key"} & set(seen)
    assert mcp_caller.call(bearer, "list_endpoints")["error"] == "forbidden"


def test_a_relay_key_that_controls_is_a_bearer_too(catalog: rows.Catalog) -> None:
    key = services.relay_key_mint(project=catalog.project, name="deploys", scopes=["control"])
    assert {"save_draft", "publish_draft"} <= set(mcp_caller.tools(key.token))
    assert mcp_caller.send({}, authorization=f"Bearer {catalog.token}").status == 401


# --- what they do


def test_what_is_another_projects_might_as_well_not_be_there(bearer_of: Bearer, catalog: rows.Catalog) -> None:
    theirs = other_project(catalog)
    bearer = bearer_of("developer")
    before = RelayKey.objects.get(pk=theirs.relay_key.pk)
    for name, arguments, never in (
        ("read_draft", {"project": "bank", "line": "v2"}, {"project": "nope", "line": "v2"}),
        ("revoke_relay_key", {"key": theirs.relay_key.pk}, {"key": 2_000_000_000}),
        ("disable_target", {"target": theirs.target.pk}, {"target": 2_000_000_000}),
        ("read_delivery", {"delivery": str(_delivery(theirs))}, {"delivery": "00000000-0000-0000-0000-000000000007"}),
    ):
        said = mcp_caller.call(bearer, name, **arguments)
        assert said == mcp_caller.call(bearer, name, **never)
        assert (said["error"], said["tool"]) == ("not_found", BY_NAME[name].finds)
    assert RelayKey.objects.get(pk=theirs.relay_key.pk).revoked_at == before.revoked_at
    assert {one["project"] for one in mcp_caller.call(bearer, "list_lines")["results"]} == {"shop"}


def _delivery(catalog: rows.Catalog, state: DeliveryState = DeliveryState.DEAD, **columns: Any) -> Any:
    return rows.delivery_row(rows.request_row(catalog), catalog.target, state, **columns).pk


def test_an_agent_changes_an_endpoint_by_a_draft(bearer_of: Bearer, catalog: rows.Catalog) -> None:
    bearer, line = bearer_of("developer"), {"project": "shop", "line": "v1"}
    revisions.revision_take(line=catalog.line, by=None, source="edit")
    draft = mcp_caller.call(bearer, "read_draft", **line)
    document = draft["document"]
    document["endpoints"].append({"slug": "new", "targets": [{"name": "one", "url": "https://one.example.com/"}]})
    unknown = mcp_caller.call(bearer, "publish_draft", **line, draftRevision=1)
    assert (unknown["error"], unknown["tool"]) == ("stale_draft", "read_draft")
    saved = mcp_caller.call(bearer, "save_draft", **line, document=document, draftRevision=0)
    assert [one["action"] for one in mcp_caller.call(bearer, "diff_draft", **line)["changes"]] == ["create", "create"]
    stale = mcp_caller.call(bearer, "save_draft", **line, document=document, draftRevision=7)
    assert stale["tool"] == "read_draft"
    done = mcp_caller.call(bearer, "publish_draft", **line, draftRevision=saved["draftRevision"], note="by an agent")
    assert Endpoint.objects.filter(line=catalog.line, slug="new").exists()
    event = AuditEvent.objects.filter(subject="catalog.endpoint", action="insert").latest("pk")
    assert (event.via, event.actor_name, event.tool) == ("mcp", "developer-agent", "agent")
    back = mcp_caller.call(bearer, "roll_back_line", **line, number=done["number"] - 1, revision=done["number"])
    assert back["number"] == done["number"] + 1
    assert not Endpoint.objects.filter(line=catalog.line, slug="new").exists()


def test_an_agent_writes_rows_of_any_kind_as_the_api_does(bearer_of: Bearer, catalog: rows.Catalog) -> None:
    bearer = bearer_of("superuser")
    kind = mcp_caller.call(bearer, "describe_rows", kind="targets")
    assert kind["required"] == ["endpoint", "name", "targetUrl"]
    assert (kind["row"], "deliveryMode" in kind["fields"], "role" in kind["filters"]) == ("id", True, True)
    assert mcp_caller.call(bearer, "describe_rows", kind="lines")["row"] == "project/line"
    wrong = mcp_caller.call(bearer, "create_row", kind="targets", values={"name": "n", "url": "http://127.0.0.1:9/"})
    assert (wrong["error"], set(wrong["fields"]), wrong["tool"]) == ("invalid", {"url"}, "describe_rows")
    values = {"endpoint": "shop/v1/orders", "name": "n", "targetUrl": "http://127.0.0.1:9/n"}
    made = mcp_caller.call(bearer, "create_row", kind="targets", values=values)
    found = mcp_caller.call(bearer, "list_rows", kind="targets", filters={"endpoint": "shop/v1/orders", "name": "n"})
    assert [one["id"] for one in found["results"]] == [made["id"]]
    assert set(mcp_caller.call(bearer, "list_rows", kind="hosts", filters={"role": "x"})["fields"]) == {"role"}
    changed = mcp_caller.call(bearer, "change_row", kind="endpoints", row="shop/v1/orders", values={"description": "d"})
    assert changed["description"] == "d"
    assert set(mcp_caller.call(bearer, "change_row", kind="hosts", row="../1", values={})["fields"]) == {"row"}
    assert set(mcp_caller.call(bearer, "read_row", kind="../audit", row="1")["fields"]) == {"kind"}
    for other in ("audit", "sessions", "relay-keys"):
        assert set(mcp_caller.call(bearer, "delete_row", kind=other, row="1")["fields"]) == {"kind"}
    refused = mcp_caller.call(bearer, "delete_row", kind="endpoints", row="shop/v1/orders")
    assert (refused["error"], {one["kind"] for one in refused["references"]}) == ("referred_to", {"target"})
    assert mcp_caller.call(bearer, "delete_row", kind="targets", row=str(made["id"])) == {}
    event = AuditEvent.objects.filter(subject="catalog.target", action="delete").latest("pk")
    assert (event.via, event.actor_name) == ("mcp", "root")
    mine = mcp_caller.call(bearer_of("developer"), "create_row", kind="hosts", values={"slug": "x"})
    assert (mine["error"], mine["tool"]) == ("forbidden", "who_am_i")


def test_arguments_are_refused_as_the_api_refuses_them(bearer_of: Bearer) -> None:
    bearer = bearer_of("superuser")
    wrong = mcp_caller.call(bearer, "list_deliveries", limit=1000, stat="dead")
    assert (wrong["error"], set(wrong["fields"]), wrong["tool"]) == ("invalid", {"stat"}, "list_requests")
    assert set(mcp_caller.call(bearer, "list_deliveries", limit=1000)["fields"]) == {"limit"}
    for project in ("../wallets", "a/b", "..", "", None, 1.5, {"a": 1}):
        assert mcp_caller.call(bearer, "read_project", project=project)["fields"] == {
            "project": ["This is required, and no more than a name or a number."]
        }
    assert set(mcp_caller.call(bearer, "read_relay_key", key=1, more=1)["fields"]) == {"more"}
    assert set(mcp_caller.call(bearer, "start_replay", filter={}, dryRun=True)["fields"]) == {"dryRun"}
    assert mcp_caller.call(bearer, "drop_everything")["error"] == "unknown_tool"


def test_the_catalog_is_applied_as_it_was_planned(bearer_of: Bearer) -> None:
    bearer = bearer_of("superuser")
    document = "version: 1\nprojects:\n  - slug: agents\n    name: Agents\n    lines: [{slug: v1}]\n"
    planned = mcp_caller.call(bearer, "plan_catalog", document=document)
    assert planned["plan"] == "+ project agents\n+ line agents/v1\n\n2 to create, 0 to change, 0 to delete."
    assert not Project.objects.filter(slug="agents").exists()
    other = mcp_caller.call(bearer, "apply_catalog", document=document, plan="+ project agents")
    assert (set(other["fields"]), other["tool"]) == ({"plan"}, "plan_catalog")
    assert mcp_caller.call(bearer, "apply_catalog", document=document, plan=planned["plan"])["changes"] == 2
    assert Project.objects.filter(slug="agents").exists()


def test_a_catalog_from_the_network_reads_no_variable_of_this_process(bearer_of: Bearer, settings: Any) -> None:
    settings.ENVIRONMENT = {"RELAY_SECRET_KEY": "s3cret"}
    document = (
        "version: 1\nhosts:\n  - slug: mine\n    base_url: https://mine.example.com/v1\n"
        "    keys: [{name: main, value_env: RELAY_SECRET_KEY}]\n"
    )
    refused = mcp_caller.call(bearer_of("superuser"), "plan_catalog", document=document)
    assert "RELAY_SECRET_KEY" in str(refused["fields"]["document"])
    assert "s3cret" not in str(refused)


def test_every_answer_is_what_its_schema_says(bearer_of: Bearer, catalog: rows.Catalog) -> None:
    """Every tool once, those that end something last. The edge is not there to be asked."""
    bearer = bearer_of("superuser")
    revisions.revision_take(line=catalog.line, by=None, source="edit")
    first, second, third = (_delivery(catalog) for _ in range(3))
    batch = ReplayBatch.objects.create(project=catalog.project, state="running", filter={}, matched_count=0)
    wallet = Account.objects.get(project_id=catalog.project.pk, kind="wallet", mode="live").pk
    rule = AlertRule.objects.create(kind="target_disabled", endpoint=catalog.endpoint, threshold=1).pk
    line = {"project": "shop", "line": "v1"}
    endpoint, target, key = {**line, "endpoint": "orders"}, {"target": catalog.target.pk}, catalog.relay_key.pk
    request = str(rows.request_row(catalog).pk)

    def done(tool: str, /, **arguments: Any) -> dict[str, Any]:
        left.discard(tool)
        said = mcp_caller.call(bearer, tool, **arguments)
        assert BY_NAME[tool].answer.get("required", []) == [] or "action" not in said, (tool, said)
        jsonschema_rs.validate(BY_NAME[tool].answer, said)
        jsonschema_rs.validate(BY_NAME[tool].input_schema, arguments)
        return said

    left = set(BY_NAME) - {"resolve_model"}
    for name in ("who_am_i", "list_projects", "list_lines", "list_endpoints", "export_catalog", "list_relay_keys",
                 "list_requests", "list_deliveries", "list_replays", "list_calls", "chart_usage", "list_wallets",
                 "list_alert_events", "list_alert_rules", "read_audit_log", "list_breakers", "list_top_ups",
                 "read_settings"):  # fmt: skip
        done(name)
    done("read_project", project="shop")
    done("read_request", request=request, content=True)
    done("read_delivery", delivery=str(first))
    done("read_call", call=str(rows.call_row(catalog).pk))
    done("summarize_usage", by="model")
    done("read_wallet", wallet=wallet)
    done("reset_breaker", breaker="binding:1")
    done("grant_credits", wallet=wallet, microcredits=5, note="hello")
    paid = {"microcredits": 5, "priceMinor": 1, "currency": "usd", "reference": "bank-1"}
    done("record_top_up", wallet=wallet, **paid)
    done("describe_rows", kind="hosts")
    host = done("create_row", kind="hosts", values={"slug": "other", "baseUrl": "https://other.example/v1"})["id"]
    done("list_rows", kind="hosts", search="oth", filters={"isEnabled": True})
    done("change_row", kind="hosts", row=str(host), values={"isEnabled": False})
    done("read_row", kind="lines", row="shop/v1")
    done("delete_row", kind="hosts", row=str(host))
    rows.user("colleague")
    done("list_members", project="shop")
    member = done("add_member", project="shop", username="colleague", role="viewer")["id"]
    done("change_member", project="shop", member=member, role="support")
    done("remove_member", project="shop", member=member)
    done("invite_member", project="shop", email="new@example.test", role="viewer")
    done("list_wallet_entries", wallet=wallet)
    document = done("read_draft", **line)["document"]
    document["endpoints"][0]["max_body_bytes"] = 1000
    done("save_draft", **line, document=document, draftRevision=0)
    done("diff_draft", **line)
    done("publish_draft", **line, draftRevision=1)
    revision = done("list_revisions", **line)["revision"]
    done("read_revision", **line, number=1)
    done("roll_back_line", **line, number=1, revision=revision)
    done("save_draft", **line, document=document, draftRevision=0)
    done("discard_draft", **line, draftRevision=1)
    done("dry_run_endpoint", **endpoint, body={"a": 1})
    Endpoint.objects.filter(pk=catalog.endpoint.pk).update(signature_preset="standard_webhooks")
    done("set_signature_secret", **endpoint, secret=rows.SIGNING_SECRET)
    done("disable_target", **target)
    done("enable_target", **target, held="release")
    made = done("rotate_target_secret", **target)
    done("list_target_secrets", **target)
    done("rotate_target_secret", **target)
    done("expire_target_secret", **target, secret=made["id"])
    written = "version: 1\npolicies: [{slug: more, models: ['*']}]\n"
    done("apply_catalog", document=written, plan=done("plan_catalog", document=written)["plan"])
    done("replay_deliveries", ids=[str(first)])
    done("discard_deliveries", ids=[str(second)])
    done("preview_replay", filter={"project": "shop"})
    done("start_replay", ids=[str(third)], pace=5)
    done("read_replay", replay=batch.pk)
    done("turn_replay", replay=batch.pk, turn="pause")
    done("read_relay_key", key=key)
    done("change_relay_key", key=key, name="renamed")
    done("rotate_relay_key", key=key)
    done("mint_relay_key", project="shop", name="agents", scopes=["relay"])
    done("revoke_relay_key", key=key)
    target_id = catalog.target.pk
    done("make_alert_rule", kind="target_disabled", endpoint=catalog.endpoint.pk, targetId=target_id, threshold=2)
    done("change_alert_rule", rule=rule, threshold=3)
    done("delete_alert_rule", rule=rule)
    assert left == set()


def test_an_answer_that_is_too_long_is_not_sent(bearer_of: Bearer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay_admin.mcp.inside.MAX_ANSWER_BYTES", 300)
    said = mcp_caller.ask(bearer_of("developer"), "tools/call", name="list_relay_keys", arguments={})
    assert said["isError"]
    assert "answer_too_long" in said["content"][0]["text"]

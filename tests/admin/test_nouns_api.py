"""The catalog's nouns in the control API: each kind listed, made, read, replaced, changed and deleted by one set of
rules, and what is special of some."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client

from relay_admin.access import services as access
from relay_admin.access.models import AuditEvent, Membership
from relay_admin.catalog import services
from relay_admin.catalog.lines import revisions
from relay_admin.catalog.models import Endpoint, HostKey, Line, LineRevision, Policy, Pricing, Project, Target
from relay_admin.control_api.nouns.fields import wire_name
from relay_admin.control_api.nouns.kinds import KINDS, Kind
from relay_admin.deliveries.models import AlertRule
from relay_contract.redis import keys
from relay_contract.redis.breakers import binding_field, host_key_field, key_at_model_field
from tests.admin import rows
from tests.admin.test_breakers import opened, valkey

__all__ = ["valkey"]

NEW: dict[str, dict[str, Any]] = {
    "lines": {"project": "shop", "slug": "v2"},
    "endpoints": {"line": "shop/v1", "slug": "refunds"},
    "targets": {"endpoint": "shop/v1/orders", "name": "audit", "targetUrl": "http://127.0.0.1:9/audit"},
    "hosts": {"slug": "other", "baseUrl": "http://127.0.0.1:9/v2"},
    "host-keys": {"host": "vendor", "name": "second", "value": "sk-second"},
    "models": {"name": "openai/gpt-x"},
    "model-aliases": {"model": "gpt-demo", "name": "latest"},
    "host-bindings": {
        "model": "gpt-demo",
        "host": "vendor",
        "wireShape": "anthropic_messages",
        "upstreamName": "up",
        "pricing": "vendor/gpt",
    },
    "prices": {"slug": "vendor/x", "rates": [{"meter": "input", "usdPerMillion": "0.25"}]},
    "policies": {"slug": "chat", "models": ["gpt-*"], "rateLimit": "calls"},
    "rate-limits": {"slug": "few", "rules": [{"meter": "requests", "amount": 5, "windowSeconds": 60}]},
}
"""The least that makes one of each, beside the rows of `rows.catalog_rows`."""


class Api:
    """Calls with a bearer, and JSON both ways."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers
        self.client = Client()

    def __call__(self, method: str, path: str, body: Any = None, if_match: str = "") -> Any:
        headers = self.headers | ({"If-Match": if_match} if if_match else {})
        sent = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        return self.client.generic(method, f"/api/v1/{path}", headers=headers, **sent)


@pytest.fixture
def api(catalog: rows.Catalog, token_of: Any) -> Api:
    """An operator's."""
    return Api(token_of("operators"))


@pytest.fixture(params=KINDS, ids=lambda kind: kind.path)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


def address(kind: Kind, row: dict[str, Any]) -> str:
    """Of a row, as it was answered."""
    match kind.path:
        case "lines":
            return f"lines/{row['project']}/{row['slug']}"
        case "endpoints":
            return f"endpoints/{row['line']}/{row['slug']}"
        case path:
            return f"{path}/{row['id']}"


def test_a_row_from_its_making_to_its_end(api: Api, kind: Kind) -> None:
    """Made, read, listed, changed, replaced by what was read, and deleted; each with its audit event."""
    made = api("POST", kind.path, NEW[kind.path])
    assert made.status_code == 201, made.content
    row = made.json()
    shown = {name: value for name, value in NEW[kind.path].items() if name not in ("value", "rates")}
    assert shown.items() <= row.items()
    path = address(kind, row)
    read = api("GET", path)
    assert (read.json(), read["ETag"]) == (row, made["ETag"])
    assert row in api("GET", f"{kind.path}?limit=200").json()["results"]

    changed = api("PATCH", path, {"description": "For tests."}, read["ETag"])
    assert changed.status_code == 200, changed.content
    assert changed.json() == {
        **row,
        "description": "For tests.",
        "updatedAt": changed.json()["updatedAt"],
        **({"revision": 2} if kind.path == "lines" else {}),
    }
    assert changed["ETag"] != read["ETag"]
    # What was read is what replaces: nothing is left out, and no more than can be written.
    writable = {name: value for name, value in changed.json().items() if name in kind.body().fields}
    again = api("PUT", path, writable, changed["ETag"])
    assert (again.status_code, again.json(), again["ETag"]) == (200, changed.json(), changed["ETag"]), again.content

    assert api("GET", f"{path}/references").json() == {"references": [], "isPartial": False}
    assert api("DELETE", path, if_match=again["ETag"]).status_code == 204
    assert api("GET", path).status_code == 404
    history = LogEntry.objects.filter(object_id=str(row["id"]), content_type__model=kind.model._meta.model_name)
    assert [entry.action_flag for entry in history.order_by("pk")] == [1, 2, 3]
    if kind.path != "model-aliases":  # a part of its model, in the audit log
        events = AuditEvent.objects.filter(subject=kind.model._meta.label_lower, subject_id=row["id"])
        actions = list(events.order_by("id").values_list("action", flat=True))
        assert (actions[0], actions[-1]) == ("insert", "delete")
        assert "update" in actions


def test_what_is_stale_is_refused_and_changes_nothing(api: Api, kind: Kind) -> None:
    row = api("POST", kind.path, NEW[kind.path]).json()
    path = address(kind, row)
    first = api("GET", path)
    assert api("PATCH", path, {"description": "one"}, first["ETag"]).status_code == 200
    now = api("GET", path).json()
    for method, body in (("PATCH", {"description": "two"}), ("PUT", NEW[kind.path]), ("DELETE", None)):
        sent = {name: value for name, value in (body or {}).items() if name != "value"} if body else None
        refused = api(method, path, sent, first["ETag"])
        assert (refused.status_code, refused.json()["error"]) == (412, "stale_row"), method
        assert "If-Match" in refused.json()["action"]
    unsaid = api("PUT", path, {name: value for name, value in NEW[kind.path].items() if name != "value"})
    assert (unsaid.status_code, unsaid.json()["error"]) == (428, "if_match_needed")
    assert api("GET", path).json() == now


def test_what_is_not_known_or_not_possible_is_named(api: Api, kind: Kind) -> None:
    before = list(kind.model._default_manager.order_by("pk").values())
    unknown = api("POST", kind.path, {**NEW[kind.path], "colour": "red"})
    assert unknown.status_code == 400
    assert unknown.json()["fields"] == {"colour": ["There is no such field."]}
    empty = api("POST", kind.path, {})
    assert (empty.status_code, empty.json()["error"]) == (400, "invalid")
    bad = "not/a slug" if "slug" in NEW[kind.path] else "a b"
    name = "slug" if "slug" in NEW[kind.path] else "name" if "name" in NEW[kind.path] else "upstreamName"
    assert set(api("POST", kind.path, {**NEW[kind.path], name: bad}).json()["fields"]) == {name}
    for body in ([], "text", 7, None):
        assert api("POST", kind.path, body).status_code == 400
    assert api("GET", f"{kind.path}?colour=red").json()["fields"] == {"colour": ["There is no such filter."]}
    assert list(kind.model._default_manager.order_by("pk").values()) == before


def test_pages_follow_each_other_in_every_order(api: Api, kind: Kind) -> None:
    assert api("POST", kind.path, NEW[kind.path]).status_code == 201
    total = kind.model._default_manager.count()
    assert total >= 1
    for order in ("id", "updatedAt", wire_name(kind.key)):
        seen: dict[str, list[int]] = {}
        for sign in ("", "-"):
            found, after = [], ""
            while True:
                page = api("GET", f"{kind.path}?limit=1&order={sign}{order}{after}").json()
                found += [row["id"] for row in page["results"]]
                if page["next"] is None:
                    break
                after = f"&after={page['next']}"
            seen[sign] = found
        assert sorted(seen[""]) == sorted(kind.model._default_manager.values_list("pk", flat=True))
        assert seen["-"] == seen[""][::-1]
    assert api("GET", f"{kind.path}?after=nonsense").status_code == 400


def test_lists_are_narrowed_and_searched(api: Api, kind: Kind) -> None:
    row = api("POST", kind.path, NEW[kind.path]).json()
    text = row.get("slug") or row.get("name") or row["upstreamName"]
    found = api("GET", f"{kind.path}?search={text.upper()}").json()["results"]
    assert row["id"] in [one["id"] for one in found]
    assert api("GET", f"{kind.path}?search=no-such-thing").json()["results"] == []
    for name in kind.filters:
        value = row.get(name)
        if isinstance(value, bool):
            here, there = str(value).lower(), str(not value).lower()
        elif name == "project":
            here, there = "shop", "nobody"
        else:
            here, there = (value, None) if value else (None, "nothing")
        if here is not None:
            assert row["id"] in [one["id"] for one in api("GET", f"{kind.path}?{name}={here}").json()["results"]], name
        if there is not None:
            assert row["id"] not in [one["id"] for one in api("GET", f"{kind.path}?{name}={there}").json()["results"]]


def test_viewers_read_and_write_nothing(api: Api, token_of: Any, kind: Kind) -> None:
    row = api("POST", kind.path, NEW[kind.path]).json()
    viewer, path = Api(token_of("viewers")), address(kind, row)
    assert viewer("GET", path).json() == row
    assert viewer("GET", f"{path}/references").status_code == 200
    for method, where, body in (("POST", kind.path, NEW[kind.path]), ("PATCH", path, {}), ("DELETE", path, None)):
        refused = viewer(method, where, body)
        assert (refused.status_code, refused.json()["error"]) == (403, "forbidden"), method
    assert api("GET", path).json() == row


def test_what_refers_to_a_row_is_told_and_keeps_it(api: Api, catalog: rows.Catalog) -> None:
    """One of each way to refer: by a column, by a hidden one, by a name in a list, by a sibling's name."""
    model, host = catalog.model, catalog.host
    Policy.objects.create(
        slug="named",
        models=["gpt-demo@vendor", "-gpt-other"],
        fallbacks=[{"models": ["x"], "when": ["any_failure"], "then": ["gpt-demo"]}],
        user_rate_limit=catalog.rate_limit,
    )
    shadow = {"endpoint": "shop/v1/orders", "name": "twin", "targetUrl": "http://127.0.0.1:9/twin", "role": "shadow"}
    assert api("POST", "targets", {**shadow, "comparesWith": "billing"}).status_code == 201

    expected = {
        f"models/{model.pk}": {
            ("host-binding", "model", "gpt-demo on vendor, openai_chat"),
            ("policy", "models", "named"),
            ("policy", "fallbacks", "named"),
        },
        f"hosts/{host.pk}": {
            ("host-key", "host", "vendor/main"),
            ("host-binding", "host", "gpt-demo on vendor, openai_chat"),
            ("policy", "models", "named"),
        },
        f"prices/{catalog.pricing.pk}": {("host-binding", "pricing", "gpt-demo on vendor, openai_chat")},
        f"policies/{catalog.policy.pk}": {("relay-key", "policy", str(catalog.relay_key))},
        f"rate-limits/{catalog.rate_limit.pk}": {
            ("policy", "rateLimit", "all"),
            ("policy", "userRateLimit", "named"),
            ("project", "rateLimit", "shop"),
        },
        "lines/shop/v1": {("endpoint", "line", "shop/v1/orders")},
        "endpoints/shop/v1/orders": {
            ("target", "endpoint", "shop/v1/orders:billing"),
            ("target", "endpoint", "shop/v1/orders:twin"),
        },
        f"targets/{catalog.target.pk}": {("target", "comparesWith", "shop/v1/orders:twin")},
    }
    for path, wanted in expected.items():
        told = api("GET", f"{path}/references").json()
        assert {(one["kind"], one["field"], one["name"]) for one in told["references"]} == wanted, path
        refused = api("DELETE", path)
        assert (refused.status_code, refused.json()["error"]) == (409, "referred_to")
        assert refused.json()["references"] == told["references"]
        assert api("GET", path).status_code == 200


def test_a_host_keys_value_goes_in_and_never_comes_out(api: Api, catalog: rows.Catalog) -> None:
    path = f"host-keys/{catalog.host_key.pk}"
    before = api("GET", path)
    assert before.json()["hasValue"] is True
    refused = api("PATCH", path, {"value": "sk-new"})
    assert refused.json()["fields"] == {"value": ["There is no such field."]}
    assert api("POST", f"{path}/rotate", {"value": "two words"}).json()["fields"].keys() == {"value"}
    assert api("POST", f"{path}/rotate", {"value": "sk-new"}, '"other"').status_code == 412
    assert services.host_key_value(host_key=HostKey.objects.get(pk=catalog.host_key.pk)) == rows.HOST_KEY_VALUE
    rotated = api("POST", f"{path}/rotate", {"value": "sk-new-canary"}, before["ETag"])
    assert rotated.status_code == 200
    assert rotated.json()["valueFingerprint"] == services.fingerprint("sk-new-canary")
    assert services.host_key_value(host_key=HostKey.objects.get(pk=catalog.host_key.pk)) == "sk-new-canary"
    told = [rotated, api("GET", path), api("GET", "host-keys"), api("GET", "audit?limit=200")]
    assert all(b"canary" not in one.content for one in told)

    empty = api("POST", "host-keys", {"host": "vendor", "name": "empty"})
    assert (empty.status_code, empty.json()["error"]) == (400, "invalid")
    made = api("POST", "host-keys", {"host": "vendor", "name": "by-reference", "reference": "env:KEY"}).json()
    assert (made["hasValue"], made["reference"]) == (False, "env:KEY")
    assert api("PATCH", f"host-keys/{made['id']}", {"reference": ""}).json()["fields"].keys() == {"reference"}


def test_the_breakers_of_a_key_and_a_binding_are_seen_and_reset(
    api: Api, token_of: Any, catalog: rows.Catalog, valkey: redis.Redis
) -> None:
    own = host_key_field(rows.HOST_KEY_VALUE)
    at_model = opened(valkey, key_at_model_field(own, "gpt-up"), catalog.host_key.pk)
    opened(valkey, host_key_field("another"), catalog.host_key.pk)  # of a value that it had before
    binding = opened(valkey, binding_field(catalog.binding.pk), catalog.binding.pk)
    key_path, binding_path = f"host-keys/{catalog.host_key.pk}", f"host-bindings/{catalog.binding.pk}"
    health = api("GET", f"{key_path}/health").json()
    assert health["isHealthy"] is False
    assert [(one["state"], one["reason"], one["upstreamName"]) for one in health["breakers"]] == [
        ("open", "auth", "gpt-up")
    ]
    assert [one["upstreamName"] for one in api("GET", f"{binding_path}/health").json()["breakers"]] == [None]
    viewer = Api(token_of("viewers"))
    assert viewer("GET", f"{key_path}/health").json() == health
    assert viewer("POST", f"{key_path}/reset", {}).status_code == 403
    assert valkey.hexists(keys.BREAKERS, at_model)
    assert api("POST", f"{key_path}/reset", {}).json() == {"isHealthy": True, "breakers": [], "reset": 1}
    assert not valkey.hexists(keys.BREAKERS, at_model)
    assert valkey.hexists(keys.BREAKERS, binding)
    assert api("POST", f"{binding_path}/reset", {}).json()["reset"] == 1
    assert api("POST", f"{binding_path}/reset", {}).json()["reset"] == 0


def test_a_write_is_a_revision_and_makes_a_draft_stale(api: Api, catalog: rows.Catalog) -> None:
    revisions.revision_take(line=catalog.line, by=None, source="import")
    draft = api("GET", "lines/shop/v1/draft").json()
    draft["document"]["description"] = "Drafted."
    asked = {"document": draft["document"], "draftRevision": 0}
    assert api("PUT", "lines/shop/v1/draft", asked).status_code == 200
    three = [
        {"name": name, "targetUrl": f"http://127.0.0.1:9/{name}", "endpoint": "shop/v1/orders", "deliveryMode": mode}
        for name, mode in (("slack", "async"), ("warehouse", "async"), ("lookup", "sync"))
    ]
    assert [api("POST", "targets", body).status_code for body in three] == [201] * 3
    revision = LineRevision.objects.filter(line=catalog.line).order_by("-number")[0]
    assert (revision.number, revision.source, revision.published_by.username) == (4, "edit", "operators-token")
    [endpoint] = revision.document["endpoints"]
    assert [target["name"] for target in endpoint["targets"]] == ["billing", "lookup", "slack", "warehouse"]
    assert Line.objects.get(pk=catalog.line.pk).revision == 4
    refused = api("POST", "lines/shop/v1/publish", {"draftRevision": 1})
    assert (refused.status_code, refused.json()["error"]) == (409, "stale_base")
    again = {**three[2], "name": "another"}
    assert api("POST", "targets", again).status_code == 400  # two would answer the caller
    assert LineRevision.objects.filter(line=catalog.line).count() == 4


def test_rules_of_the_forms_hold_here(api: Api, catalog: rows.Catalog) -> None:
    """What the admin and documents refuse, with the field that is at fault under its wire name."""
    target, key = f"targets/{catalog.target.pk}", {"endpoint": "shop/v1/orders", "name": "x"}
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"all": deep}
    cases: list[tuple[str, str, dict[str, Any], str]] = [
        ("PATCH", target, {"authKind": "bearer"}, "authSecret"),
        ("PATCH", target, {"authConfig": []}, "authConfig"),
        ("PATCH", target, {"targetUrl": "http://169.254.169.254/"}, "targetUrl"),
        ("PATCH", target, {"isEnabled": False}, "isEnabled"),
        ("PATCH", target, {"mapping": {"nothing": "known"}}, "mapping"),
        ("PATCH", target, {"conditions": {"a": "\0"}}, "conditions"),
        ("PATCH", target, {"conditions": deep}, "conditions"),
        ("PATCH", target, {"comparesWith": "billing"}, "comparesWith"),
        ("PATCH", target, {"endpoint": "shop/v1/nothing"}, "endpoint"),
        ("POST", "targets", {**key, "targetUrl": "http://127.0.0.1:9/", "deliveryMode": "guaranteed"}, "deliveryMode"),
        ("PATCH", "endpoints/shop/v1/orders", {"auth": "signature", "signaturePreset": "github"}, "auth"),
        ("PATCH", "endpoints/shop/v1/orders", {"jsonSchema": {"type": 7}}, "jsonSchema"),
        ("PATCH", "lines/shop/v1", {"project": "nobodys"}, "project"),
        ("PATCH", f"policies/{catalog.policy.pk}", {"unpriced": "estimate"}, ""),
        ("PATCH", f"policies/{catalog.policy.pk}", {"fallbacks": [{"models": ["a"]}]}, "fallbacks"),
        ("PATCH", f"rate-limits/{catalog.rate_limit.pk}", {"rules": [{"meter": "requests"}]}, "rules"),
        ("PATCH", f"prices/{catalog.pricing.pk}", {"rates": [{"meter": "call", "usdPerMillion": "1"}]}, "rates"),
        ("PATCH", f"prices/{catalog.pricing.pk}", {"rates": [{"meter": "input", "usdPerMillion": "1e-99"}]}, "rates"),
        (
            "PATCH",
            f"prices/{catalog.pricing.pk}",
            {"rates": [{"meter": "input", "usdPerMillion": "1e99999999"}]},
            "rates",
        ),
        ("PATCH", f"models/{catalog.model.pk}", {"capabilities": {"tools": "perhaps"}}, "capabilities"),
        ("POST", "model-aliases", {"model": "gpt-demo", "name": "gpt-demo"}, "name"),
        ("POST", "lines", {"project": "shop", "slug": "v1"}, ""),
    ]
    models = (Target, Endpoint, Line, Policy, Pricing)
    before = [list(model.objects.order_by("pk").values()) for model in models]
    for method, path, body, field in cases:
        refused = api(method, path, body)
        assert (refused.status_code, set(refused.json().get("fields", ()))) == (400, {field}), (path, body)
    assert [list(model.objects.order_by("pk").values()) for model in models] == before


def test_columns_that_hold_objects_keep_their_meaning(api: Api, catalog: rows.Catalog) -> None:
    """Wire names outside, the catalog's inside; a document with a language of its own as it is."""
    rates = [
        {"meter": "input", "usdPerMillion": "0.25", "aboveTokens": 0},
        {"meter": "server_tool", "usdPerThousand": "10", "aboveTokens": 0},
    ]
    price = api("PATCH", f"prices/{catalog.pricing.pk}", {"rates": rates}).json()
    assert (price["rates"], price["version"]) == (rates, 2)
    assert Pricing.objects.get().rates[1] == {
        "meter": "server_tool", "nanousd_per_million": 10_000_000_000_000, "above_tokens": 0,
    }  # fmt: skip
    known = {"contextTokens": 400_000, "tools": True, "thinkingModes": ["adaptive"]}
    assert api("PATCH", f"models/{catalog.model.pk}", {"capabilities": {**known, "images": None}}).json()[
        "capabilities"
    ] == known  # fmt: skip
    catalog.model.refresh_from_db()
    assert catalog.model.capabilities == {"context_tokens": 400_000, "tools": True, "thinking_modes": ["adaptive"]}
    schema = {"type": "object", "properties": {"order_id": {"type": "string"}}}
    assert api("PATCH", "endpoints/shop/v1/orders", {"jsonSchema": schema}).json()["jsonSchema"] == schema
    rule = {"meter": "requests", "amount": 5, "windowSeconds": 60, "algorithm": "gcra", "burst": 2}
    limit = api("PATCH", f"rate-limits/{catalog.rate_limit.pk}", {"rules": [rule]}).json()
    assert limit["rules"] == [rule]


def test_a_target_says_which_credentials_it_has_and_none_of_them(
    api: Api, token_of: Any, catalog: rows.Catalog
) -> None:
    path = f"targets/{catalog.target.pk}"
    changed = api("PATCH", path, {"authKind": "bearer", "authSecret": "canary-bearer"})
    assert (changed.status_code, changed.json()["hasAuthSecret"]) == (200, True)
    assert b"canary-bearer" not in changed.content + api("GET", "audit?limit=200").content
    assert changed.json()["headers"] == {"x-secret": rows.HEADER_VALUE}
    viewer = Api(token_of("viewers"))
    for shown in (viewer("GET", path).json(), *viewer("GET", "targets").json()["results"]):
        assert shown["headers"] == {"x-secret": "…"}
    # A replacement without the secret keeps it.
    body = {"endpoint": "shop/v1/orders", "name": "billing", "targetUrl": "http://127.0.0.1:9/b", "authKind": "bearer"}
    replaced = api("PUT", path, body, changed["ETag"])
    assert (replaced.status_code, replaced.json()["hasAuthSecret"], replaced.json()["headers"]) == (200, True, {})


def test_members_write_in_their_project_and_see_no_more(catalog: rows.Catalog) -> None:
    """A developer has the endpoints and targets, and no line to make; a viewer reads; a stranger's line is none."""
    bank = Line.objects.create(project=Project.objects.create(slug="bank", name="Bank"), slug="v1")
    callers = {}
    for role in ("developer", "viewer"):
        member = rows.user(role)
        Membership.objects.create(project=catalog.project, user=member, role=role)
        token = access.admin_token_mint(user=member, name="test").token
        callers[role] = Api({"Authorization": f"Bearer {token}"})
    developer, viewer = callers["developer"], callers["viewer"]
    assert developer("POST", "endpoints", NEW["endpoints"]).status_code == 201
    assert developer("POST", "targets", NEW["targets"]).status_code == 201
    assert developer("PATCH", "lines/shop/v1", {"description": "Ours."}).status_code == 200
    elsewhere = developer("POST", "endpoints", {"line": "bank/v1", "slug": "x"})
    nowhere = developer("POST", "endpoints", {"line": "nope/v1", "slug": "x"})
    assert (elsewhere.status_code, elsewhere.content) == (400, nowhere.content)
    assert bank.endpoints.count() == 0
    assert developer("POST", "lines", NEW["lines"]).status_code == 403
    assert developer("DELETE", "lines/shop/v1").status_code == 403
    assert [line["project"] for line in viewer("GET", "lines").json()["results"]] == ["shop"]
    assert viewer("GET", f"targets/{catalog.target.pk}").json()["headers"] == {"x-secret": "…"}
    assert developer("GET", f"targets/{catalog.target.pk}").json()["headers"] == {"x-secret": rows.HEADER_VALUE}
    assert viewer("PATCH", f"targets/{catalog.target.pk}", {"description": "x"}).status_code == 403
    AlertRule.objects.create(kind="failure_queue_size", endpoint=catalog.endpoint, threshold=1)
    told = viewer("GET", "endpoints/shop/v1/orders/references").json()["references"]
    assert {"kind": "alert-rule", "id": None, "name": None, "field": "endpoint"} in told


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_two_changes_of_one_row_one_wins(token_of: Any) -> None:
    """Both read the same ETag; the second to come waits for the first, and is told."""
    catalog = rows.catalog_rows()
    headers = token_of("operators")
    tag = Api(headers)("GET", f"hosts/{catalog.host.pk}")["ETag"]

    def change(number: int) -> int:
        try:
            return Api(headers)("PATCH", f"hosts/{catalog.host.pk}", {"description": f"{number}"}, tag).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        statuses = sorted(pool.map(change, range(4)))
    assert statuses == [200, 412, 412, 412]

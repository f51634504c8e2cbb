"""The REST API: who may call it, what it says, and one shape for every error."""

from datetime import timedelta
from typing import Any

import pytest
import yaml
from django.test import Client
from django.utils import timezone

from relay_admin.access import services
from relay_admin.access.models import AdminToken
from relay_admin.catalog import document, plan
from relay_admin.deliveries.models import AlertKind, ReplayBatch
from relay_contract import tokens
from relay_contract.ids import uuid7
from relay_contract.intake import DeliveryState
from tests.admin import rows

JSON = "application/json"


@pytest.fixture
def api() -> Client:
    """A caller that checks CSRF, as the real ones meet it."""
    return Client(enforce_csrf_checks=True)


def code(answer: Any) -> tuple[int, str]:
    """Status and error code; every error has the whole shape."""
    body = answer.json()
    assert {"error", "message", "action"} <= set(body)
    assert body["message"]
    assert body["action"]
    return answer.status_code, body["error"]


def test_whoami(api: Client, token_of) -> None:
    body = api.get("/auth/whoami", headers=token_of("support")).json()
    assert (body["username"], body["groups"], body["isSuperuser"], body["via"]) == (
        "support-token",
        ["support"],
        False,
        "token",
    )
    assert "deliveries.replay_delivery" in body["permissions"]
    assert "catalog.view_hostkey" not in body["permissions"]


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Bearer x", "Bearer ra_" + "0" * 50, "Bearer " + "x" * 10_000, "Bearer \xff", "bearer  a b"],
)
def test_an_unknown_token_is_one_answer(header: str, api: Client, db: None) -> None:
    answer = api.get("/auth/whoami", headers={"Authorization": header})
    assert code(answer) == (401, "invalid_token")
    assert answer["WWW-Authenticate"] == (
        'Bearer resource_metadata="http://127.0.0.1:8081/.well-known/oauth-protected-resource"'
    )
    assert answer.json()["message"] == "The admin token is unknown, expired, or its user is not active."


def test_no_token_and_another_scheme(api: Client, db: None) -> None:
    assert code(api.get("/auth/whoami")) == (401, "missing_token")
    assert code(api.get("/auth/whoami", headers={"Authorization": "Basic cm9vdDpyb290"})) == (401, "missing_token")


def test_a_token_ends_with_its_time_its_user_and_its_row(api: Client, db: None) -> None:
    user = rows.user("owner")
    minted = services.admin_token_mint(user=user, name="ci")
    header = {"Authorization": f"Bearer {minted.token}"}
    assert api.get("/auth/whoami", headers=header).status_code == 200
    AdminToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert code(api.get("/auth/whoami", headers=header)) == (401, "invalid_token")
    AdminToken.objects.update(expires_at=timezone.now() + timedelta(hours=1))
    assert api.get("/auth/whoami", headers=header).status_code == 200
    user.is_active = False
    user.save()
    assert code(api.get("/auth/whoami", headers=header)) == (401, "invalid_token")
    user.is_active = True
    user.save()
    AdminToken.objects.all().delete()
    assert code(api.get("/auth/whoami", headers=header)) == (401, "invalid_token")


def test_a_session_needs_credentials_and_csrf(api: Client, db: None) -> None:
    rows.user("sam", "support", password=rows.PASSWORD)
    right = {"username": "sam", "password": rows.PASSWORD}
    assert code(api.post("/auth/login", right, JSON)) == (403, "forbidden")  # no CSRF token
    csrf = {"X-CSRFToken": api.get("/auth/login").json()["csrfToken"]}
    for wrong in ({**right, "password": "wrong"}, {**right, "username": "nobody"}):
        assert code(api.post("/auth/login", wrong, JSON, headers=csrf)) == (401, "wrong_credentials")
    assert code(api.post("/auth/login", {"username": "sam"}, JSON, headers=csrf)) == (400, "invalid")
    assert code(api.post("/auth/login", "{", JSON, headers=csrf)) == (400, "malformed_json")
    body = api.post("/auth/login", right, JSON, headers=csrf).json()
    assert (body["username"], body["via"]) == ("sam", "session")
    assert api.get("/auth/whoami").json()["username"] == "sam"
    replay = "/api/v1/deliveries/replay"
    assert code(api.post(replay, {"ids": [str(uuid7())]}, JSON)) == (403, "forbidden")
    csrf = {"X-CSRFToken": api.get("/auth/login").json()["csrfToken"]}
    assert api.post(replay, {"ids": [str(uuid7())]}, JSON, headers=csrf).status_code == 200
    assert code(api.post("/auth/logout", {}, JSON)) == (403, "forbidden")
    assert api.post("/auth/logout", {}, JSON, headers=csrf).status_code == 204
    assert code(api.get("/auth/whoami")) == (401, "missing_token")


def test_an_inactive_user_does_not_sign_in(api: Client, db: None) -> None:
    rows.user("gone", password=rows.PASSWORD, is_active=False)
    csrf = {"X-CSRFToken": api.get("/auth/login").json()["csrfToken"]}
    answer = api.post("/auth/login", {"username": "gone", "password": rows.PASSWORD}, JSON, headers=csrf)
    assert code(answer) == (401, "wrong_credentials")


WHO = ("viewers", "support", "operators", "superuser")
CALLS = {
    ("GET", "/api/v1/requests/{request}"): (200, 200, 200, 200),
    ("GET", "/api/v1/requests"): (200, 200, 200, 200),
    ("GET", "/api/v1/requests/{request}?content=true"): (403, 200, 200, 200),
    ("GET", "/api/v1/replays"): (200, 200, 200, 200),
    ("GET", "/api/v1/deliveries"): (200, 200, 200, 200),
    ("POST", "/api/v1/deliveries/replay"): (403, 200, 200, 200),
    ("POST", "/api/v1/deliveries/discard"): (403, 200, 200, 200),
    ("GET", "/api/v1/catalog"): (403, 403, 200, 200),
    ("POST", "/api/v1/targets/{target}/disable"): (403, 403, 200, 200),
}


@pytest.mark.parametrize("who", WHO)
def test_who_may_call_what(who: str, api: Client, token_of, catalog: rows.Catalog) -> None:
    request = rows.request_row(catalog)
    dead = rows.delivery_row(request, catalog.target, DeliveryState.DEAD)
    header = token_of(who)
    for (method, path), expected in CALLS.items():
        url = path.format(request=request.pk, target=catalog.target.pk)
        body = {"ids": [str(dead.pk)]} if method == "POST" else None
        answer = api.generic(method, url, "" if body is None else str(body).replace("'", '"'), JSON, headers=header)
        assert answer.status_code == expected[WHO.index(who)], url
    dead.refresh_from_db()
    assert dead.state == ("dead" if who == "viewers" else "pending")
    assert ReplayBatch.objects.count() == (0 if who == "viewers" else 1)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_nobody_may_call_anything(method: str, api: Client, catalog: rows.Catalog) -> None:
    dead = rows.delivery_row(rows.request_row(catalog), catalog.target, DeliveryState.DEAD)
    for _, path in CALLS:
        answer = api.generic(
            method, path.format(request=dead.request_id, target=catalog.target.pk), f'{{"ids": ["{dead.pk}"]}}', JSON
        )
        assert code(answer) == (401, "missing_token")
    dead.refresh_from_db()
    assert dead.state == "dead"


def test_a_request_with_its_deliveries_and_attempts(api: Client, token_of, catalog: rows.Catalog) -> None:
    request = rows.request_row(catalog, caller_request_id="caller-1")
    dead = rows.delivery_row(request, catalog.target, DeliveryState.DEAD)
    answer = api.get(f"/api/v1/requests/{request.pk}", headers=token_of("support"))
    body = answer.json()
    (delivery,) = body.pop("deliveries")
    assert {**body, "receivedAt": None} == {
        "id": str(request.pk),
        "project": "shop",
        "endpoint": "shop/v1/orders",
        "relayKeyId": catalog.relay_key.pk,
        "mode": "live",
        "receivedAt": None,
        "origin": "caller",
        "revision": 0,
        "method": "POST",
        "path": "/r/shop/v1/orders",
        "query": "",
        "eventType": "",
        "callerRequestId": "caller-1",
        "idempotencyKey": "",
        "clientIp": "192.0.2.7",
        "contentType": "application/json",
        "bodyBytes": len(rows.BODY),
        "status": 202,
        "error": "",
        "acceptUs": 0,
        "targetCount": 1,
        "filteredCount": 0,
        "end": None,
    }
    assert delivery.pop("credits") == "held 1, settled 1"
    (attempt,) = delivery.pop("attempts")
    assert {name: delivery[name] for name in ("id", "requestId", "project", "target", "state", "deadReason")} == {
        "id": str(dead.pk),
        "requestId": str(request.pk),
        "project": "shop",
        "target": {"id": catalog.target.pk, "name": "billing"},
        "state": "dead",
        "deadReason": "attempts_exhausted",
    }
    assert (attempt["number"], attempt["status"], attempt["durationMs"]) == (1, 500, 12)
    assert "canary" not in answer.content.decode().replace(rows.HEADER_VALUE, "")
    assert code(api.get(f"/api/v1/requests/{uuid7()}", headers=token_of("viewers"))) == (404, "not_found")


def test_deliveries_come_in_pages_that_neither_skip_nor_repeat(api: Client, token_of, catalog: rows.Catalog) -> None:
    request = rows.request_row(catalog)
    made = [str(rows.delivery_row(request, catalog.target, DeliveryState.PENDING).pk) for _ in range(7)]
    header = token_of("support")
    seen: list[str] = []
    after = ""
    while True:
        body = api.get(f"/api/v1/deliveries?limit=3{after}", headers=header).json()
        seen += [one["id"] for one in body["results"]]
        # A new row appears on no later page.
        rows.delivery_row(request, catalog.target, DeliveryState.PENDING)
        if body["next"] is None:
            break
        after = f"&after={body['next']}"
    assert seen == made[::-1]


def test_deliveries_are_filtered(api: Client, token_of, catalog: rows.Catalog) -> None:
    one, other = rows.request_row(catalog), rows.request_row(catalog)
    dead = rows.delivery_row(one, catalog.target, DeliveryState.DEAD)
    pending = rows.delivery_row(other, catalog.target, DeliveryState.PENDING)
    header = token_of("support")

    def listed(query: str) -> set[str]:
        return {row["id"] for row in api.get(f"/api/v1/deliveries?{query}", headers=header).json()["results"]}

    both = {str(dead.pk), str(pending.pk)}
    assert listed("") == both
    assert listed("state=dead") == {str(dead.pk)}
    assert listed(f"request={other.pk}") == {str(pending.pk)}
    assert listed(f"target={catalog.target.pk}&project=shop") == both
    assert listed("project=other") == set()
    assert listed(f"target={2**62}") == set()


@pytest.mark.parametrize(
    ("query", "field"),
    [("state=sideways", "state"), ("target=x", "target"), ("target=99999999999999999999", "target"),
     ("limit=0", "limit"), ("limit=201", "limit"), ("after=x", "after"), ("request=1", "request"),
     ("project=%00", "project"), ("page=2", "page")],
)  # fmt: skip
def test_a_wrong_filter_is_named(query: str, field: str, api: Client, token_of) -> None:
    answer = api.get(f"/api/v1/deliveries?{query}", headers=token_of("support"))
    assert code(answer) == (400, "invalid")
    assert list(answer.json()["fields"]) == [field]


def test_a_wrong_choice_is_told_the_right_ones(api: Client, token_of) -> None:
    long = api.get(f"/api/v1/deliveries?state={'x' * 5000}", headers=token_of("support")).json()["fields"]["state"]
    assert long == [f'"{"x" * 100}..." is none of {", ".join(DeliveryState)}.']
    kind = {"kind": "deafening", "project": "shop"}
    answer = api.post("/api/v1/alerts/rules", kind, content_type="application/json", headers=token_of("operators"))
    assert answer.json()["fields"]["kind"] == [f'"deafening" is none of {", ".join(AlertKind.values)}.']


def test_a_replay_says_what_it_did(api: Client, token_of, catalog: rows.Catalog) -> None:
    request = rows.request_row(catalog)
    dead = rows.delivery_row(request, catalog.target, DeliveryState.DEAD)
    done = rows.delivery_row(request, catalog.target, DeliveryState.DELIVERED)
    answer = api.post(
        "/api/v1/deliveries/replay", {"ids": [str(dead.pk), str(done.pk)]}, JSON, headers=token_of("support")
    )
    body = answer.json()
    assert (body["requestedCount"], body["replayedCount"], body["deliveryIds"]) == (2, 1, [str(dead.pk)])
    assert body["refused"] == {str(done.pk): {"code": "not_dead", "message": "it is not in the failure queue any more"}}
    assert ReplayBatch.objects.get().created_by.username == "support-token"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", (400, "invalid")),
        ("{", (400, "malformed_json")),
        ("[]", (400, "invalid")),
        ('{"ids": []}', (400, "invalid")),
        ('{"ids": ["x"]}', (400, "invalid")),
        ('{"ids": "all"}', (400, "invalid")),
        ("\xff", (400, "malformed_json")),
    ],
)
def test_a_wrong_body_replays_nothing(body: str, expected: tuple[int, str], api: Client, token_of, db: None) -> None:
    url = "/api/v1/deliveries/replay"
    assert code(api.generic("POST", url, body.encode("latin-1"), JSON, headers=token_of("support"))) == expected
    assert ReplayBatch.objects.count() == 0


def test_another_content_type_is_refused(api: Client, token_of) -> None:
    answer = api.post("/api/v1/deliveries/replay", "ids=1", "text/plain", headers=token_of("support"))
    assert code(answer) == (415, "unsupported_media_type")


def test_the_catalog_is_the_document(api: Client, token_of, catalog: rows.Catalog) -> None:
    header = token_of("operators")
    answer = api.get("/api/v1/catalog", headers={**header, "Accept": "application/yaml"})
    assert answer["Content-Type"] == "application/yaml; charset=utf-8"
    text = answer.content.decode()
    assert not plan.make(document.read(text), {}, prune=True)
    body = api.get("/api/v1/catalog", headers=header).json()
    assert body["rateLimits"] == [
        {"slug": "calls", "rules": [{"meter": "requests", "amount": 600, "windowSeconds": 60}]}
    ]
    assert body["prices"] == [{"slug": "vendor/gpt", "rates": [{"meter": "input", "usdPerMillion": "1.25"}]}]
    (target,) = body["projects"][0]["lines"][0]["endpoints"][0]["targets"]
    assert target == {
        "name": "billing",
        "targetUrl": "http://127.0.0.1:9/hook",
        "headers": {"x-secret": rows.HEADER_VALUE},
    }
    assert yaml.safe_load(text)["version"] == body["version"] == 1
    for secret in (
        rows.HOST_KEY_VALUE,
        rows.SIGNING_SECRET,
        catalog.token,
        "sealed",
        tokens.hash_token(catalog.token).hex(),
    ):
        assert secret not in text


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/", "/auth/nothing", "/api/v1/requests/not-an-id"])
def test_an_unknown_address_is_answered_in_json(path: str, api: Client, db: None) -> None:
    assert code(api.get(path)) == (404, "not_found")
    strict = Client(enforce_csrf_checks=True)
    assert [code(strict.post(path)), code(strict.delete(path))] == [(404, "not_found")] * 2


def test_a_wrong_method_is_answered_in_json(api: Client, token_of) -> None:
    assert code(api.delete("/api/v1/deliveries", headers=token_of("support"))) == (405, "method_not_allowed")


@pytest.mark.parametrize("body", ["[" * 100_000, '{"ids": ' + "[" * 100_000, '{"a":' * 100_000])
def test_json_nested_too_deep_is_the_callers_mistake(body: str, api: Client, token_of) -> None:
    answer = api.post("/api/v1/deliveries/replay", body, JSON, headers=token_of("superuser"))
    assert code(answer) == (400, "malformed_json")

"""One call to three real targets: signed, retried, dead, replayed; and what the catalog refuses."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from standardwebhooks import Webhook

from relay_contract import tokens
from relay_contract.nouns import KeyMode
from tests.system.product import Product, wait_for
from tests.system.receiver import Receiver

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system")]

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
REVOKE = """
from relay_admin.access import services
from relay_admin.access.models import RelayKey
services.relay_key_revoke(relay_key=RelayKey.objects.get(project__slug="revoked"))
"""


def document(receiver: Receiver, project: str) -> str:
    """A project with one endpoint and three targets; `broken` gives up after two quick tries."""
    targets = "".join(
        f"""
              - name: {name}
                url: {receiver.url}/{project}/{name}
                retry_schedule_seconds: [1]
                signing_secret_env: TARGET_SECRET"""
        for name in ("first", "second", "broken")
    )
    return f"""
version: 1
projects:
  - slug: {project}
    name: {project}
    relay_keys:
      - name: app
        scopes: [relay]
        token_env: APP_TOKEN
    lines:
      - slug: v1
        endpoints:
          - slug: orders
            targets:{targets}
"""


def post(product: Product, path: str, token: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any], Any]:
    request = urllib.request.Request(product.edge_url + path, data=body, method="POST")
    request.add_header("Authorization", f"Bearer {token}")
    for name, value in ({"Content-Type": "application/json"} | headers).items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers


def minted_token() -> str:
    return tokens.mint(KeyMode.LIVE).token


def deliveries(product: Product, request_id: str) -> dict[str, dict[str, Any]]:
    """The deliveries of a request by the name of their target."""
    answer = product.api(f"/api/v1/requests/{request_id}")
    return {delivery["target"]["name"]: delivery for delivery in answer["deliveries"]}


def test_fan_out_is_signed_retried_dead_and_replayed(product: Product, receiver: Receiver) -> None:
    token = minted_token()
    product.apply(document(receiver, "fan"), TARGET_SECRET=SECRET, APP_TOKEN=token)
    receiver.statuses["/fan/broken"] = 500
    body = '{"type":"order.created","text":"å"}'.encode()

    def accepted() -> tuple[int, dict[str, Any], Any] | None:
        answer = post(product, "/r/fan/v1/orders", token, body, X_Tenant="blue")
        return None if answer[0] in {401, 404} else answer  # the edge hears of the new rows within 1.5 s

    status, answer, headers = wait_for(accepted, "the new endpoint to be live")
    assert (status, answer["status"], headers["Relay-Durability"]) == (202, "queued", "committed")
    request_id = answer["requestId"]

    wait_for(lambda: receiver.at("/fan/first") and receiver.at("/fan/second"), "two deliveries")
    for name in ("first", "second"):
        (call,) = receiver.at(f"/fan/{name}")
        assert call.body == body
        assert call.request_id == request_id
        assert call.headers["x-tenant"] == "blue"
        assert "authorization" not in call.headers
        Webhook(SECRET).verify(call.body, dict(call.headers))

    wait_for(lambda: deliveries(product, request_id)["broken"]["state"] == "dead", "the failure queue")
    broken = deliveries(product, request_id)["broken"]
    assert broken["deadReason"] == "attempts_exhausted"
    assert [attempt["status"] for attempt in broken["attempts"]] == [500, 500]
    assert {call.request_id for call in receiver.at("/fan/broken")} == {request_id}

    receiver.statuses["/fan/broken"] = 200
    batch = product.api("/api/v1/deliveries/replay", {"ids": [broken["id"]]})
    assert batch["replayedCount"] == 1
    wait_for(lambda: deliveries(product, request_id)["broken"]["state"] == "delivered", "the replay")
    last = receiver.at("/fan/broken")[-1]
    assert (last.request_id, last.headers["relay-replay"], last.body) == (request_id, "1", body)
    Webhook(SECRET).verify(last.body, dict(last.headers))


def test_a_key_of_one_project_does_not_open_another(product: Product, receiver: Receiver) -> None:
    token = minted_token()
    product.apply(document(receiver, "stranger"), TARGET_SECRET=SECRET, APP_TOKEN=token)

    def known() -> tuple[int, dict[str, Any], Any] | None:
        answer = post(product, "/r/demo/v1/events", token, b"{}")
        return None if answer[0] == 401 else answer  # each edge process hears of the new key by itself

    status, answer, _ = wait_for(known, "the new key to be live")
    assert (status, answer["error"]) == (403, "wrong_project")


def test_a_revoked_key_is_refused_within_moments(product: Product, receiver: Receiver) -> None:
    token = minted_token()
    product.apply(document(receiver, "revoked"), TARGET_SECRET=SECRET, APP_TOKEN=token)
    wait_for(lambda: post(product, "/r/revoked/v1/orders", token, b"{}")[0] == 202, "the new key to be live")
    product.manage("shell", "-v0", "-c", REVOKE)

    def refused() -> dict[str, Any] | None:
        status, answer, _ = post(product, "/r/revoked/v1/orders", token, b"{}")
        return answer if status == 401 else None

    assert wait_for(refused, "the refusal")["error"] == "key_revoked"


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/x",
        "http://169.254.169.254/latest",
        "http://[::ffff:10.0.0.1]/",
        "http://user:pw@example.com/",
        "file:///etc/passwd",
        "http://2130706433/",
    ],
)
def test_a_target_in_private_address_space_is_refused_with_its_line(
    product: Product, receiver: Receiver, url: str
) -> None:
    text = document(receiver, "private").replace(f"{receiver.url}/private/second", url)
    line = 1 + [url in line for line in text.splitlines()].index(True)
    with pytest.raises(AssertionError, match=rf"line {line}\b"):
        product.apply(text, TARGET_SECRET=SECRET, APP_TOKEN=minted_token())
    assert "private" not in product.manage("catalog", "export")


def test_a_host_name_addresses_a_project(product: Product) -> None:
    status, answer, _ = post(
        product, "/v1/events", product.relay_key, b"{}", Host=f"demo.{product.environment['RELAY_DOMAIN']}"
    )
    assert (status, answer["status"]) == (202, "queued")


def test_the_demo_catalog_can_be_compared_with_what_runs(product: Product) -> None:
    """`make manage` knows the variables that the demo's document refers to. Applied first: a docs page that ran before
    on this product may have changed one of them.
    """
    path = str(product.home / "demo.yaml")
    product.manage("catalog", "apply", path, "--yes")
    assert product.manage("catalog", "diff", path).startswith("No changes")

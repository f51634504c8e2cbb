"""What the relay plane promises its users, each promise once and on the real processes. What kills do to them is in
`test_kills.py`; spellings of forbidden addresses are in `tests/delivery/test_ssrf.py`."""

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.system.product import Product, wait_for
from tests.system.receiver import Receiver
from tests.system.test_fan_out import SECRET, deliveries, minted_token, post

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system")]

CALLERS = 50
IDS = """
from relay_admin.catalog.models import Endpoint
pager = Endpoint.objects.get(slug="pager", line__project__slug="gone")
print(pager.pk, pager.line.project_id)
"""


def document(project: str, **targets: str) -> str:
    """A project with an endpoint for each target, of its name."""
    endpoints = "".join(
        f"""
          - slug: {name}
            targets:
              - {{name: {name}, url: {url}, signing_secret_env: TARGET_SECRET}}"""
        for name, url in targets.items()
    )
    return f"""
version: 1
projects:
  - slug: {project}
    name: {project}
    relay_keys:
      - {{name: app, scopes: [relay], token_env: APP_TOKEN}}
    lines:
      - slug: v1
        endpoints:{endpoints}
"""


def first_call(product: Product, path: str, token: str) -> str:
    """The request id of the first call that is accepted: the edge hears of new rows within 1.5 s."""

    def accepted() -> str | None:
        status, answer, _ = post(product, path, token, b"{}")
        return answer["requestId"] if status == 202 else None

    return wait_for(accepted, "the new endpoint to be live")


def only_delivery(product: Product, request_id: str) -> dict[str, Any]:
    [delivery] = deliveries(product, request_id).values()
    return delivery


def test_fifty_callers_of_one_key_make_one_request(product: Product, receiver: Receiver) -> None:
    token = minted_token()
    product.apply(document("once", hook=f"{receiver.url}/once"), TARGET_SECRET=SECRET, APP_TOKEN=token)
    first_call(product, "/r/once/v1/hook", token)
    wait_for(lambda: receiver.at("/once"), "the endpoint's first delivery")
    answers: list[tuple[int, dict[str, Any], Any]] = []
    begin = threading.Barrier(CALLERS)

    def call() -> None:
        begin.wait(30)
        answers.append(post(product, "/r/once/v1/hook", token, b'{"n": 1}', Idempotency_Key="one"))

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert len(answers) == CALLERS
    assert {(status, answer["requestId"]) for status, answer, _ in answers} == {(202, answers[0][1]["requestId"])}
    assert sum("idempotent-replayed" in headers for _, _, headers in answers) == CALLERS - 1
    last = first_call(product, "/r/once/v1/hook", token)  # behind all of them
    wait_for(lambda: last in {call.request_id for call in receiver.at("/once")}, "the last call to be delivered")
    assert len([call for call in receiver.at("/once") if call.body == b'{"n": 1}']) == 1


def test_a_target_is_left_alone_for_as_long_as_it_asks(product: Product, receiver: Receiver) -> None:
    token = minted_token()
    receiver.statuses["/busy"], receiver.retry_after["/busy"] = 429, 120
    product.apply(document("busy", hook=f"{receiver.url}/busy"), TARGET_SECRET=SECRET, APP_TOKEN=token)
    request_id = first_call(product, "/r/busy/v1/hook", token)
    wait_for(lambda: only_delivery(product, request_id)["attempts"], "the first attempt")
    delivery = only_delivery(product, request_id)
    [attempt] = delivery["attempts"]
    again_at = datetime.fromisoformat(delivery["nextAttemptAt"])
    assert (attempt["status"], delivery["state"]) == (429, "pending")
    assert (again_at - datetime.fromisoformat(attempt["startedAt"])).total_seconds() >= 120
    assert again_at > datetime.now(UTC)
    assert len(receiver.at("/busy")) == 1


def test_a_target_that_is_gone_is_called_once_and_told_of(product: Product, receiver: Receiver) -> None:
    token = minted_token()
    receiver.statuses["/gone"] = 410
    urls = {"hook": f"{receiver.url}/gone", "pager": f"{receiver.url}/pager"}
    product.apply(document("gone", **urls), TARGET_SECRET=SECRET, APP_TOKEN=token)
    endpoint, project = product.manage("shell", "-c", IDS).split()[-2:]
    product.api("/api/v1/alerts/rules", {"kind": "target_gone", "endpoint": int(endpoint), "project": int(project)})
    request_id = first_call(product, "/r/gone/v1/hook", token)
    wait_for(lambda: only_delivery(product, request_id)["state"] == "dead", "the delivery to be given up")
    delivery = only_delivery(product, request_id)
    assert (delivery["deadReason"], len(delivery["attempts"])) == ("target_gone", 1)
    [alert] = wait_for(lambda: receiver.at("/pager"), "the alert")
    assert b'"relay.target.gone"' in alert.body
    assert len(receiver.at("/gone")) == 1


def test_every_delivery_of_these_tests_is_accounted_for(product: Product) -> None:
    assert "every delivery is accounted for" in product.manage("credits", "check")

"""Endpoints that answer, on the real processes: the mixed example of the seed, and a worker that dies."""

import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.system.product import Product, wait_for
from tests.system.receiver import Receiver
from tests.system.test_fan_out import deliveries, minted_token, post

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system")]

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def document(slack: str, lookup: str, project: str, timeout_seconds: int) -> str:
    """Slack and Warehouse are told, Lookup answers."""
    targets = "".join(
        f"""
              - name: {name}
                url: {url}
                delivery_mode: {mode}
                timeout_seconds: {timeout_seconds}
                signing_secret_env: TARGET_SECRET"""
        for name, url, mode in (
            ("slack", f"{slack}/{project}/slack", "async"),
            ("warehouse", f"{slack}/{project}/warehouse", "async"),
            ("lookup", f"{lookup}/{project}/lookup", "sync"),
        )
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
          - slug: mixed
            targets:{targets}
"""


class Lookup:
    """A target that answers with JSON once it may, and counts who asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        lookup = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                lookup.asked.append(urlsplit(self.path).query)
                lookup.may_answer.wait(60)
                answer = json.dumps({"found": json.loads(body)["customer"]}).encode()
                self.send_response(203)
                self.send_header("Content-Type", "application/json")
                self.send_header("X-Own", "yes")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A worker killed in mid-call is what a test is about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()


def live(product: Product, path: str, token: str) -> tuple[int, dict[str, Any], Any]:
    """The first answer once the edge has heard of the new rows."""

    def accepted() -> tuple[int, dict[str, Any], Any] | None:
        answer = post(product, path, token, b'{"customer": 42}')
        return None if answer[0] in {401, 404} else answer

    return wait_for(accepted, "the new endpoint to be live")


def test_the_seeds_mixed_endpoint(product: Product, receiver: Receiver) -> None:
    token, lookup = minted_token(), Lookup()
    product.apply(document(receiver.url, lookup.url, "mixed", 20), TARGET_SECRET=SECRET, APP_TOKEN=token)
    status, answer, headers = live(product, "/r/mixed/v1/mixed?tier=gold", token)
    assert (status, answer) == (203, {"found": 42})
    assert (headers["X-Own"], headers["X-Relay-Target"], headers["Relay-Durability"]) == ("yes", "lookup", "committed")
    assert lookup.asked == ["tier=gold"]
    for name in ("slack", "warehouse"):
        [call] = wait_for(lambda name=name: receiver.at(f"/mixed/{name}"), f"{name} to be told")  # type: ignore[misc]
        assert (call.body, call.request_id) == (b'{"customer": 42}', headers["X-Request-Id"])

    def all_delivered() -> bool:
        found = deliveries(product, headers["X-Request-Id"])
        return set(found) == {"slack", "warehouse", "lookup"} and {row["state"] for row in found.values()} == {
            "delivered"
        }

    wait_for(all_delivered, "all three to be delivered")
    lookup.close()


def test_a_worker_that_is_killed_in_mid_call_leaves_an_answer_and_no_second_call(
    product: Product, receiver: Receiver
) -> None:
    token, lookup = minted_token(), Lookup()
    product.apply(document(receiver.url, lookup.url, "killed", 3), TARGET_SECRET=SECRET, APP_TOKEN=token)
    assert live(product, "/r/killed/v1/mixed", token)[0] == 203
    lookup.may_answer.clear()
    answers: list[tuple[int, dict[str, Any], Any]] = []

    def call() -> None:
        answers.append(post(product, "/r/killed/v1/mixed?the=one", token, b'{"customer": 1}'))

    calling = threading.Thread(target=call)
    calling.start()
    wait_for(lambda: "the=one" in lookup.asked, "the target to be asked")
    [victim] = product.processes("--hostname worker-sync@")
    os.kill(victim.pid, signal.SIGKILL)
    calling.join(20)
    [(status, answer, headers)] = answers
    assert (status, answer["error"]) == (504, "sync_timeout")
    assert answer["requestId"] == headers["X-Request-Id"]
    lookup.may_answer.set()

    def answered() -> bool:
        return post(product, "/r/killed/v1/mixed?another=one", token, b'{"customer": 2}')[0] == 203

    wait_for(answered, "the lane to be back", seconds=60)
    assert lookup.asked.count("the=one") == 1
    lookup.close()
    request_id = answer["requestId"]
    assert product.finished(request_id, "sync") == []
    as_if_its_lease_were_over = (
        "UPDATE deliveries_live SET next_attempt_at = now() WHERE request_id = %s AND mode = 'sync'"
    )
    product.sql(as_if_its_lease_were_over, request_id)
    ended = wait_for(lambda: product.finished(request_id, "sync"), "the call to be ended")
    assert ended == [("dead", "unknown_outcome", "hold+release")]

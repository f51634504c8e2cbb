"""The Python SDK and its command against the running product."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import relay_sdk
import requests
from relay_sdk import AsyncRelay, Relay, verify_webhook
from relay_sdk.cli.listening import forwarded, new_secret

from tests.system.product import ROOT, Product, wait_for
from tests.system.receiver import Receiver
from tests.system.test_oauth import DEVICE, allow, browser, make

__all__ = ["browser"]  # a fixture
pytestmark = [pytest.mark.system, pytest.mark.xdist_group("system")]
QUESTION = [{"role": "user", "content": "count the words of this question"}]


@pytest.fixture
def relay(product: Product) -> Iterator[Relay]:
    with Relay(product.edge_url, control_url=product.control_url, api_key=product.relay_key) as client:
        yield client


def command(product: Product, *words: str, **variables: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT / "sdk/python/src"), "RELAY_URL": product.edge_url} | variables
    return subprocess.Popen(
        [sys.executable, "-m", "relay_sdk", *words],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(product: Product, *words: str, **variables: str) -> str:
    """As an operator with a token; what it prints."""
    operator = {"RELAY_CONTROL_URL": product.control_url, "RELAY_TOKEN": product.credentials["admin_token"]}
    process = command(product, *words, **{**operator, **variables})
    said, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint
    return said


def test_a_call_to_each_kind_of_endpoint(relay: Relay) -> None:
    queued = relay.send("demo", "v1", "events", {"type": "order.created"}, idempotency_key="of-the-sdk")
    again = relay.send("demo", "v1", "events", {"type": "order.created"}, idempotency_key="of-the-sdk")
    assert (queued.is_queued, queued.is_repeated, again.is_repeated) == (True, False, True)
    assert again.json() == queued.json()
    found = relay.send("demo", "v1", "lookup", {"customer": 42})
    assert (found.is_queued, found.status, found.target) == (False, 200, "lookup")
    with relay.stream("demo", "v1", "stream", {}, params={"events": "3"}) as stream:
        assert (stream.status, [event.event for event in stream.events()]) == (200, [*["message"] * 3, "done"])


def test_a_key_without_any_right_at_the_control_plane_knows_its_wallet(product: Product) -> None:
    project = product.api("/api/v1/projects", {"slug": "of-the-sdk", "name": "Prepaid", "billing": "prepaid"})
    wanted = {"project": project["slug"], "name": "models", "scopes": ["inference"], "policy": "everything"}
    key = product.api("/api/v1/relay-keys", wanted)["token"]
    [wallet] = product.api(f"/api/v1/wallets?project={project['slug']}&mode=live")["results"]
    product.api(f"/api/v1/wallets/{wallet['id']}/grants", {"microcredits": 5, "note": "welcome"})
    with Relay(product.edge_url, control_url=product.control_url, api_key=key) as holder:
        assert holder.account.balance().available == 5
    with (
        Relay(product.edge_url, control_url=product.control_url, api_key=product.relay_key) as afterwards,
        pytest.raises(relay_sdk.NoWallet),
    ):
        afterwards.account.balance()


def test_refusals_are_typed(product: Product, relay: Relay) -> None:
    with pytest.raises(relay_sdk.InvalidCall) as unknown:
        relay.send("demo", "v1", "nowhere", {})
    assert (unknown.value.code, unknown.value.status) == ("endpoint_not_found", 404)
    assert unknown.value.request_id
    with (
        pytest.raises(relay_sdk.Unauthenticated, match="invalid_key"),
        Relay(product.edge_url, api_key="rk_live_no") as no,
    ):
        no.models()
    with pytest.raises(relay_sdk.UpstreamFailed, match="sync_timeout"):
        relay.send("demo", "v1", "lookup", {"customer": 42}, params={"delay": "8"})
    with pytest.raises(relay_sdk.Unreachable) as away, Relay("http://127.0.0.1:9", api_key="k") as nobody:
        nobody.models()
    assert not away.value.was_sent


def test_the_vendors_clients(relay: Relay) -> None:
    assert {"demo-gpt", "demo-claude"} <= set(relay.models())
    with relay.openai() as client:
        chunks = list(client.chat.completions.create(model="demo-gpt", messages=QUESTION, stream=True))  # type: ignore[call-overload]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "count the words" in text
    with relay.anthropic() as client:
        answer = client.messages.create(model="demo-claude", max_tokens=50, messages=QUESTION)  # type: ignore[arg-type]
    assert answer.stop_reason == "end_turn"


async def test_awaited(product: Product) -> None:
    async with AsyncRelay(product.edge_url, api_key=product.relay_key) as relay:
        assert (await relay.send("demo", "v1", "events", {"type": "order.created"})).is_queued
        async with relay.stream("demo", "v1", "stream", {}, params={"events": "2"}) as stream:
            assert [event.event async for event in stream.events()] == ["message", "message", "done"]
        async with relay.openai() as client:
            answer = await client.chat.completions.create(model="demo-gpt", messages=QUESTION)  # type: ignore[arg-type]
        assert answer.choices[0].finish_reason == "stop"
        assert "demo-gpt" in await relay.models()
        with pytest.raises(relay_sdk.InvalidCall, match="endpoint_not_found"):
            await relay.send("demo", "v1", "nowhere", {})


def test_keys_and_calls_from_the_command_line(product: Product) -> None:
    key = run(
        product, "keys", "mint", "of-the-command", "--project", "demo", "--mode", "live", "--scope", "relay"
    ).strip()
    assert key.startswith("rk_live_")
    [number] = re.findall(
        r"^ *(\d+) .* of-the-command$", run(product, "keys", "list", "--project", "demo"), re.MULTILINE
    )
    sent = run(product, "send", "demo/v1/lookup", '{"customer": 42}', RELAY_KEY=key)
    assert json.loads(sent)
    run(product, "keys", "revoke", number)
    refused = command(product, "send", "demo/v1/lookup", RELAY_KEY="rk_live_no")
    assert "invalid_key" in refused.communicate(timeout=60)[1]
    assert refused.returncode == 1


def test_it_follows_the_log(product: Product, relay: Relay) -> None:
    operator = {"RELAY_CONTROL_URL": product.control_url, "RELAY_TOKEN": product.credentials["admin_token"]}
    process = command(product, "tail", "--endpoint", "demo/v1/events", **operator)
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]
    reader.start()
    try:
        sent: list[str] = []

        def is_told() -> bool:
            sent.append(relay.send("demo", "v1", "events", {"type": "of.tail"}).request_id)
            return any(name in line for line in lines for name in sent)

        wait_for(is_told, "a call in the followed log", 30)
        later = {relay.send("demo", "v1", "events", {"type": "of.tail"}).request_id for _ in range(5)}
        wait_for(lambda: all(any(name in line for line in lines) for name in later), "every call", 30)
    finally:
        process.terminate()
        process.communicate(timeout=30)
        reader.join(10)
    assert len(lines) == len(set(lines))


def test_a_call_is_forwarded_to_this_machine(product: Product, relay: Relay, receiver: Receiver) -> None:
    operator = Relay(product.edge_url, control_url=product.control_url, api_key=product.credentials["admin_token"])
    sent = relay.send("demo", "v1", "events", {"type": "of.listen", "name": "Zoë"})
    secret = new_secret()
    with httpx2.Client() as local, operator:
        said = forwarded(operator, local, sent.request_id, f"{receiver.url}/hooks", secret)
        away = forwarded(operator, local, sent.request_id, "http://127.0.0.1:9/", secret)
    assert "200" in said
    assert "ConnectError" in away
    [got] = receiver.at("/hooks")
    assert verify_webhook(got.body, got.headers, secret).id == sent.request_id
    assert json.loads(got.body) == {"type": "of.listen", "name": "Zoë"}


def test_a_user_signs_the_command_in(product: Product, browser: requests.Session, tmp_path: Path) -> None:
    made = make(product, "command", grantType=DEVICE, clientType="public")
    process = command(
        product, "login", "--control", product.control_url, "--client-id", made["clientId"], RELAY_CONFIG=str(tmp_path)
    )
    assert process.stdout is not None
    address = process.stdout.readline().split()[1]
    assert allow(browser, address).status_code in (200, 302)
    said, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint
    assert "Signed in." in said
    kept = tmp_path / "sign-in.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    first = json.loads(kept.read_text())

    first["tokens"]["ends_at"] = 0  # as if it had been ten minutes
    kept.write_text(json.dumps(first))
    others = [command(product, "whoami", "--json", RELAY_CONFIG=str(tmp_path)) for _ in range(3)]
    for other in others:
        told, complaint = other.communicate(timeout=60)
        assert other.returncode == 0, complaint
        assert json.loads(told)["username"] == product.credentials["admin_username"]
    told, _ = command(product, "whoami", RELAY_CONFIG=str(tmp_path)).communicate(timeout=60)
    assert told.splitlines()[0] == f"{product.credentials['admin_username']}, by application"
    kept_now = json.loads(kept.read_text())["tokens"]["access_token"]
    with Relay(product.edge_url, control_url=product.control_url, api_key=kept_now) as user:
        assert isinstance(user.account.usage(), list)
        assert user.account.balance().mode == "live"
    renewed = json.loads(kept.read_text())["tokens"]
    assert renewed["refresh_token"] != first["tokens"]["refresh_token"]

    signing_out = command(product, "logout", RELAY_CONFIG=str(tmp_path))
    assert signing_out.communicate(timeout=60)[0] == "Signed out.\n"
    assert not kept.exists()
    with pytest.raises(relay_sdk.SignInFailed):
        relay_sdk.Application(product.control_url, made["clientId"]).refresh(renewed["refresh_token"])
    out = command(product, "whoami", RELAY_CONFIG=str(tmp_path))
    assert "relay login" in out.communicate(timeout=60)[1]


def test_failed_deliveries_are_replayed_by_the_command(product: Product, relay: Relay) -> None:
    requests.post(f"{product.sink_url}/hooks/flaky/fail", timeout=10)
    sent = relay.send("demo", "v1", "events", {"type": "of.replay"})

    def dead() -> list[str]:
        found = product.api(f"/api/v1/deliveries?request={sent.request_id}&state=dead")["results"]
        return [one["id"] for one in found]

    [failed] = wait_for(dead, "flaky's delivery in the failure queue", 40)
    planned = json.loads(run(product, "replay", failed, "--dry-run"))
    assert planned["replayableCount"] == 1, planned
    batch = json.loads(run(product, "replay", failed))
    wait_for(lambda: product.api(f"/api/v1/replays/{batch['id']}")["replayedCount"] == 1, "the replay", 30)

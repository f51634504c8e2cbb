"""What some targets want besides a signature, through a worker: mappings, credentials, tokens, client certificates."""

import json
import ssl
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from standardwebhooks import Webhook

from relay_contract import nouns
from tests.contract.test_client_certificates import DAY, KEYS, NOW, ROOT, client, demanding_context, pem_of
from tests.delivery.conftest import Work
from tests.delivery.queue import Queue, Target
from tests.delivery.receiver import Receiver, raw, status

EVENT = b'{"order": {"id": "o-17", "total": 120}, "card": "4242"}'
MAPPING = {
    "body": {"object": {"text": {"text": "Order {order.id} by {request:method} {header:x-shop}"}}},
    "headers": {"x-order": {"field": "order.id"}, "x-static": {"constant": "mapped"}},
}


async def needs(queue: Queue, target: Target, **columns: Any) -> Target:
    """Change a target's columns; values of `auth_secret` and `client_key` are sealed first."""
    bindings = {
        "auth_secret": ("sealed_auth_secret", nouns.target_auth_binding),
        "client_key": ("sealed_client_key", nouns.target_client_key_binding),
    }
    for name, value in columns.items():
        column, stored = name, json.dumps(value) if isinstance(value, dict) else value
        if name in bindings:
            column, binding = bindings[name]
            stored = queue._sealer.seal(value, binding(target.id))
        await queue.sql(f"UPDATE catalog_target SET {column} = %s WHERE id = %s", stored, target.id)
    return target


def token(value: str, **members: object) -> bytes:
    return json.dumps({"access_token": value, "token_type": "Bearer", "expires_in": 3600, **members}).encode()


async def oauth2(queue: Queue, receiver: Receiver, target: Target) -> Target:
    config = {"token_url": f"{receiver.url}/token", "client_id": "relay", "scope": "hooks"}
    return await needs(queue, target, auth_kind="oauth2", auth_config=config, auth_secret="s3cret-of-client")


async def said(queue: Queue, delivery: UUID) -> tuple[str, str]:
    """What its last attempt is recorded as, and our words about it."""
    last = (await queue.attempts(delivery))[-1]
    return last["error"], bytes(last["response_body"]).decode()


async def test_the_mapped_body_is_sent_and_signed(queue: Queue, receiver: Receiver, work: Work) -> None:
    target = await needs(
        queue, await queue.target(f"{receiver.url}/in", headers={"x-static": "targets"}), mapping=MAPPING
    )
    sent = {"x-shop": "berlin", "digest": "sha-256=abc"}
    await queue.accept_one(target, body=EVENT, content_type="application/vnd.shop+json", headers=sent)
    await work()
    [call] = await receiver.until("/in", 1)
    assert call.body == b'{"text":"Order o-17 by POST berlin"}'
    Webhook(target.secret).verify(call.body, dict(call.headers))
    assert call.headers["content-type"] == "application/json"
    assert call.headers["x-order"] == "o-17"
    assert call.headers["x-static"] == "targets"  # a mapping does not change what the target was given
    assert "digest" not in call.headers  # it was of the body as it came
    assert call.headers["x-shop"] == "berlin"


async def test_a_mapping_of_headers_leaves_the_bytes_and_their_type(
    queue: Queue, receiver: Receiver, work: Work
) -> None:
    mapping = {"headers": {"x-event": {"field": "request:path"}}}
    target = await needs(queue, await queue.target(f"{receiver.url}/in"), mapping=mapping)
    await queue.accept_one(target, body=b"\xff not json", content_type="text/plain")
    await work()
    [call] = await receiver.until("/in", 1)
    assert (call.body, call.headers["content-type"]) == (b"\xff not json", "text/plain")
    assert call.headers["x-event"]


async def test_a_mapping_names_its_content_type(queue: Queue, receiver: Receiver, work: Work) -> None:
    mapping = {**MAPPING, "headers": {"Content-Type": {"constant": "application/cloudevents+json"}}}
    target = await needs(queue, await queue.target(f"{receiver.url}/in"), mapping=mapping)
    await queue.accept_one(target, body=EVENT, headers={"x-shop": "berlin"})
    await work()
    [call] = await receiver.until("/in", 1)
    assert call.headers["content-type"] == "application/cloudevents+json"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"not json", "the body is not JSON, or nested too deep"),
        (b'{"order": {}}', "body.object.text"),
        (b'{"pad": "' + b"x" * 50_000 + b'"}', "body.object.text"),  # mapped in a thread
    ],
)
async def test_a_body_that_does_not_fit_ends_at_once_and_costs_nothing(
    queue: Queue, receiver: Receiver, work: Work, body: bytes, why: str
) -> None:
    target = await needs(queue, await queue.target(f"{receiver.url}/in"), mapping=MAPPING)
    delivery = await queue.accept_one(target, body=body, headers={"x-shop": "berlin"})
    await work()
    row = await queue.until(delivery, "dead")
    assert (row["dead_reason"], row["last_error"], row["attempt_count"]) == ("mapping_failed", "mapping_failed", 1)
    assert [kind for _, kind, _ in await queue.charges(delivery)] == ["hold", "release"]
    error, text = await said(queue, delivery)
    assert error == "mapping_failed"
    assert text.startswith(why)
    assert receiver.calls == []


@pytest.mark.parametrize(
    ("columns", "value"),
    [
        ({"auth_kind": "bearer", "auth_secret": "t0ken"}, "Bearer t0ken"),
        ({"auth_kind": "basic", "auth_secret": "p:w", "auth_config": {"username": "u"}}, "Basic dTpwOnc="),
    ],
)
async def test_credentials_go_into_the_header(
    queue: Queue, receiver: Receiver, work: Work, columns: dict[str, Any], value: str
) -> None:
    target = await needs(queue, await queue.target(f"{receiver.url}/in"), **columns)
    await queue.accept_one(target)
    await work()
    [call] = await receiver.until("/in", 1)
    assert call.headers["authorization"] == value
    Webhook(target.secret).verify(call.body, dict(call.headers))


async def test_a_target_is_not_called_without_the_secret_it_asks_for(
    queue: Queue, receiver: Receiver, work: Work
) -> None:
    target = await needs(queue, await queue.target(f"{receiver.url}/in"), auth_kind="bearer")
    delivery = await queue.accept_one(target)
    await work()
    row = await queue.until(delivery, "pending", attempts=1)
    assert row["last_error"] == "secret_unreadable"
    assert receiver.calls == []


async def test_one_token_serves_every_delivery(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.hold("/token")
    receiver.plans["/token"] = [status(200, body=token("t-1"))]
    target = await oauth2(queue, receiver, await queue.target(f"{receiver.url}/in"))
    await queue.accept(target, calls=40)
    await work()
    await receiver.until("/token", 1)
    receiver.release("/token")
    calls = await receiver.until("/in", 40)
    assert {call.headers["authorization"] for call in calls} == {"Bearer t-1"}
    [asked] = receiver.at("/token")
    assert asked.body == b"grant_type=client_credentials&scope=hooks"
    assert asked.headers["authorization"].startswith("Basic ")
    assert "webhook-signature" not in asked.headers


async def test_a_token_that_the_target_refuses_is_given_up(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.plans["/token"] = [status(200, body=token("old")), status(200, body=token("new"))]
    receiver.plans["/in"] = [status(401), status(200)]
    delivery = await queue.accept_one(await oauth2(queue, receiver, await queue.target(f"{receiver.url}/in")))
    await work()
    row = await queue.until(delivery, "pending", attempts=1)
    assert (row["last_status"], row["last_error"]) == (401, "token_refused")
    await queue.make_due(delivery)
    await queue.until(delivery, "delivered", attempts=2)
    assert [call.headers["authorization"] for call in receiver.at("/in")] == ["Bearer old", "Bearer new"]


async def test_a_token_that_is_over_is_fetched_anew(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.plans["/token"] = [status(200, body=token("short", expires_in=0)), status(200, body=token("long"))]
    target = await oauth2(queue, receiver, await queue.target(f"{receiver.url}/in"))
    await work()
    for count in (1, 2, 3):
        delivery = await queue.accept_one(target)
        await queue.until(delivery, "delivered")
        assert len(receiver.at("/in")) == count
    assert [call.headers["authorization"] for call in receiver.at("/in")] == [
        "Bearer short",
        "Bearer long",
        "Bearer long",
    ]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (status(400, body=b'{"error": "invalid_client"}'), "The token endpoint refused with 400 invalid_client."),
        (status(302, "Location: http://169.254.169.254/"), "The token endpoint answered 302."),
        (status(200, body=b"<html>s3cret-of-client</html>"), "The token endpoint answered 200 with something"),
        (raw(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n"), "The token endpoint could not be called: invalid_response."),
    ],
)
async def test_without_a_token_nothing_is_sent_and_it_is_tried_again(
    queue: Queue, receiver: Receiver, work: Work, answer: Any, text: str
) -> None:
    receiver.plans["/token"] = [answer]
    target = await oauth2(queue, receiver, await queue.target(f"{receiver.url}/in"))
    first, second = await queue.accept_one(target), await queue.accept_one(target)
    await work()
    for delivery in (first, second):
        row = await queue.until(delivery, "pending", attempts=1)
        assert (row["last_status"], row["last_error"], row["was_contacted"]) == (None, "token_unavailable", False)
        assert (await said(queue, delivery))[1].startswith(text)
    assert receiver.at("/in") == []
    assert len(receiver.at("/token")) == 1  # a fetch that failed stands for a moment


async def test_a_token_endpoint_that_hangs_ends_at_the_targets_deadline(
    queue: Queue, receiver: Receiver, work: Work
) -> None:
    receiver.hold("/token")
    target = await oauth2(queue, receiver, await queue.target(f"{receiver.url}/in", timeout_seconds=1))
    delivery = await queue.accept_one(target)
    await work()
    await queue.until(delivery, "pending", attempts=1)
    assert await said(queue, delivery) == (
        "token_unavailable",
        "The token endpoint did not answer within the target's own deadline.",
    )
    receiver.release("/token")


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    return demanding_context(tmp_path, monkeypatch)


async def test_connections_are_not_shared_across_certificates(
    queue: Queue, work: Work, authority: ssl.SSLContext
) -> None:
    """Two targets at one address, and then another certificate for one of them."""
    receiver = await Receiver().start(authority)
    try:
        one, other = [await queue.target(f"{receiver.url}/{name}") for name in ("one", "other")]
        for target, kind in ((one, "ec"), (other, "rsa")):
            key = KEYS[kind]
            await needs(queue, target, client_certificate=client(key) + ROOT, client_key=pem_of(key))
        await work()
        for target in (one, one, other, other):
            await queue.until(await queue.accept_one(target), "delivered")
        assert receiver.connections == 2
        await needs(queue, one, client_certificate=client(KEYS["ed25519"]) + ROOT, client_key=pem_of(KEYS["ed25519"]))
        await queue.until(await queue.accept_one(one), "delivered")
        assert receiver.connections == 3
    finally:
        await receiver.close()


async def test_without_its_certificate_a_target_lets_nobody_in(
    queue: Queue, work: Work, authority: ssl.SSLContext
) -> None:
    receiver = await Receiver().start(authority)
    try:
        target = await queue.target(f"{receiver.url}/in")
        delivery = await queue.accept_one(target)
        await work()
        await queue.until(delivery, "pending", attempts=1)
        assert receiver.calls == []
    finally:
        await receiver.close()


@pytest.mark.parametrize("mistake", ["expired", "another key"])
async def test_a_certificate_that_cannot_be_shown_is_our_fault(
    queue: Queue, receiver: Receiver, work: Work, mistake: str
) -> None:
    certificate = client(KEYS["ec"], end=NOW - DAY / 2) if mistake == "expired" else client(KEYS["rsa"])
    target = await queue.target(receiver.url.replace("http:", "https:") + "/in")
    await needs(queue, target, client_certificate=certificate, client_key=pem_of(KEYS["ec"]))
    delivery = await queue.accept_one(target)
    await work()
    row = await queue.until(delivery, "pending", attempts=1)
    assert (row["last_error"], row["was_contacted"]) == ("client_certificate_unusable", False)
    assert receiver.connections == 0


async def test_credentials_are_in_no_repr(queue: Queue, receiver: Receiver, work: Work) -> None:
    from delivery import needs as worker_needs  # noqa: PLC0415 (the helper above has its name)

    row = worker_needs.NeedsRow(
        1, None, None, "bearer", "{}", queue._sealer.seal("t0ken", nouns.target_auth_binding(1)), "", b""
    )
    decoded = await worker_needs.decode(row, queue._sealer)
    assert not isinstance(decoded, str)
    assert decoded.authorization == "Bearer t0ken"
    assert "t0ken" not in repr(decoded) + repr(row)


async def test_an_edit_counts_for_the_next_attempt(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.plans["/in"] = [status(503), status(200)]
    target = await queue.target(f"{receiver.url}/in")
    delivery = await queue.accept_one(target, body=EVENT, headers={"x-shop": "berlin"})
    await work()
    await queue.until(delivery, "pending", attempts=1)
    await needs(queue, target, mapping=MAPPING)
    await queue.make_due(delivery)
    await queue.until(delivery, "delivered", attempts=2)
    assert [call.body for call in receiver.at("/in")] == [EVENT, b'{"text":"Order o-17 by POST berlin"}']


async def test_a_shadow_is_shown_what_others_are(queue: Queue, receiver: Receiver, work: Work) -> None:
    receiver.plans["/token"] = [status(200, body=token("t-1"))]
    target = await oauth2(queue, receiver, await queue.target(f"{receiver.url}/in"))
    delivery = await queue.accept_one(target)
    await queue.sql("UPDATE deliveries_live SET is_shadow = true")
    await work()
    await queue.until(delivery, "delivered")
    [call] = receiver.at("/in")
    assert (call.headers["authorization"], call.headers["relay-shadow"]) == ("Bearer t-1", "1")

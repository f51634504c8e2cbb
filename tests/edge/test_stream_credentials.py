"""What stream targets are shown besides a signature, over real sockets: fetched tokens and client certificates."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from relay_contract import nouns
from relay_contract.nouns import AuthConfig, Target, TargetAuth, TargetId
from relay_contract.traffic import CloseReason
from relay_edge.catalog.snapshot import Snapshot
from tests.contract.test_client_certificates import DAY, KEYS, NOW, ROOT, client, demanding_context, pem_of
from tests.delivery.receiver import Receiver, raw, status
from tests.edge.conftest import until
from tests.edge.plane import AUTHORIZED, SEALER
from tests.edge.target import StreamTarget
from tests.edge.test_stream_calls import BASE, PATH, running_relay
from tests.edge.vendor import VendorCall, Wire


def token(value: str, **members: object) -> bytes:
    return json.dumps({"access_token": value, "expires_in": 3600} | members).encode()


@pytest.fixture
async def login() -> AsyncIterator[Receiver]:
    """A token endpoint; the tokens are t-1, t-2, ... unless it is told otherwise."""
    receiver = await Receiver().start()
    receiver.plans["/token"] = [status(200, body=token(f"t-{number}")) for number in (1, 2, 3)]
    yield receiver
    await receiver.close()


def oauth2(login: Receiver, **changes: Any) -> dict[str, Any]:
    """A target's columns."""
    config = AuthConfig(token_url=f"{login.url}/token", client_id="relay", **changes)
    sealed = SEALER.seal("s3cret-of-client", nouns.target_auth_binding(TargetId(1)))
    return {"auth_kind": TargetAuth.OAUTH2, "auth_config": config, "sealed_auth_secret": sealed}


async def shown(call: VendorCall, wire: Wire) -> None:
    await wire.answer((call.header("authorization") or "").encode())


async def test_one_token_serves_many_callers_at_once(redis_url: str, login: Receiver) -> None:
    login.hold("/token")
    async with StreamTarget(answer=shown) as target, running_relay(redis_url, *target.rows(**oauth2(login))) as relay:
        calls = [asyncio.create_task(relay.post(b"{}", "X-Event: a")) for _ in range(20)]
        await login.until("/token", 1)
        await until(lambda: len(relay.committed) == 20, "every call to be accepted")
        assert target.calls == []
        login.release("/token")
        assert {answer.body for answer in await asyncio.gather(*calls)} == {b"Bearer t-1"}
        assert (await relay.post()).body == b"Bearer t-1"
    [asked] = login.calls
    assert asked.body == b"grant_type=client_credentials"
    assert asked.headers["authorization"].startswith("Basic ")
    assert "webhook-signature" not in asked.headers
    assert {end.close_reason for end in relay.ends} == {"complete"}


async def test_a_refused_token_is_replaced_once_and_nobody_notices(redis_url: str, login: Receiver) -> None:
    async def answer(call: VendorCall, wire: Wire) -> None:
        is_known = call.header("authorization") == "Bearer t-2"
        await wire.answer(b"welcome" if is_known else b"who?", 200 if is_known else 401, "www-authenticate: Bearer")

    async with StreamTarget(answer=answer) as target, running_relay(redis_url, *target.rows(**oauth2(login))) as relay:
        got = await relay.post(b'{"a":1}')
        end = await relay.end()
        assert (got.status, got.body) == (200, b"welcome")
    first, second = target.calls
    assert (first.body, first.header("webhook-id")) == (second.body, second.header("webhook-id"))
    assert len(login.calls) == 2
    assert (end.status, end.target_status, end.close_reason, end.bytes_out) == (200, 200, "complete", 7)


async def test_a_target_that_refuses_every_token_is_no_flood_for_the_token_endpoint(
    redis_url: str, login: Receiver
) -> None:
    async def answer(_: VendorCall, wire: Wire) -> None:
        await wire.answer(b"who?", 401)

    async with StreamTarget(answer=answer) as target, running_relay(redis_url, *target.rows(**oauth2(login))) as relay:
        answers = [await relay.post() for _ in range(4)]
        await until(lambda: len(relay.ends) == 4, "every call to be written down")
    assert {(got.status, got.body) for got in answers} == {(401, b"who?")}
    assert (len(login.calls), len(target.calls)) == (2, 5)
    assert {(end.target_status, end.close_reason) for end in relay.ends} == {(401, "refused")}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (status(400, body=b'{"error": "invalid_client"}'), "refused with 400 invalid_client."),
        (status(302, "Location: http://169.254.169.254/"), "answered 302."),
        (status(200, body=b"x" * 65_537), "answered with more than 65536 bytes."),
        (raw(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n"), "could not be called: upstream_protocol_error."),
    ],
)
async def test_without_a_token_the_target_is_not_called(
    redis_url: str, login: Receiver, answer: Any, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    login.plans["/token"] = [answer]
    async with StreamTarget() as target, running_relay(redis_url, *target.rows(**oauth2(login))) as relay:
        answers = [await relay.post() for _ in range(3)]
    assert {(got.status, got.json["error"]) for got in answers} == {(502, "token_unavailable")}
    assert target.calls == []
    assert len(login.calls) == 1  # a fetch that failed stands for a moment
    assert [(end.status, end.target_status, end.close_reason) for end in relay.ends] == [
        (502, None, CloseReason.TOKEN_UNAVAILABLE)
    ] * 3
    [told] = [record for record in caplog.records if record.msg == "token_unavailable"]
    assert text in str(vars(told))
    assert "s3cret" not in caplog.text + str([vars(record) for record in caplog.records])


async def test_a_token_endpoint_inside_is_not_called(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    login = await Receiver().start()
    async with StreamTarget(host="127.0.0.2") as target:
        row, secret = target.rows(**oauth2(login))
        row = replace(row, url=f"http://127.0.0.2:{target.port}/stream")
        only = (ip_network("127.0.0.2/32"),)
        async with running_relay(redis_url, row, secret, allowed=only) as relay:
            assert (await relay.post()).json["error"] == "token_unavailable"
    assert (login.connections, target.calls) == (0, [])
    assert "upstream_address_forbidden" in str([vars(record) for record in caplog.records])
    await login.close()


async def test_a_token_endpoint_that_hangs_ends_at_the_target_s_deadline(redis_url: str, login: Receiver) -> None:
    login.hold("/token")
    async with (
        StreamTarget() as target,
        running_relay(redis_url, *target.rows(timeout_seconds=1, **oauth2(login))) as relay,
    ):
        assert (await relay.post()).json["error"] == "token_unavailable"
        login.release("/token")
    assert target.calls == []


async def test_a_caller_who_leaves_while_a_token_is_fetched(redis_url: str, login: Receiver) -> None:
    login.hold("/token")
    async with StreamTarget(answer=shown) as target, running_relay(redis_url, *target.rows(**oauth2(login))) as relay:
        caller = await relay.caller()
        await caller.post(b"{}", AUTHORIZED, path=PATH)
        await login.until("/token", 1)
        await caller.close()
        end = await relay.end()
        login.release("/token")
        assert (await relay.post()).body == b"Bearer t-1"  # the fetch went on
    assert (end.close_reason, end.status, len(login.calls)) == ("caller_left", 499, 1)


async def test_another_version_of_a_target_asks_anew(redis_url: str, login: Receiver) -> None:
    async with StreamTarget(answer=shown) as target:
        row, secret = target.rows(**oauth2(login))
        async with running_relay(redis_url, row, secret) as relay:
            assert (await relay.post()).body == b"Bearer t-1"
            relay.catalog.swap(Snapshot.build([*BASE, row, secret]))
            assert (await relay.post()).body == b"Bearer t-1"
            relay.catalog.swap(Snapshot.build([*BASE, replace(row, version=row.version + 1), secret]))
            assert (await relay.post()).body == b"Bearer t-2"


# --- client certificates ---


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    return demanding_context(tmp_path, monkeypatch)


def certified(row: Target, kind: str, **changes: Any) -> Target:
    """The target, over TLS and with a certificate of ROOT's."""
    key = KEYS[kind]
    return replace(
        row,
        url=row.url.replace("http:", "https:"),
        client_certificate=client(key) + ROOT,
        sealed_client_key=SEALER.seal(pem_of(key), nouns.target_client_key_binding(row.id)),
        **changes,
    )


async def test_a_certificate_is_shown_and_its_connections_are_its_own(
    redis_url: str, authority: ssl.SSLContext
) -> None:
    async with StreamTarget(tls=authority) as target:
        row, secret = target.rows()
        one = certified(row, "ec")
        async with running_relay(redis_url, one, secret) as relay:
            assert {(await relay.post()).status for _ in range(3)} == {200}
            relay.catalog.swap(Snapshot.build([*BASE, one, secret]))  # the same target in another snapshot
            assert (await relay.post()).status == 200
            assert target.connections == 1
            relay.catalog.swap(Snapshot.build([*BASE, certified(row, "ed25519", version=row.version + 1), secret]))
            assert (await relay.post()).status == 200
            assert target.connections == 2


async def test_many_first_callers_wait_for_one_context(redis_url: str, authority: ssl.SSLContext) -> None:
    async with StreamTarget(tls=authority) as target:
        row, secret = target.rows()
        async with running_relay(redis_url, certified(row, "rsa"), secret) as relay:
            answers = await asyncio.gather(*(relay.post() for _ in range(8)))
    assert {answer.status for answer in answers} == {200}


async def test_without_its_certificate_a_target_lets_nobody_in(redis_url: str, authority: ssl.SSLContext) -> None:
    async with StreamTarget(tls=authority) as target:
        row, secret = target.rows()
        bare = replace(certified(row, "ec"), client_certificate="", sealed_client_key=b"")
        async with running_relay(redis_url, bare, secret) as relay:
            assert (await relay.post()).status == 502
    assert target.calls == []


async def test_a_token_and_a_certificate_together(redis_url: str, login: Receiver, authority: ssl.SSLContext) -> None:
    async with StreamTarget(answer=shown, tls=authority) as target:
        row, secret = target.rows(**oauth2(login))
        async with running_relay(redis_url, certified(row, "ec"), secret) as relay:
            assert (await relay.post()).body == b"Bearer t-1"


@pytest.mark.parametrize("mistake", ["expired", "another key", "no key", "http"])
async def test_a_certificate_that_cannot_be_shown_takes_no_calls(
    redis_url: str, mistake: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with StreamTarget() as target:
        row, secret = target.rows()
        right = certified(row, "ec")
        wrong = {
            "expired": replace(right, client_certificate=client(KEYS["ec"], end=NOW - DAY / 2)),
            "another key": replace(right, client_certificate=client(KEYS["rsa"])),
            "no key": replace(right, sealed_client_key=b""),
            "http": replace(right, url=row.url),
        }[mistake]
        async with running_relay(redis_url, wrong, secret) as relay:
            got = await relay.post()
            assert (got.status, got.json["error"]) == (503, "endpoint_misconfigured")
            assert (relay.committed, relay.ends) == ([], [])
    assert target.connections == 0
    assert "PRIVATE KEY" not in str([vars(record) for record in caplog.records])


ECHOED = "t0ken-of-the-target"
COVER = b"[redacted]*********"


@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("way", ["bearer", "header", "oauth2"])
async def test_a_target_that_quotes_its_credential_tells_no_caller(
    redis_url: str, login: Receiver, way: str, framing: str
) -> None:
    """In one piece or byte by byte, in headers and text; other bytes and the length are the target's."""
    body = f'data: {{"you": "Bearer {ECHOED}", "t": "t0k"}}\n\n'.encode()

    async def answer(call: VendorCall, wire: Wire) -> None:
        assert ECHOED in (call.header("authorization") or call.header("x-api-key") or "")
        lines = (f"x-echo: {ECHOED}", "content-type: text/event-stream")
        if framing == "length":
            await wire.head(200, *lines, f"content-length: {len(body)}")
            await wire.send(body)
            return
        await wire.head(200, *lines, "transfer-encoding: chunked")
        for place in range(len(body)):
            await wire.chunk(body[place : place + 1])
        await wire.chunk(b"")

    changes: dict[str, Any] = {"headers": nouns.Headers({"X-Api-Key": ECHOED})}
    if way == "bearer":
        sealed = SEALER.seal(ECHOED, nouns.target_auth_binding(TargetId(1)))
        changes = {"auth_kind": TargetAuth.BEARER, "sealed_auth_secret": sealed}
    elif way == "oauth2":
        login.plans["/token"] = [status(200, body=token(ECHOED))]
        changes = oauth2(login)
    async with StreamTarget(answer=answer) as target, running_relay(redis_url, *target.rows(**changes)) as relay:
        got = await relay.post()
    assert (got.status, got.is_whole, got.headers["x-echo"].encode()) == (200, True, COVER)
    assert got.body == body.replace(ECHOED.encode(), COVER)


async def test_what_is_no_text_passes_as_it_is(redis_url: str) -> None:
    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: application/octet-stream", f"content-length: {len(ECHOED)}")
        await wire.send(ECHOED.encode())

    changes = {"headers": nouns.Headers({"X-Api-Key": ECHOED})}
    async with StreamTarget(answer=answer) as target, running_relay(redis_url, *target.rows(**changes)) as relay:
        assert (await relay.post()).body == ECHOED.encode()


async def test_a_stream_that_breaks_off_in_what_may_be_a_quote_gives_none_of_it(redis_url: str) -> None:
    async def answer(_call: VendorCall, wire: Wire) -> None:
        await wire.head(200, "content-type: text/plain", "transfer-encoding: chunked")
        await wire.chunk(f"you: {ECHOED[:-1]}".encode())
        wire.close()

    changes = {"headers": nouns.Headers({"X-Api-Key": ECHOED})}
    async with StreamTarget(answer=answer) as target, running_relay(redis_url, *target.rows(**changes)) as relay:
        got = await relay.post()
    assert (got.is_whole, got.body) == (False, b"you: ")

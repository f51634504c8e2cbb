"""The shield over real sockets: who gets past it, what is said to who does not, and that nothing of theirs is kept."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from relay_contract import nouns, tokens
from relay_contract.inbound_signatures import PRESETS
from relay_contract.networks import Networks
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.prepared import MOST_ENDPOINTS, PreparedEndpoints
from relay_edge.relay_call import MOST_VALUES
from relay_edge.shield import Shield
from tests.contract.test_inbound_signatures import NEW, OLD, OTHER, as_configured, signed
from tests.edge.conftest import until
from tests.edge.nouns import ENDPOINT, EVERYTHING, LINE, PROJECT, RATE_LIMIT, RELAY_KEY, TARGET, numbered
from tests.edge.plane import SEALER, Answer
from tests.edge.test_relay_pipeline import OWN, PATH, Relay, running_relay

TEST_KEY, SECOND_TEST_KEY = tokens.mint(nouns.KeyMode.TEST), tokens.mint(nouns.KeyMode.TEST)
BODY = b"a=1"
FORM = "Content-Type: application/x-www-form-urlencoded"


def signing(preset: str, secret: str = OLD, *, previous: str = "", until_: datetime | None = None, **more: Any) -> Any:
    """An endpoint whose callers sign."""
    _, config = signed(preset, OLD, BODY) if preset in PRESETS else ({}, nouns.SignatureConfig())
    columns: dict[str, Any] = {
        "auth": nouns.EndpointAuth.SIGNATURE,
        "signature_preset": preset,
        "signature_config": config,
        "sealed_signature_secret": SEALER.seal(
            as_configured(preset, secret), nouns.endpoint_signature_binding(ENDPOINT.id)
        ),
    }
    if previous:
        columns["sealed_previous_signature_secret"] = SEALER.seal(
            as_configured(preset, previous), nouns.endpoint_previous_signature_binding(ENDPOINT.id)
        )
        columns["previous_signature_until"] = until_
    return replace(ENDPOINT, **columns | more)


def lines(preset: str, secret: str = OLD, body: bytes = BODY, *, now: float | None = None) -> list[str]:
    """Headers that the provider sends."""
    headers, _ = signed(preset, secret, body, time.time() if now is None else now)
    return [f"{name}: {value}" for name, value in ({"content-type": "text/plain"} | headers).items()]


@asynccontextmanager
async def shielded(redis_url: str, *rows: Any) -> AsyncIterator[Relay]:
    """A relay with these rows beside the usual ones, of which they replace those with their ids."""
    async with running_relay(
        redis_url, rows=(*EVERYTHING, *rows), shield=Shield(), prepared=PreparedEndpoints(SEALER)
    ) as relay:
        yield relay


def assert_refused(relay: Relay, answer: Answer, status: int, code: str, *, is_told: bool = True) -> None:
    """Refused so, and nothing is kept but, of callers who are known, that it was."""
    assert (answer.status, answer.json["error"]) == (status, code)
    assert (relay.book.committed, relay.book.seen) == ([], [])
    assert relay.book.refused == ([(status, code, True)] if is_told else [])
    relay.book.refused.clear()


# --- what an endpoint takes -------------------------------------------------------------------------------------------


async def test_methods(redis_url: str) -> None:
    endpoint = replace(ENDPOINT, methods=("PUT", "GET", "POST", "HEAD"))
    async with shielded(redis_url, endpoint) as relay:
        for method, is_taken in (("PUT", True), ("POST", True), ("GET", False), ("HEAD", False), ("DELETE", False)):
            caller = await relay.caller()
            await caller.send(f"{method} {PATH} HTTP/1.1\r\nHost: a\r\n{OWN}\r\nContent-Length: 0\r\n\r\n".encode())
            answer = await caller.answer(method)
            assert answer.status == (202 if is_taken else 405)
            if not is_taken:
                assert answer.headers["allow"] == "PUT, POST"  # nobody answers a GET
            await caller.close()
        assert [accepted.request.method for accepted in relay.book.committed] == ["PUT", "POST"]


async def test_a_get_is_for_targets_that_answer(redis_url: str) -> None:
    endpoint = replace(ENDPOINT, methods=("GET",), content_types=("application/json",), json_schema=SCHEMA)
    answering = numbered(TARGET, 2, name="lookup", delivery_mode=nouns.DeliveryMode.SYNC)
    async with shielded(redis_url, endpoint, answering) as relay:
        relay.book.mode = "sync"
        caller = await relay.caller()
        await caller.send(f"GET {PATH} HTTP/1.1\r\nHost: a\r\n{OWN}\r\n\r\n".encode())
        assert (await caller.answer()).status == 203
        await caller.close()


@pytest.mark.parametrize(
    ("sent", "is_taken"),
    [
        ("Content-Type: application/json", True),
        ("content-type: Application/JSON; charset=utf-8", True),
        ("Content-Type: image/png", True),
        ("Content-Type: image/", True),
        ("Content-Type: imagepng", False),
        ("Content-Type: text/plain", False),
        ("Content-Type: application/json2", False),
        ("Content-Type: text/plain; application/json", False),
        ("X-None: 1", False),
    ],
)
async def test_content_types(redis_url: str, sent: str, is_taken: bool) -> None:
    async with shielded(redis_url, replace(ENDPOINT, content_types=("application/json", "image/*"))) as relay:
        answer = await relay.post(OWN, sent)
        if is_taken:
            assert answer.status == 202
        else:
            assert_refused(relay, answer, 415, "content_type_not_allowed")


async def test_two_content_types_are_none(redis_url: str) -> None:
    async with shielded(redis_url, replace(ENDPOINT, content_types=("application/json",))) as relay:
        answer = await relay.post(OWN, "Content-Type: application/json", "Content-Type: text/plain")
        assert answer.status in (400, 415)  # the server's own parser may be the first to refuse
        assert relay.book.committed == []


# --- addresses --------------------------------------------------------------------------------------------------------

ALLOWED = ("192.0.2.0/24", "198.51.100.7/32", "2001:db8:1::/48", "192.0.2.128/25")


@pytest.mark.parametrize(
    ("forwarded", "is_taken"),
    [
        (["192.0.2.1"], True),
        (["192.0.2.255"], True),
        (["198.51.100.7:443"], True),
        (["2001:db8:1::7"], True),
        (["[2001:db8:1:ffff::7]:443"], True),
        (["::ffff:192.0.2.1"], True),
        (["203.0.113.9, 192.0.2.1, 127.0.0.9"], True),
        (["203.0.113.9", "192.0.2.1"], True),
        (["192.0.3.0"], False),
        (["198.51.100.8"], False),
        (["2001:db8:2::"], False),
        (["192.0.2.1, 203.0.113.9"], False),  # written by the caller itself, before its own address
        (["192.0.2.1", "203.0.113.9"], False),
        (["192.0.2.1, garbage"], False),
        (["192.0.2.1,"], False),
        (["0x7f.1"], False),
        (["192.0.2.1%eth0"], False),
        (["fe80::1%eth0"], False),
        ([], False),
    ],
    ids=str,
)
async def test_addresses(redis_url: str, forwarded: list[str], is_taken: bool) -> None:
    """The test's own address is a trusted proxy's; what it says before it is not taken for granted."""
    async with shielded(redis_url, replace(ENDPOINT, allowed_networks=ALLOWED)) as relay:
        answer = await relay.post(OWN, *(f"X-Forwarded-For: {entry}" for entry in forwarded))
        if is_taken:
            assert answer.status == 202
        else:
            assert_refused(relay, answer, 403, "address_not_allowed")


async def test_a_refused_address_sends_no_body(redis_url: str) -> None:
    async with shielded(redis_url, signing("github", allowed_networks=("192.0.2.0/24",))) as relay:
        caller = await relay.caller()
        head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\nExpect: 100-continue\r\n\r\n"
        await caller.send(head.encode())
        assert_refused(relay, await caller.answer(), 403, "address_not_allowed", is_told=False)
        await caller.close()


def test_networks_that_overlap_and_touch() -> None:
    networks = Networks(["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/32", "0.0.0.0/32", "::/128", "ffff::/16"])
    inside = ("10.0.0.0", "10.255.255.255", "11.0.0.0", "0.0.0.0", "::", "ffff::", "ffff:" * 7 + "ffff")
    outside = ("9.255.255.255", "11.0.0.1", "0.0.0.1", "255.255.255.255", "::1", "fffe::", "", "10", "a", "10.0.0.0/8")
    assert [address for address in inside if address not in networks] == []
    assert [address for address in outside if address in networks] == []
    assert "10.0.0.1" not in Networks([])


# --- bodies -----------------------------------------------------------------------------------------------------------

SCHEMA = nouns.JsonDocument(
    {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"type": "string"}, "secret": {"const": 7}, "a/b": {"maxLength": 2}},
    }
)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"type": "a"}', None),
        (b'{"type": 5}', "/type: This is not of type string."),
        (b"{}", 'The body lacks the property "type".'),
        (b"[]", "The body is not of type object."),
        (b'{"type": "a", "secret": "canary"}', "/secret: This is not the value that is allowed."),
        (b'{"type": "a", "a/b": "canary"}', "/a~1b: This has more characters than 2."),
        (b"", f"The body is not JSON, nests too deep, or holds more than {MOST_VALUES} values."),
        (b'{"type": "a"', f"The body is not JSON, nests too deep, or holds more than {MOST_VALUES} values."),
        (b'{"type": "\xff"}', f"The body is not JSON, nests too deep, or holds more than {MOST_VALUES} values."),
        (b'{"type": "a", "b": NaN}', f"The body is not JSON, nests too deep, or holds more than {MOST_VALUES} values."),
    ],
    ids=lambda each: repr(each)[:24],
)
async def test_schemas(redis_url: str, body: bytes, said: str | None) -> None:
    async with shielded(redis_url, replace(ENDPOINT, json_schema=SCHEMA)) as relay:
        answer = await relay.post(OWN, body=body)
        if said is None:
            assert answer.status == 202
            return
        assert answer.json["message"] == said
        assert b"canary" not in answer.body
        assert_refused(relay, answer, 422, "schema_mismatch")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 900_000,
        b'{"a":' * 150_000 + b"1" + b"}" * 150_000,
        b"[" + b"[]," * 290_000 + b"[]]",
        b"[" + b"9" * 900_000 + b"]",
        b'"' + b"\\u0000" * 150_000 + b'"',
        b"[" + b"1," * MOST_VALUES + b"1]",
    ],
    ids=["open", "deep", "many lists", "long number", "long text", "many numbers"],
)
async def test_hostile_json(redis_url: str, body: bytes) -> None:
    """Refused, and by whatever is cheap."""
    endpoint = replace(ENDPOINT, json_schema=SCHEMA, max_body_bytes=1_000_000, event_type_from="body:type")
    async with shielded(redis_url, endpoint) as relay:
        assert_refused(relay, await relay.post(OWN, body=body), 422, "schema_mismatch")


async def test_a_pattern_takes_linear_time(redis_url: str) -> None:
    schema = nouns.JsonDocument({"type": "string", "pattern": "^(a+)+$"})
    async with shielded(redis_url, replace(ENDPOINT, json_schema=schema, max_body_bytes=100_000)) as relay:
        answer = await relay.post(OWN, body=b'"' + b"a" * 50_000 + b'!"')
        assert_refused(relay, answer, 422, "schema_mismatch")


async def test_a_large_schema_is_compiled_once_for_all_who_wait(redis_url: str) -> None:
    large = {"properties": {f"name_{number}": {"type": "integer"} for number in range(1_000)}}
    async with shielded(redis_url, replace(ENDPOINT, json_schema=nouns.JsonDocument(large))) as relay:
        answers = await asyncio.gather(*(relay.post(OWN, body=b'{"name_7": "a"}') for _ in range(5)))
    assert [answer.json["message"] for answer in answers] == ["/name_7: This is not of type integer."] * 5


@pytest.mark.parametrize(
    "document", [{"type": "what"}, {"$ref": "https://example.com/schema"}, "text", {"pattern": "("}]
)
async def test_a_schema_that_is_none_takes_nothing(redis_url: str, document: Any) -> None:
    async with shielded(redis_url, replace(ENDPOINT, json_schema=nouns.JsonDocument(document))) as relay:
        for _ in range(2):
            assert_refused(relay, await relay.post(OWN), 503, "endpoint_misconfigured")


def test_guards_outlive_snapshots_that_leave_their_endpoint_alone() -> None:
    prepared = PreparedEndpoints(SEALER)
    guarded = replace(ENDPOINT, json_schema=SCHEMA)
    first = Snapshot.build((*EVERYTHING, guarded))
    second = first.apply({nouns.RelayKey: {RELAY_KEY.id: None}})
    third = second.apply({nouns.Endpoint: {ENDPOINT.id: replace(guarded, max_body_bytes=7)}})
    guards = []
    for snapshot in (first, second, third):
        route = snapshot.endpoint("demo", "v1", "events")
        assert route is not None
        guards.append(prepared.of(snapshot, route).guard)
    assert guards[0] is not None
    assert guards[1] is guards[0]
    assert guards[2] is not guards[0]
    assert MOST_ENDPOINTS == 10_000


@pytest.mark.parametrize(
    ("source", "sent", "body", "expected"),
    [
        ("header:X-Event", "x-event: order.created", b"", "order.created"),
        ("header:x-event", "X-Other: 1", b"", ""),
        ("header:authorization", "X-Other: 1", b"", ""),  # credentials are no names of events
        ("header:x-event", "X-Event: " + "a" * 129, b"", ""),
        ("body:type", "X-Other: 1", b'{"type": "order.created"}', "order.created"),
        ("body:a[1].type", "X-Other: 1", '{"a": [0, {"type": "caf\u00e9"}]}'.encode(), "caf\u00e9"),
        ("body:type", "X-Other: 1", b'{"type": 7}', ""),
        ("body:type", "X-Other: 1", b'{"type": "a\\u0000b"}', ""),
        ("body:type", "X-Other: 1", b'{"type": "\\ud800"}', ""),
        ("body:type", "X-Other: 1", b"not JSON", ""),
    ],
)
async def test_event_types(redis_url: str, source: str, sent: str, body: bytes, expected: str) -> None:
    async with shielded(redis_url, replace(ENDPOINT, event_type_from=source)) as relay:
        assert (await relay.post(OWN, sent, body=body)).status == 202
        [accepted] = relay.book.committed
    assert accepted.request.event_type == expected


# --- signatures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_signed_call_needs_no_key(redis_url: str, preset: str) -> None:
    """Its body is stored as it was sent, for the endpoint's project and nobody's key."""
    async with shielded(redis_url, signing(preset)) as relay:
        assert (await relay.post(*lines(preset), body=BODY)).status == 202
        [accepted] = relay.book.committed
        assert (accepted.request.relay_key_id, accepted.request.mode, accepted.request.project_id) == (None, "live", 1)
        assert accepted.payload.body == BODY
        assert [row.relay_key_id for row in accepted.deliveries] == [None]
        relay.book.committed.clear()
        relay.book.seen.clear()
        for refused, code in (
            (lines(preset, OTHER), "signature_invalid"),
            (lines(preset, body=b"a=2"), "signature_invalid"),
            ([OWN, FORM], "signature_missing"),
        ):
            assert_refused(relay, await relay.post(*refused, body=BODY), 401, code, is_told=False)
    assert {end.project for end in relay.book.ended[1:]} == {""}


@pytest.mark.parametrize("preset", ["standard_webhooks", "stripe", "slack", "hmac"])
@pytest.mark.parametrize("seconds", [-1_000, 1_000])
async def test_an_old_signature_is_shown_to_its_owner(redis_url: str, preset: str, seconds: int) -> None:
    async with shielded(redis_url, signing(preset)) as relay:
        answer = await relay.post(*lines(preset, now=time.time() + seconds), body=BODY)
        assert_refused(relay, answer, 401, "signature_expired")


BROKEN: dict[str, dict[str, Any]] = {
    "unknown preset": {"signature_preset": "moon"},
    "no preset": {"signature_preset": ""},
    "preset in capitals": {"signature_preset": "GITHUB"},
    "no secret": {"sealed_signature_secret": b""},
    "not sealed": {"sealed_signature_secret": b"\x01nothing of ours"},
    "of another row": {"sealed_signature_secret": SEALER.seal(OLD, nouns.endpoint_signature_binding(2))},
    "of another column": {"sealed_signature_secret": SEALER.seal(OLD, nouns.endpoint_previous_signature_binding(1))},
    "empty secret": {"sealed_signature_secret": SEALER.seal("", nouns.endpoint_signature_binding(1))},
    "secret of another form": {"signature_preset": "standard_webhooks"},
    "twilio without its URL": {"signature_preset": "twilio"},
    "hmac without a header": {"signature_preset": "hmac"},
    "no network": {"allowed_networks": ("127.0.0.1/33",)},
    "no place of an event type": {"event_type_from": "nowhere:at all"},
    "place that is no caller's": {"event_type_from": "request:path"},
}


@pytest.mark.parametrize("broken", BROKEN)  # by name: what is sealed differs in every process
@pytest.mark.parametrize("auth", [nouns.EndpointAuth.SIGNATURE, nouns.EndpointAuth.BOTH])
async def test_what_cannot_be_checked_lets_nobody_in(redis_url: str, broken: str, auth: Any) -> None:
    """And is kept for the project's people, also where the caller is nobody."""
    async with shielded(redis_url, signing("github", auth=auth, **BROKEN[broken])) as relay:
        for sent in (lines("github"), [FORM]):
            answer = await relay.post(OWN, *sent, body=BODY)
            assert_refused(relay, answer, 503, "endpoint_misconfigured")


async def test_no_sealer_no_signed_calls(redis_url: str) -> None:
    parts = {"shield": Shield(), "prepared": PreparedEndpoints()}
    async with running_relay(redis_url, rows=(*EVERYTHING, signing("github")), **parts) as relay:
        answer = await relay.post(*lines("github"), body=BODY)
        assert_refused(relay, answer, 503, "endpoint_misconfigured")


async def test_key_and_signature(redis_url: str) -> None:
    async with shielded(redis_url, signing("github", auth=nouns.EndpointAuth.BOTH)) as relay:
        assert_refused(relay, await relay.post(*lines("github"), body=BODY), 401, "missing_key", is_told=False)
        assert_refused(relay, await relay.post(OWN, body=BODY), 401, "signature_missing")
        assert_refused(relay, await relay.post(OWN, *lines("github", OTHER), body=BODY), 401, "signature_invalid")
        assert (await relay.post(OWN, *lines("github"), body=BODY)).status == 202
        assert relay.book.committed[0].request.relay_key_id == 1


async def test_two_secrets_for_as_long_as_they_overlap(redis_url: str) -> None:
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    for until_, secret, status in (
        (now + hour, OLD, 202),
        (now + hour, NEW, 202),
        (now + hour, OTHER, 401),
        (now - hour, OLD, 401),
        (now - hour, NEW, 202),
        (None, OLD, 401),
    ):
        async with shielded(redis_url, signing("stripe", NEW, previous=OLD, until_=until_)) as relay:
            assert (await relay.post(*lines("stripe", secret), body=BODY)).status == status


async def test_a_previous_secret_that_does_not_open(redis_url: str) -> None:
    """The current one still counts; of a call that it did not sign we cannot tell."""
    hour = timedelta(hours=1)
    columns = {"sealed_previous_signature_secret": b"\x01broken", "previous_signature_until": datetime.now(UTC) + hour}
    async with shielded(redis_url, signing("github", NEW, **columns)) as relay:
        assert_refused(relay, await relay.post(*lines("github"), body=BODY), 503, "endpoint_misconfigured")
        assert_refused(relay, await relay.post(FORM, body=BODY), 401, "signature_missing", is_told=False)
        assert (await relay.post(*lines("github", NEW), body=BODY)).status == 202


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_signature_that_is_there_twice(redis_url: str, preset: str) -> None:
    """Nobody can tell which one a reader behind us would take."""
    async with shielded(redis_url, signing(preset)) as relay:
        right = lines(preset)
        wrong = [line for line in lines(preset, OTHER) if not line.startswith("content-type")]
        for sent in ((*right, *wrong), (*wrong, *right)):
            answer = await relay.post(*sent, body=BODY)
            if preset == "standard_webhooks" and answer.status == 202:
                pytest.fail("ids are joined and so signed by nobody")
            assert_refused(relay, answer, 401, "signature_invalid", is_told=False)


@pytest.mark.parametrize("coding", ["gzip", "identity, gzip", "br", "x-unknown"])
async def test_a_compressed_body_is_not_signed(redis_url: str, coding: str) -> None:
    async with shielded(redis_url, signing("github")) as relay:
        packed = gzip.compress(BODY)
        answer = await relay.post(*lines("github", body=packed), f"Content-Encoding: {coding}", body=packed)
        assert (answer.status, answer.json["error"]) == (415, "content_type_not_allowed")
        assert relay.book.committed == []
        answer = await relay.post(*lines("github"), "Content-Encoding: identity", body=BODY)
        assert answer.status == 202


@pytest.mark.parametrize("coding", ["gzip, gzip", "x-unknown", "br", "zstd"])
async def test_a_coding_that_is_not_undone_reaches_no_target(redis_url: str, coding: str) -> None:
    """Targets are told of no coding: they would take the packed bytes for the body."""
    async with shielded(redis_url, ENDPOINT) as relay:
        packed = gzip.compress(BODY)
        answer = await relay.post(OWN, f"Content-Encoding: {coding}", body=packed)
        assert (answer.status, answer.json["error"]) == (415, "content_type_not_allowed")
        assert relay.book.committed == []


@pytest.mark.parametrize(("coding", "status"), [("chunked", 202), ("Chunked", 202), ("gzip, chunked", 400)])
async def test_what_is_transferred_in_another_coding_is_refused(redis_url: str, coding: str, status: int) -> None:
    async with shielded(redis_url, ENDPOINT) as relay:
        caller = await relay.caller()
        head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\n{OWN}\r\nTransfer-Encoding: {coding}\r\n\r\n"
        await caller.send(head.encode() + b"3\r\na=1\r\n0\r\n\r\n")
        assert (await caller.answer()).status == status
        await caller.close()
        assert len(relay.book.committed) == (status == 202)


async def test_a_packed_body_is_taken_as_what_was_packed(redis_url: str) -> None:
    async with shielded(redis_url, ENDPOINT) as relay:
        assert (await relay.post(OWN, "Content-Encoding: gzip", body=gzip.compress(BODY))).status == 202
        [accepted] = relay.book.committed
        assert accepted.payload.body == BODY


@pytest.mark.parametrize("preset", ["github", "stripe"])
async def test_a_body_in_chunks(redis_url: str, preset: str) -> None:
    """Signed as a whole, and cut off where it is over the limit: before anybody asks for its signature."""
    async with shielded(redis_url, signing(preset, max_body_bytes=10)) as relay:
        for pieces, status in ((["a", "=1"], 202), (["a=1", "x" * 8], 413)):
            caller = await relay.caller()
            head = "\r\n".join((f"POST {PATH} HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", *lines(preset)))
            chunks = "".join(f"{len(piece):x}\r\n{piece}\r\n" for piece in pieces)
            await caller.send(f"{head}\r\n\r\n{chunks}0\r\n\r\n".encode())
            assert (await caller.answer()).status == status
            await caller.close()
        assert len(relay.book.committed) == 1
        assert relay.book.refused == []


async def test_what_strangers_send_to_a_signed_endpoint_is_kept_nowhere(redis_url: str) -> None:
    endpoint = signing("github", content_types=("application/json",), json_schema=SCHEMA)
    async with shielded(redis_url, endpoint) as relay:
        for sent, body, status in (
            (("relay-hops: 9",), b"{}", 508),
            (("Content-Type: text/plain",), b"{}", 415),
            (("Content-Type: application/json", "X-Latin: caf\x80"), b"{}", 400),
            (("Content-Type: application/json",), b"x" * 1001, 413),
            (("Content-Type: application/json",), b"{}", 401),  # before its schema
        ):
            assert (await relay.post(*sent, body=body)).status == status
        assert (relay.book.refused, relay.book.seen) == ([], [])
        right = [line for line in lines("github", body=b"{}") if not line.startswith("content-type")]
        answer = await relay.post(*right, "Content-Type: application/json", body=b"{}")
        assert_refused(relay, answer, 422, "schema_mismatch")


def slack(body: bytes, secret: str = OLD) -> list[str]:
    return lines("slack", secret, body)


async def test_slacks_handshake(redis_url: str) -> None:
    body = json.dumps({"type": "url_verification", "challenge": "3eZbrw1aB", "token": "x"}).encode()
    async with shielded(redis_url, signing("slack")) as relay:
        answer = await relay.post(*slack(body), body=body)
        assert (answer.status, answer.body) == (200, b"3eZbrw1aB")
        assert answer.headers["content-type"].startswith("text/plain")
        assert (relay.book.refused, relay.book.committed) == ([(200, "", True)], [])
        relay.book.refused.clear()
        assert_refused(relay, await relay.post(*slack(body, OTHER), body=body), 401, "signature_invalid", is_told=False)
        odd = b'{"type": "url_verification", "challenge": "\\ud800"}'
        assert (await relay.post(*slack(odd), body=odd)).status in (200, 202)
    async with shielded(redis_url, signing("github")) as relay:  # nobody else's bodies are looked at so
        assert (await relay.post(*lines("github", body=body), body=body)).status == 202


async def test_a_signed_call_counts_for_its_project_and_endpoint(redis_url: str) -> None:
    """And for no key: two of the project's three calls, whoever makes them."""
    two = numbered(RATE_LIMIT, 8, slug="two", rules=(nouns.Rule(nouns.Meter.REQUESTS, 2, 3600),))
    rows = (two, replace(PROJECT, rate_limit_id=two.id), signing("github"), numbered(ENDPOINT, 2, slug="plain"))
    async with shielded(redis_url, *rows) as relay:
        assert (await relay.post(*lines("github"), body=BODY)).status == 202
        assert (await relay.post(OWN, path="/r/demo/v1/plain")).status == 202
        answer = await relay.post(*lines("github"), body=BODY)
        assert (answer.status, answer.json["error"]) == (429, "rate_limited")
        assert "two of this project" in answer.json["message"]
        assert relay.book.refused == [(429, "rate_limited", True)]


async def test_where_there_is_no_signed_endpoint_a_key_is_asked_for(redis_url: str) -> None:
    """Whether an endpoint is closed, its line or its project, or never was: the answer is the same."""
    closed = (
        signing("github", is_enabled=False),
        numbered(LINE, 2, slug="v2", is_enabled=False),
        replace(signing("github"), id=nouns.EndpointId(2), line_id=nouns.LineId(2)),
    )
    async with shielded(redis_url, *closed) as relay:
        for path in (PATH, "/r/demo/v2/events", "/r/demo/v1/none", "/r/none/v1/events"):
            answer = await relay.post(*lines("github"), path=path, body=BODY)
            assert (answer.status, answer.json["error"]) == (401, "missing_key")


# --- test keys --------------------------------------------------------------------------------------------------------


def keys_of_the_test_mode(**project: Any) -> tuple[Any, ...]:
    """Two keys of the test mode beside the live one."""
    return (
        replace(PROJECT, **project),
        numbered(RELAY_KEY, 2, mode=nouns.KeyMode.TEST, token_hash=TEST_KEY.hash),
        numbered(RELAY_KEY, 3, mode=nouns.KeyMode.TEST, token_hash=SECOND_TEST_KEY.hash),
    )


async def test_test_keys_share_a_limit_of_their_own(redis_url: str) -> None:
    two = numbered(RATE_LIMIT, 8, slug="two", rules=(nouns.Rule(nouns.Meter.REQUESTS, 2, 3600),))
    first, second = (f"Authorization: Bearer {one.token}" for one in (TEST_KEY, SECOND_TEST_KEY))
    async with shielded(redis_url, two, *keys_of_the_test_mode(test_rate_limit_id=two.id)) as relay:
        assert [(await relay.post(key)).status for key in (first, second, first, second)] == [202, 202, 429, 429]
        answer = await relay.post(first)
        assert "two of this project's test keys" in answer.json["message"]
        assert [(await relay.post(OWN)).status for _ in range(3)] == [202] * 3
        assert [one.request.mode for one in relay.book.committed] == ["test"] * 2 + ["live"] * 3


async def test_without_a_limit_of_its_own_a_project_has_250_test_calls_a_minute(redis_url: str) -> None:
    async with shielded(redis_url, *keys_of_the_test_mode()) as relay:
        caller = await relay.caller()
        statuses = []
        for _ in range(251):
            await caller.post(b"{}", f"Authorization: Bearer {TEST_KEY.token}", path=PATH)
            statuses.append((await caller.answer()).status)
        await caller.close()
        assert statuses == [202] * 250 + [429]
        assert (await relay.post(OWN)).status == 202


async def test_the_end_of_an_overlap_needs_no_new_snapshot(redis_url: str) -> None:
    soon = datetime.now(UTC) + timedelta(milliseconds=400)
    async with shielded(redis_url, signing("github", NEW, previous=OLD, until_=soon)) as relay:

        async def is_refused() -> bool:
            return (await relay.post(*lines("github"), body=BODY)).status == 401

        await until(is_refused, "the old secret to stop counting")
        assert (await relay.post(*lines("github", NEW), body=BODY)).status == 202

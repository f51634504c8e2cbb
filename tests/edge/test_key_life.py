"""A relay key's last days and the networks it may be used from, on the wire of both planes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from relay_contract import nouns
from relay_contract.errors import AddressNotAllowed
from relay_contract.nouns import Scope
from relay_edge.auth import Authenticator
from relay_edge.catalog.snapshot import Snapshot
from relay_edge.client_ip import ClientIps
from tests.edge.nouns import PROJECT, RELAY_KEY, TOKEN
from tests.edge.plane import Answer, catalog_of, running_plane
from tests.edge.test_relay_pipeline import OWN, ROWS, running_relay
from tests.edge.vendor import Vendor

ASKED = {"model": "demo-gpt", "messages": [{"role": "user", "content": "hi"}]}
HOUR = timedelta(hours=1)
BEFORE = datetime.now(UTC) - HOUR
AFTER = datetime.now(UTC) + HOUR

LAST_DAYS = pytest.mark.parametrize(
    ("changes", "notice"),
    [
        ({}, (None, None)),
        ({"expires_at": AFTER}, (None, None)),
        ({"expires_at": BEFORE}, ("expired_grace", None)),
        ({"expires_at": AFTER, "has_successor": True}, (None, "true")),
        (
            {"expires_at": AFTER, "has_successor": True, "successor_waits": True},
            (None, 'true; reveal="/api/v1/relay-keys/self/successor"'),
        ),
    ],
    ids=["endless", "later", "grace", "rotated", "waits"],
)


def with_key(rows: list[nouns.Noun], **changes: Any) -> list[nouns.Noun]:
    return [replace(row, **changes) if isinstance(row, nouns.RelayKey) else row for row in rows]


def notice_in(answer: Answer) -> tuple[str | None, str | None]:
    return answer.headers.get("x-relay-key-status"), answer.headers.get("x-relay-key-successor")


@LAST_DAYS
async def test_answers_of_models_speak_of_the_keys_end(
    changes: dict[str, Any], notice: tuple[str | None, str | None]
) -> None:
    async with Vendor() as vendor, running_plane(with_key(catalog_of(vendor), **changes)) as plane:
        answers = [
            await plane.post(ASKED),
            await plane.post({**ASKED, "stream": True}),
            await plane.post({**ASKED, "model": "none"}),
            await plane.post({}, path="/v1/models"),
        ]
    assert [(answer.status, notice_in(answer)) for answer in answers] == [
        (200, notice), (200, notice), (404, notice), (405, (None, None)),
    ]  # fmt: skip


@LAST_DAYS
async def test_answers_of_endpoints_speak_of_the_keys_end(
    redis_url: str, changes: dict[str, Any], notice: tuple[str | None, str | None]
) -> None:
    async with running_relay(redis_url, rows=with_key(list(ROWS), **changes)) as relay:
        accepted, refused = await relay.post(OWN), await relay.post(OWN, path="/r/demo/v1/none")
    assert (accepted.status, notice_in(accepted)) == (202, notice)
    assert (refused.status, notice_in(refused)) == (404, notice)


@pytest.mark.parametrize(
    "changes",
    [{"expires_at": BEFORE - timedelta(days=1)}, {"expires_at": BEFORE, "has_successor": True}],
    ids=["expired", "rotated"],
)
async def test_after_its_end_a_key_is_refused_on_both_planes(redis_url: str, changes: dict[str, Any]) -> None:
    async with Vendor() as vendor, running_plane(with_key(catalog_of(vendor), **changes)) as plane:
        answer = await plane.post(ASKED)
        assert vendor.calls == []
    async with running_relay(redis_url, rows=with_key(list(ROWS), **changes)) as relay:
        refused = await relay.post(OWN)
        assert relay.book.committed == []
    assert (answer.status, answer.json["error"]["code"], notice_in(answer)) == (401, "key_expired", (None, None))
    assert (refused.status, refused.json["error"]) == (401, "key_expired")


async def test_a_key_of_a_deactivated_payer_is_refused_on_both_planes_and_serves_again(redis_url: str) -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor)) as plane:
        answers = [await plane.post(ASKED)]
        for is_active in (False, True):
            plane.swap(with_key(catalog_of(vendor), payer_is_active=is_active))
            answers.append(await plane.post(ASKED))
        assert len(vendor.calls) == 2
    async with running_relay(redis_url, rows=with_key(list(ROWS), payer_is_active=False)) as relay:
        refused = await relay.post(OWN)
        assert relay.book.committed == []
    assert [answer.status for answer in answers] == [200, 403, 200]
    assert answers[1].json["error"]["code"] == refused.json["error"] == "payer_inactive"


@pytest.mark.parametrize(
    ("networks", "is_allowed"),
    [
        ((), True),
        (("127.0.0.0/8",), True),
        (("2001:db8::/32", "127.0.0.1"), True),
        (("192.0.2.0/24",), False),
        (("no network",), False),  # written past the model: nobody is let in
    ],
)
async def test_a_key_is_used_from_its_networks_on_both_planes(
    redis_url: str, networks: tuple[str, ...], is_allowed: bool
) -> None:
    async with Vendor() as vendor, running_plane(with_key(catalog_of(vendor), allowed_networks=networks)) as plane:
        answer = await plane.post(ASKED)
        assert len(vendor.calls) == is_allowed
    async with running_relay(redis_url, rows=with_key(list(ROWS), allowed_networks=networks)) as relay:
        relayed = await relay.post(OWN)
        assert len(relay.book.committed) == is_allowed
    assert (answer.status, relayed.status) == ((200, 202) if is_allowed else (403, 403))
    if not is_allowed:
        assert answer.json["error"]["code"] == relayed.json["error"] == "address_not_allowed"


@pytest.mark.parametrize(
    ("trusted", "forwarded", "is_allowed"),
    [
        ((), "192.0.2.7", False),  # whoever is no proxy of ours may write anything
        (("127.0.0.0/8",), "192.0.2.7", True),
        (("127.0.0.0/8",), "192.0.2.7, 198.51.100.1", False),
        (("127.0.0.0/8",), "::ffff:192.0.2.7", True),
        (("127.0.0.0/8",), "2001:db8::1", True),
    ],
)
def test_the_address_is_the_one_that_our_own_proxies_tell(
    trusted: tuple[str, ...], forwarded: str, is_allowed: bool
) -> None:
    key = replace(RELAY_KEY, allowed_networks=("192.0.2.0/24", "2001:db8::/32"))
    authenticator = Authenticator(ClientIps(tuple(map(ip_network, trusted))))
    headers = {"Authorization": f"Bearer {TOKEN.token}", "X-Forwarded-For": forwarded}
    request = make_mocked_request("POST", "/v1/chat/completions", headers=headers).clone(remote="127.0.0.1")
    snapshot = Snapshot.build([key, PROJECT])
    if is_allowed:
        assert authenticator.caller_of(snapshot, request, Scope.RELAY, 0.0).relay_key is key
    else:
        with pytest.raises(AddressNotAllowed, match="relay key"):
            authenticator.caller_of(snapshot, request, Scope.RELAY, 0.0)

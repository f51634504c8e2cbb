"""The demo sink: signatures as the published library makes them, switches, and a page that escapes what it shows."""

import datetime as dt
import html
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from standardwebhooks import Webhook

from relay_contract import signing
from standalone import demo_sink

from .serving import served

SECRET = signing.new_secret()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with served(demo_sink.application(SECRET)) as base, aiohttp.ClientSession(base) as client:
        yield client


def signed(body: str, secret: str = SECRET, age_seconds: int = 0, message_id: str = "msg_1") -> dict[str, str]:
    moment = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age_seconds)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, moment, body),
    }


async def post(session: aiohttp.ClientSession, name: str, body: str, headers: dict[str, str]) -> int:
    async with session.post(f"/hooks/{name}", data=body.encode(), headers=headers) as answer:
        return answer.status


async def kept(session: aiohttp.ClientSession, query: str = "") -> Any:
    async with session.get(f"/deliveries{query}") as answer:
        return await answer.json()


async def test_a_signed_delivery_is_kept_with_its_headers(session: aiohttp.ClientSession) -> None:
    headers = {**signed('{"n":1}'), "relay-delivery-id": "dlv_1", "relay-attempt": "2", "relay-replay": "1"}
    assert await post(session, "orders", '{"n":1}', {**headers, "Content-Type": "application/json"}) == 204
    document = await kept(session)
    (delivery,) = document["deliveries"]
    assert delivery.pop("received_at").endswith("+00:00")
    assert delivery == {
        "name": "orders", "webhook_id": "msg_1", "delivery_id": "dlv_1", "attempt": "2", "replay": "1",
        "signature": "verified", "status": 204, "content_type": "application/json", "body": '{"n":1}',
    }  # fmt: skip
    assert document["received"] == {"orders": 1}
    assert (await kept(session, "?name=other"))["deliveries"] == []


@pytest.mark.parametrize(
    ("sign", "reason"),
    [
        (dict, "webhook-id or webhook-timestamp is missing"),
        (lambda: signed("body") | {"webhook-timestamp": "9" * 5000}, "webhook-id or webhook-timestamp is missing"),
        (lambda: signed("body", age_seconds=400), "webhook-timestamp is more than five minutes off"),
        (lambda: signed("body", age_seconds=-400), "webhook-timestamp is more than five minutes off"),
        (lambda: signed("another body"), "webhook-signature does not match"),
        (lambda: signed("body", secret=signing.new_secret()), "webhook-signature does not match"),
        (lambda: signed("body") | {"webhook-id": "msg_2"}, "webhook-signature does not match"),
        (lambda: signed("body") | {"webhook-signature": ""}, "webhook-signature does not match"),
    ],
)
async def test_a_bad_signature_is_refused(
    session: aiohttp.ClientSession, sign: Callable[[], dict[str, str]], reason: str
) -> None:
    """Signed when the test runs: minutes may lie between that and its collection."""
    assert await post(session, "orders", "body", sign()) == 401
    (delivery,) = (await kept(session))["deliveries"]
    assert (delivery["signature"], delivery["status"]) == (reason, 401)


async def test_one_of_several_signatures_is_enough(session: aiohttp.ClientSession) -> None:
    headers = signed("body")
    headers["webhook-signature"] = "v1,AAAA " + headers["webhook-signature"]
    assert await post(session, "orders", "body", headers) == 204


async def test_flaky_fails_until_it_recovers_and_others_when_told(session: aiohttp.ClientSession) -> None:
    assert await post(session, "flaky", "a", signed("a")) == 500
    async with session.post("/hooks/flaky/recover") as answer:
        assert await answer.json() == {"failing": []}
    assert await post(session, "flaky", "a", signed("a")) == 204
    async with session.post("/hooks/orders/fail") as answer:
        assert await answer.json() == {"failing": ["orders"]}
    assert await post(session, "orders", "a", signed("a")) == 500
    assert await post(session, "flaky", "a", signed("a")) == 204
    assert (await kept(session))["failing"] == ["orders"]


async def test_the_button_of_the_page_leads_back_to_it(session: aiohttp.ClientSession) -> None:
    async with session.post("/hooks/flaky/recover", headers={"Accept": "text/html"}, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/")
    async with session.get("/") as answer:
        page = await answer.text()
    assert 'action="/hooks/flaky/fail"' not in page  # nothing received, nothing failing: nothing to show
    await post(session, "flaky", "a", signed("a"))
    async with session.get("/") as answer:
        assert 'action="/hooks/flaky/fail"' in await answer.text()


async def test_the_page_escapes_everything_that_came_from_outside(session: aiohttp.ClientSession) -> None:
    attack = "<script>alert('x')</script>\"&"
    headers = dict.fromkeys(("webhook-id", "relay-attempt", "relay-replay", "relay-delivery-id"), attack)
    await post(session, "orders", attack, {**headers, "webhook-timestamp": "1"})
    async with session.get("/") as answer:
        page = await answer.text()
        policy = answer.headers["Content-Security-Policy"]
    assert "<script" not in page
    assert page.count(html.escape(attack)) == 4  # id, attempt, replay, body
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy


async def test_memory_is_bounded(session: aiohttp.ClientSession) -> None:
    for number in range(demo_sink.KEPT_DELIVERIES + 1):
        await post(session, f"n{number % 150}", "x", signed("x", message_id=f"m{number}"))
    await post(session, "orders", "y" * (demo_sink.KEPT_BODY_BYTES + 1), {})
    document = await kept(session)
    assert len(document["deliveries"]) == demo_sink.KEPT_DELIVERIES
    assert document["deliveries"][-1]["webhook_id"] == "m2"
    assert len(document["deliveries"][0]["body"]) == demo_sink.KEPT_BODY_BYTES
    assert len(document["received"]) == demo_sink.MAX_NAMES


async def test_without_a_secret_nothing_is_checked() -> None:
    async with served(demo_sink.application(None)) as base, aiohttp.ClientSession(base) as client:
        assert await post(client, "orders", "body", {}) == 204
        assert (await kept(client))["deliveries"][0]["signature"] == "unchecked"


async def test_a_reader_may_leave_a_stream(caplog: pytest.LogCaptureFixture) -> None:
    async with served(demo_sink.application(None)) as base, aiohttp.ClientSession(base) as client:
        async with client.post("/streams/any?events=100") as answer:
            assert (await answer.content.readline()).startswith(b"id: 1")
            answer.close()
        async with client.post("/streams/any?events=10") as answer:
            assert b"event: done" in await answer.read()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]

"""Counts of tokens: a host's where it counts, ours where none does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from relay_contract import nouns
from relay_contract.nouns import WireShape
from relay_contract.usage import Usage, UsageSource
from relay_edge.call_rows import used
from tests.edge.nouns import POLICY, RELAY_KEY
from tests.edge.plane import AUTHORIZED, catalog_of, running_plane
from tests.edge.vendor import Vendor, VendorCall, Wire

PATH = "/v1/messages/count_tokens"
CALL: Any = {"messages": [{"role": "user", "content": "hi"}], "model": "demo-gpt", "odd": 1}


async def counting(_call: VendorCall, wire: Wire) -> None:
    await wire.answer(b'{"input_tokens":14}')


async def test_a_host_counts() -> None:
    async with (
        Vendor(WireShape.ANTHROPIC_MESSAGES, path=PATH, answer=counting) as vendor,
        running_plane(catalog_of(vendor)) as plane,
    ):
        for prefix in ("", "/anthropic"):
            answer = await plane.post(CALL, path=prefix + PATH)
            assert (answer.status, answer.json) == (200, {"input_tokens": 14})
            assert "x-relay-estimate" not in answer.headers
        assert [call.json for call in vendor.calls] == [CALL | {"model": "gpt-x"}] * 2
        assert [(each.surface, used(each)) for each in plane.served] == [
            ("count_tokens", (Usage(), UsageSource.NONE))
        ] * 2


async def test_without_such_a_host_it_is_an_estimate() -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor)) as plane:
        answer = await plane.post(CALL, "x-request-id: mine", path=PATH)
        assert (answer.status, answer.json) == (200, {"input_tokens": 20})
        assert (answer.headers["x-relay-estimate"], answer.headers["x-request-id"]) == ("true", "mine")
        assert [(each.status, each.tries, used(each)[1]) for each in plane.served] == [(200, 0, UsageSource.NONE)]
        assert vendor.calls == []


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (405, 1), (500, 2), (401, 1), (429, 1)])
async def test_a_host_that_does_not_count(status: int, asked: int) -> None:
    async def refusing(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(b'{"type":"error","error":{"type":"not_found_error","message":"no"}}', status)

    async with (
        Vendor(WireShape.ANTHROPIC_MESSAGES, path=PATH, answer=refusing) as vendor,
        running_plane(catalog_of(vendor)) as plane,
    ):
        for _ in range(2):
            answer = await plane.post(CALL, path=PATH)
            assert (answer.status, answer.headers["x-relay-estimate"]) == (200, "true")
        assert len(vendor.calls) == asked


async def test_a_fault_of_the_call_is_the_callers_to_see() -> None:
    async def refusing(_call: VendorCall, wire: Wire) -> None:
        await wire.answer(b'{"type":"error","error":{"type":"invalid_request_error","message":"messages: no"}}', 400)

    async with (
        Vendor(WireShape.ANTHROPIC_MESSAGES, path=PATH, answer=refusing) as vendor,
        running_plane(catalog_of(vendor)) as plane,
    ):
        answer = await plane.post(CALL, path=PATH)
        assert (answer.status, answer.json["error"]["message"]) == (400, "messages: no")


async def test_bad_input() -> None:
    async with Vendor() as vendor, running_plane(catalog_of(vendor)) as plane:
        for body, status, kind in (
            ({"model": "nothing"}, 404, "not_found_error"),
            ({"model": []}, 400, "invalid_request_error"),
            ({}, 400, "invalid_request_error"),
            (b"", 400, "invalid_request_error"),
        ):
            refused = await plane.post(body, path=PATH)
            assert (refused.status, refused.json["error"]["type"]) == (status, kind)
            assert set(refused.json) == {"type", "error", "request_id"}
        caller = await plane.caller()
        await caller.send(f"GET {PATH} HTTP/1.1\r\nHost: relay\r\n{AUTHORIZED}\r\n\r\n".encode())
        answer = await caller.answer()
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        plane.swap([replace(POLICY, models=()) if row is POLICY else row for row in catalog_of(vendor)])
        assert (await plane.post(CALL, path=PATH)).status == 403


async def test_it_counts_as_a_call_and_as_no_tokens(redis_url: str) -> None:
    rules = (nouns.Rule(nouns.Meter.REQUESTS, 2, 60), nouns.Rule(nouns.Meter.TOKENS, 1, 60))
    limit = nouns.RateLimit(nouns.RateLimitId(71), "count", rules)
    async with Vendor() as vendor:
        key = replace(RELAY_KEY, id=nouns.RelayKeyId(71), rate_limit_id=limit.id)
        rows = [row for row in catalog_of(vendor) if row is not RELAY_KEY]
        async with running_plane([*rows, limit, key], redis_url=redis_url) as plane:
            answers = [await plane.post(CALL, path=PATH) for _ in range(3)]
            assert [answer.status for answer in answers] == [200, 200, 429]
            assert answers[0].headers["anthropic-ratelimit-requests-remaining"] == "1"
            assert answers[1].headers["anthropic-ratelimit-tokens-remaining"] == "1"
